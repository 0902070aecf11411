"""Puts the console together, within one ingress replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.requests import Request

from models.conversations import BookingRequest, Reply
from serve_app.administration.assistant_desk import AssistantDesk
from serve_app.administration.service import Administration
from serve_app.console.application import create_console
from serve_app.console.cluster_sampler import ClusterSampler
from serve_app.console.figures_keeper import FiguresKeeper
from serve_app.console.gate import Gate
from serve_app.console.parts import ConsoleParts, ReplyDesk
from serve_app.console.passwords import PasswordChecker
from serve_app.console.webhook_window import WebhookWindow
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.installed_tools import installed_tools
from serve_app.conversation.trial import AssistantTrial
from serve_app.delivery.attention import purge_outbound
from serve_app.ports import (
    Channel,
    ChatModel,
    Clock,
    ClusterView,
    ConversationRepository,
    DocumentRepository,
    OwnerSecretRepository,
    Queue,
    ReplyRepository,
    TwilioAccountRepository,
)
from serve_app.settings import AppSettings
from serve_app.store.console import PostgresConsoleViews
from serve_app.store.operators import PostgresOperatorRepository
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import StorePool
from serve_app.store.samples import PostgresFigureSamples


class TrialOwners(PostgresOwnerRepository):
    """The owners, without the one thing that a tool would write."""

    async def request_booking(self, request: BookingRequest, *, key: str) -> str:
        return "TRIAL"


@asynccontextmanager
async def open_console(
    settings: AppSettings,
    *,
    token: SecretStr | None,
    public_url: str,
    pool: StorePool,
    queues: Mapping[str, Queue],
    conversations: ConversationRepository,
    replies: ReplyRepository,
    owners: PostgresOwnerRepository,
    accounts: TwilioAccountRepository,
    documents: DocumentRepository,
    secrets: OwnerSecretRepository,
    spooled: Callable[[], Awaitable[int]],
    channels: Mapping[str, Channel],
    attention: ReplyDesk,
    publish: Callable[[Reply], Awaitable[object]],
    checks: Mapping[str, Callable[[], Awaitable[None]]],
    views: PostgresConsoleViews,
    window: WebhookWindow,
    clock: Clock,
    cluster: ClusterView | None,
    chat_model: ChatModel | None,
) -> AsyncGenerator[ConsoleParts]:
    operators = PostgresOperatorRepository(pool=pool)
    passwords = PasswordChecker()
    trial = None
    if chat_model is not None:
        trial = AssistantTrial(
            model=chat_model,
            tools=installed_tools(settings.conversation, TrialOwners(pool=pool)),
            documents=documents,
            clock=clock,
            settings=settings.conversation,
        )

    async def discard(queue: str, dead_id: str) -> bool:
        if queue == "outbound":
            return await purge_outbound(dead_id, outbound=queues[queue], replies=replies)
        return await queues[queue].purge(dead_id)

    samples = PostgresFigureSamples(pool=pool)
    keeper = FiguresKeeper(views=views, samples=samples, clock=clock)
    try:
        async with AsyncExitStack() as stack:
            figures = await stack.enter_async_context(keeper.running())
            if cluster is not None:
                sampler = ClusterSampler(cluster=cluster, samples=samples, clock=clock)
                await stack.enter_async_context(sampler.running())
            yield ConsoleParts(
                gate=Gate(
                    operators=operators,
                    passwords=passwords,
                    clock=clock,
                    settings=settings.console,
                    token=token,
                    public_url=public_url,
                ),
                clock=clock,
                views=views,
                operators=operators,
                queues=queues,
                conversations=conversations,
                replies=replies,
                owners=owners,
                accounts=accounts,
                channels=channels,
                discard=discard,
                attention=attention,
                publish=publish,
                assistants=AssistantDesk(
                    administration=Administration(
                        owners=owners,
                        accounts=accounts,
                        documents=documents,
                        secrets=secrets,
                        known_tools=installed_tools(settings.conversation, owners).names,
                        known_texts=TextCatalogue.load().keys,
                        hosts=settings.outside.hosts,
                        local_origins=settings.outside.local_origins,
                        one_model=settings.chat.engine == "transformers",
                    )
                ),
                trial=trial,
                cluster=cluster,
                checks=checks,
                window=window,
                figures=figures,
                spooled=spooled,
            )
    finally:
        passwords.close()


def mount_console(app: FastAPI) -> None:
    """At `/console` of the ingress' application, which has its parts once it has started."""

    def parts_of(_: Request) -> ConsoleParts | None:
        console = app.state.parts.console
        return console if isinstance(console, ConsoleParts) else None

    app.mount("/console", create_console(parts_of))
