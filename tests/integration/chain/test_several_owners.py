"""Several owners, messaging services and subaccounts beside each other, from contact to phone."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from tests.integration.chain.house import ACCOUNT_SID, BUSINESS, Open

pytestmark = pytest.mark.integration

OTHERS, THIRD = "whatsapp:+15550008888", "whatsapp:+15550009999"
SERVICES = {"first": "MG" + "1" * 32, "second": "MG" + "2" * 32}
SUBACCOUNT = "AC" + "8" * 32


async def test_each_owner_waits_for_the_end_of_a_burst_as_long_as_it_likes(house: Open) -> None:
    async with house(conversation={"debounce_s": 60.0}, simulation={"numbers": (OTHERS,)}) as at:
        await at.another_owner("second", OTHERS, debounce_s=0.4)
        await at.write("To the first")
        for body in ("one", "two", "three"):
            await at.write(body, to=OTHERS, of=2)
        assert await at.received(of=2) == ["You said: one / two / three"]
        assert await at.received(at_least=0) == []
        assert (await at.stores.inbound.backlog()).delayed == 1


async def test_services_and_subaccounts_each_answer_for_themselves(house: Open) -> None:
    async with house(simulation={"numbers": (BUSINESS, OTHERS, THIRD)}) as at:
        await at.account(messaging_service_sid=SERVICES["first"])
        await at.another_owner("second", OTHERS, messaging_service_sid=SERVICES["second"])
        token = "a-token-of-the-subaccount"
        put = await at.simulator.put(
            f"/simulator/accounts/{SUBACCOUNT}", json={"auth_token": token}
        )
        put.raise_for_status()
        secrets = {"auth_token": SecretStr(token), "account_sid": SUBACCOUNT}
        await at.another_owner("third", THIRD, messaging_service_sid=None, **secrets)
        await asyncio.gather(
            at.write("one", of=1, MessagingServiceSid=SERVICES["first"]),
            at.write("two", of=2, to=OTHERS, MessagingServiceSid=SERVICES["second"]),
            at.write("three", of=3, to=THIRD, account_sid=SUBACCOUNT),
        )
        found = [(await at.phone(number, at_least=1))[0] for number in (1, 2, 3)]
        assert [(each["account_sid"], each["messaging_service_sid"]) for each in found] == [
            (ACCOUNT_SID, SERVICES["first"]),
            (ACCOUNT_SID, SERVICES["second"]),
            (SUBACCOUNT, None),
        ]
        for number, owner in ((1, "chain"), (2, "second"), (3, "third")):
            (contact,) = await at.stores.contacts.find(found[number - 1]["to"])
            assert contact.owner_id == owner
            assert await at.stores.owners.messages_this_month(owner) == 1
