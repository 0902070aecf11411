"""Full-text search in the documents' languages, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.accounts import Document
from serve_app.settings import StoreSettings
from serve_app.store.documents import PostgresDocumentRepository
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import StorePool, open_pool
from tests.contract.store_samples import an_owner

pytestmark = pytest.mark.integration


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[StorePool]:
    async with open_pool(database_url, StoreSettings()) as opened:
        await PostgresOwnerRepository(pool=opened).save(an_owner(language="pt-BR"))
        yield opened


@pytest.mark.parametrize(
    ("language", "text", "question"),
    [
        ("en", "Deliveries are made on weekdays.", "do you deliver on a weekday?"),
        (
            "es",
            "Las devoluciones se aceptan durante treinta días.",
            "puedo pedir una devolución? 30 DIAS",
        ),
        ("pt", "As encomendas são entregues às sextas-feiras.", "quando entregam a encomenda"),
        (None, "Os gatos são bem-vindos na varanda.", "posso levar meu gato"),
        ("ja", "Parking: yes", "parking"),
    ],
)
async def test_any_form_of_a_word_finds_it(
    pool: StorePool, language: str | None, text: str, question: str
) -> None:
    documents = PostgresDocumentRepository(pool=pool)
    await documents.save("o1", Document(title="Wanted", text=text, language=language))
    await documents.save("o1", Document(title="Other", text="Nothing of that.", language="en"))
    found = await documents.search("o1", question, limit=3)
    assert [passage.title for passage in found][:1] == ["Wanted"]


async def test_the_passage_that_answers_comes_first(pool: StorePool) -> None:
    documents = PostgresDocumentRepository(pool=pool)
    paragraphs = [f"Paragraph {n}. " + "Filler about nothing much. " * 30 for n in range(20)]
    paragraphs[13] = "Dogs are welcome on the terrace, and water bowls are at the door."
    await documents.save("o1", Document(title="Book", text="\n\n".join(paragraphs), language="en"))
    found = await documents.search("o1", "are dogs welcome?", limit=3)
    assert len(found) == 1
    assert "Dogs are welcome" in found[0].text
    assert len(found[0].text) <= 900


async def test_questions_are_words_never_operators(pool: StorePool) -> None:
    documents = PostgresDocumentRepository(pool=pool)
    await documents.save("o1", Document(title="A", text="cake & tea | coffee", language="en"))
    for question in ("cake' & | ! ( <-> :*", "\\'cake\\' ||", "cake" * 5_000, "\x00cake"):
        await documents.search("o1", question, limit=3)
    assert await documents.search("o1", "cake!", limit=3)
