"""A message's way through the system, with times: what was seen from here, and what the service tells.

All times are milliseconds since the webhook left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast
from urllib.parse import urldefrag

from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimMessage, SimulatorState
from serve_app.simulator.webhooks import WebhookPoster

_NEVER_SENT = {"failed", "canceled", "parked"}


class Service:
    """Asks the service, by requests that are signed as webhooks are."""

    def __init__(self, *, settings: SimulatorSettings, poster: WebhookPoster) -> None:
        self._url = urldefrag(settings.signed_webhook_url).url
        self._account_sid = settings.account_sid
        self._poster = poster

    async def progress(self, message: SimMessage) -> dict[str, Any] | None:
        """Where an inbound message is; None if the service doesn't tell."""
        account = {"AccountSid": message.account_sid} if message.account_sid else {}
        return await self._ask("progress", {"MessageSid": message.sid, **account})

    async def businesses(self) -> list[dict[str, Any]]:
        """Who may be written to: `name` and `numbers`. Empty if the service doesn't tell."""
        answer = await self._ask("businesses", {})
        return [] if answer is None else cast(list[dict[str, Any]], answer.get("businesses", []))

    async def _ask(self, what: str, params: Mapping[str, str]) -> dict[str, Any] | None:
        delivery = await self._poster.post(
            f"{self._url}/{what}#rc=0&tt=5000", {"AccountSid": self._account_sid, **params}
        )
        if delivery.status != 200:
            return None
        try:
            answer: object = json.loads(delivery.body)
        except ValueError:
            return None
        return cast(dict[str, Any], answer) if isinstance(answer, dict) else None


async def journey(
    message: SimMessage, *, state: SimulatorState, service: Service
) -> dict[str, Any]:
    """Steps in the order of their start; `done` once nothing more is to come."""
    told = await service.progress(message) or {}
    zero = message.posted_at
    steps = [_step("webhook", "acknowledged", zero, message.posted_at, message.acknowledged_at)]
    steps += [
        _step("media", "asked for here, by the service", zero, at, None)
        for at in message.fetched_at
    ]
    accepted = _moment(told.get("received_at"))
    answered = accepted
    for timing in cast(list[dict[str, Any]], told.get("timings") or []):
        if accepted is None:
            break
        start = accepted + float(timing["started_s"])
        answered = start + float(timing["seconds"])
        steps.append(_step(timing["step"], "", zero, start, answered))
    replies: list[dict[str, Any]] = []
    ended: list[bool] = []
    for reply in cast(list[dict[str, Any]], told.get("replies") or []):
        sent = state.get(str(reply.get("provider_message_id") or ""))
        marks = [] if sent is None else [_mark(name, zero, at) for name, at in sent.trail]
        replies.append(
            {
                "status": reply["status"],
                "body": reply["body"][:120],
                "steps": _sending(reply, sent, answered=answered, zero=zero),
                "marks": marks,
            }
        )
        ended.append(reply["status"] in _NEVER_SENT or (sent is not None and sent.ended))
    steps.sort(key=lambda step: (step["at_ms"], step["ms"] or 0.0))
    return {
        "message_sid": message.sid,
        "webhook_status": message.webhook_status,
        "state": told.get("state"),
        "attempts": told.get("attempts", 0),
        "error": told.get("error"),
        "transcript": told.get("transcript"),
        "correlation_id": told.get("correlation_id"),
        "steps": steps,
        "replies": replies,
        "known": bool(told),
        "done": told.get("state") == "dead" or bool(told.get("turn_id") and all(ended)),
    }


def _sending(
    reply: Mapping[str, Any], sent: SimMessage | None, *, answered: float | None, zero: float | None
) -> list[dict[str, Any]]:
    """From the answer to the reply's arrival here."""
    since = _moment(reply.get("sending_since"))
    if answered is None or since is None:
        return []
    arrived = sent.trail[0][1] if sent is not None and sent.trail else None
    return [
        _step(
            "outbound", "stored with the turn, then in the outbound queue", zero, answered, since
        ),
        _step("handover", "the sender's request to Twilio", zero, since, arrived),
    ]


def _step(
    name: str, note: str, zero: float | None, start: float | None, end: float | None
) -> dict[str, Any]:
    return {
        "name": name,
        "note": note,
        "at_ms": _ms(zero, start) or 0.0,
        "ms": None if start is None or end is None else round((end - start) * 1000, 1),
    }


def _mark(name: str, zero: float | None, at: float) -> dict[str, Any]:
    return {"name": name, "at_ms": _ms(zero, at)}


def _ms(zero: float | None, at: float | None) -> float | None:
    return None if zero is None or at is None else round((at - zero) * 1000, 1)


def _moment(text: object) -> float | None:
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
