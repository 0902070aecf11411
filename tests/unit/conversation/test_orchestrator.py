"""Whole turns, from the job to the reply on the outbound queue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.typing import EventDict

from models.accounts import Plan, TwilioAccount
from models.errors import (
    AccountNotFoundError,
    EngineUnavailableError,
    QueueUnavailableError,
    StoreUnavailableError,
    UnprocessableError,
)
from models.inference import ChatRequest, ToolCall
from models.jobs import DeadReason, NewJob
from models.messages import InboundMessage, MessageKind
from serve_app.conversation.business_hours import WEEKDAYS
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.testing.engines import ScriptedChatModel
from tests.unit.conversation import stage
from tests.unit.conversation.stage import Stage

TEXTS = TextCatalogue.load()


async def test_a_text_is_answered() -> None:
    on = await stage.build_stage(["Hello from the café"])
    await on.turn(stage.message(1, "Hello"))
    assert on.said == ["Hello from the café"]
    assert await on.published() == [on.replies[0].id]
    assert on.replies[0].recipient == stage.CONTACT
    assert on.replies[0].sender == stage.BUSINESS
    assert on.replies[0].trace["correlation_id"].startswith("trace-SM")


async def test_a_voice_note_is_answered_by_what_was_said() -> None:
    on = await stage.build_stage(["We do."], heard="Do you have cake?")
    await on.turn(stage.message(1, "", voice=on.record_voice(b"ogg")))
    assert on.chat.requests[0].messages[-1].content == "[voice note] Do you have cake?"
    (turn,) = on.store.tables.turns.values()
    assert turn.audio_seconds == 2.0
    assert turn.contact_language == "en"
    assert on.conversation.contact.language == "en"


async def test_a_burst_is_one_turn() -> None:
    on = await stage.build_stage(["All at once"])
    await on.turn(*(stage.message(n, f"part {n}") for n in (1, 2, 3)))
    assert on.said == ["All at once"]
    assert [m.content for m in on.chat.requests[0].messages[1:]] == ["part 1", "part 2", "part 3"]


async def test_tools_work_and_are_remembered_in_the_next_turn() -> None:
    ask = ToolCall(id="x", name="menu", arguments={"item": "cake"})
    on = await stage.build_stage([ask, "4.20.", "You're welcome."])
    await on.turn(stage.message(1, "What is a cake?"))
    await on.turn(stage.message(2, "Thanks"))
    roles = [m.role for m in on.chat.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert on.said == ["4.20.", "You're welcome."]


async def test_steps_are_timed_from_the_acceptance() -> None:
    on = await stage.build_stage()
    on.clock.advance(7)
    await on.turn(stage.message(1, "Hi"))
    (turn,) = on.store.tables.turns.values()
    assert [s.step for s in turn.timings] == [
        "queued",
        "record",
        "resolve",
        "transcribe",
        "answer",
    ]
    assert turn.timings[0].seconds == 7.0
    assert turn.timings[1].started_s == 7.0


async def test_what_was_said_and_who_said_it_is_not_logged(logs: list[EventDict]) -> None:
    on = await stage.build_stage(["The secret answer"], heard="a spoken secret")
    await on.turn(stage.message(1, "A written secret"))
    await on.turn(stage.message(2, "", voice=on.record_voice(b"x")))
    await on.orchestrator.on_dead(await _bury(on, stage.message(3, "A buried secret")))
    assert any(entry["event"] == "turn_finished" for entry in logs)
    assert "secret" not in str(logs)
    assert stage.CONTACT.removeprefix("whatsapp:") not in str(logs)


# --- repeats --------------------------------------------------------------------------------------


async def test_a_repeat_after_the_commit_only_publishes() -> None:
    on = await stage.build_stage(["Once"])
    claim = await on.claim(stage.message(1, "Hi"))
    on.outbound.down = True
    with pytest.raises(QueueUnavailableError):
        await on.orchestrator.handle(claim)
    on.outbound.down = False
    await on.orchestrator.handle(claim)
    await on.orchestrator.handle(claim)
    assert len(on.chat.requests) == 1
    assert on.said == ["Once"]
    assert await on.published() == [on.replies[0].id]


async def test_a_repeat_with_a_new_message_answers_only_that() -> None:
    on = await stage.build_stage(["To the first", "To the second"])
    first, second = stage.message(1, "one"), stage.message(2, "two")
    lost = await on.claim(first)
    await on.orchestrator.handle(lost)
    await on.inbound.release(lost)
    await on.turn(second)
    assert on.said == ["To the first", "To the second"]
    (last,) = (m for m in on.chat.requests[1].messages if m.content == "two")
    assert last.role == "user"
    assert [m.content for m in on.chat.requests[1].messages].count("one") == 1


async def test_a_commit_lost_to_another_try_says_nothing_of_its_own() -> None:
    """Both tries think at the same time, as after a lease that ran out."""
    both_think = asyncio.Barrier(2)

    class Slow(ScriptedChatModel):
        async def chat(self, request: ChatRequest):
            await both_think.wait()
            return await super().chat(request)

    on = await stage.build_stage(Slow(["One", "Other"]))
    claim = await on.claim(stage.message(1, "Hi"))
    await asyncio.gather(on.orchestrator.handle(claim), on.orchestrator.handle(claim))
    assert len(on.chat.requests) == 2
    assert len(on.said) == 1
    assert await on.published() == [on.replies[0].id]


async def test_an_engine_that_is_away_leaves_nothing_behind() -> None:
    on = await stage.build_stage([EngineUnavailableError("full"), "Now."])
    claim = await on.claim(stage.message(1, "Hi"))
    with pytest.raises(EngineUnavailableError):
        await on.orchestrator.handle(claim)
    assert on.store.tables.turns == {}
    await on.orchestrator.handle(claim)
    assert on.said == ["Now."]


# --- people, plans, typing ------------------------------------------------------------------------


async def test_a_conversation_that_a_person_has_taken_over_is_silent() -> None:
    on = await stage.build_stage(["Hi"], heard="spoken")
    await on.turn(stage.message(1, "Hi"))
    on.take_over()
    await on.turn(stage.message(2, "", voice=on.record_voice(b"x")))
    assert on.said == ["Hi"]
    assert len(on.chat.requests) == 1
    assert on.channel.typing == [stage.message(1).message_id]
    # The person reads what was said, and the assistant will too if it takes over again.
    entries = on.store.tables.entries[on.conversation.id]
    assert entries[-1].content == "[voice note] spoken"


async def test_a_takeover_while_the_model_thinks_silences_it() -> None:
    on: Stage

    def think(request: ChatRequest) -> str:
        on.take_over()
        return "Too late"

    on = await stage.build_stage(ScriptedChatModel(think))
    await on.turn(stage.message(1, "Hi"))
    assert on.said == []
    (stored,) = on.store.tables.messages.values()
    assert stored.turn_id is not None


async def test_handing_over_says_goodbye_and_then_is_silent() -> None:
    ask = ToolCall(id="x", name="hand_over", arguments={})
    on = await stage.build_stage([ask, "Somebody will be with you."])
    await on.turn(stage.message(1, "A person, please"))
    await on.turn(stage.message(2, "Hello?"))
    assert on.said == ["Somebody will be with you."]
    assert on.conversation.human


async def test_a_plan_without_voice_asks_for_text() -> None:
    on = await stage.build_stage(of=stage.owner(plan=Plan(code="b", features=frozenset({"text"}))))
    await on.turn(stage.message(1, "", voice=on.record_voice(b"x")))
    assert on.said == [TEXTS.text("voice_not_supported", "en")]
    assert on.transcriber.requests == []


async def test_an_inactive_plan_costs_no_inference() -> None:
    on = await stage.build_stage(of=stage.owner(plan=Plan(code="b", active=False)))
    await on.turn(stage.message(1, "", voice=on.record_voice(b"x")))
    assert on.said == [TEXTS.text("plan_inactive", "en")]
    assert on.transcriber.requests == []
    assert on.chat.requests == []


async def test_typing_is_shown_and_never_in_the_way() -> None:
    on = await stage.build_stage(["Hi"])
    hangs = asyncio.Event()

    async def show(message: InboundMessage, account: TwilioAccount) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            hangs.set()

    on.channel.show_typing = show  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await on.turn(stage.message(1, "Hi"))
    assert hangs.is_set()
    assert on.said == ["Hi"]


async def test_typing_is_not_shown_where_nothing_will_be_said() -> None:
    on = await stage.build_stage(["Hi"])
    thumb = stage.message(1, "").model_copy(
        update={"kind": MessageKind.REACTION, "reaction": "\N{THUMBS UP SIGN}"}
    )
    await on.turn(thumb)
    closed = dict.fromkeys(WEEKDAYS)
    assistant = stage.owner().assistant.model_copy(
        update={"business_hours": closed, "outside_hours": "silent"}
    )
    await on.store.owners.save(stage.owner().model_copy(update={"assistant": assistant}))
    await on.turn(stage.message(2, "Anybody there?"))
    assert (on.said, on.channel.typing) == ([], [])


async def test_typing_can_be_switched_off() -> None:
    on = await stage.build_stage(["Hi"], typing_indicator=False)
    await on.turn(stage.message(1, "Hi"))
    assert on.channel.typing == []


# --- what can't be processed ----------------------------------------------------------------------


async def test_a_job_without_a_message_is_unprocessable() -> None:
    on = await stage.build_stage()
    await on.inbound.publish(NewJob(id="j", conversation="c", payload='{"body": "half a message"'))
    claim = await stage.claim_of(on.inbound)
    with pytest.raises(UnprocessableError, match="job j"):
        await on.orchestrator.handle(claim)


async def test_a_number_that_nobody_owns() -> None:
    on = await stage.build_stage()
    claim = await on.claim(stage.message(1, recipient="whatsapp:+15559999999"))
    with pytest.raises(AccountNotFoundError, match="replay"):
        await on.orchestrator.handle(claim)


async def _bury(on: Stage, *messages: InboundMessage) -> list[Any]:
    letters = []
    for each in messages:
        claim = await on.claim(each)
        letters += await on.inbound.dead_letter(claim, DeadReason.EXHAUSTED, RuntimeError("no"))
    return letters


async def test_the_apology_comes_once_and_a_replay_still_answers() -> None:
    on = await stage.build_stage(["The answer at last"])
    letters = await _bury(on, stage.message(1, "Hi"))
    for _ in range(3):
        await on.orchestrator.on_dead(letters)
    assert on.said == [TEXTS.text("try_later", "en")]
    assert await on.published() == [on.replies[0].id]

    assert await on.inbound.replay(letters[0].id)
    claim = await stage.claim_of(on.inbound)
    await on.orchestrator.handle(claim)
    assert on.said[1:] == ["The answer at last"]
    assert await on.published() == [on.replies[1].id]


async def test_no_apology_where_the_message_was_answered_or_a_person_answers() -> None:
    on = await stage.build_stage(["Answered"])
    await on.turn(stage.message(1, "Hi"))
    letters = await _bury(on, stage.message(2, "Well?"))
    dead_after_commit = letters[0].model_copy(
        update={"job": letters[0].job.model_copy(update={"payload": _payload(stage.message(1))})}
    )
    await on.orchestrator.on_dead([dead_after_commit])
    assert on.said == ["Answered"]
    on.take_over()
    await on.orchestrator.on_dead(letters)
    assert on.said == ["Answered"]


async def test_letters_that_allow_no_apology_do_not_stop_the_others() -> None:
    on = await stage.build_stage()
    nobodys, good = await _bury(
        on,
        stage.message(1, recipient="whatsapp:+15559999999"),
        stage.message(2, "Hi"),
    )
    nonsense = good.model_copy(update={"job": good.job.model_copy(update={"payload": "{"})})
    await on.orchestrator.on_dead([nonsense, nobodys, good])
    assert on.said == [TEXTS.text("try_later", "en")]


async def test_an_owner_that_is_gone_does_not_stop_the_other_apologies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on = await stage.build_stage()
    letters = await _bury(on, stage.message(1, "one"), stage.message(2, "two"))
    find, calls = on.store.accounts.addressee, iter([StoreUnavailableError("restarting"), None])

    async def sometimes(**whose: str):
        error = next(calls)
        if error is not None:
            raise error
        return await find(**whose)

    monkeypatch.setattr(on.store.accounts, "addressee", sometimes)
    await on.orchestrator.on_dead(letters)
    assert len(on.said) == 1


def _payload(of: InboundMessage) -> str:
    return of.model_dump_json()


async def test_typing_is_shown_again_while_a_long_turn_runs() -> None:
    on = await stage.build_stage(ScriptedChatModel(["At last"], delay_s=0.5))
    on.orchestrator._typing_renew_s = 0.05
    await on.turn(stage.message(1, "Hi"))
    shown = len(on.channel.typing)
    assert shown >= 2
    await on.turn(stage.message(2, "STOP"))
    assert len(on.channel.typing) == shown
