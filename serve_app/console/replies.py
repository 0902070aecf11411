"""Replies that wait for a person: parked, in doubt, failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from starlette.responses import Response

from models.console import Role
from models.conversations import Reply, ReplyStatus
from models.errors import ListUnavailableError, PermanentError, RecadoError
from models.jobs import FailedAttempt
from serve_app.console.visits import NotFoundError, Visit

_STATES = (ReplyStatus.PARKED, ReplyStatus.UNKNOWN, ReplyStatus.FAILED)
"""Those that only a person can decide about first."""
_PAGE = 100
_AT_ONCE = 200
"""Replies that one form sends again at most: each parked one is looked for at the provider."""


async def listing(visit: Visit) -> Response:
    state, search = _state(visit.query("state")), visit.query("q").strip()[:200]
    page = await visit.parts.views.replies(
        states=[state] if state else _STATES,
        search=search,
        after=visit.query("after") or None,
        limit=_PAGE,
    )
    return visit.show(
        "replies.html", page=page, state=state, states=_STATES, search=search, at_once=_AT_ONCE
    )


async def one(visit: Visit) -> Response:
    reply = await _reply(visit, visit.path("reply_id"))
    return visit.show("reply.html", reply=reply, attempts=await _attempts(visit, reply))


async def resend(visit: Visit) -> Response:
    """A parked one is looked for in the provider's list first, unless `blindly`."""
    blindly = visit.field("blindly") == "1"
    done: Counter[str] = Counter()
    chosen, more = await _chosen(visit)
    for reply in chosen:
        action = "resend blindly" if blindly else "resend"
        try:
            async with visit.doing(action, f"reply {reply.id}") as deed:
                deed.outcome = str(await visit.parts.attention.resend(reply, blindly=blindly))
        except ListUnavailableError as error:
            before = _told(done)
            raise PermanentError(
                f"Whether it was sent can't be seen now ({error}). Nothing was sent; try later, or send "
                f"it without looking. Before it: {before}."
            ) from error
        done[deed.outcome] += 1
    return await visit.go("/console/replies", _told(done).capitalize() + _left(more))


async def drop(visit: Visit) -> Response:
    why = f"dropped by {visit.session.operator.name}"
    done: Counter[str] = Counter()
    chosen, more = await _chosen(visit)
    for reply in chosen:
        async with visit.doing("drop", f"reply {reply.id}") as deed:
            deed.outcome = str(await visit.parts.attention.drop(reply, why=why))
        done[deed.outcome] += 1
    return await visit.go("/console/replies", _told(done).capitalize() + _left(more))


async def _chosen(visit: Visit) -> tuple[list[Reply], int]:
    """Those that are ticked, or the latest of a state; and how many there are besides."""
    if visit.field("all"):
        state = _state(visit.field("state"))
        if state is None:
            raise PermanentError(
                "Choose a state first: all of them at once would be too many kinds."
            )
        page = await visit.parts.views.replies(
            states=[state], search="", after=None, limit=_AT_ONCE
        )
        return list(page.replies), page.total - len(page.replies)
    ids = visit.fields("reply")
    if not ids:
        raise PermanentError("Nothing was chosen: tick some replies first.")
    return [await _reply(visit, reply_id) for reply_id in ids], 0


async def _attempts(visit: Visit, reply: Reply) -> Sequence[FailedAttempt]:
    """As long as its job is known: what was tried and why it failed."""
    outbound = visit.parts.queues.get("outbound")
    if outbound is None:
        return ()
    try:
        _, job = await outbound.job_state(reply.id)
    except RecadoError:
        return ()
    return job.history if job else ()


async def _reply(visit: Visit, reply_id: str) -> Reply:
    reply = await visit.parts.replies.get(reply_id)
    if reply is None:
        raise NotFoundError("There is no such reply.")
    return reply


def _state(name: str) -> ReplyStatus | None:
    return next((state for state in _STATES if state.value == name), None)


def _told(done: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in done.items()) or "nothing done"


def _left(more: int) -> str:
    return f". There are {more:,} more: do it again." if more else "."


ROUTES = (
    ("GET", "/replies", listing, Role.VIEW),
    ("GET", "/replies/{reply_id}", one, Role.VIEW),
    ("POST", "/replies/resend", resend, Role.OPERATE),
    ("POST", "/replies/drop", drop, Role.OPERATE),
)
