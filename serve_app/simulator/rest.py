"""Twilio's REST API: messages, their media, the typing indicator."""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from serve_app.simulator.account_rest import add_account_routes
from serve_app.simulator.accounts import Accounts
from serve_app.simulator.callbacks import Courier
from serve_app.simulator.contents import QUICK_REPLIES, rendered
from serve_app.simulator.faults import FaultDie
from serve_app.simulator.resources import Page, media_page, message_resource
from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimMessage, SimulatorState, new_sid, now
from serve_app.simulator.validation import RestError, check_new_message


def install_errors(app: FastAPI) -> None:
    """Twilio's error documents for `RestError`."""

    async def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, RestError):
            raise error
        return error_response(error)

    app.add_exception_handler(RestError, answer)


def error_response(error: RestError) -> JSONResponse:
    document = {
        "code": error.code,
        "message": error.message,
        "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
        "status": error.status,
    }
    return JSONResponse(document, status_code=error.status, headers=error.headers)


class TwilioRest:
    """The routes; an object so that they share their collaborators without globals."""

    def __init__(
        self,
        *,
        settings: SimulatorSettings,
        state: SimulatorState,
        accounts: Accounts,
        courier: Courier,
        die: FaultDie,
    ) -> None:
        self._settings = settings
        self._state = state
        self._courier = courier
        self._die = die
        self._api = f"/{settings.api_name}/Accounts"
        self._accounts = accounts

    def router(self) -> APIRouter:
        async def authorized(request: Request) -> None:
            opened = self._accounts.opened_by(request.headers.get("authorization", ""))
            if opened is None:
                self._state.counts["unauthorized"] += 1
                raise RestError(401, 20003, "Authenticate")
            if request.path_params.get("account_sid", opened) != opened:
                raise _not_found(request)

        router = APIRouter(dependencies=[Depends(authorized)])
        account = f"{self._api}/{{account_sid}}"

        @router.post(f"{account}/Messages.json")
        async def create(request: Request, account_sid: str) -> Response:
            return await self._create(dict(await read_form(request)), account_sid)

        @router.get(f"{account}/Messages.json")
        async def listing(request: Request, account_sid: str) -> Response:
            return self._list(request, account_sid)

        @router.get(f"{account}/Messages/{{name}}")
        async def fetch(request: Request, account_sid: str, name: str) -> Response:
            message = self._message(account_sid, name.removesuffix(".json"))
            if message is None or not name.endswith(".json"):
                raise _not_found(request)
            return JSONResponse(self._resource(message))

        @router.get(f"{account}/Messages/{{sid}}/Media.json")
        async def media_list(request: Request, account_sid: str, sid: str) -> Response:
            return self._media_list(request, account_sid, sid)

        @router.get(f"{account}/Messages/{{sid}}/Media/{{media_sid}}")
        async def media(request: Request, account_sid: str, sid: str, media_sid: str) -> Response:
            return self._media(request, account_sid, sid, media_sid)

        @router.post("/v3/Indicators/Typing.json")
        @router.post("/v2/Indicators/Typing.json")
        async def typing(request: Request) -> Response:
            return await self._typing(request)

        add_account_routes(router, settings=self._settings, state=self._state)

        # Signed links need no credentials, and refuse them, as Amazon's do.
        public = APIRouter()

        @public.get("/simulated-cdn/{media_sid}")
        async def cdn(request: Request, media_sid: str) -> Response:
            return self._cdn(request, media_sid)

        _ = (create, listing, fetch, media_list, media, typing, cdn)
        both = APIRouter()
        both.include_router(router)
        both.include_router(public)
        return both

    async def _create(self, form: dict[str, str], account_sid: str) -> Response:
        state, faults = self._state, self._die.faults
        state.counts["create_requests"] += 1
        fault = self._die.for_send()
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if fault is not None:
            state.counts[fault] += 1
        if fault == "rate_429":
            wait = faults.retry_after_s
            headers = {} if wait is None else {"Retry-After": str(wait)}
            raise RestError(429, 20429, "Too Many Requests", headers=headers)
        if fault == "error_before":
            raise RestError(500, 20500, "An internal server error has occurred")
        if fault == "reject":
            raise RestError(400, faults.reject_code, "Rejected on demand")
        check_new_message(form, settings=self._settings, state=state)
        message = self._accept(form, account_sid)
        if fault == "error_after":
            raise RestError(500, 20500, "An internal server error has occurred")
        if fault == "timeout_after":
            await asyncio.sleep(faults.hold_s)
        return JSONResponse(self._resource(message, created=True), status_code=201)

    def _accept(self, form: dict[str, str], account_sid: str) -> SimMessage:
        service = form.get("MessagingServiceSid")
        body, buttons = rendered(form)
        message = SimMessage(
            sid=new_sid("MM" if form.get("MediaUrl") else "SM"),
            direction="outbound-api",
            sender=form.get("From") or (self._settings.numbers or ("+15550000000",))[0],
            recipient=form["To"],
            body=body,
            buttons=buttons,
            status="accepted" if service else "queued",
            account_sid=account_sid,
            messaging_service_sid=service,
            status_callback=form.get("StatusCallback"),
            # Those for buttons aren't approved: they pass within the window only.
            template="ContentSid" in form and form["ContentSid"] not in QUICK_REPLIES,
        )
        self._state.add(message)
        self._state.counts["accepted"] += 1
        self._courier.carry(message)
        return message

    def _list(self, request: Request, account_sid: str) -> Response:
        if self._die.faults.list_unavailable:
            self._state.counts["list_unavailable"] += 1
            raise RestError(503, 20503, "Service unavailable")
        page = Page.of(request.url.path, request.url.query)
        found = self._state.newest_first(recipient=page.query.get("To"))
        its = (message for message in found if message.account_sid == account_sid)
        return JSONResponse(page.document(its, self._resource))

    def _message(self, account_sid: str, sid: str) -> SimMessage | None:
        message = self._state.get(sid)
        return None if message is None or message.account_sid != account_sid else message

    def _media_list(self, request: Request, account_sid: str, sid: str) -> Response:
        message = self._message(account_sid, sid)
        if message is None:
            raise _not_found(request)
        files = [file for sid in message.media if (file := self._state.file(sid)) is not None]
        return JSONResponse(media_page(request.url.path, sid, account_sid, files))

    def _resource(self, message: SimMessage, *, created: bool = False) -> dict[str, object]:
        return message_resource(message, api=self._settings.api_name, created=created)

    def _media(self, request: Request, account_sid: str, sid: str, media_sid: str) -> Response:
        self._state.counts["media_looks"] += 1
        file = self._state.file(media_sid)
        if file is not None and file.absent_looks > 0:
            file.absent_looks -= 1
            file = None
        if file is None:
            raise _not_found(request)
        if self._die.breaks_media():
            raise RestError(500, 20500, "An internal server error has occurred")
        message = self._message(account_sid, sid)
        if message is not None:
            message.fetched_at.append(time.time())
        # Another host name, so that a client that sends its credentials along is found out.
        parts = urlsplit(self._settings.base_url)
        other = "127.0.0.1" if parts.hostname == "localhost" else "localhost"
        netloc = other if parts.port is None else f"{other}:{parts.port}"
        target = parts._replace(netloc=netloc, path=f"/simulated-cdn/{media_sid}").geturl()
        return RedirectResponse(target, status_code=307)

    def _cdn(self, request: Request, media_sid: str) -> Response:
        if "authorization" in request.headers:
            self._state.counts["cdn_with_credentials"] += 1
            return Response("Only one auth mechanism allowed", status_code=400)
        file = self._state.file(media_sid)
        if file is None:
            return Response(status_code=404)
        self._state.counts["cdn_downloads"] += 1
        # What people send must not run as a page of this origin.
        headers = {
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(file.content, media_type=file.content_type, headers=headers)

    async def _typing(self, request: Request) -> Response:
        if self._die.faults.typing_unavailable:
            raise RestError(503, 20503, "Service unavailable")
        fields = dict(await read_form(request))
        message = self._state.get(fields.get("messageId", ""))
        if message is None or message.direction != "inbound":
            raise RestError(400, 63029, "messageId isn't a recent inbound message")
        if fields.get("channel", "").lower() != "whatsapp":
            raise RestError(400, 21620, "channel must be whatsapp")
        self._state.typed(
            {"message_sid": message.sid, "channel": "whatsapp", "at": now().isoformat()},
            contact=message.contact,
        )
        return JSONResponse({"success": True})


async def read_form(request: Request) -> list[tuple[str, str]]:
    """A form's fields, or the members of a JSON object."""
    body = (await request.body()).decode()
    if not request.headers.get("content-type", "").startswith("application/json"):
        return parse_qsl(body, keep_blank_values=True)
    try:
        document: object = json.loads(body)
    except ValueError as error:
        raise RestError(400, 20001, "The body isn't JSON") from error
    members = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    return [(name, str(value)) for name, value in members.items()]


def _not_found(request: Request) -> RestError:
    return RestError(404, 20404, f"The requested resource {request.url.path} was not found")
