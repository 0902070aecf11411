"""What Now says of providers, and how often it reads."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from models.console import Quantiles, Traffic, WebhookCounts
from models.conversations import ReplyStatus
from models.errors import StoreUnavailableError
from serve_app.clock import SystemClock
from serve_app.console import figures_keeper
from serve_app.console.figures_keeper import FiguresKeeper
from serve_app.console.now import channel_checks
from serve_app.testing.samples import MemoryFigureSamples

SENT, FAILED, PARKED = ReplyStatus.SENT, ReplyStatus.FAILED, ReplyStatus.PARKED


def traffic(*channels: tuple[str, ReplyStatus, int]) -> Traffic:
    return Traffic(
        seconds=60,
        as_of=datetime.now(UTC),
        messages=0,
        turns=0,
        queued=Quantiles(),
        processing=Quantiles(),
        stages=(),
        replies=(),
        channels=channels,
        owners=(),
        points=(),
        completion_tokens=0,
        answering_seconds=0,
        audio_seconds=0,
        transcribing_seconds=0,
        last_sent_at=None,
    )


@pytest.mark.parametrize(
    ("replies", "problem"),
    [
        ({SENT: 10}, False),
        ({SENT: 100, FAILED: 1}, False),
        ({FAILED: 2}, False),
        ({SENT: 10, FAILED: 5}, True),
        ({SENT: 10, PARKED: 5}, True),
        ({SENT: 1000, PARKED: 5}, False),
    ],
)
def test_one_number_that_does_not_exist_is_no_trouble(
    replies: dict[ReplyStatus, int], problem: bool
) -> None:
    (check,) = channel_checks(traffic(*(("twilio", *each) for each in replies.items())), "x")
    assert check.name == "Twilio"
    assert bool(check.problem) == problem


def test_channels_are_told_apart_and_silence_is_told() -> None:
    both = traffic(("twilio", SENT, 9), ("whatsapp_cloud", FAILED, 9))
    assert [(check.name, bool(check.problem)) for check in channel_checks(both, "x")] == [
        ("Twilio", False),
        ("WhatsApp Cloud API", True),
    ]
    (quiet,) = channel_checks(traffic(), "the last hour")
    assert (quiet.idle, quiet.note) == (True, "nothing sent in the last hour")


class Views:
    """Counts how often figures are read."""

    def __init__(self) -> None:
        self.read: list[float] = []
        self.away = False

    async def traffic(self, *, seconds: float, points: int) -> Traffic:
        self.read.append(seconds)
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError("away")
        return traffic()

    async def webhooks(self, *, seconds: float) -> WebhookCounts:
        return WebhookCounts()


async def test_figures_are_read_by_one_for_all_and_shown_while_newer_ones_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    views, now = Views(), [1_000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(figures_keeper, "time", clock)
    samples = MemoryFigureSamples()
    keeper = FiguresKeeper(views=views, samples=samples, clock=SystemClock())  # type: ignore[arg-type]
    first, *others = await asyncio.gather(*(keeper.figures("day") for _ in range(5)))
    assert len(views.read) == 1
    assert all(other is first for other in others)
    assert first.sampled is not None
    assert len(first.sampled.points) == figures_keeper.STRETCHES["day"].points
    now[0] += 61
    assert await keeper.figures("day") is first, "a page doesn't wait"
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(views.read) == 2
    assert await keeper.figures("day") is not first
    # A live page has what is live, or nothing.
    live = await keeper.figures("live")
    assert live.sampled is None
    now[0] += 3
    assert await keeper.figures("live") is not live
    now[0] += 3
    views.away = True
    with pytest.raises(StoreUnavailableError):
        await keeper.figures("live")
