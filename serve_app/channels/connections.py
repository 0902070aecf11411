"""A channel's HTTP connections: to its provider, and to wherever a file lies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Connections:
    api: httpx.AsyncClient
    files: httpx.AsyncClient


@asynccontextmanager
async def open_connections(local_origins: Iterable[str]) -> AsyncGenerator[Connections]:
    """Closed when the context ends. `local_origins`: the simulator's, if one runs."""
    # A proxy that the environment names is used, but never for the simulator next door.
    direct: dict[str, httpx.AsyncBaseTransport | None] = dict.fromkeys(local_origins)
    async with (
        httpx.AsyncClient(
            mounts=direct,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        ) as api,
        # Credentials go only where the fetcher's checks say, never through an environment's proxy; and a
        # connection checked for one host isn't kept for another behind the same address.
        httpx.AsyncClient(
            trust_env=False,
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=0),
        ) as files,
    ):
        yield Connections(api, files)
