"""What every store promises of contacts, of what they quote and of their files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from models.messages import DeliveryStatus, MediaRef, SentMessage
from tests.contract.store_samples import (
    CONTACT,
    NUMBER,
    RECEIVED,
    STORES,
    Store,
    a_message,
    a_reply,
    a_turn,
    an_account,
    an_owner,
    open_store,
)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request) as opened:
        await opened.owners.save(an_owner())
        await opened.accounts.save(an_account())
        yield opened


async def record(store: Store, *messages):
    return await store.conversations.record(messages, owner_id="o1", account=an_account())


async def test_who_gets_an_external_id_stays_the_same_person(store: Store) -> None:
    before, _ = await record(store, a_message("SM1", profile_name="Ana"))
    await store.conversations.set_human(before.id, human=True)
    after, _ = await record(store, a_message("SM2", contact_key="US.1"))
    assert (after.id, after.human) == (before.id, True)
    assert after.contact.id == before.contact.id
    assert (after.contact.key, after.contact.address) == ("US.1", CONTACT)
    assert after.contact.profile_name == "Ana"
    again, _ = await record(store, a_message("SM3", contact_key="US.1", sender="whatsapp:US.1"))
    assert (again.id, again.contact.address) == (before.id, "whatsapp:US.1")


async def test_a_number_that_changes_hands_belongs_to_its_new_owner(store: Store) -> None:
    first, _ = await record(store, a_message("SM1", contact_key="US.1"))
    second, _ = await record(store, a_message("SM2", contact_key="US.2"))
    assert second.id != first.id
    assert second.contact.id != first.contact.id
    by_number, _ = await record(store, a_message("SM3"))
    assert by_number.id not in {first.id, second.id}


async def test_an_external_id_known_already_adopts_nobody(store: Store) -> None:
    with_id, _ = await record(store, a_message("SM1", contact_key="US.1"))
    by_number, _ = await record(store, a_message("SM2"))
    again, _ = await record(store, a_message("SM3", contact_key="US.1"))
    assert again.id == with_id.id
    assert by_number.id != with_id.id


@pytest.mark.parametrize("which", ["+34600000001", "whatsapp:+34600000001", "34600000001"])
async def test_a_number_finds_its_contacts_of_every_channel(store: Store, which: str) -> None:
    for number, address in enumerate((CONTACT, "+34600000001", "34600000001")):
        await record(store, a_message(f"SM{number}", sender=address, contact_key=address))
    hidden = a_message("SM4", sender="whatsapp:US.34600000001", contact_key="US.34600000001")
    longer = a_message("SM5", sender="+346000000012", contact_key="+346000000012")
    await record(store, hidden)
    await record(store, longer)
    found = await store.contacts.find(which)
    assert {c.address for c in found} == {CONTACT, "+34600000001", "34600000001"}
    assert await store.contacts.find(which, owner_id="o2") == []
    (one,) = await store.contacts.find("US.34600000001")
    assert one.address == "whatsapp:US.34600000001"
    assert await store.contacts.find(one.id) == [one]


async def test_what_is_quoted(store: Store) -> None:
    conversation, (stored,) = await record(store, a_message("SM1", body="When?"))
    await store.conversations.save_transcript(
        stored.id, text="said", language="en", audio_seconds=1.0
    )
    await store.conversations.commit_turn(
        a_turn(conversation, [stored], replies=(a_reply("r1", 0, "At nine."),))
    )
    await store.replies.mark_sending("r1")
    sent = SentMessage(message_id="SM9", status=DeliveryStatus.QUEUED)
    await store.replies.mark_sent("r1", sent)

    async def quoted(message_id: str, where: str = conversation.id) -> str | None:
        return await store.conversations.quoted(where, message_id=message_id)

    assert await quoted("SM1") == "When?\nsaid"
    assert await quoted("SM9") == "At nine."
    assert await quoted("SM8") is None
    other, _ = await record(
        store, a_message("SM2", sender="whatsapp:+7", contact_key="whatsapp:+7", body="")
    )
    assert await quoted("SM1", other.id) is None
    assert await quoted("SM9", other.id) is None
    assert await quoted("SM2", other.id) is None


async def test_recipients_differ_but_the_person_is_one(store: Store) -> None:
    one, _ = await record(store, a_message("SM1"))
    two, _ = await record(store, a_message("SM2", recipient="+15550009999"))
    assert NUMBER != "+15550009999"
    assert one.contact.id == two.contact.id
    moved, _ = await record(store, a_message("SM3", recipient="+15550009999", contact_key="US.1"))
    assert moved.id == two.id
    first, _ = await record(store, a_message("SM4", contact_key="US.1"))
    assert first.id == one.id


async def test_files_are_referred_to_for_a_time(store: Store) -> None:
    photo = (MediaRef(url="https://m/1", content_type="image/jpeg", filename="me.jpg"),)
    days = {"SM1": 40, "SM2": 35, "SM3": 5}
    written = [
        a_message(name, media=photo, received_at=RECEIVED - timedelta(days=age))
        for name, age in days.items()
    ]
    plain = a_message("SM4", body="Hi", received_at=RECEIVED - timedelta(days=50))
    await record(store, *written, plain)
    month_ago = RECEIVED - timedelta(days=30)

    assert await store.conversations.forget_media(before=month_ago, limit=1) == 1
    assert await store.conversations.forget_media(before=month_ago, limit=10) == 1
    assert await store.conversations.forget_media(before=month_ago, limit=10) == 0
    _, stored = await record(store, *written)
    assert [message.message.media for message in stored] == [(), (), photo]
