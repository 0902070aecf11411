"""The FastAPI application of the ingress; needs no Ray to run."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from opentelemetry.trace import SpanKind
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from models.errors import (
    OverloadedError,
    QueueUnavailableError,
    SignatureError,
    StoreUnavailableError,
)
from serve_app.api.forms import read_form
from serve_app.api.openapi import WEBHOOK_PATHS
from serve_app.api.readiness import Readiness
from serve_app.api.simulator_desk import SimulatorDesk
from serve_app.api.undisturbed import WEBHOOKS_PATH
from serve_app.api.webhook_service import Subject, WebhookService
from serve_app.ops.instruments import WEBHOOK_SECONDS, WEBHOOKS
from serve_app.ops.tracing import Tracing
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import Metrics, WebhookForm, WebhookRequest

log = structlog.get_logger(__name__)

FORM = "application/x-www-form-urlencoded"
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class IngressParts:
    """What one ingress replica works with."""

    webhooks: Mapping[str, WebhookService]
    """By the name of the channel, which stands in the address."""
    readiness: Readiness
    public_url: str
    max_body_bytes: int
    max_form_fields: int = 1_000
    console: object | None = None
    """What the application mounted at `/console` works with; None while it is off."""
    simulator_desk: SimulatorDesk | None = None
    """What the stand-in for Twilio may ask; None where none runs."""
    metrics: Metrics = field(default_factory=Unmeasured)
    tracing: Tracing = field(default_factory=Tracing)


class WebhooksFirst(FastAPI):
    """Answers webhooks before FastAPI's middleware and router, which cost as much as the check of the
    signature and the storing together; everything else is FastAPI's."""

    def add_webhooks(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        """For every address below `/webhooks/`."""
        self._answer = answer
        # For what isn't a POST, or comes below a prefix: it goes the ordinary way. First, since Serve looks
        # for the route of every request by itself.
        self.router.routes.insert(
            0, Route(WEBHOOKS_PATH + "{rest:path}", answer, methods=["POST", "GET"])
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"].startswith(WEBHOOKS_PATH)
            and not scope.get("root_path")
        ):
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def create_app(open_parts: Callable[[], AbstractAsyncContextManager[IngressParts]]) -> FastAPI:
    """`open_parts` is entered at start-up and left at shutdown."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_parts() as parts:
            app.state.parts = parts
            yield

    app = WebhooksFirst(
        title="Recado",
        summary="Answers WhatsApp and SMS on the business's own models",
        version="0.1.0",
        lifespan=lifespan,
        # FastAPI's pages of the description load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )

    async def webhook(request: Request) -> Response:
        parts = _parts(app)
        name, about = _addressed(request)
        service = parts.webhooks.get(name)
        if service is not None and about is None and parts.simulator_desk is not None:
            return await _ask(parts.simulator_desk, request, service, parts)
        if service is None or about is None:
            return PlainTextResponse("there is no such webhook", 404)
        if request.method != "POST":
            if not service.form.has_handshake:
                return PlainTextResponse("send a POST", 405, {"Allow": "POST"})
            return _shake_hands(request, service, parts.public_url)
        began = time.perf_counter()

        def handle(posted: WebhookRequest) -> Awaitable[str]:
            return service.accept(posted, about=about)

        if parts.tracing.on:
            response, outcome = await _traced(request, service.form, parts, handle, about)
        else:
            response, outcome = await _accept(request, service.form, parts, handle)
        parts.metrics.add(WEBHOOKS, kind=about, outcome=outcome)
        parts.metrics.observe(WEBHOOK_SECONDS, time.perf_counter() - began, kind=about)
        return response

    app.add_webhooks(webhook)

    @app.get("/healthz/live", tags=["health"])
    async def live() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction] -- a route
        """The process runs."""
        return {"status": "alive"}

    @app.get("/healthz/ready", tags=["health"])
    async def ready() -> JSONResponse:  # pyright: ignore[reportUnusedFunction] -- a route
        """Every part that answering needs is there; 503 names the parts that aren't."""
        report = await _parts(app).readiness.report()
        return JSONResponse(report.body(), status_code=200 if report.ready else 503)

    _describe_webhooks(app)
    return app


def _addressed(request: Request) -> tuple[str, Subject | None]:
    """The channel and what its webhook is about: `/webhooks/twilio`, `/webhooks/twilio/status`."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    name, slash, rest = path.removeprefix(WEBHOOKS_PATH).partition("/")
    if not slash:
        return name, "message"
    return name, "status" if rest == "status" else None


def _shake_hands(request: Request, service: WebhookService, public_url: str) -> Response:
    webhook = WebhookRequest(
        _signed_url(request.scope, public_url),
        _headers(request.scope),
        body=b"",
        params=tuple(request.query_params.multi_items()),
    )
    try:
        return PlainTextResponse(service.handshake(webhook))
    except SignatureError as error:
        log.warning("webhook_handshake_refused", error=str(error), path=request.url.path)
        return PlainTextResponse("not the right word", 403)


async def _traced(
    request: Request,
    form: WebhookForm,
    parts: IngressParts,
    handle: Callable[[WebhookRequest], Awaitable[str]],
    about: Subject,
) -> tuple[Response, str]:
    with parts.tracing.span(f"webhook {about}", kind=SpanKind.SERVER) as span:
        response, outcome = await _accept(request, form, parts, handle)
        span.set_attributes(
            {"recado.outcome": outcome, "http.response.status_code": response.status_code}
        )
    return response, outcome


async def _accept(
    request: Request,
    form: WebhookForm,
    parts: IngressParts,
    handle: Callable[[WebhookRequest], Awaitable[str]],
) -> tuple[Response, str]:
    headers = _headers(request.scope)
    content_type = headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != form.content_type:
        return _malformed(f"send {form.content_type}", 415)
    try:
        body = await _read(request.receive, headers, parts.max_body_bytes)
    except ClientDisconnect:
        return _malformed("the request broke off", 400)
    if body is None:
        return _malformed(f"more than {parts.max_body_bytes} bytes", 413)
    params: tuple[tuple[str, str], ...] = ()
    if content_type == FORM:
        try:
            params = read_form(body, max_fields=parts.max_form_fields)
        except ValueError as error:
            return _malformed(f"not a form: {error}", 400)
    url = _signed_url(request.scope, parts.public_url)
    try:
        outcome = await handle(WebhookRequest(url, headers, body, params))
    except SignatureError as error:
        log.warning("webhook_signature_refused", error=str(error), path=request.url.path)
        return PlainTextResponse("the signature doesn't fit", 403), "signature_refused"
    except OverloadedError as error:
        log.warning("webhook_shed", error=str(error))
        wait = math.ceil(error.retry_after or RETRY_AFTER_S)
        retry = {"Retry-After": str(wait)}
        return PlainTextResponse("too much waits already", 503, retry), "shed"
    except (StoreUnavailableError, QueueUnavailableError):
        retry = {"Retry-After": str(RETRY_AFTER_S)}
        return PlainTextResponse("try again", 503, retry), "unavailable"
    return _answer_of(form), outcome


def _signed_url(scope: Scope, public_url: str) -> str:
    """As the sender called it."""
    query = scope.get("query_string", b"")
    url = public_url + scope["path"]
    return f"{url}?{query.decode('utf-8', 'replace')}" if query else url


def _headers(scope: Scope) -> dict[str, str]:
    """The first of each name, as Starlette reads them; the names come in lower case."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in reversed(scope["headers"])
    }


@cache
def _answer_of(form: WebhookForm) -> Response:
    """One for all: it is only read."""
    return Response(form.answer, media_type=form.answer_type)


def _parts(app: FastAPI) -> IngressParts:
    return app.state.parts


def _malformed(text: str, status: int) -> tuple[Response, str]:
    return PlainTextResponse(text, status), "malformed"


async def _ask(
    desk: SimulatorDesk, request: Request, service: WebhookService, parts: IngressParts
) -> Response:
    """Questions of the simulator's, signed as webhooks are: `/webhooks/twilio/progress`."""
    question = request.scope["path"].rpartition("/")[2]
    answer: dict[str, Any] = {}

    async def look(webhook: WebhookRequest) -> str:
        answer.update(await desk.answer(question, webhook))
        return "answered"

    response, outcome = await _accept(request, service.form, parts, look)
    return JSONResponse(answer) if outcome == "answered" else response


async def _read(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes | None:
    """The body, or None as soon as it is seen to be longer than `limit`. Raises `ClientDisconnect`."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        return None
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(chunks)


def _describe_webhooks(app: FastAPI) -> None:
    """Plain routes don't describe themselves."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schema["paths"].update(WEBHOOK_PATHS)
        return schema

    app.openapi = openapi
