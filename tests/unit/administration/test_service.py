"""Changes are proposed, told and applied; what must not be is refused with nothing saved."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from models.accounts import PhoneNumber
from models.errors import PermanentError
from serve_app.administration.errors import AdministrationError
from serve_app.administration.owner_file import check_account, read_assistant, write_owner
from tests.unit.administration.samples import (
    BAKERY,
    OTHER_SID,
    SID,
    TOKENS,
    Office,
    an_account,
    told,
)

FLORIST = (
    BAKERY.replace("id: bakery\n", "id: florist\n")
    .replace("bakery-twilio", "florist-twilio")
    .replace("15550001111", "15550002222")
)
SECOND = SecretStr("b" * 32)


@pytest.fixture
def office() -> Office:
    return Office()


async def _account(office: Office, account_id: str = "bakery-twilio") -> tuple[str, str | None]:
    account = await office.administration.account(account_id)
    secondary = account.secondary_token
    return account.auth_token.get_secret_value(), secondary and secondary.get_secret_value()


class TestFile:
    async def test_stored_as_written_and_nothing_to_change_then(self, office: Office) -> None:
        first = await office.propose(BAKERY)
        assert await office.store.owners.list_all() == [], "a proposal saves nothing"
        await office.administration.apply(first)

        owner = await office.administration.owner("bakery")
        assert owner.name == "Corner Bakery"
        assert await office.store.accounts.list_all() == [
            an_account(
                phone_numbers=(
                    PhoneNumber(address="whatsapp:+15550001111"),
                    PhoneNumber(address="+15550001111", channel="sms"),
                )
            )
        ]
        again = await office.propose(BAKERY)
        assert again.changes == ()
        await office.administration.apply(again)

    async def test_only_what_differs_is_told(self, office: Office) -> None:
        await office.apply(BAKERY)
        changed = BAKERY.replace("[08:00, 18:00]", "[08:00, 20:00]").replace(
            "auth_token_env: BAKERY_TOKEN", "auth_token_env: NEXT_TOKEN\n    active: false"
        )
        proposal = await office.apply(changed)
        assert told(proposal.changes) == {
            ("assistant.facts.opening_hours.monday", "[08:00, 18:00]", "[08:00, 20:00]"),
            ("accounts[bakery-twilio].active", "true", "false"),
            ("accounts[bakery-twilio].auth_token", "set", "token changed"),
        }
        assert await _account(office) == ("b" * 32, None)

    async def test_what_was_written_out_changes_nothing(self, office: Office) -> None:
        await office.apply(BAKERY)
        owner = await office.administration.owner("bakery")
        text = write_owner(owner, await office.store.accounts.list_all())
        assert (await office.propose(text, {})).changes == ()

    async def test_a_token_that_is_not_at_hand_stays(self, office: Office) -> None:
        await office.apply(BAKERY)
        proposal = await office.propose(BAKERY.replace("Corner", "Old"), {})
        assert [change.field for change in proposal.changes] == ["name"]
        assert "BAKERY_TOKEN isn't set, so the token stays" in proposal.notes[0]

    async def test_a_new_account_needs_its_token_and_its_sid(self, office: Office) -> None:
        with pytest.raises(AdministrationError, match="the variable BAKERY_TOKEN isn't set"):
            await office.apply(BAKERY, {})
        with pytest.raises(AdministrationError, match="holds no token"):
            await office.apply(BAKERY, {"BAKERY_TOKEN": "two words"})
        line = "    auth_token_env: BAKERY_TOKEN\n"
        with pytest.raises(AdministrationError, match="auth_token_env: missing"):
            await office.apply(BAKERY.replace(line, ""))
        with pytest.raises(AdministrationError, match="account_sid: missing"):
            await office.apply(BAKERY.replace(f"    account_sid: {SID}\n", ""))
        assert await office.store.owners.list_all() == []

    async def test_the_secondary_token(self, office: Office) -> None:
        line = "auth_token_env: BAKERY_TOKEN\n"
        secondary = f"{line}    secondary_token_env: NEXT_TOKEN\n"
        await office.apply(BAKERY.replace(line, secondary))
        assert await _account(office) == ("a" * 32, "b" * 32)
        assert (await office.propose(BAKERY)).changes == (), "left out, it stays"
        unset = await office.propose(BAKERY.replace(line, secondary), {"BAKERY_TOKEN": "a" * 32})
        assert unset.changes == ()
        assert "secondary token stays" in unset.notes[0]
        dropped = await office.apply(BAKERY.replace(line, f"{line}    secondary_token_env: null\n"))
        assert [change.new for change in dropped.changes] == ["dropped"]
        assert await _account(office) == ("a" * 32, None)

    async def test_an_account_that_the_file_leaves_out_stays(self, office: Office) -> None:
        await office.apply(BAKERY)
        proposal = await office.apply(BAKERY[: BAKERY.index("accounts:")])
        assert proposal.changes == ()
        assert proposal.notes[0].startswith("accounts[bakery-twilio] isn't in the file")
        assert await _account(office)

    async def test_a_shared_account_sid_brings_its_token(self, office: Office) -> None:
        await office.apply(BAKERY)
        await office.apply(FLORIST.replace("    auth_token_env: BAKERY_TOKEN\n", ""))
        assert await _account(office, "florist-twilio") == ("a" * 32, None)

    async def test_a_shared_account_sid_has_one_token(self, office: Office) -> None:
        await office.apply(BAKERY)
        with pytest.raises(AdministrationError, match="recado accounts rotate bakery-twilio"):
            await office.apply(FLORIST.replace("BAKERY_TOKEN", "NEXT_TOKEN"))
        assert [owner.id for owner in await office.store.owners.list_all()] == ["bakery"]

    async def test_a_number_belongs_to_one_active_account(self, office: Office) -> None:
        await office.apply(BAKERY)
        taken = FLORIST.replace("whatsapp:+15550002222", "whatsapp:+15550001111")
        with pytest.raises(AdministrationError, match="belongs to the account bakery-twilio"):
            await office.apply(taken)
        await office.administration.apply(
            await office.administration.propose_activity("bakery-twilio", active=False)
        )
        await office.apply(taken)
        with pytest.raises(AdministrationError, match="florist-twilio of florist"):
            await office.administration.propose_activity("bakery-twilio", active=True)

    async def test_an_account_stays_with_its_owner(self, office: Office) -> None:
        await office.apply(BAKERY)
        with pytest.raises(AdministrationError, match="belongs to bakery"):
            await office.apply(FLORIST.replace("florist-twilio", "bakery-twilio"))

    async def test_a_tool_that_does_not_exist(self, office: Office) -> None:
        with pytest.raises(AdministrationError, match="no tool opening_hour, only opening_hours"):
            await office.apply(BAKERY.replace("[opening_hours, menu]", "[opening_hour]"))

    async def test_what_is_probably_not_meant_is_remarked(self, office: Office) -> None:
        proposal = await office.propose(BAKERY.replace("    menu:\n", "    menus:\n"))
        assert "assistant.facts.menus: no shipped tool looks it up" in proposal.notes
        assert any("menu will find nothing" in note for note in proposal.notes)

    async def test_a_plan_that_others_have(self, office: Office) -> None:
        await office.apply(BAKERY)
        assert "the plan" not in str((await office.propose(FLORIST)).notes)
        proposal = await office.propose(FLORIST.replace("100", "200"))
        assert "the plan basic changes for bakery too" in proposal.notes


class TestAssistant:
    async def test_changed_alone(self, office: Office) -> None:
        await office.apply(BAKERY)
        before = await office.administration.owner("bakery")
        proposal = await office.administration.propose_assistant(
            before, read_assistant("{instructions: Be kind., tools: []}")
        )
        await office.administration.apply(proposal)
        after = await office.administration.owner("bakery")
        assert after.assistant.instructions == "Be kind."
        assert after.assistant.facts == {}
        assert after.model_copy(update={"assistant": before.assistant}) == before

    async def test_not_over_somebody_elses_change(self, office: Office) -> None:
        await office.apply(BAKERY)
        before = await office.administration.owner("bakery")
        wanted = read_assistant("{}")
        proposal = await office.administration.propose_assistant(before, wanted)
        await office.apply(BAKERY.replace("Corner", "Old"))
        with pytest.raises(AdministrationError, match="meanwhile"):
            await office.administration.apply(proposal)
        with pytest.raises(AdministrationError, match="meanwhile"):
            await office.administration.propose_assistant(before, wanted)

    async def test_not_of_nobody(self, office: Office) -> None:
        with pytest.raises(AdministrationError, match="no owner nobody"):
            await office.administration.owner("nobody")


class TestAccounts:
    async def test_added(self, office: Office) -> None:
        await office.apply(BAKERY)
        section = check_account(
            {"id": "more", "account_sid": OTHER_SID, "phone_numbers": ["+15550003333"]}
        )
        propose = office.administration.propose_account
        with pytest.raises(AdministrationError, match="isn't known yet"):
            await propose(section, owner_id="bakery", token=None)
        with pytest.raises(AdministrationError, match="no owner nobody"):
            await propose(section, owner_id="nobody", token=SECOND)
        await office.administration.apply(await propose(section, owner_id="bakery", token=SECOND))
        assert await _account(office, "more") == ("b" * 32, None)
        with pytest.raises(AdministrationError, match="an account more already"):
            await propose(section, owner_id="bakery", token=SECOND)

    async def test_rotated_everywhere_that_its_sid_is(self, office: Office) -> None:
        await office.apply(BAKERY)
        await office.apply(FLORIST)
        rotate = office.administration.propose_rotation
        proposal = await rotate("florist-twilio", token=SECOND)
        await office.administration.apply(proposal)
        for account_id in ("bakery-twilio", "florist-twilio"):
            assert await _account(office, account_id) == ("b" * 32, "a" * 32)
        assert not (await rotate("bakery-twilio", token=SECOND)).changes, "told twice, done once"
        for account_id in ("bakery-twilio", "florist-twilio"):
            await office.administration.apply(
                await rotate(account_id, token=None, drop_secondary=True)
            )
            assert await _account(office, account_id) == ("b" * 32, None)
        assert all(value not in str(proposal.changes) for value in TOKENS.values())

    async def test_not_one_that_is_not_there(self, office: Office) -> None:
        with pytest.raises(AdministrationError, match="no account nothing"):
            await office.administration.propose_rotation("nothing", token=SECOND)
        with pytest.raises(AdministrationError, match="no account nothing"):
            await office.administration.propose_activity("nothing", active=False)

    async def test_not_over_somebody_elses_change(self, office: Office) -> None:
        await office.apply(BAKERY)
        proposal = await office.administration.propose_activity("bakery-twilio", active=False)
        await office.administration.apply(
            await office.administration.propose_rotation("bakery-twilio", token=SECOND)
        )
        with pytest.raises(PermanentError, match="meanwhile"):
            await office.administration.apply(proposal)
        assert await _account(office) == ("b" * 32, "a" * 32)
