"""Dead letters: list, filter, look at, replay, discard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.responses import Response

from models.console import Role
from models.errors import PermanentError
from models.jobs import DeadLetter, DeadReason
from serve_app.console.visits import NotFoundError, Visit
from serve_app.ports import Queue

_PAGE = 100
_READ = 5_000
"""Letters of one queue that a filter looks through."""


async def listing(visit: Visit) -> Response:
    queue, reason = visit.query("queue"), visit.query("reason")
    search = visit.query("q").strip()[:200]
    found = await _find(visit, queue=queue, reason=reason, search=search)
    return visit.show(
        "dead_letters.html",
        letters=found[:_PAGE],
        total=len(found),
        queues=list(visit.parts.queues),
        reasons=[reason.value for reason in DeadReason],
        queue=queue,
        reason=reason,
        search=search,
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
    return await _each(visit, "replay", "Replayed", lambda queue, dead_id: queue.replay(dead_id))


async def discard(visit: Visit) -> Response:
    return await _each(visit, "discard", "Discarded", lambda queue, dead_id: queue.purge(dead_id))


async def _each(
    visit: Visit, action: str, past: str, act: Callable[[Queue, str], Awaitable[bool]]
) -> Response:
    """Those that are ticked, or all that the filter finds."""
    if visit.field("all"):
        found = await _find(
            visit, queue=visit.field("queue"), reason=visit.field("reason"), search=visit.field("q")
        )
        chosen = [f"{letter.queue}/{letter.id}" for letter in found]
    else:
        chosen = visit.fields("letter")
    if not chosen:
        raise PermanentError("Nothing was chosen: tick some dead letters first.")
    done = 0
    for name in chosen:
        queue_name, _, dead_id = name.partition("/")
        if await act(_queue(visit, queue_name), dead_id):
            done += 1
            await visit.log(action, f"dead letter {name}")
    left = len(chosen) - done
    rest = f", {left} were gone already" if left else ""
    kept = "&".join(
        f"{name}={quote(visit.field(name))}"
        for name in ("queue", "reason", "q")
        if visit.field(name)
    )
    return visit.go(f"/console/dead{'?' + kept if kept else ''}", f"{past} {done}{rest}.")


async def _find(visit: Visit, *, queue: str, reason: str, search: str) -> list[DeadLetter]:
    """The latest first."""
    queues = [_queue(visit, queue)] if queue else list(visit.parts.queues.values())
    found: list[DeadLetter] = []
    for each in queues:
        start = "-"
        for _ in range(_READ // 500):
            page = await each.dead(start=start, count=500)
            found += [letter for letter in page if _fits(letter, reason, search.lower())]
            if len(page) < 500:
                break
            start = f"({page[-1].id}"
    return sorted(found, key=lambda letter: letter.dead_at, reverse=True)


def _fits(letter: DeadLetter, reason: str, words: str) -> bool:
    if reason and letter.reason.value != reason:
        return False
    if not words:
        return True
    job = letter.job
    last = job.history[-1] if job.history else None
    told = f"{last.error_type} {last.message}" if last else ""
    return (
        words in f"{letter.id} {job.id} {job.payload} {told} {' '.join(job.trace.values())}".lower()
    )


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
