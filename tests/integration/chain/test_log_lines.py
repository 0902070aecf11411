"""Each line about a message tells whose it is, from the webhook to the last delivery report."""

from __future__ import annotations

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from models.conversations import ReplyStatus
from models.errors import EngineUnavailableError
from models.inference import ChatRequest
from models.messages import DeliveryStatus
from serve_app.testing.engines import ScriptedChatModel
from tests.integration.chain.house import Open, echo, until

pytestmark = pytest.mark.integration

FIELDS = ("correlation_id", "owner", "conversation", "message_id")


async def test_every_line_from_the_webhook_to_the_report(house: Open) -> None:
    tries = 0

    def fail_once(request: ChatRequest) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise EngineUnavailableError("it died", died=True)
        return echo(request)

    with capture_logs(processors=[merge_contextvars]) as logs:
        async with house(chat=ScriptedChatModel(fail_once)) as at:
            sid = await at.write("Hello")
            await at.received()

            async def read() -> bool:
                replies = (await at.progress(sid)).replies
                return bool(replies) and replies[0].delivery is DeliveryStatus.READ

            await until(read)
            await at.settle()
            (reply,) = (await at.progress(sid)).replies
            assert reply.status is ReplyStatus.SENT

    lines = lines_of(logs)
    for event in ("webhook_accepted", "turn failed", "turn_finished", "reply_sent"):
        assert event in lines, event
    for event, entries in lines.items():
        for entry in entries:
            missing = [name for name in FIELDS if not entry.get(name)]
            assert not missing, (event, missing)
    every = [entry for entries in lines.values() for entry in entries]
    assert {entry["correlation_id"] for entry in every} == {every[0]["correlation_id"]}
    assert {entry["message_id"] for entry in every} == {sid}
    assert {entry["owner"] for entry in every} == {"chain"}
    # Before it is on record a conversation goes by the name of its mailbox.
    known = [entry for event in lines for entry in lines[event] if event != "webhook_accepted"]
    assert {entry["conversation"] for entry in known} == {reply.conversation_id}
    reports = lines["delivery_report"]
    assert {entry["provider_message_id"] for entry in reports} == {reply.provider_message_id}
    assert "read" in {entry["status"] for entry in reports}


def lines_of(logs: list[EventDict]) -> dict[str, list[EventDict]]:
    """What was told about the message at info and above."""
    about = ("webhook_", "turn", "reply_", "delivery_report")
    found: dict[str, list[EventDict]] = {}
    for entry in logs:
        if entry["log_level"] != "debug" and entry["event"].startswith(about):
            found.setdefault(entry["event"], []).append(entry)
    return found
