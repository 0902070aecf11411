"""How long a burst is waited for: as the account says that was written to."""

from __future__ import annotations

import asyncio

from models.accounts import PhoneNumber
from tests.unit.api.door import Door, open_door, text_message
from tests.unit.conversation.stage import account

OTHERS = "whatsapp:+15550009999"


async def windows(door: Door, *recipients: str) -> list[float]:
    """As they are kept with the messages while Redis is away."""
    door.inbound.down = True
    known = len(door.store.tables.spool)
    for number, recipient in enumerate(recipients, start=known + 1):
        assert (await door.post(text_message(number, To=recipient))).status_code == 200
    return [each.debounce_s for each in list(door.store.tables.spool.values())[known:]]


async def another_owners_account(door: Door, debounce_s: float | None) -> None:
    await door.store.accounts.save(
        account(
            id="another",
            owner_id="owner-2",
            phone_numbers=(PhoneNumber(address=OTHERS),),
            debounce_s=debounce_s,
        )
    )


async def test_each_account_has_its_own_also_where_they_share_an_account_sid() -> None:
    async with open_door(debounce_s=1.5) as door:
        await door.store.accounts.save(account(debounce_s=0.0))
        await another_owners_account(door, 4.0)
        own = account().phone_numbers[0].address
        assert await windows(door, own, OTHERS) == [0.0, 4.0]
        await another_owners_account(door, None)
        assert await windows(door, OTHERS) == [4.0], "kept in memory for a while"
        door.clock.advance(60)
        assert await windows(door, OTHERS) == [1.5], "the installation's"


async def test_a_store_that_is_away_holds_nothing_up() -> None:
    async with open_door(debounce_s=1.5) as door:
        await another_owners_account(door, 4.0)
        own = account().phone_numbers[0].address
        assert await windows(door, own) == [1.5]
        door.accounts.hung = True
        async with asyncio.timeout(2):
            assert await windows(door, OTHERS, OTHERS) == [1.5, 1.5]
        door.accounts.hung = False
        door.clock.advance(3)
        assert await windows(door, OTHERS) == [4.0]
