"""A contact writes: the message as the Cloud API's webhook carries it."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

from serve_app.simulator.inbound import NewInbound, NewMedia
from serve_app.simulator.state import SimFile, SimMessage, SimulatorState, new_sid
from serve_app.simulator.webhooks import Delivery
from serve_app.simulator.whatsapp_cloud.account import CloudSettings
from serve_app.simulator.whatsapp_cloud.webhooks import CloudPoster


def new_message_id() -> str:
    return "wamid." + base64.b64encode(new_sid("").encode()).decode()


class CloudInbound:
    def __init__(
        self, *, settings: CloudSettings, state: SimulatorState, poster: CloudPoster
    ) -> None:
        self._settings = settings
        self._state = state
        self._poster = poster

    def store(self, new: NewInbound) -> tuple[SimMessage, dict[str, Any]]:
        """The message and the value of its webhook. Raises ValueError for media that isn't base64."""
        files = [_file(media, self._settings.early_404s) for media in new.media]
        for file in files:
            self._state.add_file(file)
        message = SimMessage(
            sid=new_message_id(),
            direction="inbound",
            sender=new.sender,
            recipient=self._settings.phone_number_id,
            body=new.body or (choice.title if (choice := new.button or new.list_item) else ""),
            status="received",
            media=tuple(file.sid for file in files),
        )
        message.sent = message.created
        self._state.add(message)
        person = {"profile": {"name": "Simulated Contact"}}
        who: dict[str, str] = {}
        if new.sender.isdecimal():
            person["wa_id"] = who["from"] = new.sender  # type: ignore[assignment]
        if new.user_id or not new.sender.isdecimal():
            person["user_id"] = who["from_user_id"] = new.user_id or new.sender  # type: ignore[assignment]
        document = {
            **who,
            "id": message.sid,
            "timestamp": str(int(time.time())),
            **_contents(new, files),
            **_around(new, self._settings),
            **(new.model_extra or {}),
        }
        return message, {"contacts": [person], "messages": [document]}

    async def post(self, message: SimMessage, value: dict[str, Any]) -> Delivery:
        message.posted_at = time.time()
        delivery = await self._poster.post(value)
        message.acknowledged_at = time.time()
        message.webhook_status = delivery.status
        self._state.counts["webhooks"] += delivery.attempts
        self._state.changed(message)
        return delivery


def _file(media: NewMedia, early_404s: int) -> SimFile:
    content = base64.b64decode(media.content_base64, validate=True)
    digits = str(int.from_bytes(hashlib.sha256(new_sid("").encode()).digest()[:6]))
    return SimFile(digits, content, media.content_type, early_404s)


def _contents(new: NewInbound, files: list[SimFile]) -> dict[str, Any]:
    if files:
        return _media(new, files[0])
    if new.location is not None:
        place = new.location.model_dump(exclude_none=True)
        return {"type": "location", "location": place}
    if new.contact is not None:
        card: dict[str, Any] = {"name": {"formatted_name": new.contact.name}}
        if new.contact.phone:
            card["phones"] = [{"phone": new.contact.phone, "type": "CELL"}]
        return {"type": "contacts", "contacts": [card]}
    for name, choice in (("button_reply", new.button), ("list_reply", new.list_item)):
        if choice is not None:
            reply = choice.model_dump(exclude_none=True) | {"id": choice.id or choice.title}
            return {"type": "interactive", "interactive": {"type": name, name: reply}}
    return {"type": "text", "text": {"body": new.body}}


def _media(new: NewInbound, file: SimFile) -> dict[str, Any]:
    major = file.content_type.split("/", 1)[0]
    kind = major if major in {"audio", "image", "video"} else "document"
    if new.media[0].sticker:
        kind = "sticker"
    part: dict[str, Any] = {
        "id": file.sid,
        "mime_type": file.content_type,
        "sha256": hashlib.sha256(file.content).hexdigest(),
    }
    if kind == "audio":
        part["voice"] = file.content_type.startswith("audio/ogg")
    elif new.body:
        part["caption"] = new.body
    if kind == "document":
        part["filename"] = new.media[0].filename or "file"
    return {"type": kind, kind: part}


def _around(new: NewInbound, settings: CloudSettings) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if new.reply_to is not None:
        context = {"from": settings.display_phone_number, "id": new.reply_to}
    if new.frequently_forwarded:
        context["frequently_forwarded"] = True
    elif new.forwarded:
        context["forwarded"] = True
    found: dict[str, Any] = {"context": context} if context else {}
    if new.referral is not None:
        found["referral"] = new.referral.model_dump()
    return found
