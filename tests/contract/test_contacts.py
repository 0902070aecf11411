"""What every store promises of one person's data: found, exported, erased, and deleted in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models.accounts import Assistant, People, TwilioAccount
from models.conversations import BookingRequest
from models.jobs import NewJob
from serve_app.ports import ContactRepository
from tests.contract.store_samples import (
    CONTACT,
    NUMBER,
    Store,
    a_message,
    a_reply,
    a_turn,
    an_account,
    an_owner,
)

OTHER = "whatsapp:+34600000002"


@pytest.fixture
def contacts(store: Store) -> ContactRepository:
    return store.contacts


def account_of(owner_id: str) -> TwilioAccount:
    return an_account(id=f"a-{owner_id}", owner_id=owner_id, account_sid=f"AC{owner_id[1:]}")


async def write(store: Store, number: int, *, sender: str = CONTACT, owner_id: str = "o1", **more):
    """Somebody writes and is answered; the conversation."""
    account = account_of(owner_id)
    message = a_message(
        f"SM{owner_id}{number}",
        account_id=account.account_sid,
        sender=sender,
        contact_key=sender,
        **more,
    )
    conversation, stored = await store.conversations.record(
        [message], owner_id=owner_id, account=account
    )
    turn = a_turn(
        conversation,
        stored,
        turn_id=f"turn-{owner_id}-{number}",
        replies=(a_reply(f"reply-{owner_id}-{number}", 0, "Hello!"),),
    )
    assert await store.conversations.commit_turn(turn)
    return conversation


@pytest.fixture
async def two_owners(store: Store) -> Store:
    for owner_id in ("o1", "o2"):
        await store.owners.save(an_owner(id=owner_id))
        await store.accounts.save(account_of(owner_id))
    return store


async def test_a_contact_is_found_by_whatever_names_it(
    two_owners: Store, contacts: ContactRepository
) -> None:
    conversation = await write(two_owners, 1, profile_name="Ana")
    await write(two_owners, 2, sender=OTHER)
    mine = conversation.contact
    for name in (CONTACT, CONTACT.removeprefix("whatsapp:"), mine.key, mine.id):
        (found,) = await contacts.find(name)
        assert (found.id, found.profile_name) == (mine.id, "Ana")
    assert await contacts.find("+1999") == []
    assert await contacts.find(CONTACT, owner_id="o2") == []
    await write(two_owners, 1, owner_id="o2")
    assert [each.owner_id for each in await contacts.find(CONTACT)] == ["o1", "o2"]
    assert await contacts.conversation_ids(mine.id) == [conversation.id]
    assert await contacts.conversation_keys(mine.id) == [f"whatsapp:AC1:{NUMBER}:{CONTACT}"]


async def test_what_is_exported_is_theirs_alone(
    two_owners: Store, contacts: ContactRepository
) -> None:
    mine = (await write(two_owners, 1, body="my order")).contact
    await write(two_owners, 2, sender=OTHER, body="not mine")
    (key,) = await contacts.conversation_keys(mine.id)
    waiting = NewJob(id="j1", conversation=key, payload="waits")
    await two_owners.spool.add("inbound", waiting)
    exported = await contacts.export(mine.id)
    counts = {name: len(rows) for name, rows in exported.items() if rows}
    assert counts["contacts"] == counts["conversations"] == counts["messages"] == 1
    assert counts["turns"] == counts["replies"] == counts["inbox_spool"] == 1
    assert "my order" in str(exported)
    assert "not mine" not in str(exported)


async def test_who_is_erased_is_gone_and_others_stay(
    two_owners: Store, contacts: ContactRepository
) -> None:
    conversation = await write(two_owners, 1)
    other = await write(two_owners, 2, sender=OTHER)
    await write(two_owners, 1, owner_id="o2")
    booking = BookingRequest(
        owner_id="o1", conversation_id=conversation.id, people=2, day="friday", time="20:00"
    )
    await two_owners.owners.request_booking(booking, key="b1")
    (key,) = await contacts.conversation_keys(conversation.contact.id)
    await two_owners.spool.add("inbound", NewJob(id="j1", conversation=key, payload="waits"))

    rows = await contacts.erase(conversation.contact.id)
    for table in ("contacts", "conversations", "messages", "turns", "replies", "bookings"):
        assert rows[table] == 1, table
    assert rows["entries"] == 2
    assert rows["inbox_spool"] == 1
    assert await contacts.find(CONTACT, owner_id="o1") == []
    assert await two_owners.replies.get("reply-o1-1") is None
    assert await two_owners.spool.count() == 0
    assert await contacts.erase(conversation.contact.id) == {}, "a second time there is nothing"
    # The same number with another owner, another contact, and what was counted.
    assert len(await contacts.find(CONTACT)) == 1
    assert await two_owners.conversations.history(other.id, limit=5) != []
    assert await two_owners.owners.messages_this_month("o1") == 2
    again = await write(two_owners, 9)
    assert again.contact.id != conversation.contact.id
    assert await two_owners.conversations.history(again.id, limit=5) != []


async def test_unanswered_messages_go_after_their_owners_days(
    two_owners: Store, contacts: ContactRepository
) -> None:
    now = datetime.now(UTC)
    two_owners.clock.at = now
    for owner_id in ("o1", "o2"):
        account = account_of(owner_id)
        for days in (40, 35, 5):
            message = a_message(
                f"SM{owner_id}{days}",
                account_id=account.account_sid,
                received_at=now - timedelta(days=days),
            )
            await two_owners.conversations.record([message], owner_id=owner_id, account=account)
    assert await contacts.sweep(limit=10) == 0, "nobody asked for it"
    await two_owners.owners.save(an_owner(retention_days=30))
    assert await contacts.sweep(limit=1) == 1
    assert await contacts.sweep(limit=10) == 1
    assert await contacts.sweep(limit=10) == 0
    (mine,) = await contacts.find(CONTACT, owner_id="o1")
    assert len((await contacts.export(mine.id))["messages"]) == 1
    (kept,) = await contacts.find(CONTACT, owner_id="o2")
    assert len((await contacts.export(kept.id))["messages"]) == 3


async def test_conversations_are_given_back_when_their_owner_says(
    two_owners: Store, contacts: ContactRepository
) -> None:
    conversation = await write(two_owners, 1)
    await two_owners.conversations.set_human(conversation.id, human=True)
    two_owners.clock.at = datetime.now(UTC)
    assert await contacts.give_back_due() == 0, "that is left to people"
    for hours, given_back in ((1_000_000, 0), (0.00001, 1), (0.00001, 0)):
        people = People(give_back_after_hours=hours)
        await two_owners.owners.save(an_owner(assistant=Assistant(people=people)))
        await asyncio.sleep(0.1)  # 0.00001 hours are 36 ms
        assert await contacts.give_back_due() == given_back
    assert not await two_owners.conversations.is_human(conversation.id)
