"""The HTTP application over stores in memory, and Twilio's side of the line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

from models.accounts import TwilioAccount
from models.errors import StoreUnavailableError
from models.jobs import Job, NewJob
from models.messages import InboundMessage
from serve_app.api.account_cache import AccountCache
from serve_app.api.application import IngressParts, create_app
from serve_app.api.bursts import BurstWindows
from serve_app.api.consent_intake import ConsentIntake
from serve_app.api.intake import Intake
from serve_app.api.readiness import Check, Readiness
from serve_app.api.store_watch import StoreWatch
from serve_app.api.webhook_service import WebhookService
from serve_app.channels.twilio.channel import TwilioChannel
from serve_app.channels.twilio.tokens import TokenMemory
from serve_app.settings import IngressSettings
from serve_app.testing.metrics import MemoryMetrics
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.store import MemoryStore
from tests.unit.conversation.stage import ACCOUNT_SID, BUSINESS, CONTACT, ManualClock, account

PUBLIC_URL = "https://bot.example.com"
INBOUND = "/webhooks/twilio"
STATUS = "/webhooks/twilio/status"
TOKEN = "token-1"

Params = Sequence[tuple[str, str]]


class HangingQueue(MemoryQueue):
    """Set `hung` to make publishing wait for ever, as a server does that is stopped."""

    hung = False

    async def publish(self, job: NewJob, *, debounce_s: float = 0.0) -> bool:
        if self.hung:
            await asyncio.sleep(3600)
        return await super().publish(job, debounce_s=debounce_s)


@dataclass
class Fragile:
    """A repository of which every method fails, or hangs, while told to."""

    of: Any
    down: bool = False
    hung: bool = False
    calls: int = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.of, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.hung:
                await asyncio.sleep(3600)
            if self.down:
                raise StoreUnavailableError("Postgres is unavailable")
            return await method(*args, **kwargs)

        return call


def signed(path: str, params: Params, token: str = TOKEN) -> str:
    """By Twilio's own library."""
    return RequestValidator(token).compute_signature(PUBLIC_URL + path, ImmutableMultiDict(params))


def text_message(number: int = 1, **changes: str) -> list[tuple[str, str]]:
    return list(
        {
            "AccountSid": ACCOUNT_SID,
            "MessageSid": f"SM{number:032d}",
            "From": CONTACT,
            "To": BUSINESS,
            "Body": "Hello & welcome: ¿qué tal? +1",
            "NumMedia": "0",
            **changes,
        }.items()
    )


@dataclass
class Door:
    app: FastAPI
    http: httpx2.AsyncClient
    clock: ManualClock
    store: MemoryStore
    inbound: HangingQueue
    status: HangingQueue
    accounts: Fragile
    spool: Fragile
    watch: StoreWatch
    """Looks when it is told to."""
    metrics: MemoryMetrics
    checks: dict[str, Check] = field(default_factory=dict)

    async def post(
        self, params: Params, *, path: str = INBOUND, signature: str | None = None
    ) -> httpx2.Response:
        """Signed as Twilio would, unless a signature is given; none at all for an empty one."""
        if signature is None:
            signature = signed(path, params)
        headers: dict[str, Any] = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"
        }
        if signature:
            headers["X-Twilio-Signature"] = signature.encode("latin-1")
        return await self.http.post(path, content=urlencode(params), headers=headers)

    async def jobs(self, queue: MemoryQueue | None = None) -> list[Job]:
        """What is on the queue, which is taken."""
        queue = queue or self.inbound
        self.clock.advance(60)
        await queue.promote()
        claims = await queue.take(consumer="test", count=100, block_s=0)
        return [job for claim in claims for job in claim.jobs]

    async def messages(self) -> list[InboundMessage]:
        return [InboundMessage.model_validate_json(job.payload) for job in await self.jobs()]

    async def is_empty(self) -> bool:
        """Whether nothing was kept anywhere."""
        dead = [*await self.inbound.dead(), *await self.status.dead()]
        jobs = [*await self.jobs(), *await self.jobs(self.status)]
        return not dead and not jobs and not self.store.tables.spool


@asynccontextmanager
async def open_door(
    *, checks: dict[str, Check] | None = None, debounce_s: float = 0.0, **settings: Any
) -> AsyncGenerator[Door]:
    """`settings` are the ingress'."""
    clock, store, metrics = ManualClock(), MemoryStore(), MemoryMetrics()
    await store.accounts.save(account())
    accounts, spool = Fragile(store.accounts), Fragile(store.spool)
    inbound = HangingQueue(name="inbound", clock=clock)
    status = HangingQueue(name="status", clock=clock)
    limits = {"publish_timeout_s": 0.25, "spool_timeout_s": 0.25, "max_body_bytes": 4096}
    ingress = IngressSettings.model_validate({**limits, **settings})

    watch = StoreWatch(
        queues=(inbound, status),
        spool=spool,
        clock=clock,
        max_backlog=ingress.max_backlog,
        interval_s=ingress.watch_interval_s,
    )
    # Reading and checking webhooks needs no connection to Twilio.
    unconnected: Any = None
    channel = TwilioChannel(client=unconnected, media=unconnected, tokens=TokenMemory())

    @asynccontextmanager
    async def open_parts() -> AsyncGenerator[IngressParts]:
        yield IngressParts(
            webhooks={
                channel.name: WebhookService(
                    channel=channel,
                    accounts=AccountCache(
                        accounts=accounts,
                        clock=clock,
                        keep_s=ingress.account_cache_s,
                        timeout_s=ingress.spool_timeout_s,
                    ),
                    inbound=inbound,
                    status=status,
                    intake=Intake(
                        spool=spool,
                        watch=watch,
                        publish_timeout_s=ingress.publish_timeout_s,
                        spool_timeout_s=ingress.spool_timeout_s,
                    ),
                    consent=ConsentIntake(
                        consents=store.consents, timeout_s=ingress.spool_timeout_s
                    ),
                    clock=clock,
                    bursts=BurstWindows(
                        accounts=accounts,
                        clock=clock,
                        default_s=debounce_s,
                        keep_s=ingress.account_cache_s,
                    ),
                )
            },
            readiness=Readiness(checks or {}, timeout_s=0.1, shedding=watch.shedding),
            public_url=PUBLIC_URL,
            max_body_bytes=ingress.max_body_bytes,
            max_form_fields=50,
            metrics=metrics,
        )

    app = create_app(open_parts)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://10.0.0.7:8000", verify=False
        ) as http,
    ):
        yield Door(app, http, clock, store, inbound, status, accounts, spool, watch, metrics)


def with_token(token: str, **changes: object) -> TwilioAccount:
    return account(auth_token=SecretStr(token), **changes)
