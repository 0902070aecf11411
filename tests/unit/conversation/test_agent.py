"""The agent loop: model, tools, model, until there are words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import pytest

from models.errors import (
    EngineUnavailableError,
    InferenceError,
    StoreUnavailableError,
    ToolError,
)
from models.inference import ChatMessage, ChatReply, ChatRequest, ChatUsage, ToolCall
from serve_app.conversation.agent import Agent, AgentResult, Sampling
from serve_app.conversation.tools import Tool, ToolRegistry
from serve_app.ports import ToolContext
from serve_app.testing.engines import ScriptedChatModel
from tests.unit.conversation.toolbox import context

QUESTION = (ChatMessage(role="user", content="What is the time?"),)


async def tell_time(context: ToolContext, zone: str = "UTC") -> Mapping[str, object]:
    """The time."""
    return {"time": "12:00", "zone": zone, "call": context.call_id}


async def refuse(context: ToolContext) -> Mapping[str, object]:
    """Always refuses."""
    raise ToolError("not on a Monday, naïvely")


async def hang(context: ToolContext) -> Mapping[str, object]:
    """Never answers."""
    await asyncio.sleep(60)
    return {}


async def break_down(context: ToolContext) -> Mapping[str, object]:
    """Has a bug."""
    raise KeyError("secret detail")


async def give_a_set(context: ToolContext) -> Mapping[str, object]:
    """Returns what isn't JSON."""
    return {"set": {1}}


async def ask_postgres(context: ToolContext) -> Mapping[str, object]:
    """Needs a store that is away."""
    raise StoreUnavailableError("away")


async def fetch_person(context: ToolContext) -> Mapping[str, object]:
    """Hands over."""
    return {"status": "ok"}


REGISTRY = ToolRegistry(
    [
        *map(Tool, (tell_time, refuse, hang, break_down, give_a_set, ask_postgres)),
        Tool(fetch_person, hands_over=True),
    ]
)
EVERY = ("tell_time", "refuse", "hang", "break_down", "give_a_set", "ask_postgres", "fetch_person")


async def run(
    model: ScriptedChatModel,
    *,
    allowed: Sequence[str] = EVERY,
    max_steps: int = 4,
    max_turn_tokens: int = 10_000,
) -> AgentResult:
    agent = Agent(
        model=model,
        tools=REGISTRY,
        max_steps=max_steps,
        max_turn_tokens=max_turn_tokens,
        tool_timeout_s=0.05,
    )
    return await agent.run(
        QUESTION,
        allowed_tools=allowed,
        sampling=Sampling(temperature=0.3, max_tokens=50, max_prompt_tokens=700),
        owner_context=context(),
    )


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(id="same-id", name=name, arguments=arguments)


def results(request: ChatRequest) -> list[dict[str, object]]:
    """What the tools said, as the model was told."""
    return [json.loads(m.content) for m in request.messages if m.role == "tool"]


async def test_an_answer_without_tools() -> None:
    model = ScriptedChatModel([" Noon. \n"])
    result = await run(model)
    assert result.text == "Noon."
    assert not result.hand_over
    assert result.tools_used == ()
    (request,) = model.requests
    assert request.messages == QUESTION
    assert (request.temperature, request.max_tokens, request.max_prompt_tokens) == (0.3, 50, 700)
    assert request.request_id == "turn-1:0"
    assert [spec.name for spec in request.tools] == list(EVERY)


async def test_a_tools_result_goes_back_to_the_model() -> None:
    model = ScriptedChatModel([call("tell_time", zone="CET"), "Noon in CET."])
    result = await run(model)
    assert result.text == "Noon in CET."
    assert result.tools_used == ("tell_time",)
    assert [m.role for m in model.requests[1].messages] == ["user", "assistant", "tool"]
    told = model.requests[1].messages[-1]
    assert told.name == "tell_time"
    assert told.tool_call_id == model.requests[1].messages[-2].tool_calls[0].id
    assert results(model.requests[1]) == [{"time": "12:00", "zone": "CET", "call": "call-0-0"}]
    assert [entry.role for entry in result.entries] == ["assistant", "tool", "assistant"]
    assert [r.request_id for r in model.requests] == ["turn-1:0", "turn-1:1"]


async def test_several_calls_at_once_keep_their_order_and_get_ids_of_their_own() -> None:
    both = ChatReply(
        content="Let me look.",
        tool_calls=(call("tell_time", zone="A"), call("refuse"), call("tell_time", zone="B")),
        finish_reason="tool_calls",
    )
    model = ScriptedChatModel([both, call("tell_time"), "Done."])
    result = await run(model)
    zones = [r.get("zone", r.get("error")) for r in results(model.requests[1])]
    assert zones == ["A", "not on a Monday, naïvely", "B"]
    ids = [m.tool_call_id for m in model.requests[2].messages if m.role == "tool"]
    assert len(set(ids)) == 4
    assert result.tools_used == ("tell_time", "refuse", "tell_time", "tell_time")
    assert result.entries[0].content == "Let me look."


@pytest.mark.parametrize(
    ("name", "explanation"),
    [
        ("nothing_like_it", "there is no tool nothing_like_it"),
        ("refuse", "not on a Monday, naïvely"),
        ("hang", "this took too long"),
        ("break_down", "this didn't work"),
        ("give_a_set", "this didn't work"),
    ],
)
async def test_a_failing_tool_is_something_the_model_can_explain(
    name: str, explanation: str
) -> None:
    model = ScriptedChatModel([call(name), "Sorry."])
    result = await run(model)
    assert result.text == "Sorry."
    assert results(model.requests[1]) == [{"error": explanation}]


async def test_wrong_arguments_are_told_to_the_model() -> None:
    model = ScriptedChatModel([call("tell_time", planet="Mars"), "Sorry."])
    await run(model)
    (told,) = results(model.requests[1])
    assert "planet" in str(told["error"])


async def test_a_tool_that_this_assistant_may_not_call_looks_absent() -> None:
    model = ScriptedChatModel([call("fetch_person"), "I can't."])
    result = await run(model, allowed=("tell_time",))
    assert results(model.requests[1]) == [{"error": "there is no tool fetch_person"}]
    assert [spec.name for spec in model.requests[0].tools] == ["tell_time"]
    assert not result.hand_over


async def test_handing_over_is_noticed() -> None:
    model = ScriptedChatModel([call("fetch_person"), call("tell_time"), "A person will answer."])
    assert (await run(model)).hand_over
    assert not (await run(ScriptedChatModel([call("tell_time"), "Noon."]))).hand_over


async def test_a_store_that_is_away_fails_the_turn_so_that_it_is_repeated() -> None:
    with pytest.raises(StoreUnavailableError):
        await run(ScriptedChatModel([call("ask_postgres"), "Never."]))


async def test_usage_is_summed_over_the_steps() -> None:
    def used(prompt: int, completion: int, **reply: object) -> ChatReply:
        usage = ChatUsage(prompt_tokens=prompt, completion_tokens=completion)
        return ChatReply.model_validate({"usage": usage, **reply})

    model = ScriptedChatModel(
        [used(10, 3, tool_calls=(call("tell_time"),)), used(20, 4, content="Noon.")]
    )
    assert (await run(model)).usage == ChatUsage(prompt_tokens=30, completion_tokens=7)


async def test_a_model_that_never_answers_is_stopped_and_what_it_did_is_kept() -> None:
    model = ScriptedChatModel([call("fetch_person")], repeat=True)
    result = await run(model, max_steps=3)
    assert len(model.requests) == 3
    assert result.text == ""
    assert result.hand_over
    assert len(result.entries) == 6


async def test_a_model_that_fails_at_once_raises() -> None:
    with pytest.raises(InferenceError):
        await run(ScriptedChatModel([InferenceError("prompt too long")]))


async def test_a_model_that_fails_after_its_tools_did_something_keeps_that() -> None:
    result = await run(ScriptedChatModel([call("fetch_person"), InferenceError("too long now")]))
    assert result.text == ""
    assert result.hand_over
    assert result.tools_used == ("fetch_person",)


async def test_an_engine_that_is_away_fails_the_turn_at_any_step() -> None:
    for script in (
        [EngineUnavailableError("full")],
        [call("tell_time"), EngineUnavailableError("")],
    ):
        with pytest.raises(EngineUnavailableError):
            await run(ScriptedChatModel(script))


async def test_a_turn_is_bounded_in_tokens() -> None:
    call = ChatReply(
        tool_calls=(ToolCall(id="x", name="tell_time", arguments={}),),
        usage=ChatUsage(prompt_tokens=60, completion_tokens=5),
    )
    model = ScriptedChatModel([call], repeat=True)
    result = await run(model, max_turn_tokens=130)
    assert len(model.requests) == 2, "65 tokens a step: the third step would be over the limit"
    assert result.text == ""
    assert result.usage == ChatUsage(prompt_tokens=120, completion_tokens=10)


async def test_a_tool_may_have_a_time_limit_of_its_own() -> None:
    async def slow(context: ToolContext) -> Mapping[str, object]:
        """Takes longer than others may."""
        await asyncio.sleep(0.2)
        return {"slow": True}

    agent = Agent(
        model=ScriptedChatModel([ToolCall(id="x", name="slow", arguments={}), "Done"]),
        tools=ToolRegistry([Tool(slow, timeout_s=10)]),
        max_steps=3,
        max_turn_tokens=10_000,
        tool_timeout_s=0.01,
    )
    result = await agent.run(
        QUESTION,
        allowed_tools=["slow"],
        sampling=Sampling(temperature=0, max_tokens=9, max_prompt_tokens=99),
        owner_context=context(),
    )
    assert json.loads(result.entries[1].content) == {"slow": True}
