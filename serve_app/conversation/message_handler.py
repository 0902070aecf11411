"""Puts a turn's messages on record."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from models.accounts import Addressee, TwilioAccount
from models.conversations import Conversation, StoredMessage
from models.errors import AccountNotFoundError, UnprocessableError
from models.jobs import Claim, Job
from models.messages import InboundMessage
from serve_app.ports import ConversationRepository, TwilioAccountRepository


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """Messages of one conversation in order of arrival: those to answer, and the turns that
    an earlier try committed already."""

    addressee: Addressee
    conversation: Conversation
    open: tuple[StoredMessage, ...]
    committed_turns: tuple[str, ...]

    @property
    def account(self) -> TwilioAccount:
        return self.addressee.account

    @property
    def turn_id(self) -> str:
        """Derived from the first open message, so that every try of a turn has the same id."""
        return self.open[0].id


class MessageHandler:
    """Parses jobs and records their messages; recording one twice changes nothing."""

    def __init__(
        self, *, accounts: TwilioAccountRepository, conversations: ConversationRepository
    ) -> None:
        self._accounts = accounts
        self._conversations = conversations

    async def record(self, claim: Claim) -> RecordedTurn:
        """Raises `UnprocessableError` for a job that holds no message, `AccountNotFoundError` for a
        number that no account owns."""
        messages = [parse_job(job) for job in claim.jobs]
        first = messages[0]
        addressee = await self._accounts.addressee(
            account_sid=first.account_id,
            address=first.recipient,
            messaging_service_sid=first.messaging_service_id,
        )
        if addressee is None:
            raise AccountNotFoundError(
                f"no account is stored for a number of {first.account_id}; "
                "add the number to the account's phone numbers and replay"
            )
        conversation, stored = await self._conversations.record(
            messages, owner_id=addressee.owner.id, account=addressee.account
        )
        committed = dict.fromkeys(m.turn_id for m in stored if m.turn_id is not None)
        return RecordedTurn(
            addressee=addressee,
            conversation=conversation,
            open=tuple(m for m in stored if m.turn_id is None),
            committed_turns=tuple(committed),
        )


def parse_job(job: Job) -> InboundMessage:
    try:
        return InboundMessage.from_queue(job.payload)
    except ValidationError as error:
        # Their places, not their values: those are what a contact wrote.
        faults = ", ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise UnprocessableError(f"job {job.id} holds no message: {faults}") from error
