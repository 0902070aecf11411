"""What a person does about replies that the service gave up on."""

from __future__ import annotations

from enum import StrEnum

import structlog

from models.conversations import Reply, ReplyStatus
from models.jobs import JobState
from serve_app.delivery.doubt import DoubtfulReplies
from serve_app.delivery.publisher import PAST, ReplyPublisher
from serve_app.ports import Queue, ReplyRepository

log = structlog.get_logger(__name__)

PURGED = "its dead letter was deleted"


class Decision(StrEnum):
    """What came of a decision about one reply."""

    RESENT = "resent"
    QUEUED = "queued"
    """It was to be sent anyway, and is on its way."""
    WAS_SENT = "was sent"
    """The provider's list holds it: nothing was sent again."""
    DROPPED = "dropped"
    REFUSED = "refused"
    """It is in a state in which this can't be decided (any more)."""


async def purge_outbound(dead_id: str, *, outbound: Queue, replies: ReplyRepository) -> bool:
    """Delete a dead letter of the outbound queue and cancel its reply, which the sweeper would else find
    unsent and publish again. False if there is no such letter (any more)."""
    letter = await outbound.dead_get(dead_id)
    if letter is None:
        return False
    # First, so that the sweeper never meets a reply that waits and has no letter.
    await replies.drop(letter.job.payload, error=PURGED)
    return await outbound.purge(dead_id)


class ReplyAttention:
    """Each change is a compare-and-set in the store: of a delivery report and a decision that come at the
    same time, one acts and the other finds nothing to do."""

    def __init__(
        self, *, replies: ReplyRepository, publisher: ReplyPublisher, doubtful: DoubtfulReplies
    ) -> None:
        self._replies = replies
        self._publisher = publisher
        self._doubtful = doubtful

    async def resend(self, reply: Reply, *, blindly: bool = False) -> Decision:
        """Send a parked or failed reply again, or publish a pending one that lies still.

        A parked one may have been sent: it is looked for in the provider's list first, unless `blindly`.
        Raises `ListUnavailableError`, with nothing changed.
        """
        if reply.status is ReplyStatus.PARKED and not blindly and await self._was_sent(reply):
            return Decision.WAS_SENT
        pending = reply.status is ReplyStatus.PENDING
        if not pending and not await self._replies.resend(reply.id):
            return Decision.REFUSED
        # Should this fail, the sweeper does it, or this command once more.
        state = await self._publisher.publish(reply, past=PAST)
        log.info("reply_resent", reply_id=reply.id, job_state=state.value)
        return Decision.QUEUED if pending and state is not JobState.UNKNOWN else Decision.RESENT

    async def drop(self, reply: Reply, *, why: str) -> Decision:
        """Never send it."""
        dropped = await self._replies.drop(reply.id, error=why)
        log.info("reply_dropped", reply_id=reply.id, dropped=dropped)
        return Decision.DROPPED if dropped else Decision.REFUSED

    async def _was_sent(self, reply: Reply) -> bool:
        account = await self._doubtful.account_of(reply)
        if account is None or reply.sending_since is None:
            return False
        found = await self._doubtful.find(reply, account, since=reply.sending_since)
        if found is None:
            return False
        await self._replies.mark_sent(reply.id, found)
        log.info("doubtful_reply_was_sent", reply_id=reply.id)
        return True
