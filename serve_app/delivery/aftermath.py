"""What is done about a message that the provider accepted and then couldn't deliver."""

from __future__ import annotations

import structlog

from models.accounts import TwilioAccount
from models.conversations import Reply
from models.messages import Fault
from serve_app.delivery.lanes import lane_of
from serve_app.delivery.publisher import PAST, ReplyPublisher
from serve_app.ports import (
    Clock,
    ConsentRepository,
    ReplyRepository,
    SendRates,
    TwilioAccountRepository,
)
from serve_app.settings import SenderSettings

log = structlog.get_logger(__name__)


class FailedDeliveries:
    """A failure is final at the provider, so that what is sent once more isn't knowingly sent twice. Each
    reply gets one such chance, and only while no later one of its conversation has left."""

    def __init__(
        self,
        *,
        replies: ReplyRepository,
        accounts: TwilioAccountRepository,
        consents: ConsentRepository,
        rates: SendRates,
        publisher: ReplyPublisher,
        clock: Clock,
        settings: SenderSettings,
    ) -> None:
        self._replies = replies
        self._accounts = accounts
        self._consents = consents
        self._rates = rates
        self._publisher = publisher
        self._clock = clock
        self._settings = settings

    async def handle(self, reply: Reply, fault: Fault) -> None:
        settings = self._settings
        match fault:
            case Fault.OPTED_OUT:
                await self._consents.refused(reply.id, at=self._clock.now())
            case Fault.TEMPLATE_NEEDED:
                await self._send_template(reply)
            case Fault.SLOW_DOWN:
                account = await self._account(reply)
                if account is not None:
                    await self._rates.slow_down(lane_of(reply, account, settings))
                await self._send_later(reply, settings.retry_failed_after_s)
            case Fault.RETRY:
                await self._send_later(reply, settings.retry_failed_after_s)
            case Fault.DEFER:
                await self._send_later(reply, settings.retry_unreachable_after_s)
            case _:
                log.warning("delivery_failed", reply_id=reply.id, code=reply.error_code)

    async def _send_template(self, reply: Reply) -> None:
        account = await self._account(reply)
        if account is None or account.sending.template is None:
            log.warning("delivery_needs_a_template", reply_id=reply.id, account=reply.account_sid)
        elif await self._replies.send_again(reply.id, as_template=True):
            await self._publisher.publish(reply, past=PAST)
            log.info("delivery_by_template", reply_id=reply.id)

    async def _send_later(self, reply: Reply, after_s: float) -> None:
        """The sweeper publishes it when it is due: nothing waits behind it meanwhile."""
        if await self._replies.send_again(reply.id, after_s=after_s):
            log.info(
                "delivery_tried_again", reply_id=reply.id, code=reply.error_code, after=after_s
            )

    async def _account(self, reply: Reply) -> TwilioAccount | None:
        return await self._accounts.answering(
            reply.account_id, account_sid=reply.account_sid, address=reply.sender
        )
