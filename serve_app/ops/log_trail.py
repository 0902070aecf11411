"""Follows one conversation, message or correlation id through the logs of all processes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

_FOLLOWED = ("correlation_id", "reply_id", "turn_id", "message_id", "provider_message_id")
"""Ids that lead from one line to others. A conversation doesn't: it would lead to all its turns."""
_KEPT = 20_000
"""Lines that may turn out to belong to it once another line shows the connection."""
_HIDDEN = frozenset({"event", "level", "logger", "timestamp", "service", "pid", *_FOLLOWED})

Entry = Mapping[str, Any]


class Trail:
    """`feed` lines in their order; what belongs to `wanted` comes back, as soon as it is known to."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._known = {wanted}
        self._aside: deque[tuple[Entry, frozenset[str]]] = deque(maxlen=_KEPT)

    def feed(self, entry: Entry) -> list[Entry]:
        """A line may bring along earlier ones, such as the webhook of a message whose conversation is only
        known later; those come first."""
        ids = _ids(entry)
        if not (self._known & ids or entry.get("conversation") == self._wanted):
            if ids:
                self._aside.append((entry, ids))
            return []
        found = [entry]
        new = ids - self._known
        while new:
            self._known |= new
            earlier = [(e, i) for e, i in self._aside if i & self._known]
            if not earlier:
                break
            chosen = {id(e) for e, _ in earlier}
            self._aside = deque(
                ((e, i) for e, i in self._aside if id(e) not in chosen), maxlen=_KEPT
            )
            found = [e for e, _ in earlier] + found
            new = frozenset(name for _, i in earlier for name in i) - self._known
        return found


def read_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Lines that aren't JSON objects are left out."""
    for line in lines:
        if line.startswith("{"):
            try:
                entry: object = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield cast("dict[str, Any]", entry)


class Columns:
    """Entries as lines of text: time, seconds since the first, process, event, the rest."""

    def __init__(self) -> None:
        self._began: datetime | None = None

    def line(self, entry: Entry) -> str:
        at = _time(entry)
        since = ""
        clock = "            "
        if at is not None:
            self._began = self._began or at
            clock = at.strftime("%H:%M:%S.%f")[:-3]
            since = f"+{(at - self._began).total_seconds():.3f}"
        rest = " ".join(
            f"{key}={_short(value)}" for key, value in entry.items() if key not in _HIDDEN
        )
        level = str(entry.get("level", ""))
        mark = {"warning": "!", "error": "‼", "critical": "‼"}.get(level, " ")
        service, event = str(entry.get("service", "")), str(entry.get("event", ""))
        return f"{clock} {since:>9} {mark} {service:<11} {event:<24} {rest}".rstrip()


def _ids(entry: Entry) -> frozenset[str]:
    return frozenset(
        value for name in _FOLLOWED if isinstance(value := entry.get(name), str) and value
    )


def _time(entry: Entry) -> datetime | None:
    try:
        return datetime.fromisoformat(str(entry.get("timestamp")))
    except ValueError:
        return None


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    first = text.strip().splitlines()[-1] if text.strip() else ""
    return first if len(first) <= 160 else first[:159] + "…"
