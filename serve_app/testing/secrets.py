"""Owners' secrets in memory."""

from __future__ import annotations

import asyncio

from pydantic import SecretStr

from serve_app.testing.tables import Tables


class MemoryOwnerSecretRepository:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, owner_id: str, name: str) -> SecretStr | None:
        await asyncio.sleep(0)
        return self._tables.secrets.get((owner_id, name))

    async def names(self, owner_id: str) -> list[str]:
        await asyncio.sleep(0)
        return sorted(name for owner, name in self._tables.secrets if owner == owner_id)

    async def save(self, owner_id: str, name: str, value: SecretStr | None) -> None:
        await asyncio.sleep(0)
        self._tables.secrets.pop((owner_id, name), None)
        if value is not None:
            self._tables.secrets[owner_id, name] = value
