"""What Twilio refuses at once when a message is created, with its error codes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimulatorState

_MAX_BODY = 1600
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_WHATSAPP = re.compile(r"whatsapp:(\+[1-9]\d{6,14}|[A-Z]{2}\.[A-Za-z0-9]{1,128})")


class RestError(Exception):
    """An answer that isn't a success."""

    def __init__(
        self, status: int, code: int, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def check_new_message(
    form: Mapping[str, str], *, settings: SimulatorSettings, state: SimulatorState
) -> None:
    """Raises `RestError` as https://www.twilio.com/docs/api/errors describes."""
    recipient, sender, body = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    if not recipient:
        raise RestError(400, 21604, "A 'To' phone number is required.")
    if not sender and not form.get("MessagingServiceSid"):
        raise RestError(400, 21603, "A 'From' phone number is required.")
    if not (_PHONE.fullmatch(recipient) or _WHATSAPP.fullmatch(recipient)):
        raise RestError(400, 21211, f"Invalid 'To' Phone Number: {recipient}")
    if not body and not form.get("MediaUrl") and not form.get("ContentSid"):
        raise RestError(400, 21602, "Message body is required.")
    if len(body) > _MAX_BODY:
        raise RestError(
            400, 21617, f"The concatenated message body exceeds the {_MAX_BODY} character limit."
        )
    if sender:
        if sender == recipient:
            raise RestError(400, 21266, "'To' and 'From' number cannot be the same")
        whatsapp = sender.startswith("whatsapp:")
        if settings.numbers and sender not in settings.numbers:
            code = 63007 if whatsapp else 21606
            raise RestError(400, code, f"The 'From' address {sender} isn't the account's.")
        if whatsapp != recipient.startswith("whatsapp:"):
            raise RestError(400, 21910, "'From' and 'To' must be of the same channel.")
    if recipient in state.opted_out:
        raise RestError(400, 21610, "Attempt to send to unsubscribed recipient")
    callback = form.get("StatusCallback")
    if callback is not None and not callback.startswith(("http://", "https://")):
        raise RestError(400, 21609, f"The 'StatusCallback' URL {callback} is not a valid URL.")
