"""`recado doctor` looks at each account at its own provider: no secret goes to another."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from models.accounts import PhoneNumber, TwilioAccount
from models.findings import Finding
from serve_app.channels.whatsapp_cloud.signature import is_signed
from serve_app.cli.context import CliContext
from serve_app.cli.examination import inspect_accounts
from serve_app.settings import AppSettings, EnvironmentSettings
from tests.integration.channels.serving import cloud_account

PUBLIC = "https://bot.example.com"
ENVIRONMENT = EnvironmentSettings(
    data_dir=Path("/nowhere"), public_url=PUBLIC, whatsapp_verify_token=SecretStr("our-word")
)
CLOUD = cloud_account(
    id="cloud", account_sid="102", auth_token="app-secret", access_token="access-token"
)
TWILIO = TwilioAccount(
    id="main",
    owner_id="cafe",
    account_sid="AC" + "1" * 32,
    auth_token=SecretStr("twilio-token"),
    phone_numbers=(PhoneNumber(address="+15550001"),),
)


class Outside:
    """Everything that could be called, which answers as our own webhooks do."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.webhook_answers: dict[bool, int] = {True: 200, False: 403}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host == "bot.example.com":
            signed = is_signed(request.headers, request.content, ["app-secret"])
            return httpx2.Response(self.webhook_answers[signed])
        return httpx2.Response(200, json={"status": "active"})

    def hosts(self) -> set[str]:
        return {request.url.host for request in self.requests}


async def look(
    outside: Outside, *accounts: TwilioAccount, env: EnvironmentSettings = ENVIRONMENT
) -> dict[str, Finding]:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(outside)) as http:
        found = await inspect_accounts(accounts, CliContext(AppSettings(), env), http=http)
    return {finding.check: finding for finding in found}


async def test_nothing_of_a_cloud_account_is_told_to_twilio_or_meta() -> None:
    outside = Outside()
    findings = await look(outside, CLOUD)
    assert {finding.level for finding in findings.values()} == {"ok"}
    assert "cloud signature round trip" in findings
    assert outside.hosts() == {"bot.example.com"}
    for request in outside.requests:
        told = f"{request.url} {dict(request.headers)} {request.content!r}"
        assert "app-secret" not in told
        assert "access-token" not in told
        assert "authorization" not in request.headers


async def test_each_account_is_looked_at_by_its_own_provider() -> None:
    outside = Outside()
    findings = await look(outside, CLOUD, TWILIO)
    assert outside.hosts() == {"bot.example.com", "api.twilio.com"}
    assert {"cloud signature round trip", "main credentials"} <= findings.keys()
    assert not any("102" in str(r.url) for r in outside.requests if "twilio.com" in r.url.host)


async def test_what_is_missing_of_a_cloud_account_is_named() -> None:
    outside = Outside()
    env = ENVIRONMENT.model_copy(update={"whatsapp_verify_token": None})
    findings = await look(outside, CLOUD.model_copy(update={"access_token": None}), env=env)
    assert findings["cloud access token"].level == "failed"
    assert findings["cloud verify token"].level == "warning"
    assert "RECADO_WHATSAPP_VERIFY_TOKEN" in findings["cloud verify token"].action


@pytest.mark.parametrize("answers", [{True: 403, False: 403}, {True: 200, False: 200}])
async def test_a_webhook_that_does_not_tell_signatures_apart_fails(
    answers: dict[bool, int],
) -> None:
    outside = Outside()
    outside.webhook_answers = answers
    findings = await look(outside, CLOUD)
    assert findings["cloud signature round trip"].level == "failed"


async def test_a_channel_that_there_is_not_is_a_finding() -> None:
    outside = Outside()
    findings = await look(outside, CLOUD.model_copy(update={"channel": "pigeon"}))
    assert findings["cloud"].level == "failed"
    assert outside.requests == []
