"""`recado load`: traffic as people make it, and a report of how the product bore it."""

from __future__ import annotations

from typing import Annotated

import typer

from serve_app.cli.context import ConfigOption, DataDirOption, load_context
from serve_app.ops.load.arrivals import Curve, TrafficPlan

_MOST_OWNERS = 999


def load(
    rate: Annotated[
        float, typer.Option(min=0.1, max=2_000, help="Messages a second at the curve's top.")
    ] = 5.0,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long to send.")] = 30.0,
    curve: Annotated[Curve, typer.Option(help="How the rate moves.")] = Curve.STEADY,
    voice: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the messages that are voice notes.")
    ] = 0.2,
    burst: Annotated[
        float, typer.Option(min=1, max=10, help="Messages in a row per person, on average.")
    ] = 1.5,
    owners: Annotated[
        int, typer.Option(min=1, max=_MOST_OWNERS, help="Businesses that are written to.")
    ] = 5,
    people: Annotated[int, typer.Option(min=1, max=999_999, help="Different phones.")] = 2_000,
    max_messages: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Stop sending after so many.")
    ] = 20_000,
    drain: Annotated[
        float, typer.Option(min=0, max=3_600, help="Seconds to wait for the last replies.")
    ] = 60.0,
    find_max: Annotated[
        bool,
        typer.Option(
            "--find-max", help="Find the highest rate that keeps --p95, in runs of --seconds."
        ),
    ] = False,
    p95: Annotated[
        float, typer.Option(min=0.01, help="Seconds within which 95 of 100 replies must come.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sends the same.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Write as many people would, through the simulator, and report throughput, latencies and errors.

    Owners load-001, … are made like the demo café and stay. Exit status 1 if something was refused or
    stayed unanswered, with --find-max if no rate held.
    """
    from serve_app.cli.load_run import run_load

    plan = TrafficPlan(
        rate=rate,
        seconds=seconds,
        curve=Curve.STEADY if find_max else curve,
        voice_share=voice,
        burst=burst,
        owners=owners,
        people=people,
        max_messages=max_messages,
        seed=seed,
    )
    well = run_load(
        load_context(data_dir=data_dir, config=config),
        plan,
        drain_s=drain,
        p95_s=p95 if find_max else None,
        as_json=as_json,
    )
    if not well:
        raise typer.Exit(1)
