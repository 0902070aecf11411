"""Samples in memory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean
from typing import TypeVar

from models.console import DeploymentState
from models.errors import StoreUnavailableError
from models.inference import EngineStats
from models.jobs import Backlog
from models.samples import BacklogPoint, EngineWork, QueueCourse, ReplicaRange, SampledFigures

T = TypeVar("T")
_KEPT = timedelta(hours=25)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryFigureSamples:
    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self.down = False
        """Whether whatever is asked raises `StoreUnavailableError`."""
        self._backlogs: list[tuple[datetime, tuple[Backlog, ...]]] = []
        self._replicas: list[tuple[datetime, tuple[DeploymentState, ...]]] = []
        self._engines: list[tuple[datetime, tuple[EngineStats, ...]]] = []

    async def add_backlogs(self, backlogs: Sequence[Backlog], *, apart_s: float) -> None:
        await self._add(self._backlogs, backlogs, apart_s)

    async def add_replicas(self, deployments: Sequence[DeploymentState], *, apart_s: float) -> None:
        await self._add(self._replicas, deployments, apart_s)

    async def add_engines(self, engines: Sequence[EngineStats], *, apart_s: float) -> None:
        await self._add(self._engines, engines, apart_s)

    async def figures(self, *, seconds: float, points: int) -> SampledFigures:
        await self._answer()
        now = self._now()
        start = now - timedelta(seconds=seconds)
        queues = defaultdict[str, list[Backlog]](list)
        slices = defaultdict[int, list[int]](list)
        for at, backlogs in self._backlogs:
            if at <= start:
                continue
            for each in backlogs:
                queues[each.queue].append(each)
            place = int((at - start).total_seconds() / (seconds / points))
            slices[min(place, points - 1)].append(sum(each.waiting for each in backlogs))
        running = defaultdict[str, list[int]](list)
        for at, deployments in self._replicas:
            for each in deployments if at > start else ():
                running[each.name].append(each.running)
        return SampledFigures(
            as_of=now,
            queues=tuple(_course(name, queues[name]) for name in sorted(queues)),
            replicas=tuple(
                ReplicaRange(deployment=name, least=min(counts), most=max(counts))
                for name, counts in sorted(running.items())
            ),
            engines=self._work_since(start),
            points=tuple(
                BacklogPoint(
                    at=start + timedelta(seconds=n * seconds / points),
                    waiting=max(slices[n]) if n in slices else None,
                )
                for n in range(points)
            ),
        )

    def _work_since(self, start: datetime) -> tuple[EngineWork, ...]:
        seen = defaultdict[tuple[str, str, str], list[tuple[datetime, EngineStats]]](list)
        for at, engines in self._engines:
            for each in engines:
                seen[each.engine, each.model, each.replica].append((at, each))
        found: dict[tuple[str, str], EngineWork] = {}
        for (engine, model, _), looks in sorted(seen.items()):
            at, last = looks[-1]
            if at <= start:
                continue
            before = [stats for at, stats in looks if at <= start]
            first = before[-1] if before else EngineStats(engine=engine, model=model, device="")
            so_far = found.get((engine, model))
            found[engine, model] = EngineWork(
                engine=engine,
                model=model,
                replicas=(so_far.replicas if so_far else 0) + 1,
                requests=(so_far.requests if so_far else 0) + last.requests - first.requests,
                rows=(so_far.rows if so_far else 0) + last.rows - first.rows,
                room=(so_far.room if so_far else 0)
                + (last.batches - first.batches) * last.batch_limit,
                busy_seconds=(so_far.busy_seconds if so_far else 0.0)
                + last.busy_seconds
                - first.busy_seconds,
                work_done=(so_far.work_done if so_far else 0.0) + last.work_done - first.work_done,
            )
        return tuple(found.values())

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailableError("the store is away")

    async def _add(
        self, kept: list[tuple[datetime, tuple[T, ...]]], seen: Sequence[T], apart_s: float
    ) -> None:
        await self._answer()
        now = self._now()
        kept[:] = [(at, sample) for at, sample in kept if at >= now - _KEPT]
        latest = kept[-1][0] if kept else _EPOCH
        if seen and latest <= now - timedelta(seconds=apart_s):
            kept.append((now, tuple(seen)))


def _course(queue: str, samples: Sequence[Backlog]) -> QueueCourse:
    return QueueCourse(
        queue=queue,
        waiting_most=max(each.waiting for each in samples),
        waiting_mean=fmean(each.waiting for each in samples),
        oldest_most_s=max(each.oldest_waiting_s for each in samples),
        oldest_mean_s=fmean(each.oldest_waiting_s for each in samples),
        in_flight_most=max(each.in_flight for each in samples),
        delayed_most=max(each.delayed for each in samples),
        dead_added=sum(max(0, new.dead - old.dead) for old, new in pairwise(samples)),
    )
