"""Inbound messages as Twilio's REST API lists them, for those whose webhook was lost.

The list knows less than the webhook: no profile name, no location, no button, and no message type. The
kind is told from the files alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from twilio.rest.api.v2010.account.message import MessageInstance
from twilio.rest.api.v2010.account.message.media import MediaInstance

from models.messages import InboundMessage, MediaRef
from serve_app.channels.twilio.payload import TwilioWhatsAppPayload, kind_of

FILES = "NumMedia"
"""Among a listed message's extras: how many files it has, until they are looked up."""


def listed_at(message: MessageInstance) -> datetime:
    """When the contact wrote, by Twilio's clock, in whole seconds."""
    return message.date_sent or message.date_created or datetime.now(UTC)


def inbound_message(message: MessageInstance) -> InboundMessage:
    """Without its files. Raises `UnprocessableError`."""
    params = {
        "AccountSid": message.account_sid,
        "MessageSid": message.sid,
        "From": message.from_,
        "To": message.to,
        "Body": message.body,
        "MessagingServiceSid": message.messaging_service_sid,
    }
    payload = TwilioWhatsAppPayload.from_params(
        (name, value) for name, value in params.items() if value is not None
    )
    parsed = payload.to_message(received_at=listed_at(message))
    return parsed.model_copy(update={"extra": {FILES: message.num_media or "0"}})


def has_files(message: InboundMessage) -> bool:
    return message.extra.get(FILES, "0") != "0"


def with_files(
    message: InboundMessage, files: Sequence[MediaInstance], *, api_url: str
) -> InboundMessage:
    """The URLs are those that a webhook would have carried."""
    media = tuple(
        MediaRef(
            url=api_url.rstrip("/") + (file.uri or "").removesuffix(".json"),
            content_type=file.content_type or "application/octet-stream",
        )
        for file in files
    )
    extra = {name: value for name, value in message.extra.items() if name != FILES}
    changes = {"media": media, "kind": kind_of(media), "extra": extra}
    return message.model_copy(update=changes)
