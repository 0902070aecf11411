"""What an owner's settings change, and what the owner is told of it, over real stores."""

from __future__ import annotations

import asyncio
import re

import pytest
from typer.testing import CliRunner

from models.accounts import Plan
from models.inference import ChatReply, ChatRequest, ChatUsage, ToolCall
from serve_app.cli import terminal
from serve_app.cli.app import app
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.testing.engines import ScriptedChatModel
from tests.integration.chain.house import Open, change, echo, until

pytestmark = pytest.mark.integration

TEXTS = TextCatalogue.load()
CLOSED = dict.fromkeys(
    ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
)


async def run(*command: str) -> str:
    """A command as an operator gives it, at the stores that the environment names."""
    result = await asyncio.to_thread(CliRunner().invoke, app, list(command))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def row_of(table: str, first: str) -> list[str]:
    (row,) = [line for line in table.splitlines() if re.match(rf"\W*{first}\b", line)]
    return [cell.strip() for cell in re.split("[│┃]", row.strip("│┃ "))]


async def test_an_owner_is_told_what_became_of_its_replies_and_what_was_used(
    house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "width", 200)
    usage = ChatUsage(prompt_tokens=1_200, completion_tokens=34)
    answer = ChatReply(content="Yes", usage=usage)
    async with house(chat=ScriptedChatModel([answer], repeat=True)) as at:
        await at.write("Hello")
        await at.received()
        await at.write("", of=2, voice=b"OggS a recording")
        await at.received(of=2)
        await at.settle()
        await at.faults(fail_deliveries=1, fail_code=30005)
        await at.write("Hello", of=3)

        async def reported() -> bool:
            return (await at.counts()).get("callbacks", 0) == 3 + 3 + 1

        await until(reported)
        await at.settle()
        table = await run("owners", "figures", "chain")
        assert "1 x error 30005" in table
        assert dict(zip(row_of(table, "owner"), row_of(table, "chain"), strict=True)) == {
            "owner": "chain",
            **{"replies": "3", "sent": "2", "delivered": "2", "read": "2", "failed": "1"},
            **{"canceled": "0", "open": "0", "SMS segments": "0"},
        }
        used = row_of(await run("owners", "usage", "chain"), r"20\d\d-\d\d")
        assert used[1:] == ["3", "2 s", "3,600", "102", "0"]


async def test_what_an_owner_sets_counts_from_the_next_message_on(house: Open) -> None:
    async with house() as at:
        await change(at, business_hours=CLOSED, outside_hours="silent")
        await at.write("Anybody there?")
        await at.settle()
        assert await at.phone() == []

        await change(at, business_hours=CLOSED, outside_hours="hand_over")
        await at.write("Anybody there?", of=2)
        assert await at.received(of=2) == [TEXTS.text("outside_hours", "en")]
        (taken,) = await at.stores.conversations.with_people(limit=5)
        await change(at, business_hours=None, outside_hours="answer")
        await at.write("Hello?", of=2)
        await at.settle()
        assert len(await at.phone(2)) == 1, "a person has it"
        assert await at.stores.conversations.set_human(taken.id, human=False)
        await at.write("And now?", of=2)
        assert (await at.received(of=2, at_least=2))[1] == "You said: Hello? / And now?"

        asked = len(at.chat.requests)
        await change(at, plan=Plan(code="chain", active=False))
        await at.write("Hello", of=3)
        assert await at.received(of=3) == [TEXTS.text("plan_inactive", "en")]
        assert len(at.chat.requests) == asked


async def test_tools_of_ones_own_limits_and_the_contacts_name(house: Open) -> None:
    """A tool of the installation's, a host that isn't allowed, a model that never stops calling."""
    calls = {
        "bell": ToolCall(id="a", name="call_the_baker", arguments={}),
        "order": ToolCall(id="b", name="order", arguments={}),
    }

    def clerk(request: ChatRequest) -> str | ToolCall:
        last = request.messages[-1]
        question = next(m.content for m in reversed(request.messages) if m.role == "user")
        if question == "for ever":
            return ToolCall(id="c", name="order", arguments={})
        if last.role == "tool":
            return f"I was told: {last.content}"
        if question == "who am I":
            return request.messages[0].content
        return calls.get(question) or echo(request)

    declared = {"name": "order", "description": "Orders.", "url": "https://elsewhere.example/"}
    async with house(
        chat=ScriptedChatModel(clerk),
        conversation={"tool_modules": ["tests.unit.conversation.own_tools"], "max_steps": 3},
    ) as at:
        await change(
            at,
            tools=["call_the_baker"],
            http_tools=[declared],
            instructions="You talk to {{name}}, in {{language}}.",
        )
        await at.write("bell")
        assert await at.received() == ['I was told: {"rung": true}']
        await at.write("order", of=2)
        (said,) = await at.received(of=2)
        assert "this service may not be asked" in said
        before = len(at.chat.requests)
        await at.write("for ever", of=3)
        assert len(await at.received(of=3)) == 1, "it ends, and the contact is told something"
        assert len(at.chat.requests) == before + 3
        await at.write("who am I", of=4)
        (said,) = await at.received(of=4)
        assert said.startswith("You talk to Simulated Contact, in en.")
