"""What `recado doctor` finds: on a simulated Twilio, a real Valkey, a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from models.accounts import PhoneNumber, TwilioAccount
from models.findings import Finding, clock_finding
from serve_app.channels.twilio.inspection import TwilioInspector
from serve_app.channels.twilio.signature import is_signed
from serve_app.queue.connection import connect
from serve_app.queue.inspection import inspect_redis
from serve_app.settings import QueueSettings, StoreSettings, TwilioSettings
from serve_app.simulator.app import create_simulator
from serve_app.simulator.settings import SimulatorSettings
from serve_app.store.inspection import inspect_postgres
from serve_app.store.pool import open_pool

SID = "AC" + "1" * 32
PUBLIC = "https://bot.example.com"
ACCOUNT = TwilioAccount(
    id="main",
    owner_id="cafe",
    account_sid=SID,
    auth_token=SecretStr("token"),
    phone_numbers=(PhoneNumber(address="whatsapp:+15550001"), PhoneNumber(address="+15550001")),
)


def webhook(request: httpx2.Request) -> httpx2.Response:
    """Checks signatures as the service does."""
    params = [pair.split("=", 1) for pair in request.content.decode().split("&")]
    well = is_signed(
        url=str(request.url),
        headers={name.lower(): value for name, value in request.headers.items()},
        params=[(name, value) for name, value in params],
        body=request.content,
        json_body=False,
        tokens=["token"],
    )
    return httpx2.Response(200 if well else 403)


@asynccontextmanager
async def inspecting(
    *, webhook_url: str = f"{PUBLIC}/webhooks/twilio", answers: Any = webhook
) -> AsyncIterator[TwilioInspector]:
    simulator = create_simulator(
        SimulatorSettings(
            base_url="http://sim",
            webhook_url=webhook_url,
            account_sid=SID,
            auth_token=SecretStr("token"),
            numbers=("whatsapp:+15550001", "+15550001"),
        )
    )
    mounts: dict[str, httpx2.AsyncBaseTransport] = {
        "http://sim": httpx2.ASGITransport(app=simulator),
        PUBLIC: httpx2.MockTransport(answers),
    }
    settings = TwilioSettings(api_url="http://sim", messaging_url="http://sim")
    async with httpx2.AsyncClient(mounts=mounts, trust_env=False) as http:
        yield TwilioInspector(settings=settings, public_url=PUBLIC, http=http)


def failed(findings: list[Finding]) -> dict[str, str]:
    return {f.check: f.text for f in findings if f.level == "failed"}


async def test_an_account_that_is_well() -> None:
    async with inspecting() as inspector:
        findings = await inspector.inspect(ACCOUNT)
    assert {finding.level for finding in findings} == {"ok"}
    checks = [finding.check for finding in findings]
    assert "main credentials" in checks
    assert "main webhook of whatsapp:+15550001" in checks
    assert "main webhook of +15550001" in checks
    assert "main signature round trip" in checks


async def test_a_token_that_is_refused_says_how_to_rotate_it() -> None:
    async with inspecting() as inspector:
        wrong = ACCOUNT.model_copy(update={"auth_token": SecretStr("old")})
        findings = await inspector.inspect(wrong)
    assert failed(findings).keys() == {"main credentials", "main signature round trip"}
    assert "recado accounts rotate main" in findings[0].action


async def test_a_webhook_that_points_elsewhere_is_named_with_the_right_one() -> None:
    async with inspecting(webhook_url="https://old.example.com/hook") as inspector:
        findings = await inspector.inspect(ACCOUNT)
    wrong = [f for f in findings if f.level == "failed"]
    assert len(wrong) == 2
    assert all("https://old.example.com/hook" in f.text for f in wrong)
    assert all(f"{PUBLIC}/webhooks/twilio#rc=3" in f.action for f in wrong)


async def test_a_number_that_twilio_does_not_list() -> None:
    async with inspecting() as inspector:
        strange = ACCOUNT.model_copy(
            update={"phone_numbers": (PhoneNumber(address="whatsapp:+15559999"),)}
        )
        findings = await inspector.inspect(strange)
    assert failed(findings).keys() == {"main webhook of whatsapp:+15559999"}


@pytest.mark.parametrize("status", [200, 403, 502])
async def test_a_webhook_that_always_answers_the_same_fails_the_round_trip(status: int) -> None:
    async with inspecting(answers=lambda _: httpx2.Response(status)) as inspector:
        findings = await inspector.inspect(ACCOUNT)
    assert failed(findings).keys() == {"main signature round trip"}


async def test_what_can_not_be_reached_is_a_finding() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route", request=request)

    async with inspecting(answers=refuse) as inspector:
        findings = await inspector.inspect(ACCOUNT)
    assert "can't be reached" in failed(findings)["main signature round trip"]


class CannedRedis:
    """Answers INFO, CONFIG GET and TIME."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings

    async def execute_command(self, *command: str) -> object:
        match command:
            case ("INFO", _):
                return {"redis_version": "7.2.4"}
            case ("CONFIG", _, name):
                return {name: self.settings[name.replace("-", "_")]}
            case _:
                import time

                return [int(time.time()), 0]


async def test_a_redis_that_forgets_is_named() -> None:
    redis: Any = CannedRedis(
        appendonly="no", appendfsync="everysec", maxmemory_policy="allkeys-lru"
    )
    findings = {finding.check: finding for finding in await inspect_redis(redis)}
    assert findings["redis appendonly"].level == "failed"
    assert findings["redis maxmemory-policy"].level == "failed"
    assert findings["redis appendfsync"].level == "warning"
    assert "CONFIG SET appendonly yes" in findings["redis appendonly"].action


@pytest.mark.integration
async def test_a_real_server_tells(valkey_url: str) -> None:
    redis = connect(valkey_url, QueueSettings())
    try:
        findings = {finding.check: finding for finding in await inspect_redis(redis)}
    finally:
        await redis.aclose()
    assert findings["redis version"].level == "ok"
    assert findings["redis clock"].level == "ok"
    assert findings["redis maxmemory-policy"].text.startswith("noeviction")


async def test_a_server_that_is_away_is_a_finding() -> None:
    redis = connect("redis://127.0.0.1:9", QueueSettings())
    try:
        (finding,) = await inspect_redis(redis)
    finally:
        await redis.aclose()
    assert (finding.check, finding.level) == ("redis", "failed")


@pytest.mark.integration
async def test_a_real_postgres_tells(database_url: str) -> None:
    async with open_pool(database_url, StoreSettings()) as pool:
        findings = {finding.check: finding for finding in await inspect_postgres(pool)}
    assert findings["postgres version"].level == "ok"
    assert findings["postgres schema"].level == "ok"
    assert findings["postgres clock"].level == "ok"
    assert {"postgres synchronous_commit", "postgres fsync"} <= findings.keys()


@pytest.mark.integration
async def test_a_database_without_tables(empty_database_url: str) -> None:
    async with open_pool(empty_database_url, StoreSettings()) as pool:
        findings = {finding.check: finding for finding in await inspect_postgres(pool)}
    assert findings["postgres schema"].level == "failed"


def test_a_clock_that_is_off() -> None:
    assert clock_finding("c", 0.1, limit_s=2).level == "ok"
    off = clock_finding("c", -7.5, limit_s=2)
    assert (off.level, off.text) == ("warning", "7,500 ms behind this machine")
