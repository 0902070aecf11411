"""SMS from contact to phone: what Twilio answers itself, opt-outs, long texts and their segments."""

from __future__ import annotations

import pytest

from models.conversations import ReplyStatus
from serve_app.conversation.segments import count_segments
from serve_app.testing.engines import ScriptedChatModel
from tests.integration.chain.house import Open

pytestmark = pytest.mark.integration

SMS, TEXTER = "+15550006666", "+15553330001"


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
