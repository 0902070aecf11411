"""Conversations: find, read, take over, answer as a person, give back."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from starlette.responses import Response

from models.console import ConversationRecord, Role, StoredInbound, TurnRecord
from models.conversations import HistoryEntry, NewReply, Reply, ReplyPurpose, TurnOutcome
from models.errors import MediaRejectedError, PermanentError
from serve_app.console.rendering import HEADERS
from serve_app.console.visits import NotFoundError, Visit

_LINES = 40
_MESSAGES = 60
_LONGEST_TEXT = 6_000
_PLAYED = ("audio/", "image/")


@dataclass(frozen=True)
class ThreadItem:
    """A message, or what a turn said. `reply` and `turn` belong to the latter."""

    at: datetime
    message: StoredInbound | None = None
    reply: Reply | None = None
    turn: TurnRecord | None = None


async def listing(visit: Visit) -> Response:
    search, people = visit.query("q").strip()[:200], visit.query("people") == "1"
    page = await visit.parts.views.conversations(
        search=search, only_people=people, after=visit.query("after") or None, limit=_LINES
    )
    return visit.show("conversations.html", page=page, search=search, people=people)


async def reading(visit: Visit) -> Response:
    record = await _record(visit)
    return visit.show("conversation.html", record=record, items=thread(record))


async def thread_part(visit: Visit) -> Response:
    record = await _record(visit)
    return visit.show("thread.html", record=record, items=thread(record))


async def take_over(visit: Visit) -> Response:
    return await _hand(visit, human=True)


async def give_back(visit: Visit) -> Response:
    return await _hand(visit, human=False)


async def answer(visit: Visit) -> Response:
    """A person's words go the way of every reply: committed, queued, sent once."""
    record = await _record(visit)
    text = visit.field("text").strip()
    if not text:
        raise PermanentError("There is nothing to send: write something first.")
    if len(text) > _LONGEST_TEXT:
        raise PermanentError(f"That is too long: at most {_LONGEST_TEXT} characters.")
    if not record.line.human:
        raise PermanentError("Take the conversation over first: the assistant has it.")
    turn_id = _turn_id(visit.field("key"), record.line.id)
    limit = visit.parts.channels[record.line.channel].max_body_chars
    outcome = TurnOutcome(
        turn_id=turn_id,
        conversation_id=record.line.id,
        owner_id=record.line.owner_id,
        message_ids=(),
        replies=tuple(
            NewReply(
                id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"reply:{turn_id}:{position}")),
                position=position,
                body=body,
                purpose=ReplyPurpose.PERSON,
            )
            for position, body in enumerate(_parts(text, limit))
        ),
        entries=(HistoryEntry(role="assistant", content=text),),
        trace={"correlation_id": uuid.uuid4().hex, "operator": visit.session.operator.name},
    )
    async with visit.doing("answer", record.line.id, f"{len(text)} characters") as deed:
        committed = await visit.parts.conversations.commit_turn(outcome)
        new = committed is not None
        replies = committed.replies if committed else await visit.parts.replies.for_turns([turn_id])
        for reply in replies:
            await visit.parts.publish(reply)
        deed.outcome = "sent" if new else "sent already"
    if new or "".join(reply.body for reply in replies) == "".join(_parts(text, limit)):
        # Where the page's script forgets the draft.
        return await visit.go(f"{_path(record.line.id)}#sent")
    return await visit.go(
        _path(record.line.id), "This form was sent already, with other words: yours were not sent."
    )


async def media(visit: Visit) -> Response:
    """A file of a message, fetched from the provider with the account's credentials."""
    stored = await visit.parts.views.message(visit.path("message_id"))
    index = int(visit.path("index"))
    if stored is None or index >= len(stored.message.media):
        raise NotFoundError("There is no such file.")
    message = stored.message
    account = await visit.parts.accounts.find(
        account_sid=message.account_id,
        address=message.recipient,
        messaging_service_sid=message.messaging_service_id,
    )
    if account is None:
        raise NotFoundError("The account that got this file isn't known any more.")
    channel = visit.parts.channels[message.channel]
    try:
        file = await channel.fetch_media(message.media[index], account)
    except MediaRejectedError as error:
        raise NotFoundError(f"The file can't be had: {error}") from error
    # Only what a player or a picture may do; anything else is downloaded, never shown as a page.
    kind = file.content_type.split(";")[0].strip().lower()
    shown = kind.startswith(_PLAYED) and kind != "image/svg+xml"
    headers = {
        **HEADERS,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": "inline" if shown else "attachment",
    }
    return Response(
        file.content, media_type=kind if shown else "application/octet-stream", headers=headers
    )


def thread(record: ConversationRecord) -> list[ThreadItem]:
    """Messages and replies in the order in which they came."""
    items = [ThreadItem(at=message.received_at, message=message) for message in record.messages]
    for turn in record.turns:
        said = [ThreadItem(at=turn.created_at, reply=reply, turn=turn) for reply in turn.replies]
        items += said or [ThreadItem(at=turn.created_at, turn=turn)]
    return sorted(items, key=lambda item: item.at)


async def _record(visit: Visit) -> ConversationRecord:
    record = await visit.parts.views.conversation(visit.path("conversation_id"), limit=_MESSAGES)
    if record is None:
        raise NotFoundError("There is no such conversation.")
    return record


async def _hand(visit: Visit, *, human: bool) -> Response:
    conversation_id = visit.path("conversation_id")
    async with visit.doing("take over" if human else "give back", conversation_id):
        if not await visit.parts.conversations.set_human(conversation_id, human=human):
            raise NotFoundError("There is no such conversation.")
    said = "You have it now." if human else "The assistant has it again."
    return await visit.go(_path(conversation_id), said)


def _path(conversation_id: str) -> str:
    return f"/console/conversations/{quote(conversation_id, safe='')}"


def _turn_id(key: str, conversation_id: str) -> str:
    """The same form sent twice is the same turn."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"person:{conversation_id}:{key or uuid.uuid4()}"))


def _parts(text: str, limit: int) -> list[str]:
    """In pieces of at most `limit` characters, at white space where there is any."""
    parts: list[str] = []
    while len(text) > limit:
        cut = max(text.rfind("\n", 1, limit), text.rfind(" ", 1, limit))
        cut = cut if cut > limit // 2 else limit
        parts.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*parts, text]


_ONE = "/conversations/{conversation_id}"
ROUTES = (
    ("GET", "/conversations", listing, Role.VIEW),
    ("GET", _ONE, reading, Role.VIEW),
    ("GET", f"{_ONE}/thread", thread_part, Role.VIEW),
    ("POST", f"{_ONE}/take-over", take_over, Role.OPERATE),
    ("POST", f"{_ONE}/give-back", give_back, Role.OPERATE),
    ("POST", f"{_ONE}/answer", answer, Role.OPERATE),
    ("GET", "/media/{message_id}/{index:int}", media, Role.VIEW),
)
