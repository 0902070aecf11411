"""Accounts at providers, their tokens encrypted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from pydantic import SecretStr

from models.accounts import Addressee, Document, Owner, PhoneNumber, TwilioAccount
from models.conversations import Reply, ReplyToSend
from serve_app.store.cipher import TokenCipher
from serve_app.store.documents import replace_documents
from serve_app.store.owners import OWNER_COLUMNS, OWNER_JOINS, owner_of_row, save_owner
from serve_app.store.pool import Connection, StorePool
from serve_app.store.replies import REPLY_COLUMNS
from serve_app.store.secrets import save_secrets
from serve_app.store.values import jsonable, text

_COLUMNS = (
    "id, owner_id, channel, account_sid, auth_token, secondary_token, access_token, phone_numbers,"
    " messaging_service_sid, active, debounce_s, sending"
)
# Constants of this file, never values, are what the queries are put together from.
_BY_SID = f"""
    SELECT {_COLUMNS} FROM twilio_accounts WHERE account_sid = $1
    ORDER BY active DESC, created_at, id LIMIT 1
"""  # noqa: S608
_BY_NUMBER = f"""
    SELECT {_COLUMNS} FROM twilio_accounts WHERE account_sid = $1 AND phone_numbers @> $2::jsonb
    ORDER BY active DESC, created_at, id LIMIT 1
"""  # noqa: S608
_BY_SERVICE = f"""
    SELECT {_COLUMNS} FROM twilio_accounts WHERE account_sid = $1 AND messaging_service_sid = $2
    ORDER BY active DESC, created_at, id LIMIT 1
"""  # noqa: S608
# Other tables of a statement have such columns, too.
_PREFIXED = ", ".join(f"a.{name} AS its_{name}" for name in _COLUMNS.split(", "))
_WITH_OWNER = f"""
    SELECT {_PREFIXED}, {OWNER_COLUMNS},
        EXISTS (SELECT FROM documents d WHERE d.owner_id = o.id) AS has_documents
    FROM ({{found}}) a JOIN owners o ON o.id = a.owner_id {OWNER_JOINS}
"""  # noqa: S608
_ADDRESSEE_BY_NUMBER = _WITH_OWNER.format(found=_BY_NUMBER)
_ADDRESSEE_BY_SERVICE = _WITH_OWNER.format(found=_BY_SERVICE)


def _answering(*, account_id: str, account_sid: str, numbers: str) -> str:
    """First the one that it began with; a number that has moved leaves an account behind that has ended."""
    return f"""
        SELECT {_COLUMNS} FROM twilio_accounts
        WHERE account_sid = {account_sid} AND (id = {account_id} OR phone_numbers @> {numbers})
        ORDER BY active DESC, id <> {account_id}, created_at, id LIMIT 1
    """  # noqa: S608


_ANSWERING = _answering(account_id="$1", account_sid="$2", numbers="$3::jsonb")
_TO_SEND = f"""
    SELECT r.*, {_PREFIXED} FROM (SELECT {REPLY_COLUMNS} FROM replies WHERE id = $1) r
    LEFT JOIN LATERAL ({
    _answering(
        account_id="r.account_id",
        account_sid="r.account_sid",
        numbers="jsonb_build_array(jsonb_build_object('address', r.sender))",
    )
}) a ON true
"""  # noqa: S608

_ALL = f"""
    SELECT {_COLUMNS} FROM twilio_accounts ORDER BY owner_id COLLATE "C", id COLLATE "C"
"""  # noqa: S608


async def owner_of(
    connection: Connection,
    *,
    account_sid: str,
    address: str,
    messaging_service_sid: str | None,
) -> str | None:
    """Whose number it is; found as `PostgresTwilioAccountRepository.find` does."""
    row = await _find(connection, account_sid, address, messaging_service_sid)
    return None if row is None else row["owner_id"]


async def _find(
    connection: Connection,
    account_sid: str,
    address: str,
    messaging_service_sid: str | None,
    *,
    by_number: str = _BY_NUMBER,
    by_service: str = _BY_SERVICE,
) -> asyncpg.Record | None:
    sid = text(account_sid)
    row = await connection.fetchrow(by_number, sid, [{"address": text(address)}])
    if row is None and messaging_service_sid is not None:
        row = await connection.fetchrow(by_service, sid, text(messaging_service_sid))
    return row


class PostgresTwilioAccountRepository:
    """Where several accounts match, an active one comes before an inactive one, then the oldest."""

    def __init__(self, *, pool: StorePool, cipher: TokenCipher) -> None:
        self._pool = pool
        self._cipher = cipher

    async def by_sid(self, account_sid: str) -> TwilioAccount | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(_BY_SID, text(account_sid))
        return None if row is None else self._account(row)

    async def find(
        self, *, account_sid: str, address: str, messaging_service_sid: str | None = None
    ) -> TwilioAccount | None:
        async with self._pool.connection() as connection:
            row = await _find(connection, account_sid, address, messaging_service_sid)
        return None if row is None else self._account(row)

    async def addressee(
        self, *, account_sid: str, address: str, messaging_service_sid: str | None = None
    ) -> Addressee | None:
        async with self._pool.connection() as connection:
            row = await _find(
                connection,
                account_sid,
                address,
                messaging_service_sid,
                by_number=_ADDRESSEE_BY_NUMBER,
                by_service=_ADDRESSEE_BY_SERVICE,
            )
        if row is None:
            return None
        return Addressee(
            account=self._its_account(row),
            owner=owner_of_row(row),
            has_documents=row["has_documents"],
        )

    async def answering(
        self, account_id: str, *, account_sid: str, address: str
    ) -> TwilioAccount | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                _ANSWERING, text(account_id), text(account_sid), [{"address": text(address)}]
            )
        return None if row is None else self._account(row)

    async def to_send(self, reply_id: str) -> ReplyToSend | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(_TO_SEND, text(reply_id))
        if row is None:
            return None
        fields = {name: row[name] for name in Reply.model_fields}
        account = None if row["its_id"] is None else self._its_account(row)
        return ReplyToSend(reply=Reply(**fields), account=account)

    async def save(self, account: TwilioAccount) -> None:
        async with self._pool.connection() as connection:
            await self._save(connection, account)

    async def list_all(self) -> list[TwilioAccount]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(_ALL)
        return [self._account(row) for row in rows]

    async def save_all(
        self,
        accounts: Sequence[TwilioAccount],
        *,
        owner: Owner | None = None,
        documents: Sequence[Document] | None = None,
        secrets: Mapping[str, SecretStr | None] | None = None,
    ) -> None:
        async with self._pool.transaction() as connection:
            if owner is not None:
                await save_owner(connection, owner)
                if documents is not None:
                    await replace_documents(connection, owner.id, documents)
                await save_secrets(connection, owner.id, secrets or {}, cipher=self._cipher)
            for account in accounts:
                await self._save(connection, account)

    async def reencrypt(self) -> int:
        """Encrypt every token with the newest key; returns the number of accounts.

        Raises `PermanentError`, with nothing changed, if a token's key is missing.
        """
        async with self._pool.transaction() as connection:
            rows = await connection.fetch(
                """
                SELECT id, auth_token, secondary_token, access_token FROM twilio_accounts
                ORDER BY id FOR UPDATE
                """
            )
            for row in rows:
                secondary, access = row["secondary_token"], row["access_token"]
                await connection.execute(
                    """
                    UPDATE twilio_accounts
                    SET auth_token = $2, secondary_token = $3, access_token = $4, updated_at = now()
                    WHERE id = $1
                    """,
                    row["id"],
                    self._cipher.rotate(row["auth_token"]),
                    None if secondary is None else self._cipher.rotate(secondary),
                    None if access is None else self._cipher.rotate(access),
                )
        return len(rows)

    async def _save(self, connection: Connection, account: TwilioAccount) -> None:
        secondary, access = account.secondary_token, account.access_token
        await connection.execute(
            """
            INSERT INTO twilio_accounts (id, owner_id, account_sid, auth_token, secondary_token,
                phone_numbers, messaging_service_sid, active, channel, access_token, sending,
                debounce_s)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            ON CONFLICT (id) DO UPDATE SET
                owner_id = excluded.owner_id,
                account_sid = excluded.account_sid,
                auth_token = excluded.auth_token,
                secondary_token = excluded.secondary_token,
                phone_numbers = excluded.phone_numbers,
                messaging_service_sid = excluded.messaging_service_sid,
                active = excluded.active,
                channel = excluded.channel,
                access_token = excluded.access_token,
                sending = excluded.sending,
                debounce_s = excluded.debounce_s,
                updated_at = now()
            """,
            account.id,
            account.owner_id,
            account.account_sid,
            self._cipher.encrypt(account.auth_token),
            None if secondary is None else self._cipher.encrypt(secondary),
            jsonable(account.phone_numbers),
            account.messaging_service_sid,
            account.active,
            account.channel,
            None if access is None else self._cipher.encrypt(access),
            jsonable(account.sending.model_dump(mode="json", exclude_none=True)),
            account.debounce_s,
        )

    def _its_account(self, row: asyncpg.Record) -> TwilioAccount:
        return self._account({name: row[f"its_{name}"] for name in _COLUMNS.split(", ")})

    def _account(self, row: asyncpg.Record | Mapping[str, Any]) -> TwilioAccount:
        fields = dict(row)
        fields["auth_token"] = self._cipher.decrypt(row["auth_token"])
        for name in ("secondary_token", "access_token"):
            if row[name] is not None:
                fields[name] = self._cipher.decrypt(row[name])
        fields["phone_numbers"] = tuple(PhoneNumber(**number) for number in row["phone_numbers"])
        return TwilioAccount(**fields)
