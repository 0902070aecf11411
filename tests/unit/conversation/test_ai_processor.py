"""Context, agent, response: the three steps alone."""

from __future__ import annotations

from typing import Any

import pytest

from models.accounts import Owner
from models.conversations import HistoryEntry, ReplyStatus
from models.errors import EngineUnavailableError, InferenceError
from models.inference import ChatReply, ChatUsage, ToolCall
from serve_app.conversation.agent import AgentResult
from serve_app.conversation.ai_processor import TurnContext
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.message_handler import RecordedTurn
from serve_app.conversation.owner_resolver import Entitlement
from serve_app.conversation.reading import HeardMessage
from serve_app.conversation.reply_parts import reply_job
from serve_app.conversation.timing import StepTimer
from serve_app.store.reply_states import TAKEN_OVER
from tests.unit.conversation import stage
from tests.unit.conversation.stage import Stage

TEXTS = TextCatalogue.load()


async def record(on: Stage, *bodies: str) -> RecordedTurn:
    conversation, stored = await on.store.conversations.record(
        [stage.message(i, body) for i, body in enumerate(bodies, 1)],
        owner_id="owner-1",
        account=stage.account(),
    )
    return RecordedTurn(stage.addressee(), conversation, tuple(stored), ())


def heard(turn: RecordedTurn, **changes: Any) -> list[HeardMessage]:
    """`changes` are the last message's."""
    plain = [HeardMessage(stored, stored.message.body) for stored in turn.open]
    last: dict[str, Any] = {"text": plain[-1].text, **changes}
    return [*plain[:-1], HeardMessage(turn.open[-1], **last)]


async def resolve(
    on: Stage, turn: RecordedTurn, of: Owner | None = None, refusal: Any = None, **changes: Any
) -> TurnContext:
    entitlement = Entitlement(of or stage.owner(), refusal)
    return await on.ai.resolve_context(turn, entitlement, heard(turn, **changes))


def say(text: str, **changes: Any) -> AgentResult:
    fields: dict[str, Any] = {
        "text": text,
        "entries": (HistoryEntry(role="assistant", content=text),),
        "usage": ChatUsage(prompt_tokens=5, completion_tokens=2),
        "tools_used": (),
        "hand_over": False,
    }
    return AgentResult(**{**fields, **changes})


async def respond(
    on: Stage, turn: RecordedTurn, context: TurnContext, result: AgentResult, **changes: Any
) -> None:
    await on.ai.send_response(
        turn,
        context,
        result,
        heard(turn, **changes),
        channel=on.channel,
        timer=StepTimer(clock=on.clock),
        trace={"correlation_id": "t"},
    )


# --- resolve_context ------------------------------------------------------------------------------


async def test_the_prompt_is_instructions_history_and_the_new_messages() -> None:
    on = await stage.build_stage(["First answer"])
    await on.turn(stage.message(9, "Before"))
    turn = await record(on, "one", "two", "three")
    context = await resolve(on, turn, of=stage.owner(temperature=0.5, max_reply_tokens=33))
    assert [(m.role, m.content) for m in context.prompt] == [
        ("system", "Be brief."),
        ("user", "Before"),
        ("assistant", "First answer"),
        ("user", "one"),
        ("user", "two"),
        ("user", "three"),
    ]
    assert (context.sampling.temperature, context.sampling.max_tokens) == (0.5, 33)
    assert context.fixed_text is None
    assert not context.silent
    assert context.tool_context.turn_id == turn.turn_id


async def test_no_instructions_no_system_message() -> None:
    on = await stage.build_stage()
    context = await resolve(on, await record(on, "Hi"), of=stage.owner(instructions=""))
    assert [m.role for m in context.prompt] == ["user"]


async def test_a_transcript_is_marked_as_such() -> None:
    on = await stage.build_stage()
    context = await resolve(on, await record(on, ""), text="two teas", spoken=True, language="es")
    assert context.prompt[-1].content == "[voice note] two teas"
    assert context.language == "es"


async def test_a_message_that_cannot_be_read_stays_out_if_another_can() -> None:
    on = await stage.build_stage()
    context = await resolve(on, await record(on, "text", ""), text="", problem="voice_not_heard")
    assert context.fixed_text is None
    assert [m.content for m in context.prompt if m.role == "user"] == ["text"]


@pytest.mark.parametrize("problem", ["voice_not_heard", "image_not_seen", "empty_message"])
async def test_without_anything_to_read_there_is_a_fixed_text(problem: str) -> None:
    on = await stage.build_stage()
    context = await resolve(on, await record(on, ""), text="", problem=problem)
    assert context.fixed_text == TEXTS.text(problem, "en")


async def test_a_refusal_comes_before_everything() -> None:
    on = await stage.build_stage()
    context = await resolve(on, await record(on, "Hi"), refusal="quota_exceeded")
    assert context.fixed_text == TEXTS.text("quota_exceeded", "en")


async def test_the_language_is_the_spoken_one_then_the_contacts_then_the_owners() -> None:
    on = await stage.build_stage()
    turn = await record(on, "")
    problem = {"text": "", "problem": "voice_not_heard"}
    german = stage.owner().model_copy(update={"language": "es"})
    assert (await resolve(on, turn, of=german, **problem)).fixed_text == TEXTS.text(
        "voice_not_heard", "es"
    )
    contact = turn.conversation.contact.model_copy(update={"language": "pt"})
    known = turn.conversation.model_copy(update={"contact": contact})
    turn = RecordedTurn(turn.addressee, known, turn.open, ())
    assert (await resolve(on, turn, of=german, **problem)).fixed_text == TEXTS.text(
        "voice_not_heard", "pt"
    )
    # A language without a catalogue leaves the choice to the owner.
    assert (await resolve(on, turn, of=german, **problem, language="ja")).fixed_text == TEXTS.text(
        "voice_not_heard", "es"
    )


async def test_an_unknown_time_zone_is_utc() -> None:
    on = await stage.build_stage()
    nowhere = stage.owner().model_copy(update={"timezone": "Mars/Olympus"})
    context = await resolve(on, await record(on, "Hi"), of=nowhere)
    assert context.tool_context.now == on.clock.now()
    assert str(context.tool_context.now.tzinfo) == "UTC"


async def test_the_instructions_know_the_contact_and_the_tone() -> None:
    on = await stage.build_stage()
    turn = await record(on, "Hi")
    contact = turn.conversation.contact.model_copy(update={"profile_name": "Ana", "language": "pt"})
    known = turn.conversation.model_copy(update={"contact": contact})
    of = stage.owner(instructions="Talk to {{name}} ({{language}}), it is {{now}}.", tone="warm")
    context = await resolve(on, RecordedTurn(turn.addressee, known, turn.open, ()), of=of)
    assert context.prompt[0].content == (
        "Talk to Ana (pt), it is Monday 2026-03-02 12:00.\n\nTone: warm"
    )


async def test_the_voice_notes_language_decides_the_replys() -> None:
    on = await stage.build_stage()
    turn = await record(on, "")
    spanish = await resolve(on, turn, text="dos tes", spoken=True, language="es")
    assert spanish.prompt[0].content.endswith(
        "Answer in Spanish (es), the language of the voice note."
    )
    assert spanish.text("try_later") == TEXTS.text("try_later", "es")
    english = await resolve(on, turn, text="two teas", spoken=True, language="en")
    assert english.prompt[0].content == "Be brief."


async def test_sampling_and_model_are_the_assistants() -> None:
    on = await stage.build_stage(["Hello"])
    of = stage.owner(model="large", top_p=0.9, temperature=0.7)
    context = await resolve(on, await record(on, "Hi"), of=of)
    await on.ai.execute_agent(context)
    (request,) = on.chat.requests
    assert (request.model, request.top_p, request.temperature) == ("large", 0.9, 0.7)


@pytest.mark.parametrize(
    ("outside", "text", "silent", "hands_over"),
    [
        ("answer", None, False, False),
        ("text", "Closed, {any}.", False, False),
        ("hand_over", "Closed, {any}.", False, True),
        ("silent", None, True, False),
    ],
)
async def test_outside_of_business_hours(
    outside: str, text: str | None, silent: bool, hands_over: bool
) -> None:
    on = await stage.build_stage()
    of = stage.owner(outside_hours=outside, texts={"outside_hours": {"any": "Closed, {any}."}})
    turn = await record(on, "Hi")
    assert (await resolve(on, turn, of=of)).fixed_text is None, "it is noon on a Monday"
    on.clock.advance(12 * 3600)
    context = await resolve(on, turn, of=of)
    assert (context.fixed_text, context.silent) == (text, silent)
    assert (context.hand_over_reason is not None) == hands_over
    if text is None and not silent:
        return
    result = await on.ai.execute_agent(context)
    await respond(on, turn, context, result)
    assert on.said == ([text] if text else [])
    assert on.conversation.human == hands_over


async def test_a_keyword_hands_over_without_a_model_and_tells_the_people() -> None:
    people = {
        "keywords": ["stop the bot", "atendente humano"],
        "notify_url": "https://crm.example/hooks",
        "notify_number": "+15559990000",
    }
    on = await stage.build_stage()
    turn = await record(on, "Quero um ATENDENTE, humano!")
    context = await resolve(on, turn, of=stage.owner(people=people))
    result = await on.ai.execute_agent(context)
    await respond(on, turn, context, result)
    assert on.chat.requests == []
    assert on.said == [TEXTS.text("handed_over", "en")]
    assert on.conversation.human
    webhook, message = await on.store.notes.take_due(limit=10, lease_s=60)
    assert (webhook.destination, webhook.target) == ("webhook", "https://crm.example/hooks")
    assert (message.destination, message.target) == ("message", "+15559990000")
    data = webhook.content["data"]
    assert isinstance(data, dict)
    assert data["reason"] == "keyword: atendente humano"
    assert data["last_message"] == "Quero um ATENDENTE, humano!"
    assert data["contact"]["address"] == stage.CONTACT
    assert await on.store.notes.take_due(limit=10, lease_s=60) == []


async def test_without_a_hand_over_nobody_is_told() -> None:
    on = await stage.build_stage()
    turn = await record(on, "Hi")
    context = await resolve(on, turn, of=stage.owner(people={"notify_number": "+15559990000"}))
    await respond(on, turn, context, say("Hello"))
    assert on.store.tables.notes == {}


# --- execute_agent --------------------------------------------------------------------------------


async def test_a_fixed_text_asks_no_model() -> None:
    on = await stage.build_stage()
    context = await resolve(on, await record(on, "Hi"), refusal="plan_inactive")
    result = await on.ai.execute_agent(context)
    assert result.text == TEXTS.text("plan_inactive", "en")
    assert result.entries == (HistoryEntry(role="assistant", content=result.text),)
    assert on.chat.requests == []


async def test_a_model_that_cannot_answer_is_excused() -> None:
    on = await stage.build_stage([InferenceError("prompt too long")])
    result = await on.ai.execute_agent(await resolve(on, await record(on, "Hi")))
    assert result.text == TEXTS.text("try_later", "en")


async def test_an_engine_that_is_away_is_tried_later() -> None:
    on = await stage.build_stage([EngineUnavailableError("starting")])
    context = await resolve(on, await record(on, "Hi"))
    with pytest.raises(EngineUnavailableError):
        await on.ai.execute_agent(context)


async def test_a_model_that_hands_over_without_a_word_still_hands_over() -> None:
    silence = ChatReply(content=" ", usage=ChatUsage(prompt_tokens=7, completion_tokens=1))
    on = await stage.build_stage([ToolCall(id="x", name="hand_over", arguments={}), silence])
    result = await on.ai.execute_agent(await resolve(on, await record(on, "A person!")))
    assert result.hand_over
    assert result.text == TEXTS.text("handed_over", "en")
    assert [e.role for e in result.entries] == ["assistant", "tool", "assistant"]
    assert result.entries[-1].content == result.text
    assert result.usage.prompt_tokens == 7


# --- send_response --------------------------------------------------------------------------------


async def test_the_turn_is_committed_and_its_reply_published() -> None:
    on = await stage.build_stage()
    turn = await record(on, "one", "two")
    context = await resolve(on, turn)
    result = say("Hello")
    await respond(on, turn, context, result, audio_seconds=3.5, language="pt")
    outcome = on.store.tables.turns[turn.turn_id]
    assert outcome.message_ids == tuple(m.id for m in turn.open)
    assert [(e.role, e.content) for e in outcome.entries] == [
        ("user", "one"),
        ("user", "two"),
        ("assistant", "Hello"),
    ]
    assert (outcome.audio_seconds, outcome.contact_language) == (3.5, "pt")
    assert outcome.usage == ChatUsage(prompt_tokens=5, completion_tokens=2)
    (reply,) = on.replies
    assert (reply.body, reply.status, reply.trace) == (
        "Hello",
        ReplyStatus.PENDING,
        {"correlation_id": "t"},
    )
    assert await on.published() == [reply.id]


async def test_a_long_reply_leaves_in_order_in_parts_with_ids_that_repeat() -> None:
    on = await stage.build_stage(number_reply_parts=True)
    on.channel.max_body_chars = 30
    turn = await record(on, "Hi")
    context = await resolve(on, turn)
    for _ in range(2):
        await respond(on, turn, context, say("This is a sentence. " * 4))
    assert [r.position for r in on.replies] == list(range(len(on.replies)))
    assert len(on.replies) > 2
    assert all(len(body) <= 30 for body in on.said)
    assert on.said[0].startswith(f"(1/{len(on.said)}) ")
    assert await on.published() == [r.id for r in on.replies]


async def test_an_endless_reply_is_cut_at_a_word() -> None:
    on = await stage.build_stage(max_reply_chars=20)
    turn = await record(on, "Hi")
    await respond(on, turn, await resolve(on, turn), say("seven letters " * 50))
    assert on.said == ["seven letters seven…"]


async def test_what_another_try_committed_is_published_not_repeated() -> None:
    on = await stage.build_stage()
    turn = await record(on, "Hi")
    context = await resolve(on, turn)
    await respond(on, turn, context, say("The first try's words"))
    await on.published()
    await respond(on, turn, context, say("The second try's words"))
    assert on.said == ["The first try's words"]
    assert await on.published() == []


async def test_a_takeover_while_the_model_was_thinking_silences_the_reply() -> None:
    on = await stage.build_stage()
    turn = await record(on, "Hi")
    context = await resolve(on, turn)
    on.take_over()
    await respond(on, turn, context, say("Too late", hand_over=True))
    (reply,) = on.replies
    assert (reply.status, reply.error_message) == (ReplyStatus.CANCELED, TAKEN_OVER)
    assert await on.published() == []
    outcome = on.store.tables.turns[turn.turn_id]
    assert [(e.role, e.content) for e in outcome.entries] == [("user", "Hi")]
    assert not outcome.hand_over


# --- apologise ------------------------------------------------------------------------------------


async def test_an_apology_is_made_once_and_leaves_the_message_open() -> None:
    on = await stage.build_stage()
    turn = await record(on, "Hi")
    for _ in range(3):
        await on.ai.apologise(
            turn.conversation,
            stage.owner(),
            account=turn.account,
            about=turn.turn_id,
            channel=on.channel,
            trace={"correlation_id": "1"},
        )
    assert on.said == [TEXTS.text("try_later", "en")]
    assert await on.published() == [on.replies[0].id]
    assert on.store.tables.messages[turn.open[0].id].turn_id is None


async def test_a_reply_job_keeps_its_conversation_and_trace() -> None:
    on = await stage.build_stage()
    turn = await record(on, "Hi")
    await respond(on, turn, await resolve(on, turn), say("Hello"))
    (of,) = on.replies
    job = reply_job(of, suffix=":1")
    assert (job.id, job.payload, job.conversation) == (f"{of.id}:1", of.id, of.conversation_key)
    assert job.trace == {"correlation_id": "t"}
    assert job.fairness_key == of.sender
