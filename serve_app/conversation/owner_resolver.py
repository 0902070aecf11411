"""Who is written to, and what their plan allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.accounts import Addressee, Owner
from serve_app.ports import OwnerRepository

Refusal = Literal["plan_inactive", "quota_exceeded"]
"""Keys of the text catalogue."""


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The owner, and why it isn't answered for, if so."""

    owner: Owner
    refusal: Refusal | None = None

    def allows(self, feature: str) -> bool:
        return feature in self.owner.plan.features


class OwnerResolver:
    """Checks the plan and the month's quota of whom a message is to."""

    def __init__(self, *, owners: OwnerRepository) -> None:
        self._owners = owners

    async def resolve(self, addressee: Addressee, *, turn_id: str | None = None) -> Entitlement:
        """With `turn_id`, the turn takes its place in the month's quota, so that no more turns are answered
        than it allows, however many run at once."""
        owner = addressee.owner
        if not owner.plan.active or not addressee.account.active:
            return Entitlement(owner, "plan_inactive")
        limited = owner.plan.monthly_messages is not None and turn_id is not None
        if limited and not await self._owners.reserve_turn(owner.id, turn_id=turn_id or ""):
            return Entitlement(owner, "quota_exceeded")
        return Entitlement(owner)
