"""The whole product but for Ray and the models: simulator, ingress, worker and sender over real stores."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from models.accounts import Owner, PhoneNumber, Plan, TwilioAccount
from models.conversations import MessageProgress
from models.inference import ChatRequest
from serve_app.api.application import create_app
from serve_app.bootstrap import (
    SenderParts,
    Stores,
    open_ingress,
    open_sender,
    open_stores,
    open_worker,
    read_environment,
)
from serve_app.queue.consumer import Consumer
from serve_app.settings import AppSettings
from serve_app.simulator.app import create_simulator
from serve_app.simulator.settings import SimulatorSettings
from serve_app.tasks import end_tasks
from serve_app.testing.engines import FixedTranscriber, ScriptedChatModel
from tests.integration.channels.serving import free_socket, port_of, serving

ACCOUNT_SID = "AC" + "7" * 32
TOKEN = "a-token-of-the-chain"
BUSINESS = "whatsapp:+15550007777"
CLOUD: dict[str, object] = {"to": "15550142701", "channel": "whatsapp_cloud"}
"""What is written to the business's number at the Cloud API; contacts have bare digits there."""

QUICK: dict[str, dict[str, Any]] = {
    "queue": {"lease_s": 1.5, "max_attempts": 4, "backoff_base_s": 0.1, "backoff_cap_s": 2.0},
    "worker": {
        "block_s": 0.2,
        "scan_interval_s": 0.1,
        "promote_interval_s": 0.02,
        "drain_s": 2.0,
    },
    "sender": {
        "resolve_after_s": 0.5,
        "sweep_interval_s": 0.2,
        "sweep_older_than_s": 20.0,
        "max_attempts": 30,
        "whatsapp_per_second": 10_000,
        "recipient_burst": 100_000,
        # The simulator's 429s come by chance, however slowly one goes.
        "slow_down_pause_s": 0.1,
        "slow_down_recovery_s": 0.5,
    },
    "twilio": {"request_timeout_s": 3.0},
    "conversation": {"debounce_s": 0.05},
    "notes": {"interval_s": 0.1, "backoff_base_s": 0.1, "backoff_cap_s": 0.2},
    "ingress": {"publish_timeout_s": 1.0, "account_cache_s": 5.0},
    "log": {"level": "error"},
}


def contact(which: int | str = 1) -> str:
    """An address, or that of a contact by number."""
    return which if isinstance(which, str) else f"whatsapp:+1555222{which:04d}"


def echo(request: ChatRequest) -> str:
    """Says back what the contact wrote in this turn."""
    said: list[str] = []
    for message in reversed(request.messages):
        if message.role != "user":
            break
        said.append(message.content)
    return "You said: " + " / ".join(reversed(said))


@dataclass
class House:
    settings: AppSettings
    stores: Stores
    simulator: httpx2.AsyncClient
    chat: ScriptedChatModel
    transcriber: FixedTranscriber

    async def write(
        self,
        body: str = "Hello",
        *,
        of: int | str = 1,
        voice: bytes | None = None,
        copies: int = 1,
        **more: object,
    ) -> str:
        """A contact writes; the provider's id of the message. `more` is what else the simulator is told."""
        media = [{"content_base64": base64.b64encode(voice).decode()}] if voice else []
        answer = await self.simulator.post(
            "/simulator/messages",
            json={
                "from": contact(of),
                "to": BUSINESS,
                "body": body,
                "media": media,
                "copies": copies,
                **more,
            },
        )
        answer.raise_for_status()
        document = answer.json()
        assert set(document["webhook_statuses"]) == {200}, document
        return document["message_sid"]

    async def open_cloud_account(self) -> None:
        """The business has a number at the Cloud API, too."""
        await self.stores.accounts.save(
            TwilioAccount(
                id="chain-cloud",
                owner_id="chain",
                channel="whatsapp_cloud",
                account_sid="100000000000001",
                auth_token=SecretStr(TOKEN),
                access_token=SecretStr(TOKEN),
                phone_numbers=(PhoneNumber(address="200000000000001"),),
            )
        )

    async def received(
        self, *, of: int | str = 1, at_least: int = 1, seconds: float = 20
    ) -> list[str]:
        """What the contact has on the phone, once there are that many messages."""
        return [each["body"] for each in await self.phone(of, at_least=at_least, seconds=seconds)]

    async def phone(
        self, of: int | str = 1, *, at_least: int = 0, seconds: float = 20
    ) -> list[dict[str, Any]]:
        """The same with all that the simulator knows of each message."""
        found: list[dict[str, Any]] = []
        cursor = 0
        async with asyncio.timeout(seconds):
            while True:
                wait_s = 5 if at_least else 0
                query = {"contact": contact(of), "after": cursor, "wait_s": wait_s}
                answer = await self.simulator.get("/simulator/messages", params=query)
                document = answer.json()
                cursor = document["cursor"]
                new = document["messages"]
                found += [each for each in new if each["direction"] == "outbound"]
                if len(found) >= at_least:
                    return found

    async def faults(self, **faults: object) -> None:
        (await self.simulator.put("/simulator/faults", json=faults)).raise_for_status()

    async def counts(self) -> dict[str, int]:
        return (await self.simulator.get("/simulator/stats")).json()

    async def progress(self, sid: str) -> MessageProgress:
        """Where a message is, once a worker has recorded it."""
        progress = partial(
            self.stores.conversations.progress, account_sid=ACCOUNT_SID, message_id=sid
        )

        async def recorded() -> bool:
            return await progress() is not None

        await until(recorded)
        found = await progress()
        assert found is not None
        return found

    async def account(self, account_id: str = "chain-twilio", **fields: object) -> None:
        """Change an account, or store a further one."""
        known = {account.id: account for account in await self.stores.accounts.list_all()}
        model = known.get(account_id, known["chain-twilio"])
        await self.stores.accounts.save(model.model_copy(update={"id": account_id, **fields}))

    async def another_owner(self, owner_id: str, *numbers: str, **fields: object) -> None:
        """With an account of its own, under the same AccountSid unless `fields` say another."""
        owner = {"id": owner_id, "name": owner_id.title(), "plan": Plan(code="chain")}
        await self.stores.owners.save(Owner.model_validate(owner))
        addresses = tuple(PhoneNumber(address=number) for number in numbers)
        await self.account(
            f"{owner_id}-twilio", owner_id=owner_id, phone_numbers=addresses, **fields
        )

    async def is_idle(self) -> bool:
        """Whether no queue holds any work."""
        backlogs = [await queue.backlog() for queue in self.stores.queues.values()]
        return not any(b.waiting + b.in_flight + b.delayed for b in backlogs)

    async def settle(self, *, seconds: float = 20) -> None:
        await until(self.is_idle, seconds=seconds)

    @asynccontextmanager
    async def sender(self) -> AsyncGenerator[SenderParts]:
        """A sender that works until the context ends."""
        async with open_sender(self.settings) as parts:
            work = [
                asyncio.create_task(parts.outbound.run()),
                asyncio.create_task(parts.status.run()),
                asyncio.create_task(parts.sweep()),
                asyncio.create_task(parts.notes()),
                asyncio.create_task(parts.housekeep()),
            ]
            try:
                yield parts
            finally:
                await asyncio.gather(parts.outbound.drain(), parts.status.drain())
                await end_tasks(work)

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Consumer]:
        """A worker that works until the context ends."""
        async with open_worker(
            self.settings, transcriber=self.transcriber, chat_model=self.chat
        ) as parts:
            work = asyncio.create_task(parts.consumer.run())
            try:
                yield parts.consumer
            finally:
                await parts.consumer.drain()
                await end_tasks([work])


class HeldModel(ScriptedChatModel):
    """Thinks until it is told to go on."""

    def __init__(self, *script: Any, **options: Any) -> None:
        super().__init__(*script, **options)
        self.thinking, self.go_on = asyncio.Event(), asyncio.Event()

    async def chat(self, request: ChatRequest) -> Any:
        self.thinking.set()
        await self.go_on.wait()
        return await super().chat(request)


async def change(at: House, *, plan: Plan | None = None, **assistant: Any) -> None:
    """Change the owner, while the service runs."""
    owner = await at.stores.owners.get("chain")
    assert owner is not None
    document = owner.model_dump(mode="json")
    document["assistant"] |= assistant
    if plan is not None:
        document["plan"] = plan.model_dump(mode="json")
    await at.stores.owners.save(Owner.model_validate(document))


async def die(consumer: Consumer) -> None:
    """End a consumer's tasks as the death of its process would: nothing is settled or handed back."""
    await end_tasks([*consumer._turns, *consumer._loops])


async def until(condition: Callable[[], Any], *, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.03)


Open = Callable[..., AbstractAsyncContextManager[House]]
"""Opens a house; its keywords are those of `open_house` that a test chooses."""


@asynccontextmanager
async def open_house(
    *,
    redis_url: str,
    prefix: str,
    database_url: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    chat: ScriptedChatModel | None = None,
    transcriber: FixedTranscriber | None = None,
    staffed: bool = True,
    webhooks_via: str | None = None,
    simulation: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> AsyncIterator[House]:
    """`sections` are settings over `QUICK`. Without staff, the test hires worker and sender itself. Webhooks
    are posted to `webhooks_via`, up to the path, where the ingress isn't to be reached directly;
    `simulation` are settings of the simulator."""
    listening, simulating = free_socket(), free_socket()
    public = f"http://127.0.0.1:{port_of(listening)}"
    origin = f"http://127.0.0.1:{port_of(simulating)}"
    environment = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "SECRET_KEY": Fernet.generate_key().decode(),
        "PUBLIC_URL": public,
        "SIMULATOR_URL": origin,
        "DATA_DIR": str(folder),
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"RECADO_{name}", value)
    merged = {
        name: {**QUICK.get(name, {}), **sections.get(name, {})} for name in {*QUICK, *sections}
    }
    merged["queue"]["prefix"] = prefix
    settings = AppSettings.model_validate(merged)
    simulator = create_simulator(
        SimulatorSettings(
            base_url=origin,
            webhook_url=f"{webhooks_via or public}/webhooks/twilio",
            public_webhook_url=f"{public}/webhooks/twilio",
            account_sid=ACCOUNT_SID,
            auth_token=SecretStr(TOKEN),
            **{"numbers": (BUSINESS,), **(simulation or {})},
        )
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        stores = await enter(open_stores(settings, read_environment(settings)))
        await _store_business(stores)
        ingress = create_app(lambda: open_ingress(settings, checks={}))
        await enter(serving((simulator, simulating), (ingress, listening)))
        control = await enter(httpx2.AsyncClient(base_url=origin, trust_env=False, timeout=30))
        house = House(
            settings=settings,
            stores=stores,
            simulator=control,
            chat=chat or ScriptedChatModel(echo),
            transcriber=transcriber or FixedTranscriber("a table for two"),
        )
        if staffed:
            await enter(house.worker())
            await enter(house.sender())
        yield house


async def _store_business(stores: Stores) -> None:
    owner = Owner.model_validate(
        {
            "id": "chain",
            "name": "Chain Café",
            "plan": Plan(code="chain"),
            "assistant": {"instructions": "Be brief.", "tools": ("hand_over",)},
        }
    )
    await stores.owners.save(owner)
    await stores.accounts.save(
        TwilioAccount(
            id="chain-twilio",
            owner_id="chain",
            account_sid=ACCOUNT_SID,
            auth_token=SecretStr(TOKEN),
            phone_numbers=(PhoneNumber(address=BUSINESS),),
        )
    )
