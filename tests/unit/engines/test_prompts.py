"""Prompts: OpenAI's shape, and the token budget."""

import json
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from models.inference import ChatMessage, ToolCall, ToolSpec
from serve_app.engines.prompts import as_openai_message, as_openai_tool, fit_messages

CALL = ToolCall(id="turn-1/0", name="menu", arguments={"item": "café"})


def words(messages) -> int:
    return sum(max(1, len(message.content.split())) for message in messages)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str = "", *calls: ToolCall) -> ChatMessage:
    return ChatMessage(role="assistant", content=text, tool_calls=calls)


def tool(text: str) -> ChatMessage:
    return ChatMessage(role="tool", content=text, tool_call_id=CALL.id, name="menu")


SYSTEM = ChatMessage(role="system", content="be brief")
HISTORY = (
    SYSTEM,
    user("one two three"),
    assistant("", CALL),
    tool("four five"),
    assistant("six seven"),
    user("eight nine"),
    assistant("ten"),
    user("eleven twelve"),
)


def test_a_tool_call_keeps_its_id_in_call_and_result():
    asked = as_openai_message(assistant("", CALL), arguments="object")
    answered = as_openai_message(tool("{}"), arguments="object")
    [shaped] = asked["tool_calls"]
    assert shaped["function"] == {"name": "menu", "arguments": {"item": "café"}}
    assert shaped["id"] == answered["tool_call_id"]
    assert shaped["id"].isalnum()
    assert len(shaped["id"]) == 9
    assert answered["name"] == "menu"


def test_arguments_are_json_text_on_the_wire():
    [shaped] = as_openai_message(assistant("", CALL), arguments="text")["tool_calls"]
    assert json.loads(shaped["function"]["arguments"]) == {"item": "café"}


def test_a_tool_is_told_as_a_function():
    spec = ToolSpec(name="menu", description="Prices", parameters={"type": "object"})
    assert as_openai_tool(spec) == {
        "type": "function",
        "function": {
            "name": "menu",
            "description": "Prices",
            "parameters": {"type": "object"},
        },
    }


def test_within_the_budget_nothing_is_left_out():
    assert fit_messages(HISTORY, budget=words(HISTORY), count=words) == HISTORY


def test_the_oldest_exchange_goes_first_with_its_tool_messages():
    fitted = fit_messages(HISTORY, budget=words(HISTORY) - 1, count=words)
    assert fitted == (SYSTEM, *HISTORY[5:])


def test_the_system_and_the_latest_user_message_stay_even_over_the_budget():
    assert fit_messages(HISTORY, budget=1, count=words) == (SYSTEM, HISTORY[-1])


def test_steps_of_the_present_turn_stay():
    present = (*HISTORY, assistant("", CALL), tool("thirteen"))
    assert fit_messages(present, budget=1, count=words) == (SYSTEM, *present[7:])


def test_messages_without_a_user_are_left_alone():
    assert fit_messages((SYSTEM, assistant("hello there")), budget=1, count=words)[1:]


EXCHANGE = st.tuples(st.integers(1, 6), st.booleans(), st.integers(1, 6)).map(
    lambda shape: [
        user("u " * shape[0]),
        *([assistant("", CALL), tool("t t")] if shape[1] else []),
        assistant("a " * shape[2]),
    ]
)


@given(exchanges=st.lists(EXCHANGE, max_size=8), budget=st.integers(1, 60))
def test_what_stays_is_a_well_formed_tail_and_as_long_as_fits(exchanges, budget):
    messages = [SYSTEM, *chain.from_iterable(exchanges), user("latest message")]
    fitted = fit_messages(messages, budget=budget, count=words)
    assert fitted[0] == SYSTEM
    assert fitted[1].role == "user"
    assert list(fitted[1:]) == messages[len(messages) - len(fitted) + 1 :]
    if words(fitted) > budget:
        assert fitted == (SYSTEM, messages[-1])
    elif len(fitted) < len(messages):
        users = [at for at, m in enumerate(messages) if m.role == "user"]
        start = len(messages) - len(fitted) + 1
        earlier = max(at for at in users if at < start)
        assert words([SYSTEM, *messages[earlier:]]) > budget
