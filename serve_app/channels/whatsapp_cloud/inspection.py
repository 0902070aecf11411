"""Whether an account of the WhatsApp Cloud API is as the service needs it, as far as can be told from here.

Meta isn't asked: the app's secret signs webhooks and is sent nowhere, and what an app subscribes to is told
to its own administrators only.
"""

from __future__ import annotations

import json

import httpx2
from pydantic import SecretStr

from models.accounts import TwilioAccount
from models.findings import Finding
from serve_app.channels.whatsapp_cloud.signature import SIGNATURE_HEADER, sign

WEBHOOK_PATH = "/webhooks/whatsapp_cloud"


class WhatsAppCloudInspector:
    """Calls nothing but our own webhook, with news about no message."""

    def __init__(
        self, *, public_url: str, verify_token: SecretStr | None, http: httpx2.AsyncClient
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._verify_token = verify_token
        self._http = http

    async def inspect(self, account: TwilioAccount) -> list[Finding]:
        """Never raises for what the webhook answers or doesn't."""
        return [
            self._access_token(account),
            self._handshake(account),
            await self._round_trip(account),
        ]

    def _access_token(self, account: TwilioAccount) -> Finding:
        check = f"{account.id} access token"
        if account.access_token is None:
            action = (
                "Give the account an access token (docs/owners.md): nothing can be sent without it."
            )
            return Finding(check=check, level="failed", text="none is stored", action=action)
        return Finding(check=check, level="ok", text="stored; Meta isn't asked whether it is valid")

    def _handshake(self, account: TwilioAccount) -> Finding:
        check = f"{account.id} verify token"
        if self._verify_token is None:
            action = (
                "Set RECADO_WHATSAPP_VERIFY_TOKEN to what Meta's App Dashboard has; it is needed when the "
                "webhook's address is entered there."
            )
            return Finding(check=check, level="warning", text="not set", action=action)
        return Finding(check=check, level="ok", text="set")

    async def _round_trip(self, account: TwilioAccount) -> Finding:
        """Signed as Meta would, to the public address; and the same with a forged signature."""
        check = f"{account.id} signature round trip"
        url = self._public_url + WEBHOOK_PATH
        entry = {"id": account.account_sid, "changes": list[object]()}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        try:
            accepted = await self._post(url, body, account.auth_token.get_secret_value())
            forged = await self._post(url, body, "forged")
        except httpx2.HTTPError as error:
            return Finding(
                check=check,
                level="failed",
                text=f"{url} can't be reached: {type(error).__name__}",
                action="Look at DNS, TLS and the proxy in front of the service.",
            )
        if (accepted, forged) == (200, 403):
            return Finding(check=check, level="ok", text=f"{url} accepts ours and refuses others")
        return Finding(
            check=check,
            level="failed",
            text=f"signed: {accepted}, forged: {forged} (200 and 403 are right)",
            action="RECADO_PUBLIC_URL must lead here, and the proxy must pass bodies on unchanged.",
        )

    async def _post(self, url: str, body: bytes, secret: str) -> int:
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(secret, body)}
        return (await self._http.post(url, content=body, headers=headers)).status_code
