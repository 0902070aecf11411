"""The demo café can be stored, and its tools find its facts."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pydantic import SecretStr

from serve_app.bootstrap import new_consumer_id, with_simulator
from serve_app.channels.registry import public_address
from serve_app.conversation.business_tools import WEEKDAYS, business_tools
from serve_app.demo_owner import load_demo_owner, store_demo_owner
from serve_app.settings import AppSettings, EnvironmentSettings
from serve_app.testing.store import MemoryStore
from tests.unit.conversation.toolbox import context


async def _store(store: MemoryStore, token: str = "t") -> None:
    await store_demo_owner(
        owners=store.owners,
        accounts=store.accounts,
        account_sid="AC" + "0" * 32,
        auth_token=SecretStr(token),
    )


async def test_every_tool_of_the_cafe_finds_its_facts() -> None:
    cafe, numbers = load_demo_owner()
    assert ZoneInfo(cafe.timezone)
    assert {number.channel for number in numbers} == {"whatsapp", "sms"}
    registry = business_tools(MemoryStore().owners)
    assert len(registry.chosen(cafe.assistant.tools)) == len(cafe.assistant.tools)
    at = context(of=cafe)

    async def ask(name: str, **arguments: object) -> dict[str, object]:
        tool = registry.get(name)
        assert tool is not None
        return dict(await tool.call(at, arguments))

    for day in (*WEEKDAYS, "today", "tomorrow"):
        hours = await ask("opening_hours", day=day)
        assert hours.get("closed") or str(hours["open"]) < str(hours["close"])
    menu, info = cafe.assistant.facts["menu"], cafe.assistant.facts["info"]
    assert isinstance(menu, list)
    assert isinstance(info, dict)
    for entry in menu:
        assert (await ask("menu", item=entry["item"]))["price"] == entry["price"]
        assert "items" in await ask("menu", category=entry["category"])
    for topic in info:
        assert (await ask("business_info", topic=topic))["text"]


async def test_storing_it_again_leaves_an_edited_cafe_alone() -> None:
    store = MemoryStore()
    await _store(store)
    cafe = await store.owners.get("demo-cafe")
    assert cafe is not None
    await store.owners.save(cafe.model_copy(update={"name": "My Café"}))
    await _store(store, "renewed")
    cafe = await store.owners.get("demo-cafe")
    assert cafe is not None
    assert cafe.name == "My Café"
    found = await store.accounts.find(account_sid="AC" + "0" * 32, address="whatsapp:+15550142700")
    assert found is not None
    assert found.auth_token.get_secret_value() == "renewed"
    assert found.owner_id == cafe.id


def _environment(**values: str) -> EnvironmentSettings:
    return EnvironmentSettings.model_construct(**values)


def test_the_simulator_stands_in_for_twilio_only_where_it_runs() -> None:
    settings = AppSettings()
    assert with_simulator(settings, _environment(simulator_url=None)) is settings  # type: ignore[arg-type]
    pointed = with_simulator(settings, _environment(simulator_url="http://127.0.0.1:8001/")).twilio
    assert pointed.api_url == pointed.messaging_url == "http://127.0.0.1:8001"
    assert pointed.local_origins == ("http://127.0.0.1:8001", "http://localhost:8001")
    assert settings.twilio.local_origins == ()


def test_the_public_address_has_no_slash_at_its_end() -> None:
    assert public_address(_environment(public_url="https://bot.example.com/")) == (
        "https://bot.example.com"
    )
    assert public_address(_environment(public_url="")).startswith("http://localhost")


def test_every_start_of_a_consumer_is_a_new_one() -> None:
    assert len({new_consumer_id() for _ in range(100)}) == 100
