"""The store under test, real or in memory, and what is kept in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from models.accounts import Assistant, Owner, PhoneNumber, Plan, TwilioAccount
from models.conversations import Conversation, HistoryEntry, NewReply, StoredMessage, TurnOutcome
from models.messages import DeliveryStatus, InboundMessage, StatusUpdate
from serve_app.ports import (
    ConsentRepository,
    ContactRepository,
    ConversationRepository,
    DocumentRepository,
    FigureSamples,
    NoteRepository,
    OwnerRepository,
    OwnerSecretRepository,
    ReplyRepository,
    SpoolRepository,
    TwilioAccountRepository,
)
from serve_app.settings import StoreSettings
from serve_app.store.accounts import PostgresTwilioAccountRepository
from serve_app.store.cipher import TokenCipher
from serve_app.store.consents import PostgresConsentRepository
from serve_app.store.contacts import PostgresContactRepository
from serve_app.store.conversations import PostgresConversationRepository
from serve_app.store.documents import PostgresDocumentRepository
from serve_app.store.notes import PostgresNoteRepository
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import open_pool
from serve_app.store.replies import PostgresReplyRepository
from serve_app.store.samples import PostgresFigureSamples
from serve_app.store.secrets import PostgresOwnerSecretRepository
from serve_app.store.spool import PostgresSpoolRepository
from serve_app.testing.store import MemoryStore

NUMBER = "whatsapp:+15550001111"
CONTACT = "whatsapp:+34600000001"
RECEIVED = datetime(2026, 3, 14, 12, 0, 0, 123456, tzinfo=UTC)


class SettableClock:
    """The present, until a test sets another one."""

    def __init__(self) -> None:
        self.at: datetime | None = None

    def now(self) -> datetime:
        return self.at or datetime.now(UTC)

    def monotonic(self) -> float:
        return self.now().timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the store doesn't sleep")


@dataclass
class Store:
    clock: SettableClock
    accounts: TwilioAccountRepository
    owners: OwnerRepository
    conversations: ConversationRepository
    replies: ReplyRepository
    consents: ConsentRepository
    spool: SpoolRepository
    notes: NoteRepository
    documents: DocumentRepository
    secrets: OwnerSecretRepository
    contacts: ContactRepository
    samples: FigureSamples

    async def begin(
        self, *, owner_id: str = "o1", messages: int = 1, prefix: str = "SM"
    ) -> tuple[Conversation, list[StoredMessage]]:
        """An owner with an account, to whom somebody wrote."""
        account = an_account(id=f"a-{owner_id}", owner_id=owner_id)
        await self.owners.save(an_owner(id=owner_id))
        await self.accounts.save(account)
        return await self.conversations.record(
            [a_message(f"{prefix}{n}", body=f"message {n}") for n in range(messages)],
            owner_id=owner_id,
            account=account,
        )

    async def reply(self, *, turn_id: str = "turn", reply_id: str = "reply") -> str:
        """One pending reply; returns its id."""
        conversation, stored = await self.begin(prefix=f"SM-{turn_id}-")
        outcome = a_turn(
            conversation, stored, turn_id=turn_id, replies=(a_reply(reply_id, 0, "Hello!"),)
        )
        assert await self.conversations.commit_turn(outcome)
        return reply_id


@asynccontextmanager
async def open_postgres_store(dsn: str, clock: SettableClock) -> AsyncIterator[Store]:
    async with open_pool(dsn, StoreSettings()) as pool:
        cipher = TokenCipher(Fernet.generate_key().decode())
        yield Store(
            clock=clock,
            accounts=PostgresTwilioAccountRepository(pool=pool, cipher=cipher),
            owners=PostgresOwnerRepository(pool=pool, clock=clock),
            conversations=PostgresConversationRepository(pool=pool, clock=clock),
            replies=PostgresReplyRepository(pool=pool, clock=clock),
            consents=PostgresConsentRepository(pool=pool),
            spool=PostgresSpoolRepository(pool=pool),
            notes=PostgresNoteRepository(pool=pool),
            documents=PostgresDocumentRepository(pool=pool),
            secrets=PostgresOwnerSecretRepository(pool=pool, cipher=cipher),
            contacts=PostgresContactRepository(pool=pool),
            samples=PostgresFigureSamples(pool=pool),
        )


def memory_store(clock: SettableClock) -> Store:
    memory = MemoryStore(now=clock.now)
    return Store(
        clock=clock,
        accounts=memory.accounts,
        owners=memory.owners,
        conversations=memory.conversations,
        replies=memory.replies,
        consents=memory.consents,
        spool=memory.spool,
        notes=memory.notes,
        documents=memory.documents,
        secrets=memory.secrets,
        contacts=memory.contacts,
        samples=memory.samples,
    )


STORES = ("memory", pytest.param("postgres", marks=pytest.mark.integration))
"""What a module's own fixture `store` is parametrised with."""


@asynccontextmanager
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    clock = SettableClock()
    if request.param == "memory":
        yield memory_store(clock)
        return
    async with open_postgres_store(request.getfixturevalue("database_url"), clock) as store:
        yield store


def an_owner(**fields: object) -> Owner:
    return Owner(
        **{
            "id": "o1",
            "name": "Café Aurora",
            "timezone": "Europe/Madrid",
            "language": "es",
            "plan": Plan(code="basic", features=frozenset({"text"}), monthly_messages=100),
            "assistant": Assistant(
                instructions="Be brief.",
                language="es",
                tools=("opening_hours", "book_table"),
                facts={"hours": {"mon": ["09:00", "18:00"]}, "prices": [1.5, None, "ñ"]},
                temperature=0.3,
                max_reply_tokens=99,
            ),
            **fields,
        }
    )


def an_account(**fields: object) -> TwilioAccount:
    return TwilioAccount(
        **{
            "id": "a1",
            "owner_id": "o1",
            "account_sid": "AC1",
            "auth_token": SecretStr("primary-token"),
            "phone_numbers": (
                PhoneNumber(address=NUMBER),
                PhoneNumber(address="+15550001111", channel="sms"),
            ),
            **fields,
        }
    )


def a_message(message_id: str, **fields: object) -> InboundMessage:
    return InboundMessage(
        **{
            "channel": "whatsapp",
            "account_id": "AC1",
            "message_id": message_id,
            "sender": CONTACT,
            "recipient": NUMBER,
            "contact_key": CONTACT,
            "received_at": RECEIVED,
            **fields,
        }
    )


def a_reply(reply_id: str, position: int, body: str, *, segments: int | None = None) -> NewReply:
    return NewReply(id=reply_id, position=position, body=body, segments=segments)


def a_turn(
    conversation: Conversation, messages: list[StoredMessage], **fields: object
) -> TurnOutcome:
    return TurnOutcome(
        **{
            "turn_id": "turn",
            "conversation_id": conversation.id,
            "owner_id": conversation.owner_id,
            "message_ids": tuple(message.id for message in messages),
            "replies": (a_reply("reply", 0, "Hello!"),),
            "entries": (
                HistoryEntry(role="user", content="hi"),
                HistoryEntry(role="assistant", content="Hello!"),
            ),
            **fields,
        }
    )


def a_report(
    status: DeliveryStatus,
    *,
    message_id: str = "SMout",
    reply_id: str | None = None,
    **fields: object,
) -> StatusUpdate:
    return StatusUpdate(
        **{
            "channel": "whatsapp",
            "account_id": "AC1",
            "message_id": message_id,
            "status": status,
            "reply_id": reply_id,
            "received_at": RECEIVED + timedelta(minutes=1),
            **fields,
        }
    )
