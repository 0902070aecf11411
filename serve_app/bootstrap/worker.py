"""What a worker replica answers with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from serve_app.bootstrap.loops import compose_consumer
from serve_app.bootstrap.stores import Stores, open_stores, read_environment, with_simulator
from serve_app.channels.registry import open_channels
from serve_app.clock import SystemClock
from serve_app.conversation.agent import Agent
from serve_app.conversation.ai_processor import AIProcessor
from serve_app.conversation.attachments import AttachmentReader
from serve_app.conversation.audio_processor import AudioProcessor
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.consent import ConsentDesk
from serve_app.conversation.http_tools import HttpTools
from serve_app.conversation.installed_tools import installed_tools
from serve_app.conversation.message_handler import MessageHandler
from serve_app.conversation.orchestrator import MessageOrchestrator
from serve_app.conversation.owner_resolver import OwnerResolver
from serve_app.network import GuardedHttp, open_client
from serve_app.ops.tracing import Tracing, open_tracing
from serve_app.ports import Channel, ChatModel, Clock, Metrics, Queue, Transcriber
from serve_app.queue.consumer import Consumer
from serve_app.settings import AppSettings


@dataclass(frozen=True, slots=True)
class WorkerParts:
    consumer: Consumer
    inbound: Queue


@asynccontextmanager
async def open_worker(
    settings: AppSettings,
    *,
    transcriber: Transcriber,
    chat_model: ChatModel,
    metrics: Metrics | None = None,
) -> AsyncGenerator[WorkerParts]:
    """The consumer of the inbound queue, not running yet."""
    env = read_environment(settings)
    clock = SystemClock()
    async with (
        open_stores(settings, env) as stores,
        open_channels(with_simulator(settings, env), env, clock=clock) as channels,
        open_tracing(env, service="worker") as tracing,
        open_outside(settings) as http,
    ):
        orchestrator = compose_orchestrator(
            settings,
            stores,
            channels=channels,
            transcriber=transcriber,
            chat_model=chat_model,
            http=http,
            clock=clock,
            metrics=metrics,
            tracing=tracing,
        )
        yield WorkerParts(
            consumer=compose_consumer(
                settings,
                stores.inbound,
                orchestrator,
                clock=clock,
                metrics=metrics,
                tracing=tracing,
            ),
            inbound=stores.inbound,
        )


def compose_orchestrator(
    settings: AppSettings,
    stores: Stores,
    *,
    channels: dict[str, Channel],
    transcriber: Transcriber,
    chat_model: ChatModel,
    http: GuardedHttp,
    clock: Clock,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
) -> MessageOrchestrator:
    conversation = settings.conversation
    return MessageOrchestrator(
        messages=MessageHandler(accounts=stores.accounts, conversations=stores.conversations),
        owners=OwnerResolver(owners=stores.owners),
        audio=AudioProcessor(
            conversations=stores.conversations,
            transcriber=transcriber,
            ask_about_structured=conversation.model_answers_structured,
        ),
        attachments=AttachmentReader(conversations=stores.conversations),
        consent=ConsentDesk(consents=stores.consents),
        ai=AIProcessor(
            agent=Agent(
                model=chat_model,
                tools=installed_tools(conversation, stores.owners),
                max_steps=conversation.max_steps,
                max_turn_tokens=conversation.max_turn_tokens,
                tool_timeout_s=conversation.tool_timeout_s,
            ),
            http_tools=HttpTools(http=http, secrets=stores.secrets),
            texts=TextCatalogue.load(),
            conversations=stores.conversations,
            documents=stores.documents,
            replies=stores.replies,
            outbound=stores.outbound,
            clock=clock,
            settings=conversation,
            number_reply_parts=settings.sender.number_parts,
        ),
        channels=channels,
        clock=clock,
        typing_indicator=conversation.typing_indicator,
        typing_renew_s=conversation.typing_renew_s,
        metrics=metrics,
        tracing=tracing,
    )


@asynccontextmanager
async def open_outside(settings: AppSettings) -> AsyncGenerator[GuardedHttp]:
    """The way to services that owners name."""
    async with open_client() as client:
        yield GuardedHttp(
            client=client,
            hosts=settings.outside.hosts,
            local_origins=settings.outside.local_origins,
        )
