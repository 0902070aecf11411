"""What Twilio tells of an account: its state, its numbers and WhatsApp senders, and their webhooks.

Shapes: https://www.twilio.com/docs/usage/api/account,
https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource,
https://www.twilio.com/docs/whatsapp/api/senders.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimulatorState

_DEMO_SENDER = "whatsapp:+15550142700"
_RETRIES = "#rc=3&rp=ct,rt,5xx"


def add_account_routes(
    router: APIRouter, *, settings: SimulatorSettings, state: SimulatorState
) -> None:
    """Any number that is asked for belongs to the account, unless the settings name those that do. Then
    its WhatsApp senders are those that somebody has written to, and the demo café's."""
    accounts = f"/{settings.api_name}/Accounts"
    webhook = (settings.public_webhook_url or settings.webhook_url).partition("#")[0] + _RETRIES

    def belongs(address: str) -> bool:
        return not settings.numbers or address in settings.numbers

    @router.get(f"{accounts}/{{account_sid}}.json")
    async def account(account_sid: str) -> JSONResponse:
        return JSONResponse(
            {
                "sid": account_sid,
                "friendly_name": "Simulated account",
                "status": "active",
                "type": "Full",
                "uri": f"{accounts}/{account_sid}.json",
            }
        )

    @router.get(f"{accounts}/{{account_sid}}/IncomingPhoneNumbers.json")
    async def numbers(account_sid: str, PhoneNumber: str = "") -> JSONResponse:  # noqa: N803 - Twilio's
        found = [PhoneNumber] if PhoneNumber and belongs(PhoneNumber) else []
        return JSONResponse(
            {
                "incoming_phone_numbers": [
                    {
                        "account_sid": account_sid,
                        "phone_number": number,
                        "sms_url": webhook,
                        "sms_method": "POST",
                    }
                    for number in found
                ]
            }
        )

    @router.get("/v2/Channels/Senders")
    async def senders() -> JSONResponse:
        written_to = {m.recipient for m in state.newest_first() if m.direction == "inbound"}
        known = settings.numbers or sorted({_DEMO_SENDER, *written_to})
        return JSONResponse(
            {
                "senders": [
                    {
                        "sid": f"XE{position:032d}",
                        "status": "ONLINE",
                        "sender_id": number,
                        "webhook": {"callback_url": webhook, "callback_method": "POST"},
                    }
                    for position, number in enumerate(known)
                    if number.startswith("whatsapp:")
                ]
            }
        )

    _ = (account, numbers, senders)
