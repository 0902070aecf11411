"""Logs of one process: structlog over the standard library, JSON or pretty.

Whoever handles a message binds `correlation_id`, `owner`, `conversation` and the message's id with
`structlog.contextvars`; every line written meanwhile carries them, third-party lines included.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from logging.handlers import WatchedFileHandler
from typing import Any, cast

import structlog
from structlog.typing import Processor

from serve_app.ops.redaction import redact_event
from serve_app.settings import LogSettings

LOG_FILE_VARIABLE = "RECADO_LOG_FILE"
"""Names a file that all processes of one machine append JSON lines to, instead of standard error."""

LOOK_EVERY_S = 1.0

# They log every request at info, with addresses that our own lines already give.
_CHATTY = ("httpx2", "httpcore", "twilio", "urllib3", "uvicorn.access", "asyncio", "pogo_core")


def configure_logging(settings: LogSettings, *, service: str) -> None:
    """Set up this process's logs; safe to call again. `service` names the process in each line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Stamp(service),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _handler(settings)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact_event,
                *_renderers(pretty=_is_pretty(settings)),
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        if getattr(old, "recado", False):
            root.removeHandler(old)
            old.close()
    handler.recado = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] - our mark
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """structlog's, without the second record that it makes of each of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        event: object = record.msg
        if not isinstance(event, dict) or not hasattr(record, "_logger"):
            return super().format(record)
        line: Any = {**cast("dict[str, Any]", event), "_record": record, "_from_structlog": True}
        for processor in self.processors:
            line = processor(None, record.levelname.lower(), line)
        return str(line)


class _LogFile(WatchedFileHandler):
    """Looks once a second whether the file was rotated, not for every line."""

    def __init__(self, path: str) -> None:
        self._next_look = 0.0
        # Appending keeps the lines of several processes apart; a rotated file is opened anew.
        super().__init__(path, encoding="utf-8", delay=True)

    def reopenIfNeeded(self) -> None:  # noqa: N802 -- the base's name
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            super().reopenIfNeeded()


class _Stamp:
    """Adds which process wrote a line."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(
        self, _logger: object, _method: str, event_dict: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event_dict["service"] = self._service
        event_dict["pid"] = os.getpid()
        return event_dict


def _handler(settings: LogSettings) -> logging.Handler:
    path = os.environ.get(LOG_FILE_VARIABLE)
    if path and settings.format != "pretty":
        return _LogFile(path)
    return logging.StreamHandler(sys.stderr)


def _is_pretty(settings: LogSettings) -> bool:
    if settings.format != "auto":
        return settings.format == "pretty"
    return not os.environ.get(LOG_FILE_VARIABLE) and sys.stderr.isatty()


def _renderers(*, pretty: bool) -> list[Processor]:
    if pretty:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]
