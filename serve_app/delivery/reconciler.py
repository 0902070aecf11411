"""Finds messages whose webhook never arrived, or was lost with Redis' data, and publishes them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from models.accounts import TwilioAccount
from models.errors import ListUnavailableError
from models.jobs import JobState, NewJob
from models.messages import InboundMessage
from serve_app.ports import Channel, ConversationRepository, Queue, TwilioAccountRepository

log = structlog.get_logger(__name__)

KNOWN_BATCH = 500


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One account: `missing` were neither answered nor on the queue; `published` are fewer if some
    arrived meanwhile. `problem` tells why the account wasn't read, or not in full."""

    account_sid: str
    found: int = 0
    missing: int = 0
    published: int = 0
    problem: str | None = None


class Reconciler:
    """Publishing is idempotent on the message's id: a webhook that is still on its way does no harm."""

    def __init__(
        self,
        *,
        channels: Mapping[str, Channel],
        accounts: TwilioAccountRepository,
        conversations: ConversationRepository,
        inbound: Queue,
        debounce_s: float,
    ) -> None:
        self._channels = channels
        self._accounts = accounts
        self._conversations = conversations
        self._inbound = inbound
        self._debounce_s = debounce_s

    async def reconcile(
        self, account: TwilioAccount, *, since: datetime, dry_run: bool = False
    ) -> Reconciled:
        """`since` must be within the queue's memory of accepted ids, or messages that a person has
        purged come back. Raises what the stores raise; a list that can't be read is a `problem`."""
        sid = account.account_sid
        channel = self._channels[account.channel]
        try:
            received = await channel.list_received(account, since=since)
        except ListUnavailableError as error:
            return Reconciled(sid, problem=str(error))
        missing = await self._missing(received.messages)
        problem = None if received.complete else "the list is longer than what is read of it"
        published = 0
        if not dry_run:
            for listed in missing:
                try:
                    message = await channel.with_media(listed, account)
                except ListUnavailableError as error:
                    # What follows in this conversation would overtake it; the next run takes them all.
                    problem = str(error)
                    break
                published += await self._publish(message, account)
        log.info(
            "reconciled",
            account=sid,
            found=len(received.messages),
            missing=len(missing),
            published=published,
            problem=problem,
        )
        return Reconciled(sid, len(received.messages), len(missing), published, problem)

    async def _missing(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        missing: list[InboundMessage] = []
        for start in range(0, len(messages), KNOWN_BATCH):
            batch = messages[start : start + KNOWN_BATCH]
            answered = await self._conversations.answered(
                channel=batch[0].channel,
                account_sid=batch[0].account_id,
                message_ids=[message.message_id for message in batch],
            )
            for message in batch:
                if message.message_id in answered:
                    continue
                state, _ = await self._inbound.job_state(message.job_id)
                if state is JobState.UNKNOWN:
                    missing.append(message)
        return missing

    async def _publish(self, message: InboundMessage, account: TwilioAccount) -> bool:
        # The list tells no external id, and who has one isn't somebody else for that.
        key = await self._conversations.known_as(message)
        message = message.model_copy(update={"contact_key": key})
        job = NewJob(
            id=message.job_id,
            conversation=message.conversation_key,
            payload=message.model_dump_json(),
            trace={
                "correlation_id": uuid.uuid4().hex,
                "owner": account.owner_id,
                "message_id": message.message_id,
                "source": "reconcile",
            },
            fairness_key=account.fairness_key(message.recipient),
        )
        return await self._inbound.publish(job, debounce_s=await self._window_s(message, account))

    async def _window_s(self, message: InboundMessage, account: TwilioAccount) -> float:
        """As the account says that was written to: others may share its AccountSid."""
        if not account.owns(message.recipient):
            found = await self._accounts.find(
                account_sid=message.account_id,
                address=message.recipient,
                messaging_service_sid=message.messaging_service_id,
            )
            account = found or account
        return self._debounce_s if account.debounce_s is None else account.debounce_s
