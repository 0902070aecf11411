"""The phone: a page that writes and reads as a contact, live."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response, StreamingResponse

from serve_app.simulator.control import message_document
from serve_app.simulator.journey import Service, journey
from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimulatorState

_PAGES = Path(__file__).parent / "pages"
_HEARTBEAT_S = 15.0
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), geolocation=(self), camera=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def phone_router(
    *, settings: SimulatorSettings, state: SimulatorState, service: Service
) -> APIRouter:
    router = APIRouter(tags=["phone"])
    pages = {path.name: path.read_bytes() for path in _PAGES.iterdir() if path.is_file()}

    def page(name: str) -> Response:
        if name not in pages:
            raise HTTPException(404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(pages[name], media_type=kind, headers=_HEADERS)

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return page("phone.html")

    @router.get("/phone/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return page(name)

    @router.get("/simulator/businesses")
    async def businesses() -> dict[str, Any]:
        """Who may be written to, as the service tells, and the account."""
        found = await service.businesses()
        if not found and settings.numbers:
            found = [{"name": "Business", "numbers": list(settings.numbers)}]
        return {"businesses": found, "account_sid": settings.account_sid}

    @router.get("/simulator/messages/{sid}/journey")
    async def way(sid: str) -> dict[str, Any]:
        """An inbound message's way through the system, with the time of every step."""
        message = state.get(sid)
        if message is None or message.direction != "inbound":
            raise HTTPException(404, f"there is no inbound message {sid}")
        return await journey(message, state=state, service=service)

    @router.get("/simulator/events")
    async def events(
        contact: Annotated[list[str], Query(min_length=1, max_length=32)],
    ) -> StreamingResponse:
        """Server-sent events: `message` (its document), `typing`, `lagged` (read everything again)."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            _stream(state, contact), media_type="text/event-stream", headers=headers
        )

    _ = (index, asset, businesses, way, events)
    return router


async def _stream(state: SimulatorState, contacts: list[str]) -> AsyncGenerator[str]:
    with state.events.subscribe(contacts) as subscription:
        yield "retry: 1000\n\n: open\n\n"
        while True:
            event = await subscription.next(seconds=_HEARTBEAT_S)
            if event is None:
                yield ": still here\n\n"
                continue
            message = state.get(event.subject)
            document: dict[str, object] = {"contact": event.contact, "message_sid": event.subject}
            if event.kind == "message":
                if message is None:
                    continue
                document = message_document(message, state)
            yield f"event: {event.kind}\ndata: {json.dumps(document)}\n\n"
