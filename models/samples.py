"""What was sampled of the queues and the cluster, summed up over a stretch of time. Times are UTC."""

from __future__ import annotations

from datetime import datetime

from models.messages import Frozen


class QueueCourse(Frozen):
    """One queue over a stretch of time. `oldest`: how long the oldest had waited, in seconds."""

    queue: str
    waiting_most: int
    waiting_mean: float
    oldest_most_s: float
    oldest_mean_s: float
    in_flight_most: int
    delayed_most: int
    dead_added: int
    """Those that were replayed or discarded meanwhile count too."""


class ReplicaRange(Frozen):
    """How many replicas of a deployment ran."""

    deployment: str
    least: int
    most: int


class EngineWork(Frozen):
    """What those replicas of a model that were asked did in a stretch of time, together."""

    engine: str
    model: str
    replicas: int
    requests: int
    rows: int
    room: int
    """Rows that would have filled all their batches; 0 where there is no limit to fill."""
    busy_seconds: float
    work_done: float
    """Seconds of audio for speech, completion tokens for chat."""


class BacklogPoint(Frozen):
    """The highest backlog of all queues together in one slice; None where nobody looked."""

    at: datetime
    waiting: int | None = None


class SampledFigures(Frozen):
    """Of a stretch of time. `as_of` is its end."""

    as_of: datetime
    queues: tuple[QueueCourse, ...] = ()
    replicas: tuple[ReplicaRange, ...] = ()
    engines: tuple[EngineWork, ...] = ()
    points: tuple[BacklogPoint, ...] = ()
