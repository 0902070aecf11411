"""Only the simulator's own pages may steer it, and programs: any other page that is open in the same browser
could post a form to it, which needs nobody's leave."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import HTTPException, Request

_SAFE = {"GET", "HEAD", "OPTIONS"}
_OWN = {"same-origin", "none"}
"""`none` is what a person typed. https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site"""


def refuse_other_pages(request: Request) -> None:
    """A dependency: 403 for what another site's page sends. Programs name no page and pass."""
    if request.method in _SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = site is not None and site not in _OWN
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        foreign = True
    if foreign:
        raise HTTPException(403, "another site's page may not steer the simulator")
