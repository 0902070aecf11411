"""Applies delivery reports."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import structlog
from opentelemetry.trace import Span
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from models.consent import ConsentWord
from models.conversations import Reply, ReplyStatus
from models.errors import UnprocessableError
from models.jobs import Claim, DeadLetter, log_fields
from models.messages import DeliveryStatus, InboundMessage, StatusUpdate
from serve_app.delivery.aftermath import FailedDeliveries
from serve_app.ops.instruments import DELIVERY_REPORTS
from serve_app.ops.tracing import Tracing, trace_headers
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import ConsentRepository, Metrics, NoteRepository, ReplyRepository

log = structlog.get_logger(__name__)

CONSENT_JOB = "consent:"
"""What the ids of those jobs begin with."""


class StatusHandler:
    """The handler of the status queue. Late and repeated reports change nothing.

    Opt-outs that Postgres couldn't take when they came are on this queue too: it is worked without waiting
    for anybody's turn.
    """

    def __init__(
        self,
        *,
        replies: ReplyRepository,
        consents: ConsentRepository,
        notes: NoteRepository,
        failed: FailedDeliveries,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing or Tracing()
        self._replies = replies
        self._consents = consents
        self._notes = notes
        self._failed = failed
        self._metrics = metrics or Unmeasured()

    async def handle(self, claim: Claim) -> None:
        for job in claim.jobs:
            if job.id.startswith(CONSENT_JOB):
                message = InboundMessage.from_queue(job.payload)
                await self._consents.apply(message, stop=message.consent is ConsentWord.STOP)
                continue
            try:
                update = StatusUpdate.from_queue(job.payload)
            except ValidationError as error:
                raise UnprocessableError(f"job {job.id} holds no delivery report") from error
            with await self._in_the_replys_trace(update):
                reply = await self._replies.apply_status(update)
            self._metrics.add(DELIVERY_REPORTS, status=update.status.value)
            with bound_contextvars(**_of_the_reply(reply)):
                if reply is not None and update.fault is not None and _is_failure_of(reply, update):
                    await self._failed.handle(reply, update.fault)
                if reply is None and update.reply_id is not None and _is_failure(update):
                    await self._note_failed(update.reply_id, update)
                log.info(
                    "delivery_report",
                    reply_id=update.reply_id,
                    provider_message_id=update.message_id,
                    status=update.status.value,
                    error_code=update.error_code,
                    known=reply is not None,
                )

    async def _note_failed(self, note_id: str, update: StatusUpdate) -> None:
        """What goes out under an id of ours is a reply or a note to an owner's people."""
        error = f"not delivered: {update.error_code or ''} {update.error_message or ''}".rstrip()
        if await self._notes.not_delivered(note_id, account_sid=update.account_id, error=error):
            log.error("note_not_delivered", note=note_id, code=update.error_code, error=error)

    async def _in_the_replys_trace(self, update: StatusUpdate) -> AbstractContextManager[Span]:
        """The report's own trace began with its webhook; it is linked, and the reply's goes on here."""
        reply = None
        if self._tracing.on and update.reply_id is not None:
            reply = await self._replies.get(update.reply_id)
        return self._tracing.span(
            f"delivery report {update.status.value}",
            parent=reply.trace if reply is not None else None,
            links=(trace_headers(),),
        )

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        log.error("delivery_reports_dead", count=len(letters))


def _is_failure(update: StatusUpdate) -> bool:
    return update.status in (DeliveryStatus.UNDELIVERED, DeliveryStatus.FAILED)


def _is_failure_of(reply: Reply, update: StatusUpdate) -> bool:
    """Not a late report that was ignored."""
    return (
        reply.status is ReplyStatus.FAILED
        and reply.provider_message_id == update.message_id
        and reply.delivery is update.status
    )


def _of_the_reply(reply: Reply | None) -> dict[str, str]:
    """The report's job knows nothing of the message that the reply answers."""
    if reply is None:
        return {}
    return {"conversation": reply.conversation_id, **log_fields(reply.trace)}
