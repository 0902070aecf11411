from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from models.errors import SendDeferredError, SendRejectedError, SendUnknownError
from serve_app.channels.twilio.errors import CREDENTIALS_S, FAULTS, HOURS_S, Fault, send_error
from serve_app.channels.twilio.http import answer_error, retry_after_s


def raised(status, code, retry_after=None):
    return send_error(status=status, code=code, message="no", retry_after=retry_after)


@pytest.mark.parametrize("code", [20429, 63018, 63017, 63009, 63010, 63012, 30001, 21611, 30022])
def test_soon(code):
    error = raised(400, code, retry_after=3.0)
    assert isinstance(error, SendDeferredError)
    assert (error.retry_after, error.code) == (3.0, code)


@pytest.mark.parametrize("code", [63038, 30023, 30003, 30008])
def test_hours_later(code):
    error = raised(429, code, retry_after=1.0)
    assert isinstance(error, SendDeferredError)
    assert error.retry_after == HOURS_S


def test_credentials_are_waited_for():
    for code in (20003, None):
        error = raised(401, code)
        assert isinstance(error, SendDeferredError)
        assert error.retry_after == CREDENTIALS_S


@pytest.mark.parametrize("code", [21211, 21610, 63016, 63019, 21617, 30007, 63033, 99999, None])
def test_never(code):
    error = raised(400, code)
    assert isinstance(error, SendRejectedError)
    assert error.code == code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, None),
        (500, 20500),
        (400, 20500),
        (503, 20429),
        (502, 21211),
        (408, None),
        (302, None),
        (200, 1),
    ],
)
def test_perhaps_sent(status, code):
    assert isinstance(raised(status, code), SendUnknownError)


def test_too_many_requests_without_a_known_code():
    error = raised(429, None, retry_after=2.0)
    assert isinstance(error, SendDeferredError)
    assert error.retry_after == 2.0


def test_special_codes_say_why():
    assert FAULTS[21610] is Fault.OPTED_OUT
    assert FAULTS[63016] is Fault.TEMPLATE_NEEDED
    assert FAULTS[63019] is Fault.BAD_MEDIA


def test_retry_after():
    assert retry_after_s("7") == 7.0
    assert retry_after_s(None) is None
    assert retry_after_s("soon") is None
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after_s(later) or 0) <= 30
    assert retry_after_s(format_datetime(datetime.now(UTC) - timedelta(hours=1))) == 0.0


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b'{"code": 21211, "message": "Invalid", "status": 400}', 21211, "Invalid"),
        (b'{"type": "t", "title": "Bad", "status": 400, "code": 20001}', 20001, "Bad"),
        (b"<html>", None, "Bad Request"),
        (b"[1]", None, "Bad Request"),
        (b'{"code": "x"}', None, "Bad Request"),
    ],
)
def test_both_shapes_of_errors_and_none(content, code, message):
    error = answer_error(httpx2.Response(400, content=content, headers={"Retry-After": "2"}))
    assert (error.status, error.code, str(error), error.retry_after) == (400, code, message, 2.0)
