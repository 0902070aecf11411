"""Counts a replica's webhooks by how long their answer took, and tells the store every few seconds."""

from __future__ import annotations

import asyncio
from bisect import bisect_left

import structlog

from models.console import ACKNOWLEDGING_S, WebhookCounts
from models.errors import RecadoError
from serve_app.ports import Clock, ConsoleViews, Instrument, Metrics

log = structlog.get_logger(__name__)

REFUSED = frozenset({"signature_refused", "shed", "unavailable", "malformed"})


class WebhookWindow:
    """`serve_app.ports.Metrics` that passes everything on and keeps what the console shows."""

    def __init__(
        self, *, inner: Metrics, views: ConsoleViews, replica: str, clock: Clock, interval_s: float
    ) -> None:
        self._inner = inner
        self._views = views
        self._replica = replica
        self._clock = clock
        self._interval_s = interval_s
        self._counts: list[int] = [0] * (len(ACKNOWLEDGING_S) + 1)
        self._refused = 0

    def add(self, counter: Instrument, value: float = 1.0, /, **labels: str) -> None:
        if labels.get("outcome") in REFUSED and "webhooks" in counter.name:
            self._refused += int(value)
        self._inner.add(counter, value, **labels)

    def set(self, gauge: Instrument, value: float, /, **labels: str) -> None:
        self._inner.set(gauge, value, **labels)

    def observe(self, histogram: Instrument, value: float, /, **labels: str) -> None:
        if histogram.name == "recado_webhook_seconds":
            self._counts[bisect_left(ACKNOWLEDGING_S, value)] += 1
        self._inner.observe(histogram, value, **labels)

    def untold(self) -> WebhookCounts:
        """What this replica has answered since it last told."""
        return WebhookCounts(refused=self._refused, counts=tuple(self._counts))

    async def run(self) -> None:
        """Tell the store, for ever. What it doesn't take is told the next time."""
        while True:
            await self._clock.sleep(self._interval_s)
            await self.tell()

    async def tell(self) -> None:
        counts, refused = self._counts, self._refused
        if not any(counts) and not refused:
            return
        self._counts = [0 for _ in counts]
        self._refused = 0
        try:
            async with asyncio.timeout(self._interval_s):
                await self._views.add_webhooks(
                    self._replica, WebhookCounts(refused=refused, counts=tuple(counts))
                )
        except (RecadoError, TimeoutError) as error:
            self._counts = [old + new for old, new in zip(counts, self._counts, strict=True)]
            self._refused += refused
            log.debug("webhook_counts_kept_back", error=str(error))
