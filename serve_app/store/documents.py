"""Owners' documents, found by Postgres' full-text search in the language of each."""

from __future__ import annotations

from collections.abc import Sequence

from models.accounts import Document, Passage
from models.errors import PermanentError
from serve_app.store.passages import config_of, passages_of, without_accents
from serve_app.store.pool import Connection, StorePool
from serve_app.store.values import text


class PostgresDocumentRepository:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def save(self, owner_id: str, document: Document) -> None:
        async with self._pool.transaction() as connection:
            await save_document(connection, owner_id, document)

    async def remove(self, owner_id: str, title: str) -> bool:
        async with self._pool.connection() as connection:
            result = await connection.execute(
                "DELETE FROM documents WHERE owner_id = $1 AND title = $2",
                text(owner_id),
                text(title),
            )
        return result == "DELETE 1"

    async def list_all(self, owner_id: str) -> list[Document]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT title, body AS text, source, language FROM documents
                WHERE owner_id = $1 ORDER BY title COLLATE "C"
                """,
                text(owner_id),
            )
        return [Document(**dict(row)) for row in rows]

    async def search(self, owner_id: str, question: str, *, limit: int) -> list[Passage]:
        async with self._pool.connection() as connection:
            # Any of the question's words will do, in the language of each passage; more and rarer
            # matches, and those in titles, come first.
            rows = await connection.fetch(
                """
                WITH asked AS (
                    SELECT c.config, (
                        SELECT string_agg(quote_literal(word), ' | ')::tsquery
                        FROM unnest(tsvector_to_array(
                            to_tsvector(c.config, $2) || to_tsvector(c.config, $4))) AS word
                    ) AS query
                    FROM (SELECT DISTINCT config FROM passages WHERE owner_id = $1) AS c
                )
                SELECT d.title, d.source, p.body AS text,
                    ts_rank_cd('{0.1, 0.2, 0.4, 1.0}', p.words, a.query, 1)::float8 AS rank
                FROM asked a JOIN passages p ON p.config = a.config
                JOIN documents d ON d.id = p.document_id
                WHERE p.owner_id = $1 AND p.words @@ a.query
                ORDER BY rank DESC, d.title COLLATE "C", p.position LIMIT $3
                """,
                text(owner_id),
                text(question),
                limit,
                text(without_accents(question)),
            )
        return [Passage(**dict(row)) for row in rows]


async def save_document(connection: Connection, owner_id: str, document: Document) -> None:
    """Within the caller's transaction. Raises `PermanentError` if there is no such owner."""
    language = await connection.fetchval("SELECT language FROM owners WHERE id = $1", owner_id)
    if language is None:
        raise PermanentError(f"there is no owner {owner_id}")
    document_id = await connection.fetchval(
        """
        INSERT INTO documents (owner_id, title, source, language, body) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (owner_id, title) DO UPDATE SET source = excluded.source,
            language = excluded.language, body = excluded.body, updated_at = now()
        RETURNING id
        """,
        owner_id,
        text(document.title),
        text(document.source),
        document.language,
        text(document.text),
    )
    await connection.execute("DELETE FROM passages WHERE document_id = $1", document_id)
    config = config_of(document.language or language)
    await connection.executemany(
        """
        INSERT INTO passages (document_id, owner_id, position, body, config, words)
        VALUES ($1, $2, $3, $4, $5::text::regconfig,
            setweight(to_tsvector($5::text::regconfig, $6 || ' ' || $7), 'A')
            || setweight(to_tsvector($5::text::regconfig, $4 || ' ' || $8), 'C'))
        """,
        [
            (
                document_id,
                owner_id,
                position,
                text(passage),
                config,
                text(document.title),
                without_accents(text(document.title)),
                without_accents(text(passage)),
            )
            for position, passage in enumerate(passages_of(document.text))
        ],
    )


async def replace_documents(
    connection: Connection, owner_id: str, documents: Sequence[Document]
) -> None:
    """Within the caller's transaction: these and no others."""
    await connection.execute(
        "DELETE FROM documents WHERE owner_id = $1 AND title <> ALL ($2)",
        owner_id,
        [text(document.title) for document in documents],
    )
    for document in documents:
        await save_document(connection, owner_id, document)
