"""Several owners, numbers and messaging services beside each other, and SMS: from contact to phone."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from models.conversations import ReplyStatus
from serve_app.conversation.segments import count_segments
from serve_app.testing.engines import ScriptedChatModel
from tests.integration.chain.house import ACCOUNT_SID, BUSINESS, Open

pytestmark = pytest.mark.integration

OTHERS, THIRD = "whatsapp:+15550008888", "whatsapp:+15550009999"
SMS, TEXTER = "+15550006666", "+15553330001"
SERVICES = {"first": "MG" + "1" * 32, "second": "MG" + "2" * 32}
SUBACCOUNT = "AC" + "8" * 32


async def test_each_owner_waits_for_the_end_of_a_burst_as_long_as_it_likes(house: Open) -> None:
    async with house(conversation={"debounce_s": 60.0}, simulation={"numbers": (OTHERS,)}) as at:
        await at.another_owner("second", OTHERS, debounce_s=0.4)
        await at.write("To the first")
        for body in ("one", "two", "three"):
            await at.write(body, to=OTHERS, of=2)
        assert await at.received(of=2) == ["You said: one / two / three"]
        assert await at.received(at_least=0) == []
        assert (await at.stores.inbound.backlog()).delayed == 1


async def test_services_and_subaccounts_each_answer_for_themselves(house: Open) -> None:
    async with house(simulation={"numbers": (BUSINESS, OTHERS, THIRD)}) as at:
        await at.account(messaging_service_sid=SERVICES["first"])
        await at.another_owner("second", OTHERS, messaging_service_sid=SERVICES["second"])
        token = "a-token-of-the-subaccount"
        put = await at.simulator.put(
            f"/simulator/accounts/{SUBACCOUNT}", json={"auth_token": token}
        )
        put.raise_for_status()
        secrets = {"auth_token": SecretStr(token), "account_sid": SUBACCOUNT}
        await at.another_owner("third", THIRD, messaging_service_sid=None, **secrets)
        await asyncio.gather(
            at.write("one", of=1, MessagingServiceSid=SERVICES["first"]),
            at.write("two", of=2, to=OTHERS, MessagingServiceSid=SERVICES["second"]),
            at.write("three", of=3, to=THIRD, account_sid=SUBACCOUNT),
        )
        found = [(await at.phone(number, at_least=1))[0] for number in (1, 2, 3)]
        assert [(each["account_sid"], each["messaging_service_sid"]) for each in found] == [
            (ACCOUNT_SID, SERVICES["first"]),
            (ACCOUNT_SID, SERVICES["second"]),
            (SUBACCOUNT, None),
        ]
        for number, owner in ((1, "chain"), (2, "second"), (3, "third")):
            (contact,) = await at.stores.contacts.find(found[number - 1]["to"])
            assert contact.owner_id == owner
            assert await at.stores.owners.messages_this_month(owner) == 1


# --- SMS ------------------------------------------------------------------------------------------


async def test_what_twilio_answers_itself_on_sms_is_not_answered_twice(house: Open) -> None:
    async with house(simulation={"numbers": (SMS,)}) as at:
        await at.another_owner("texts", SMS)

        async def nothing_more_after(body: str, *known: str) -> None:
            await at.write(body, of=TEXTER, to=SMS)
            await at.settle()
            assert await at.received(of=TEXTER, at_least=0) == list(known)

        await nothing_more_after("HELP")
        await at.write("Hello", of=TEXTER, to=SMS)
        hello = "You said: Hello"
        assert await at.received(of=TEXTER) == [hello]
        await nothing_more_after("STOP", hello)
        await nothing_more_after("Hello?", hello)
        assert (await at.counts())["create_requests"] == 1, "nothing is tried after STOP"
        await nothing_more_after("START", hello)
        await at.write("And now?", of=TEXTER, to=SMS)
        assert len(await at.received(of=TEXTER, at_least=2)) == 2


async def test_an_opt_out_that_only_twilio_knows_is_learnt_from_its_refusal(house: Open) -> None:
    async with house(simulation={"numbers": (SMS,)}) as at:
        await at.another_owner("texts", SMS)
        await at.faults(reject=1.0, reject_code=21610)
        sid = await at.write("Hello", of=TEXTER, to=SMS)
        await at.settle()
        (refused,) = (await at.progress(sid)).replies
        assert (refused.status, refused.error_code) == (ReplyStatus.FAILED, 21610)
        await at.faults()
        await at.write("Hello?", of=TEXTER, to=SMS)
        await at.settle()
        assert (await at.counts())["create_requests"] == 1


async def test_a_long_sms_is_split_and_its_segments_are_counted(house: Open) -> None:
    answer = "\n\n".join(f"Paragraph {n}. " + "word " * 250 for n in range(3)) + " 🙂"
    async with house(
        chat=ScriptedChatModel(lambda _: answer), simulation={"numbers": (SMS,)}
    ) as at:
        await at.another_owner("texts", SMS)
        sid = await at.write("Tell me everything", of=TEXTER, to=SMS)
        bodies = await at.received(of=TEXTER, at_least=3)
        assert [body.split(".")[0] for body in bodies] == [f"Paragraph {n}" for n in range(3)]
        assert all(len(body) <= 1600 for body in bodies)
        await at.settle()
        wanted = [count_segments(body) for body in bodies]
        assert wanted[2] > wanted[1], "one emoji makes all of it UCS-2"
        replies = (await at.progress(sid)).replies
        assert [reply.segments for reply in replies] == wanted
        (month,) = await at.stores.owners.usage("texts", months=1)
        assert month.sms_segments == sum(wanted)
