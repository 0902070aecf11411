"""The commands of `recado bench` and how their reports are printed."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from serve_app.cli.bench.machine import spread
from serve_app.cli.bench.sizes import QUICK
from serve_app.cli.terminal import console, fail

app = typer.Typer(no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="Small sizes: a look, not a figure.")]
PlotOption = Annotated[
    Path | None, typer.Option(help="Also sweep the load and draw it into this SVG file.")
]


def _against(names: str) -> Any:
    return typer.Option("--against", help=f"Only these peers (repeat it): {names}.")


@app.command()
def ack(
    rounds: Annotated[int, typer.Option(help="Rounds, the sides in turn in each.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.", min=0.5)] = 4.0,
    connections: Annotated[int, typer.Option(help="At the same time.", min=1)] = 32,
    plot: PlotOption = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Webhooks acknowledged per second, against a bare XADD on uvicorn and on Serve's defaults."""
    from serve_app.cli.bench.ack import run

    if quick:
        rounds, seconds = QUICK["ack"]["rounds"], QUICK["ack"]["seconds"]
    report = run(rounds=rounds, seconds=seconds, connections=connections, plot=plot)
    show(report, as_json=as_json)


@app.command()
def queue(
    jobs: Annotated[int, typer.Option(help="No-op jobs of each measurement.", min=100)] = 5_000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    concurrency: Annotated[int, typer.Option(help="Jobs at the same time.", min=1)] = 64,
    against: Annotated[
        list[str] | None, _against("taskiq-redis, arq, streaq, celery (with Ray's adapter)")
    ] = None,
    plot: PlotOption = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """No-op jobs published and worked off, against other queues on the same server.

    The peers are installed into environments of their own under the data directory; --quick leaves out
    those that aren't there yet.
    """
    from serve_app.cli.bench.queue import run

    sizes: dict[str, Any] = {"jobs": jobs, "rounds": rounds, "install": True}
    if quick:
        sizes |= QUICK["queue"]
    peers = tuple(against or ())
    report = run(**sizes, concurrency=concurrency, against=peers, plot=plot)
    show(report, as_json=as_json)


@app.command()
def turn(
    turns: Annotated[int, typer.Option(help="Turns of each round.", min=10)] = 1_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Whole turns per second with instant models: Postgres, Valkey and the simulated Twilio included."""
    from serve_app.cli.bench.turn import run

    if quick:
        turns, rounds = QUICK["turn"]["turns"], QUICK["turn"]["rounds"]
    show(run(turns=turns, rounds=rounds), as_json=as_json)


@app.command()
def speech(
    clips: Annotated[
        int, typer.Option(help="Of 2 to 25 seconds, all at once, and as many notes.", min=4)
    ] = 64,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    model: Annotated[str, typer.Option(help="As `speech.model` in config.yaml.")] = "demo",
    engine: Annotated[str, typer.Option(help="As `speech.engine` there.")] = "auto",
    against: Annotated[
        list[str] | None,
        _against("transcribe; transcribe, a worker a core; BatchedInferencePipeline"),
    ] = None,
    short_windows: Annotated[
        list[float] | None,
        typer.Option(
            help="Seconds (repeat it): also with these windows, for a model trained for them; 15 for the "
            "demo's."
        ),
    ] = None,
    plot: PlotOption = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Voice notes transcribed per second on CPU, against faster-whisper a request at a time."""
    from serve_app.cli.bench.speech import run

    if quick:
        clips, rounds = QUICK["speech"]["clips"], QUICK["speech"]["rounds"]
        against = against or QUICK["speech"]["against"]
    report = run(
        clips=clips,
        rounds=rounds,
        model=model,
        engine=engine,
        against=tuple(against or ()),
        short_windows=tuple(short_windows or ()),
        plot=plot,
    )
    show(report, as_json=as_json)


@app.command()
def chat(
    conversations: Annotated[int, typer.Option(help="At the same time.", min=1)] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    model: Annotated[str, typer.Option(help="As `chat.model` in config.yaml.")] = "demo",
    max_tokens: Annotated[int, typer.Option(help="Of each reply.", min=1)] = 64,
    against: Annotated[
        list[str] | None,
        _against("sequential generate (the default); continuous batching, transformers' own"),
    ] = None,
    plot: PlotOption = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tokens per second over several conversations on CPU, against `generate` for one after the other."""
    from serve_app.cli.bench.chat import run

    if quick:
        rounds = QUICK["chat"]["rounds"]
    report = run(
        conversations=conversations,
        rounds=rounds,
        model=model,
        max_tokens=max_tokens,
        against=tuple(against or ()),
        plot=plot,
    )
    show(report, as_json=as_json)


@app.command()
def scale(
    messages: Annotated[int, typer.Option(help="Sent within two seconds.", min=10)] = 400,
    voice: Annotated[float, typer.Option(help="Share of voice notes.", min=0, max=1)] = 0.4,
    max_replicas: Annotated[int, typer.Option(help="Of each deployment that scales.", min=2)] = 3,
    downscale_delay_s: Annotated[float, typer.Option(min=1)] = 8.0,
    to_zero_delay_s: Annotated[float, typer.Option(help="Of the models.", min=1)] = 12.0,
    limit_s: Annotated[float, typer.Option(help="For the burst, and for the way down.")] = 150.0,
    plot: PlotOption = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """A burst on a product of its own: replicas over time, up and down again, as Serve reports them, and
    the first replies after the models went to zero."""
    from serve_app.cli.bench.scale import ScalePlan, run

    plan = ScalePlan(
        messages=messages,
        voice_share=voice,
        max_replicas=max_replicas,
        downscale_delay_s=downscale_delay_s,
        to_zero_delay_s=to_zero_delay_s,
        limit_s=limit_s,
    )
    if quick:
        plan = replace(plan, **QUICK["scale"])
    report = run(plan, plot=plot)
    show(report, as_json=as_json)
    if report["problems"]:
        raise typer.Exit(1)


@app.command(name="all")
def all_of_them(
    plots: Annotated[
        Path | None, typer.Option(help="Also draw what can be drawn, into this folder.")
    ] = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Every benchmark, one after the other, and what was reached of each target.

    Exit status 1 if a part failed; the others run all the same.
    """
    from serve_app.cli.bench.all_parts import run_all

    def tell(name: str, part: Mapping[str, Any]) -> None:
        if as_json:
            return
        console.rule(f"{name}, {part['seconds']:.0f} s")
        if "report" in part:
            show(part["report"], as_json=False)
        if "error" in part:
            fail(f"{name}: {part['error']}")

    report = run_all(quick=quick, plots=plots, tell=tell)
    if as_json:
        show(report, as_json=True)
    else:
        _show_targets(report)
    if report["failed"]:
        raise typer.Exit(1)


@app.callback()
def prepare() -> None:
    """Measure; each command prints ratios of both sides."""
    # Whoever ends a benchmark ends what it started too.
    signal.signal(signal.SIGTERM, _on_term)


def _on_term(_number: int, _frame: object) -> None:
    raise SystemExit(143)


def show(report: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    for name, value in report.items():
        if isinstance(value, Mapping):
            table = Table(title=name, title_justify="left", show_header=False, box=None)
            for key, item in cast("Mapping[str, object]", value).items():
                table.add_row(key, _cell(item))
            console.print(table)
        elif isinstance(value, list):
            console.print(f"{name}:")
            for item in cast("list[object]", value):
                console.print(f"  {_cell(item)}", markup=False)
        else:
            console.print(f"{name}: {value}", markup=False)


def _cell(item: object) -> str:
    if isinstance(item, Mapping):
        pairs = cast("Mapping[str, object]", item).items()
        return ", ".join(f"{key} {_cell(value)}" for key, value in pairs)
    if not isinstance(item, list):
        return str(item)
    values = cast("list[object]", item)
    if values and all(isinstance(value, int | float) for value in values):
        return spread(cast("list[float]", values))
    return str(values)


def _show_targets(report: Mapping[str, object]) -> None:
    table = Table(title=f"targets, {report['seconds']} s in all", title_justify="left", box=None)
    for column in ("what", "against", "target", "reached"):
        table.add_column(column)
    colours = {True: "green", False: "red", None: "dim"}
    for row in cast("list[dict[str, Any]]", report["targets"]):
        reached = "no figure" if row["reached"] is None else f"{row['reached']:g}"
        table.add_row(
            row["what"], row["against"], row["target"], f"[{colours[row['met']]}]{reached}[/]"
        )
    console.print(table)
