"""Conversations in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count

from models.accounts import TwilioAccount
from models.conversations import (
    CommittedTurn,
    Contact,
    Conversation,
    HistoryEntry,
    MessageProgress,
    Note,
    Reply,
    ReplyPurpose,
    ReplyStatus,
    StoredMessage,
    TurnOutcome,
)
from models.errors import PermanentError, RetryableError
from models.messages import InboundMessage
from serve_app.store.silence import obstacle, silenced
from serve_app.testing.external_ids import adopt_external_id, contacts_at
from serve_app.testing.owners import MemoryTwilioAccountRepository
from serve_app.testing.tables import (
    StoredNote,
    StoredReply,
    Tables,
    Usage,
    contact_key,
    held,
    month,
    of_turns,
)


class MemoryConversationRepository:
    def __init__(self, tables: Tables, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._now = now
        self._ids = count(1)

    async def record(
        self, messages: Sequence[InboundMessage], *, owner_id: str, account: TwilioAccount
    ) -> tuple[Conversation, list[StoredMessage]]:
        await asyncio.sleep(0)
        tables = self._tables
        if len({message.conversation_key for message in messages}) != 1:
            raise PermanentError("messages of exactly one conversation can be recorded together")
        latest = messages[-1]
        adopt_external_id(tables, latest, owner_id)
        contact = self._contact(messages, owner_id)
        key = (owner_id, account.id, latest.conversation_key)
        conversation_id = tables.keys.setdefault(key, f"conversation-{next(self._ids)}")
        known = tables.conversations.get(conversation_id)
        times = [message.received_at for message in messages]
        if known is not None and known.last_inbound_at is not None:
            times.append(known.last_inbound_at)
        conversation = Conversation(
            id=conversation_id,
            owner_id=owner_id,
            account_id=account.id,
            contact=contact,
            recipient=latest.recipient,
            human=known is not None and known.human,
            takeovers=0 if known is None else known.takeovers,
            last_inbound_at=max(times),
        )
        tables.conversations[conversation_id] = conversation
        for message in messages:
            stored = StoredMessage(id=message.job_id, message=message)
            tables.messages.setdefault(message.job_id, stored)
        ids = dict.fromkeys(message.job_id for message in messages)
        return conversation, [tables.messages[job_id] for job_id in ids]

    def _contact(self, messages: Sequence[InboundMessage], owner_id: str) -> Contact:
        latest = messages[-1]
        key = (owner_id, latest.channel, latest.contact_key)
        known = self._tables.contacts.get(key)
        names = [message.profile_name for message in reversed(messages) if message.profile_name]
        if known is not None and known.profile_name is not None:
            names.append(known.profile_name)
        contact = Contact(
            id=known.id if known else f"contact-{next(self._ids)}",
            owner_id=owner_id,
            channel=latest.channel,
            key=latest.contact_key,
            address=latest.sender,
            profile_name=names[0] if names else None,
            language=known.language if known else None,
            timezone=known.timezone if known else None,
            opted_out_at=known.opted_out_at if known else None,
        )
        # Who was heard of last comes last.
        self._tables.contacts.pop(key, None)
        self._tables.contacts[key] = contact
        return contact

    async def known_as(self, message: InboundMessage) -> str:
        account = await MemoryTwilioAccountRepository(self._tables).find(
            account_sid=message.account_id,
            address=message.recipient,
            messaging_service_sid=message.messaging_service_id,
        )
        if account is None or message.contact_key != message.sender:
            return message.contact_key
        found = contacts_at(self._tables, message, account.owner_id)
        opted_out = [contact for contact in found if contact.opted_out_at is not None]
        latest = next(reversed(opted_out or found), None)
        return message.contact_key if latest is None else latest.key

    async def save_transcript(
        self, message_id: str, *, text: str, language: str | None, audio_seconds: float
    ) -> None:
        await asyncio.sleep(0)
        stored = self._tables.messages.get(message_id)
        if stored is not None:
            self._tables.messages[message_id] = stored.model_copy(
                update={
                    "transcript": text,
                    "transcript_language": language,
                    "audio_seconds": audio_seconds,
                }
            )

    async def history(self, conversation_id: str, *, limit: int) -> list[HistoryEntry]:
        await asyncio.sleep(0)
        stored = self._tables.entries.get(conversation_id, [])
        latest = stored[max(0, len(stored) - limit) :]
        while latest and latest[0].role != "user":
            latest = latest[1:]
        return latest

    async def commit_turn(self, outcome: TurnOutcome) -> CommittedTurn | None:
        await asyncio.sleep(0)
        tables = self._tables
        conversation = tables.conversations.get(outcome.conversation_id)
        if conversation is None:
            raise PermanentError(f"there is no conversation {outcome.conversation_id}")
        answered = [tables.messages.get(message_id) for message_id in outcome.message_ids]
        if outcome.turn_id in tables.turns or any(
            message is None or message.turn_id is not None for message in answered
        ):
            return None
        contact = self._tables.contacts[contact_key(conversation.contact)]
        why_silent = obstacle(
            outcome,
            human=conversation.human,
            takeovers=conversation.takeovers,
            opted_out=contact.opted_out_at is not None,
        )
        if why_silent:
            outcome = silenced(outcome)
        self._count_usage(outcome, answered=why_silent is None)
        tables.turns[outcome.turn_id] = outcome
        for message_id in outcome.message_ids:
            message = tables.messages[message_id]
            tables.messages[message_id] = message.model_copy(update={"turn_id": outcome.turn_id})
        tables.entries.setdefault(conversation.id, []).extend(outcome.entries)
        if outcome.contact_language is not None or outcome.contact_timezone is not None:
            told = {"language": outcome.contact_language, "timezone": outcome.contact_timezone}
            contact = contact.model_copy(update={k: v for k, v in told.items() if v})
            tables.contacts[contact_key(contact)] = contact
        conversation = _taken_over(conversation, human=conversation.human or outcome.hand_over)
        conversation = conversation.model_copy(update={"contact": contact})
        tables.conversations[conversation.id] = conversation
        self._store_replies(outcome, conversation, why_silent)
        self._store_notes(outcome, conversation)
        return CommittedTurn(replies=of_turns(tables, [outcome.turn_id]))

    def _store_replies(
        self, outcome: TurnOutcome, conversation: Conversation, why_silent: str | None
    ) -> None:
        key = next(key for key, found in self._tables.keys.items() if found == conversation.id)[2]
        channel, account_sid = key.split(":", 2)[:2]
        for new in sorted(outcome.replies, key=lambda reply: reply.position):
            reply = Reply(
                id=new.id,
                turn_id=outcome.turn_id,
                conversation_id=conversation.id,
                conversation_key=key,
                account_id=conversation.account_id,
                channel=channel,
                account_sid=account_sid,
                sender=conversation.recipient,
                recipient=conversation.contact.address,
                position=new.position,
                body=new.body,
                purpose=new.purpose,
                segments=new.segments,
                buttons=new.buttons,
                status=ReplyStatus.PENDING,
                changed_at=self._now(),
                trace=outcome.trace,
            )
            if why_silent and new.purpose is ReplyPurpose.ANSWER:
                canceled = {"status": ReplyStatus.CANCELED, "error_message": why_silent}
                reply = reply.model_copy(update=canceled)
            self._tables.replies[new.id] = StoredReply(
                reply, self._now(), takeovers=conversation.takeovers, created_at=self._now()
            )

    def _store_notes(self, outcome: TurnOutcome, conversation: Conversation) -> None:
        if not outcome.hand_over:
            return
        account = self._tables.accounts[conversation.account_id]
        for new in outcome.notes:
            note = Note(
                **new.model_dump(),
                owner_id=outcome.owner_id,
                conversation_id=conversation.id,
                account_id=account.id,
                channel=conversation.contact.channel,
                account_sid=account.account_sid,
                sender=conversation.recipient,
                created_at=self._now(),
            )
            self._tables.notes.setdefault(note.id, StoredNote(note, next_at=self._now()))

    def _count_usage(self, outcome: TurnOutcome, *, answered: bool) -> None:
        owner = self._tables.owners.get(outcome.owner_id)
        if owner is None:
            return
        key = month(owner, self._now())
        used = self._tables.usage.setdefault(key, Usage())
        counted = (
            answered and bool(outcome.message_ids) and bool(outcome.replies) and not outcome.refused
        )
        place, _ = self._tables.reservations.pop(outcome.turn_id, (None, None))
        quota = owner.plan.monthly_messages
        free = quota is None or used.messages + 1 + held(self._tables, key) <= quota
        if counted and place != key and not free:
            raise RetryableError("the turn lost its place in the month's quota")
        used.messages += int(counted)
        used.audio_seconds += outcome.audio_seconds
        used.prompt_tokens += outcome.usage.prompt_tokens
        used.completion_tokens += outcome.usage.completion_tokens

    async def is_human(self, conversation_id: str) -> bool:
        await asyncio.sleep(0)
        conversation = self._tables.conversations.get(conversation_id)
        return conversation is not None and conversation.human

    async def with_people(self, *, limit: int) -> list[Conversation]:
        await asyncio.sleep(0)
        taken = [c for c in self._tables.conversations.values() if c.human]
        epoch = datetime.min.replace(tzinfo=UTC)
        return sorted(taken, key=lambda c: c.last_inbound_at or epoch, reverse=True)[:limit]

    async def set_human(self, conversation_id: str, *, human: bool) -> bool:
        await asyncio.sleep(0)
        known = self._tables.conversations.get(conversation_id)
        if known is None:
            return False
        self._tables.conversations[conversation_id] = _taken_over(known, human=human)
        return True

    async def answered(
        self, *, channel: str, account_sid: str, message_ids: Sequence[str]
    ) -> set[str]:
        await asyncio.sleep(0)
        stored = self._tables.messages
        return {
            message_id
            for message_id in message_ids
            if (found := stored.get(f"{channel}:{account_sid}:{message_id}")) and found.turn_id
        }

    async def forget_media(self, *, before: datetime, limit: int) -> int:
        await asyncio.sleep(0)
        messages = self._tables.messages
        old = sorted(
            (
                stored
                for stored in messages.values()
                if stored.message.media and stored.message.received_at < before
            ),
            key=lambda stored: stored.message.received_at,
        )[:limit]
        for stored in old:
            forgotten = stored.message.model_copy(update={"media": ()})
            messages[stored.message.job_id] = stored.model_copy(update={"message": forgotten})
        return len(old)

    async def quoted(self, conversation_id: str, *, message_id: str) -> str | None:
        await asyncio.sleep(0)
        for kept in self._tables.replies.values():
            reply = kept.reply
            if (reply.conversation_id, reply.provider_message_id) == (conversation_id, message_id):
                return reply.body
        keys = {key[2] for key, found in self._tables.keys.items() if found == conversation_id}
        for stored in self._tables.messages.values():
            message = stored.message
            if message.message_id == message_id and message.conversation_key in keys:
                return "\n".join(filter(None, (message.body, stored.transcript))) or None
        return None

    async def progress(self, *, account_sid: str, message_id: str) -> MessageProgress | None:
        await asyncio.sleep(0)
        for stored in self._tables.messages.values():
            message = stored.message
            if (message.account_id, message.message_id) == (account_sid, message_id):
                turn = self._tables.turns.get(stored.turn_id or "")
                return MessageProgress(
                    message_id=message_id,
                    received_at=message.received_at,
                    transcript=stored.transcript,
                    turn_id=stored.turn_id,
                    timings=turn.timings if turn else (),
                    replies=of_turns(self._tables, [turn.turn_id] if turn else []),
                )
        return None


def _taken_over(conversation: Conversation, *, human: bool) -> Conversation:
    taken = human and not conversation.human
    takeovers = conversation.takeovers + int(taken)
    return conversation.model_copy(update={"human": human, "takeovers": takeovers})
