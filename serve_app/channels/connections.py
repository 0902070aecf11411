"""A channel's HTTP connections: to its provider, and to wherever a file lies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2


@dataclass(frozen=True, slots=True)
class Connections:
    api: httpx2.AsyncClient
    files: httpx2.AsyncClient


@asynccontextmanager
async def open_connections(local_origins: Iterable[str]) -> AsyncGenerator[Connections]:
    """Closed when the context ends. `local_origins`: the simulator's, if one runs."""
    # A proxy that the environment names is used, but never for the simulator next door.
    direct: dict[str, httpx2.AsyncBaseTransport | None] = dict.fromkeys(local_origins)
    async with (
        httpx2.AsyncClient(
            mounts=direct,
            limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20),
        ) as api,
        # Credentials go only where the fetcher's checks say, never through an environment's proxy; and a
        # connection checked for one host isn't kept for another behind the same address.
        httpx2.AsyncClient(
            trust_env=False,
            limits=httpx2.Limits(max_connections=50, max_keepalive_connections=0),
        ) as files,
    ):
        yield Connections(api, files)
