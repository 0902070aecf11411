"""Which of a business's accounts its messages leave through."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from models.accounts import Owner, Plan, TwilioAccount
from serve_app.conversation.catalogue import TextCatalogue
from tests.integration.chain.house import ACCOUNT_SID, TOKEN, House, Open, contact

pytestmark = pytest.mark.integration


async def share_the_account(at: House) -> None:
    """Two businesses with one account at the provider, which messaging services tell apart."""
    people = {"keywords": ["a human"], "notify_number": contact(99)}
    other = {"id": "other", "name": "Other", "plan": Plan(code="chain")}
    await at.stores.owners.save(Owner.model_validate({**other, "assistant": {"people": people}}))
    for owner_id in ("chain", "other"):
        await at.stores.accounts.save(
            TwilioAccount(
                id=f"{owner_id}-twilio",
                owner_id=owner_id,
                account_sid=ACCOUNT_SID,
                auth_token=SecretStr(TOKEN),
                messaging_service_sid=f"MG-{owner_id}",
            )
        )


async def sent_through(at: House) -> list[tuple[str, str]]:
    """To whom, and through which messaging service."""
    answer = await at.simulator.get(
        f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json", auth=(ACCOUNT_SID, TOKEN)
    )
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return [
        (message["to"], message["messaging_service_sid"])
        for message in reversed(messages)
        if message["direction"].startswith("outbound")
    ]


async def test_accounts_that_only_a_messaging_service_tells_apart(house: Open) -> None:
    async with house() as at:
        await share_the_account(at)
        await at.write("Hello", of=1, MessagingServiceSid="MG-other")
        await at.received(of=1)
        await at.write("Hello", of=2, MessagingServiceSid="MG-chain")
        await at.received(of=2)
        await at.write("I want a human", of=3, MessagingServiceSid="MG-other")
        assert await at.received(of=3) == [TextCatalogue.load().text("handed_over", "en")]
        (told,) = await at.received(of=99)
        assert contact(3) in told
        through = dict(await sent_through(at))
        assert through == {
            contact(1): "MG-other",
            contact(2): "MG-chain",
            contact(3): "MG-other",
            contact(99): "MG-other",
        }
