"""Replies in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from models.conversations import DeliveryCount, Reply, ReplyPurpose, ReplyStatus
from models.messages import SentMessage, StatusUpdate
from serve_app.store.reply_states import (
    CAME_FROM,
    DROPPED_FROM,
    MISTAKEN,
    OPTED_OUT,
    RESENT_FROM,
    TAKEN_OVER,
    TEMPLATE_SENT,
    WINDOW_CLOSED,
    after_report,
)
from serve_app.testing.tables import StoredReply, Tables, contact_key, count_segments, of_turns


class MemoryReplyRepository:
    def __init__(self, tables: Tables, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._now = now

    async def get(self, reply_id: str) -> Reply | None:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        return None if stored is None else stored.reply

    async def for_turns(self, turn_ids: Sequence[str]) -> list[Reply]:
        await asyncio.sleep(0)
        return list(of_turns(self._tables, turn_ids))

    async def unsent(self, *, older_than_s: float, limit: int) -> list[Reply]:
        await asyncio.sleep(0)
        now = self._now()
        open_states = (ReplyStatus.PENDING, ReplyStatus.SENDING, ReplyStatus.UNKNOWN)
        waiting = [
            stored
            for stored in self._tables.replies.values()
            if stored.reply.status in open_states
            and (now - stored.changed_at).total_seconds() >= older_than_s
            and (stored.reply.not_before is None or stored.reply.not_before <= now)
        ]
        waiting.sort(key=lambda stored: stored.changed_at)
        return [stored.reply for stored in waiting[:limit]]

    async def mark_sending(
        self, reply_id: str, *, window_s: float | None = None, has_template: bool = False
    ) -> Reply | None:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None or stored.reply.status not in CAME_FROM[ReplyStatus.SENDING]:
            return None
        closed = self._window_is_closed(stored.reply, window_s)
        obstacle = self._obstacle(stored, closed=closed, has_template=has_template)
        fields: dict[str, object] = {
            "status": ReplyStatus.CANCELED if obstacle else ReplyStatus.SENDING,
            "as_template": stored.reply.as_template or (closed and not obstacle),
            "sending_since": None if obstacle else self._now(),
            "error_code": None,
            "error_message": obstacle,
        }
        self._put(stored.reply.model_copy(update=fields))
        return None if obstacle else self._tables.replies[reply_id].reply

    def _obstacle(self, stored: StoredReply, *, closed: bool, has_template: bool) -> str | None:
        reply, tables = stored.reply, self._tables
        conversation = tables.conversations[reply.conversation_id]
        contact = tables.contacts[contact_key(conversation.contact)]
        if contact.opted_out_at is not None and reply.purpose is not ReplyPurpose.OPT_OUT:
            return OPTED_OUT
        answer = reply.purpose is ReplyPurpose.ANSWER
        if answer and conversation.takeovers != stored.takeovers:
            return TAKEN_OVER
        if not (closed or reply.as_template):
            return None
        if not has_template:
            return WINDOW_CLOSED
        earlier = (r for r in of_turns(tables, [reply.turn_id]) if r.position < reply.position)
        return TEMPLATE_SENT if any(each.as_template for each in earlier) else None

    def _window_is_closed(self, reply: Reply, window_s: float | None) -> bool:
        wrote = self._tables.conversations[reply.conversation_id].last_inbound_at
        if window_s is None or wrote is None:
            return False
        return self._now() > wrote + timedelta(seconds=window_s)

    async def mark_pending(self, reply_id: str, *, as_template: bool = False) -> None:
        template = {"as_template": True} if as_template else {}
        await self._to(reply_id, ReplyStatus.PENDING, sending_since=None, **template)

    async def mark_sent(self, reply_id: str, sent: SentMessage) -> None:
        if await self._to(
            reply_id,
            ReplyStatus.SENT,
            provider_message_id=sent.message_id,
            delivery=sent.status,
            error_code=None,
            error_message=None,
        ):
            count_segments(self._tables, self._tables.replies[reply_id].reply, self._now())

    async def mark_unknown(self, reply_id: str, *, error: str) -> None:
        await self._to(reply_id, ReplyStatus.UNKNOWN, error_code=None, error_message=error)

    async def mark_failed(self, reply_id: str, *, code: int | None, error: str) -> None:
        await self._to(reply_id, ReplyStatus.FAILED, error_code=code, error_message=error)

    async def mark_canceled(self, reply_id: str, *, error: str) -> None:
        await self._to(reply_id, ReplyStatus.CANCELED, error_code=None, error_message=error)

    async def park(self, reply_id: str, *, error: str) -> None:
        await self._to(reply_id, ReplyStatus.PARKED, error_code=None, error_message=error)

    async def template_words(self, reply_id: str) -> dict[str, str]:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None:
            return {}
        conversation = self._tables.conversations[stored.reply.conversation_id]
        owner = self._tables.owners[conversation.owner_id]
        return {"name": conversation.contact.profile_name or "", "business": owner.name}

    async def known_provider_ids(self, message_ids: Sequence[str]) -> set[str]:
        await asyncio.sleep(0)
        known: set[str | None] = set()
        for stored in self._tables.replies.values():
            known |= {stored.reply.provider_message_id, *stored.former_message_ids}
        return {message_id for message_id in message_ids if message_id in known}

    async def count_open(self) -> dict[ReplyStatus, int]:
        await asyncio.sleep(0)
        settled = (ReplyStatus.SENT, ReplyStatus.CANCELED)
        states = [stored.reply.status for stored in self._tables.replies.values()]
        return dict(Counter(state for state in states if state not in settled))

    async def in_states(self, states: Collection[ReplyStatus], *, limit: int) -> list[Reply]:
        await asyncio.sleep(0)
        found = [s for s in self._tables.replies.values() if s.reply.status in states]
        found.sort(key=lambda stored: stored.changed_at)
        return [stored.reply for stored in found[:limit]]

    async def resend(self, reply_id: str) -> bool:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None or stored.reply.status not in RESENT_FROM:
            return False
        sent_as = stored.reply.provider_message_id
        if sent_as is not None:
            stored.former_message_ids |= {sent_as}
        self._put(
            stored.reply.model_copy(
                update={
                    "status": ReplyStatus.PENDING,
                    "sending_since": None,
                    "provider_message_id": None,
                    "delivery": None,
                    "error_code": None,
                    "error_message": None,
                    "not_before": None,
                }
            )
        )
        return True

    async def drop(self, reply_id: str, *, error: str) -> bool:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None or stored.reply.status not in DROPPED_FROM:
            return False
        changes = {"status": ReplyStatus.CANCELED, "error_message": error}
        self._put(stored.reply.model_copy(update=changes))
        return True

    async def send_again(
        self, reply_id: str, *, as_template: bool = False, after_s: float = 0.0
    ) -> bool:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None or not self._may_go_again(stored, as_template=as_template):
            return False
        sent_as = stored.reply.provider_message_id
        assert sent_as is not None  # noqa: S101 - see _may_go_again
        stored.former_message_ids |= {sent_as}
        self._put(
            stored.reply.model_copy(
                update={
                    "status": ReplyStatus.PENDING,
                    "sending_since": None,
                    "provider_message_id": None,
                    "delivery": None,
                    "as_template": stored.reply.as_template or as_template,
                    "not_before": self._now() + timedelta(seconds=after_s),
                }
            )
        )
        return True

    def _may_go_again(self, stored: StoredReply, *, as_template: bool) -> bool:
        reply = stored.reply
        replies = [each.reply for each in self._tables.replies.values()]
        place = [each.id for each in replies].index(reply.id)
        left = (ReplyStatus.SENDING, ReplyStatus.UNKNOWN, ReplyStatus.SENT)
        return (
            reply.status is ReplyStatus.FAILED
            and reply.provider_message_id is not None
            and not stored.former_message_ids
            and not (reply.as_template and as_template)
            and not any(
                later.conversation_id == reply.conversation_id and later.status in left
                for later in replies[place + 1 :]
            )
        )

    async def delivery_counts(
        self, *, since: datetime, owner_id: str | None = None
    ) -> list[DeliveryCount]:
        await asyncio.sleep(0)
        counts: dict[tuple[object, ...], DeliveryCount] = {}
        for stored in self._tables.replies.values():
            reply = stored.reply
            owner = self._tables.conversations[reply.conversation_id].owner_id
            if stored.created_at < since or owner_id not in (None, owner):
                continue
            key = (owner, reply.status.value, reply.delivery or "", reply.error_code or 0)
            count = counts.get(key) or DeliveryCount(
                owner_id=owner,
                status=reply.status,
                delivery=reply.delivery,
                error_code=reply.error_code,
                replies=0,
            )
            counts[key] = count.model_copy(
                update={
                    "replies": count.replies + 1,
                    "segments": count.segments + (reply.segments or 0),
                }
            )
        return [counts[key] for key in sorted(counts, key=str)]

    async def apply_status(self, update: StatusUpdate) -> Reply | None:
        await asyncio.sleep(0)
        of_account = [
            stored.reply
            for stored in self._tables.replies.values()
            if stored.reply.account_sid == update.account_id
        ]
        by_id = [
            reply
            for reply in of_account
            if reply.id == update.reply_id
            and update.message_id not in self._tables.replies[reply.id].former_message_ids
        ]
        of_message = [r for r in of_account if r.provider_message_id == update.message_id]
        found = next(iter(by_id or of_message), None)
        if found is None:
            return None
        changed = after_report(found, update)
        if changed is not None:
            for other in of_message:
                if other.id != found.id:
                    self._put(
                        other.model_copy(
                            update={
                                "status": ReplyStatus.PARKED,
                                "provider_message_id": None,
                                "delivery": None,
                                "error_code": None,
                                "error_message": MISTAKEN,
                            }
                        )
                    )
            self._put(changed)
            moved = any(other.id != found.id for other in of_message)
            if found.provider_message_id is None and not moved:
                count_segments(self._tables, changed, self._now())
        return self._tables.replies[found.id].reply

    async def _to(self, reply_id: str, status: ReplyStatus, **fields: object) -> bool:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None or stored.reply.status not in CAME_FROM[status]:
            return False
        self._put(stored.reply.model_copy(update={"status": status, **fields}))
        return True

    def _put(self, reply: Reply) -> None:
        now = self._now()
        changed = reply.model_copy(update={"changed_at": now})
        stored = self._tables.replies[reply.id]
        self._tables.replies[reply.id] = replace(stored, reply=changed, changed_at=now)
