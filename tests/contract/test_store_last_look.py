"""What every store looks at again in the step that lets a reply be sent, and when a turn ends."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from models.conversations import HistoryEntry, NewReply, Reply, ReplyPurpose, ReplyStatus
from serve_app.store.reply_states import TAKEN_OVER, TEMPLATE_SENT, WINDOW_CLOSED
from tests.contract.store_samples import (
    RECEIVED,
    Store,
    a_message,
    a_reply,
    a_turn,
    an_account,
)

DAY_S = 86_400.0
LATER = RECEIVED + timedelta(hours=25)

S = ReplyStatus


async def commit(store: Store, turn_id: str = "turn", *bodies: str, **fields: Any) -> str:
    """A turn that answered a message; returns its conversation's id."""
    conversation, stored = await store.begin(prefix=f"SM-{turn_id}-")
    replies = tuple(a_reply(f"{turn_id}-{n}", n, body) for n, body in enumerate(bodies or ("Hi",)))
    outcome = a_turn(conversation, stored, **{"turn_id": turn_id, "replies": replies, **fields})
    assert await store.conversations.commit_turn(outcome)
    return conversation.id


async def get(store: Store, reply_id: str) -> Reply:
    reply = await store.replies.get(reply_id)
    assert reply is not None
    return reply


async def test_a_reply_that_may_go_is_returned_as_it_goes(store: Store) -> None:
    await commit(store)
    cleared = await store.replies.mark_sending("turn-0", window_s=None)
    assert cleared == await get(store, "turn-0")
    assert cleared is not None
    assert (cleared.status, cleared.body, cleared.as_template) == (S.SENDING, "Hi", False)


async def test_a_takeover_after_the_turn_cancels_its_reply(store: Store) -> None:
    conversation_id = await commit(store)
    assert await store.conversations.set_human(conversation_id, human=True)
    assert await store.replies.mark_sending("turn-0") is None
    reply = await get(store, "turn-0")
    assert (reply.status, reply.error_message) == (S.CANCELED, TAKEN_OVER)
    assert reply.sending_since is None


async def test_given_back_the_old_reply_stays_unsaid_and_a_new_one_goes(store: Store) -> None:
    conversation_id = await commit(store)
    for human in (True, False):
        await store.conversations.set_human(conversation_id, human=human)
    assert await store.replies.mark_sending("turn-0") is None
    await commit(store, "next")
    assert await store.replies.mark_sending("next-0") is not None


async def test_the_reply_that_hands_over_is_sent(store: Store) -> None:
    conversation_id = await commit(store, hand_over=True)
    assert await store.conversations.is_human(conversation_id)
    assert await store.replies.mark_sending("turn-0") is not None


async def test_what_a_person_writes_is_sent(store: Store) -> None:
    conversation, _ = await store.begin()
    await store.conversations.set_human(conversation.id, human=True)
    words = NewReply(id="said", position=0, body="I'm Rita", purpose=ReplyPurpose.PERSON)
    entry = HistoryEntry(role="assistant", content="I'm Rita")
    outcome = a_turn(conversation, [], turn_id="rita", replies=(words,), entries=(entry,))
    assert await store.conversations.commit_turn(outcome)
    assert (await get(store, "said")).purpose is ReplyPurpose.PERSON
    assert await store.replies.mark_sending("said") is not None


async def test_a_takeover_during_the_turn_silences_it(store: Store) -> None:
    conversation, stored = await store.begin()
    await store.conversations.set_human(conversation.id, human=True)
    assert await store.conversations.commit_turn(a_turn(conversation, stored, hand_over=True))
    reply = await get(store, "reply")
    assert (reply.status, reply.error_message) == (S.CANCELED, TAKEN_OVER)
    said = await store.conversations.history(conversation.id, limit=10)
    assert [(entry.role, entry.content) for entry in said] == [("user", "hi")]
    assert await store.owners.messages_this_month("o1") == 0


async def test_taken_over_and_given_back_during_the_turn(store: Store) -> None:
    conversation, stored = await store.begin()
    for human in (True, False):
        await store.conversations.set_human(conversation.id, human=human)
    begun = conversation.takeovers
    assert await store.conversations.commit_turn(a_turn(conversation, stored, takeovers=begun))
    assert (await get(store, "reply")).status is S.CANCELED


async def test_takeovers_and_sends_at_once_leave_no_reply_behind_a_person(store: Store) -> None:
    """Whichever comes first: a reply that is canceled was never on its way, and no other is stopped."""
    for number in range(20):
        turn_id = f"t{number}"
        conversation_id = await commit(store, turn_id)
        await store.conversations.set_human(conversation_id, human=False)
        cleared, _ = await asyncio.gather(
            store.replies.mark_sending(f"{turn_id}-0"),
            store.conversations.set_human(conversation_id, human=True),
        )
        status = (await get(store, f"{turn_id}-0")).status
        assert status is (S.CANCELED if cleared is None else S.SENDING)
        await store.conversations.set_human(conversation_id, human=False)


@pytest.mark.parametrize(
    ("at", "window_s", "goes"),
    [
        (RECEIVED + timedelta(hours=23, minutes=59), DAY_S, True),
        (LATER, DAY_S, False),
        (LATER, None, True),
    ],
)
async def test_the_window(store: Store, at: datetime, window_s: float | None, goes: bool) -> None:
    await commit(store)
    store.clock.at = at
    cleared = await store.replies.mark_sending("turn-0", window_s=window_s)
    assert (cleared is not None) is goes
    reply = await get(store, "turn-0")
    assert reply.error_message == (None if goes else WINDOW_CLOSED)
    assert reply.status is (S.SENDING if goes else S.CANCELED)


async def test_a_template_stands_for_all_parts_of_a_late_reply(store: Store) -> None:
    await commit(store, "turn", "one", "two")
    store.clock.at = LATER
    first = await store.replies.mark_sending("turn-0", window_s=DAY_S, has_template=True)
    assert first is not None
    assert first.as_template
    assert await store.replies.mark_sending("turn-1", window_s=DAY_S, has_template=True) is None
    assert (await get(store, "turn-1")).error_message == TEMPLATE_SENT


async def test_a_message_of_the_contact_opens_the_window_again(store: Store) -> None:
    await commit(store)
    again = a_message("SM-again", received_at=LATER - timedelta(minutes=1))
    await store.conversations.record([again], owner_id="o1", account=an_account(id="a-o1"))
    store.clock.at = LATER
    assert await store.replies.mark_sending("turn-0", window_s=DAY_S) is not None
