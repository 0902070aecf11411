"""What is written down of the cluster, and what goes on when some of it can't be asked."""

from __future__ import annotations

import asyncio

import pytest

from models.console import DeploymentState
from models.errors import EngineUnavailableError
from models.inference import EngineStats
from serve_app.console.cluster_sampler import EVERY_S, ClusterSampler
from serve_app.testing.samples import MemoryFigureSamples
from tests.unit.conversation.stage import ManualClock


class Cluster:
    def __init__(self) -> None:
        self.running = 1
        self.rows = 0
        self.fault: Exception | None = None

    async def deployments(self) -> list[DeploymentState]:
        return [DeploymentState(name="ChatModel", status="HEALTHY", running=self.running, target=1)]

    async def engines(self) -> list[EngineStats]:
        if self.fault is not None:
            raise self.fault
        self.rows += 6
        counted = EngineStats(engine="e", model="m", device="cpu", replica="one", batch_limit=4)
        return [counted.model_copy(update={"rows": self.rows, "batches": self.rows // 3})]


class Desk:
    def __init__(self) -> None:
        self.clock, self.cluster = ManualClock(), Cluster()
        self.samples = MemoryFigureSamples(now=self.clock.now)
        self.sampler = ClusterSampler(cluster=self.cluster, samples=self.samples, clock=self.clock)

    async def told(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        found = await self.samples.figures(seconds=3_600, points=1)
        return (
            [(each.least, each.most) for each in found.replicas],
            [(each.rows, each.room) for each in found.engines],
        )


async def test_replicas_and_models_are_written_down() -> None:
    desk = Desk()
    for running in (1, 3):
        desk.cluster.running = running
        await desk.sampler.look()
        desk.clock.advance(EVERY_S)
    assert await desk.told() == ([(1, 3)], [(12, 16)])


@pytest.mark.parametrize(
    "fault", [EngineUnavailableError("asleep"), TimeoutError(), ValueError("broken")]
)
async def test_a_model_that_does_not_answer_is_missing_and_nothing_else(fault: Exception) -> None:
    desk = Desk()
    desk.cluster.fault = fault
    await desk.sampler.look()
    assert await desk.told() == ([(1, 1)], [])
    desk.cluster.fault = None
    desk.clock.advance(EVERY_S)
    await desk.sampler.look()
    assert await desk.told() == ([(1, 1)], [(6, 8)])


async def test_it_goes_on_while_the_store_is_away_and_ends_with_the_block() -> None:
    desk = Desk()
    desk.samples.down = True
    async with asyncio.timeout(5), desk.sampler.running():
        while len(desk.clock.slept) < 3:  # noqa: ASYNC110 - a clock of the test's own
            await asyncio.sleep(0)
        desk.samples.down = False
        while desk.cluster.rows < 60:  # noqa: ASYNC110
            await asyncio.sleep(0)
    replicas, engines = await desk.told()
    assert (replicas, len(engines)) == ([(1, 1)], 1)
    looked = desk.cluster.rows
    await asyncio.sleep(0)
    assert desk.cluster.rows == looked
