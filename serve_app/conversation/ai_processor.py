"""Answers a turn in three steps that can be tested alone: context, agent, response."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from models.accounts import FIRST_ANSWER, Owner, Passage, TwilioAccount
from models.conversations import (
    CommittedTurn,
    Conversation,
    HistoryEntry,
    NewReply,
    Reply,
    ReplyPurpose,
    ReplyStatus,
    TurnOutcome,
)
from models.errors import InferenceError
from models.inference import ChatMessage, ChatUsage
from serve_app.conversation.agent import Agent, AgentResult, Sampling
from serve_app.conversation.business_hours import zone_of
from serve_app.conversation.buttons import buttons_of
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.http_tools import HttpTools
from serve_app.conversation.instructions import system_message
from serve_app.conversation.message_handler import RecordedTurn
from serve_app.conversation.notes import hand_over_notes
from serve_app.conversation.owner_resolver import Entitlement
from serve_app.conversation.plan import plan_without_a_model
from serve_app.conversation.profile import likely_timezone
from serve_app.conversation.reading import HeardMessage, as_read
from serve_app.conversation.reply_parts import ReplyParts, reply_job
from serve_app.conversation.timing import StepTimer
from serve_app.ports import (
    Channel,
    Clock,
    ConversationRepository,
    DocumentRepository,
    Queue,
    ReplyRepository,
    ToolContext,
)
from serve_app.settings import ConversationSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TurnContext:
    """All that the agent needs. `fixed_text` is set when there is nothing to ask a model; with
    `hand_over_reason` it hands the conversation to a person. `texts` are the catalogue's and the owner's."""

    owner: Owner
    prompt: tuple[ChatMessage, ...]
    tool_context: ToolContext
    sampling: Sampling
    language: str
    texts: TextCatalogue
    fixed_text: str | None = None
    fixed_key: str | None = None
    """The key of the text that `fixed_text` is."""
    hand_over_reason: str | None = None
    refused: bool = False
    silent: bool = False

    def text(self, key: str) -> str:
        return self.texts.text(key, self.language, self.owner.language)

    def buttons(self, key: str | None) -> tuple[str, ...]:
        """Those that the owner offers under a text."""
        if key is None:
            return ()
        return buttons_of(self.owner.assistant, key, self.language, self.owner.language)


class AIProcessor:
    """`resolve_context`, `execute_agent` and `send_response` of one turn."""

    def __init__(
        self,
        *,
        agent: Agent,
        http_tools: HttpTools,
        texts: TextCatalogue,
        conversations: ConversationRepository,
        documents: DocumentRepository,
        replies: ReplyRepository,
        outbound: Queue,
        clock: Clock,
        settings: ConversationSettings,
        number_reply_parts: bool,
    ) -> None:
        self._agent = agent
        self._http_tools = http_tools
        self._texts = texts
        self._conversations = conversations
        self._documents = documents
        self._replies = replies
        self._outbound = outbound
        self._clock = clock
        self._settings = settings
        self._parts = ReplyParts(max_chars=settings.max_reply_chars, numbered=number_reply_parts)

    async def resolve_context(
        self, turn: RecordedTurn, entitlement: Entitlement, heard: Sequence[HeardMessage]
    ) -> TurnContext:
        """Instructions, history and the new messages, or the text to say without a model."""
        owner, contact = entitlement.owner, turn.conversation.contact
        assistant = owner.assistant
        spoken = next((h.language for h in reversed(heard) if h.language), None)
        language = spoken or contact.language or assistant.language or owner.language
        now = self._clock.now().astimezone(zone_of(owner))
        texts = self._texts.with_own(assistant.texts)
        plan = plan_without_a_model(entitlement, heard, now)
        silent = turn.conversation.human or plan.silent
        prompt: list[ChatMessage] = []
        if plan.text is None and not silent:
            prompt = await self._prompt(turn, owner, heard, now=now, spoken_language=spoken)
        return TurnContext(
            owner=owner,
            prompt=tuple(prompt),
            tool_context=ToolContext(
                owner=owner,
                conversation=turn.conversation,
                turn_id=turn.turn_id,
                call_id="",
                now=now,
            ),
            sampling=Sampling(
                model=assistant.model,
                temperature=assistant.temperature,
                top_p=assistant.top_p,
                max_tokens=assistant.max_reply_tokens,
                max_prompt_tokens=self._settings.max_prompt_tokens,
            ),
            language=language,
            texts=texts,
            fixed_text=plan.text and texts.text(plan.text, language, owner.language),
            fixed_key=plan.text,
            hand_over_reason=plan.hand_over_reason,
            refused=entitlement.refusal is not None,
            silent=silent,
        )

    async def _prompt(
        self,
        turn: RecordedTurn,
        owner: Owner,
        heard: Sequence[HeardMessage],
        *,
        now: datetime,
        spoken_language: str | None,
    ) -> list[ChatMessage]:
        history = await self._conversations.history(
            turn.conversation.id, limit=self._settings.history_messages
        )
        new = [ChatMessage(role="user", content=content) for h in heard if (content := as_read(h))]
        passages: Sequence[Passage] = ()
        question = "\n".join(h.text for h in heard if h.text)
        if self._settings.knowledge_passages and question and turn.addressee.has_documents:
            passages = await self._documents.search(
                owner.id, question, limit=self._settings.knowledge_passages
            )
        system = system_message(
            owner,
            turn.conversation.contact,
            now=now,
            spoken_language=spoken_language,
            passages=passages,
        )
        return [
            *([ChatMessage(role="system", content=system)] if system else []),
            *(ChatMessage(**entry.model_dump()) for entry in history),
            *new,
        ]

    async def execute_agent(self, context: TurnContext) -> AgentResult:
        """The model's answer; a text of our own where a model can't help."""
        if context.silent:
            return AgentResult("", (), ChatUsage(), (), False)
        if context.fixed_text is not None:
            return _own_words(
                context.fixed_text,
                hand_over_reason=context.hand_over_reason,
                buttons=context.buttons(context.fixed_key),
            )
        try:
            result = await self._agent.run(
                context.prompt,
                allowed_tools=context.owner.assistant.tools,
                own_tools=self._http_tools.of(context.owner),
                sampling=context.sampling,
                owner_context=context.tool_context,
            )
        except InferenceError as error:
            log.exception("agent_failed", error=str(error))
            return _own_words(context.text("try_later"), buttons=context.buttons("try_later"))
        if result.text:
            is_first = all(message.role != "assistant" for message in context.prompt)
            key = FIRST_ANSWER if is_first else None
            return replace(
                result, buttons=context.buttons("handed_over" if result.hand_over else key)
            )
        log.warning("agent_gave_no_text", tools=result.tools_used)
        key = "handed_over" if result.hand_over else "try_later"
        text = context.text(key)
        # What the tools did stays on record, and a hand-over asked for still happens.
        said = tuple(entry for entry in result.entries if entry.content.strip() or entry.tool_calls)
        own = HistoryEntry(role="assistant", content=text)
        return replace(result, text=text, entries=(*said, own), buttons=context.buttons(key))

    async def send_response(
        self,
        turn: RecordedTurn,
        context: TurnContext,
        result: AgentResult,
        heard: Sequence[HeardMessage],
        *,
        channel: Channel,
        timer: StepTimer,
        trace: Mapping[str, str],
    ) -> None:
        """Commit the turn with its replies in one transaction, then publish them.

        Should a person have taken over while the model was thinking, the commit cancels the replies.
        """
        silent = context.silent
        replies: tuple[NewReply, ...] = ()
        if not silent:
            replies = self._parts.parts_of(
                turn.turn_id,
                result.text,
                channel,
                to=turn.conversation.contact.address,
                account=turn.account,
                buttons=result.buttons,
            )
        said = [content for h in heard if (content := as_read(h))]
        heard_entries = tuple(HistoryEntry(role="user", content=text) for text in said)
        contact, owner = turn.conversation.contact, context.owner
        language = next((h.language for h in reversed(heard) if h.language), None)
        timezone = likely_timezone(contact.address, near=owner.timezone, now=self._clock.now())
        committed = await self._conversations.commit_turn(
            TurnOutcome(
                turn_id=turn.turn_id,
                conversation_id=turn.conversation.id,
                owner_id=context.owner.id,
                message_ids=tuple(m.id for m in turn.open),
                replies=replies,
                entries=heard_entries + (() if silent else result.entries),
                hand_over=result.hand_over and not silent,
                takeovers=turn.conversation.takeovers,
                notes=hand_over_notes(
                    owner,
                    turn.conversation,
                    turn_id=turn.turn_id,
                    reason=result.hand_over_reason,
                    last_words=said,
                    at=self._clock.now(),
                ),
                refused=context.refused,
                # What is known already needn't be written again.
                contact_language=None if language == contact.language else language,
                contact_timezone=None if timezone == contact.timezone else timezone,
                usage=result.usage,
                audio_seconds=sum(h.audio_seconds for h in heard),
                timings=timer.steps,
                trace=dict(trace),
            )
        )
        if not committed:
            log.info("turn_was_committed_by_another_try")
        await self._publish(committed, turn.turn_id)

    async def conclude(
        self,
        turn: RecordedTurn,
        owner: Owner,
        *,
        said: str | None,
        purpose: ReplyPurpose,
        channel: Channel,
        timer: StepTimer,
        trace: Mapping[str, str],
    ) -> None:
        """End a turn with a text of the catalogue, or without a word. Nobody thinks about it.

        STOP, START, HELP and what is said to them are no part of the history that a model reads.
        """
        entries = tuple(
            HistoryEntry(role="user", content=stored.message.body)
            for stored in turn.open
            if stored.message.body and stored.message.consent is None
        )
        replies: tuple[NewReply, ...] = ()
        if said is not None and not turn.conversation.human:
            languages = (
                turn.conversation.contact.language,
                owner.assistant.language,
                owner.language,
            )
            own = self._texts.with_own(owner.assistant.texts)
            text = own.text(said, *languages).replace("{business}", owner.name)
            replies = self._parts.parts_of(
                turn.turn_id,
                text,
                channel,
                to=turn.conversation.contact.address,
                account=turn.account,
                buttons=buttons_of(owner.assistant, said, *languages),
                purpose=purpose,
            )
        committed = await self._conversations.commit_turn(
            TurnOutcome(
                turn_id=turn.turn_id,
                conversation_id=turn.conversation.id,
                owner_id=owner.id,
                message_ids=tuple(m.id for m in turn.open),
                replies=replies,
                entries=entries,
                refused=True,
                takeovers=turn.conversation.takeovers,
                timings=timer.steps,
                trace=dict(trace),
            )
        )
        await self._publish(committed, turn.turn_id)

    async def publish_replies(self, turn_ids: Sequence[str]) -> list[Reply]:
        """Put the unsent replies of these turns on the outbound queue; repeating it is harmless."""
        replies = await self._replies.for_turns(turn_ids)
        await self._enqueue(replies)
        return replies

    async def _publish(self, committed: CommittedTurn | None, turn_id: str) -> None:
        """The replies of a turn that was just ended, or of one that another try ended."""
        if committed is None:
            await self.publish_replies([turn_id])
        else:
            await self._enqueue(committed.replies)

    async def _enqueue(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if reply.status is not ReplyStatus.CANCELED:
                await self._outbound.publish(reply_job(reply))

    async def apologise(
        self,
        conversation: Conversation,
        owner: Owner,
        *,
        account: TwilioAccount,
        about: str,
        channel: Channel,
        trace: Mapping[str, str],
    ) -> None:
        """Say that something went wrong with message `about`; once, however often it is called. The
        message itself stays unanswered, so that a replay can answer it."""
        turn_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"apology:{about}"))
        languages = (conversation.contact.language, owner.assistant.language, owner.language)
        text = self._texts.with_own(owner.assistant.texts).text("try_later", *languages)
        committed = await self._conversations.commit_turn(
            TurnOutcome(
                turn_id=turn_id,
                conversation_id=conversation.id,
                owner_id=owner.id,
                message_ids=(),
                replies=self._parts.parts_of(
                    turn_id,
                    text,
                    channel,
                    to=conversation.contact.address,
                    account=account,
                    buttons=buttons_of(owner.assistant, "try_later", *languages),
                ),
                trace=dict(trace),
            )
        )
        await self._publish(committed, turn_id)


def _own_words(
    text: str, *, buttons: tuple[str, ...] = (), hand_over_reason: str | None = None
) -> AgentResult:
    return AgentResult(
        text=text,
        entries=(HistoryEntry(role="assistant", content=text),),
        usage=ChatUsage(),
        tools_used=(),
        hand_over=hand_over_reason is not None,
        hand_over_reason=hand_over_reason or "",
        buttons=buttons,
    )
