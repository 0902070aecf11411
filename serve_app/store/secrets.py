"""Secrets that owners' tools and notes need, encrypted at rest."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from serve_app.store.cipher import TokenCipher
from serve_app.store.pool import Connection, StorePool
from serve_app.store.values import text


class PostgresOwnerSecretRepository:
    def __init__(self, *, pool: StorePool, cipher: TokenCipher) -> None:
        self._pool = pool
        self._cipher = cipher

    async def get(self, owner_id: str, name: str) -> SecretStr | None:
        async with self._pool.connection() as connection:
            ciphertext = await connection.fetchval(
                "SELECT ciphertext FROM owner_secrets WHERE owner_id = $1 AND name = $2",
                text(owner_id),
                text(name),
            )
        return None if ciphertext is None else self._cipher.decrypt(ciphertext)

    async def names(self, owner_id: str) -> list[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                'SELECT name FROM owner_secrets WHERE owner_id = $1 ORDER BY name COLLATE "C"',
                text(owner_id),
            )
        return [row["name"] for row in rows]

    async def save(self, owner_id: str, name: str, value: SecretStr | None) -> None:
        async with self._pool.transaction() as connection:
            await save_secrets(connection, owner_id, {name: value}, cipher=self._cipher)


async def save_secrets(
    connection: Connection,
    owner_id: str,
    secrets: Mapping[str, SecretStr | None],
    *,
    cipher: TokenCipher,
) -> None:
    """Within the caller's transaction; None forgets one."""
    for name, value in secrets.items():
        if value is None:
            await connection.execute(
                "DELETE FROM owner_secrets WHERE owner_id = $1 AND name = $2", owner_id, name
            )
            continue
        await connection.execute(
            """
            INSERT INTO owner_secrets (owner_id, name, ciphertext) VALUES ($1, $2, $3)
            ON CONFLICT (owner_id, name) DO UPDATE SET
                ciphertext = excluded.ciphertext, updated_at = now()
            """,
            owner_id,
            name,
            cipher.encrypt(value),
        )
