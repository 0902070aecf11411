"""The Cloud API's webhooks and what they mean here.

Shapes: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components. One webhook gathers
entries (business accounts), changes (phone numbers), and in those messages and statuses. Fields are added
without notice, so unknown ones are kept, never refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from pydantic import ValidationError

from models.errors import UnprocessableError
from models.messages import DeliveryStatus, InboundMessage, StatusUpdate
from serve_app.channels.whatsapp_cloud.contents import MessageContents, read_contents
from serve_app.channels.whatsapp_cloud.errors import reported_fault
from serve_app.ports import UnreadablePart, WebhookContents

CHANNEL = "whatsapp_cloud"
_STATUSES = {"sent", "delivered", "read", "failed"}
_KNOWN = {"from", "from_user_id", "id", "timestamp", "type", "context", "referral"}


@dataclass(frozen=True, slots=True)
class _Change:
    account_id: str
    phone_number_id: str
    value: dict[str, Any]


def read_document(body: bytes) -> dict[str, Any]:
    """Raises `UnprocessableError` for what isn't a webhook of a WhatsApp business account."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnprocessableError("the webhook isn't JSON") from error
    if not isinstance(document, dict):
        raise UnprocessableError("a webhook must be a JSON object")
    members = cast("dict[str, Any]", document)
    if members.get("object") != "whatsapp_business_account":
        raise UnprocessableError("not about a WhatsApp business account")
    return members


def account_ids(document: dict[str, Any]) -> tuple[str, ...]:
    """Of all entries, each once; an entry without one counts as an account that nobody knows."""
    return tuple(
        dict.fromkeys(text(entry.get("id")) or "" for entry in _objects(document, "entry"))
    )


def read_webhook(
    document: dict[str, Any], *, media_url: str, received_at: datetime
) -> WebhookContents:
    """`media_url` is what the ids of files are appended to."""
    messages: list[InboundMessage] = []
    reports: list[StatusUpdate] = []
    unreadable: list[UnreadablePart] = []
    for change in _changes(document):
        for part in _objects(change.value, "messages"):
            try:
                messages.append(_message(change, part, media_url, received_at))
            except (ValidationError, UnprocessableError) as error:
                unreadable.append(UnreadablePart(_excerpt(change, "messages", part), _why(error)))
        for part in _objects(change.value, "statuses"):
            try:
                report = _report(change, part, received_at)
            except (ValidationError, UnprocessableError) as error:
                unreadable.append(UnreadablePart(_excerpt(change, "statuses", part), _why(error)))
            else:
                reports += [report] if report is not None else []
    return WebhookContents(tuple(messages), tuple(reports), tuple(unreadable))


def _changes(document: dict[str, Any]) -> Iterator[_Change]:
    for entry in _objects(document, "entry"):
        for change in _objects(entry, "changes"):
            value = change.get("value")
            if change.get("field") == "messages" and isinstance(value, dict):
                members = cast("dict[str, Any]", value)
                number = members.get("metadata")
                found = cast("dict[str, Any]", number) if isinstance(number, dict) else {}
                yield _Change(
                    text(entry.get("id")) or "", text(found.get("phone_number_id")) or "", members
                )


def _message(
    change: _Change, part: dict[str, Any], media_url: str, received_at: datetime
) -> InboundMessage:
    message_id, number = text(part.get("id")), text(part.get("from"))
    user_id = text(part.get("from_user_id"))
    contact = _contact(change, number, user_id)
    user_id = user_id or text(contact.get("user_id"))
    sender = number or user_id
    if not (message_id and sender and change.account_id and change.phone_number_id):
        raise UnprocessableError("a message without id, sender or receiver")
    contents: MessageContents = read_contents(part, media_url=media_url)
    profile = contact.get("profile")
    name = cast("dict[str, Any]", profile).get("name") if isinstance(profile, dict) else None
    kind = text(part.get("type")) or ""
    unknown = {key: value for key, value in part.items() if key not in _KNOWN | {kind}}
    return InboundMessage(
        channel=CHANNEL,
        account_id=change.account_id,
        message_id=message_id,
        sender=sender,
        recipient=change.phone_number_id,
        contact_key=user_id or sender,
        profile_name=text(name),
        received_at=received_at,
        extra={**contents.extra, **{key: _plain(value) for key, value in unknown.items()}},
        body=contents.body,
        media=contents.media,
        kind=contents.kind,
        location=contents.location,
        contacts=contents.contacts,
        choice=contents.choice,
        reaction=contents.reaction,
        referral=contents.referral,
        forwarded=contents.forwarded,
        frequently_forwarded=contents.frequently_forwarded,
        in_reply_to=contents.in_reply_to,
    )


def _contact(change: _Change, number: str | None, user_id: str | None) -> dict[str, Any]:
    """Who wrote: the one that is named, else the only one."""
    people = list(_objects(change.value, "contacts"))
    for person in people:
        if (number and person.get("wa_id") == number) or (
            user_id and person.get("user_id") == user_id
        ):
            return person
    return people[0] if len(people) == 1 and not number else {}


def _report(change: _Change, part: dict[str, Any], received_at: datetime) -> StatusUpdate | None:
    """None for what isn't about delivery (`played`, `deleted`)."""
    message_id, name = text(part.get("id")), text(part.get("status")) or ""
    if not message_id or not change.account_id:
        raise UnprocessableError("a status without a message")
    if name not in _STATUSES:
        return None
    errors: list[dict[str, Any]] = [*_objects(part, "errors"), {}]
    error = errors[0]
    code = error.get("code")
    data = error.get("error_data")
    details = cast("dict[str, Any]", data).get("details") if isinstance(data, dict) else None
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    return StatusUpdate(
        channel=CHANNEL,
        account_id=change.account_id,
        message_id=message_id,
        status=DeliveryStatus(name),
        reply_id=text(part.get("biz_opaque_callback_data")),
        error_code=number,
        error_message=text(details) or text(error.get("title")),
        fault=reported_fault(number),
        received_at=received_at,
    )


def _objects(parent: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    found = parent.get(name)
    if isinstance(found, list):
        for item in cast("list[object]", found):
            if isinstance(item, dict):
                yield cast("dict[str, Any]", item)


def text(value: object) -> str | None:
    """A string that isn't empty, without NUL, which Postgres can't hold; None for anything else."""
    return (value.replace("\x00", "") or None) if isinstance(value, str) else None


def _plain(value: object) -> str:
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain.replace("\x00", "")


def _excerpt(change: _Change, name: str, part: dict[str, Any]) -> str:
    return json.dumps(
        {"account": change.account_id, "number": change.phone_number_id, name: [part]},
        ensure_ascii=False,
    )


def _why(error: Exception) -> str:
    """Which fields are at fault, but not their values."""
    if not isinstance(error, ValidationError):
        return str(error)
    return ", ".join(
        f"{'.'.join(str(at) for at in fault['loc'])}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    )
