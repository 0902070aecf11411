"""Which lines belong together, also when that shows only later."""

from __future__ import annotations

import json
from typing import Any

from serve_app.ops.log_trail import Columns, Trail, read_entries

LINES: list[dict[str, Any]] = [
    {
        "service": "ingress",
        "event": "webhook_accepted",
        "correlation_id": "c1",
        "message_id": "SM1",
    },
    {
        "service": "ingress",
        "event": "webhook_accepted",
        "correlation_id": "c2",
        "message_id": "SM2",
    },
    {"service": "worker", "event": "turn_finished", "correlation_id": "c1", "conversation": "v1"},
    {"service": "worker", "event": "turn_finished", "correlation_id": "c2", "conversation": "v2"},
    {"service": "sender", "event": "reply_sent", "correlation_id": "c1", "reply_id": "r1"},
    {"service": "sender", "event": "delivery_report", "reply_id": "r1", "message_id": "SMout"},
    {"service": "worker", "event": "turn_finished", "correlation_id": "c3", "conversation": "v1"},
]


def shown(wanted: str) -> list[str]:
    trail = Trail(wanted)
    return [
        f"{entry['service']}:{entry.get('correlation_id') or entry.get('reply_id')}"
        for line in LINES
        for entry in trail.feed(line)
    ]


ONE_TURN = ["ingress:c1", "worker:c1", "sender:c1", "sender:r1"]


def test_a_correlation_id_leads_to_the_delivery_report_and_no_other_turn() -> None:
    assert shown("c1") == ONE_TURN


def test_a_message_leads_to_its_turn() -> None:
    assert shown("SM1") == ONE_TURN


def test_a_conversation_has_all_its_turns_and_the_webhooks_before_them() -> None:
    assert shown("v1") == [*ONE_TURN, "worker:c3"]


def test_a_reply_brings_along_what_came_before_it() -> None:
    assert shown("r1") == ONE_TURN


def test_nothing_of_a_stranger() -> None:
    assert shown("elsewhere") == []


def test_lines_that_are_no_json_are_left_out() -> None:
    assert list(read_entries(["plain", "{broken", json.dumps(LINES[0]), "[1]"])) == [LINES[0]]


def test_columns_tell_the_time_since_the_first_line() -> None:
    columns = Columns()
    first = {"timestamp": "2026-01-01T10:00:00.000Z", "service": "ingress", "event": "a", "n": 1}
    second = {
        "timestamp": "2026-01-01T10:00:01.250Z",
        "level": "error",
        "event": "b",
        "x": "y" * 999,
    }
    assert columns.line(first).split() == ["10:00:00.000", "+0.000", "ingress", "a", "n=1"]
    line = columns.line(second)
    assert "+1.250" in line
    assert "‼" in line
    assert len(line) < 240
