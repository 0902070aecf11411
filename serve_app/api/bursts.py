"""How long a conversation must be quiet before its turn starts: as the account says that was written to."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from models.accounts import TwilioAccount
from models.errors import StoreUnavailableError
from models.messages import InboundMessage
from serve_app.api.account_cache import AWAY_S, PATIENCE_S
from serve_app.api.deadline import within
from serve_app.ports import Clock, TwilioAccountRepository

log = structlog.get_logger(__name__)

Place = tuple[str, str, str | None]
"""The provider's id of an account, the address that was written to, and the messaging service."""


@dataclass(frozen=True, slots=True)
class _Known:
    window_s: float
    until: float


class BurstWindows:
    """The account in hand is any of those with its AccountSid: where the address isn't its own, another
    owner's account may say something else. A look-up that fails costs the moment that it waits, no more."""

    def __init__(
        self,
        *,
        accounts: TwilioAccountRepository,
        clock: Clock,
        default_s: float,
        keep_s: float,
        max_entries: int = 10_000,
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._default_s = default_s
        self._keep_s = keep_s
        self._max_entries = max_entries
        self._known: dict[Place, _Known] = {}

    async def window_s(self, message: InboundMessage, account: TwilioAccount) -> float:
        """In seconds; the installation's where the account has none of its own."""
        if account.owns(message.recipient):
            return self._of(account)
        place = (message.account_id, message.recipient, message.messaging_service_id)
        known = self._known.get(place)
        if known is not None and self._clock.monotonic() < known.until:
            return known.window_s
        try:
            found = await within(PATIENCE_S, self._find(place))
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("burst_window_not_read", error=str(error))
            return self._keep(place, known.window_s if known else self._default_s, AWAY_S)
        return self._keep(place, self._of(found or account), self._keep_s)

    async def _find(self, place: Place) -> TwilioAccount | None:
        account_sid, address, service = place
        return await self._accounts.find(
            account_sid=account_sid, address=address, messaging_service_sid=service
        )

    def _of(self, account: TwilioAccount) -> float:
        return self._default_s if account.debounce_s is None else account.debounce_s

    def _keep(self, place: Place, window_s: float, keep_s: float) -> float:
        self._known.pop(place, None)
        if len(self._known) >= self._max_entries:
            self._known.pop(next(iter(self._known)))
        self._known[place] = _Known(window_s, self._clock.monotonic() + keep_s)
        return window_s
