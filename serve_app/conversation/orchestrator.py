"""Processes one conversation turn, and says so when a message can't be answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from models.conversations import StoredMessage
from models.errors import RecadoError
from models.jobs import Claim, DeadLetter, log_fields
from serve_app.conversation.ai_processor import AIProcessor
from serve_app.conversation.attachments import AttachmentReader
from serve_app.conversation.audio_processor import AudioProcessor
from serve_app.conversation.consent import ConsentDesk, ConsentOutcome
from serve_app.conversation.message_handler import MessageHandler, RecordedTurn
from serve_app.conversation.owner_resolver import OwnerResolver
from serve_app.conversation.plan import stays_silent
from serve_app.conversation.timing import StepTimer
from serve_app.ops.instruments import STAGE_SECONDS
from serve_app.ops.tracing import Tracing, trace_headers
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import Channel, Clock, Metrics
from serve_app.tasks import end_tasks

log = structlog.get_logger(__name__)


class MessageOrchestrator:
    """The handler of the inbound queue."""

    def __init__(
        self,
        *,
        messages: MessageHandler,
        owners: OwnerResolver,
        audio: AudioProcessor,
        attachments: AttachmentReader,
        consent: ConsentDesk,
        ai: AIProcessor,
        channels: Mapping[str, Channel],
        clock: Clock,
        typing_indicator: bool,
        typing_renew_s: float = 20.0,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing or Tracing()
        self._messages = messages
        self._owners = owners
        self._audio = audio
        self._attachments = attachments
        self._consent = consent
        self._ai = ai
        self._channels = channels
        self._clock = clock
        self._typing = typing_indicator
        self._typing_renew_s = typing_renew_s
        self._metrics = metrics or Unmeasured()

    async def handle(self, claim: Claim) -> None:
        """Record, resolve the owner, transcribe, answer, commit, publish the reply."""
        timer = StepTimer(clock=self._clock, tracing=self._tracing)
        with timer.step("record"):
            turn = await self._messages.record(claim)
        if turn.committed_turns:
            await self._ai.publish_replies(turn.committed_turns)
        if not turn.open:
            return
        timer.accepted_at(turn.open[0].message.received_at)
        channel = self._channels[turn.open[0].message.channel]
        structlog.contextvars.bind_contextvars(
            owner=turn.account.owner_id,
            conversation=turn.conversation.id,
            turn_id=turn.turn_id,
            message_id=turn.open[-1].message.message_id,
        )
        consent = await self._consent.decide(turn)
        if not consent.rest:
            await self._conclude(claim, turn, consent, channel, timer)
            return
        await self._answer(claim, turn, consent.rest, channel, timer)

    async def _conclude(
        self,
        claim: Claim,
        turn: RecordedTurn,
        consent: ConsentOutcome,
        channel: Channel,
        timer: StepTimer,
    ) -> None:
        """A turn about stopping messages, or of a contact who has: no model is asked."""
        entitlement = await self._owners.resolve(turn.addressee)
        await self._ai.conclude(
            turn,
            entitlement.owner,
            said=consent.said,
            purpose=consent.purpose,
            channel=channel,
            timer=timer,
            trace=claim.jobs[-1].trace,
        )
        log.info("consent_turn_finished", said=consent.said, opted_out=consent.silent)

    async def _answer(
        self,
        claim: Claim,
        turn: RecordedTurn,
        messages: tuple[StoredMessage, ...],
        channel: Channel,
        timer: StepTimer,
    ) -> None:
        with timer.step("resolve"):
            # While a person has the conversation nothing is answered, so nothing is used up.
            entitlement = await self._owners.resolve(
                turn.addressee, turn_id=None if turn.conversation.human else turn.turn_id
            )
        silent = turn.conversation.human or stays_silent(
            entitlement.owner, messages, self._clock.now()
        )
        async with self._typing_shown(turn, channel, silent=silent):
            with timer.step("transcribe"):
                heard = await self._audio.transcribe(
                    messages,
                    account=turn.account,
                    channel=channel,
                    voice_allowed=entitlement.allows("voice") and entitlement.refusal is None,
                    hints=entitlement.owner.assistant.speech,
                )
                heard = await self._attachments.read(
                    heard,
                    conversation_id=turn.conversation.id,
                    account=turn.account,
                    channel=channel,
                )
            with timer.step("answer"):
                context = await self._ai.resolve_context(turn, entitlement, heard)
                result = await self._ai.execute_agent(context)
            with timer.step("commit"):
                await self._ai.send_response(
                    turn,
                    context,
                    result,
                    heard,
                    channel=channel,
                    timer=timer,
                    trace={**claim.jobs[-1].trace, **trace_headers()},
                )
        for step in timer.steps:
            self._metrics.observe(STAGE_SECONDS, step.seconds, stage=step.step)
        log.info(
            "turn_finished",
            messages=len(turn.open),
            tools=result.tools_used,
            prompt_tokens=result.usage.prompt_tokens,
            completion_tokens=result.usage.completion_tokens,
            steps={step.step: round(step.seconds, 3) for step in timer.steps},
        )

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Tell the contacts that their messages couldn't be answered."""
        for letter in letters:
            try:
                await self._apologise(letter)
            except RecadoError as error:
                # Without an account there is nobody to answer as; the dead letter tells the operator.
                log.warning("no_apology_possible", job=letter.job.id, error=str(error))

    async def _apologise(self, letter: DeadLetter) -> None:
        turn = await self._messages.record(_claim_of(letter))
        if not turn.open or turn.conversation.human:
            return
        entitlement = await self._owners.resolve(turn.addressee)
        await self._ai.apologise(
            turn.conversation,
            entitlement.owner,
            account=turn.account,
            about=turn.turn_id,
            channel=self._channels[turn.open[0].message.channel],
            trace=log_fields(letter.job.trace),
        )

    @asynccontextmanager
    async def _typing_shown(
        self, turn: RecordedTurn, channel: Channel, *, silent: bool
    ) -> AsyncGenerator[None]:
        """While the context lasts, unless nothing is going to be said."""
        tasks: list[asyncio.Task[None]] = []
        if self._typing and not silent:
            tasks.append(asyncio.create_task(self._show_typing(turn, channel)))
        try:
            yield
        finally:
            await end_tasks(tasks)

    async def _show_typing(self, turn: RecordedTurn, channel: Channel) -> None:
        """Again and again: the indicator goes out by itself."""
        while True:
            await channel.show_typing(turn.open[-1].message, turn.account)
            await asyncio.sleep(self._typing_renew_s)


def _claim_of(letter: DeadLetter) -> Claim:
    return Claim(
        shard=letter.shard,
        conversation=letter.job.conversation,
        entry_id="",
        consumer="",
        deliveries=0,
        jobs=(letter.job,),
        taken_at=letter.dead_at,
        waiting_since=letter.dead_at,
    )
