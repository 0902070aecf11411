"""Accounts and owners in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from models.accounts import Addressee, Document, MonthlyUsage, Owner, TwilioAccount
from models.conversations import BookingRequest, ReplyToSend
from models.errors import PermanentError
from serve_app.store.references import reference
from serve_app.testing.tables import Tables, Usage, held, month


class MemoryTwilioAccountRepository:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def by_sid(self, account_sid: str) -> TwilioAccount | None:
        await asyncio.sleep(0)
        return self._first(lambda account: account.account_sid == account_sid)

    async def find(
        self, *, account_sid: str, address: str, messaging_service_sid: str | None = None
    ) -> TwilioAccount | None:
        await asyncio.sleep(0)
        found = self._first(
            lambda account: (
                account.account_sid == account_sid
                and any(number.address == address for number in account.phone_numbers)
            )
        )
        if found is None and messaging_service_sid is not None:
            found = self._first(
                lambda account: (
                    account.account_sid == account_sid
                    and account.messaging_service_sid == messaging_service_sid
                )
            )
        return found

    async def addressee(
        self, *, account_sid: str, address: str, messaging_service_sid: str | None = None
    ) -> Addressee | None:
        account = await self.find(
            account_sid=account_sid, address=address, messaging_service_sid=messaging_service_sid
        )
        owner = None if account is None else self._tables.owners.get(account.owner_id)
        if account is None or owner is None:
            return None
        has_documents = any(owner_id == owner.id for owner_id, _ in self._tables.documents)
        return Addressee(account=account, owner=owner, has_documents=has_documents)

    async def answering(
        self, account_id: str, *, account_sid: str, address: str
    ) -> TwilioAccount | None:
        await asyncio.sleep(0)
        found = [
            account
            for account in self._tables.accounts.values()
            if account.account_sid == account_sid
            and (
                account.id == account_id
                or any(number.address == address for number in account.phone_numbers)
            )
        ]
        return min(found, key=lambda each: (not each.active, each.id != account_id), default=None)

    async def to_send(self, reply_id: str) -> ReplyToSend | None:
        stored = self._tables.replies.get(reply_id)
        if stored is None:
            await asyncio.sleep(0)
            return None
        reply = stored.reply
        account = await self.answering(
            reply.account_id, account_sid=reply.account_sid, address=reply.sender
        )
        return ReplyToSend(reply=reply, account=account)

    async def save(self, account: TwilioAccount) -> None:
        await asyncio.sleep(0)
        self._put(account)

    async def list_all(self) -> list[TwilioAccount]:
        await asyncio.sleep(0)
        return sorted(self._tables.accounts.values(), key=lambda a: (a.owner_id, a.id))

    async def save_all(
        self,
        accounts: Sequence[TwilioAccount],
        *,
        owner: Owner | None = None,
        documents: Sequence[Document] | None = None,
        secrets: Mapping[str, SecretStr | None] | None = None,
    ) -> None:
        await asyncio.sleep(0)
        for account in accounts:
            if account.owner_id not in self._tables.owners and (
                owner is None or account.owner_id != owner.id
            ):
                raise PermanentError(f"there is no owner {account.owner_id}")
        if owner is not None:
            put_owner(self._tables, owner)
            self._put_documents(owner.id, documents)
            for name, value in (secrets or {}).items():
                self._tables.secrets.pop((owner.id, name), None)
                if value is not None:
                    self._tables.secrets[owner.id, name] = value
        for account in accounts:
            self._put(account)

    def _put_documents(self, owner_id: str, documents: Sequence[Document] | None) -> None:
        if documents is None:
            return
        kept = self._tables.documents
        for key in [key for key in kept if key[0] == owner_id]:
            del kept[key]
        kept.update({(owner_id, document.title): document for document in documents})

    def _put(self, account: TwilioAccount) -> None:
        self._tables.accounts[account.id] = account

    def _first(self, matches: Callable[[TwilioAccount], bool]) -> TwilioAccount | None:
        found = [account for account in self._tables.accounts.values() if matches(account)]
        return min(found, key=lambda account: not account.active, default=None)


class MemoryOwnerRepository:
    def __init__(self, tables: Tables, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._now = now

    async def get(self, owner_id: str) -> Owner | None:
        await asyncio.sleep(0)
        return self._tables.owners.get(owner_id)

    async def save(self, owner: Owner) -> None:
        await asyncio.sleep(0)
        put_owner(self._tables, owner)

    async def list_all(self) -> list[Owner]:
        await asyncio.sleep(0)
        return sorted(self._tables.owners.values(), key=lambda owner: owner.id)

    async def messages_this_month(self, owner_id: str) -> int:
        await asyncio.sleep(0)
        owner = self._tables.owners.get(owner_id)
        if owner is None:
            return 0
        used = self._tables.usage.get(month(owner, self._now()))
        return 0 if used is None else used.messages

    async def usage(self, owner_id: str, *, months: int) -> list[MonthlyUsage]:
        await asyncio.sleep(0)
        found = [
            MonthlyUsage(
                month=date(year, number, 1),
                messages=used.messages,
                audio_seconds=used.audio_seconds,
                prompt_tokens=used.prompt_tokens,
                completion_tokens=used.completion_tokens,
                sms_segments=used.sms_segments,
            )
            for (who, year, number), used in self._tables.usage.items()
            if who == owner_id
        ]
        return sorted(found, key=lambda each: each.month, reverse=True)[:months]

    async def reserve_turn(self, owner_id: str, *, turn_id: str) -> bool:
        await asyncio.sleep(0)
        owner, now = self._tables.owners.get(owner_id), self._now()
        if owner is None:
            raise PermanentError(f"there is no owner {owner_id}")
        quota = owner.plan.monthly_messages
        key = month(owner, now)
        used = self._tables.usage.setdefault(key, Usage())
        if quota is None:
            return True
        places = self._tables.reservations
        for place, (where, since) in list(places.items()):
            if where[0] == owner_id and (where != key or now - since > timedelta(hours=1)):
                del places[place]
        if turn_id not in places and used.messages + held(self._tables, key) >= quota:
            return False
        places[turn_id] = (key, now)
        return True

    async def request_booking(self, request: BookingRequest, *, key: str) -> str:
        await asyncio.sleep(0)
        if request.owner_id not in self._tables.owners:
            raise PermanentError(f"there is no owner {request.owner_id}")
        bookings = self._tables.bookings
        known = bookings.get((request.owner_id, key))
        if known is not None:
            return known[0]
        number = sum(1 for owner_id, _ in bookings if owner_id == request.owner_id)
        bookings[request.owner_id, key] = (reference(number), request)
        return reference(number)


def put_owner(tables: Tables, owner: Owner) -> None:
    """Raises `PermanentError` for an unknown time zone; a plan is shared by all owners with its code."""
    try:
        ZoneInfo(owner.timezone)
    except (KeyError, ValueError) as error:
        raise PermanentError(f"there is no time zone {owner.timezone}") from error
    owners = tables.owners
    owners[owner.id] = owner
    for other in list(owners.values()):
        if other.plan.code == owner.plan.code:
            owners[other.id] = other.model_copy(update={"plan": owner.plan})
