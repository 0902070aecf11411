"""What every store promises of owners' documents and secrets, the fakes included."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from models.accounts import Document
from models.errors import PermanentError
from tests.contract.store_samples import STORES, Store, an_account, an_owner, open_store

PARKING = Document(
    title="Parking", text="Guests park free of charge behind the bakery.", source="handbook, page 3"
)
RETURNS = Document(
    title="Returns",
    text="Cakes can't be returned.\n\nVouchers can be exchanged within thirty days.",
)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request) as opened:
        for owner_id in ("o1", "o2"):
            await opened.owners.save(an_owner(id=owner_id, language="en"))
        yield opened


async def test_documents_are_found_by_their_words_with_their_source(store: Store) -> None:
    await store.documents.save("o1", PARKING)
    await store.documents.save("o1", RETURNS)
    (found,) = await store.documents.search("o1", "Where can I park? Parking, please!", limit=3)
    assert (found.title, found.source) == ("Parking", "handbook, page 3")
    assert found.text == PARKING.text
    assert await store.documents.search("o1", "helicopter", limit=3) == []
    assert await store.documents.search("o1", "?!", limit=3) == []
    assert await store.documents.search("o2", "parking", limit=3) == []
    assert await store.documents.search("o1", "parking vouchers cakes", limit=1) != []


async def test_saving_again_replaces_and_removing_forgets(store: Store) -> None:
    await store.documents.save("o1", PARKING)
    moved = PARKING.model_copy(update={"text": "Bicycles only."})
    await store.documents.save("o1", moved)
    assert await store.documents.list_all("o1") == [moved]
    assert await store.documents.search("o1", "bakery", limit=3) == []
    assert await store.documents.remove("o1", "Parking")
    assert not await store.documents.remove("o1", "Parking")
    assert await store.documents.list_all("o1") == []
    assert await store.documents.search("o1", "bicycles", limit=3) == []
    with pytest.raises(PermanentError):
        await store.documents.save("nobody", PARKING)


async def test_an_owner_is_saved_with_documents_and_secrets_at_once(store: Store) -> None:
    await store.documents.save("o1", PARKING)
    await store.accounts.save_all(
        [an_account()],
        owner=an_owner(),
        documents=[RETURNS],
        secrets={"crm": SecretStr("s3cret"), "gone": None},
    )
    assert await store.documents.list_all("o1") == [RETURNS]
    assert await store.secrets.names("o1") == ["crm"]
    assert await store.secrets.get("o1", "crm") == SecretStr("s3cret")
    await store.accounts.save_all([], owner=an_owner(), secrets={"crm": None})
    assert await store.documents.list_all("o1") == [RETURNS], "not mentioned, not changed"
    assert await store.secrets.get("o1", "crm") is None


async def test_secrets_are_each_owners_own(store: Store) -> None:
    await store.secrets.save("o1", "crm", SecretStr("one"))
    await store.secrets.save("o1", "crm", SecretStr("two"))
    assert await store.secrets.get("o1", "crm") == SecretStr("two")
    assert await store.secrets.get("o2", "crm") is None
    await store.secrets.save("o1", "crm", None)
    assert await store.secrets.names("o1") == []
