"""The peer of the acknowledging benchmark: the same signature check and a bare XADD, nothing of the
queue's promises, in an ordinary FastAPI route with redis-py's ordinary client. Served by uvicorn or by Ray
Serve's defaults."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Request, Response
from redis.asyncio import Redis

from serve_app.channels.twilio.signature import is_signed

REDIS_URL = "RECADO_REDIS_URL"
TOKEN = "RECADO_BENCH_TOKEN"  # noqa: S105 -- the variable's name
SIGNED_URL = "RECADO_BENCH_SIGNED_URL"


def create_peer() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        from_url = cast("Callable[[str], Redis]", Redis.from_url)  # pyright: ignore[reportUnknownMemberType] - untyped there
        app.state.redis = from_url(os.environ[REDIS_URL])
        yield
        await app.state.redis.aclose()

    app = FastAPI(lifespan=lifespan)
    token, url = os.environ[TOKEN], os.environ[SIGNED_URL]

    @app.post("/webhooks/twilio")
    async def inbound(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        body = await request.body()
        params = parse_qsl(body.decode(), keep_blank_values=True)
        if not is_signed(
            url=url,
            headers=request.headers,
            params=params,
            body=body,
            json_body=False,
            tokens=(token,),
        ):
            raise HTTPException(403)
        await app.state.redis.xadd("bench:peer", {"payload": body})
        return Response("<Response/>", media_type="text/xml")

    return app
