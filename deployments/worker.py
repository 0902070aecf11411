"""The replica that processes conversation turns."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.background import BackgroundLoops
from deployments.handles import RemoteChatModel, RemoteTranscriber
from deployments.metrics import RayMetrics
from serve_app.bootstrap import open_worker
from serve_app.ops.logging import configure_logging
from serve_app.settings import AppSettings


@serve.deployment(name="Worker")
class Worker:
    """Takes turns from the inbound queue; nothing calls it but health checks."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues] -- Serve awaits it
        self,
        settings: AppSettings,
        *,
        transcriber: DeploymentHandle[Any],
        chat_model: DeploymentHandle[Any],
    ) -> None:
        configure_logging(settings.log, service="worker")
        self._stack = AsyncExitStack()
        self._parts = await self._stack.enter_async_context(
            open_worker(
                settings,
                transcriber=RemoteTranscriber(transcriber, timeout_s=settings.speech.timeout_s),
                chat_model=RemoteChatModel(chat_model, timeout_s=settings.chat.timeout_s),
                metrics=RayMetrics(),
            )
        )
        self._loops = BackgroundLoops(self._parts.consumer)
        self._loops.start()

    def check_health(self) -> None:
        self._loops.check()

    async def ready(self) -> None:
        """Raises RuntimeError unless turns are being taken."""
        self._loops.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `deployments.autoscaling.BacklogPolicy` decides on; every replica sees the same queue."""
        backlog = await self._parts.inbound.backlog()
        return {"backlog": float(backlog.waiting + backlog.in_flight)}

    async def __del__(self) -> None:
        await self._loops.stop()
        await self._stack.aclose()
