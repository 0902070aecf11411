"""What every store promises to those who administer it, the fakes included."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from models.accounts import Plan
from models.errors import PermanentError
from tests.contract.store_samples import Store, an_account, an_owner


async def test_owners_are_listed_by_id(store: Store) -> None:
    assert await store.owners.list_all() == []
    for owner_id in ("b", "B", "a"):
        await store.owners.save(an_owner(id=owner_id))
    assert await store.owners.list_all() == [an_owner(id=i) for i in ("B", "a", "b")]


async def test_accounts_are_listed_with_the_inactive_ones(store: Store) -> None:
    assert await store.accounts.list_all() == []
    accounts = [
        an_account(id="a9", owner_id="o1"),
        an_account(id="a1", owner_id="o2", active=False, secondary_token=SecretStr("old")),
        an_account(id="a2", owner_id="o2"),
    ]
    for owner_id in ("o1", "o2"):
        await store.owners.save(an_owner(id=owner_id))
    for account in reversed(accounts):
        await store.accounts.save(account)
    assert await store.accounts.list_all() == accounts


async def test_an_owner_and_its_accounts_are_saved_together(store: Store) -> None:
    accounts = [an_account(), an_account(id="a2", account_sid="AC2")]
    await store.accounts.save_all(accounts, owner=an_owner())
    assert await store.owners.list_all() == [an_owner()]
    assert await store.accounts.list_all() == accounts

    changed = an_account(auth_token=SecretStr("next"), active=False)
    await store.accounts.save_all([changed])
    assert await store.accounts.list_all() == [changed, accounts[1]]
    assert await store.owners.get("o1") == an_owner()


async def test_nothing_is_saved_where_one_account_has_no_owner(store: Store) -> None:
    await store.owners.save(an_owner())
    renamed = an_owner(name="Other", plan=Plan(code="basic", active=False))
    stray = an_account(id="a2", owner_id="nobody")
    with pytest.raises(PermanentError):
        await store.accounts.save_all([an_account(), stray], owner=renamed)
    assert await store.owners.list_all() == [an_owner()]
    assert await store.accounts.list_all() == []


async def test_nothing_is_saved_where_the_time_zone_is_unknown(store: Store) -> None:
    with pytest.raises(PermanentError):
        await store.accounts.save_all([an_account()], owner=an_owner(timezone="Mars/Base"))
    assert await store.owners.list_all() == []
    assert await store.accounts.list_all() == []
