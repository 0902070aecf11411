"""What an ingress replica serves with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from serve_app.api.account_cache import AccountCache
from serve_app.api.application import IngressParts
from serve_app.api.bursts import BurstWindows
from serve_app.api.consent_intake import ConsentIntake
from serve_app.api.intake import Intake
from serve_app.api.readiness import Check, Readiness
from serve_app.api.simulator_desk import SimulatorDesk
from serve_app.api.store_watch import StoreWatch
from serve_app.api.webhook_service import WebhookService
from serve_app.bootstrap.delivery import compose_attention, compose_publisher
from serve_app.bootstrap.loops import new_consumer_id, running
from serve_app.bootstrap.stores import open_stores, read_environment, with_simulator
from serve_app.channels.registry import open_channels, public_address
from serve_app.clock import SystemClock
from serve_app.console.webhook_window import WebhookWindow
from serve_app.console_access import console_is_on, console_token
from serve_app.console_bootstrap import open_console
from serve_app.ops.tracing import open_tracing
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import ChatModel, ClusterView, Metrics
from serve_app.settings import AppSettings
from serve_app.store.console import PostgresConsoleViews


@asynccontextmanager
async def open_ingress(
    settings: AppSettings,
    *,
    checks: dict[str, Check],
    metrics: Metrics | None = None,
    cluster: ClusterView | None = None,
    chat_model: ChatModel | None = None,
) -> AsyncGenerator[IngressParts]:
    """`checks` are the readiness checks of the parts behind the ingress; `cluster` and `chat_model` are
    for the console."""
    env = read_environment(settings)
    clock = SystemClock()
    async with (
        open_stores(settings, env) as stores,
        open_channels(with_simulator(settings, env), env, clock=clock) as channels,
        open_tracing(env, service="ingress") as tracing,
    ):
        watch = StoreWatch(
            queues=(stores.inbound, stores.status),
            spool=stores.spool,
            clock=clock,
            max_backlog=settings.ingress.max_backlog,
            interval_s=settings.ingress.watch_interval_s,
        )
        await watch.look()
        known = AccountCache(
            accounts=stores.accounts,
            clock=clock,
            keep_s=settings.ingress.account_cache_s,
            timeout_s=settings.ingress.spool_timeout_s,
        )
        bursts = BurstWindows(
            accounts=stores.accounts,
            clock=clock,
            default_s=settings.conversation.debounce_s,
            keep_s=settings.ingress.account_cache_s,
        )
        intake = Intake(
            spool=stores.spool,
            watch=watch,
            publish_timeout_s=settings.ingress.publish_timeout_s,
            spool_timeout_s=settings.ingress.spool_timeout_s,
        )
        consent = ConsentIntake(
            consents=stores.consents, timeout_s=settings.ingress.spool_timeout_s
        )
        webhooks = {
            name: WebhookService(
                channel=channel,
                accounts=known,
                inbound=stores.inbound,
                status=stores.status,
                intake=intake,
                consent=consent,
                clock=clock,
                bursts=bursts,
            )
            for name, channel in channels.items()
        }
        views = PostgresConsoleViews(pool=stores.pool)
        window = WebhookWindow(
            inner=metrics or Unmeasured(),
            views=views,
            replica=new_consumer_id(),
            clock=clock,
            interval_s=settings.console.sample_interval_s,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(watch.run()))
            console = None
            if console_is_on(settings.console, env):
                await stack.enter_async_context(running(window.run()))
                console = await stack.enter_async_context(
                    open_console(
                        settings,
                        token=console_token(settings.console, env),
                        public_url=public_address(env),
                        pool=stores.pool,
                        queues=stores.queues,
                        conversations=stores.conversations,
                        replies=stores.replies,
                        owners=stores.owners,
                        accounts=stores.accounts,
                        documents=stores.documents,
                        secrets=stores.secrets,
                        spooled=stores.spool.count,
                        channels=channels,
                        attention=compose_attention(stores, channels),
                        publish=compose_publisher(stores).publish,
                        checks=stores.checks(),
                        views=views,
                        window=window,
                        clock=clock,
                        cluster=cluster,
                        chat_model=chat_model,
                    )
                )
            yield IngressParts(
                webhooks=webhooks,
                readiness=Readiness({**stores.checks(), **checks}, shedding=watch.shedding),
                public_url=public_address(env),
                max_body_bytes=settings.ingress.max_body_bytes,
                metrics=window if console else metrics or Unmeasured(),
                console=console,
                simulator_desk=SimulatorDesk(
                    webhooks=webhooks["twilio"],
                    accounts=stores.accounts,
                    owners=stores.owners,
                    conversations=stores.conversations,
                    inbound=stores.inbound,
                )
                if env.simulator_url
                else None,
                tracing=tracing,
            )
