"""Everything that is kept of a contact: found, exported, erased; and what is older than an owner keeps.

What hangs on a contact is read from the database's foreign keys, so that no table is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models.conversations import Contact
from serve_app.store.addresses import ways_of_writing
from serve_app.store.pool import Connection, StorePool
from serve_app.store.values import text

_COLUMNS = "id, owner_id, channel, key, address, profile_name, language, timezone, opted_out_at"
Edges = dict[str, list[tuple[str, str, str]]]
"""By table: the tables that refer to it, with their column and the one that it refers to."""


class PostgresContactRepository:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def find(self, which: str, *, owner_id: str | None = None) -> list[Contact]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                f"""
                SELECT {_COLUMNS} FROM contacts
                WHERE (address = ANY ($1) OR key = ANY ($1) OR id = $2)
                    AND ($3::text IS NULL OR owner_id = $3)
                ORDER BY owner_id, channel, id
                """,  # noqa: S608 - a constant of this file
                [text(way) for way in ways_of_writing(which)],
                text(which),
                text(owner_id),
            )
        return [Contact(**dict(row)) for row in rows]

    async def conversation_keys(self, contact_id: str) -> list[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT key FROM conversations WHERE contact_id = $1 ORDER BY key", contact_id
            )
        return [row["key"] for row in rows]

    async def conversation_ids(self, contact_id: str) -> list[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT id FROM conversations WHERE contact_id = $1 ORDER BY key", contact_id
            )
        return [row["id"] for row in rows]

    async def export(self, contact_id: str) -> dict[str, list[dict[str, Any]]]:
        async with self._pool.transaction() as connection:
            edges = await _references(connection)
            found: dict[str, list[dict[str, Any]]] = {}
            for table, condition in _reached(edges, "contacts", "id = $1"):
                rows = await connection.fetch(
                    f"SELECT to_jsonb(t) AS row FROM {table} t WHERE {condition}",  # noqa: S608 - names of the schema
                    contact_id,
                )
                known = found.setdefault(table, [])
                known += [row["row"] for row in rows if row["row"] not in known]
            spooled = await connection.fetch(
                """
                SELECT to_jsonb(s) AS row FROM inbox_spool s WHERE conversation IN
                    (SELECT key FROM conversations WHERE contact_id = $1)
                """,
                contact_id,
            )
            found["inbox_spool"] = [row["row"] for row in spooled]
        return found

    async def erase(self, contact_id: str) -> dict[str, int]:
        async with self._pool.transaction() as connection:
            counts: dict[str, int] = {}
            # The conversations are locked in the order that a turn's commit locks them: contact first.
            await connection.execute("SELECT 1 FROM contacts WHERE id = $1 FOR UPDATE", contact_id)
            await connection.execute(
                "SELECT 1 FROM conversations WHERE contact_id = $1 FOR UPDATE", contact_id
            )
            for statement, table in (
                (
                    """
                    DELETE FROM inbox_spool WHERE conversation IN
                        (SELECT key FROM conversations WHERE contact_id = $1)
                    """,
                    "inbox_spool",
                ),
                (
                    """
                    DELETE FROM reservations WHERE turn_id IN (SELECT m.id FROM messages m
                        JOIN conversations v ON v.id = m.conversation_id WHERE v.contact_id = $1)
                    """,
                    "reservations",
                ),
            ):
                counts[table] = _count(await connection.execute(statement, contact_id))
            edges = await _references(connection)
            for table, condition in _reached(edges, "contacts", "id = $1"):
                done = await connection.execute(
                    f"DELETE FROM {table} WHERE {condition}",  # noqa: S608 - names of the schema
                    contact_id,
                )
                counts[table] = counts.get(table, 0) + _count(done)
        return {table: count for table, count in counts.items() if count}

    async def sweep(self, *, limit: int) -> int:
        """Delete what is older than its owner keeps it, at most `limit` turns and messages of each; returns
        how many rows. Replies that may still be sent keep their turns; contacts who opted out stay known."""
        total = 0
        async with self._pool.connection() as connection:
            owners = await connection.fetch(
                "SELECT id FROM owners WHERE retention_days IS NOT NULL ORDER BY id"
            )
        for row in owners:
            async with self._pool.transaction() as connection:
                total += await _sweep_owner(connection, row["id"], limit)
        return total

    async def give_back_due(self) -> int:
        """Give back conversations in which nothing was written for as long as their owners say."""
        async with self._pool.connection() as connection:
            done = await connection.execute(
                """
                UPDATE conversations v SET human = false, updated_at = now()
                FROM assistants a
                WHERE v.human AND a.owner_id = v.owner_id
                    AND greatest(v.last_inbound_at, v.updated_at) < now() - make_interval(
                        secs => 3600 * (a.settings #>> '{people,give_back_after_hours}')::float8)
                """
            )
        return _count(done)


async def _sweep_owner(connection: Connection, owner_id: str, limit: int) -> int:
    total = 0
    cutoff = "(SELECT now() - make_interval(days => retention_days) FROM owners WHERE id = $1)"
    edges = await _references(connection)
    chosen = await connection.fetch(
        f"""
        SELECT t.id FROM turns t WHERE t.owner_id = $1 AND t.created_at < {cutoff} AND NOT EXISTS (
            SELECT FROM replies r WHERE r.turn_id = t.id
                AND r.status IN ('pending', 'sending', 'unknown', 'parked'))
        ORDER BY t.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
        """,  # noqa: S608 - a constant of this function
        owner_id,
        limit,
    )
    turns = [row["id"] for row in chosen]
    for table, condition in _reached(edges, "turns", "id = ANY ($1)"):
        done = await connection.execute(
            f"DELETE FROM {table} WHERE {condition}",  # noqa: S608 - names of the schema
            turns,
        )
        total += _count(done)
    chosen = await connection.fetch(
        f"""
        SELECT m.id FROM messages m JOIN conversations v ON v.id = m.conversation_id
        WHERE v.owner_id = $1 AND m.turn_id IS NULL AND m.received_at < {cutoff}
        ORDER BY m.seq LIMIT $2
        """,  # noqa: S608 - a constant of this function
        owner_id,
        limit,
    )
    messages = [row["id"] for row in chosen]
    for table, condition in _reached(edges, "messages", "id = ANY ($1)"):
        done = await connection.execute(
            f"DELETE FROM {table} WHERE {condition}",  # noqa: S608 - names of the schema
            messages,
        )
        total += _count(done)
    for statement in (
        f"DELETE FROM bookings WHERE owner_id = $1 AND created_at < {cutoff}",  # noqa: S608
        f"DELETE FROM notes WHERE owner_id = $1 AND created_at < {cutoff}",  # noqa: S608
        f"""
        DELETE FROM conversations v WHERE v.owner_id = $1 AND NOT v.human
            AND greatest(v.last_inbound_at, v.updated_at) < {cutoff}
            AND NOT EXISTS (SELECT FROM messages m WHERE m.conversation_id = v.id)
            AND NOT EXISTS (SELECT FROM turns t WHERE t.conversation_id = v.id)
            AND NOT EXISTS (SELECT FROM bookings b WHERE b.conversation_id = v.id)
            AND NOT EXISTS (SELECT FROM notes n WHERE n.conversation_id = v.id)
        """,  # noqa: S608
        f"""
        DELETE FROM contacts c WHERE c.owner_id = $1 AND c.opted_out_at IS NULL
            AND c.updated_at < {cutoff}
            AND NOT EXISTS (SELECT FROM conversations v WHERE v.contact_id = c.id)
        """,  # noqa: S608
    ):
        total += _count(await connection.execute(statement, owner_id))
    return total


async def _references(connection: Connection) -> Edges:
    rows = await connection.fetch(
        """
        SELECT c.conrelid::regclass::text AS child, a.attname AS child_column,
            c.confrelid::regclass::text AS parent, f.attname AS parent_column
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
        WHERE c.contype = 'f' AND c.conrelid <> c.confrelid
            AND c.connamespace = current_schema()::regnamespace
        ORDER BY child, child_column
        """
    )
    edges: Edges = {}
    for row in rows:
        edges.setdefault(row["parent"], []).append(
            (row["child"], row["child_column"], row["parent_column"])
        )
    return edges


def _reached(edges: Edges, table: str, condition: str) -> Iterator[tuple[str, str]]:
    """What hangs on the rows of `table` that meet `condition`: those that refer come before what they
    refer to, so that they can be deleted in this order."""
    for child, child_column, parent_column in edges.get(table, ()):
        inner = f"{child_column} IN (SELECT {parent_column} FROM {table} WHERE {condition})"  # noqa: S608
        yield from _reached(edges, child, inner)
    yield table, condition


def _count(status: str) -> int:
    """Rows of a command's status, as in `DELETE 3`."""
    return int(status.rsplit(" ", 1)[-1])
