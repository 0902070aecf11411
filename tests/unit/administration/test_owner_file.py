"""What an owner's file may hold, and how it says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.accounts import Assistant, PhoneNumber, Plan
from serve_app.administration.errors import AdministrationError
from serve_app.administration.owner_file import (
    read_assistant,
    read_owner_file,
    write_assistant,
    write_owner,
)
from serve_app.administration.yaml_text import load_yaml
from serve_app.settings import PROJECT_ROOT
from tests.unit.administration.samples import BAKERY, SID, an_account, owner_file, read


def test_the_whole_file(tmp_path: Path) -> None:
    file = read(BAKERY, tmp_path)
    owner = file.owner()
    assert (owner.id, owner.name, owner.timezone) == ("bakery", "Corner Bakery", "Europe/Madrid")
    assert owner.plan == Plan(code="basic", features=frozenset({"text"}), monthly_messages=100)
    assert owner.assistant.tools == ("opening_hours", "menu")
    assert owner.assistant.facts == {
        "opening_hours": {
            "monday": ["08:00", "18:00"],
            "saturday": ["09:00", "13:00"],
            "sunday": None,
        },
        "menu": [
            {"item": "bread", "price": "2.20", "category": "food"},
            {"item": "roll", "price": "0.50", "category": "food"},
        ],
    }
    assert [number.number() for number in file.accounts[0].phone_numbers] == [
        PhoneNumber(address="whatsapp:+15550001111", channel="whatsapp"),
        PhoneNumber(address="+15550001111", channel="sms"),
    ]


def test_little_is_needed() -> None:
    owner = owner_file("{id: a, name: A, plan: {code: basic}}").owner()
    assert owner.assistant == Assistant()
    assert owner.plan == Plan(code="basic")


def test_the_demo_owner_has_this_shape() -> None:
    assert read_owner_file(PROJECT_ROOT / "demo" / "cafe.yaml").id == "demo-cafe"


def test_the_documented_file_has_this_shape() -> None:
    page = (PROJECT_ROOT / "docs" / "owners.md").read_text("utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    file = owner_file(example)
    named = type(file).model_fields.keys() | type(file.accounts[0]).model_fields.keys()
    assert {name for name in named if f"{name}:" not in example} == set()
    assert file.owner().assistant.facts["opening_hours"] == {
        "monday": ["08:00", "18:00"],
        "sunday": None,
    }


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: Corner Bakery", "", "name: missing"),
        ("name: Corner Bakery", "name: ' '", "name: must be one line of text"),
        ("name: Corner", "nmae: x\nname: Corner", "nmae: unknown key"),
        ("Europe/Madrid", "Europe/Nowhere", "timezone: must be a time zone"),
        ("Europe/Madrid", "../etc/passwd", "timezone: must be a time zone"),
        ("language: es\nplan", "language: Spanish\nplan", "language: must be a language"),
        ("features: [text]", "features: [fax]", "plan.features[0]: "),
        ("monthly_messages: 100", "monthly_messages: -1", "plan.monthly_messages: should be"),
        ("plan: {code: basic, ", "plan: {", "plan.code: missing"),
        (
            "tools: [opening_hours, menu]",
            "tools: [menu, menu]",
            "assistant.tools: menu stands twice",
        ),
        ("tools: [", "temperature: 3\n  tools: [", "assistant.temperature: should be less"),
        ("tools: [", "temperature: .nan\n  tools: [", "assistant.temperature: should be"),
        ("monday: [08:00", "monday: [8", "assistant.facts.opening_hours.monday[0]: must be a time"),
        ("monday:", "mon:", "assistant.facts.opening_hours.mon: unknown key"),
        ("[08:00, 18:00]", "[08:00]", "assistant.facts.opening_hours.monday[1]: missing"),
        ("price: 2.20, ", "", "assistant.facts.menu[0].price: missing"),
        ("    menu:", "    info: {wifi: true}\n    menu:", "assistant.facts.info.wifi: should be"),
        (SID, "AC12", "accounts[0].account_sid: must be AC and 32 hexadecimal digits"),
        ("whatsapp:+15550001111", "whatsapp:5550001111", "accounts[0].phone_numbers[0].address"),
        ("channel: sms", "channel: whatsapp", "accounts[0].phone_numbers[1]: +15550001111 is of"),
        ("- whatsapp:+15550001111", "- +15550001111", "phone_numbers: +15550001111 stands twice"),
        ("id: bakery\n", "id: a bakery\n", "id: must be letters"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(
    old: str, new: str, problem: str, tmp_path: Path
) -> None:
    assert old in BAKERY
    with pytest.raises(AdministrationError) as raised:
        read(BAKERY.replace(old, new, 1), tmp_path)
    said = str(raised.value)
    assert problem in said
    assert "owner.yaml" in said
    assert "\n" not in said


@pytest.mark.parametrize("key", ["auth_token", "auth_token_env", "secondary_token_env"])
def test_a_token_in_the_file_is_refused_and_not_repeated(key: str, tmp_path: Path) -> None:
    token = "deadbeef" * 4
    text = BAKERY.replace("auth_token_env: BAKERY_TOKEN", f"{key}: {token}")
    with pytest.raises(AdministrationError, match=rf"accounts\[0\]\.{key}") as raised:
        read(text, tmp_path)
    assert "variable" in str(raised.value)
    assert token not in str(raised.value)


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(AdministrationError, match="doesn't exist"):
        read_owner_file(tmp_path / "none.yaml")
    with pytest.raises(AdministrationError, match="can't be read"):
        read_owner_file(tmp_path)
    (tmp_path / "latin").write_bytes(b"name: Caf\xe9")
    with pytest.raises(AdministrationError, match="UTF-8"):
        read_owner_file(tmp_path / "latin")
    with pytest.raises(AdministrationError, match=r"owner\.yaml: the file: must be a mapping"):
        read("", tmp_path)
    with pytest.raises(AdministrationError, match=r"owner\.yaml: line 1"):
        read("a: [", tmp_path)


def test_what_is_written_reads_as_the_same() -> None:
    owner = owner_file(BAKERY).owner()
    text = write_owner(owner, [an_account()])
    again = owner_file(text)
    assert again.owner() == owner
    assert again.accounts[0].account_sid == SID
    assert "a" * 32 not in text
    assert read_assistant(write_assistant(owner.assistant)).assistant() == owner.assistant


def test_weekdays_are_written_in_their_order() -> None:
    days = {"friday": None, "monday": None, "sunday": None, "tuesday": None}
    text = write_assistant(Assistant(facts={"opening_hours": days}))
    document = load_yaml(text)
    assert isinstance(document, dict)
    assert list(document["facts"]["opening_hours"]) == ["monday", "tuesday", "friday", "sunday"]
    assert list(document)[-1] == "facts"
