"""What a sender replica sends with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from models.accounts import TwilioAccount
from serve_app.administration.housekeeper import Housekeeper
from serve_app.bootstrap.delivery import compose_publisher, compose_sweeper
from serve_app.bootstrap.loops import compose_consumer
from serve_app.bootstrap.stores import open_stores, read_environment, with_simulator
from serve_app.bootstrap.worker import open_outside
from serve_app.channels.registry import open_channels
from serve_app.clock import SystemClock
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.media_retention import MediaRetention
from serve_app.conversation.note_messages import NoteMessages
from serve_app.conversation.note_sender import NoteSender
from serve_app.delivery.aftermath import FailedDeliveries
from serve_app.delivery.lanes import lane_between
from serve_app.delivery.sender import SEND_WITHIN_S, ReplySender
from serve_app.delivery.status import StatusHandler
from serve_app.ops.samplers import StoreSampler
from serve_app.ops.tracing import open_tracing
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import Metrics, SendLane
from serve_app.queue.consumer import Consumer
from serve_app.settings import AppSettings, ChannelSettings
from serve_app.store.samples import PostgresFigureSamples


@dataclass(frozen=True, slots=True)
class SenderParts:
    outbound: Consumer
    status: Consumer
    sweep: Callable[[], Awaitable[None]]
    sample: Callable[[], Awaitable[None]]
    """The loop that looks at backlogs, replies and stores."""
    forget_media: Callable[[], Awaitable[None]]
    notes: Callable[[], Awaitable[None]]
    """The loop that delivers notes to owners."""
    housekeep: Callable[[], Awaitable[None]]
    """The loop that deletes what is too old, and gives conversations back."""


@asynccontextmanager
async def open_sender(
    settings: AppSettings, *, metrics: Metrics | None = None
) -> AsyncGenerator[SenderParts]:
    """The consumers of the outbound and the status queue, the sweeper and the sampler, not running yet."""
    metrics = metrics or Unmeasured()
    env = read_environment(settings)
    clock = SystemClock()
    async with (
        open_stores(settings, env) as stores,
        open_channels(with_simulator(settings, env), env, clock=clock) as channels,
        open_tracing(env, service="sender") as tracing,
        open_outside(settings) as http,
    ):
        sender = ReplySender(
            replies=stores.replies,
            accounts=stores.accounts,
            consents=stores.consents,
            rates=stores.rates,
            channels=channels,
            clock=clock,
            settings=settings.sender,
            send_limits_s={
                name: section.request_timeout_s
                for name, section in settings
                if isinstance(section, ChannelSettings)
            },
            send_within_s=min(SEND_WITHIN_S, settings.queue.lease_s),
            metrics=metrics,
            tracing=tracing,
        )
        sampler = StoreSampler(
            queues=tuple(stores.queues.values()),
            replies=stores.replies,
            spool=stores.spool,
            samples=PostgresFigureSamples(pool=stores.pool),
            metrics=metrics,
            clock=clock,
        )

        def lane_between_ends(account: TwilioAccount, *, sender: str, recipient: str) -> SendLane:
            return lane_between(account, settings.sender, sender=sender, recipient=recipient)

        sweeper = compose_sweeper(stores, settings.sender, clock=clock)
        concurrency = settings.sender.concurrency
        yield SenderParts(
            outbound=compose_consumer(
                settings,
                stores.outbound,
                sender,
                clock=clock,
                concurrency=concurrency,
                metrics=metrics,
                tracing=tracing,
            ),
            status=compose_consumer(
                settings,
                stores.status,
                StatusHandler(
                    replies=stores.replies,
                    consents=stores.consents,
                    notes=stores.notes,
                    failed=FailedDeliveries(
                        replies=stores.replies,
                        accounts=stores.accounts,
                        consents=stores.consents,
                        rates=stores.rates,
                        publisher=compose_publisher(stores),
                        clock=clock,
                        settings=settings.sender,
                    ),
                    metrics=metrics,
                    tracing=tracing,
                ),
                clock=clock,
                concurrency=concurrency,
                metrics=metrics,
                tracing=tracing,
            ),
            sweep=sweeper.run,
            forget_media=MediaRetention(
                conversations=stores.conversations,
                clock=clock,
                keep_days=settings.conversation.media_retention_days,
                interval_s=settings.conversation.media_retention_interval_s,
            ).run,
            sample=sampler.run,
            notes=NoteSender(
                notes=stores.notes,
                owners=stores.owners,
                secrets=stores.secrets,
                messages=NoteMessages(
                    accounts=stores.accounts,
                    consents=stores.consents,
                    channels=channels,
                    rates=stores.rates,
                    lane_of=lane_between_ends,
                    owners=stores.owners,
                    texts=TextCatalogue.load(),
                ),
                http=http,
                clock=clock,
                settings=settings.notes,
            ).run,
            housekeep=Housekeeper(
                contacts=stores.contacts,
                owners=stores.owners,
                accounts=stores.accounts,
                queues=stores.queues,
                clock=clock,
                settings=settings.privacy,
            ).run,
        )
