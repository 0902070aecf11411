"""The replica that sends replies and applies delivery reports."""

from __future__ import annotations

from contextlib import AsyncExitStack

from ray import serve

from deployments.background import BackgroundLoops
from deployments.metrics import RayMetrics
from serve_app.bootstrap import open_sender
from serve_app.ops.logging import configure_logging
from serve_app.settings import AppSettings


@serve.deployment(name="Sender")
class Sender:
    """Works the outbound and the status queue, and sweeps up what was forgotten."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues] -- Serve awaits it
        self, settings: AppSettings
    ) -> None:
        configure_logging(settings.log, service="sender")
        self._stack = AsyncExitStack()
        parts = await self._stack.enter_async_context(open_sender(settings, metrics=RayMetrics()))
        self._loops = BackgroundLoops(
            parts.outbound,
            parts.status,
            loops=(parts.sweep, parts.sample, parts.forget_media, parts.notes, parts.housekeep),
        )
        self._loops.start()

    def check_health(self) -> None:
        self._loops.check()

    async def ready(self) -> None:
        """Raises RuntimeError unless replies are being sent."""
        self._loops.check()

    async def __del__(self) -> None:
        await self._loops.stop()
        await self._stack.aclose()
