"""Opt-outs and opt-ins: at once, once per message, in the order in which they were meant."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from models.conversations import NewReply, ReplyPurpose, ReplyStatus
from serve_app.store.reply_states import OPTED_OUT
from tests.contract.store_samples import (
    CONTACT,
    RECEIVED,
    Store,
    a_message,
    a_turn,
    an_account,
)


def said(number: int, **fields: Any) -> Any:
    return a_message(f"SMc{number}", received_at=RECEIVED + timedelta(seconds=number), **fields)


async def record(store: Store, message: Any) -> Any:
    return await store.conversations.record([message], owner_id="o1", account=an_account(id="a-o1"))


async def status(store: Store, reply_id: str = "reply") -> tuple[ReplyStatus, str | None]:
    reply = await store.replies.get(reply_id)
    assert reply is not None
    return reply.status, reply.error_message


async def test_nothing_is_sent_after_it_but_its_confirmation(store: Store) -> None:
    await store.reply()
    change = await store.consents.apply(said(1), stop=True)
    assert change is not None
    assert change.changed
    assert await store.replies.mark_sending("reply") is None
    assert await status(store) == (ReplyStatus.CANCELED, OPTED_OUT)
    conversation, stored = await store.begin(prefix="SM-stop-")
    assert conversation.contact.opted_out_at == RECEIVED + timedelta(seconds=1)
    confirmation = NewReply(id="bye", position=0, body="Bye", purpose=ReplyPurpose.OPT_OUT)
    turn = a_turn(conversation, stored, turn_id="stop", replies=(confirmation,))
    assert await store.conversations.commit_turn(turn)
    assert await store.replies.mark_sending("bye") is not None
    assert await store.owners.messages_this_month("o1") == 1


async def test_a_turn_that_ends_after_it_says_nothing(store: Store) -> None:
    conversation, stored = await store.begin()
    await store.consents.apply(said(1), stop=True)
    assert await store.conversations.commit_turn(a_turn(conversation, stored))
    assert await status(store) == (ReplyStatus.CANCELED, OPTED_OUT)


async def test_a_message_counts_once_and_tells_the_same_again(store: Store) -> None:
    await store.begin()
    consents = store.consents
    first = await consents.apply(said(1), stop=True)
    assert first == await consents.apply(said(1), stop=True)
    again = await consents.apply(said(2), stop=True)
    assert (first and first.changed, again and again.changed) == (True, False)
    back = await consents.apply(said(3), stop=False)
    assert back is not None
    assert back.changed
    # The provider repeats the first webhook.
    assert first == await consents.apply(said(1), stop=True)
    conversation, _ = await store.begin(prefix="SM-more-")
    assert conversation.contact.opted_out_at is None


async def test_one_that_comes_late_changes_nothing(store: Store) -> None:
    await store.begin()
    await store.consents.apply(said(1), stop=True)
    await store.consents.apply(said(3), stop=False)
    late = await store.consents.apply(said(2), stop=True)
    assert late is not None
    assert not late.changed


async def test_before_the_first_message_is_on_record(store: Store) -> None:
    await store.begin()
    stranger = {"sender": "whatsapp:+34600000099", "contact_key": "whatsapp:+34600000099"}
    assert await store.consents.apply(said(1, **stranger), stop=True) is not None
    assert await store.consents.apply(said(2, recipient="whatsapp:+1999"), stop=True) is None


async def test_a_stop_that_brings_an_external_id_is_of_the_person_known_by_the_number(
    store: Store,
) -> None:
    await store.reply()
    change = await store.consents.apply(said(1, contact_key="US.1"), stop=True)
    assert change is not None
    assert change.changed
    assert await store.replies.mark_sending("reply") is None
    conversation, _ = await record(store, said(1, contact_key="US.1"))
    reply = await store.replies.get("reply")
    assert reply is not None
    assert (conversation.id, conversation.contact.id) == (reply.conversation_id, change.contact_id)
    assert conversation.contact.opted_out_at is not None


async def test_a_stop_holds_for_whoever_is_known_by_the_same_address(store: Store) -> None:
    await store.reply()
    by_id, _ = await record(store, said(1, contact_key="US.1", sender="whatsapp:US.1"))
    change = await store.consents.apply(said(2, contact_key="US.1"), stop=True)
    assert change is not None
    assert change.contact_id == by_id.contact.id
    assert await store.replies.mark_sending("reply") is None
    assert await status(store) == (ReplyStatus.CANCELED, OPTED_OUT)
    back = await store.consents.apply(said(3, contact_key="US.1"), stop=False)
    assert back is not None
    assert back.changed
    by_number, _ = await record(store, said(4))
    assert by_number.contact.opted_out_at is not None, "it isn't known who that is"


async def test_a_message_that_tells_only_the_address_is_of_who_has_it(store: Store) -> None:
    await store.begin()
    assert await store.conversations.known_as(said(1, recipient="whatsapp:+1999")) == CONTACT
    stranger = said(1, sender="whatsapp:+34600000099", contact_key="whatsapp:+34600000099")
    assert await store.conversations.known_as(stranger) == "whatsapp:+34600000099"
    await record(store, said(1, contact_key="US.1"))
    assert await store.conversations.known_as(said(2)) == "US.1"
    await record(store, said(3, contact_key="US.2"))
    assert await store.conversations.known_as(said(4)) == "US.2", "the number has changed hands"
    assert await store.conversations.known_as(said(4, contact_key="US.3")) == "US.3"
    elsewhere = said(5, contact_key="US.1", sender="whatsapp:US.1")
    await store.consents.apply(elsewhere, stop=True)
    assert await store.conversations.known_as(said(6)) == "US.2", "US.1 has another address now"


async def test_of_several_with_an_address_one_who_has_opted_out_comes_first(store: Store) -> None:
    await store.begin()
    await record(store, said(1, contact_key="US.1"))
    await store.consents.apply(said(2, contact_key="US.1"), stop=True)
    await record(store, said(3, contact_key="US.2"))
    assert await store.conversations.known_as(said(4)) == "US.1"


async def test_a_start_of_somebody_who_had_not_stopped(store: Store) -> None:
    await store.begin()
    change = await store.consents.apply(said(1), stop=False)
    assert change is not None
    assert not change.changed


async def test_a_refusal_by_the_provider(store: Store) -> None:
    await store.reply()
    at = RECEIVED + timedelta(minutes=1)
    assert await store.consents.refused("reply", at=at)
    assert await store.consents.refused("reply", at=at)
    assert not await store.consents.refused("nothing", at=at)
    assert await store.replies.mark_sending("reply") is None


async def test_who_has_stopped(store: Store) -> None:
    await store.begin()
    who = {"owner_id": "o1", "channel": "whatsapp", "address": CONTACT}
    assert not await store.consents.has_stopped(**who)
    await store.consents.apply(said(1), stop=True)
    assert await store.consents.has_stopped(**who)
    for other in ({"owner_id": "o2"}, {"channel": "sms"}, {"address": CONTACT + "1"}):
        assert not await store.consents.has_stopped(**{**who, **other})
    await store.consents.apply(said(2), stop=False)
    assert not await store.consents.has_stopped(**who)


async def test_whether_a_reply_is_on_its_way(store: Store) -> None:
    await store.reply()
    change = await store.consents.apply(said(1), stop=False)
    assert change is not None
    assert not await store.consents.is_sending_to(change.contact_id)
    await store.replies.mark_sending("reply")
    assert await store.consents.is_sending_to(change.contact_id)
    await record(store, said(2, contact_key="US.2", sender="whatsapp:US.2"))
    at_the_same_address = await store.consents.apply(said(3, contact_key="US.2"), stop=False)
    assert at_the_same_address is not None
    assert at_the_same_address.contact_id != change.contact_id
    assert await store.consents.is_sending_to(at_the_same_address.contact_id)
    elsewhere = said(4, contact_key="US.3", sender="whatsapp:US.3")
    another = await store.consents.apply(elsewhere, stop=False)
    assert another is not None
    assert not await store.consents.is_sending_to(another.contact_id)


async def test_stops_and_sends_at_once(store: Store) -> None:
    for number in range(0, 60, 2):
        reply_id = f"r{number}"
        await store.reply(turn_id=f"t{number}", reply_id=reply_id)
        cleared, change = await asyncio.gather(
            store.replies.mark_sending(reply_id), store.consents.apply(said(number), stop=True)
        )
        assert change is not None
        assert change.changed
        expected = ReplyStatus.CANCELED if cleared is None else ReplyStatus.SENDING
        assert (await status(store, reply_id))[0] is expected
        if cleared is not None:
            assert await store.consents.is_sending_to(change.contact_id)
            await store.replies.mark_failed(reply_id, code=None, error="-")
        await store.consents.apply(said(number + 1), stop=False)
