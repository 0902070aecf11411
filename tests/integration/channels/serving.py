"""Real servers on loopback for the tests: the simulator, a receiver of webhooks, a rude file server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.accounts import TwilioAccount
from models.messages import OutboundMessage
from serve_app.channels.twilio.channel import TwilioChannel, open_twilio
from serve_app.channels.whatsapp_cloud.channel import WhatsAppCloudChannel, open_whatsapp_cloud
from serve_app.clock import SystemClock
from serve_app.ports import WebhookRequest
from serve_app.settings import TwilioSettings, WhatsAppCloudSettings
from serve_app.simulator.app import create_simulator
from serve_app.simulator.settings import SimulatorSettings

ACCOUNT_SID = "AC" + "1" * 32
TOKEN = "a-token-of-the-tests"
BUSINESS = "whatsapp:+15550001111"
CONTACT = "whatsapp:+15552223333"


def account(**changes: object) -> TwilioAccount:
    fields: dict[str, object] = {
        "id": "acc-1",
        "owner_id": "owner-1",
        "account_sid": ACCOUNT_SID,
        "auth_token": SecretStr(TOKEN),
    }
    return TwilioAccount.model_validate({**fields, **changes})


CLOUD_ACCOUNT = "100000000000001"
CLOUD_BUSINESS = "200000000000001"
CLOUD_CONTACT = "15552223333"


def cloud_account(**changes: object) -> TwilioAccount:
    """Of the Cloud API."""
    fields: dict[str, object] = {
        "channel": "whatsapp_cloud",
        "account_sid": CLOUD_ACCOUNT,
        "access_token": SecretStr(TOKEN),
    }
    return account(**{**fields, **changes})


def reply(body: str = "Hello", **changes: object) -> OutboundMessage:
    fields: dict[str, object] = {
        "reply_id": "reply-1",
        "account_id": ACCOUNT_SID,
        "sender": BUSINESS,
        "recipient": CONTACT,
        "body": body,
    }
    return OutboundMessage.model_validate({**fields, **changes})


async def eventually(holds: Callable[[], bool], *, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def free_socket() -> socket.socket:
    # asyncio turns Nagle's algorithm off only for sockets that name their protocol.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    return listening


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


@asynccontextmanager
async def serving(*apps: tuple[Any, socket.socket]) -> AsyncGenerator[None]:
    """Serves each application on its socket; they stop together, which takes uvicorn a while."""
    servers = [
        _Server(
            uvicorn.Config(
                app, log_level="error", ws="none", access_log=False, timeout_graceful_shutdown=1
            )
        )
        for app, _ in apps
    ]
    tasks = [
        asyncio.create_task(server.serve(sockets=[listening]))
        for server, (_, listening) in zip(servers, apps, strict=True)
    ]
    try:
        await eventually(lambda: all(server.started for server in servers), seconds=10)
        yield
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


@dataclass
class Receiver:
    """The business's side: records webhooks and answers as it is told to."""

    requests: list[WebhookRequest] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Answers to give, one each; then 200."""
    delay_s: float = 0.0
    base: str = ""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        self.requests.append(
            WebhookRequest(
                url=f"{self.base}{request.url.path}{query}",
                headers=dict(request.headers),
                body=await request.body(),
            )
        )
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        status = self.statuses.pop(0) if self.statuses else 200
        return Response("<Response/>", status_code=status, media_type="text/xml")

    async def wait_for(
        self, count: int, *, path: str = "", seconds: float = 5.0
    ) -> list[WebhookRequest]:
        def found() -> list[WebhookRequest]:
            return [request for request in self.requests if path in request.url]

        await eventually(lambda: len(found()) >= count, seconds=seconds)
        return found()


@dataclass
class Stage:
    """The simulator, the channel pointed at it, and the receiver that it calls."""

    simulator: str
    receiver: Receiver
    channel: TwilioChannel
    control: httpx2.AsyncClient
    cloud: WhatsAppCloudChannel

    async def write(self, **message: object) -> dict[str, Any]:
        fields = {"from": CONTACT, "to": BUSINESS, **message}
        answer = await self.control.post("/simulator/messages", json=fields)
        answer.raise_for_status()
        return answer.json()

    async def faults(self, **faults: object) -> None:
        (await self.control.put("/simulator/faults", json=faults)).raise_for_status()

    async def stats(self) -> dict[str, int]:
        return (await self.control.get("/simulator/stats")).json()

    async def until(self, **counts: int) -> None:
        async with asyncio.timeout(10):
            while True:
                stats = await self.stats()
                if all(stats.get(name, 0) >= count for name, count in counts.items()):
                    return

    async def messages(self, **query: object) -> list[dict[str, Any]]:
        answer = await self.control.get("/simulator/messages", params=query)  # type: ignore[arg-type]
        return answer.json()["messages"]


@asynccontextmanager
async def stage(
    *, fragment: str = "", request_timeout_s: float = 5.0, **changes: object
) -> AsyncIterator[Stage]:
    """`changes` are simulator settings, or Twilio settings with the prefix `twilio_`."""
    sim_socket, business_socket = free_socket(), free_socket()
    origin = f"http://127.0.0.1:{port_of(sim_socket)}"
    receiver = Receiver(base=f"http://127.0.0.1:{port_of(business_socket)}")
    twilio = {
        name.removeprefix("twilio_"): changes.pop(name)
        for name in list(changes)
        if name.startswith("twilio_")
    }
    settings = SimulatorSettings.model_validate(
        {
            "base_url": origin,
            "webhook_url": f"{receiver.base}/webhooks/twilio{fragment}",
            "account_sid": ACCOUNT_SID,
            "auth_token": SecretStr(TOKEN),
            **changes,
        }
    )
    channel_settings = TwilioSettings.model_validate(
        {
            "api_url": origin,
            "messaging_url": origin,
            "local_origins": (origin,),
            "request_timeout_s": request_timeout_s,
            **twilio,
        }
    )
    async with (
        serving((create_simulator(settings), sim_socket), (receiver.app(), business_socket)),
        open_twilio(channel_settings, public_url=receiver.base, clock=SystemClock()) as channel,
        open_whatsapp_cloud(
            WhatsAppCloudSettings(
                api_url=f"{origin}/graph",
                local_origins=(origin,),
                request_timeout_s=request_timeout_s,
                media_not_ready_retries=channel_settings.media_not_ready_retries,
            ),
            verify_token=SecretStr("our-word"),
            clock=SystemClock(),
        ) as cloud,
        httpx2.AsyncClient(base_url=origin, trust_env=False, timeout=30) as control,
    ):
        yield Stage(origin, receiver, channel, control, cloud)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def raw_server(answer: Handler) -> AsyncIterator[str]:
    """A TCP server that reads a request's head and then does as it likes."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
