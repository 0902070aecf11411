"""Delivery reports: what becomes of an accepted message, told to its StatusCallback."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from serve_app.simulator.faults import FaultDie
from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimMessage, SimulatorState, now
from serve_app.simulator.webhooks import WebhookPoster
from serve_app.tasks import end_tasks

WINDOW = timedelta(hours=24)
_WINDOW_CLOSED = 63016
_TOO_LATE = "Outside of the allowed window a template is needed"
_FAILED = frozenset({"failed", "undelivered"})


class Courier:
    """Carries each accepted message to its end in a task of its own."""

    def __init__(
        self,
        *,
        settings: SimulatorSettings,
        state: SimulatorState,
        poster: WebhookPoster,
        die: FaultDie,
    ) -> None:
        self._settings = settings
        self._state = state
        self._poster = poster
        self._die = die
        self._slots = asyncio.Semaphore(settings.callback_concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    def carry(self, message: SimMessage) -> None:
        task = asyncio.create_task(self._carry(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Drop what is under way."""
        await end_tasks(self._tasks)

    async def _carry(self, message: SimMessage) -> None:
        failure = self._failure(message)
        statuses = self._life(message, failure)
        order = self._die.shuffled(statuses)
        for status, delay in zip(order, self._settings.status_delays_s, strict=False):
            await asyncio.sleep(delay)
            # The resource moves on in the right order whatever order the reports take.
            self._advance(message, statuses, failure)
            await self._report(message, status)

    def _failure(self, message: SimMessage) -> int | None:
        """The code with which it fails, if it does."""
        code = self._die.fails_delivery()
        if code is not None:
            self._state.counts["fail_deliveries"] += 1
            return code
        if _is_whatsapp(message) and self._settings.enforce_window and not message.template:
            wrote = self._state.last_inbound.get(message.recipient)
            if wrote is None or now() - wrote > WINDOW:
                return _WINDOW_CLOSED
        return None

    def _life(self, message: SimMessage, failure: int | None) -> list[str]:
        if _is_whatsapp(message):
            return ["sent", "delivered", "read"] if failure is None else ["failed"]
        return ["sent", "delivered" if failure is None else "undelivered"]

    def _advance(self, message: SimMessage, statuses: list[str], failure: int | None) -> None:
        position = statuses.index(message.status) + 1 if message.status in statuses else 0
        message.status = statuses[min(position, len(statuses) - 1)]
        message.ended = message.status == statuses[-1]
        message.updated = now()
        if message.status in _FAILED:
            message.error_code = failure
        elif message.sent is None:
            message.sent = now()
        self._state.changed(message)

    async def _report(self, message: SimMessage, status: str) -> None:
        if not message.status_callback:
            return
        if self._die.loses_callback():
            self._state.counts["callbacks_lost"] += 1
            return
        for _ in range(2 if self._die.repeats_callback() else 1):
            async with self._slots:
                await self._poster.post(message.status_callback, self._params(message, status))
            self._state.counts["callbacks"] += 1

    def _params(self, message: SimMessage, status: str) -> dict[str, str]:
        params = {
            "SmsSid": message.sid,
            "SmsStatus": status,
            "MessageStatus": status,
            "MessageSid": message.sid,
            "AccountSid": message.account_sid,
            "To": message.recipient,
            "From": message.sender,
            "ApiVersion": self._settings.api_name,
        }
        if message.messaging_service_sid:
            params["MessagingServiceSid"] = message.messaging_service_sid
        if _is_whatsapp(message):
            params["ChannelInstallSid"] = "XE" + "0" * 32
            params["ChannelPrefix"] = "whatsapp"
            params["ChannelToAddress"] = message.recipient
            if status in {"delivered", "read"}:
                params["EventType"] = status.upper()
        else:
            params["RawDlrDoneDate"] = now().strftime("%y%m%d%H%M")
        if status in _FAILED and message.error_code:
            late = message.error_code == _WINDOW_CLOSED
            params["ErrorCode"] = str(message.error_code)
            params["ErrorMessage"] = _TOO_LATE if late else "Failed on demand"
            params["ChannelStatusMessage"] = params["ErrorMessage"]
        return params


def _is_whatsapp(message: SimMessage) -> bool:
    return message.recipient.startswith("whatsapp:")
