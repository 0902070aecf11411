"""Parts of delivery that commands share with replicas."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from models.conversations import Reply
from models.jobs import NewJob
from serve_app.administration.privacy import ContactPrivacy
from serve_app.bootstrap.stores import Stores, open_stores, with_simulator
from serve_app.channels.registry import open_channels
from serve_app.clock import SystemClock
from serve_app.conversation.reply_parts import reply_job
from serve_app.delivery.attention import ReplyAttention
from serve_app.delivery.doubt import DoubtfulReplies
from serve_app.delivery.publisher import ReplyPublisher
from serve_app.delivery.reconciler import Reconciler
from serve_app.delivery.sweeper import Sweeper
from serve_app.ports import Channel, Clock
from serve_app.queue.connection import waiting_for
from serve_app.settings import (
    AppSettings,
    EnvironmentSettings,
    SenderSettings,
)
from serve_app.store.addresses import ways_of_writing


def compose_privacy(settings: AppSettings, stores: Stores) -> ContactPrivacy:
    async def waiting(contacts: Collection[str]) -> Collection[str]:
        return await waiting_for(
            stores.redis,
            prefix=settings.queue.prefix,
            contacts=contacts,
            timeout_s=settings.queue.command_timeout_s,
        )

    return ContactPrivacy(
        contacts=stores.contacts,
        accounts=stores.accounts,
        queues=stores.queues,
        waiting_for=waiting,
        ways_of_writing=ways_of_writing,
        clock=SystemClock(),
    )


def compose_publisher(stores: Stores) -> ReplyPublisher:
    def job(reply: Reply, suffix: str) -> NewJob:
        return reply_job(reply, suffix=suffix)

    return ReplyPublisher(outbound=stores.outbound, reply_job=job)


@dataclass(frozen=True, slots=True)
class DeliveryTools:
    """What a person needs to look after messages and replies."""

    stores: Stores
    attention: ReplyAttention
    reconciler: Reconciler


@asynccontextmanager
async def open_delivery_tools(
    settings: AppSettings, env: EnvironmentSettings
) -> AsyncGenerator[DeliveryTools]:
    async with (
        open_stores(settings, env) as stores,
        open_channels(with_simulator(settings, env), env, clock=SystemClock()) as channels,
    ):
        yield DeliveryTools(
            stores=stores,
            attention=compose_attention(stores, channels),
            reconciler=Reconciler(
                channels=channels,
                accounts=stores.accounts,
                conversations=stores.conversations,
                inbound=stores.inbound,
                debounce_s=settings.conversation.debounce_s,
            ),
        )


def compose_attention(stores: Stores, channels: dict[str, Channel]) -> ReplyAttention:
    return ReplyAttention(
        replies=stores.replies,
        publisher=compose_publisher(stores),
        doubtful=DoubtfulReplies(
            replies=stores.replies, accounts=stores.accounts, channels=channels
        ),
    )


def compose_sweeper(stores: Stores, settings: SenderSettings, *, clock: Clock) -> Sweeper:
    return Sweeper(
        spool=stores.spool,
        replies=stores.replies,
        queues=stores.queues,
        publisher=compose_publisher(stores),
        clock=clock,
        interval_s=settings.sweep_interval_s,
        spool_interval_s=settings.spool_interval_s,
        older_than_s=settings.sweep_older_than_s,
    )
