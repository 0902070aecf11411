"""Dead letters go when their owner doesn't keep them any longer; other owners' stay."""

from __future__ import annotations

from datetime import timedelta
from typing import cast
from urllib.parse import quote_plus

from models.accounts import PhoneNumber
from models.errors import PermanentError
from models.jobs import DeadReason, NewJob
from serve_app.administration.housekeeper import Housekeeper
from serve_app.ports import ContactRepository, Queue
from serve_app.settings import PrivacySettings
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.store import MemoryStore
from tests.unit.conversation.stage import ManualClock, account, message, owner


class Contacts:
    """Of whom everything has been swept."""

    def __init__(self) -> None:
        self.limits: list[int] = []

    async def give_back_due(self) -> int:
        return 0

    async def sweep(self, *, limit: int) -> int:
        self.limits.append(limit)
        return 3 if len(self.limits) == 1 else 0


async def test_dead_letters_are_kept_as_long_as_their_owner_says() -> None:
    clock = ManualClock()
    store = MemoryStore(now=clock.now)
    inbound = MemoryQueue(name="inbound", clock=clock)
    other = "whatsapp:+15550009999"
    mine = message(1)
    for owner_id, number, days in (("bakery", mine.recipient, 30), ("keeps", other, None)):
        fields = {"id": owner_id, "retention_days": days}
        await store.owners.save(owner().model_copy(update=fields))
        numbers = (PhoneNumber(address=number),)
        await store.accounts.save(
            account(id=f"a-{owner_id}", owner_id=owner_id, phone_numbers=numbers)
        )

    async def bury(name: str, payload: str) -> None:
        job = NewJob(id=name, conversation=name, payload=payload)
        await inbound.bury(job, DeadReason.PERMANENT, PermanentError("no"))

    theirs = mine.model_copy(update={"recipient": other})
    await bury("old", mine.model_dump_json())
    await bury("old of another owner", theirs.model_dump_json())
    await bury("old and nobody's", "no message")
    form = f"AccountSid={mine.account_id}&To={{}}&From=whatsapp%3A%2B15551234567&NumMedia=x"
    await bury("old form", form.format(quote_plus(mine.recipient)))
    await bury("old form of another owner", form.format(quote_plus(other)))
    await bury("old form without a number", f"AccountSid={mine.account_id}&Body=Hello")
    clock.advance(timedelta(days=20).total_seconds())
    await bury("younger", mine.model_dump_json())
    contacts = Contacts()
    keeper = Housekeeper(
        contacts=cast(ContactRepository, contacts),
        owners=store.owners,
        accounts=store.accounts,
        queues={"inbound": cast(Queue, inbound)},
        clock=clock,
        settings=PrivacySettings(batch=7),
    )

    async def left() -> set[str]:
        await keeper.look()
        return {letter.job.id for letter in await inbound.dead()}

    kept = {"old of another owner", "old form of another owner"}
    old = {"old", "old form", "old and nobody's", "old form without a number"}
    everything = {*old, *kept, "younger"}
    assert await left() == everything, "nothing is that old"
    assert contacts.limits == [7, 7], "until there is nothing more to sweep"
    clock.advance(timedelta(days=11).total_seconds())
    assert await left() == everything - old, "of nobody's no longer than any owner would keep it"
    clock.advance(timedelta(days=20).total_seconds())
    assert await left() == kept
