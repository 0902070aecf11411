"""A sender with its stores and provider in memory, and replies for it to send."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.conversations import NewReply, Reply, ReplyStatus, TurnOutcome
from models.jobs import Claim
from models.messages import DeliveryStatus, OutboundMessage, SentMessage
from serve_app.conversation.reply_parts import reply_job
from serve_app.delivery.sender import SEND_WITHIN_S, ReplySender
from serve_app.settings import SenderSettings
from serve_app.testing.channels import Accepted, MemoryChannel
from serve_app.testing.metrics import MemoryMetrics
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.rates import MemorySendRates
from serve_app.testing.store import MemoryStore
from tests.unit.conversation.stage import ManualClock, account, claim_of, message, owner

WAIT_S = 10.0
SEND_LIMIT_S = 4.0
SEND_IS_OVER_S = SEND_WITHIN_S + SEND_LIMIT_S


@dataclass
class Desk:
    clock: ManualClock
    store: MemoryStore
    channel: MemoryChannel
    rates: MemorySendRates
    outbound: MemoryQueue
    sender: ReplySender
    metrics: MemoryMetrics

    async def answer(self, number: int, *bodies: str) -> list[Reply]:
        """The replies to the contact's message of that number, stored but on no queue."""
        inbound = message(number)
        conversation, _ = await self.store.conversations.record(
            [inbound], owner_id="owner-1", account=account()
        )
        turn_id = f"turn-{number}"
        await self.store.conversations.commit_turn(
            TurnOutcome(
                turn_id=turn_id,
                conversation_id=conversation.id,
                owner_id="owner-1",
                message_ids=(inbound.job_id,),
                replies=tuple(
                    NewReply(id=f"{turn_id}-{position}", position=position, body=body)
                    for position, body in enumerate(bodies)
                ),
            )
        )
        return await self.store.replies.for_turns([turn_id])

    async def publish(self, *replies: Reply) -> None:
        for reply in replies:
            await self.outbound.publish(reply_job(reply))

    async def claim(self, *replies: Reply) -> Claim:
        await self.publish(*replies)
        return await claim_of(self.outbound)

    async def send(self, *replies: Reply) -> None:
        claim = await self.claim(*replies)
        await self.sender.handle(claim)
        await self.outbound.complete(claim)

    async def now_of(self, reply: Reply) -> Reply:
        stored = await self.store.replies.get(reply.id)
        assert stored is not None
        return stored

    async def status(self, reply: Reply) -> ReplyStatus:
        return (await self.now_of(reply)).status

    async def crash_before_the_post(self, reply: Reply) -> None:
        assert await self.store.replies.mark_sending(reply.id)

    async def crash_after_the_post(self, reply: Reply) -> None:
        assert await self.store.replies.mark_sending(reply.id)
        self.took(reply.body)

    def took(self, body: str, *, at: datetime | None = None, sid: str | None = None) -> str:
        """The provider has a message with that text to the contact."""
        number = len(self.channel.accepted) + 1
        sid = sid or f"SM{'f' * 24}{number:08x}"
        outbound = _outbound(body)
        sent = SentMessage(
            message_id=sid,
            status=DeliveryStatus.QUEUED,
            body=body,
            recipient=outbound.recipient,
            created_at=at or self.clock.now(),
        )
        self.channel.accepted.append(Accepted(outbound, sent))
        return sid

    @property
    def arrived(self) -> list[str]:
        """What the contact has on the phone."""
        return [entry.message.body for entry in self.channel.accepted]


def _outbound(body: str) -> OutboundMessage:
    inbound = message()
    return OutboundMessage(
        reply_id="?",
        account_id=inbound.account_id,
        sender=inbound.recipient,
        recipient=inbound.sender,
        body=body,
    )


def ago(moment: datetime, seconds: float) -> datetime:
    return moment - timedelta(seconds=seconds)


async def open_desk(**settings: object) -> Desk:
    """`settings` are the sender's."""
    clock, metrics = ManualClock(), MemoryMetrics()
    store = MemoryStore(now=clock.now)
    await store.owners.save(owner())
    await store.accounts.save(account())
    channel = MemoryChannel(now=clock.now)
    rates = MemorySendRates(clock)
    return Desk(
        rates=rates,
        clock=clock,
        store=store,
        channel=channel,
        outbound=MemoryQueue(name="outbound", clock=clock),
        sender=ReplySender(
            replies=store.replies,
            accounts=store.accounts,
            consents=store.consents,
            rates=rates,
            channels={channel.name: channel},
            clock=clock,
            send_limits_s={channel.name: SEND_LIMIT_S},
            settings=SenderSettings.model_validate({"resolve_after_s": WAIT_S, **settings}),
            metrics=metrics,
        ),
        metrics=metrics,
    )
