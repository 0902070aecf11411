"""What a message of the Cloud API holds, by its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pydantic import ConfigDict, Field

from models.messages import (
    Choice,
    ContactCard,
    Frozen,
    Location,
    MediaRef,
    MessageKind,
    Referral,
)

_FILES = {
    "audio": MessageKind.AUDIO,
    "voice": MessageKind.AUDIO,
    "image": MessageKind.IMAGE,
    "video": MessageKind.VIDEO,
    "document": MessageKind.DOCUMENT,
    "sticker": MessageKind.STICKER,
}
_MOST_ITEMS = 30


class MessageContents(Frozen):
    """The members that `InboundMessage` has, too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: MessageKind = MessageKind.TEXT
    body: str = ""
    media: tuple[MediaRef, ...] = ()
    location: Location | None = None
    contacts: tuple[ContactCard, ...] = ()
    choice: Choice | None = None
    reaction: str | None = None
    referral: Referral | None = None
    forwarded: bool = False
    frequently_forwarded: bool = False
    in_reply_to: str | None = None
    extra: dict[str, str] = Field(default_factory=dict[str, str])


def read_contents(message: dict[str, Any], *, media_url: str) -> MessageContents:
    """Raises pydantic's `ValidationError` for values out of range."""
    kind = _text(message.get("type"))
    context = _object(message, "context")
    around: dict[str, Any] = {
        "in_reply_to": _text(context.get("id")) or None,
        "forwarded": context.get("forwarded") is True
        or context.get("frequently_forwarded") is True,
        "frequently_forwarded": context.get("frequently_forwarded") is True,
        "referral": _referral(_object(message, "referral")),
    }
    part = _object(message, kind)
    if kind in _FILES:
        return MessageContents(**{**around, **_file(kind, part, media_url)})
    read = _READERS.get(kind)
    if read is None:
        return MessageContents(**around, kind=MessageKind.OTHER, extra={"type": kind})
    return MessageContents(**{**around, **read(message, part)})


def _file(kind: str, part: dict[str, Any], media_url: str) -> dict[str, Any]:
    media_id = _text(part.get("id"))
    # It becomes a part of an address that credentials are sent to.
    media: tuple[MediaRef, ...] = ()
    if media_id.isascii() and media_id.replace("_", "").replace("-", "").isalnum():
        media = (
            MediaRef(
                url=f"{media_url}{media_id}",
                content_type=_text(part.get("mime_type")) or "application/octet-stream",
                filename=_text(part.get("filename")) or None,
            ),
        )
    return {"kind": _FILES[kind], "body": _text(part.get("caption")), "media": media}


def _words(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    return {"body": _text(part.get("body"))}


def _place(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    place = Location(
        latitude=part.get("latitude"),  # type: ignore[arg-type]  # pydantic checks it
        longitude=part.get("longitude"),  # type: ignore[arg-type]
        name=_text(part.get("name")) or None,
        address=_text(part.get("address")) or None,
    )
    return {"kind": MessageKind.LOCATION, "location": place}


def _cards(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": MessageKind.CONTACT,
        "contacts": tuple(_card(entry) for entry in _list(message, "contacts")[:_MOST_ITEMS]),
    }


def _card(entry: dict[str, Any]) -> ContactCard:
    name, org = _object(entry, "name"), _object(entry, "org")
    return ContactCard(
        name=_text(name.get("formatted_name")) or _text(name.get("first_name")),
        phones=tuple(filter(None, (_text(each.get("phone")) for each in _list(entry, "phones")))),
        emails=tuple(filter(None, (_text(each.get("email")) for each in _list(entry, "emails")))),
        organization=_text(org.get("company")) or None,
    )


def _template_button(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    title = _text(part.get("text"))
    choice = Choice(id=_text(part.get("payload")) or None, title=title)
    return {"kind": MessageKind.BUTTON, "body": title, "choice": choice}


def _interactive(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    kinds = {"button_reply": MessageKind.BUTTON, "list_reply": MessageKind.LIST}
    for name, kind in kinds.items():
        reply = _object(part, name)
        if reply:
            choice = Choice(
                id=_text(reply.get("id")) or None,
                title=_text(reply.get("title")),
                description=_text(reply.get("description")) or None,
            )
            return {"kind": kind, "body": choice.title, "choice": choice}
    form = _object(part, "nfm_reply")
    answers = _text(form.get("response_json"))
    return {
        "kind": MessageKind.OTHER,
        "body": _text(form.get("body")),
        "extra": {"interactive": _text(part.get("type")), "response_json": answers},
    }


def _reaction(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": MessageKind.REACTION,
        "reaction": _text(part.get("emoji")) or None,
        "in_reply_to": _text(part.get("message_id")) or None,
    }


def _order(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    lines = [_text(part.get("text"))]
    for item in _list(part, "product_items")[:_MOST_ITEMS]:
        price = f"{item.get('item_price')} {_text(item.get('currency'))}".strip()
        lines.append(f"{item.get('quantity')} x {item.get('product_retailer_id')} ({price})")
    return {"kind": MessageKind.ORDER, "body": "\n".join(filter(None, lines))}


def _notice(message: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    return {"kind": MessageKind.NOTICE, "body": "", "extra": {"notice": _text(part.get("body"))}}


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "text": _words,
    "location": _place,
    "contacts": _cards,
    "button": _template_button,
    "interactive": _interactive,
    "reaction": _reaction,
    "order": _order,
    "system": _notice,
}


def _referral(part: dict[str, Any]) -> Referral | None:
    referral = Referral(
        headline=_text(part.get("headline")) or None,
        body=_text(part.get("body")) or None,
        source_type=_text(part.get("source_type")) or None,
        source_id=_text(part.get("source_id")) or None,
        source_url=_text(part.get("source_url")) or None,
        click_id=_text(part.get("ctwa_clid")) or None,
    )
    return None if referral == Referral() else referral


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _list(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = parent.get(name)
    if not isinstance(found, list):
        return []
    return [cast("dict[str, Any]", e) for e in cast("list[object]", found) if isinstance(e, dict)]


def _text(value: object) -> str:
    return value.replace("\x00", "") if isinstance(value, str) else ""
