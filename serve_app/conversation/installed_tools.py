"""The tools of an installation: those that are shipped, and its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import cast

from models.errors import PermanentError
from serve_app.conversation.business_tools import business_tools
from serve_app.conversation.tools import Tool, ToolFunction, ToolRegistry
from serve_app.ports import OwnerRepository
from serve_app.settings import ConversationSettings


def installed_tools(settings: ConversationSettings, owners: OwnerRepository) -> ToolRegistry:
    """Raises `PermanentError`, which names the module, for one of `tool_modules` that can't be used."""
    registry = business_tools(owners)
    for module in settings.tool_modules:
        try:
            registry = ToolRegistry([*registry.all, *_tools_of(module)])
        except Exception as error:  # whatever a module of others does while it is imported
            raise PermanentError(f"conversation.tool_modules: {module}: {error}") from error
    return registry


def _tools_of(name: str) -> list[Tool]:
    """Raises ValueError if the module names none."""
    named: object = getattr(importlib.import_module(name), "TOOLS", None)
    if not isinstance(named, Sequence) or isinstance(named, str) or not named:
        raise ValueError("it has no TOOLS: a list of its functions, or of Tool(function, …)")
    return [_tool(each) for each in cast(Sequence[object], named)]


def _tool(named: object) -> Tool:
    if isinstance(named, Tool):
        return named
    if not inspect.iscoroutinefunction(named):
        raise ValueError(f"{named!r} in TOOLS is neither an async function nor a Tool")
    return Tool(cast(ToolFunction, named))
