"""A contact writes: the message and the parameters of its webhook, as Twilio sends them."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.simulator.accounts import Accounts
from serve_app.simulator.recordings import VOICE_NOTE_TYPE, VoiceNotes
from serve_app.simulator.segments import count_segments
from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimFile, SimMessage, SimulatorState, new_sid
from serve_app.simulator.webhooks import Delivery, WebhookPoster

WHATSAPP = "whatsapp:"
_OPT_OUT = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit"})
_OPT_IN = frozenset({"start", "yes", "unstop"})
_HELP = frozenset({"help", "info"})
_DETAILS = (
    *("MessageType", "ProfileName", "ButtonText", "ButtonPayload", "OriginalRepliedMessageSid"),
    *("Latitude", "Longitude", "Address", "Label"),
)


class NewMedia(BaseModel):
    model_config = ConfigDict(extra="forbid")

    content_base64: str
    content_type: str = "audio/ogg"
    filename: str | None = None
    sticker: bool = False
    recorded: bool = False
    """A recording of whatever format: it is sent as the voice note that WhatsApp makes of it."""


class NewLocation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    name: str | None = None
    address: str | None = None


class NewChoice(BaseModel):
    """A tap on a button, or on an item of a list."""

    model_config = ConfigDict(extra="forbid")

    title: str
    id: str | None = None
    description: str | None = None


class NewContact(BaseModel):
    """A contact card."""

    model_config = ConfigDict(extra="forbid")

    name: str
    phone: str | None = None


class NewReferral(BaseModel):
    """The advertisement that was tapped before."""

    model_config = ConfigDict(extra="forbid")

    headline: str = ""
    body: str = ""
    source_type: str = "ad"
    source_id: str = "120000000000000000"
    source_url: str = "https://fb.me/simulated"


class NewInbound(BaseModel):
    """Extra members go into the webhook as they are, over the simulator's own."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    sender: str = Field(alias="from", min_length=1)
    recipient: str = Field(alias="to", min_length=1)
    body: str = ""
    media: list[NewMedia] = Field(default_factory=list[NewMedia], max_length=10)
    location: NewLocation | None = None
    button: NewChoice | None = None
    list_item: NewChoice | None = None
    contact: NewContact | None = None
    referral: NewReferral | None = None
    reply_to: str | None = None
    """The id of an earlier message."""
    forwarded: bool = False
    frequently_forwarded: bool = False
    user_id: str | None = None
    """The business-scoped id of a contact; with a `from` that is the same, one who hides the number."""
    channel: Literal["twilio", "whatsapp_cloud"] = "twilio"
    """Through which provider."""
    account_sid: str | None = None
    """The account at Twilio that gets it; None is the first."""
    copies: int = Field(default=1, ge=1, le=100)
    """Post the same webhook that often at the same time, as a confused provider would."""

    async def files(self, voice_notes: VoiceNotes) -> list[tuple[bytes, str]]:
        """Contents and types, a contact card among them. Raises ValueError for what isn't base64 or, as a
        recording, isn't one."""
        found: list[tuple[bytes, str]] = []
        for file in self.media:
            try:
                content = base64.b64decode(file.content_base64, validate=True)
            except binascii.Error as error:
                raise ValueError("content_base64 isn't base64") from error
            if file.recorded:
                found.append((await voice_notes.convert(content), VOICE_NOTE_TYPE))
            else:
                found.append((content, file.content_type))
        if self.contact is not None:
            found.append((vcard(self.contact), "text/vcard"))
        return found


def vcard(contact: NewContact) -> bytes:
    """As WhatsApp writes contact cards."""
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:;{contact.name};;;", f"FN:{contact.name}"]
    if contact.phone:
        digits = "".join(filter(str.isdigit, contact.phone))
        lines.append(f"item1.TEL;waid={digits}:{contact.phone}")
        lines.append("item1.X-ABLabel:Mobile")
    return "\r\n".join([*lines, "END:VCARD", ""]).encode()


class Inbound:
    def __init__(
        self,
        *,
        settings: SimulatorSettings,
        state: SimulatorState,
        accounts: Accounts,
        poster: WebhookPoster,
        voice_notes: VoiceNotes,
    ) -> None:
        self._settings = settings
        self._state = state
        self._accounts = accounts
        self._poster = poster
        self._voice_notes = voice_notes

    async def store(self, new: NewInbound) -> tuple[SimMessage, dict[str, str]]:
        """The message and its webhook's parameters. Raises ValueError for unreadable media, and for an
        account that isn't there."""
        account_sid = new.account_sid or self._accounts.first
        if account_sid not in self._accounts:
            raise ValueError(
                f"there is no account {account_sid}: PUT /simulator/accounts/{account_sid}"
            )
        files = [
            SimFile(new_sid("ME"), content, kind, self._settings.early_404s)
            for content, kind in await new.files(self._voice_notes)
        ]
        for file in files:
            self._state.add_file(file)
        message = SimMessage(
            sid=new_sid("MM" if files else "SM"),
            direction="inbound",
            sender=new.sender,
            recipient=new.recipient,
            body=new.body,
            status="received",
            account_sid=account_sid,
            media=tuple(file.sid for file in files),
        )
        message.sent = message.created
        if not message.body and (choice := new.button or new.list_item):
            message.body = choice.title
        params = self._params(message, files)
        if message.sender.startswith(WHATSAPP):
            params |= _particulars(new)
        self._note_opt_out(message, params)
        params.update({name: str(value) for name, value in (new.model_extra or {}).items()})
        message.sid = params["MessageSid"]
        message.details = {name: params[name] for name in _DETAILS if params.get(name)}
        self._state.add(message)
        return message, params

    async def post(self, message: SimMessage, params: dict[str, str]) -> Delivery:
        message.posted_at = message.posted_at or time.time()
        delivery = await self._poster.post(self._settings.signed_webhook_url, params)
        message.webhook_status = delivery.status
        message.acknowledged_at = time.time()
        self._state.changed(message)
        self._state.counts["webhooks"] += delivery.attempts
        return delivery

    def _params(self, message: SimMessage, files: list[SimFile]) -> dict[str, str]:
        settings = self._settings
        params = {
            "SmsMessageSid": message.sid,
            "NumMedia": str(len(files)),
            "SmsSid": message.sid,
            "SmsStatus": "received",
            "Body": message.body,
            "To": message.recipient,
            "NumSegments": str(count_segments(message.body)),
            "MessageSid": message.sid,
            "AccountSid": message.account_sid,
            "From": message.sender,
            "ApiVersion": settings.api_name,
        }
        for index, file in enumerate(files):
            params[f"MediaContentType{index}"] = file.content_type
            params[f"MediaUrl{index}"] = (
                f"{settings.base_url}/{settings.api_name}/Accounts/{message.account_sid}"
                f"/Messages/{message.sid}/Media/{file.sid}"
            )
        if message.sender.startswith(WHATSAPP):
            params |= _whatsapp_params(message, files)
        else:
            for side in ("From", "To"):
                params |= {f"{side}City": "", f"{side}State": "", f"{side}Zip": ""}
                params[f"{side}Country"] = "US"
        return params

    def _note_opt_out(self, message: SimMessage, params: dict[str, str]) -> None:
        """Twilio keeps opt-outs of SMS by itself and says so; on WhatsApp the business has to."""
        if message.sender.startswith(WHATSAPP):
            return
        word = message.body.strip().lower()
        if word in _OPT_OUT:
            self._state.opt_out(message.sender)
            params["OptOutType"] = "STOP"
        elif word in _OPT_IN:
            self._state.opted_out.pop(message.sender, None)
            params["OptOutType"] = "START"
        elif word in _HELP:
            params["OptOutType"] = "HELP"


def _whatsapp_params(message: SimMessage, files: list[SimFile]) -> dict[str, str]:
    name = "Simulated Contact"
    kind = "text"
    if files:
        major = files[0].content_type.split("/", 1)[0]
        kind = major if major in {"audio", "image", "video"} else "document"
    user = message.sender.removeprefix(WHATSAPP)
    # Who hides the number is known by the business-scoped id alone.
    number = {"WaId": user.removeprefix("+")} if user.startswith("+") else {}
    context = {"ProfileName": name, **number}
    return {
        **context,
        "MessageType": kind,
        "ReferralNumMedia": "0",
        "ChannelMetadata": json.dumps({"type": "whatsapp", "data": {"context": context}}),
    }


def _particulars(new: NewInbound) -> dict[str, str]:
    """What a WhatsApp message can be besides text and files."""
    params: dict[str, str | None] = {}
    if new.location is not None:
        place = new.location
        params |= {
            "MessageType": "location",
            "Latitude": str(place.latitude),
            "Longitude": str(place.longitude),
            "Label": place.name,
            "Address": place.address,
        }
    if new.contact is not None:
        params["MessageType"] = "contacts"
    if any(file.sticker for file in new.media):
        params["MessageType"] = "sticker"
    if new.button is not None:
        title = new.button.title
        params |= {"MessageType": "button", "ButtonText": title}
        params["ButtonPayload"] = new.button.id or title
    if new.list_item is not None:
        item = new.list_item
        params |= {"MessageType": "interactive", "ListTitle": item.title}
        params |= {"ListId": item.id or item.title, "ListDescription": item.description}
    if new.referral is not None:
        ad = new.referral
        params |= {
            "ReferralHeadline": ad.headline,
            "ReferralBody": ad.body,
            "ReferralSourceType": ad.source_type,
            "ReferralSourceId": ad.source_id,
            "ReferralSourceUrl": ad.source_url,
        }
    if new.reply_to is not None:
        params |= {
            "OriginalRepliedMessageSid": new.reply_to,
            "OriginalRepliedMessageSender": new.recipient,
        }
    params["Forwarded"] = "true" if new.forwarded else None
    params["FrequentlyForwarded"] = "true" if new.frequently_forwarded else None
    params["ExternalUserId"] = new.user_id
    return {name: value for name, value in params.items() if value is not None}
