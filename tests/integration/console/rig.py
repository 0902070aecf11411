"""The console over a real Postgres, its queues in memory, without Ray and without a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from models.accounts import TwilioAccount
from models.console import DeploymentState
from models.conversations import Reply
from models.errors import ListUnavailableError, MediaRejectedError
from models.inference import EngineStats
from models.messages import MediaFile, MediaRef
from serve_app.clock import SystemClock
from serve_app.console.passwords import hash_password
from serve_app.console.webhook_window import WebhookWindow
from serve_app.console_bootstrap import mount_console, open_console
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import Queue
from serve_app.settings import AppSettings, ConsoleSettings, StoreSettings
from serve_app.store.accounts import PostgresTwilioAccountRepository
from serve_app.store.cipher import TokenCipher
from serve_app.store.console import PostgresConsoleViews
from serve_app.store.conversations import PostgresConversationRepository
from serve_app.store.documents import PostgresDocumentRepository
from serve_app.store.operators import PostgresOperatorRepository
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import StorePool, open_pool
from serve_app.store.replies import PostgresReplyRepository
from serve_app.store.secrets import PostgresOwnerSecretRepository
from serve_app.testing.queue import MemoryQueue

TOKEN = "the-console-token"
URL = "http://127.0.0.1:8000"
OURS = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="
PASSWORD = "a long enough password"


class Attention:
    """Decides nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.list_away = False

    async def resend(self, reply: Reply, *, blindly: bool = False) -> str:
        if self.list_away:
            raise ListUnavailableError("Twilio doesn't answer")
        self.asked.append(("blindly" if blindly else "resend", reply.id))
        return "resent"

    async def drop(self, reply: Reply, *, why: str) -> str:
        self.asked.append((why, reply.id))
        return "dropped"


class Channel:
    """Has the files that a test gives it."""

    max_body_chars = 40

    def __init__(self) -> None:
        self.files: dict[str, MediaFile] = {}

    async def fetch_media(self, media: MediaRef, account: TwilioAccount) -> MediaFile:
        if media.url not in self.files:
            raise MediaRejectedError("it isn't there any more")
        return self.files[media.url]


class Cluster:
    async def deployments(self) -> list[DeploymentState]:
        return [DeploymentState(name="Ingress", status="HEALTHY", running=1, target=1)]

    async def engines(self) -> list[EngineStats]:
        speech = EngineStats(engine="faster_whisper", model="demo", device="cpu", replica="s")
        chat = {"engine": "transformers", "model": "demo", "device": "cpu", "batches": 2, "rows": 3}
        chat |= {"batch_limit": 4, "replica": "c"}
        return [speech, EngineStats.model_validate({**chat, "busy_seconds": 1, "work_done": 60})]


@dataclass
class Rig:
    http: httpx2.AsyncClient
    pool: StorePool
    operators: PostgresOperatorRepository
    owners: PostgresOwnerRepository
    inbound: MemoryQueue
    outbound: MemoryQueue
    channel: Channel
    attention: Attention
    published: list[str]

    async def sign_in(self, secret: str = TOKEN, *, name: str = "") -> httpx2.Response:
        form = {"name": name, "secret": secret}
        return await self.http.post("/console/sign-in", data=form, headers=OURS)

    async def proof(self) -> str:
        page = await self.http.get("/console/activity")
        found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert found is not None, page.text
        return found[1]

    async def submit(self, path: str, **form: Any) -> httpx2.Response:
        data = {"csrf_token": await self.proof(), **form}
        return await self.http.post(f"/console/{path}", data=data, headers=OURS)


async def add_operators(rig: Rig, *roles: Any) -> None:
    from models.console import Operator

    hashed = hash_password(PASSWORD)
    for role in roles:
        await rig.operators.save_operator(
            Operator(name=role.value, role=role), password_hash=hashed
        )


@asynccontextmanager
async def open_rig(
    database_url: str, *, token: str | None = TOKEN, letters: Queue | None = None, **console: Any
) -> AsyncGenerator[Rig]:
    """`console` are the console's settings; `letters` is a queue to show besides those in memory."""
    settings = AppSettings(console=ConsoleSettings(**console))
    app = FastAPI()
    mount_console(app)
    attention, published = Attention(), list[str]()
    clock = SystemClock()
    inbound, outbound = (MemoryQueue(name=name, clock=clock) for name in ("inbound", "outbound"))
    channel = Channel()

    async def publish(reply: Reply) -> None:
        published.append(reply.id)

    async def spooled() -> int:
        return 0

    async def well() -> None:
        return None

    async with open_pool(database_url, StoreSettings()) as pool:
        views = PostgresConsoleViews(pool=pool)
        owners = PostgresOwnerRepository(pool=pool)
        window = WebhookWindow(
            inner=Unmeasured(), views=views, replica="one", clock=clock, interval_s=10
        )
        async with open_console(
            settings,
            token=SecretStr(token) if token else None,
            public_url=URL,
            pool=pool,
            queues={
                "inbound": inbound,
                "outbound": outbound,
                **({letters.name: letters} if letters else {}),
            },
            conversations=PostgresConversationRepository(pool=pool),
            replies=PostgresReplyRepository(pool=pool),
            owners=owners,
            accounts=PostgresTwilioAccountRepository(pool=pool, cipher=TokenCipher(KEY)),
            documents=PostgresDocumentRepository(pool=pool),
            secrets=PostgresOwnerSecretRepository(pool=pool, cipher=TokenCipher(KEY)),
            spooled=spooled,
            channels={"twilio": channel},  # type: ignore[dict-item]
            attention=attention,
            publish=publish,
            checks={"postgres": well},
            views=views,
            window=window,
            clock=clock,
            cluster=Cluster(),
            chat_model=None,
        ) as parts:
            app.state.parts = SimpleNamespace(console=parts)
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url=URL) as http:
                operators = PostgresOperatorRepository(pool=pool)
                yield Rig(
                    http, pool, operators, owners, inbound, outbound, channel, attention, published
                )
