"""Which of the provider's messages are missing here, and that each is published once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.accounts import PhoneNumber
from models.errors import ListUnavailableError, QueueUnavailableError
from models.jobs import DeadReason
from models.messages import InboundMessage
from serve_app.delivery import reconciler as module
from serve_app.delivery.reconciler import Reconciled, Reconciler
from serve_app.testing.queue import MemoryQueue
from tests.unit.conversation.stage import ACCOUNT_SID, NOON, account, claim_of, job, message
from tests.unit.delivery.desk import Desk, open_desk

SINCE = NOON - timedelta(hours=1)


class Office:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.inbound = MemoryQueue(name="inbound", clock=desk.clock)
        self.reconciler = Reconciler(
            channels={desk.channel.name: desk.channel},
            accounts=desk.store.accounts,
            conversations=desk.store.conversations,
            inbound=self.inbound,
            debounce_s=0,
        )

    async def reconcile(self, *, dry_run: bool = False) -> Reconciled:
        return await self.reconciler.reconcile(account(), since=SINCE, dry_run=dry_run)

    async def jobs(self) -> list[InboundMessage]:
        claim = await claim_of(self.inbound)
        return [InboundMessage.model_validate_json(job.payload) for job in claim.jobs]


@pytest.fixture
async def office() -> Office:
    return Office(await open_desk())


async def test_what_never_arrived_is_published_in_order(office: Office) -> None:
    received = [message(1), message(2, voice="memory:1"), message(3)]
    office.desk.channel.received += received
    assert await office.reconcile() == Reconciled(ACCOUNT_SID, 3, 3, 3)
    assert await office.jobs() == received
    (_, job) = await office.inbound.job_state(received[0].job_id)
    assert job is not None
    assert job.fairness_key == account().owner_id
    assert await office.reconcile() == Reconciled(ACCOUNT_SID, 3, 0, 0)


async def test_it_is_from_the_contact_who_is_known_by_an_external_id(office: Office) -> None:
    known = message(1, contact_key="US.1")
    await office.desk.store.conversations.record([known], owner_id="owner-1", account=account())
    office.desk.channel.received.append(message(2))
    await office.reconcile()
    (published,) = await office.jobs()
    assert published.contact_key == "US.1"
    assert published.conversation_key == known.conversation_key


async def test_a_dry_run_changes_nothing(office: Office) -> None:
    office.desk.channel.received.append(message(1))
    assert await office.reconcile(dry_run=True) == Reconciled(ACCOUNT_SID, 1, 1, 0)
    assert (await office.inbound.backlog()).waiting == 0


async def test_what_is_known_is_left_alone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_BATCH", 2)
    answered, waiting, dead, done, recorded = (message(number) for number in range(1, 6))
    office.desk.channel.received += [answered, waiting, dead, done, recorded]
    await office.desk.answer(1, "Hello")
    await office.inbound.publish(job(done))
    await office.inbound.complete(await claim_of(office.inbound))
    await office.inbound.bury(job(dead), DeadReason.PERMANENT, KeyError("?"))
    await office.inbound.publish(job(waiting))
    # On record and unanswered, with no job left: Redis lost it.
    await office.desk.store.conversations.record([recorded], owner_id="owner-1", account=account())
    assert await office.reconcile() == Reconciled(ACCOUNT_SID, 5, 1, 1)
    assert [found.message_id for found in await office.jobs()] == [
        waiting.message_id,
        recorded.message_id,
    ]


async def test_the_webhook_comes_in_between(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = message(1)
    office.desk.channel.received.append(late)
    complete = office.desk.channel.with_media

    async def arrives_meanwhile(*args: object) -> InboundMessage:
        await office.inbound.publish(job(late))
        return await complete(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(office.desk.channel, "with_media", arrives_meanwhile)
    assert await office.reconcile() == Reconciled(ACCOUNT_SID, 1, 1, 0)
    assert len(await office.jobs()) == 1


async def test_a_list_that_cannot_be_read_or_is_too_long(office: Office) -> None:
    office.desk.channel.received += [message(number) for number in range(5)]
    office.desk.channel.max_listed = 2
    result = await office.reconcile()
    assert (result.found, result.published) == (2, 2)
    assert result.problem is not None
    office.desk.channel.list_error = ListUnavailableError("503")
    assert await office.reconcile() == Reconciled(ACCOUNT_SID, problem="503")


async def test_files_that_cannot_be_listed_leave_the_rest_for_the_next_run(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.desk.channel.received += [message(number) for number in range(3)]

    async def fail(*_: object) -> InboundMessage:
        raise ListUnavailableError("503")

    with monkeypatch.context() as patched:
        patched.setattr(office.desk.channel, "with_media", fail)
        assert await office.reconcile() == Reconciled(ACCOUNT_SID, 3, 3, 0, "503")
    assert (await office.reconcile()).published == 3


async def test_redis_away(office: Office) -> None:
    office.desk.channel.received.append(message(1))
    office.inbound.down = True
    with pytest.raises(QueueUnavailableError):
        await office.reconcile()


async def test_a_burst_is_waited_for_as_long_as_its_account_says(office: Office) -> None:
    others = account(
        id="another",
        owner_id="owner-2",
        phone_numbers=(PhoneNumber(address="whatsapp:+15550009999"),),
        debounce_s=3.0,
    )
    await office.desk.store.accounts.save(others)
    theirs = message(1).model_copy(update={"recipient": "whatsapp:+15550009999"})
    office.desk.channel.received += [theirs, message(2)]
    await office.reconcile()
    backlog = await office.inbound.backlog()
    assert (backlog.delayed, backlog.waiting) == (1, 1)
