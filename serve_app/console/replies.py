"""Replies that wait for a person: parked, in doubt, failed."""

from __future__ import annotations

from collections import Counter

from starlette.responses import Response

from models.console import Role
from models.conversations import Reply, ReplyStatus
from models.errors import ListUnavailableError, PermanentError
from serve_app.console.visits import NotFoundError, Visit

_STATES = (ReplyStatus.PARKED, ReplyStatus.FAILED, ReplyStatus.UNKNOWN)
_PAGE = 200
_ALL = 10_000


async def listing(visit: Visit) -> Response:
    state = _state(visit.query("state"))
    found = await visit.parts.replies.in_states([state] if state else _STATES, limit=_PAGE)
    return visit.show("replies.html", replies=found, state=state, states=_STATES, most=_PAGE)


async def one(visit: Visit) -> Response:
    return visit.show("reply.html", reply=await _reply(visit, visit.path("reply_id")))


async def resend(visit: Visit) -> Response:
    """A parked one is looked for in the provider's list first, unless `blindly`."""
    blindly = visit.field("blindly") == "1"
    done: Counter[str] = Counter()
    for reply in await _chosen(visit):
        try:
            outcome = str(await visit.parts.attention.resend(reply, blindly=blindly))
        except ListUnavailableError as error:
            before = _told(done)
            raise PermanentError(
                f"Whether it was sent can't be seen now ({error}). Nothing was sent; try later, or send "
                f"it without looking. Before it: {before}."
            ) from error
        done[outcome] += 1
        await visit.log("resend blindly" if blindly else "resend", f"reply {reply.id}", outcome)
    return visit.go("/console/replies", f"{_told(done)}.".capitalize())


async def drop(visit: Visit) -> Response:
    why = f"dropped by {visit.session.operator.name}"
    done: Counter[str] = Counter()
    for reply in await _chosen(visit):
        outcome = str(await visit.parts.attention.drop(reply, why=why))
        done[outcome] += 1
        await visit.log("drop", f"reply {reply.id}", outcome)
    return visit.go("/console/replies", f"{_told(done)}.".capitalize())


async def _chosen(visit: Visit) -> list[Reply]:
    if visit.field("all"):
        state = _state(visit.field("state"))
        return await visit.parts.replies.in_states([state] if state else _STATES, limit=_ALL)
    ids = visit.fields("reply")
    if not ids:
        raise PermanentError("Nothing was chosen: tick some replies first.")
    return [await _reply(visit, reply_id) for reply_id in ids]


async def _reply(visit: Visit, reply_id: str) -> Reply:
    reply = await visit.parts.replies.get(reply_id)
    if reply is None:
        raise NotFoundError("There is no such reply.")
    return reply


def _state(name: str) -> ReplyStatus | None:
    return next((state for state in _STATES if state.value == name), None)


def _told(done: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in done.items()) or "nothing done"


ROUTES = (
    ("GET", "/replies", listing, Role.VIEW),
    ("GET", "/replies/{reply_id}", one, Role.VIEW),
    ("POST", "/replies/resend", resend, Role.OPERATE),
    ("POST", "/replies/drop", drop, Role.OPERATE),
)
