"""Accounts in memory, for the signature check of every webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from models.accounts import TwilioAccount
from models.errors import StoreUnavailableError
from serve_app.api.deadline import within
from serve_app.ports import Clock, TwilioAccountRepository

log = structlog.get_logger(__name__)

AWAY_S = 2.0
"""How long an account kept in memory serves after Postgres didn't answer, before it is asked again."""
FRESH_EVERY_S = 0.2
"""Between two looks at one account that wrong signatures cause."""
PATIENCE_S = 0.1
"""How long a webhook waits for Postgres when an older copy of its account is at hand."""


@dataclass(slots=True)
class _CachedAccount:
    account: TwilioAccount
    fresh_until: float


@dataclass(slots=True)
class _Lookup:
    task: asyncio.Task[TwilioAccount | None]
    since: float
    """When Postgres is asked, by the event loop's clock, which the waiting goes by too."""


class AccountCache:
    """Accounts by the provider's id.

    While Postgres is away or slow an older copy serves, so that its outage doesn't refuse messages or
    hold them up. However many webhooks of an account wait, one of them asks Postgres.
    """

    def __init__(
        self,
        *,
        accounts: TwilioAccountRepository,
        clock: Clock,
        keep_s: float,
        timeout_s: float,
        max_entries: int = 10_000,
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._keep_s = keep_s
        self._timeout_s = timeout_s
        self._max_entries = max_entries
        self._cached: dict[str, _CachedAccount] = {}
        self._lookups: dict[str, _Lookup] = {}
        self._looked_afresh: dict[str, float] = {}

    async def get(self, account_id: str, *, fresh: bool = False) -> TwilioAccount | None:
        """Unknown accounts aren't remembered, so that made-up ids don't drive out real ones. Raises
        `StoreUnavailableError` if the account isn't in memory and Postgres is away."""
        cached = self._cached.get(account_id)
        if cached and self._clock.monotonic() < cached.fresh_until and not fresh:
            return cached.account
        lookup = self._lookups.get(account_id)
        if fresh:
            lookup = self._look_up_afresh(account_id)
        elif lookup is None:
            lookup = self._look_up(account_id)
        limit = self._timeout_s
        if cached and not fresh:
            waited = asyncio.get_running_loop().time() - lookup.since
            limit = max(0.0, min(limit, PATIENCE_S - waited))
        await asyncio.wait({lookup.task}, timeout=limit)
        if lookup.task.done() and lookup.task.exception() is None:
            return lookup.task.result()
        if cached:
            return cached.account
        error = lookup.task.exception() if lookup.task.done() else None
        if error is not None and not isinstance(error, StoreUnavailableError | TimeoutError):
            raise error
        raise StoreUnavailableError(f"can't look up the account: {error}") from error

    def _look_up_afresh(self, account_id: str) -> _Lookup:
        """One that began before isn't fresh: what made the caller ask may have happened since. But a flood of
        wrong signatures shares one that is about to begin."""
        now = asyncio.get_running_loop().time()
        lookup = self._lookups.get(account_id)
        if lookup is not None and lookup.since > now:
            return lookup
        begins = max(now, self._looked_afresh.get(account_id, 0.0) + FRESH_EVERY_S)
        self._looked_afresh[account_id] = begins
        return self._look_up(account_id, wait_s=begins - now)

    def _look_up(self, account_id: str, *, wait_s: float = 0.0) -> _Lookup:
        task = asyncio.create_task(self._ask(account_id, wait_s))
        lookup = _Lookup(task, asyncio.get_running_loop().time() + wait_s)
        self._lookups[account_id] = lookup
        task.add_done_callback(self._keeper(account_id))
        return lookup

    async def _ask(self, account_id: str, wait_s: float) -> TwilioAccount | None:
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return await within(self._timeout_s, self._accounts.by_sid(account_id))

    def _keeper(self, account_id: str) -> Callable[[asyncio.Task[TwilioAccount | None]], None]:
        def keep(task: asyncio.Task[TwilioAccount | None]) -> None:
            lookup = self._lookups.get(account_id)
            if lookup is not None and lookup.task is task:
                del self._lookups[account_id]
            if task.cancelled():
                return
            error = task.exception()
            if error is None:
                self._keep(account_id, task.result())
            elif cached := self._cached.get(account_id):
                log.warning("account_not_renewed", error=str(error))
                again = self._clock.monotonic() + AWAY_S
                cached.fresh_until = max(cached.fresh_until, again)

        return keep

    def _keep(self, account_id: str, account: TwilioAccount | None) -> None:
        self._cached.pop(account_id, None)
        if account is None:
            return
        if len(self._cached) >= self._max_entries:
            self._cached.pop(next(iter(self._cached)))
        self._cached[account_id] = _CachedAccount(account, self._clock.monotonic() + self._keep_s)
