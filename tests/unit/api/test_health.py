"""Health and the API's own description."""

from __future__ import annotations

import asyncio

from models.errors import QueueUnavailableError
from serve_app.api.readiness import Readiness
from tests.unit.api.door import INBOUND, STATUS, open_door


async def fine() -> None:
    return


async def away() -> None:
    raise QueueUnavailableError("redis can't be reached")


async def hang() -> None:
    await asyncio.sleep(3600)


async def broken() -> None:
    raise ValueError("postgresql://user:password@host")


async def test_alive_whatever_else_is_down() -> None:
    async with open_door(checks={"redis": away}) as door:
        answer = await door.http.get("/healthz/live")
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_when_every_part_is() -> None:
    async with open_door(checks={"redis": fine, "postgres": fine}) as door:
        answer = await door.http.get("/healthz/ready")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ready", "parts": {"redis": "ok", "postgres": "ok"}}


async def test_what_is_not_ready_is_named() -> None:
    checks = {"redis": away, "postgres": fine, "chat_model": hang, "worker": broken}
    async with open_door(checks=checks) as door:
        answer = await door.http.get("/healthz/ready")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "not ready",
            "parts": {
                "redis": "redis can't be reached",
                "postgres": "ok",
                "chat_model": "no answer within 0.1 s",
                "worker": "ValueError",
            },
        }


async def test_the_parts_are_asked_at_the_same_time() -> None:
    meet = asyncio.Barrier(3)

    async def check() -> None:
        await meet.wait()

    report = await Readiness({"a": check, "b": check, "c": check}, timeout_s=1).report()
    assert report.ready


async def test_the_description_lists_the_webhooks_and_their_answers() -> None:
    async with open_door() as door:
        for _ in range(2):
            schema = (await door.http.get("/openapi.json")).json()
            assert {INBOUND, STATUS, "/healthz/ready", "/healthz/live"} <= set(schema["paths"])
        webhook = schema["paths"][INBOUND]["post"]
        assert {"200", "403", "413", "415", "503"} <= set(webhook["responses"])
        assert "application/x-www-form-urlencoded" in webhook["requestBody"]["content"]


async def test_no_page_loads_anything_from_elsewhere() -> None:
    """The description is plain JSON: FastAPI's pages of it would ask a CDN for their scripts."""
    async with open_door() as door:
        for page in ("/docs", "/redoc", "/docs/oauth2-redirect"):
            assert (await door.http.get(page)).status_code == 404
        assert "http" not in (await door.http.get("/openapi.json")).text.replace("HTTP", "")
