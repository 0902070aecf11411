"""Asks an assistant that isn't saved yet. Nothing is stored, booked or sent."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence

from models.accounts import Owner, Passage
from models.console import TrialAnswer
from models.conversations import Contact, Conversation
from models.inference import ChatMessage
from serve_app.conversation.agent import Agent, Sampling
from serve_app.conversation.business_hours import zone_of
from serve_app.conversation.instructions import system_message
from serve_app.conversation.tools import ToolRegistry
from serve_app.ports import ChatModel, Clock, DocumentRepository, ToolContext
from serve_app.settings import ConversationSettings


class AssistantTrial:
    def __init__(
        self,
        *,
        model: ChatModel,
        tools: ToolRegistry,
        documents: DocumentRepository,
        clock: Clock,
        settings: ConversationSettings,
    ) -> None:
        self._agent = Agent(
            model=model,
            tools=tools,
            max_steps=settings.max_steps,
            max_turn_tokens=settings.max_turn_tokens,
            tool_timeout_s=settings.tool_timeout_s,
        )
        self._documents = documents
        self._clock = clock
        self._settings = settings

    async def ask(self, owner: Owner, question: str) -> TrialAnswer:
        """Raises what the model raises."""
        assistant, turn_id = owner.assistant, f"trial-{uuid.uuid4().hex}"
        now = self._clock.now().astimezone(zone_of(owner))
        contact = Contact(
            id="trial", owner_id=owner.id, channel="trial", key="trial", address="trial"
        )
        conversation = Conversation(
            id="trial", owner_id=owner.id, account_id="trial", contact=contact, recipient="trial"
        )
        passages: Sequence[Passage] = ()
        if self._settings.knowledge_passages:
            passages = await self._documents.search(
                owner.id, question, limit=self._settings.knowledge_passages
            )
        told = system_message(owner, contact, now=now, spoken_language=None, passages=passages)
        prompt = [ChatMessage(role="system", content=told)] if told else []
        began = time.perf_counter()
        result = await self._agent.run(
            [*prompt, ChatMessage(role="user", content=question)],
            allowed_tools=assistant.tools,
            sampling=Sampling(
                model=assistant.model,
                temperature=assistant.temperature,
                top_p=assistant.top_p,
                max_tokens=assistant.max_reply_tokens,
                max_prompt_tokens=self._settings.max_prompt_tokens,
            ),
            owner_context=ToolContext(
                owner=owner,
                conversation=conversation,
                turn_id=turn_id,
                call_id="",
                now=now,
                trial=True,
            ),
        )
        arguments = {
            call.id: json.dumps(call.arguments, ensure_ascii=False)
            for entry in result.entries
            for call in entry.tool_calls
        }
        tools = tuple(
            (entry.name or "", arguments.get(entry.tool_call_id or "", ""), entry.content)
            for entry in result.entries
            if entry.role == "tool"
        )
        return TrialAnswer(
            text=result.text,
            tools=tools,
            hand_over=result.hand_over,
            tokens=result.usage.prompt_tokens + result.usage.completion_tokens,
            seconds=time.perf_counter() - began,
            passages=tuple(passage.title for passage in passages),
            left_out=tuple(tool.name for tool in assistant.http_tools),
        )
