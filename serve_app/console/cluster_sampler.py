"""Writes down how many replicas run and what the models have done, for Now's last hour and day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager

import structlog

from models.errors import RecadoError
from serve_app.ports import Clock, ClusterView, FigureSamples
from serve_app.tasks import end_tasks

log = structlog.get_logger(__name__)

EVERY_S = 30.0
"""A model is asked as it is for an open page. Serve might take the question for work, and would then let
a model that may sleep sleep later: not more often than it takes."""
_APART_S = 20.0
_LIMIT_S = 10.0


class ClusterSampler:
    """Of one ingress replica. Of those that look at the same time one is written down."""

    def __init__(self, *, cluster: ClusterView, samples: FigureSamples, clock: Clock) -> None:
        self._cluster = cluster
        self._samples = samples
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[ClusterSampler]:
        """Looks until the block ends."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            await end_tasks([task])

    async def _run(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """Nothing is raised: what can't be asked or written down now is missing from the figures."""
        await self._try("replicas", self._note_replicas())
        await self._try("models", self._note_engines())

    async def _note_replicas(self) -> None:
        deployments = await self._cluster.deployments()
        await self._samples.add_replicas(deployments, apart_s=_APART_S)

    async def _note_engines(self) -> None:
        engines = await self._cluster.engines()
        await self._samples.add_engines(engines, apart_s=_APART_S)

    async def _try(self, what: str, look: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(_LIMIT_S):
                await look
        except (RecadoError, TimeoutError) as error:
            log.debug("cluster_not_sampled", what=what, error=str(error))
        except Exception:
            log.exception("sample_failed", what=what)
