"""Forgets where old files are: they stay with the provider, and we refer to them for a limited time."""

from __future__ import annotations

from datetime import timedelta

import structlog

from models.errors import RecadoError
from serve_app.ports import Clock, ConversationRepository

log = structlog.get_logger(__name__)

BATCH = 1_000


class MediaRetention:
    """A loop beside the sender's others; looking twice at the same time does no harm."""

    def __init__(
        self,
        *,
        conversations: ConversationRepository,
        clock: Clock,
        keep_days: float,
        interval_s: float,
    ) -> None:
        self._conversations = conversations
        self._clock = clock
        self._keep = timedelta(days=keep_days)
        self._interval_s = interval_s

    async def run(self) -> None:
        """Until cancelled; a store that is away is tried again at the next round."""
        while True:
            try:
                await self.sweep()
            except RecadoError as error:
                log.warning("media_retention_failed", error=str(error))
            except Exception:
                # The replica's health hangs on this loop; one bad row must not restart it for ever.
                log.exception("media_retention_failed")
            await self._clock.sleep(self._interval_s)

    async def sweep(self) -> int:
        """How many messages lost their references."""
        before = self._clock.now() - self._keep
        total = 0
        while True:
            count = await self._conversations.forget_media(before=before, limit=BATCH)
            total += count
            if count < BATCH:
                break
        if total:
            log.info("media_references_forgotten", messages=total)
        return total
