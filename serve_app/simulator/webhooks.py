"""Posting signed webhooks, with the retries that the URL's fragment asks for.

Overrides: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urldefrag

import httpx2

from serve_app.simulator.accounts import Accounts
from serve_app.simulator.signing import signature

IDEMPOTENCY_HEADER = "I-Twilio-Idempotency-Token"

_POLICIES = frozenset({"ct", "rt", "4xx", "5xx", "all"})


@dataclass(frozen=True)
class Overrides:
    """Times in seconds; `retry_on` names the failures that are retried."""

    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})
    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 15.0

    @classmethod
    def of(cls, fragment: str) -> Overrides:
        """Unreadable and out-of-range values fall back to the defaults and limits."""
        given = {name: values[0] for name, values in parse_qs(fragment).items()}
        policies = frozenset(given.get("rp", "ct").split(",")) & _POLICIES

        def number(name: str, default: int, low: int, high: int) -> int:
            text = given.get(name, "")
            return max(low, min(high, int(text))) if text.isdecimal() else default

        return cls(
            retries=number("rc", 1, 0, 5),
            retry_on=policies or frozenset({"ct"}),
            connect_s=number("ct", 5000, 100, 10_000) / 1000,
            read_s=number("rt", 15_000, 100, 15_000) / 1000,
            total_s=number("tt", 15_000, 100, 15_000) / 1000,
        )

    def retries_after(self, failure: str) -> bool:
        return failure in self.retry_on or "all" in self.retry_on


@dataclass(frozen=True)
class Delivery:
    """How a webhook went: `status` is None if nobody answered."""

    status: int | None
    attempts: int
    seconds: float
    body: str = ""


@dataclass(frozen=True)
class Detour:
    """Calls what is published at `public` at `local` instead; signatures stay those of `public`."""

    public: str = ""
    local: str = ""

    @classmethod
    def between(cls, public_url: str, local_url: str) -> Detour:
        """From two addresses of the same page: what they don't have in common at their ends."""
        public, local = (urldefrag(url).url.split("/") for url in (public_url, local_url))
        while len(public) > 3 and len(local) > 3 and public[-1] == local[-1]:
            public.pop()
            local.pop()
        return cls("/".join(public), "/".join(local))

    def of(self, url: str) -> str:
        rest = url.removeprefix(self.public)
        if self.public and rest != url and rest[:1] in {"", "/", "?"}:
            return self.local + rest
        return url


class WebhookPoster:
    def __init__(
        self, *, http: httpx2.AsyncClient, accounts: Accounts, detour: Detour | None = None
    ) -> None:
        self._http = http
        self._accounts = accounts
        self._detour = detour or Detour()

    async def post(self, url: str, params: Mapping[str, str]) -> Delivery:
        """Signed as the account does that `params` names. Never raises for what the receiver does."""
        signed, fragment = urldefrag(url)
        address = self._detour.of(signed)
        overrides = Overrides.of(fragment)
        event = str(uuid.uuid4())
        token = self._accounts.token(params.get("AccountSid"))
        headers = {
            "X-Twilio-Signature": signature(token, signed, params),
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
        }
        started = time.monotonic()
        status: int | None = None
        body = ""
        attempts = 0
        for attempt in range(overrides.retries + 1):
            left = overrides.total_s - (time.monotonic() - started)
            if left <= 0:
                break
            attempts += 1
            repeated = {IDEMPOTENCY_HEADER: event} if attempt else {}
            status, body, failure = await self._once(
                address, params, {**headers, **repeated}, overrides, left
            )
            if failure is None or not overrides.retries_after(failure):
                break
        return Delivery(status, attempts, time.monotonic() - started, body)

    async def _once(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        overrides: Overrides,
        left_s: float,
    ) -> tuple[int | None, str, str | None]:
        """Status, body, and the kind of failure (`ct`, `rt`, `4xx`, `5xx`) if it was one."""
        timeout = httpx2.Timeout(overrides.read_s, connect=overrides.connect_s)
        try:
            async with asyncio.timeout(left_s):
                response = await self._http.post(
                    url, data=dict(params), headers=dict(headers), timeout=timeout
                )
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            return None, "", "ct"
        except (httpx2.HTTPError, TimeoutError):
            return None, "", "rt"
        if response.status_code >= 500:
            return response.status_code, response.text, "5xx"
        if response.status_code >= 400:
            return response.status_code, response.text, "4xx"
        return response.status_code, response.text, None
