"""Owners: plan, usage, accounts, and the assistant, to be tried before it is saved."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from starlette.responses import Response

from models.accounts import Owner
from models.console import Role
from models.errors import PermanentError, RecadoError
from serve_app.console.visits import NotFoundError, Visit

_PAGE = 60
_MONTHS = 6
_LONGEST_QUESTION = 1_600


async def listing(visit: Visit) -> Response:
    search = visit.query("q").strip()[:200]
    page = await visit.parts.views.owners(
        search=search, after=visit.query("after") or None, limit=_PAGE
    )
    return visit.show("owners.html", page=page, search=search)


async def one(visit: Visit) -> Response:
    owner = await _owner(visit)
    return await _shown(visit, owner, text=visit.parts.assistants.text(owner))


async def preview(visit: Visit) -> Response:
    """What saving would change; as a part of the page."""
    owner = await _owner(visit)
    try:
        found = await visit.parts.assistants.preview(owner, visit.field("assistant"))
    except PermanentError as error:
        return visit.show("preview.html", preview=None, error=str(error))
    return visit.show("preview.html", preview=found, error="")


async def trial(visit: Visit) -> Response:
    """A question to the assistant as it stands in the form; as a part of the page."""
    owner = await _owner(visit)
    question = visit.field("question").strip()[:_LONGEST_QUESTION]
    if visit.parts.trial is None:
        return visit.show(
            "trial.html", trial=None, question=question, error="No model is connected."
        )
    try:
        if not question:
            raise PermanentError("Ask something first.")
        found = await visit.parts.assistants.preview(owner, visit.field("assistant"))
        tried = owner.model_copy(update={"assistant": found.assistant})
        told = await visit.parts.trial.ask(tried, question)
    except RecadoError as error:
        return visit.show("trial.html", trial=None, question=question, error=str(error))
    return visit.show("trial.html", trial=told, question=question, error="")


async def save(visit: Visit) -> Response:
    owner = await _owner(visit)
    text = visit.field("assistant")
    if visit.field("version") != _version(visit, owner):
        error = "Somebody else has changed this assistant meanwhile. Yours is below, not saved."
        return await _shown(visit, owner, text=text, error=error, status=409)
    path = f"/console/owners/{quote(owner.id, safe='')}"
    try:
        planned = await visit.parts.assistants.preview(owner, text)
        if not planned.changes:
            return await visit.go(path, "Nothing to change.")
        fields = ", ".join(field for field, _, _ in planned.changes)
        async with visit.doing("edit assistant", f"owner {owner.id}", fields):
            saved = await visit.parts.assistants.save(owner, text)
    except PermanentError as error:
        return await _shown(visit, owner, text=text, error=str(error), status=422)
    return await visit.go(path, f"Saved: {len(saved.changes)} changes.")


async def _shown(
    visit: Visit, owner: Owner, *, text: str, error: str = "", status: int = 200
) -> Response:
    return visit.show(
        "owner.html",
        status=status,
        owner=owner,
        used=await visit.parts.owners.messages_this_month(owner.id),
        usage=await visit.parts.owners.usage(owner.id, months=_MONTHS),
        accounts=await visit.parts.views.accounts_of(owner.id),
        text=text,
        version=_version(visit, owner),
        error=error,
        can_try=visit.parts.trial is not None,
    )


async def _owner(visit: Visit) -> Owner:
    owner = await visit.parts.owners.get(visit.path("owner_id"))
    if owner is None:
        raise NotFoundError("There is no such owner.")
    return owner


def _version(visit: Visit, owner: Owner) -> str:
    return hashlib.sha256(visit.parts.assistants.text(owner).encode()).hexdigest()[:16]


_ONE = "/owners/{owner_id}"
ROUTES = (
    ("GET", "/owners", listing, Role.VIEW),
    ("GET", _ONE, one, Role.VIEW),
    ("POST", f"{_ONE}/preview", preview, Role.ADMINISTER),
    ("POST", f"{_ONE}/try", trial, Role.ADMINISTER),
    ("POST", f"{_ONE}/assistant", save, Role.ADMINISTER),
)
