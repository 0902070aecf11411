"""One person's data through every channel and in both stores, and nobody else's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from models.accounts import Owner, PhoneNumber, Plan, TwilioAccount
from models.errors import PermanentError
from serve_app.bootstrap import compose_privacy
from tests.fixtures.store_search import places_of
from tests.integration.chain.command_line import recado
from tests.integration.chain.house import ACCOUNT_SID, BUSINESS, CLOUD, TOKEN, Open, contact

pytestmark = pytest.mark.integration

NUMBER = contact().removeprefix("whatsapp:")
DIGITS = NUMBER.removeprefix("+")
THEIRS = "whatsapp:+15550008888"


async def test_a_number_is_one_person_at_every_channel(
    house: Open, tmp_path: Path, valkey_url: str, redis_prefix: str, database_url: str
) -> None:
    places = partial(
        places_of, database_url=database_url, redis_url=valkey_url, prefix=redis_prefix
    )
    async with house() as at:
        await at.open_cloud_account()
        await at.write("Hello")
        await at.received()
        await at.write("Hello from there", **{**CLOUD, "from": DIGITS})
        await at.settle()
        shown = await recado(at, tmp_path, "contacts", "show", NUMBER)
        assert [channel in shown.output for channel in ("twilio", "whatsapp_cloud")] == [True] * 2
        taken = await recado(at, tmp_path, "conversations", "take", NUMBER)
        assert taken.exit_code == 0, taken.exception
        assert len(await at.stores.conversations.with_people(limit=5)) == 2
        exported = await recado(at, tmp_path, "contacts", "export", NUMBER)
        assert exported.exit_code == 0, exported.exception
        erased = await recado(at, tmp_path, "contacts", "erase", NUMBER, "--yes")
        assert "2 contacts" in erased.output
        assert await places(DIGITS) == []


async def test_what_waits_of_others_stays(house: Open, tmp_path: Path) -> None:
    async with house(staffed=False, conversation={"debounce_s": 600}) as at:
        other = {"id": "other", "name": "Other", "plan": Plan(code="chain")}
        await at.stores.owners.save(Owner.model_validate(other))
        await at.stores.accounts.save(
            TwilioAccount(
                id="other-twilio",
                owner_id="other",
                account_sid=ACCOUNT_SID,
                auth_token=SecretStr(TOKEN),
                phone_numbers=(PhoneNumber(address=THEIRS),),
            )
        )
        await at.write("to one")
        await at.write("to the other", to=THEIRS)
        await at.write("from a longer number", **{"from": contact() + "7"})

        async def waiting() -> int:
            return (await at.stores.inbound.backlog()).delayed

        assert await waiting() == 3
        privacy = compose_privacy(at.settings, at.stores)
        assert (await privacy.erase(BUSINESS)).jobs == 0, "it is in every conversation's name"
        refused = await recado(at, tmp_path, "contacts", "erase", "inbound", "--yes")
        assert isinstance(refused.exception, PermanentError)
        assert await waiting() == 3
        assert (await privacy.erase(NUMBER, owner_id="other")).jobs == 1
        assert (await privacy.erase(NUMBER, owner_id="other")).jobs == 0
        assert (await privacy.erase(NUMBER)).jobs == 1
        assert await waiting() == 1
