"""Notes to owners as messages to a number: not after its STOP, and at the rate of the number that sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import structlog

from models.accounts import TwilioAccount
from models.conversations import Note
from models.errors import PermanentError, SendDeferredError, SnoozeError
from models.messages import Fault, OutboundMessage
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.segments import count_segments
from serve_app.ports import (
    Channel,
    ConsentRepository,
    OwnerRepository,
    SendLane,
    SendRates,
    TwilioAccountRepository,
)

log = structlog.get_logger(__name__)

_WHATSAPP = "whatsapp:"
_BARE_DIGITS = "whatsapp_cloud"
"""The channel whose addresses are numbers without plus and prefix, and whose senders are ids."""


class LaneOf(Protocol):
    def __call__(self, account: TwilioAccount, *, sender: str, recipient: str) -> SendLane: ...


class NoteMessages:
    def __init__(
        self,
        *,
        accounts: TwilioAccountRepository,
        consents: ConsentRepository,
        channels: Mapping[str, Channel],
        rates: SendRates,
        lane_of: LaneOf,
        owners: OwnerRepository,
        texts: TextCatalogue,
    ) -> None:
        self._accounts = accounts
        self._consents = consents
        self._channels = channels
        self._rates = rates
        self._lane_of = lane_of
        self._owners = owners
        self._texts = texts

    async def send(self, note: Note) -> None:
        """Raises `SnoozeError` while the sender is as fast as it may be, and what `Channel.send` raises."""
        account = await self._accounts.answering(
            note.account_id, account_sid=note.account_sid, address=note.sender
        )
        if account is None:
            raise PermanentError("the account that the contact wrote to isn't stored any more")
        sender, recipient = ends_of(note)
        body = await self._body(note)
        lane = self._lane_of(account, sender=sender, recipient=recipient)
        cost = count_segments(body) if sender.startswith("+") else 1
        wait = await self._rates.acquire(lane, note.id, cost=cost)
        if wait > 0:
            raise SnoozeError("as fast as the number that sends it may be", delay_s=wait)
        if await self._consents.has_stopped(
            owner_id=note.owner_id, channel=note.channel, address=recipient
        ):
            raise PermanentError(
                "the number that is to be told has opted out: it must write START first"
            )
        message = OutboundMessage(
            reply_id=note.id,
            account_id=note.account_sid,
            sender=sender,
            recipient=recipient,
            body=body,
            messaging_service_id=account.messaging_service_sid,
        )
        try:
            await self._channels[note.channel].send(message, account)
        except SendDeferredError as error:
            if error.fault is not Fault.SLOW_DOWN:
                raise
            wait = await self._rates.slow_down(lane, at_least_s=error.retry_after or 0.0)
            log.warning("sender_slowed_down", sender=lane.sender, seconds=round(wait, 1))
            raise SnoozeError(str(error), delay_s=wait) from error

    async def _body(self, note: Note) -> str:
        owner = await self._owners.get(note.owner_id)
        if owner is None:
            return as_text(note, self._texts, None)
        return as_text(note, self._texts.with_own(owner.assistant.texts), owner.language)


def as_text(note: Note, texts: TextCatalogue, language: str | None) -> str:
    """For the owner's people, so in the owner's language and not in the contact's."""
    data = cast("Mapping[str, object]", note.content.get("data") or {})
    contact = cast("Mapping[str, object]", data.get("contact") or {})
    who = " ".join(str(part) for part in (contact.get("name"), contact.get("address")) if part)
    said = [
        ("note_person_wanted", "{contact}", who),
        ("note_reason", "{reason}", str(data.get("reason") or "-")),
        ("note_last_message", "{message}", str(data.get("last_message") or "")),
    ]
    return "\n".join(
        texts.text(key, language).replace(name, value) for key, name, value in said if value
    )


def ends_of(note: Note) -> tuple[str, str]:
    """From which of the business's addresses to which one: the number that the contact wrote to, on the
    channel of the number that is told."""
    if note.channel == _BARE_DIGITS:
        return note.sender, note.target.removeprefix(_WHATSAPP).removeprefix("+")
    plain = note.sender.removeprefix(_WHATSAPP)
    on_whatsapp = note.target.startswith(_WHATSAPP)
    return (f"{_WHATSAPP}{plain}" if on_whatsapp else plain), note.target
