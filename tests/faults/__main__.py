"""`python -m tests.faults`: the campaign as a table. Exit status 1 if a row isn't met."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom

from rich.console import Console
from rich.table import Table

from tests.e2e.product import Product, free_port_block, write_config
from tests.faults.campaign import Context, Report, Row, Scale, run_row
from tests.faults.rows import registry
from tests.faults.servers import DURABILITY, Servers

# In a file or a pipe nothing tells how wide a line may be.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def main() -> int:
    rows = {row.name: row for row in registry.ROWS}
    parser = argparse.ArgumentParser(prog="recado test --faults", description=__doc__)
    parser.add_argument("--scale", choices=("small", "full"), default="full")
    parser.add_argument("--row", action="append", choices=list(rows), metavar="NAME", default=[])
    parser.add_argument("--seed", type=int, default=None, help="of sizes, victims and times")
    parser.add_argument("--keep", type=Path, default=None, help="where the histories go")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    options = parser.parse_args()
    if options.list:
        for row in rows.values():
            console.print(f"{row.name:<20} {row.fault}: {row.must}")
        return 0
    seed = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="campaign-", dir=options.keep))
    chosen = [rows[name] for name in options.row] or list(rows.values())
    console.print(f"seed {seed}, scale {options.scale}, histories in {folder}")
    console.print(DURABILITY)
    began = time.monotonic()
    reports = _in_lanes(chosen, options.scale, seed, folder)
    console.print(f"{len(reports)} rows in {time.monotonic() - began:.0f} s")
    console.print(table(reports))
    for report in reports:
        for failure in report.outcome.failures:
            console.print(f"[red]{report.row.name}[/]: {failure}", soft_wrap=True)
    return 0 if all(report.passed for report in reports) else 1


class LazyProduct:
    """`recado up`, once a row asks for it. Leases are short, so that a fault shows soon."""

    def __init__(self) -> None:
        self._product: Product | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def get(self) -> Product:
        if self._product is None:
            self._folder = tempfile.TemporaryDirectory(prefix="recado-up-")
            self._product = start_product(Path(self._folder.name))
        return self._product

    def stop(self) -> None:
        if self._product is not None and self._folder is not None:
            self._product.down()
            self._folder.cleanup()


def start_product(folder: Path) -> Product:
    port = free_port_block()
    config = write_config(
        folder / "config.yaml",
        port=port,
        args={"queue": {"lease_s": 3.0, "max_attempts": 10, "backoff_base_s": 0.4}},
    )
    product = Product(folder=folder, port=port, config=config)
    started = product.up()
    if started.returncode != 0:
        product.down()
        raise RuntimeError(started.stdout + started.stderr)
    return product


def _in_lanes(rows: list[Row], scale: Scale, seed: int, folder: Path) -> list[Report]:
    """Small rows mostly wait: those of Ray run beside the others. Full ones are measured, one at a time."""
    lanes = [rows]
    if scale == "small":
        lanes = [[row for row in rows if row.ray], [row for row in rows if not row.ray]]
    with ThreadPoolExecutor() as threads:
        done = threads.map(lambda lane: asyncio.run(_run(lane, scale, seed, folder)), lanes)
        reports = [report for reports in done for report in reports]
    return sorted(reports, key=lambda report: rows.index(report.row))


async def _run(rows: list[Row], scale: Scale, seed: int, folder: Path) -> list[Report]:
    servers, ray = Servers(), LazyProduct()
    reports: list[Report] = []
    try:
        if not all(row.ray for row in rows):
            await servers.start()
        for row in rows:
            context = Context(servers, folder / row.name, scale, seed, ray.get)
            report = await run_row(row, context)
            reports.append(report)
            mark = "[green]pass[/]" if report.passed else "[red]not[/]"
            console.print(f"{row.name:<20} {mark} {report.seconds:.1f} s")
            (context.folder / "outcome.json").write_text(
                json.dumps(
                    {"row": row.name, "seed": seed, "scale": scale, **asdict(report.outcome)},
                    indent=2,
                    default=str,
                )
            )
    finally:
        await servers.close()
        ray.stop()
    return reports


def table(reports: list[Report]) -> Table:
    result = Table(title="What the faults did", title_justify="left")
    counted_as = ("lost", "unexp.", "disorder", "dupl.", "p99 s", "webhook p99 ms")
    for heading in ("row", "load", *counted_as, "", "s"):
        result.add_column(heading, overflow="fold")
    for report in reports:
        outcome, score = report.outcome, report.outcome.score
        figures = "; ".join(f"{name}: {value}" for name, value in outcome.figures.items())
        counts = ["-"] * 6
        if score is not None:
            counted = (score.lost, score.unexpected, score.disorder, score.duplicates)
            counts = [str(len(tokens)) for tokens in counted]
            counts += [f"{score.recovery_p99_s:.1f}", f"{score.answer_p99_ms:.0f}"]
        result.add_row(
            report.row.name,
            outcome.load + (f" [dim]({figures})[/]" if figures else ""),
            *counts,
            "[green]pass[/]" if report.passed else "[red]not met[/]",
            f"{report.seconds:.0f}",
        )
    return result


if __name__ == "__main__":
    sys.exit(main())
