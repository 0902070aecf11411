"""Hashing operators' passwords with scrypt (RFC 7914), in a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

_N, _R, _P = 2**15, 8, 1
_MEMORY = 2 * 128 * _N * _R
SHORTEST = 10
"""Characters that a password must have."""


def hash_password(password: str) -> str:
    """Takes some 0.1 s and 32 MiB."""
    salt = secrets.token_bytes(16)
    digest = _digest(password, salt, _N, _R, _P)
    return "$".join(("scrypt", f"{_N},{_R},{_P}", _text(salt), _text(digest)))


def matches(password: str, stored: str) -> bool:
    """False too for a hash that can't be read."""
    try:
        kind, costs, salt, digest = stored.split("$")
        n, r, p = (int(cost) for cost in costs.split(","))
        found = _digest(password, base64.b64decode(salt), n, r, p)
        return kind == "scrypt" and hmac.compare_digest(found, base64.b64decode(digest))
    except ValueError:
        return False


class PasswordChecker:
    """One check at a time, beside the event loop: a flood of sign-ins costs one core at most."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._nobody: str | None = None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def matches(self, password: str, stored: str | None) -> bool:
        """Without `stored` it takes as long, so that nobody learns which names there are."""
        loop = asyncio.get_running_loop()
        if stored is None:
            nobody = self._nobody
            if nobody is None:
                unknown = secrets.token_hex(16)
                nobody = await loop.run_in_executor(self._pool, hash_password, unknown)
                self._nobody = nobody
            await loop.run_in_executor(self._pool, matches, password, nobody)
            return False
        return await loop.run_in_executor(self._pool, matches, password, stored)


def _digest(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
