"""Accepts webhooks: verify, parse, store durably. Nothing else happens before the answer."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

import structlog

from models.accounts import TwilioAccount
from models.errors import SignatureError, UnprocessableError
from models.jobs import DeadReason, NewJob
from models.messages import InboundMessage, StatusUpdate
from serve_app.api.account_cache import AccountCache
from serve_app.api.bursts import BurstWindows
from serve_app.api.consent_intake import ConsentIntake
from serve_app.api.intake import Intake, Kept
from serve_app.ops.tracing import trace_headers
from serve_app.ports import Channel, Clock, Queue, WebhookForm, WebhookRequest

log = structlog.get_logger(__name__)

Subject = Literal["message", "status"]
IGNORED = "ignored"
"""Told something that isn't about messages."""


class WebhookService:
    """One channel's webhooks. A webhook is accepted when it is on Redis or in Postgres' spool."""

    def __init__(
        self,
        *,
        channel: Channel,
        accounts: AccountCache,
        inbound: Queue,
        status: Queue,
        intake: Intake,
        consent: ConsentIntake,
        clock: Clock,
        bursts: BurstWindows,
    ) -> None:
        self._channel = channel
        self._accounts = accounts
        self._inbound = inbound
        self._status = status
        self._intake = intake
        self._consent = consent
        self._clock = clock
        self._bursts = bursts
        # Bound once: by itself the logger is put together anew for each line.
        self._log = log.bind()

    @property
    def form(self) -> WebhookForm:
        return self._channel.webhook_form

    def handshake(self, request: WebhookRequest) -> str:
        """Raises `SignatureError`."""
        return self._channel.handshake(request)

    async def accept(self, request: WebhookRequest, *, about: Subject) -> str:
        """What became of it, as the metric's label `outcome` says. `about` is what the webhook's address
        says, for what can't be read. Raises `SignatureError`, `OverloadedError` if too much work waits
        already, or `StoreUnavailableError` if it can't be kept anywhere: then all of it should come again,
        and what was kept of it is recognised."""
        accounts = await self.verify(request)
        queue = self._status if about == "status" else self._inbound
        try:
            contents = self._channel.read(request, received_at=self._clock.now())
        except UnprocessableError as error:
            self._intake.refuse_if_full(queue)
            text = request.body.decode("utf-8", "replace")
            return await self._bury(queue, text, error)
        # However much waits: who opts out gets no more replies.
        for message in contents.messages:
            await self._take_consent(message)
        self._intake.refuse_if_full(queue)
        outcomes = [
            await self._keep_message(message, accounts[message.account_id])
            for message in contents.messages
        ]
        outcomes += [
            await self._keep_report(report, accounts[report.account_id])
            for report in contents.reports
        ]
        for part in contents.unreadable:
            error = UnprocessableError(part.reason)
            outcomes.append(await self._bury(queue, part.payload, error))
        if not outcomes:
            log.info("webhook_without_messages", channel=self._channel.name)
            return IGNORED
        return next((name for name in outcomes if name != Kept.KNOWN.value), Kept.KNOWN.value)

    async def _take_consent(self, message: InboundMessage) -> None:
        late = await self._consent.take(message)
        if late is not None:
            await self._intake.keep(self._status, late, lambda: self._status.publish(late))

    async def _keep_message(self, message: InboundMessage, account: TwilioAccount) -> str:
        known = {
            "correlation_id": secrets.token_hex(16),
            "owner": account.owner_id,
            "message_id": message.message_id,
        }
        job = NewJob(
            id=message.job_id,
            conversation=message.conversation_key,
            payload=message.model_dump_json(),
            trace={
                **known,
                "accepted_at": f"{message.received_at.timestamp():.3f}",
                **trace_headers(),
            },
            fairness_key=account.fairness_key(message.recipient),
        )
        window_s = await self._bursts.window_s(message, account)
        with structlog.contextvars.bound_contextvars(**known, conversation=job.conversation):
            kept = await self._intake.keep(
                self._inbound,
                job,
                lambda: self._inbound.publish(job, debounce_s=window_s),
                debounce_s=window_s,
            )
            self._log.info("webhook_accepted", kind=message.kind.value, new=kept is not Kept.KNOWN)
        return kept.value

    async def _keep_report(self, report: StatusUpdate, account: TwilioAccount) -> str:
        job = NewJob(
            id=report.job_id,
            conversation=report.conversation_key,
            payload=report.model_dump_json(),
            trace=trace_headers(),
            fairness_key=account.owner_id,
        )
        with structlog.contextvars.bound_contextvars(reply_id=report.reply_id):
            kept = await self._intake.keep(self._status, job, lambda: self._status.publish(job))
        return kept.value

    async def verify(self, request: WebhookRequest) -> dict[str, TwilioAccount]:
        """Each account that the webhook speaks for must vouch for it; by the provider's ids. Raises
        `SignatureError`, or `StoreUnavailableError` if one can't be looked up."""
        ids = self._channel.account_ids(request)
        return {account_id: await self._verify_for(account_id, request) for account_id in ids}

    async def _verify_for(self, account_id: str, request: WebhookRequest) -> TwilioAccount:
        account = await self._accounts.get(account_id)
        if account is None or account.channel != self._channel.name:
            raise SignatureError("the account isn't known here")
        try:
            self._channel.verify(request, account)
        except SignatureError:
            # The token may have been rotated since it was read.
            renewed = await self._accounts.get(account_id, fresh=True)
            if renewed is None or renewed == account:
                raise
            self._channel.verify(request, renewed)
            return renewed
        return account

    async def _bury(self, queue: Queue, payload: str, error: Exception) -> str:
        digest = hashlib.sha256(payload.encode()).hexdigest()
        job = NewJob(id=f"unprocessable:{digest}", conversation="unprocessable", payload=payload)
        log.warning("webhook_unprocessable", error=str(error), job=job.id)
        await self._intake.keep(
            queue, job, lambda: queue.bury(job, DeadReason.UNPROCESSABLE, error)
        )
        return "unprocessable"
