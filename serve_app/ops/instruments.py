"""Every metric of Recado. Ray puts `ray_` in front of the names when it exports them.

Label values are listed here in full: owners, conversations and error texts never become labels. What is
told per owner comes from Postgres.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.conversations import ReplyStatus
from models.jobs import DeadReason
from models.messages import DeliveryStatus
from serve_app.ports import Instrument

QUEUES = ("inbound", "outbound", "status")
STAGES = ("queued", "record", "resolve", "transcribe", "answer", "commit", "send")
OPEN_REPLIES = tuple(
    status.value
    for status in (
        ReplyStatus.PENDING,
        ReplyStatus.SENDING,
        ReplyStatus.UNKNOWN,
        ReplyStatus.PARKED,
        ReplyStatus.FAILED,
    )
)

_ACKNOWLEDGING = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_WORKING = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WAITING = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Instrument:
    return Instrument(f"recado_{name}_total", "counter", text, labels)


def _gauge(name: str, text: str, **labels: tuple[str, ...]) -> Instrument:
    return Instrument(f"recado_{name}", "gauge", text, labels)


def _histogram(
    name: str, text: str, buckets: tuple[float, ...], **labels: tuple[str, ...]
) -> Instrument:
    return Instrument(f"recado_{name}_seconds", "histogram", text, labels, buckets)


# --- webhooks ----------------------------------------------------------------------------------

WEBHOOKS = _counter(
    "webhooks",
    "Webhooks by what became of them; the first five were answered 200.",
    kind=("message", "status"),
    outcome=(
        *("accepted", "duplicate", "spooled", "unprocessable", "ignored"),
        *("signature_refused", "shed", "unavailable", "malformed"),
    ),
)
WEBHOOK_SECONDS = _histogram(
    "webhook",
    "From a webhook's arrival at the replica to its answer.",
    _ACKNOWLEDGING,
    kind=("message", "status"),
)

# --- queues ------------------------------------------------------------------------------------

QUEUE_WAIT_SECONDS = _histogram(
    "queue_wait",
    "Time in queue: from when a turn became ready to when it was taken. Quiet windows and the pauses "
    "before retries come before it.",
    _WAITING,
    queue=QUEUES,
)
QUEUE_PROCESSING_SECONDS = _histogram(
    "queue_processing",
    "Time in processing: how long the handler of a taken turn ran, however it ended.",
    _WORKING,
    queue=QUEUES,
)
TURNS = _counter(
    "turns",
    "Turns by how they ended; retried and split ones come again.",
    queue=QUEUES,
    outcome=(
        *("completed", "retried", "snoozed", "dead", "split"),
        *("released", "stale", "abandoned"),
    ),
)
DEAD_LETTERS = _counter(
    "dead_letters",
    "Jobs that were given up.",
    queue=QUEUES,
    reason=tuple(reason.value for reason in DeadReason),
)
QUEUE_WAITING = _gauge("queue_waiting", "Turns that are ready and not taken.", queue=QUEUES)
QUEUE_IN_FLIGHT = _gauge("queue_in_flight", "Turns that are being processed.", queue=QUEUES)
QUEUE_DELAYED = _gauge(
    "queue_delayed", "Turns that wait for a retry or for a burst to end.", queue=QUEUES
)
QUEUE_DEAD = _gauge("queue_dead", "Dead letters that nobody has replayed or purged.", queue=QUEUES)
QUEUE_OLDEST_WAITING = _gauge(
    "queue_oldest_waiting_seconds", "Age of the oldest turn that is ready.", queue=QUEUES
)

# --- turns and replies -------------------------------------------------------------------------

STAGE_SECONDS = _histogram(
    "stage",
    "Stages of answered turns. queued is from the acceptance of the first message to the taking, the "
    "quiet window included; send is the provider's request.",
    _WORKING,
    stage=STAGES,
)
REPLY_SECONDS = _histogram(
    "reply", "From the acceptance of a turn's last message to the sending of a reply.", _WAITING
)
SENDS = _counter(
    "sends",
    "Requests to send a reply.",
    outcome=("sent", "deferred", "rejected", "unknown"),
)
DELIVERY_REPORTS = _counter(
    "delivery_reports",
    "Delivery reports that were applied.",
    status=tuple(status.value for status in DeliveryStatus),
)
REPLIES = _gauge("replies", "Replies that aren't settled well.", status=OPEN_REPLIES)

# --- stores ------------------------------------------------------------------------------------

SPOOL_JOBS = _gauge("spool_jobs", "Webhooks in Postgres that wait for Redis.")
STORE_UP = _gauge("store_up", "1 if the store answers.", store=("redis", "postgres"))

# --- models ------------------------------------------------------------------------------------

_MODELS = ("speech", "chat")
MODEL_REQUESTS = _counter("model_requests", "Requests to a model.", model=_MODELS)
MODEL_FAILURES = _counter("model_failures", "Requests that a model couldn't answer.", model=_MODELS)
MODEL_BATCHES = _counter("model_batches", "Batches that a model ran.", model=_MODELS)
MODEL_ROWS = _counter(
    "model_rows", "Rows in those batches: rows per batch is the batches' fill.", model=_MODELS
)
MODEL_BUSY_SECONDS = _counter("model_busy_seconds", "Seconds spent on batches.", model=_MODELS)
MODEL_AUDIO_SECONDS = _counter(
    "model_audio_seconds", "Seconds of audio that were transcribed.", model=("speech",)
)
MODEL_TOKENS = _counter("model_tokens", "Tokens that were written.", model=("chat",))
MODEL_WAITING = _gauge("model_waiting", "Requests that wait for a batch.", model=_MODELS)
MODEL_RUNNING = _gauge("model_running", "Requests in a batch.", model=_MODELS)
MODEL_BATCH_LIMIT = _gauge("model_batch_limit", "Rows that a batch may have.", model=_MODELS)

ALL: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Instrument)
)


def unknown_labels(instrument: Instrument, labels: Mapping[str, str]) -> str | None:
    """What is wrong with `labels`, None if nothing is."""
    if labels.keys() != instrument.labels.keys():
        return f"{instrument.name} has the labels {sorted(instrument.labels)}, not {sorted(labels)}"
    for label, value in labels.items():
        if value not in instrument.labels[label]:
            return f"{instrument.name} doesn't know {label}={value!r}"
    return None
