"""STOP against everything that may be on its way: thinking, committed, queued, being sent."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from models.conversations import ReplyStatus
from models.messages import OutboundMessage, SentMessage
from serve_app.channels.twilio.channel import TwilioChannel
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.testing.engines import ScriptedChatModel
from tests.integration.chain.command_line import recado
from tests.integration.chain.house import HeldModel, House, Open, contact

pytestmark = pytest.mark.integration

RACES = 200
AT_ONCE = 20


def confirmation() -> str:
    return TextCatalogue.load().text("opted_out", "en").format(business="Chain Café")


async def test_two_hundred_opt_outs_against_replies_without_one_message_after_stop(
    house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contact writes STOP while a long answer is thought about, stored, queued or sent part by part: at
    another moment in each race. Once its webhook is answered nothing more is asked of Twilio."""
    asked: dict[str, list[tuple[float, str]]] = defaultdict(list)
    send = TwilioChannel.send

    async def note(self: Any, message: OutboundMessage, account: Any) -> SentMessage:
        asked[message.recipient].append((time.monotonic(), message.body))
        return await send(self, message, account)

    monkeypatch.setattr(TwilioChannel, "send", note)
    long_answer = "\n\n".join(f"Paragraph {n}. " + "word " * 300 for n in range(4))

    async def race(at: House, number: int, parts: int, then_s: float) -> float:
        """STOP comes once so many parts of the answer have left, and a moment later."""
        await at.write("Tell me everything", of=number)
        deadline = time.monotonic() + 3
        while len(asked[contact(number)]) < parts and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(then_s)
        await at.write("STOP", of=number)
        return time.monotonic()

    random = Random(2026)
    stopped: dict[int, float] = {}
    async with house(
        chat=ScriptedChatModel(lambda _: long_answer), conversation={"debounce_s": 0.02}
    ) as at:
        await at.faults(delay_s=0.02)
        for first in range(1, RACES + 1, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            moments = [(random.choice((0, 0, 1, 2, 3, 4)), random.uniform(0, 0.2)) for _ in numbers]
            races = (race(at, n, *moment) for n, moment in zip(numbers, moments, strict=True))
            times = await asyncio.gather(*races)
            stopped |= dict(zip(numbers, times, strict=True))
        await at.settle(seconds=60)
        canceled = await at.stores.replies.in_states([ReplyStatus.CANCELED], limit=10_000)
        before = 0
        for number, moment in stopped.items():
            sent = asked[contact(number)]
            late = [body for began, body in sent if began > moment and body != confirmation()]
            assert late == [], f"{contact(number)} got something after STOP"
            assert [body for _, body in sent][-1] == confirmation()
            assert [body for _, body in sent].count(confirmation()) == 1
            before += len(sent) - 1
        # The races were races: some answers won, some lost, some were cut in the middle.
        assert canceled
        assert before
        assert any(1 < len(sent) < 5 for sent in asked.values())


async def test_stop_while_the_model_thinks_start_and_an_answer(house: Open) -> None:
    model = HeldModel(lambda _: "An answer")
    async with house(chat=model) as at:
        await at.write("Hello")
        await asyncio.wait_for(model.thinking.wait(), 20)
        await at.write("Stop.")
        model.go_on.set()
        assert await at.received() == [confirmation()]
        await at.settle()
        await at.write("Hello?")
        await at.settle()
        assert await at.received() == [confirmation()]
        await at.write("start")
        await at.received(at_least=2)
        await at.write("And now?")
        assert (await at.received(at_least=3))[2] == "An answer"


async def test_a_stop_with_which_the_contact_gets_an_external_id(house: Open) -> None:
    """Known by the number so far, and being answered: it is one person, who wants nothing more."""
    model = HeldModel(lambda _: "An answer")
    async with house(chat=model) as at:
        await at.write("Hello")
        await asyncio.wait_for(model.thinking.wait(), 20)
        await at.write("STOP", user_id="US.1349120865530274")
        model.go_on.set()
        assert await at.received() == [confirmation()]
        await at.settle()
        await at.write("Hello?", user_id="US.1349120865530274")
        await at.settle()
        assert await at.received() == [confirmation()]
        (person,) = await at.stores.contacts.find(contact())
        assert person.key == "US.1349120865530274"


async def test_a_message_that_is_found_in_the_list_is_of_who_has_opted_out(
    house: Open, tmp_path: Path
) -> None:
    """The list tells the number only, and the contact is known by an external id."""
    known = {"user_id": "US.1349120865530274"}
    async with house(staffed=False) as at:
        async with at.worker(), at.sender():
            await at.write("Hello", **known)
            await at.received()
            await at.write("STOP", **known)
            await at.received(at_least=2)
            await at.settle()
        await at.write("Anybody?", **known)
        await at.stores.redis.delete(*await at.stores.redis.keys(f"{at.settings.queue.prefix}*"))
        result = await recado(at, tmp_path, "reconcile", "--since", "1h")
        assert result.exit_code == 0, result.output
        assert (await at.stores.inbound.backlog()).delayed == 1
        async with at.worker(), at.sender():
            await at.settle()
            assert (await at.received(at_least=2))[1:] == [confirmation()]
        assert len(await at.stores.contacts.find(contact())) == 1


async def test_twilio_says_that_the_contact_has_opted_out(house: Open) -> None:
    async with house() as at:
        await at.faults(reject=1.0, reject_code=21610)
        await at.write("Hello")
        await at.settle()
        await at.faults()
        await at.write("Hello?")
        await at.settle()
        assert (await at.counts())["create_requests"] == 1
