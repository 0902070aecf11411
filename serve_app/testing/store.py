"""The repositories in memory, with Postgres' promises: idempotent, compare-and-set, all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from serve_app.testing.consents import MemoryConsentRepository
from serve_app.testing.contacts import MemoryContactRepository
from serve_app.testing.conversations import MemoryConversationRepository
from serve_app.testing.documents import MemoryDocumentRepository
from serve_app.testing.notes import MemoryNoteRepository
from serve_app.testing.owners import MemoryOwnerRepository, MemoryTwilioAccountRepository
from serve_app.testing.replies import MemoryReplyRepository
from serve_app.testing.samples import MemoryFigureSamples
from serve_app.testing.secrets import MemoryOwnerSecretRepository
from serve_app.testing.spool import MemorySpoolRepository
from serve_app.testing.tables import Tables


class MemoryStore:
    """All repositories over one set of tables. `now` is what they take for the present."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.tables = Tables()
        self.accounts = MemoryTwilioAccountRepository(self.tables)
        self.owners = MemoryOwnerRepository(self.tables, now=now)
        self.conversations = MemoryConversationRepository(self.tables, now=now)
        self.documents = MemoryDocumentRepository(self.tables)
        self.secrets = MemoryOwnerSecretRepository(self.tables)
        self.notes = MemoryNoteRepository(self.tables, now=now)
        self.consents = MemoryConsentRepository(self.tables)
        self.contacts = MemoryContactRepository(self.tables, now=now)
        self.replies = MemoryReplyRepository(self.tables, now=now)
        self.spool = MemorySpoolRepository(self.tables)
        self.samples = MemoryFigureSamples(now=now)
