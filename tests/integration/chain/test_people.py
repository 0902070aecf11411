"""A person takes a conversation over and gives it back, whatever the assistant is about to say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from models.conversations import ReplyStatus
from serve_app.cli.context import CommandError
from serve_app.store.reply_states import TAKEN_OVER
from tests.integration.chain.command_line import recado
from tests.integration.chain.house import HeldModel, House, Open, contact

pytestmark = pytest.mark.integration

Take = Callable[[House, Path], Awaitable[None]]
NUMBER = contact().removeprefix("whatsapp:")


async def in_the_store(at: House, folder: Path) -> None:
    """As the console does."""
    (person,) = await at.stores.contacts.find(NUMBER)
    (conversation,) = await at.stores.contacts.conversation_ids(person.id)
    assert await at.stores.conversations.set_human(conversation, human=True)


async def by_command(at: House, folder: Path) -> None:
    result = await recado(at, folder, "conversations", "take", NUMBER)
    assert result.exit_code == 0, result.exception


@pytest.mark.parametrize("take", [in_the_store, by_command])
async def test_the_assistant_was_thinking_and_says_nothing_any_more(
    house: Open, tmp_path: Path, take: Take
) -> None:
    model = HeldModel(lambda _: "An answer")
    async with house(chat=model) as at:
        await at.write("Is anybody there?")
        await asyncio.wait_for(model.thinking.wait(), 20)
        await take(at, tmp_path)
        model.go_on.set()
        await at.settle()
        await at.write("Hello?")
        await at.settle()
        assert "create_requests" not in await at.counts()
        assert len(model.requests) == 1, "what comes later isn't thought about"
        (silent,) = await at.stores.replies.in_states([ReplyStatus.CANCELED], limit=5)
        assert (silent.body, silent.error_message) == ("An answer", TAKEN_OVER)

        given = await recado(at, tmp_path, "conversations", "give-back", NUMBER)
        assert given.exit_code == 0, given.exception
        again = await recado(at, tmp_path, "conversations", "give-back", NUMBER)
        assert isinstance(again.exception, CommandError), "nobody has it any more"
        await at.write("And now?")
        assert await at.received() == ["An answer"]


async def test_nobody_of_a_number_has_written(house: Open, tmp_path: Path) -> None:
    async with house(staffed=False) as at:
        for command in ("take", "give-back"):
            refused = await recado(at, tmp_path, "conversations", command, "+15559998888")
            assert isinstance(refused.exception, CommandError)
            assert "+15559998888" in str(refused.exception)
