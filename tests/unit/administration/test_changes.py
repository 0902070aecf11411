"""What is told of a difference."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from serve_app.administration.changes import account_changes, owner_changes
from tests.unit.administration.samples import BAKERY, an_account, owner_file, told


def _changed(old: str, new: str, *, before: str = BAKERY) -> set[tuple[Any, ...]]:
    assert old in before
    return told(
        owner_changes(owner_file(before).owner(), owner_file(before.replace(old, new, 1)).owner())
    )


def test_fields_by_their_path() -> None:
    assert _changed("Corner", "Old") == {("name", "Corner Bakery", "Old Bakery")}
    assert _changed("[08:00, 18:00]", "[08:00, 20:00]") == {
        ("assistant.facts.opening_hours.monday", "[08:00, 18:00]", "[08:00, 20:00]")
    }
    assert _changed("features: [text]", "features: [voice, text]") == {
        ("plan.features", "[text]", "[text, voice]")
    }
    assert _changed("monthly_messages: 100", "monthly_messages:") == {
        ("plan.monthly_messages", "100", "null")
    }
    assert _changed("      sunday:\n", "") == {
        ("assistant.facts.opening_hours.sunday", "null", None)
    }


def test_a_menu_goes_by_its_items() -> None:
    assert _changed("price: 2.20", "price: 2.50") == {
        ("assistant.facts.menu[bread].price", "2.20", "2.50")
    }
    roll = "      - {item: roll, price: 0.50, category: food}\n"
    assert told(
        owner_changes(owner_file(BAKERY).owner(), owner_file(BAKERY.replace(roll, "")).owner())
    ) == {
        ("assistant.facts.menu[roll].item", "roll", None),
        ("assistant.facts.menu[roll].price", "0.50", None),
        ("assistant.facts.menu[roll].category", "food", None),
    }
    bread = "      - {item: bread, price: 2.20, category: food}\n"
    assert _changed(bread + roll, roll + bread) == {
        ("assistant.facts.menu in order", "bread, roll", "roll, bread")
    }


def test_a_whole_part_is_told_by_what_is_in_it() -> None:
    without = BAKERY[: BAKERY.index("  facts:")] + BAKERY[BAKERY.index("accounts:") :]
    old, new = owner_file(without).owner(), owner_file(BAKERY).owner()
    fields = {change.field for change in owner_changes(old, new)}
    assert "assistant.facts" not in fields
    assert "assistant.facts.menu[bread].price" in fields


def test_a_new_owner_has_no_old_values() -> None:
    changes = owner_changes(None, owner_file(BAKERY).owner())
    assert all(change.old is None for change in changes)
    assert ("timezone", None, "Europe/Madrid") in told(changes)


def test_nothing_differs_from_itself() -> None:
    owner = owner_file(BAKERY).owner()
    assert owner_changes(owner, owner) == []
    assert account_changes(an_account(), an_account()) == []


def test_tokens_are_never_told() -> None:
    old = an_account(secondary_token=SecretStr("old-secondary"))
    new = an_account(auth_token=SecretStr("new-primary"))
    assert told(account_changes(old, new)) == {
        ("accounts[bakery-twilio].auth_token", "set", "token changed"),
        ("accounts[bakery-twilio].secondary_token", "set", "dropped"),
    }
    added = told(account_changes(None, old))
    assert ("accounts[bakery-twilio].auth_token", None, "set") in added
    assert ("accounts[bakery-twilio].secondary_token", None, "set") in added
    assert "old-secondary" not in str(added)
    third = an_account(secondary_token=SecretStr("third"))
    assert told(account_changes(old, third)) == {
        ("accounts[bakery-twilio].secondary_token", "set", "token changed")
    }
