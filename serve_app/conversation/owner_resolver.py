"""Who is written to, and what their plan allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.accounts import Owner, TwilioAccount
from models.errors import AccountNotFoundError
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
    """Finds the owner of an account and checks the plan and the month's quota."""

    def __init__(self, *, owners: OwnerRepository) -> None:
        self._owners = owners

    async def resolve(self, account: TwilioAccount, *, turn_id: str | None = None) -> Entitlement:
        """With `turn_id`, the turn takes its place in the month's quota, so that no more turns are answered
        than it allows, however many run at once. Raises `AccountNotFoundError` if the owner is gone."""
        owner = await self._owners.get(account.owner_id)
        if owner is None:
            raise AccountNotFoundError(f"account {account.id} belongs to no owner")
        if not owner.plan.active or not account.active:
            return Entitlement(owner, "plan_inactive")
        limited = owner.plan.monthly_messages is not None and turn_id is not None
        if limited and not await self._owners.reserve_turn(owner.id, turn_id=turn_id or ""):
            return Entitlement(owner, "quota_exceeded")
        return Entitlement(owner)
