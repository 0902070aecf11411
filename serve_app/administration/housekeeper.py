"""What time brings: content older than its owner keeps it goes, and conversations are given back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog

from models.errors import RecadoError
from serve_app.administration.letters import LetterReader
from serve_app.ports import (
    Clock,
    ContactRepository,
    OwnerRepository,
    Queue,
    TwilioAccountRepository,
)
from serve_app.settings import PrivacySettings

log = structlog.get_logger(__name__)

_PAGE = 200


class Housekeeper:
    """A loop beside the senders; any number may run."""

    def __init__(
        self,
        *,
        contacts: ContactRepository,
        owners: OwnerRepository,
        accounts: TwilioAccountRepository,
        queues: Mapping[str, Queue],
        clock: Clock,
        settings: PrivacySettings,
    ) -> None:
        self._contacts = contacts
        self._owners = owners
        self._accounts = accounts
        self._queues = queues
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Until cancelled; a store that is away is tried again at the next round."""
        while True:
            try:
                await self.look()
            except RecadoError as error:
                log.warning("housekeeping_waits", error=str(error))
            except Exception:
                # The replica's health hangs on this loop; one bad row must not restart it for ever.
                log.exception("housekeeping_failed")
            await self._clock.sleep(self._settings.interval_s)

    async def look(self) -> None:
        given_back = await self._contacts.give_back_due()
        rows = 0
        while swept := await self._contacts.sweep(limit=self._settings.batch):
            rows += swept
        letters = await self._sweep_letters()
        if given_back or rows or letters:
            log.info("housekeeping", given_back=given_back, rows=rows, dead_letters=letters)

    async def _sweep_letters(self) -> int:
        kept = {owner.id: owner.retention_days for owner in await self._owners.list_all()}
        shortest = min((days for days in kept.values() if days is not None), default=None)
        if shortest is None:
            return 0
        count = 0
        reader = LetterReader(await self._accounts.list_all())
        now = self._clock.now()
        latest = (now - timedelta(days=shortest)).timestamp()
        for queue in self._queues.values():
            start = "-"
            while page := await queue.dead(start=start, count=_PAGE):
                for letter in page:
                    if letter.dead_at > latest:
                        break
                    owner_id = reader.owner_of(letter.job.conversation, letter.job.payload)
                    # Nobody knows how long it may be kept: no longer than any owner would.
                    days = shortest if owner_id is None else kept.get(owner_id)
                    if days and letter.dead_at < (now - timedelta(days=days)).timestamp():
                        count += await queue.purge(letter.id)
                start = f"({page[-1].id}"
                if page[-1].dead_at > latest:
                    break
        return count
