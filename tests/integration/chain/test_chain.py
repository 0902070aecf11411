"""From a contact's message to the reply on the phone, over real servers."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from random import SystemRandom
from typing import Any

import httpx2
import pytest

from models.conversations import ReplyStatus
from models.errors import EngineUnavailableError
from models.inference import ChatRequest, ToolCall
from models.jobs import DeadReason
from models.messages import DeliveryStatus, OutboundMessage, SentMessage
from serve_app.channels.twilio.channel import TwilioChannel
from serve_app.conversation.ai_processor import AIProcessor
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.testing.engines import FixedTranscriber, ScriptedChatModel
from tests.integration.chain.house import Open, contact, die, echo, until

pytestmark = pytest.mark.integration


async def test_a_text_is_answered_once_and_read(house: Open) -> None:
    async with house() as at:
        sid = await at.write("Hello", copies=5)
        assert await at.received() == ["You said: Hello"]

        async def read() -> bool:
            replies = (await at.progress(sid)).replies
            return bool(replies) and replies[0].delivery is DeliveryStatus.READ

        await until(read)
        await at.settle()
        assert await at.received() == ["You said: Hello"]
        progress = await at.progress(sid)
        assert [reply.status for reply in progress.replies] == [ReplyStatus.SENT]
        assert [t.step for t in progress.timings][:2] == ["queued", "record"]
        assert (await at.counts())["create_requests"] == 1
        assert len(at.chat.requests) == 1


async def test_a_voice_note_is_heard_and_answered(house: Open) -> None:
    async with house(transcriber=FixedTranscriber({b"OggS a recording": "two teas"})) as at:
        sid = await at.write("", voice=b"OggS a recording")
        assert await at.received() == ["You said: [voice note] two teas"]
        assert (await at.progress(sid)).transcript == "two teas"


async def test_three_messages_within_a_second_are_one_turn(house: Open) -> None:
    async with house(conversation={"debounce_s": 0.4}) as at:
        for body in ("one", "two", "three"):
            await at.write(body)
            await asyncio.sleep(0.1)
        assert await at.received() == ["You said: one / two / three"]
        await at.settle()
        assert len(at.chat.requests) == 1
        assert len(await at.received()) == 1


async def test_a_conversation_is_remembered_and_a_person_takes_over(house: Open) -> None:
    def answer(request: ChatRequest) -> str | ToolCall:
        if request.messages[-1].content == "A person, please":
            return ToolCall(id="x", name="hand_over", arguments={})
        if request.messages[-1].role == "tool":
            return "Somebody will answer."
        return echo(request)

    async with house(chat=ScriptedChatModel(answer)) as at:
        await at.write("My name is Ana")
        await at.received(at_least=1)
        await at.write("A person, please")
        assert (await at.received(at_least=2))[1] == "Somebody will answer."
        contents = [m.content for m in at.chat.requests[1].messages]
        assert contents[1:3] == ["My name is Ana", "You said: My name is Ana"]
        await at.write("Anybody?")
        await at.settle()
        assert len(await at.received(at_least=2)) == 2


async def test_thirty_conversations_at_once_each_get_their_own_reply(house: Open) -> None:
    everybody = range(30)
    async with house() as at:
        await asyncio.gather(*(at.write(f"I am number {n}", of=n) for n in everybody))
        replies = await asyncio.gather(*(at.received(of=n) for n in everybody))
        assert replies == [[f"You said: I am number {n}"] for n in everybody]
        await at.settle()
        assert (await at.counts())["accepted"] == 30


# --- what fails -----------------------------------------------------------------------------------


class LongestPause(SystemRandom):
    """Jitter at its upper end, so that growth can be seen."""

    def uniform(self, a: float, b: float) -> float:
        return b


async def test_failing_turns_are_retried_ever_later_then_kept_and_replayed(
    house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.queue.service.SystemRandom", LongestPause)
    mended = False

    def answer(request: ChatRequest) -> str | Exception:
        return echo(request) if mended else EngineUnavailableError("gone", died=True)

    async with house(chat=ScriptedChatModel(answer)) as at:
        await at.write("Hello")
        apology = TextCatalogue.load().text("try_later", "en")
        assert await at.received() == [apology]
        (letter,) = await at.stores.inbound.dead()
        assert letter.reason is DeadReason.EXHAUSTED
        assert len(at.chat.requests) == letter.job.attempts == 4
        assert {a.error_type for a in letter.job.history} == {"EngineUnavailableError"}
        times = [attempt.at for attempt in letter.job.history]
        pauses = [after - before for before, after in pairwise(times)]
        assert all(pause >= due for pause, due in zip(pauses, (0.1, 0.2, 0.4), strict=True))

        # Others go on meanwhile; nothing more happens to this one by itself.
        mended = True
        await at.write("Me too", of=2)
        assert await at.received(of=2) == ["You said: Me too"]
        await at.settle()
        assert await at.received() == [apology]

        assert await at.stores.inbound.replay(letter.id)
        assert await at.received(at_least=2) == [apology, "You said: Hello"]
        assert await at.stores.inbound.dead() == []


@pytest.mark.parametrize("posted", [False, True], ids=["before the post", "after the post"])
async def test_a_sender_that_dies_while_sending(
    house: Open, monkeypatch: pytest.MonkeyPatch, posted: bool
) -> None:
    """Its reports are lost as well, so that only the provider's list can tell."""
    send = TwilioChannel.send
    reached = asyncio.Event()

    async def die_here(self: Any, message: OutboundMessage, account: Any) -> SentMessage:
        if posted:
            await send(self, message, account)
        reached.set()
        await asyncio.sleep(3600)
        raise AssertionError

    async with house(staffed=False) as at:
        await at.faults(lost_callbacks=1.0)
        async with at.worker():
            with monkeypatch.context() as patched:
                patched.setattr(TwilioChannel, "send", die_here)
                async with at.sender() as doomed:
                    sid = await at.write("Hello")
                    await asyncio.wait_for(reached.wait(), 10)
                    await die(doomed.outbound)
            assert (await at.progress(sid)).replies[0].status is ReplyStatus.SENDING
            async with at.sender():
                assert await at.received() == ["You said: Hello"]

                async def settled() -> bool:
                    return (await at.progress(sid)).replies[0].status is ReplyStatus.SENT

                await until(settled)
                await at.settle()
        assert await at.received() == ["You said: Hello"]
        assert (await at.counts())["create_requests"] == 1


async def test_a_worker_that_dies_after_the_commit_does_not_answer_twice(
    house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(staffed=False) as at:
        reached = asyncio.Event()

        async def die_here(self: Any, replies: Any) -> Any:
            reached.set()
            await asyncio.sleep(3600)

        with monkeypatch.context() as patched:
            patched.setattr(AIProcessor, "_enqueue", die_here)
            async with at.worker() as doomed:
                await at.write("Hello")
                await asyncio.wait_for(reached.wait(), 10)
                await die(doomed)
        async with at.worker(), at.sender():
            assert await at.received() == ["You said: Hello"]
            await at.settle()
            assert await at.received() == ["You said: Hello"]
        assert len(at.chat.requests) == 1


@pytest.mark.parametrize(
    "faults",
    [
        {"error_after": 0.5, "seed": 1},
        {"error_after": 0.5, "lost_callbacks": 1.0, "seed": 2},
        {"rate_429": 0.5, "seed": 3},
        {
            "rate_429": 0.2,
            "error_before": 0.2,
            "error_after": 0.2,
            "lost_callbacks": 0.5,
            "seed": 4,
        },
    ],
    ids=["500 after", "500 after and no reports", "429", "everything"],
)
async def test_a_faulty_provider_gets_each_reply_once(house: Open, faults: dict[str, Any]) -> None:
    everybody = range(12)
    async with house() as at:
        await at.faults(**faults)
        await asyncio.gather(*(at.write(f"number {n}", of=n) for n in everybody))
        await asyncio.gather(*(at.received(of=n, seconds=25) for n in everybody))
        await at.settle()
        counts = await at.counts()
        assert sum(counts.get(name, 0) for name in faults) > 0, "no fault struck"
        for n in everybody:
            assert await at.received(of=n) == [f"You said: number {n}"]
        assert counts["accepted"] == 12
        assert [await queue.dead() for queue in at.stores.queues.values()] == [[], [], []]


async def test_a_rejected_reply_is_not_tried_again(house: Open) -> None:
    async with house() as at:
        await at.faults(reject=1.0, reject_code=21610)
        sid = await at.write("Hello")

        async def failed() -> bool:
            replies = (await at.progress(sid)).replies
            return bool(replies) and replies[0].status is ReplyStatus.FAILED

        await until(failed)
        await at.settle()
        assert (await at.progress(sid)).replies[0].error_code == 21610
        assert (await at.counts())["create_requests"] == 1


async def test_a_spooled_message_is_answered_when_redis_is_back(
    house: Open, private_valkey: Any
) -> None:
    async with house(redis_url=private_valkey.url, sender={"sweep_interval_s": 0.2}) as at:
        private_valkey.kill()
        sid = await at.write("Hello")
        await at.write("Still there?")
        assert await at.stores.spool.count() == 2
        private_valkey.start()
        await at.received(seconds=20)
        await at.settle()
        assert await at.stores.spool.count() == 0
        said = " / ".join(body.removeprefix("You said: ") for body in await at.received())
        assert said == "Hello / Still there?"
        assert (await at.progress(sid)).turn_id is not None


async def test_the_real_door_refuses_what_twilio_did_not_sign(house: Open) -> None:
    async with house(staffed=False) as at, httpx2.AsyncClient(trust_env=False) as anybody:
        url = os.environ["RECADO_PUBLIC_URL"]
        forged = {
            "AccountSid": "AC" + "7" * 32,
            "MessageSid": "SM1",
            "From": contact(),
            "Body": "x",
        }
        answer = await anybody.post(f"{url}/webhooks/twilio", data=forged)
        assert answer.status_code == 403
        ready = await anybody.get(f"{url}/healthz/ready")
        assert ready.json()["parts"] == {"redis": "ok", "postgres": "ok"}
        assert await at.is_idle()
