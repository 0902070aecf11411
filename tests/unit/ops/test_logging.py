"""Logs carry the context and hold no phone number and no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from serve_app.ops.logging import LOG_FILE_VARIABLE, configure_logging
from serve_app.ops.redaction import is_secret_key, mask_phone_numbers, redact
from serve_app.settings import LogSettings

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def clean_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Captured:
    monkeypatch.delenv(LOG_FILE_VARIABLE, raising=False)
    return capsys


def _read(lines: Captured) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("from US.13491208655302741918", "from US.***18"),
        (
            "twilio:AC1:whatsapp:+15550001111:US.ENT.11815799212886844830",
            "twilio:AC1:whatsapp:+***11:US.ENT.***30",
        ),
        ("BR.a1b2c3d4e5, then", "BR.***e5, then"),
        (
            "US.1 and THUS.134912086 and the DB.OperationalError",
            "US.1 and THUS.134912086 and the DB.OperationalError",
        ),
        ("from whatsapp:+5511999990042", "from whatsapp:+***42"),
        ("To=%2B15005550006&Body=x", "To=+***06&Body=x"),
        ("call +55 (11) 99999-0042 now", "call +***42 now"),
        ("wa_id 5511999990042", "wa_id ***42"),
        ("stream 1732291749123-0", "stream 1732291749123-0"),
        ("2026-11-22T16:29:09.123456+00:00", "2026-11-22T16:29:09.123456+00:00"),
        ("SM0123456789abcdef0123456789abcdef", "SM0123456789abcdef0123456789abcdef"),
        ("0.123456789012 s", "0.123456789012 s"),
        ("12 of 30", "12 of 30"),
    ],
)
def test_phone_numbers_keep_their_last_two_digits(text: str, masked: str) -> None:
    assert mask_phone_numbers(text) == masked


def test_a_url_loses_its_password() -> None:
    assert redact("redis://user:hunter2@cache:6379/0") == "redis://user:[removed]@cache:6379/0"
    assert redact("rediss://:hunter2@cache/0") == "rediss://:[removed]@cache/0"


@pytest.mark.parametrize(
    "key",
    ["token", "auth_token", "Authorization", "api_key", "X-Api-Key", "client-secret", "password"],
)
def test_secret_keys_are_known(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["tokens", "max_tokens", "author", "secretary", "key", "passage"])
def test_other_keys_are_not_secret(key: str) -> None:
    assert not is_secret_key(key)


def test_a_line_carries_the_context_and_is_masked_at_every_depth(lines: Captured) -> None:
    configure_logging(LogSettings(format="json"), service="worker")
    structlog.contextvars.bind_contextvars(correlation_id="c-1", owner="o-1")
    structlog.get_logger("x").info(
        "message recorded",
        contact="+5511999990042",
        headers={"authorization": "Basic abc", "from": ["+5511999990042"]},
        auth_token="abc",
    )
    (line,) = _read(lines)
    assert line["event"] == "message recorded"
    assert line["correlation_id"] == "c-1"
    assert line["owner"] == "o-1"
    assert line["service"] == "worker"
    assert line["level"] == "info"
    assert line["contact"] == "+***42"
    assert line["headers"] == {"authorization": "[removed]", "from": ["+***42"]}
    assert line["auth_token"] == "[removed]"


def test_third_party_lines_and_tracebacks_are_masked_too(lines: Captured) -> None:
    configure_logging(LogSettings(format="json"), service="worker")
    structlog.contextvars.bind_contextvars(correlation_id="c-2")
    try:
        raise ValueError("bad number +5511999990042")
    except ValueError:
        logging.getLogger("third.party").exception("failed for %s", "+5511999990042")
    (line,) = _read(lines)
    assert "5511999990042" not in json.dumps(line)
    assert line["event"] == "failed for +***42"
    assert line["correlation_id"] == "c-2"
    assert "ValueError: bad number +***42" in str(line["exception"])


def test_the_level_is_respected_and_configuring_twice_writes_once(lines: Captured) -> None:
    configure_logging(LogSettings(format="json"), service="worker")
    configure_logging(LogSettings(format="json", level="warning"), service="worker")
    logger = structlog.get_logger("x")
    logger.info("quiet")
    logger.warning("loud")
    assert [line["event"] for line in _read(lines)] == ["loud"]


def test_pretty_lines_are_no_json(lines: Captured) -> None:
    configure_logging(LogSettings(format="pretty"), service="worker")
    structlog.get_logger("x").info("hello", contact="+5511999990042")
    written = lines.readouterr().err
    assert "hello" in written
    assert "+***42" in written
    with pytest.raises(json.JSONDecodeError):
        json.loads(written)


def test_a_log_file_replaces_standard_error(
    lines: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "recado.log"
    monkeypatch.setenv(LOG_FILE_VARIABLE, str(path))
    configure_logging(LogSettings(), service="sender")
    structlog.get_logger("x").info("to the file")
    assert json.loads(path.read_text())["event"] == "to the file"
    assert lines.readouterr().err == ""


def test_a_rotated_log_file_is_opened_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "recado.log"
    monkeypatch.setenv(LOG_FILE_VARIABLE, str(path))
    monkeypatch.setattr("serve_app.ops.logging.LOOK_EVERY_S", 0.0)
    configure_logging(LogSettings(), service="sender")
    structlog.get_logger("x").info("before")
    path.rename(tmp_path / "recado.log.1")
    structlog.get_logger("x").info("after")
    assert json.loads(path.read_text())["event"] == "after"


def test_our_own_lines_carry_their_traceback(lines: Captured) -> None:
    configure_logging(LogSettings(format="json"), service="worker")
    try:
        raise ValueError("bad number +5511999990042")
    except ValueError:
        structlog.get_logger("x").exception("failed", contact="+5511999990042")
    (line,) = _read(lines)
    assert (line["event"], line["contact"], line["level"]) == ("failed", "+***42", "error")
    assert "ValueError: bad number +***42" in str(line["exception"])
    assert not [name for name in line if name.startswith("_")]
