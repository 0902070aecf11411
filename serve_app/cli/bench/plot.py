"""Plots as SVG, without a plotting library: panels of lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

COLOURS = ("#0b6e4f", "#c1443c", "#3a5ba0", "#d98e04", "#6b4c9a", "#555555")
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 460, 300, 64, 20, 46, 46
LEGEND_ROW = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of a side at one number of requests at a time."""

    concurrency: int
    per_second: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    doubling: bool = False
    """Equal steps along x double it; for numbers that were doubled."""
    dots: bool = True


def load_panels(points: Mapping[str, Sequence[Point]], *, what: str) -> list[Panel]:
    """Throughput against concurrency, and latency against load."""
    return [
        Panel(
            f"{what} per second",
            "at the same time",
            "per second",
            {side: [(p.concurrency, p.per_second) for p in row] for side, row in points.items()},
            doubling=True,
        ),
        Panel(
            "median latency",
            f"load, {what} per second",
            "ms",
            {side: [(p.per_second, p.latency_ms) for p in row] for side, row in points.items()},
        ),
    ]


def write_svg(path: Path, panels: Sequence[Panel], *, note: str) -> None:
    """`note` is the line below: machine and versions."""
    rows = max((len(panel.lines) for panel in panels), default=0)
    width, height = WIDTH * len(panels), HEIGHT + LEGEND_ROW * rows + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, panel in enumerate(panels):
        parts.append(f'<g transform="translate({index * WIDTH},0)">{_panel(panel)}</g>')
    parts.append(f'<text x="8" y="{height - 8}" fill="#666">{escape(note)}</text></svg>')
    path.write_text("\n".join(parts), "utf-8")


def _panel(panel: Panel) -> str:
    points = [point for line in panel.lines.values() for point in line]
    if not points:
        return ""
    along = _axis([x for x, _ in points], from_zero=not panel.doubling, doubling=panel.doubling)
    up = _axis([y for _, y in points], from_zero=True)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + along.share(x) * inner_width, TOP + (1 - up.share(y)) * inner_height

    floor = HEIGHT - BOTTOM
    out = [
        f'<text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="{LEFT - 56}" y="{TOP - 12}">{escape(panel.y)}</text>',
        f'<text x="{LEFT + inner_width / 2}" y="{floor + 32}" text-anchor="middle">'
        f"{escape(panel.x)}</text>",
    ]
    for value in up.ticks:
        y = place(along.low, value)[1]
        out.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        )
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in along.ticks:
        x = place(value, 0)[0]
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}" stroke="#999"/>')
        out.append(
            f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{_short(value)}</text>'
        )
    for number, (side, line) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(x, y) for x, y in line]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        out.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if panel.dots:
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        at = HEIGHT + LEGEND_ROW * number
        out.append(f'<rect x="{LEFT}" y="{at - 9}" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{LEFT + 16}" y="{at}">{escape(side)}</text>')
    return "\n".join(out)


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    ticks: Sequence[float]
    doubling: bool

    def share(self, value: float) -> float:
        """From 0 at its low end to 1 at its high one."""
        low, high = self.low, self.high
        if self.doubling:
            low, high, value = math.log2(low), math.log2(high), math.log2(value)
        return (value - low) / ((high - low) or 1.0)


def _axis(values: Sequence[float], *, from_zero: bool, doubling: bool = False) -> _Axis:
    low, high = min(values), max(values)
    if doubling:
        return _Axis(low, high, sorted(set(values)), doubling=True)
    low = min(0.0, low) if from_zero else low
    step = _step((high - low) or 1.0)
    high = step * math.ceil(high / step + 1e-9) if high > low else low + step
    count = round((high - low) / step)
    return _Axis(low, high, [low + step * number for number in range(count + 1)], doubling=False)


def _step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that some four steps make the span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / 4)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
