"""Templates, static files and the words in which pages tell figures."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

_HERE = Path(__file__).parent
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class StaticFiles:
    """A few small files, kept in memory and addressed by their content."""

    def __init__(self, folder: Path = _HERE / "static") -> None:
        self._files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self._marks = {
            name: hashlib.sha256(content).hexdigest()[:12] for name, content in self._files.items()
        }

    def url(self, name: str) -> str:
        return f"/console/static/{name}?v={self._marks[name]}"

    def answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = self._files.get(name)
        if content is None:
            return PlainTextResponse("not found", 404)
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        cached = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(content, media_type=kind, headers={**HEADERS, **cached})


class Renderer:
    def __init__(self, static: StaticFiles) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # Jinja's types know only what it ships.
        known: dict[str, Any] = self._templates.globals  # pyright: ignore[reportAssignmentType]
        known["static"] = static.url
        filters: dict[str, Any] = self._templates.filters  # pyright: ignore[reportAssignmentType]
        filters |= {
            "seconds": seconds,
            "moment": moment,
            "iso": iso,
            "ago": ago,
            "number": number,
            "pretty": pretty,
        }

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        return self._templates.get_template(template).render(values)

    def page(self, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
        return HTMLResponse(self.text(template, values), status_code=status, headers=HEADERS)


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 0.001:
        return "<1 ms" if value > 0 else "0 ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h" if value < 172_800 else f"{value / 86_400:.0f} d"


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"


def _datetime(value: datetime | float) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)


def moment(value: datetime | float | None) -> str:
    return "-" if value is None else _datetime(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(value: datetime | float) -> str:
    return _datetime(value).astimezone(UTC).isoformat()


def ago(value: datetime | float | None, now: datetime) -> str:
    if value is None:
        return "never"
    passed = (now - _datetime(value)).total_seconds()
    return "now" if passed < 2 else f"{seconds(float(int(passed)))} ago"


def pretty(text: str) -> str:
    """JSON laid out; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
