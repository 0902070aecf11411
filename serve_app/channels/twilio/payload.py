"""Twilio's webhook parameters and what they mean here.

Names and shapes: https://www.twilio.com/docs/messaging/guides/webhook-request. Twilio adds
parameters without notice, so unknown ones are kept, never refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.consent import ConsentWord
from models.errors import UnprocessableError
from models.messages import (
    Choice,
    DeliveryStatus,
    InboundMessage,
    Location,
    MediaRef,
    MessageKind,
    Referral,
    StatusUpdate,
)
from serve_app.channels.twilio.errors import reported_fault
from serve_app.ports import WebhookRequest

CHANNEL = "twilio"
REPLY_PARAMETER = "reply"
"""The callback URL's query parameter that carries our reply's id."""

_MAX_MEDIA = 32
"""Twilio sends at most 10; a bound because the number comes from outside."""

_KINDS: dict[str, MessageKind] = {
    **{kind.value: kind for kind in MessageKind},
    "contacts": MessageKind.CONTACT,
    "interactive": MessageKind.LIST,
    "voice": MessageKind.AUDIO,
    "unsupported": MessageKind.OTHER,
}
"""Twilio's MessageType, which SMS doesn't have."""
VCARD_TYPES = frozenset({"text/vcard", "text/x-vcard", "text/directory"})


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header's value; names are compared without case."""
    value = headers.get(name.lower())
    if value is not None:
        return value
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), None)


def is_json(request: WebhookRequest) -> bool:
    return (header(request.headers, "content-type") or "").startswith("application/json")


def read_params(request: WebhookRequest) -> tuple[tuple[str, str], ...]:
    """The webhook's parameters in the order they came, empty ones and repeated ones included.

    Raises `UnprocessableError` for a body that is neither a form nor a JSON object.
    """
    if request.params:
        return request.params
    try:
        text = request.body.decode()
        if not is_json(request):
            return tuple(parse_qsl(text, keep_blank_values=True, errors="strict"))
        document: object = json.loads(text)
    except ValueError as error:
        raise UnprocessableError(f"unreadable webhook body: {error}") from error
    if not isinstance(document, dict):
        raise UnprocessableError("a JSON webhook must be an object")
    members = cast("dict[str, object]", document)
    return tuple(
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in members.items()
        if value is not None
    )


class TwilioWhatsAppPayload(BaseModel):
    """An inbound message (WhatsApp or SMS) as Twilio's webhook describes it.

    Parameters without a field of their own stay in `model_extra` under Twilio's names.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    message_sid: str = Field(alias="MessageSid", min_length=1, max_length=64)
    account_sid: str = Field(alias="AccountSid", min_length=1, max_length=64)
    sender: str = Field(alias="From", min_length=1, max_length=256)
    recipient: str = Field(alias="To", min_length=1, max_length=256)
    body: str = Field(default="", alias="Body")
    messaging_service_sid: str | None = Field(default=None, alias="MessagingServiceSid")
    num_media: int = Field(default=0, alias="NumMedia", ge=0, le=_MAX_MEDIA)
    profile_name: str | None = Field(default=None, alias="ProfileName")
    external_user_id: str | None = Field(default=None, alias="ExternalUserId")
    message_type: str | None = Field(default=None, alias="MessageType")
    button_text: str | None = Field(default=None, alias="ButtonText")
    button_payload: str | None = Field(default=None, alias="ButtonPayload")
    list_id: str | None = Field(default=None, alias="ListId")
    list_title: str | None = Field(default=None, alias="ListTitle")
    list_description: str | None = Field(default=None, alias="ListDescription")
    latitude: str | None = Field(default=None, alias="Latitude")
    longitude: str | None = Field(default=None, alias="Longitude")
    place: str | None = Field(default=None, alias="Label")
    address: str | None = Field(default=None, alias="Address")
    forwarded: str | None = Field(default=None, alias="Forwarded")
    frequently_forwarded: str | None = Field(default=None, alias="FrequentlyForwarded")
    referral_headline: str | None = Field(default=None, alias="ReferralHeadline")
    referral_body: str | None = Field(default=None, alias="ReferralBody")
    referral_source_type: str | None = Field(default=None, alias="ReferralSourceType")
    referral_source_id: str | None = Field(default=None, alias="ReferralSourceId")
    referral_source_url: str | None = Field(default=None, alias="ReferralSourceUrl")
    referral_click_id: str | None = Field(default=None, alias="ReferralCtwaClid")
    replied_message_sid: str | None = Field(default=None, alias="OriginalRepliedMessageSid")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: dict[str, str]) -> dict[str, str]:
        """Blank parameters mean the same as absent ones; older names stand in for newer ones."""
        filled = {name: value for name, value in values.items() if value != ""}
        for older in ("SmsMessageSid", "SmsSid"):
            if "MessageSid" not in filled and older in filled:
                filled["MessageSid"] = filled[older]
        # A user who hides the phone number has only the business-scoped id.
        if "From" not in filled and "ExternalUserId" in filled:
            filled["From"] = "whatsapp:" + filled["ExternalUserId"].removeprefix("whatsapp:")
        return filled

    @classmethod
    def from_params(cls, params: Iterable[tuple[str, str]]) -> TwilioWhatsAppPayload:
        """Raises `UnprocessableError`, naming the parameters at fault but not their values."""
        try:
            return cls.model_validate(merged(params, single=_SINGLE))
        except ValidationError as error:
            faults = ", ".join(
                f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            )
            raise UnprocessableError(f"not an inbound message: {faults}") from error

    def to_message(self, *, received_at: datetime) -> InboundMessage:
        extra = {name: str(value) for name, value in (self.model_extra or {}).items()}
        media = tuple(
            MediaRef(
                url=url,
                content_type=extra.pop(f"MediaContentType{index}", "application/octet-stream"),
            )
            for index in range(self.num_media)
            if (url := extra.pop(f"MediaUrl{index}", None))
        )
        location, choice = self._location(), self._choice()
        kind = kind_of(media, located=location is not None, message_type=self.message_type)
        if choice is not None:
            kind = MessageKind.LIST if self.list_id or self.list_title else MessageKind.BUTTON
        unread = {
            "MessageType": self.message_type if kind is MessageKind.OTHER else None,
            "Latitude": self.latitude if location is None else None,
            "Longitude": self.longitude if location is None else None,
        }
        extra |= {name: value for name, value in unread.items() if value}
        return InboundMessage(
            channel=CHANNEL,
            account_id=self.account_sid,
            message_id=self.message_sid,
            sender=self.sender,
            recipient=self.recipient,
            contact_key=self.external_user_id or self.sender,
            body=self.body or (choice.title if choice else ""),
            media=media,
            kind=kind,
            location=location,
            choice=choice,
            referral=self._referral(),
            forwarded=is_true(self.forwarded),
            frequently_forwarded=is_true(self.frequently_forwarded),
            profile_name=self.profile_name,
            messaging_service_id=self.messaging_service_sid,
            in_reply_to=self.replied_message_sid,
            received_at=received_at,
            opt_out_type=_opt_out_type(extra.get("OptOutType")),
            extra=extra,
        )

    def _location(self) -> Location | None:
        """None also where the degrees can't be read."""
        if self.latitude is None or self.longitude is None:
            return None
        try:
            latitude, longitude = float(self.latitude), float(self.longitude)
        except ValueError:
            return None
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            return None
        return Location(
            latitude=latitude, longitude=longitude, name=self.place, address=self.address
        )

    def _choice(self) -> Choice | None:
        title = self.list_title or self.button_text
        choice_id = self.list_id or self.button_payload
        if title is None and choice_id is None:
            return None
        return Choice(id=choice_id, title=title or self.body, description=self.list_description)

    def _referral(self) -> Referral | None:
        told = (
            *(self.referral_headline, self.referral_body, self.referral_source_type),
            *(self.referral_source_id, self.referral_source_url, self.referral_click_id),
        )
        if not any(told):
            return None
        return Referral(
            headline=self.referral_headline,
            body=self.referral_body,
            source_type=self.referral_source_type,
            source_id=self.referral_source_id,
            source_url=self.referral_source_url,
            click_id=self.referral_click_id,
        )


_SINGLE = frozenset(
    {field.alias or name for name, field in TwilioWhatsAppPayload.model_fields.items()}
    | {f"Media{part}{index}" for part in ("Url", "ContentType") for index in range(_MAX_MEDIA)}
)


def merged(
    params: Iterable[tuple[str, str]], *, single: Collection[str] | None = None
) -> dict[str, str]:
    """One value for each name: the first that isn't blank. Of a parameter that isn't in `single` and comes
    several times, each different value is kept, one a line. Without `single`, every parameter is in it.

    Postgres' text can't hold NUL, and nobody can see one in a message: it is left out.
    """
    pairs = tuple(params)
    once = dict(pairs)
    if len(once) == len(pairs) and not any("\x00" in value for value in once.values()):
        return once
    values: dict[str, list[str]] = {}
    for name, raw in pairs:
        value = raw.replace("\x00", "")
        kept = values.setdefault(name, [])
        if value and value not in kept:
            kept.append(value)
    return {
        name: "\n".join(kept if single is not None and name not in single else kept[:1])
        for name, kept in values.items()
    }


def is_true(value: str | None) -> bool:
    return (value or "").strip().lower() == "true"


def kind_of(
    media: tuple[MediaRef, ...], *, located: bool = False, message_type: str | None = None
) -> MessageKind:
    """By the files first: a contact card is one, and so is a sticker."""
    named = _KINDS.get(message_type.lower(), MessageKind.OTHER) if message_type else None
    if media:
        content_type = media[0].content_type.split(";", 1)[0].strip().lower()
        if content_type in VCARD_TYPES:
            return MessageKind.CONTACT
        if named not in {None, MessageKind.TEXT, MessageKind.OTHER}:
            return named or MessageKind.OTHER
        major = content_type.split("/", 1)[0]
        return MessageKind(major) if major in {"audio", "image", "video"} else MessageKind.DOCUMENT
    if located:
        return MessageKind.LOCATION
    return named or MessageKind.TEXT


def _opt_out_type(value: str | None) -> ConsentWord | None:
    """Advanced Opt-Out: Twilio has answered this message itself."""
    try:
        return ConsentWord((value or "").strip().lower())
    except ValueError:
        return None


def read_status(
    url: str, params: Iterable[tuple[str, str]], *, received_at: datetime
) -> StatusUpdate:
    """A delivery report. Raises `UnprocessableError`."""
    values = merged(params)
    message_id = values.get("MessageSid") or values.get("SmsSid")
    account_id = values.get("AccountSid")
    if not message_id or not account_id:
        raise UnprocessableError("a delivery report without MessageSid or AccountSid")
    name = values.get("MessageStatus") or values.get("SmsStatus") or values.get("EventType", "")
    try:
        status = DeliveryStatus(name.lower())
    except ValueError as error:
        raise UnprocessableError(f"unknown delivery status {name[:40]!r}") from error
    text = values.get("ErrorCode", "")
    code = int(text) if text.isascii() and text.isdigit() and int(text) else None
    query = dict(parse_qsl(urlsplit(url).query))
    return StatusUpdate(
        channel=CHANNEL,
        account_id=account_id,
        message_id=message_id,
        status=status,
        reply_id=query.get(REPLY_PARAMETER),
        error_code=code,
        fault=reported_fault(code),
        error_message=values.get("ErrorMessage") or values.get("ChannelStatusMessage") or None,
        received_at=received_at,
    )
