"""Whether an account at Twilio is as the service needs it: credentials, webhook addresses, clock.

https://www.twilio.com/docs/usage/api/account, …/phone-numbers/api/incomingphonenumber-resource,
…/messaging/api/service-resource, …/whatsapp/api/senders.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urldefrag

import httpx2

from models.accounts import PhoneNumber, TwilioAccount
from models.findings import Finding, clock_finding
from serve_app.channels.twilio.signature import sign
from serve_app.settings import TwilioSettings

INBOUND_PATH = "/webhooks/twilio"
STATUS_PATH = "/webhooks/twilio/status"
CLOCK_LIMIT_S = 5.0
"""Twilio's Date header is in whole seconds."""
_PROBE = "SM" + "0" * 32
"""A message that no provider knows: a report about it changes nothing."""
_RETRIES = "#rc=3&rp=ct,rt,5xx"


class TwilioInspector:
    """Reads only, but for a delivery report to our own webhook about a message that doesn't exist."""

    def __init__(
        self, *, settings: TwilioSettings, public_url: str, http: httpx2.AsyncClient
    ) -> None:
        self._settings = settings
        self._public_url = public_url.rstrip("/")
        self._http = http

    async def inspect(self, account: TwilioAccount) -> list[Finding]:
        """Never raises for what Twilio or the webhook answers or doesn't."""
        findings = await self._credentials(account)
        if all(finding.level != "failed" for finding in findings):
            for number in account.phone_numbers:
                findings.append(await self._number(account, number))
            if account.messaging_service_sid:
                findings.append(await self._service(account, account.messaging_service_sid))
        findings.append(await self._round_trip(account))
        return findings

    async def _credentials(self, account: TwilioAccount) -> list[Finding]:
        check = f"{account.id} credentials"
        url = f"{self._settings.api_url}/2010-04-01/Accounts/{account.account_sid}.json"
        try:
            answer = await self._get(url, account)
        except httpx2.HTTPError as error:
            return [_unreachable(check, error)]
        if answer.status_code == 401:
            action = f"recado accounts rotate {account.id}: the token that is stored isn't valid."
            return [Finding(check=check, level="failed", text="refused", action=action)]
        document = _document(answer)
        status = str(document.get("status", answer.status_code))
        well = answer.status_code == 200 and status == "active"
        findings = [
            Finding(
                check=check,
                level="ok" if well else "failed",
                text=status,
                action="" if well else "Look at the account in Twilio's console.",
            )
        ]
        date = answer.headers.get("date")
        if date is not None:
            findings.append(_clock(date))
        return findings

    async def _number(self, account: TwilioAccount, number: PhoneNumber) -> Finding:
        check = f"{account.id} webhook of {number.address}"
        whatsapp = number.address.startswith("whatsapp:")
        try:
            if whatsapp:
                answer = await self._get(
                    f"{self._settings.messaging_url}/v2/Channels/Senders",
                    account,
                    {"Channel": "whatsapp", "PageSize": "1000"},
                )
            else:
                answer = await self._get(
                    f"{self._settings.api_url}/2010-04-01/Accounts/{account.account_sid}"
                    "/IncomingPhoneNumbers.json",
                    account,
                    {"PhoneNumber": number.address},
                )
        except httpx2.HTTPError as error:
            return _unreachable(check, error)
        document = _document(answer)
        for sender in document.get("senders" if whatsapp else "incoming_phone_numbers") or ():
            if whatsapp and sender.get("sender_id") == number.address:
                return self._webhook(check, _document_of(sender.get("webhook")).get("callback_url"))
            if not whatsapp and sender.get("phone_number") == number.address:
                return self._webhook(check, sender.get("sms_url"))
        if account.messaging_service_sid:
            return Finding(
                check=check, level="ok", text="not listed; its messaging service answers"
            )
        return Finding(
            check=check,
            level="failed",
            text=f"Twilio lists no such number in this account ({answer.status_code})",
            action="Mend the owner's file, or buy or move the number at Twilio.",
        )

    async def _service(self, account: TwilioAccount, sid: str) -> Finding:
        check = f"{account.id} webhook of {sid}"
        try:
            answer = await self._get(f"{self._settings.messaging_url}/v1/Services/{sid}", account)
        except httpx2.HTTPError as error:
            return _unreachable(check, error)
        document = _document(answer)
        if document.get("use_inbound_webhook_on_number"):
            return Finding(check=check, level="ok", text="left to its numbers")
        return self._webhook(check, document.get("inbound_request_url"))

    def _webhook(self, check: str, configured: object) -> Finding:
        wanted = self._public_url + INBOUND_PATH
        address, overrides = urldefrag(str(configured or ""))
        if address != wanted:
            return Finding(
                check=check,
                level="failed",
                text=f"it calls {address or 'nothing'}",
                action=f"At Twilio let incoming messages POST to {wanted}{_RETRIES}",
            )
        if "rc=" not in overrides:
            return Finding(
                check=check,
                level="warning",
                text="Twilio retries once only, and not after errors or timeouts",
                action=f"At Twilio put {_RETRIES} behind the address.",
            )
        return Finding(check=check, level="ok", text=str(configured))

    async def _round_trip(self, account: TwilioAccount) -> Finding:
        """Signed as Twilio would, to the public address; and the same with a forged signature."""
        check = f"{account.id} signature round trip"
        url = self._public_url + STATUS_PATH
        form = {"AccountSid": account.account_sid, "MessageSid": _PROBE, "MessageStatus": "sent"}
        good = sign(account.auth_token.get_secret_value(), url, form.items())
        try:
            accepted = await self._post(url, form, good)
            forged = await self._post(url, form, "Zm9yZ2Vk")
        except httpx2.HTTPError as error:
            return Finding(
                check=check,
                level="failed",
                text=f"{url} can't be reached: {type(error).__name__}",
                action="Look at DNS, TLS and the proxy in front of the service.",
            )
        if accepted == 200 and forged == 403:
            return Finding(check=check, level="ok", text=f"{url} accepts ours and refuses others")
        action = (
            "RECADO_PUBLIC_URL must be the address that Twilio calls, and the proxy must pass path, query "
            "and body on unchanged."
        )
        return Finding(
            check=check,
            level="failed",
            text=f"signed: {accepted}, forged: {forged} (200 and 403 are right)",
            action=action,
        )

    async def _get(
        self, url: str, account: TwilioAccount, params: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        credentials = httpx2.BasicAuth(account.account_sid, account.auth_token.get_secret_value())
        return await self._http.get(url, params=params, auth=credentials)

    async def _post(self, url: str, form: Mapping[str, str], signature: str) -> int:
        headers = {"X-Twilio-Signature": signature}
        return (await self._http.post(url, data=dict(form), headers=headers)).status_code


def _document_of(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _document(answer: httpx2.Response) -> dict[str, Any]:
    try:
        return _document_of(answer.json())
    except ValueError:
        return {}


def _clock(date: str) -> Finding:
    try:
        there = parsedate_to_datetime(date)
    except ValueError:
        return Finding(check="twilio clock", level="warning", text=f"unreadable: {date}")
    ahead_s = (there.replace(tzinfo=there.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return clock_finding("twilio clock", ahead_s, limit_s=CLOCK_LIMIT_S)


def _unreachable(check: str, error: Exception) -> Finding:
    return Finding(
        check=check,
        level="failed",
        text=f"Twilio can't be reached: {type(error).__name__}",
        action="Look at the network, the proxy and status.twilio.com.",
    )
