"""Who did what."""

from __future__ import annotations

from starlette.responses import Response

from models.console import Role
from serve_app.console.visits import Visit

_SHOWN = 200


async def activity(visit: Visit) -> Response:
    return visit.show("activity.html", actions=await visit.parts.operators.actions(limit=_SHOWN))


ROUTES = (("GET", "/activity", activity, Role.VIEW),)
