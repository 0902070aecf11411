"""How replies leave, from the contact's message to the phone: windows, failures, rates, several accounts."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from models.accounts import Owner, PhoneNumber, Plan, TwilioAccount
from tests.integration.chain.house import ACCOUNT_SID, TOKEN, House, Open

pytestmark = pytest.mark.integration

OTHERS = "whatsapp:+15550008888"


async def another_owner(at: House, **account: object) -> None:
    """With an account of its own under the same AccountSid."""
    await at.stores.owners.save(
        Owner.model_validate({"id": "second", "name": "Second Café", "plan": Plan(code="chain")})
    )
    await at.stores.accounts.save(
        TwilioAccount.model_validate(
            {
                "id": "second-twilio",
                "owner_id": "second",
                "account_sid": ACCOUNT_SID,
                "auth_token": SecretStr(TOKEN),
                "phone_numbers": (PhoneNumber(address=OTHERS),),
                **account,
            }
        )
    )


async def test_each_owner_waits_for_the_end_of_a_burst_as_long_as_it_likes(house: Open) -> None:
    async with house(conversation={"debounce_s": 60.0}, simulation={"numbers": (OTHERS,)}) as at:
        await another_owner(at, debounce_s=0.4)
        await at.write("To the first")
        for body in ("one", "two", "three"):
            await at.write(body, to=OTHERS, of=2)
        assert await at.received(of=2) == ["You said: one / two / three"]
        assert await at.received(at_least=0) == []
        assert (await at.stores.inbound.backlog()).delayed == 1
