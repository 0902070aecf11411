"""Turns with STOP, START and HELP: what is said, what is left to the assistant, what stays unsaid."""

from __future__ import annotations

import pytest

from models.consent import ConsentWord
from models.conversations import ReplyPurpose
from serve_app.conversation.catalogue import TextCatalogue
from tests.unit.conversation import stage

TEXTS = TextCatalogue.load()


def text(key: str) -> str:
    return TEXTS.text(key, "en").format(business="Café")


async def test_stop_is_confirmed_once_and_then_there_is_silence() -> None:
    on = await stage.build_stage()
    await on.turn(stage.message(1, "STOP"))
    await on.turn(stage.message(2, "stop"))
    await on.turn(stage.message(3, "Why don't you answer?"))
    await on.turn(stage.message(4, "help"))
    assert on.said == [text("opted_out")]
    assert [reply.purpose for reply in on.replies] == [ReplyPurpose.OPT_OUT]
    assert on.chat.requests == []
    assert on.channel.typing == []
    assert all(stored.turn_id for stored in on.store.tables.messages.values())


async def test_start_brings_the_answers_back() -> None:
    on = await stage.build_stage(["Hello again"])
    await on.turn(stage.message(1, "parar"))
    await on.turn(stage.message(2, "start"))
    await on.turn(stage.message(3, "Hi"))
    assert on.said == [text("opted_out"), text("opted_in"), "Hello again"]


async def test_yes_means_yes_unless_the_contact_has_opted_out() -> None:
    on = await stage.build_stage(["Booked"])
    await on.turn(stage.message(1, "Yes"))
    assert on.said == ["Booked"]
    assert [m.content for m in on.chat.requests[0].messages][-1] == "Yes"


async def test_help_says_who_this_is_without_a_model() -> None:
    on = await stage.build_stage()
    await on.turn(stage.message(1, "HELP"))
    assert on.said == [text("who_we_are")]
    assert on.chat.requests == []


async def test_the_last_word_of_a_burst_counts() -> None:
    on = await stage.build_stage(["At your service"])
    await on.turn(stage.message(1, "Hello"), stage.message(2, "STOP"))
    assert on.said == [text("opted_out")]
    await on.turn(stage.message(3, "START"), stage.message(4, "A tea, please"))
    assert on.said == [text("opted_out"), "At your service"]
    assert [m.content for m in on.chat.requests[0].messages][-1] == "A tea, please"


@pytest.mark.parametrize("word", ["STOP", "HELP"])
async def test_what_twilio_has_answered_is_not_answered_again(word: str) -> None:
    on = await stage.build_stage()
    kind = ConsentWord(word.lower())
    await on.turn(stage.message(1, word, opt_out_type=kind))
    await on.turn(stage.message(2, word, sender="+15552223333", contact_key="+15552223333"))
    assert on.said == []


async def test_a_translated_stop_by_sms_is_ours_to_confirm() -> None:
    on = await stage.build_stage()
    await on.turn(stage.message(1, "parar", sender="+15552223333", contact_key="+15552223333"))
    assert on.said == [text("opted_out")]


async def test_another_try_of_the_turn_says_the_same() -> None:
    on = await stage.build_stage()
    claim = await on.claim(stage.message(1, "STOP"))
    await on.store.consents.apply(stage.message(1, "STOP"), stop=True)
    await on.orchestrator.handle(claim)
    await on.orchestrator.handle(claim)
    assert on.said == [text("opted_out")]


async def test_an_opted_out_contact_gets_no_apology() -> None:
    on = await stage.build_stage()
    await on.turn(stage.message(1, "STOP"))
    claim = await on.claim(stage.message(2, "Hello"))
    letters = await on.inbound.dead_letter(claim, "permanent", ValueError("x"))  # type: ignore[arg-type]
    await on.orchestrator.on_dead(letters)
    assert on.said == [text("opted_out")]
