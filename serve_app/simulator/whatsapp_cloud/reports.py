"""Delivery reports of the Cloud API: what becomes of an accepted message."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from serve_app.simulator.callbacks import WINDOW
from serve_app.simulator.faults import FaultDie
from serve_app.simulator.state import SimMessage, SimulatorState, now
from serve_app.simulator.whatsapp_cloud.account import CloudSettings
from serve_app.simulator.whatsapp_cloud.webhooks import CloudPoster
from serve_app.tasks import end_tasks

_STATUSES = ["sent", "delivered", "read"]
_WINDOW_CLOSED = 131047


class CloudCourier:
    """Carries each accepted message to its end in a task of its own."""

    def __init__(
        self,
        *,
        settings: CloudSettings,
        state: SimulatorState,
        poster: CloudPoster,
        die: FaultDie,
    ) -> None:
        self._settings = settings
        self._state = state
        self._poster = poster
        self._die = die
        self._slots = asyncio.Semaphore(32)
        self._tasks: set[asyncio.Task[None]] = set()

    def carry(self, message: SimMessage, echoed: object) -> None:
        """`echoed` comes back with each report."""
        task = asyncio.create_task(self._carry(message, echoed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Drop what is under way."""
        await end_tasks(self._tasks)

    async def _carry(self, message: SimMessage, echoed: object) -> None:
        failure = self._failure(message)
        statuses = _STATUSES if failure is None else ["failed"]
        order = self._die.shuffled(statuses)
        delays = self._settings.status_delays_s
        for reached, status, delay in zip(statuses, order, delays, strict=False):
            await asyncio.sleep(delay)
            message.status = reached
            message.ended = reached == statuses[-1]
            message.updated = now()
            if reached == "failed":
                message.error_code = failure
            else:
                message.sent = message.sent or now()
            self._state.changed(message)
            await self._report(message, status, echoed)

    def _failure(self, message: SimMessage) -> int | None:
        """The code with which it fails, if it does."""
        code = self._die.fails_delivery()
        if code is not None:
            self._state.counts["fail_deliveries"] += 1
            return code
        if not self._settings.enforce_window or message.template:
            return None
        wrote = self._state.last_inbound.get(message.recipient)
        return _WINDOW_CLOSED if wrote is None or now() - wrote > WINDOW else None

    async def _report(self, message: SimMessage, status: str, echoed: object) -> None:
        if self._die.loses_callback():
            self._state.counts["callbacks_lost"] += 1
            return
        report: dict[str, Any] = {
            "id": message.sid,
            "status": status,
            "timestamp": str(int(time.time())),
            "recipient_id": message.recipient,
            "pricing": {"billable": False, "pricing_model": "PMP", "category": "service"},
        }
        if status == "failed":
            late = message.error_code == _WINDOW_CLOSED
            text = "Re-engagement message" if late else "Failed on demand"
            report["errors"] = [{"code": message.error_code, "title": text, "message": text}]
        if echoed is not None:
            report["biz_opaque_callback_data"] = echoed
        for _ in range(2 if self._die.repeats_callback() else 1):
            async with self._slots:
                await self._poster.post({"statuses": [report]})
            self._state.counts["callbacks"] += 1
