"""The routes of `/console`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from models.console import Role
from models.errors import PermanentError, RetryableError
from serve_app.console import activity, conversations, dead_letters, now, owners, replies
from serve_app.console.gate import SignInRefusedError
from serve_app.console.parts import ConsoleParts
from serve_app.console.rendering import HEADERS, Renderer, StaticFiles
from serve_app.console.visits import OFF, Handler, Visit, endpoint, read_form

GUARDED: tuple[tuple[str, str, Handler, Role], ...] = (
    *now.ROUTES,
    *conversations.ROUTES,
    *dead_letters.ROUTES,
    *replies.ROUTES,
    *owners.ROUTES,
    *activity.ROUTES,
)


def create_console(parts_of: Callable[[Request], ConsoleParts | None]) -> Starlette:
    """To be mounted at `/console`. `parts_of` is None while the console is off."""
    static = StaticFiles()
    renderer = Renderer(static)

    async def asset(request: Request) -> Response:
        return static.answer(request)

    async def home(request: Request) -> Response:
        if parts_of(request) is None:
            return PlainTextResponse(OFF, 404, headers=HEADERS)
        return RedirectResponse("/console/now", 303, headers=HEADERS)

    async def sign_in(request: Request) -> Response:
        parts = parts_of(request)
        if parts is None:
            return PlainTextResponse(OFF, 404, headers=HEADERS)
        values = {"error": "", "name": "", "next": _inside(request.query_params.get("next", ""))}
        if request.method == "GET":
            return renderer.page("sign_in.html", values)
        try:
            return await _signed_in(request, parts, renderer, values)
        except RetryableError as error:
            values["error"] = f"Signing in isn't possible now: {error}"
            return renderer.page("sign_in.html", values, status=503)

    async def sign_out(visit: Visit) -> Response:
        await visit.parts.gate.sign_out(visit.request)
        return RedirectResponse("/console/sign-in", 303, headers=HEADERS)

    def routes() -> Iterable[Route]:
        yield Route("/", home)
        yield Route("/static/{name}", asset)
        yield Route("/sign-in", sign_in, methods=["GET", "POST"])
        guarded = (*GUARDED, ("POST", "/sign-out", sign_out, Role.VIEW))
        for method, path, handler, role in guarded:
            answer = endpoint(handler, role=role, renderer=renderer, parts_of=parts_of)
            yield Route(path, answer, methods=[method])

    return Starlette(routes=list(routes()))


async def _signed_in(
    request: Request, parts: ConsoleParts, renderer: Renderer, values: dict[str, str]
) -> Response:
    try:
        form = dict(await read_form(request) or [])
    except PermanentError:
        form = {}
    values |= {"name": form.get("name", ""), "next": _inside(form.get("next", ""))}
    if not parts.gate.is_ours(request, None, ""):
        values["error"] = "This form came from another site."
        return renderer.page("sign_in.html", values, status=403)
    try:
        cookie = await parts.gate.sign_in(
            request, name=form.get("name", ""), secret=form.get("secret", "")
        )
    except SignInRefusedError as error:
        values["error"] = str(error)
        return renderer.page("sign_in.html", values, status=429 if error.wait else 403)
    response = RedirectResponse(values["next"] or "/console/now", 303, headers=HEADERS)
    parts.gate.set_cookie(response, cookie)
    return response


def _inside(target: str) -> str:
    """Never lead out of the console after the sign-in."""
    safe = target.startswith("/console/") and "//" not in target and "\\" not in target
    return target if safe else ""
