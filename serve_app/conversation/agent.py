"""The agent loop: ask the model, run the tools it asks for, until it answers in words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from models.conversations import HistoryEntry
from models.errors import InferenceError, RecadoError, ToolError
from models.inference import ChatMessage, ChatReply, ChatRequest, ChatUsage, ToolCall
from serve_app.conversation.tools import CallableTool, ToolRegistry
from serve_app.ports import ChatModel, ToolContext

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float
    max_tokens: int
    max_prompt_tokens: int
    top_p: float = 1.0
    model: str | None = None


@dataclass(frozen=True, slots=True)
class AgentResult:
    """The words for the contact, and everything that was said on the way to them. `text` is empty if the
    model found none: what its tools did is told all the same."""

    text: str
    entries: tuple[HistoryEntry, ...]
    usage: ChatUsage
    tools_used: tuple[str, ...]
    hand_over: bool
    hand_over_reason: str = ""
    buttons: tuple[str, ...] = ()


class Agent:
    """One model with a set of tools. Bounded in steps and tokens; each tool call is bounded in time, by
    `tool_timeout_s` where the tool has no limit of its own."""

    def __init__(
        self,
        *,
        model: ChatModel,
        tools: ToolRegistry,
        max_steps: int,
        max_turn_tokens: int,
        tool_timeout_s: float,
    ) -> None:
        self._model = model
        self._tools = tools
        self._max_steps = max_steps
        self._max_turn_tokens = max_turn_tokens
        self._tool_timeout_s = tool_timeout_s

    async def run(
        self,
        messages: Sequence[ChatMessage],
        *,
        allowed_tools: Sequence[str],
        own_tools: Sequence[CallableTool] = (),
        sampling: Sampling,
        owner_context: ToolContext,
    ) -> AgentResult:
        """`allowed_tools` are those of the installation that the owner permits, `own_tools` the owner's.

        Raises what the model raises at its first step. Later on, where tools may have done something
        already, a failure ends the run without a text, and so do too many steps or tokens."""
        prompt = list(messages)
        entries: list[HistoryEntry] = []
        used: list[str] = []
        prompt_tokens = completion_tokens = 0
        text, hand_over, reason = "", False, ""
        tools = {tool.name: tool for tool in (*self._tools.chosen(allowed_tools), *own_tools)}
        specs = tuple(tool.spec for tool in tools.values())
        for step in range(self._max_steps):
            if prompt_tokens + completion_tokens >= self._max_turn_tokens:
                log.warning("agent_ran_out_of_tokens", tokens=self._max_turn_tokens, tools=used)
                break
            request = ChatRequest(
                request_id=f"{owner_context.turn_id}:{step}",
                messages=tuple(prompt),
                tools=specs,
                model=sampling.model,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                max_prompt_tokens=sampling.max_prompt_tokens,
            )
            try:
                reply = await self._model.chat(request)
            except InferenceError:
                if step == 0:
                    raise
                log.exception("model_failed_after_tools", step=step, tools=used)
                break
            prompt_tokens += reply.usage.prompt_tokens
            completion_tokens += reply.usage.completion_tokens
            said = _as_message(reply, step)
            prompt.append(said)
            entries.append(
                HistoryEntry(role="assistant", content=said.content, tool_calls=said.tool_calls)
            )
            if not said.tool_calls:
                text = said.content.strip()
                break
            results = await asyncio.gather(
                *(self._call(call, tools.get(call.name), owner_context) for call in said.tool_calls)
            )
            for call, (content, handed_over) in zip(said.tool_calls, results, strict=True):
                used.append(call.name)
                if handed_over and not hand_over:
                    hand_over, reason = True, str(call.arguments.get("reason") or "")
                prompt.append(
                    ChatMessage(role="tool", content=content, tool_call_id=call.id, name=call.name)
                )
                entries.append(
                    HistoryEntry(role="tool", content=content, tool_call_id=call.id, name=call.name)
                )
        else:
            log.warning("agent_ran_out_of_steps", steps=self._max_steps, tools=used)
        return AgentResult(
            text=text,
            entries=tuple(entries),
            usage=ChatUsage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),
            tools_used=tuple(used),
            hand_over=hand_over,
            hand_over_reason=reason,
        )

    async def _call(
        self, call: ToolCall, tool: CallableTool | None, context: ToolContext
    ) -> tuple[str, bool]:
        """The tool's result as JSON; a failure becomes something the model can explain. Only the errors of
        our own tree that say so (a store that is away) fail the turn."""
        if tool is None:
            return json.dumps({"error": f"there is no tool {call.name}"}), False
        limit_s = tool.timeout_s or self._tool_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                result = await tool.call(
                    context.model_copy(update={"call_id": call.id}), call.arguments
                )
            content = json.dumps(result, ensure_ascii=False)
        except TimeoutError:
            log.warning("tool_timed_out", tool=call.name, seconds=limit_s)
            return json.dumps({"error": "this took too long"}), False
        except ToolError as error:
            return json.dumps({"error": str(error)}, ensure_ascii=False), False
        except RecadoError:
            raise
        except Exception:
            log.exception("tool_failed", tool=call.name)
            return json.dumps({"error": "this didn't work"}), False
        return content, tool.hands_over


def _as_message(reply: ChatReply, step: int) -> ChatMessage:
    """Tool call ids are made unique within the turn: small models and some servers repeat theirs."""
    calls = tuple(
        ToolCall(id=f"call-{step}-{index}", name=call.name, arguments=call.arguments)
        for index, call in enumerate(reply.tool_calls)
    )
    return ChatMessage(role="assistant", content=reply.content, tool_calls=calls)
