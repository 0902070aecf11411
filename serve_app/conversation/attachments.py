"""What belongs to a message without being in it: the people of a contact card, the message replied to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from models.accounts import TwilioAccount
from models.errors import MediaRejectedError
from models.messages import ContactCard, MessageKind
from serve_app.conversation.reading import HeardMessage
from serve_app.conversation.vcard import parse_vcards
from serve_app.ports import Channel, ConversationRepository

log = structlog.get_logger(__name__)


class AttachmentReader:
    """Completes the messages of a turn before the model reads them."""

    def __init__(self, *, conversations: ConversationRepository) -> None:
        self._conversations = conversations

    async def read(
        self,
        messages: Sequence[HeardMessage],
        *,
        conversation_id: str,
        account: TwilioAccount,
        channel: Channel,
    ) -> list[HeardMessage]:
        """In order. Raises `MediaNotReadyError` for a contact card that isn't there yet, and what the store
        raises."""
        return list(
            await asyncio.gather(
                *(self._read(m, conversation_id, account, channel) for m in messages)
            )
        )

    async def _read(
        self, heard: HeardMessage, conversation_id: str, account: TwilioAccount, channel: Channel
    ) -> HeardMessage:
        message = heard.stored.message
        cards: tuple[ContactCard, ...] = ()
        quoted = None
        if message.kind is MessageKind.CONTACT and not message.contacts:
            cards = await self._cards(heard, account, channel)
        if message.in_reply_to is not None:
            quoted = await self._conversations.quoted(
                conversation_id, message_id=message.in_reply_to
            )
        return replace(heard, cards=cards, quoted=quoted)

    async def _cards(
        self, heard: HeardMessage, account: TwilioAccount, channel: Channel
    ) -> tuple[ContactCard, ...]:
        found: list[ContactCard] = []
        for ref in heard.stored.message.media:
            try:
                file = await channel.fetch_media(ref, account)
            except MediaRejectedError as error:
                log.warning("contact_card_rejected", message_id=heard.stored.id, error=str(error))
                continue
            found += parse_vcards(file.content)
        return tuple(found)
