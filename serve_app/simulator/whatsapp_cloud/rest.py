"""The Graph API's routes for WhatsApp: sending, reading marks, files."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any, cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from serve_app.simulator.faults import FaultDie
from serve_app.simulator.state import SimMessage, SimulatorState, now
from serve_app.simulator.whatsapp_cloud.account import CloudSettings
from serve_app.simulator.whatsapp_cloud.contents import GraphError, read_content
from serve_app.simulator.whatsapp_cloud.inbound import new_message_id
from serve_app.simulator.whatsapp_cloud.reports import CloudCourier

_PREFIX = "/graph/{version}"


def install_graph_errors(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, GraphError):
            raise error
        wait = error.retry_after
        document = {
            "error": {
                "message": f"(#{error.code}) {error}",
                "type": "OAuthException",
                "code": error.code,
                "error_data": {"messaging_product": "whatsapp", "details": str(error)},
                "fbtrace_id": "simulated",
            }
        }
        headers = {} if wait is None else {"Retry-After": str(wait)}
        return JSONResponse(document, status_code=error.status, headers=headers)

    app.add_exception_handler(GraphError, answer)


class GraphRest:
    """The routes; an object so that they share their collaborators without globals."""

    def __init__(
        self,
        *,
        settings: CloudSettings,
        state: SimulatorState,
        courier: CloudCourier,
        die: FaultDie,
    ) -> None:
        self._settings = settings
        self._state = state
        self._courier = courier
        self._die = die
        self._authorization = f"Bearer {settings.access_token.get_secret_value()}".encode()

    def router(self) -> APIRouter:
        async def authorized(request: Request) -> None:
            given = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, self._authorization):
                self._state.counts["unauthorized"] += 1
                raise GraphError(401, 190, "Invalid OAuth access token")

        router = APIRouter(dependencies=[Depends(authorized)], include_in_schema=False)

        @router.post(_PREFIX + "/{number_id}/messages")
        async def create(request: Request, number_id: str) -> Response:
            if number_id != self._settings.phone_number_id:
                raise GraphError(400, 100, f"Object with ID '{number_id}' does not exist")
            return await self._create(_members(await request.body()))

        @router.get(_PREFIX + "/{media_id}")
        async def media(request: Request, media_id: str) -> Response:
            return self._announce(media_id)

        # Another host name than the API's, as lookaside.fbsbx.com is: the token is wanted here, too.
        @router.get("/graph-files/{media_id}")
        async def download(request: Request, media_id: str) -> Response:
            file = self._state.file(media_id)
            if file is None:
                return Response(status_code=404)
            self._state.counts["cdn_downloads"] += 1
            headers = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
            return Response(file.content, media_type=file.content_type, headers=headers)

        _ = (create, media, download)
        return router

    async def _create(self, document: dict[str, Any]) -> Response:
        if document.get("messaging_product") != "whatsapp":
            raise GraphError(400, 100, "The parameter messaging_product is required")
        if document.get("status") == "read":
            return self._mark_read(document)
        state, faults = self._state, self._die.faults
        state.counts["create_requests"] += 1
        fault = self._die.for_send()
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if fault is not None:
            state.counts[fault] += 1
        if fault == "rate_429":
            raise GraphError(429, 130429, "Rate limit hit", retry_after=faults.retry_after_s)
        if fault == "error_before":
            raise GraphError(500, 131000, "Something went wrong")
        if fault == "reject":
            raise GraphError(400, faults.reject_code, "Rejected on demand")
        message = self._accept(document)
        if fault == "error_after":
            raise GraphError(500, 131000, "Something went wrong")
        if fault == "timeout_after":
            await asyncio.sleep(faults.hold_s)
        contact = {"input": message.recipient, "wa_id": message.recipient}
        return JSONResponse(
            {
                "messaging_product": "whatsapp",
                "contacts": [contact],
                "messages": [{"id": message.sid}],
            }
        )

    def _accept(self, document: dict[str, Any]) -> SimMessage:
        recipient = document.get("to") or document.get("recipient")
        if not isinstance(recipient, str) or not recipient:
            raise GraphError(400, 100, "The parameter to is required")
        body, buttons = read_content(document, max_body=self._settings.max_body)
        message = SimMessage(
            sid=new_message_id(),
            direction="outbound-api",
            sender=self._settings.phone_number_id,
            recipient=recipient,
            body=body,
            buttons=buttons,
            status="accepted",
            template=document.get("type") == "template",
        )
        self._state.add(message)
        self._state.counts["accepted"] += 1
        self._courier.carry(message, document.get("biz_opaque_callback_data"))
        return message

    def _mark_read(self, document: dict[str, Any]) -> Response:
        message = self._state.get(str(document.get("message_id")))
        if message is None or message.direction != "inbound":
            raise GraphError(400, 100, "message_id isn't a message that was received")
        if self._die.faults.typing_unavailable:
            raise GraphError(503, 131016, "Service unavailable")
        if document.get("typing_indicator"):
            entry = {"message_sid": message.sid, "channel": "whatsapp", "at": now().isoformat()}
            self._state.typed(entry, contact=message.contact)
        return JSONResponse({"success": True})

    def _announce(self, media_id: str) -> Response:
        self._state.counts["media_looks"] += 1
        file = self._state.file(media_id)
        if file is not None and file.absent_looks > 0:
            file.absent_looks -= 1
            file = None
        if file is None:
            raise GraphError(404, 100, f"Object with ID '{media_id}' does not exist")
        if self._die.breaks_media():
            raise GraphError(500, 131000, "Something went wrong")
        parts = urlsplit(self._settings.base_url)
        other = "127.0.0.1" if parts.hostname == "localhost" else "localhost"
        netloc = other if parts.port is None else f"{other}:{parts.port}"
        return JSONResponse(
            {
                "messaging_product": "whatsapp",
                "url": parts._replace(netloc=netloc, path=f"/graph-files/{media_id}").geturl(),
                "mime_type": file.content_type,
                "sha256": hashlib.sha256(file.content).hexdigest(),
                "file_size": len(file.content),
                "id": media_id,
            }
        )


def _members(body: bytes) -> dict[str, Any]:
    try:
        document: object = json.loads(body)
    except ValueError as error:
        raise GraphError(400, 100, "The body isn't JSON") from error
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}
