"""Who is written to, and what their plan allows."""

from __future__ import annotations

import pytest

from models.accounts import Addressee, Plan
from serve_app.conversation.owner_resolver import OwnerResolver
from tests.unit.conversation import stage


def _addressee(on: stage.Stage, **account: object) -> Addressee:
    return stage.addressee(on.store.tables.owners["owner-1"], **account)


async def _resolve(plan: Plan, *, turns: int = 0, active: bool = True):
    on = await stage.build_stage(["Hi"] * 9, of=stage.owner(plan=plan))
    for number in range(turns):
        await on.turn(stage.message(number))
    owners = OwnerResolver(owners=on.store.owners)
    return await owners.resolve(_addressee(on, active=active), turn_id="one-more")


async def test_a_plan_in_order() -> None:
    entitlement = await _resolve(Plan(code="basic", features=frozenset({"text"})))
    assert entitlement.refusal is None
    assert entitlement.owner.name == "Café"
    assert entitlement.allows("text")
    assert not entitlement.allows("voice")


async def test_an_inactive_plan_and_an_inactive_account() -> None:
    assert (await _resolve(Plan(code="basic", active=False))).refusal == "plan_inactive"
    assert (await _resolve(Plan(code="basic"), active=False)).refusal == "plan_inactive"


@pytest.mark.parametrize(
    ("quota", "turns", "refusal"),
    [(2, 1, None), (2, 2, "quota_exceeded"), (0, 0, "quota_exceeded"), (None, 3, None)],
)
async def test_the_months_quota(quota: int | None, turns: int, refusal: str | None) -> None:
    plan = Plan(code="basic", monthly_messages=quota)
    assert (await _resolve(plan, turns=turns)).refusal == refusal


async def test_the_quota_is_new_every_month() -> None:
    plan = Plan(code="basic", monthly_messages=1)
    on = await stage.build_stage(["Hi"] * 9, of=stage.owner(plan=plan))
    owners = OwnerResolver(owners=on.store.owners)
    await on.turn(stage.message(1))
    assert (await owners.resolve(_addressee(on), turn_id="t")).refusal == "quota_exceeded"
    on.clock.advance(31 * 86_400)
    assert (await owners.resolve(_addressee(on), turn_id="t")).refusal is None


async def test_a_running_turn_has_its_place_and_keeps_it_when_it_is_tried_again() -> None:
    on = await stage.build_stage(of=stage.owner(plan=Plan(code="basic", monthly_messages=1)))
    owners = OwnerResolver(owners=on.store.owners)

    async def refusal(turn_id: str) -> str | None:
        return (await owners.resolve(_addressee(on), turn_id=turn_id)).refusal

    assert await refusal("a") is None
    assert await refusal("b") == "quota_exceeded"
    assert await refusal("a") is None
    on.clock.advance(3_700)
    assert await refusal("b") is None, "the turn that held the place was given up"


async def test_a_refused_turn_counts_nothing() -> None:
    on = await stage.build_stage(of=stage.owner(plan=Plan(code="basic", monthly_messages=0)))
    for number in range(3):
        await on.turn(stage.message(number))
    assert len(on.said) == 3
    assert await on.store.owners.messages_this_month("owner-1") == 0
