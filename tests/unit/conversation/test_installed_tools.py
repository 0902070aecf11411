"""An installation's own tools beside the shipped ones."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from models.errors import PermanentError
from serve_app.conversation.business_tools import business_tools, opening_hours
from serve_app.conversation.installed_tools import installed_tools
from serve_app.settings import ConversationSettings
from serve_app.testing.store import MemoryStore
from tests.unit.conversation import stage
from tests.unit.conversation.toolbox import context

MODULE = "tests.unit.conversation.own_tools"


def settings(*modules: str) -> ConversationSettings:
    return ConversationSettings(tool_modules=modules)


async def test_own_tools_stand_beside_the_shipped_ones() -> None:
    owners = MemoryStore().owners
    shipped = business_tools(owners).names
    assert installed_tools(settings(), owners).names == shipped
    registry = installed_tools(settings(MODULE), owners)
    assert registry.names == (*shipped, "oven", "call_the_baker")
    bell = registry.get("call_the_baker")
    assert bell is not None
    assert (bell.timeout_s, bell.hands_over) == (2.0, True)
    owner = stage.owner()
    facts = {**owner.assistant.facts, "oven": {"rye": "07:30"}}
    assistant = owner.assistant.model_copy(update={"facts": facts})
    oven = registry.get("oven")
    assert oven is not None
    called = context(of=owner.model_copy(update={"assistant": assistant}))
    assert await oven.call(called, {"loaf": "rye"}) == {"loaf": "rye", "at": "07:30"}


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        (None, "it has no TOOLS"),
        ([], "it has no TOOLS"),
        ([len], "neither an async function nor a Tool"),
        ([opening_hours], "two tools are called opening_hours"),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    tools: object, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("bakery_tools")
    module.__dict__["TOOLS"] = tools
    monkeypatch.setitem(sys.modules, "bakery_tools", module)
    with pytest.raises(PermanentError, match=f"tool_modules: bakery_tools: .*{problem}"):
        installed_tools(settings("bakery_tools"), MemoryStore().owners)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(PermanentError, match="tool_modules: not_there: No module named"):
        installed_tools(settings("not_there"), MemoryStore().owners)
