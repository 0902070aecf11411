"""What becomes of a reply after it was written: windows, failures, rates, order, reports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.accounts import ReplyTemplate, SendingRules
from models.conversations import Reply, ReplyStatus
from models.messages import DeliveryStatus, OutboundMessage, SentMessage
from serve_app.channels.twilio.channel import TwilioChannel
from serve_app.store.reply_states import WINDOW_CLOSED
from serve_app.testing.engines import ScriptedChatModel
from tests.integration.chain.house import ACCOUNT_SID, BUSINESS, House, Open, until

pytestmark = pytest.mark.integration

TEMPLATE = "HX" + "9" * 32
BY_TEMPLATE = SendingRules(
    template=ReplyTemplate(content_sid=TEMPLATE, variables={"1": "{business}", "2": "{text}"})
)
AGAIN = {
    "retry_failed_after_s": 0.1,
    "retry_unreachable_after_s": 0.1,
    "sweep_older_than_s": 0.3,
}
"""Failed deliveries are tried again soon."""


async def reply_of(at: House, sid: str, *, status: ReplyStatus) -> Reply:
    """The reply to a message, once it has come to that."""
    found: list[Reply] = []

    async def there() -> bool:
        found[:] = (await at.progress(sid)).replies
        return bool(found) and found[0].status is status

    await until(there)
    return found[0]


async def ended(at: House, of: int, count: int) -> list[tuple[str, int | None]]:
    """What became of the contact's messages, once there are `count` and nothing more becomes of them."""

    async def all_ended() -> bool:
        found = await at.phone(of)
        return len(found) >= count and {each["status"] for each in found} <= {"read", "failed"}

    await until(all_ended)
    await at.settle()
    return [(each["status"], each["error_code"]) for each in await at.phone(of)]


# --- failures after the provider has accepted a message -------------------------------------------


async def test_what_failed_for_a_reason_that_passes_is_sent_once_more(house: Open) -> None:
    async with house(sender=AGAIN) as at:
        await at.faults(fail_deliveries=1, fail_code=30008)
        sid = await at.write("Hello")
        assert await ended(at, 1, 2) == [("failed", 30008), ("read", None)]
        assert set(await at.received(at_least=2)) == {"You said: Hello"}
        await reply_of(at, sid, status=ReplyStatus.SENT)


async def test_a_sender_that_was_too_fast_is_slowed_down_and_everything_arrives(
    house: Open,
) -> None:
    async with house(sender={**AGAIN, "slow_down_recovery_s": 30.0}) as at:
        await at.faults(fail_deliveries=2, fail_code=63018)
        people = range(1, 7)
        await asyncio.gather(*(at.write("Hello", of=n) for n in people))

        async def each_has_it_in_the_end() -> bool:
            found = [await at.phone(n) for n in people]
            return all(messages and messages[-1]["status"] == "read" for messages in found)

        await until(each_has_it_in_the_end)
        codes = [each["error_code"] for n in people for each in await at.phone(n)]
        assert sorted(filter(None, codes)) == [63018, 63018]
        assert len(codes) == len(people) + 2
        prefix = at.settings.queue.prefix
        bucket = f"{prefix}:{{rates:{ACCOUNT_SID}:{BUSINESS}}}:bucket"
        strikes = await at.stores.redis.hget(bucket, "strikes")  # type: ignore[misc]
        assert float(strikes or 0) > 0


async def test_what_cannot_be_delivered_stays_failed_and_says_why(house: Open) -> None:
    async with house(sender=AGAIN) as at:
        await at.faults(fail_deliveries=1, fail_code=30005)
        sid = await at.write("Hello")
        reply = await reply_of(at, sid, status=ReplyStatus.FAILED)
        assert reply.error_code == 30005
        (listed,) = await at.stores.replies.in_states([ReplyStatus.FAILED], limit=5)
        assert listed.id == reply.id
        assert await ended(at, 1, 1) == [("failed", 30005)]


async def test_a_report_that_wants_a_template_gets_one(house: Open) -> None:
    async with house() as at:
        await at.account(sending=BY_TEMPLATE)
        await at.faults(fail_deliveries=1, fail_code=63016)
        await at.write("Hello")
        assert await ended(at, 1, 2) == [("failed", 63016), ("read", None)]
        assert (await at.received())[1] == f"[{TEMPLATE}] Chain Café You said: Hello"


async def test_an_answer_that_wants_a_template_gets_one(house: Open) -> None:
    async with house() as at:
        await at.account(sending=BY_TEMPLATE)
        # With this seed the first send is struck, and the second isn't.
        await at.faults(reject=0.5, reject_code=63016, seed=10)
        await at.write("Hello")
        assert await at.received() == [f"[{TEMPLATE}] Chain Café You said: Hello"]
        counts = await at.counts()
        assert (counts["create_requests"], counts["reject"]) == (2, 1)


# --- the 24 hours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [BY_TEMPLATE, SendingRules()], ids=["template", "none"])
async def test_an_answer_that_comes_too_late(house: Open, rules: SendingRules) -> None:
    late = ScriptedChatModel(["At last"], delay_s=1.2)
    async with house(chat=late, twilio={"window_s": 1.0}) as at:
        await at.account(sending=rules)
        sid = await at.write("Hello")
        if rules.template is not None:
            assert await at.received() == [f"[{TEMPLATE}] Chain Café At last"]
            return
        reply = await reply_of(at, sid, status=ReplyStatus.CANCELED)
        assert reply.error_message == WINDOW_CLOSED
        await at.settle()
        assert await at.phone() == []


# --- rates, order, reports ------------------------------------------------------------------------


async def test_two_senders_share_one_rate(house: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    rate, people, slack_s = 2, range(1, 9), 0.75  # the way to the simulator takes its time, too
    send, replicas = TwilioChannel.send, set[int]()

    async def note(self: Any, message: OutboundMessage, account: Any) -> SentMessage:
        replicas.add(id(self))
        return await send(self, message, account)

    monkeypatch.setattr(TwilioChannel, "send", note)
    # Each takes two at a time and waits with them, so that both have their part.
    async with house(staffed=False, sender={"concurrency": 2, "rate_wait_s": 2.0}) as at:
        await at.account(sending=SendingRules(per_second=rate, burst=rate))
        async with at.worker():
            await asyncio.gather(*(at.write("Hello", of=n) for n in people))

            async def all_answered() -> bool:
                return (await at.stores.outbound.backlog()).waiting == len(people)

            await until(all_answered)
        async with at.sender(), at.sender():
            found = [(await at.phone(n, at_least=1))[0] for n in people]
        times = sorted(float(each["at"]) for each in found)
        assert len(times) == len(people)
        for first, start in enumerate(times):
            for count, end in enumerate(times[first:], start=1):
                assert count <= rate + rate * (end - start + slack_s), (first, count, end - start)
        assert times[-1] - times[0] >= (len(people) - rate) / rate - slack_s
        assert len(replicas) == 2, "both had their part"


@pytest.mark.parametrize("numbered", [True, False])
async def test_the_parts_of_a_long_reply_arrive_in_order(house: Open, numbered: bool) -> None:
    answer = "\n\n".join(f"Paragraph {n}. " + "word " * 250 for n in range(1, 5))
    async with house(chat=ScriptedChatModel(lambda _: answer)) as at:
        await at.account(sending=SendingRules(number_parts=numbered))
        await at.faults(rate_429=0.3, seed=7)
        await at.write("Tell me everything")
        bodies = await at.received(at_least=4)
        begins = [f"({n}/4) Paragraph {n}." if numbered else f"Paragraph {n}." for n in range(1, 5)]
        assert [body[: len(begin)] for body, begin in zip(bodies, begins, strict=True)] == begins


async def test_reports_that_come_backwards_and_twice_never_move_a_reply_back(house: Open) -> None:
    async with house() as at:
        await at.faults(shuffled_callbacks=1.0, duplicate_callbacks=1.0)
        sid = await at.write("Hello")

        async def reported() -> bool:
            return (await at.counts()).get("callbacks", 0) == 6

        await until(reported)
        await at.settle()
        (reply,) = (await at.progress(sid)).replies
        assert (reply.status, reply.delivery) == (ReplyStatus.SENT, DeliveryStatus.READ)
