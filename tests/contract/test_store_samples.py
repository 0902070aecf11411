"""What every store tells of the samples that it was given."""

from __future__ import annotations

from typing import Any

import pytest

from models.console import DeploymentState
from models.inference import EngineStats
from models.jobs import Backlog
from models.samples import EngineWork, QueueCourse, ReplicaRange
from tests.contract.store_samples import Store


def backlog(queue: str = "inbound", **figures: Any) -> Backlog:
    return Backlog(
        queue=queue, **{"waiting": 0, "in_flight": 0, "delayed": 0, "dead": 0, **figures}
    )


def running(name: str, count: int) -> DeploymentState:
    return DeploymentState(name=name, status="HEALTHY", running=count, target=count)


def stats(replica: str, **counters: Any) -> EngineStats:
    return EngineStats(
        engine="transformers", model="m", device="cpu", batch_limit=8, replica=replica, **counters
    )


async def test_there_is_nothing_to_tell_at_first(store: Store) -> None:
    found = await store.samples.figures(seconds=3_600, points=4)
    assert (found.queues, found.replicas, found.engines) == ((), (), ())
    assert [point.waiting for point in found.points] == [None] * 4


async def test_a_queue_is_told_by_its_highest_and_its_mean(store: Store) -> None:
    for inbound in (
        backlog(waiting=2, oldest_waiting_s=1.0, dead=1),
        backlog(waiting=7, oldest_waiting_s=9.0, in_flight=4, delayed=3, dead=3),
        # Two were replayed, then one more came.
        backlog(waiting=0, oldest_waiting_s=2.0, dead=1),
        backlog(waiting=3, oldest_waiting_s=0.0, dead=2),
    ):
        await store.samples.add_backlogs([inbound, backlog("outbound", waiting=1)], apart_s=0)
    found = await store.samples.figures(seconds=3_600, points=4)
    assert found.queues == (
        QueueCourse(
            queue="inbound",
            waiting_most=7,
            waiting_mean=3.0,
            oldest_most_s=9.0,
            oldest_mean_s=3.0,
            in_flight_most=4,
            delayed_most=3,
            dead_added=3,
        ),
        QueueCourse(
            queue="outbound",
            waiting_most=1,
            waiting_mean=1.0,
            oldest_most_s=0.0,
            oldest_mean_s=0.0,
            in_flight_most=0,
            delayed_most=0,
            dead_added=0,
        ),
    )
    assert [point.waiting for point in found.points] == [None, None, None, 8]


async def test_replicas_are_told_by_their_lowest_and_highest(store: Store) -> None:
    for count in (1, 3, 0):
        await store.samples.add_replicas([running("Worker", count), running("A", 1)], apart_s=0)
    found = await store.samples.figures(seconds=60, points=2)
    assert found.replicas == (
        ReplicaRange(deployment="A", least=1, most=1),
        ReplicaRange(deployment="Worker", least=0, most=3),
    )


async def test_models_are_told_by_what_their_replicas_did_together(store: Store) -> None:
    for seen in (
        stats("one", requests=2, batches=1, rows=2, busy_seconds=1.0, work_done=10.0),
        stats("two", requests=5, batches=2, rows=5, busy_seconds=2.0, work_done=30.0),
        stats("one", requests=9, batches=2, rows=9, busy_seconds=3.0, work_done=70.0),
    ):
        await store.samples.add_engines([seen], apart_s=0)
    found = await store.samples.figures(seconds=60, points=2)
    assert found.engines == (
        EngineWork(
            engine="transformers",
            model="m",
            replicas=2,
            requests=14,
            rows=14,
            room=32,
            busy_seconds=5.0,
            work_done=100.0,
        ),
    )


async def test_of_those_who_look_at_the_same_time_one_is_written_down(store: Store) -> None:
    for count in (1, 9):
        await store.samples.add_backlogs([backlog(waiting=count)], apart_s=60)
        await store.samples.add_replicas([running("Worker", count)], apart_s=60)
        await store.samples.add_engines([stats("one", requests=count)], apart_s=60)
    found = await store.samples.figures(seconds=60, points=2)
    assert [queue.waiting_most for queue in found.queues] == [1]
    assert [replicas.most for replicas in found.replicas] == [1]
    assert [engine.requests for engine in found.engines] == [1]


async def test_of_nothing_nothing_is_written_down(store: Store) -> None:
    await store.samples.add_engines([], apart_s=60)
    await store.samples.add_engines([stats("one", requests=1)], apart_s=60)
    found = await store.samples.figures(seconds=60, points=2)
    assert [engine.requests for engine in found.engines] == [1]


@pytest.mark.parametrize("points", [1, 60])
async def test_the_course_has_as_many_slices_as_were_asked_for(store: Store, points: int) -> None:
    await store.samples.add_backlogs([backlog(waiting=5)], apart_s=0)
    found = await store.samples.figures(seconds=60, points=points)
    assert len(found.points) == points
    assert found.points[-1].waiting == 5
    assert (found.as_of - found.points[0].at).total_seconds() == pytest.approx(60)
