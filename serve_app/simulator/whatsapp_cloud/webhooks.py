"""Posting the Cloud API's webhooks: JSON, signed over its bytes, again and again while it is refused."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from serve_app.simulator.webhooks import Delivery
from serve_app.simulator.whatsapp_cloud.account import CloudSettings

_ATTEMPTS = 3
_WAIT_S = 0.2
"""Meta goes on for days with growing pauses; here it must stay bearable."""


class CloudPoster:
    def __init__(self, *, http: httpx2.AsyncClient, settings: CloudSettings) -> None:
        self._http = http
        self._settings = settings

    async def post(self, value: Mapping[str, Any]) -> Delivery:
        """One change of the field `messages`. Never raises for what the receiver does."""
        settings = self._settings
        metadata = {
            "display_phone_number": settings.display_phone_number,
            "phone_number_id": settings.phone_number_id,
        }
        change = {"messaging_product": "whatsapp", "metadata": metadata, **value}
        document = {
            "object": "whatsapp_business_account",
            "entry": [
                {
                    "id": settings.account_id,
                    "changes": [{"value": change, "field": "messages"}],
                }
            ],
        }
        body = json.dumps(document).encode()
        secret = settings.app_secret.get_secret_value().encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
        }
        started = time.monotonic()
        status: int | None = None
        text = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._http.post(
                    settings.webhook_url, content=body, headers=headers, timeout=10.0
                )
                status, text = answer.status_code, answer.text
            except httpx2.HTTPError:
                status, text = None, ""
            if status == 200 or attempt == _ATTEMPTS:
                return Delivery(status, attempt, time.monotonic() - started, text)
            await asyncio.sleep(_WAIT_S * attempt)
        raise AssertionError("the last attempt returns")
