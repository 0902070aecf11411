"""What is erased and handed out of one person, and what isn't: other people's, other owners'."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from models.accounts import PhoneNumber
from models.errors import PermanentError
from models.jobs import DeadReason, NewJob
from models.messages import InboundMessage
from serve_app.administration.privacy import ContactPrivacy
from serve_app.store.addresses import ways_of_writing
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.store import MemoryStore
from tests.unit.conversation.stage import (
    ACCOUNT_SID,
    BUSINESS,
    CONTACT,
    ManualClock,
    account,
    job,
    message,
    owner,
)

NUMBER = CONTACT.removeprefix("whatsapp:")
THEIRS = "whatsapp:+15550009999"


@dataclass
class Archive:
    store: MemoryStore
    inbound: MemoryQueue
    privacy: ContactPrivacy

    async def wait(self, *messages: InboundMessage) -> None:
        for each in messages:
            await self.inbound.publish(job(each), debounce_s=600)

    async def bury(self, name: str, payload: str, *, conversation: str = "unprocessable") -> None:
        dead = NewJob(id=name, conversation=conversation, payload=payload)
        await self.inbound.bury(dead, DeadReason.UNPROCESSABLE, PermanentError("no form"))

    async def left(self) -> set[str]:
        return {letter.job.id for letter in await self.inbound.dead()}

    async def waits(self, of: InboundMessage) -> bool:
        return bool(await self.inbound.mailbox(of.conversation_key))


@pytest.fixture
async def archive() -> Archive:
    """Two owners with a number each, at one account of the provider's."""
    clock = ManualClock()
    store = MemoryStore(now=clock.now)
    inbound = MemoryQueue(name="inbound", clock=clock)
    await store.owners.save(owner())
    await store.accounts.save(account())
    await store.owners.save(owner().model_copy(update={"id": "other"}))
    theirs = (PhoneNumber(address=THEIRS),)
    await store.accounts.save(account(id="a-other", owner_id="other", phone_numbers=theirs))

    async def waiting_for(contacts: Collection[str]) -> Collection[str]:
        names = tuple(f":{contact}" for contact in contacts)
        return [key for key in inbound._boxes.mailboxes if key.endswith(names)]

    return Archive(
        store=store,
        inbound=inbound,
        privacy=ContactPrivacy(
            contacts=store.contacts,
            accounts=store.accounts,
            queues={"inbound": inbound},
            waiting_for=waiting_for,
            ways_of_writing=ways_of_writing,
            clock=clock,
        ),
    )


def form(**params: str) -> str:
    return urlencode({"AccountSid": ACCOUNT_SID, "NumMedia": "x", **params})


async def test_one_owners_and_no_other_owners(archive: Archive) -> None:
    mine, theirs = message(1), message(2, recipient=THEIRS)
    await archive.store.conversations.record([mine], owner_id="owner-1", account=account())
    await archive.wait(mine, theirs)
    for name, of in (("mine", mine), ("theirs", theirs)):
        await archive.bury(name, of.model_dump_json(), conversation="odd")
        await archive.bury(f"{name}, a form", form(From=CONTACT, To=of.recipient))
    await archive.bury("nobody's", form(From=CONTACT))
    exported = await archive.privacy.export(NUMBER, owner_id="owner-1")
    assert {each["job"]["id"] for each in exported["dead_letters"]} == {"mine", "mine, a form"}
    assert exported["waiting"] == {}
    assert len(exported["contacts"][0]["waiting"]["inbound"]) == 1

    erased = await archive.privacy.erase(NUMBER, owner_id="owner-1")
    assert (erased.contacts, erased.jobs, erased.dead_letters) == (1, 1, 2)
    assert await archive.left() == {"theirs", "theirs, a form", "nobody's"}
    assert await archive.waits(theirs)
    exported = await archive.privacy.export(NUMBER, owner_id="other")
    assert len(exported["waiting"]["inbound"]) == 1, "known to the queue only"
    erased = await archive.privacy.erase(NUMBER)
    assert (erased.contacts, erased.jobs, erased.dead_letters) == (0, 1, 3)
    assert await archive.left() == set()


async def test_only_whole_numbers(archive: Archive) -> None:
    longer = CONTACT + "7"
    other = message(2, sender=longer, contact_key=longer)
    await archive.wait(other)
    await archive.bury("longer", form(From=longer, To=BUSINESS))
    await archive.bury(
        "about it", message(3, CONTACT, sender=longer, contact_key=longer).model_dump_json()
    )
    erased = await archive.privacy.erase(NUMBER)
    assert (erased.jobs, erased.dead_letters) == (0, 0)
    assert await archive.waits(other)


async def test_a_number_that_is_a_businesss_own_is_a_person_like_any_other(
    archive: Archive,
) -> None:
    """It is in the name of every conversation with that business, and in all that is written to it."""
    other = message(1)
    itself = message(2, sender=BUSINESS, contact_key=BUSINESS, recipient=THEIRS)
    await archive.wait(other, itself)
    await archive.bury("to it", form(From=CONTACT, To=BUSINESS))
    await archive.bury("from it", form(From=BUSINESS, To=THEIRS))
    await archive.bury("its own", itself.model_dump_json())
    erased = await archive.privacy.erase(BUSINESS.removeprefix("whatsapp:"))
    assert (erased.jobs, erased.dead_letters) == (1, 2)
    assert await archive.waits(other)
    assert await archive.left() == {"to it"}


async def test_an_opt_out_that_waits_for_postgres_goes_too(archive: Archive) -> None:
    stop = message(1, "STOP")
    late = NewJob(
        id=f"consent:{stop.job_id}",
        conversation=f"consent:{stop.conversation_key}",
        payload=stop.model_dump_json(),
    )
    await archive.inbound.publish(late)
    assert (await archive.privacy.erase(NUMBER)).jobs == 1
    assert await archive.inbound.mailbox(late.conversation) == []


async def test_who_is_known_by_an_external_id_alone(archive: Archive) -> None:
    hidden = message(1, sender="whatsapp:US.1349120865530274", contact_key="US.1349120865530274")
    await archive.store.conversations.record([hidden], owner_id="owner-1", account=account())
    await archive.wait(hidden)
    await archive.bury("hidden", form(From="", ExternalUserId="US.1349120865530274"))
    await archive.bury("another", form(From="", ExternalUserId="US.13491208655302741"))
    erased = await archive.privacy.erase("US.1349120865530274")
    assert (erased.contacts, erased.jobs, erased.dead_letters) == (1, 1, 1)
    assert await archive.left() == {"another"}


@pytest.mark.parametrize(
    "which", ["inbound", "+1", "", "whatsapp:", "US.9", "*", "12345678901234567"]
)
async def test_what_names_nobody_is_refused(archive: Archive, which: str) -> None:
    await archive.wait(message(1))
    with pytest.raises(PermanentError, match="neither a number"):
        await archive.privacy.erase(which)
    with pytest.raises(PermanentError, match="neither a number"):
        await archive.privacy.export(which)
    assert await archive.waits(message(1))
