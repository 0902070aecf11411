"""Sends replies exactly once, although the provider's API has no idempotency key.

`sending` is committed before the POST and `sent` after it. Whoever finds a reply in `sending` can't
know whether the POST was made: the reply is `unknown` then, and is resolved by its delivery report,
else by the provider's list of sent messages, else it is parked for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from opentelemetry.trace import SpanKind

from models.accounts import TwilioAccount
from models.conversations import Reply, ReplyStatus
from models.errors import (
    ListUnavailableError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
    SnoozeError,
)
from models.jobs import Claim, DeadLetter, Job, log_fields
from models.messages import Fault, SentMessage
from serve_app.delivery.doubt import DoubtfulReplies, outbound_message
from serve_app.delivery.lanes import lane_of
from serve_app.delivery.template import fill
from serve_app.ops.instruments import REPLY_SECONDS, SENDS, STAGE_SECONDS
from serve_app.ops.tracing import Tracing
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import (
    Channel,
    Clock,
    ConsentRepository,
    Metrics,
    ReplyRepository,
    SendLane,
    SendRates,
    TwilioAccountRepository,
)
from serve_app.settings import SenderSettings

log = structlog.get_logger(__name__)

SEND_WITHIN_S = 5.0
"""How long after a reply was marked as being sent it may still be sent, at most. A sender that was frozen in
between may have been replaced: it leaves the reply in doubt, to be looked up."""


class ReplySender:
    """The handler of the outbound queue: jobs of one conversation, in order."""

    def __init__(
        self,
        *,
        replies: ReplyRepository,
        accounts: TwilioAccountRepository,
        consents: ConsentRepository,
        rates: SendRates,
        channels: Mapping[str, Channel],
        clock: Clock,
        settings: SenderSettings,
        send_limits_s: Mapping[str, float],
        send_within_s: float = SEND_WITHIN_S,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`send_limits_s` are how long each channel may take for one send, by its name."""
        self._send_within_s = send_within_s
        self._send_limits_s = send_limits_s
        self._tracing = tracing or Tracing()
        self._replies = replies
        self._accounts = accounts
        self._doubtful = DoubtfulReplies(replies=replies, accounts=accounts, channels=channels)
        self._consents = consents
        self._rates = rates
        self._channels = channels
        self._clock = clock
        self._settings = settings
        self._metrics = metrics or Unmeasured()

    async def handle(self, claim: Claim) -> None:
        for job in claim.jobs:
            found = await self._accounts.to_send(job.payload)
            if found is None:
                log.error("reply_not_found", reply_id=job.payload)
                continue
            reply = found.reply
            with structlog.contextvars.bound_contextvars(
                reply_id=reply.id, conversation=reply.conversation_id, **log_fields(job.trace)
            ):
                await self._deliver(reply, job, found.account)

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        """A doubtful reply is parked, never repeated; one that was surely not sent stays `pending`, so
        that replaying its dead letter sends it."""
        for letter in letters:
            reply = await self._replies.get(letter.job.payload)
            if reply and reply.status in (ReplyStatus.SENDING, ReplyStatus.UNKNOWN):
                await self._replies.park(reply.id, error=letter.job.history[-1].message)
                log.error(
                    "reply_parked",
                    reply_id=reply.id,
                    conversation=reply.conversation_id,
                    **log_fields(letter.job.trace),
                )

    async def _deliver(self, reply: Reply, job: Job, account: TwilioAccount | None = None) -> None:
        if reply.status in (ReplyStatus.SENDING, ReplyStatus.UNKNOWN):
            if await self._resolve(reply, job):
                return
        elif reply.status is not ReplyStatus.PENDING:
            return
        account = account or await self._account(reply)
        if account is None:
            return
        lane = lane_of(reply, account, self._settings)
        await self._wait_for_turn(reply, lane)
        began = self._clock.now()
        cleared = await self._replies.mark_sending(
            reply.id,
            window_s=self._channels[reply.channel].window_s(reply.recipient),
            has_template=account.sending.template is not None,
        )
        if cleared is None:
            await self._explain(reply)
            return
        # By the wall clock, which also counts what a frozen machine slept through.
        late_s = (self._clock.now() - began).total_seconds()
        if late_s > self._send_within_s:
            log.warning("reply_too_late_to_send", seconds=round(late_s, 1))
            raise SnoozeError(
                "this sender stood still while it was about to send",
                delay_s=self._settings.resolve_after_s,
            )
        try:
            sent = await self._send(cleared, account)
        except SendDeferredError as error:
            await self._replies.mark_pending(reply.id)
            await self._pause(lane, error)
            raise
        except SendRejectedError as error:
            may_be_template = account.sending.template is not None and not cleared.as_template
            if error.fault is Fault.TEMPLATE_NEEDED and may_be_template:
                await self._send_template(reply, job, error)
                return
            if error.fault is Fault.OPTED_OUT:
                await self._consents.refused(reply.id, at=self._clock.now())
            await self._replies.mark_failed(reply.id, code=error.code, error=str(error))
            log.warning("reply_rejected", code=error.code, error=str(error))
            return
        except SendUnknownError as error:
            await self._replies.mark_unknown(reply.id, error=str(error))
            log.warning("reply_in_doubt", error=str(error))
            raise SnoozeError(str(error), delay_s=self._settings.resolve_after_s) from error
        await self._replies.mark_sent(reply.id, sent)
        self._observe_reply(job)
        log.info("reply_sent", provider_message_id=sent.message_id, status=sent.status.value)

    async def _send_template(self, reply: Reply, job: Job, error: SendRejectedError) -> None:
        """The provider refused it at once because WhatsApp takes nothing else from this business now."""
        await self._replies.mark_pending(reply.id, as_template=True)
        log.info("reply_needs_a_template", code=error.code)
        again = await self._replies.get(reply.id)
        if again is not None:
            await self._deliver(again, job)

    async def _send(self, reply: Reply, account: TwilioAccount) -> SentMessage:
        template = None
        if reply.as_template and account.sending.template is not None:
            words = await self._replies.template_words(reply.id)
            template = fill(account.sending.template, {**words, "text": reply.body})
        began, outcome = self._clock.monotonic(), "unknown"
        limit_s = self._send_limits_s[reply.channel]
        try:
            with self._tracing.span("send", kind=SpanKind.CLIENT, channel=reply.channel):
                # Also of a channel that asks twice, under another token: whoever takes over goes by it.
                async with asyncio.timeout(limit_s):
                    sent = await self._channels[reply.channel].send(
                        outbound_message(reply, account, template=template), account
                    )
            outcome = "sent"
        except TimeoutError as error:
            raise SendUnknownError(f"no answer within {limit_s:g} s") from error
        except SendDeferredError:
            outcome = "deferred"
            raise
        except SendRejectedError:
            outcome = "rejected"
            raise
        finally:
            self._metrics.add(SENDS, outcome=outcome)
            self._metrics.observe(STAGE_SECONDS, self._clock.monotonic() - began, stage="send")
        return sent

    def _observe_reply(self, job: Job) -> None:
        """The trace is ours, but older jobs and spooled ones of another version may lack the time."""
        try:
            accepted = float(job.trace["accepted_at"])
        except (KeyError, ValueError):
            return
        seconds = self._clock.now().timestamp() - accepted
        self._metrics.observe(REPLY_SECONDS, max(0.0, seconds))

    async def _wait_for_turn(self, reply: Reply, lane: SendLane) -> None:
        """Raises `SnoozeError` if the sender's or the contact's rate asks for more than a moment."""
        patience = self._settings.rate_wait_s
        while True:
            wait = await self._rates.acquire(lane, reply.id, cost=reply.segments or 1)
            if wait <= 0:
                return
            if wait > patience:
                raise SnoozeError("as fast as its sender and its contact allow", delay_s=wait)
            patience -= wait
            await self._clock.sleep(wait)

    async def _pause(self, lane: SendLane, error: SendDeferredError) -> None:
        """All replicas hear of it. Raises `SnoozeError` where waiting is all that is to be done: nothing is
        given up for it, however long it takes."""
        if error.fault is Fault.SLOW_DOWN:
            wait = await self._rates.slow_down(lane, at_least_s=error.retry_after or 0.0)
            log.warning("sender_slowed_down", sender=lane.sender, seconds=round(wait, 1))
        elif error.fault is Fault.HOLD:
            wait = await self._rates.slow_down(lane, at_least_s=self._settings.account_pause_s)
            log.error("account_refused", account=lane.account_id, error=str(error))
        else:
            return
        raise SnoozeError(str(error), delay_s=wait) from error

    async def _explain(self, reply: Reply) -> None:
        """Why a reply that was to be sent isn't. Raises `SnoozeError` if it is in other hands."""
        now = await self._replies.get(reply.id)
        if now is None or now.status is not ReplyStatus.CANCELED:
            raise SnoozeError(
                "another sender has this reply", delay_s=self._settings.resolve_after_s
            )
        log.warning("reply_canceled", reason=now.error_message)

    async def _resolve(self, reply: Reply, job: Job) -> bool:
        """True if the doubtful reply is settled, False if it is `pending` again and may be sent.

        Raises `SnoozeError` while it is too early to tell, and `ListUnavailableError`, a failed attempt,
        while the provider's list can't be read; after `resolve_attempts` of those it is parked.
        """
        since = reply.sending_since or self._clock.now()
        after = self._settings.resolve_after_s
        if reply.status is ReplyStatus.SENDING:
            # Its sender may be frozen, or slow, and not dead: whatever the lease, look when it can't send
            # any more.
            after = max(after, self._send_within_s + self._send_limits_s[reply.channel])
        wait = after - (self._clock.now() - since).total_seconds()
        if wait > 0:
            raise SnoozeError("waiting for the delivery report", delay_s=wait)
        if reply.status is ReplyStatus.SENDING:
            await self._replies.mark_unknown(reply.id, error="the sender stopped while sending")
        account = await self._account(reply)
        if account is None:
            return True
        try:
            found = await self._doubtful.find(reply, account, since=since)
        except ListUnavailableError as error:
            if _looks(job) + 1 < self._settings.resolve_attempts:
                raise
            await self._park(reply, f"no delivery report, and {error}")
            return True
        if found is not None:
            await self._replies.mark_sent(reply.id, found)
            log.info("doubtful_reply_was_sent", provider_message_id=found.message_id)
            return True
        if self._settings.resend_when_absent:
            await self._replies.mark_pending(reply.id)
            log.info("doubtful_reply_was_not_sent")
            return False
        await self._park(reply, "the provider's list doesn't hold it")
        return True

    async def _park(self, reply: Reply, error: str) -> None:
        await self._replies.park(reply.id, error=error)
        log.error("reply_parked", error=error)

    async def _account(self, reply: Reply) -> TwilioAccount | None:
        account = await self._doubtful.account_of(reply)
        if account is None:
            error = f"account {reply.account_sid} isn't stored any more"
            await self._replies.mark_failed(reply.id, code=None, error=error)
            log.error("reply_has_no_account", account=reply.account_sid)
        return account


def _looks(job: Job) -> int:
    """How often the provider's list couldn't be read for this job."""
    name = ListUnavailableError.__name__
    return sum(attempt.error_type == name for attempt in job.history)
