"""Rows as the scripts answer them, to and from the vocabulary."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from typing import Any, cast

from models.jobs import Claim, DeadLetter, DeadReason, FailedAttempt, Job

MAX_MESSAGE_CHARS = 2_000


def job_from(row: Sequence[Any], conversation: str) -> Job:
    """`row` is [id, payload, trace, published ms, attempts, crashes, history, fairness key]."""
    job_id, payload, trace, at, attempts, crashes, history, fairness_key = row
    return Job(
        id=job_id,
        conversation=conversation,
        payload=payload,
        trace=trace_from(trace),
        fairness_key=fairness_key or "",
        attempts=int(attempts or 0),
        crashes=int(crashes or 0),
        published_at=int(at or 0) / 1000,
        history=history_from(history),
    )


def claim_from(row: Sequence[Any], *, shard: int, consumer: str, taken_ms: str) -> Claim:
    """`row` is [entry, conversation, deliveries, jobs, waiting since ms]. What didn't wait in a line has no
    time of its own: the entry's id tells when it became ready."""
    entry, conversation, deliveries, jobs, *since = row
    return Claim(
        shard=shard,
        conversation=conversation,
        entry_id=entry,
        consumer=consumer,
        deliveries=int(deliveries),
        jobs=tuple(job_from(job, conversation) for job in jobs),
        taken_at=int(taken_ms) / 1000,
        waiting_since=int(since[0]) / 1000 if since and since[0] else stream_time(entry),
    )


def letter_from(row: Sequence[Any], *, queue: str, shard: int) -> DeadLetter:
    """`row` is an entry of the dead stream: [position, [name, value, …]]."""
    position, flat = row
    fields = cast("dict[str, str]", dict(zip(flat[::2], flat[1::2], strict=True)))
    names = ("id", "p", "t", "at", "a", "x", "h", "f")
    # A letter from before there were fairness keys has none.
    job = job_from([fields.get(name, "") for name in names], fields["c"])
    return DeadLetter(
        id=dead_id(position, shard),
        queue=queue,
        shard=shard,
        reason=DeadReason(fields["reason"]),
        job=job,
        dead_at=stream_time(position),
    )


def stream_time(entry: str) -> float:
    """Seconds since the epoch at which the server added a stream entry."""
    return int(entry.partition("-")[0]) / 1000


def dead_id(position: str, shard: int) -> str:
    """A dead letter's id: its position, and its shard where that isn't the first."""
    return f"{position}.{shard}" if shard else position


def parse_dead_id(text: str) -> tuple[str, int] | None:
    """Position and shard, or None if `text` can't be the id of a dead letter."""
    position, _, shard = text.partition(".")
    milliseconds, _, sequence = position.partition("-")
    if not (milliseconds.isdigit() and sequence.isdigit() and (shard or "0").isdigit()):
        return None
    return position, int(shard or 0)


def dead_order(letter: DeadLetter) -> tuple[int, int, int]:
    position, _, _shard = letter.id.partition(".")
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence), letter.shard


def trace_from(text: str | None) -> dict[str, str]:
    if not text or text == "{}":
        return {}
    return cast("dict[str, str]", json.loads(text))


def history_from(text: str | None) -> tuple[FailedAttempt, ...]:
    if not text:
        return ()
    return tuple(FailedAttempt.from_queue(line) for line in text.split("\n"))


def error_note(
    error: BaseException, *, consumer: str, counted: bool, max_traceback_chars: int
) -> str:
    """One history entry, less its beginning: the script puts the server's time in front.

    The end of a long traceback is kept, since that is where it failed.
    """
    raised = error.__traceback__ or error.__cause__
    trace = "".join(traceback.format_exception(error)) if raised else ""
    return note(
        consumer=consumer,
        error_type=type(error).__name__,
        message=str(error),
        trace=trace[-max_traceback_chars:] if max_traceback_chars else "",
        counted=counted,
    )


def note(*, consumer: str, error_type: str, message: str, trace: str, counted: bool) -> str:
    entry = {
        "consumer": consumer,
        "error_type": error_type,
        "message": _storable(message[:MAX_MESSAGE_CHARS]),
        "traceback": _storable(trace),
        "counted": counted,
    }
    # The script looks for `"error_type":"…"`, so no blanks.
    return json.dumps(entry, separators=(",", ":"))[1:]


def _storable(text: str) -> str:
    """Without surrogates, which neither UTF-8 nor strict JSON can hold."""
    return text.encode("utf-8", "replace").decode()
