"""What lies on a queue was written by this version, or by one before or after it."""

from __future__ import annotations

import json

import pytest

from models.errors import UnprocessableError
from models.jobs import FailedAttempt, Job
from models.messages import DeliveryStatus, InboundMessage, MediaRef, StatusUpdate
from serve_app.conversation.message_handler import parse_job
from serve_app.queue.rows import history_from
from tests.unit.conversation.stage import NOON, message


def newer(text: str, *path: str | int) -> str:
    """With a field that a later version has added, at the top and at `path`."""
    document = json.loads(text)
    inner = document
    for step in path:
        inner = inner[step]
    inner["of_tomorrow"] = document["of_tomorrow_too"] = [1]
    return json.dumps(document)


def test_a_message_of_a_later_version_is_read() -> None:
    written = message().model_copy(update={"media": (MediaRef(url="https://files/1"),)})
    payload = newer(written.model_dump_json(), "media", 0)
    assert parse_job(Job(id="m1", conversation="c", payload=payload)) == written


def test_a_report_and_an_attempt_of_a_later_version_are_read() -> None:
    report = StatusUpdate(
        channel="twilio",
        account_id="AC1",
        message_id="SM1",
        status=DeliveryStatus.SENT,
        received_at=NOON,
    )
    assert StatusUpdate.from_queue(newer(report.model_dump_json())) == report
    attempt = FailedAttempt(at=1.0, consumer="c1", error_type="E", message="m")
    assert history_from(newer(attempt.model_dump_json())) == (attempt,)


def test_what_is_no_message_is_told_by_its_places_not_by_its_words() -> None:
    document = json.loads(message().model_dump_json()) | {"body": ["meet me at the harbour"]}
    del document["sender"]
    with pytest.raises(UnprocessableError) as caught:
        parse_job(Job(id="m1", conversation="c", payload=json.dumps(document)))
    told = str(caught.value)
    assert "m1" in told
    assert "sender" in told
    assert "body" in told
    assert "harbour" not in told


def test_elsewhere_an_unknown_field_is_an_error() -> None:
    with pytest.raises(ValueError, match="of_tomorrow"):
        InboundMessage.model_validate_json(newer(message().model_dump_json()))
