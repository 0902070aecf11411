"""A request of somebody who may make it, and how handlers become routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from models.console import OperatorSession, Role
from models.errors import PermanentError, RecadoError, RetryableError
from serve_app.console.deeds import Deed, on_record
from serve_app.console.gate import CSRF_FIELD, CSRF_HEADER
from serve_app.console.parts import ConsoleParts
from serve_app.console.rendering import HEADERS, Renderer

log = structlog.get_logger(__name__)

MAX_FORM_BYTES = 524_288
_MAX_FIELDS = 2_000


class NotFoundError(PermanentError):
    """There is no such thing (any more)."""


@dataclass
class Visit:
    request: Request
    parts: ConsoleParts
    renderer: Renderer
    session: OperatorSession
    form: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def path(self, name: str) -> str:
        return self.request.path_params[name]

    def query(self, name: str, otherwise: str = "") -> str:
        return self.request.query_params.get(name, otherwise)

    def field(self, name: str, otherwise: str = "") -> str:
        return next((value for key, value in self.form if key == name), otherwise)

    def fields(self, name: str) -> list[str]:
        return [value for key, value in self.form if key == name]

    def may(self, role: str) -> bool:
        return self.session.operator.role.allows(Role(role))

    def show(self, template: str, *, status: int = 200, **values: Any) -> Response:
        facts = {
            "operator": self.session.operator,
            "csrf_token": self.session.csrf_token,
            "may": self.may,
            "now": self.parts.clock.now(),
            "path": self.request.url.path,
            "notice": self.session.notice,
            "looks_on": self.session.looks_on,
        }
        return self.renderer.page(template, {**facts, **values}, status=status)

    def doing(
        self, action: str, subject: str, detail: str = ""
    ) -> AbstractAsyncContextManager[Deed]:
        """Around a deed, which is written down before it happens, with who does it."""
        return on_record(
            self.parts.operators, self.session.operator, action, subject, detail=detail
        )

    async def go(self, path: str, notice: str = "") -> Response:
        """After a form: a page that can be reloaded, and that tells `notice` once."""
        if notice:
            await self._set_notice(notice)
        return RedirectResponse(path, 303, headers=HEADERS)

    async def told(self, response: Response) -> Response:
        """Forget the notice if a whole page has shown it."""
        whole = self.request.method == "GET" and not self.request.headers.get("hx-request")
        if self.session.notice and whole and response.status_code < 300:
            await self._set_notice("")
        return response

    async def _set_notice(self, notice: str) -> None:
        try:
            await self.parts.operators.set_notice(self.session.id_hash, notice)
        except RecadoError as error:
            # What was done is done, and on record.
            log.warning("console_notice_lost", notice=notice, error=str(error))


Handler = Callable[[Visit], Awaitable[Response]]
PartsOf = Callable[[Request], ConsoleParts | None]

OFF = "The console is off. Set RECADO_CONSOLE_TOKEN (see README.md) and start the service again.\n"


def endpoint(
    handler: Handler, *, role: Role, renderer: Renderer, parts_of: PartsOf
) -> Callable[[Request], Awaitable[Response]]:
    """Lets in who is signed in with the role, and answers what goes wrong with a page."""

    async def answer(request: Request) -> Response:
        parts = parts_of(request)
        if parts is None:
            return HTMLResponse(OFF, 404, headers={**HEADERS, "Content-Type": "text/plain"})
        try:
            session = await parts.gate.session(request)
            if session is None:
                return _to_sign_in(request)
            visit = Visit(request, parts, renderer, session)
            if request.method == "POST":
                form = await read_form(request)
                if form is None:
                    return visit.show("error.html", status=413, error="That is too much text.")
                visit.form = form
                given = request.headers.get(CSRF_HEADER) or visit.field(CSRF_FIELD)
                if not parts.gate.is_ours(request, session, given):
                    error = "This form has expired. Go back, reload the page and try again."
                    return visit.show("error.html", status=403, error=error)
            if not session.operator.role.allows(role):
                error = f"This needs the role {role.value}; yours is {session.operator.role.value}."
                return visit.show("error.html", status=403, error=error)
            return await _handled(handler, visit)
        except RetryableError as error:
            log.warning("console_unavailable", error=str(error))
            text = renderer.text("unavailable.html", {"error": str(error)})
            return HTMLResponse(text, 503, headers=HEADERS)

    return answer


async def _handled(handler: Handler, visit: Visit) -> Response:
    try:
        return await visit.told(await handler(visit))
    except NotFoundError as error:
        return visit.show("error.html", status=404, error=str(error))
    except PermanentError as error:
        return visit.show("error.html", status=422, error=str(error))


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("hx-request"):
        # The page as a whole goes, not the part that asked.
        return Response(status_code=401, headers={**HEADERS, "HX-Refresh": "true"})
    # Back to what was asked for, or to the page with the form: its own page keeps what was typed.
    came_from = urlsplit(request.headers.get("referer", ""))
    url = request.url if request.method == "GET" else came_from
    target = quote(f"{url.path}?{url.query}" if url.query else url.path, safe="/")
    return RedirectResponse(f"/console/sign-in?next={target}", 303, headers=HEADERS)


async def read_form(request: Request) -> list[tuple[str, str]] | None:
    """None if it is too large. Raises `PermanentError` for what isn't a form."""
    size, chunks = 0, list[bytes]()
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_FORM_BYTES:
                return None
            chunks.append(chunk)
        return parse_qsl(
            b"".join(chunks).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS
        )
    except (ValueError, ClientDisconnect) as error:
        raise PermanentError("This isn't a form.") from error
