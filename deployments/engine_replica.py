"""What every replica with an engine does beside its one inference method."""

from __future__ import annotations

import uuid
from typing import Generic, TypeVar

from deployments.background import BackgroundLoops
from deployments.metrics import RayMetrics
from models.inference import EngineStats
from serve_app.clock import SystemClock
from serve_app.ops.samplers import EngineSampler
from serve_app.ports import Engine

E = TypeVar("E", bound=Engine)


class EngineReplica(Generic[E]):
    """Owns the engine, and the loop that reports its figures."""

    engine: E
    _loops: BackgroundLoops
    _batch_limit: int
    _name: str

    async def start_engine(self, engine: E, *, model: str, batch_limit: int) -> None:
        """Raises `InferenceError` if the engine can't be loaded."""
        self.engine = engine
        self._batch_limit = batch_limit
        self._name = uuid.uuid4().hex
        await engine.start()
        sampler = EngineSampler(
            model=model,
            batch_limit=batch_limit,
            stats=engine.stats,
            metrics=RayMetrics(),
            clock=SystemClock(),
        )
        self._loops = BackgroundLoops(loops=(sampler.run,))
        self._loops.start()

    async def stats(self) -> EngineStats:
        return self.engine.stats().model_copy(
            update={"batch_limit": self._batch_limit, "replica": self._name}
        )

    async def ready(self) -> None:
        """Answers once the engine is loaded."""

    def check_health(self) -> None:
        self._loops.check()

    async def __del__(self) -> None:
        await self._loops.stop()
        await self.engine.stop()
