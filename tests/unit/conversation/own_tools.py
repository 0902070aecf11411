"""A module as an installation may have one: `conversation.tool_modules` names it."""

from __future__ import annotations

from collections.abc import Mapping

from models.errors import ToolError
from serve_app.conversation.tools import Tool
from serve_app.ports import ToolContext


async def oven(context: ToolContext, loaf: str) -> Mapping[str, object]:
    """When a loaf comes out of the oven."""
    times = context.owner.assistant.facts.get("oven")
    if not isinstance(times, dict) or loaf not in times:
        raise ToolError(f"nobody bakes {loaf}")
    return {"loaf": loaf, "at": times[loaf]}


async def call_the_baker(context: ToolContext) -> Mapping[str, object]:
    """Ring the bell."""
    return {"rung": not context.trial}


TOOLS = [oven, Tool(call_the_baker, timeout_s=2.0, hands_over=True)]
