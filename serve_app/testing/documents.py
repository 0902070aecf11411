"""Owners' documents in memory, found by their words: without the languages' endings."""

from __future__ import annotations

import asyncio
import re

from models.accounts import Document, Passage
from models.errors import PermanentError
from serve_app.store.passages import passages_of, without_accents
from serve_app.testing.tables import Tables

_WORD = re.compile(r"\w+")


class MemoryDocumentRepository:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def save(self, owner_id: str, document: Document) -> None:
        await asyncio.sleep(0)
        if owner_id not in self._tables.owners:
            raise PermanentError(f"there is no owner {owner_id}")
        self._tables.documents[owner_id, document.title] = document

    async def remove(self, owner_id: str, title: str) -> bool:
        await asyncio.sleep(0)
        return self._tables.documents.pop((owner_id, title), None) is not None

    async def list_all(self, owner_id: str) -> list[Document]:
        await asyncio.sleep(0)
        found = [d for (owner, _), d in self._tables.documents.items() if owner == owner_id]
        return sorted(found, key=lambda document: document.title)

    async def search(self, owner_id: str, question: str, *, limit: int) -> list[Passage]:
        asked = _words(question)
        found: list[Passage] = []
        for document in await self.list_all(owner_id):
            for text in passages_of(document.text):
                rank = len(asked & (_words(text) | _words(document.title)))
                if rank:
                    passage = {"title": document.title, "source": document.source, "text": text}
                    found.append(Passage(**passage, rank=rank))
        return sorted(found, key=lambda passage: -passage.rank)[:limit]


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(without_accents(text).casefold()) if len(word) > 3}
