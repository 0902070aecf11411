"""What a replica adds to its engine's figures."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from deployments.engine_replica import EngineReplica
from serve_app.testing.engines import ScriptedChatModel


class Replica(EngineReplica[ScriptedChatModel]):
    def __del__(self) -> None:  # type: ignore[override]
        """Serve awaits the deployment's own; here `running` ends the loops."""


@asynccontextmanager
async def running(*, batch_limit: int) -> AsyncGenerator[Replica]:
    replica = Replica()
    await replica.start_engine(ScriptedChatModel(["Hi"]), model="chat", batch_limit=batch_limit)
    try:
        yield replica
    finally:
        await replica._loops.stop()
        await replica.engine.stop()


async def test_figures_tell_which_replica_counted_and_what_a_batch_may_have() -> None:
    async with running(batch_limit=8) as one, running(batch_limit=4) as other:
        first, again, second = await one.stats(), await one.stats(), await other.stats()
    assert (first.batch_limit, second.batch_limit) == (8, 4)
    assert first.replica == again.replica
    assert first.replica != second.replica
    busy = first.model_copy(update={"batches": 3, "rows": 12})
    assert (busy.room, first.room) == (24, 0)
