"""Dead letters: list, filter, look at, replay, discard."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import Response

from models.console import Role
from models.errors import PermanentError
from models.jobs import DeadLetter, DeadReason
from serve_app.console.visits import NotFoundError, Visit
from serve_app.ports import Queue

_PAGE = 100
LOOK_S = 0.2
"""That one page looks through letters for those that fit; a link goes on from there."""
_AT_ONCE = 1_000
"""Letters that one form replays or discards at most."""
_ON_ONE_LINE = 100
"""Letters that one line of the activities names."""


@dataclass(frozen=True)
class Filter:
    queue: str
    reason: str
    search: str

    def __bool__(self) -> bool:
        """Whether a letter must be looked at to know that it fits."""
        return bool(self.reason or self.search)

    def fits(self, letter: DeadLetter) -> bool:
        if self.reason and letter.reason.value != self.reason:
            return False
        if not self.search:
            return True
        job = letter.job
        last = job.history[-1] if job.history else None
        told = f"{last.error_type} {last.message}" if last else ""
        text = f"{letter.id} {job.id} {job.payload} {told} {' '.join(job.trace.values())}"
        return self.search.lower() in text.lower()


@dataclass(frozen=True)
class Found:
    """`after` is where to go on; empty if all were looked at."""

    letters: Sequence[DeadLetter]
    looked_at: int
    after: str


async def listing(visit: Visit) -> Response:
    wanted = Filter(visit.query("queue"), visit.query("reason"), visit.query("q").strip()[:200])
    after = visit.query("after")[:500]
    queues = _queues(visit, wanted.queue)
    total = sum([(await queue.backlog()).dead for queue in queues])
    found = await _find(queues, wanted, after=after, most=_PAGE, limit_s=LOOK_S)
    known = total if not wanted else len(found.letters) if not (after or found.after) else None
    return visit.show(
        "dead_letters.html",
        letters=found.letters,
        looked_at=found.looked_at,
        after=found.after,
        first=not after,
        total=total,
        known=known,
        filtered=bool(wanted),
        at_once=_AT_ONCE,
        queues=list(visit.parts.queues),
        reasons=[reason.value for reason in DeadReason],
        queue=wanted.queue,
        reason=wanted.reason,
        search=wanted.search,
    )


async def one(visit: Visit) -> Response:
    queue = _queue(visit, visit.path("queue"))
    letter = await queue.dead_get(visit.path("dead_id"))
    if letter is None:
        raise NotFoundError(
            "There is no such dead letter (any more): it was replayed or discarded."
        )
    return visit.show("dead_letter.html", letter=letter)


async def replay(visit: Visit) -> Response:
    async def act(queue: str, dead_id: str) -> bool:
        return await _queue(visit, queue).replay(dead_id)

    return await _each(visit, "replay", "Replayed", act)


async def discard(visit: Visit) -> Response:
    async def act(queue: str, dead_id: str) -> bool:
        return await visit.parts.discard(_queue(visit, queue).name, dead_id)

    return await _each(visit, "discard", "Discarded", act)


async def _each(
    visit: Visit, action: str, past: str, act: Callable[[str, str], Awaitable[bool]]
) -> Response:
    """Those that are ticked, or all that the filter finds."""
    more = False
    if visit.field("all"):
        wanted = Filter(visit.field("queue"), visit.field("reason"), visit.field("q").strip()[:200])
        # Found first: what fails again comes back as a new dead letter.
        found = await _find(_queues(visit, wanted.queue), wanted, most=_AT_ONCE)
        chosen = [f"{letter.queue}/{letter.id}" for letter in found.letters]
        more = bool(found.after)
    else:
        chosen = visit.fields("letter")
    if not chosen:
        raise PermanentError("Nothing was chosen: tick some dead letters first.")
    for name in chosen:
        _queue(visit, name.partition("/")[0])
    done = 0
    for start in range(0, len(chosen), _ON_ONE_LINE):
        names = chosen[start : start + _ON_ONE_LINE]
        few = len(names) == 1
        subject = f"dead letter {names[0]}" if few else f"{len(names)} dead letters"
        async with visit.doing(action, subject, "" if few else ", ".join(names)) as deed:
            did = 0
            for name in names:
                queue, _, dead_id = name.partition("/")
                did += await act(queue, dead_id)
                deed.outcome = f"{did} of {len(names)}"
        done += did
    left = len(chosen) - done
    rest = f", {left} were gone already" if left else ""
    again = " There are more: do it again." if more else ""
    return await visit.go(_list_path(visit), f"{past} {done:,}{rest}.{again}")


def _list_path(visit: Visit) -> str:
    kept = [
        f"{name}={quote(visit.field(name))}"
        for name in ("queue", "reason", "q")
        if visit.field(name)
    ]
    return f"/console/dead{'?' + '&'.join(kept) if kept else ''}"


async def _find(
    queues: Sequence[Queue],
    wanted: Filter,
    *,
    most: int,
    after: str = "",
    limit_s: float | None = None,
) -> Found:
    """The latest first. Stops before all were looked at when `most` are found or time is up."""
    until = None if limit_s is None else time.monotonic() + limit_s
    places = _places(after)
    found: list[DeadLetter] = []
    looked_at = 0
    async with aclosing(_newest_first(queues, dict(places))) as letters:
        async for letter in letters:
            if len(found) == most or (looked_at and until and time.monotonic() > until):
                return Found(found, looked_at, _cursor(places))
            looked_at += 1
            places[letter.queue] = letter.id
            if wanted.fits(letter):
                found.append(letter)
    return Found(found, looked_at, "")


async def _newest_first(
    queues: Sequence[Queue], places: dict[str, str]
) -> AsyncGenerator[DeadLetter]:
    """All queues' letters as one list, each queue's from its place on."""
    read: dict[str, deque[DeadLetter]] = {queue.name: deque() for queue in queues}
    ended: set[str] = set()
    while True:
        for queue in queues:
            if read[queue.name] or queue.name in ended:
                continue
            page = await queue.dead_latest(before=places.get(queue.name, ""), count=_PAGE)
            read[queue.name].extend(page)
            if len(page) < _PAGE:
                ended.add(queue.name)
            if page:
                places[queue.name] = page[-1].id
            # Others have their turn: this is the event loop that acknowledges webhooks.
            await asyncio.sleep(0)
        heads = [letters for letters in read.values() if letters]
        if not heads:
            return
        yield max(heads, key=lambda letters: letters[0].dead_at).popleft()


def _places(cursor: str) -> dict[str, str]:
    """Where each queue goes on, from `_cursor`."""
    parts = (part.partition(":") for part in cursor.split(",") if ":" in part)
    return {name: dead_id for name, _, dead_id in parts}


def _cursor(places: dict[str, str]) -> str:
    return ",".join(f"{name}:{dead_id}" for name, dead_id in places.items())


def _queues(visit: Visit, name: str) -> list[Queue]:
    return [_queue(visit, name)] if name else list(visit.parts.queues.values())


def _queue(visit: Visit, name: str) -> Queue:
    queue = visit.parts.queues.get(name)
    if queue is None:
        raise NotFoundError(f"There is no queue {name}.")
    return queue


ROUTES = (
    ("GET", "/dead", listing, Role.VIEW),
    ("GET", "/dead/{queue}/{dead_id}", one, Role.VIEW),
    ("POST", "/dead/replay", replay, Role.OPERATE),
    ("POST", "/dead/discard", discard, Role.OPERATE),
)
