"""What a load run found, as data and as a page."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from models.figures import StageFigures
from serve_app.ops import instruments as i
from serve_app.ops.exposition import Scrape
from serve_app.ops.load.ledger import Ledger, Quantiles

_ORDER = {stage: position for position, stage in enumerate(i.STAGES)}


class Latency(BaseModel):
    """Seconds."""

    count: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Latency:
        found = Quantiles.of(values)
        return cls(count=found.count, p50=found.p50, p95=found.p95, p99=found.p99)


class StageRow(BaseModel):
    """One stage, as Postgres has it and as Ray's histogram has it (whose buckets are coarse)."""

    stage: str
    stored: Latency | None
    ray_count: int | None = None
    ray_p95: float | None = None


class ReplicaSample(BaseModel):
    at_s: float
    running: dict[str, int]


class Agreement(BaseModel):
    """A figure of this run beside the same in Ray's metrics."""

    figure: str
    run: int
    ray: int


class LoadReport(BaseModel):
    """`rate` is what was asked for, in messages a second at the curve's top."""

    rate: float
    seconds: float
    sent: int
    voice_notes: int
    accepted: int
    answered: int
    unanswered: int
    replies: int
    accepted_per_s: float
    answered_per_s: float
    acknowledging: Latency
    reply: Latency
    stages: list[StageRow]
    replicas: list[ReplicaSample]
    agreement: list[Agreement]
    errors: dict[str, int]
    behind_s: float
    seed: int

    def holds(self, p95_s: float) -> bool:
        """Whether everything was answered, 95 of 100 within that time."""
        complete = not self.errors and not self.unanswered and self.sent > 0
        return complete and self.reply.p95 <= p95_s and self.behind_s < 1.0


def make_report(
    ledger: Ledger,
    *,
    rate: float,
    seconds: float,
    drained_s: float,
    stored: Sequence[StageFigures],
    ray: Scrape | None,
    replicas: Sequence[ReplicaSample],
    behind_s: float,
    seed: int,
) -> LoadReport:
    """`seconds` from the first message to the last, `drained_s` to the last reply."""
    acknowledgements = ledger.acknowledgements
    answered = sum(message.answered_at is not None for message in ledger.sent)
    return LoadReport(
        rate=rate,
        seconds=round(seconds, 3),
        sent=len(ledger.sent),
        voice_notes=sum(message.voice for message in ledger.sent),
        accepted=len(acknowledgements),
        answered=answered,
        unanswered=ledger.open,
        replies=ledger.replies,
        accepted_per_s=round(len(acknowledgements) / max(seconds, 0.001), 2),
        answered_per_s=round(answered / max(drained_s, 0.001), 2),
        acknowledging=Latency.of(acknowledgements),
        reply=Latency.of(ledger.waits),
        stages=_stages(stored, ray),
        replicas=list(replicas),
        agreement=_agreement(ledger, stored, ray),
        errors=dict(ledger.errors),
        behind_s=round(behind_s, 3),
        seed=seed,
    )


def _stages(stored: Sequence[StageFigures], ray: Scrape | None) -> list[StageRow]:
    by_stage = {figures.stage: figures for figures in stored}
    rows: list[StageRow] = []
    for stage in sorted({*by_stage, *(i.STAGES if ray else ())}, key=lambda s: _ORDER.get(s, 99)):
        row = StageRow(stage=stage, stored=None)
        if (figures := by_stage.get(stage)) is not None:
            row.stored = Latency(
                count=figures.count, p50=figures.p50_s, p95=figures.p95_s, p99=figures.p99_s
            )
        if ray is not None:
            row.ray_count = ray.count(i.STAGE_SECONDS, stage=stage)
            row.ray_p95 = ray.quantile(i.STAGE_SECONDS, 0.95, stage=stage)
        rows.append(row)
    return rows


def _agreement(
    ledger: Ledger, stored: Sequence[StageFigures], ray: Scrape | None
) -> list[Agreement]:
    if ray is None:
        return []
    turns = next((figures.count for figures in stored if figures.stage == "answer"), 0)
    rows = [
        ("webhooks accepted", len(ledger.acknowledgements), accepted_webhooks(ray)),
        ("turns answered", turns, ray.count(i.STAGE_SECONDS, stage="answer")),
        ("replies sent", ledger.replies, int(ray.total(i.SENDS, outcome="sent"))),
    ]
    return [Agreement(figure=name, run=run, ray=by_ray) for name, run, by_ray in rows]


def accepted_webhooks(ray: Scrape) -> int:
    """Of messages, spooled ones included."""
    outcomes = ("accepted", "spooled")
    return int(sum(ray.total(i.WEBHOOKS, kind="message", outcome=each) for each in outcomes))


def print_report(report: LoadReport, console: Console) -> None:
    console.rule(f"[bold]{report.rate:g} messages/s for {report.seconds:.0f} s")
    console.print(
        f"sent {report.sent:,} ({report.voice_notes:,} voice notes), accepted {report.accepted:,} "
        f"({report.accepted_per_s:,.1f}/s), answered {report.answered:,} "
        f"({report.answered_per_s:,.1f}/s), unanswered {report.unanswered:,}"
    )
    table = Table("", "count", "p50", "p95", "p99", "Ray: count", "Ray: p95", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, latency in (("acknowledging", report.acknowledging), ("to the reply", report.reply)):
        table.add_row(name, *_cells(latency), "", "")
    for row in report.stages:
        table.add_row(
            f"  {row.stage}",
            *(_cells(row.stored) if row.stored else ("", "", "", "")),
            "" if row.ray_count is None else f"{row.ray_count:,}",
            "" if row.ray_p95 is None else _ms(row.ray_p95),
        )
    console.print(table)
    if report.replicas:
        _print_replicas(report.replicas, console)
    for each in report.agreement:
        mark = "[green]=[/]" if each.run == each.ray else "[yellow]≠[/]"
        console.print(f"{each.figure}: {each.run:,} here {mark} {each.ray:,} in Ray's metrics")
    for error, count in report.errors.items():
        console.print(f"[red]{error}: {count:,} times[/]")
    if report.behind_s >= 1.0:
        console.print(
            f"[yellow]Messages left up to {report.behind_s:.1f} s late: this machine can't send faster, so "
            "the product isn't what limits the rate.[/]"
        )


def _print_replicas(samples: Sequence[ReplicaSample], console: Console) -> None:
    """A line when something changed."""
    last: dict[str, int] | None = None
    for sample in samples:
        if sample.running != last:
            shown = ", ".join(f"{name} {count}" for name, count in sorted(sample.running.items()))
            console.print(f"[dim]replicas after {sample.at_s:3.0f} s:[/] {shown}")
            last = sample.running


def _cells(latency: Latency) -> tuple[str, str, str, str]:
    return (f"{latency.count:,}", _ms(latency.p50), _ms(latency.p95), _ms(latency.p99))


def _ms(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 10 else f"{seconds * 1000:,.1f} ms"
