"""A business with everything around it in memory, and what its contacts send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx2
from pydantic import SecretStr

from models.accounts import Addressee, Assistant, Owner, PhoneNumber, Plan, TwilioAccount
from models.conversations import Conversation, Reply, ReplyStatus
from models.jobs import Claim, NewJob
from models.messages import InboundMessage, MediaFile, MediaRef
from serve_app.conversation.agent import Agent
from serve_app.conversation.ai_processor import AIProcessor
from serve_app.conversation.attachments import AttachmentReader
from serve_app.conversation.audio_processor import AudioProcessor
from serve_app.conversation.business_tools import business_tools
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.consent import ConsentDesk
from serve_app.conversation.http_tools import HttpTools
from serve_app.conversation.message_handler import MessageHandler
from serve_app.conversation.orchestrator import MessageOrchestrator
from serve_app.conversation.owner_resolver import OwnerResolver
from serve_app.network import GuardedHttp
from serve_app.settings import ConversationSettings
from serve_app.testing.channels import MemoryChannel
from serve_app.testing.engines import FixedTranscriber, ScriptedChatModel
from serve_app.testing.metrics import MemoryMetrics
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.store import MemoryStore

ACCOUNT_SID = "AC" + "1" * 32
BUSINESS = "whatsapp:+15550001111"
CONTACT = "whatsapp:+15552223333"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""A Monday."""

FACTS: dict[str, object] = {
    "opening_hours": {"monday": ["08:00", "18:00"], "tuesday": ["09:00", "17:00"], "sunday": None},
    "menu": [
        {"item": "cake", "price": "4.20", "category": "cakes"},
        {"item": "cheesecake", "price": "4.50", "category": "cakes"},
        {"item": "green tea", "price": "2.80", "category": "drinks"},
        {"item": "green salad", "price": "7.80", "category": "food"},
    ],
    "info": {"address": "27 Garden Lane"},
}
TOOLS = ("opening_hours", "menu", "business_info", "book_table", "hand_over")


class ManualClock:
    """Moves when it is told to, and when somebody sleeps."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start
        self._monotonic = 1000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def owner(*, plan: Plan | None = None, **assistant: object) -> Owner:
    settings = {"instructions": "Be brief.", "tools": TOOLS, "facts": FACTS, **assistant}
    return Owner(
        id="owner-1",
        name="Café",
        timezone="Europe/Lisbon",
        plan=plan or Plan(code="basic"),
        assistant=Assistant.model_validate(settings),
    )


def account(**changes: object) -> TwilioAccount:
    fields: dict[str, object] = {
        "id": "account-1",
        "owner_id": "owner-1",
        "account_sid": ACCOUNT_SID,
        "auth_token": SecretStr("token-1"),
        "phone_numbers": (PhoneNumber(address=BUSINESS),),
    }
    return TwilioAccount.model_validate({**fields, **changes})


def addressee(of: Owner | None = None, **changes: object) -> Addressee:
    """`changes` are the account's."""
    return Addressee(account=account(**changes), owner=of or owner(), has_documents=True)


def message(
    number: int = 1, body: str = "Hello", *, voice: str | None = None, **changes: object
) -> InboundMessage:
    """`voice` is the address of a recording."""
    fields: dict[str, object] = {
        "channel": "twilio",
        "account_id": ACCOUNT_SID,
        "message_id": f"SM{number:032d}",
        "sender": CONTACT,
        "recipient": BUSINESS,
        "contact_key": CONTACT,
        "body": body,
        "media": (MediaRef(url=voice, content_type="audio/ogg"),) if voice else (),
        "received_at": NOON,
    }
    return InboundMessage.model_validate({**fields, **changes})


def job(of: InboundMessage) -> NewJob:
    return NewJob(
        id=of.job_id,
        conversation=of.conversation_key,
        payload=of.model_dump_json(),
        trace={"correlation_id": f"trace-{of.message_id}"},
    )


async def claim_of(queue: MemoryQueue) -> Claim:
    """The one turn that waits."""
    await queue.promote()
    claims = await queue.take(consumer="test", count=10, block_s=0)
    assert len(claims) == 1, claims
    return claims[0]


@dataclass
class Stage:
    chat: ScriptedChatModel
    transcriber: FixedTranscriber
    clock: ManualClock
    store: MemoryStore
    channel: MemoryChannel
    inbound: MemoryQueue
    outbound: MemoryQueue
    ai: AIProcessor
    orchestrator: MessageOrchestrator
    metrics: MemoryMetrics
    recordings: int = 0
    outcomes: list[str] = field(default_factory=list)

    def record_voice(self, content: bytes) -> str:
        self.recordings += 1
        url = f"https://media.test/{self.recordings}"
        self.channel.media[url] = MediaFile(content=content, content_type="audio/ogg")
        return url

    async def claim(self, *messages: InboundMessage) -> Claim:
        for each in messages:
            await self.inbound.publish(job(each))
        return await claim_of(self.inbound)

    async def turn(self, *messages: InboundMessage) -> None:
        """Receive, handle, complete."""
        claim = await self.claim(*messages)
        await self.orchestrator.handle(claim)
        await self.inbound.complete(claim)

    @property
    def conversation(self) -> Conversation:
        (only,) = self.store.tables.conversations.values()
        return only

    def take_over(self) -> None:
        """A person answers from now on."""
        only = self.conversation
        self.store.tables.conversations[only.id] = only.model_copy(update={"human": True})

    @property
    def replies(self) -> list[Reply]:
        return [stored.reply for stored in self.store.tables.replies.values()]

    @property
    def said(self) -> list[str]:
        return [r.body for r in self.replies if r.status is not ReplyStatus.CANCELED]

    async def published(self) -> list[str]:
        """The ids of the replies on the outbound queue, which are taken."""
        claims = await self.outbound.take(consumer="test", count=100, block_s=0)
        for claim in claims:
            await self.outbound.complete(claim)
        return [each.payload for claim in claims for each in claim.jobs]


def _no_service(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"nobody answers {request.url}")


async def _public_address(host: str, port: int) -> Sequence[str]:
    return ["93.184.216.34"]


async def build_stage(
    chat: ScriptedChatModel | Sequence[object] = ("Hello from the café",),
    *,
    heard: object = "What do you serve?",
    of: Owner | None = None,
    number_reply_parts: bool = False,
    services: Callable[[httpx2.Request], httpx2.Response] | None = None,
    **settings: object,
) -> Stage:
    """`settings` are conversation settings; `services` answer the owners' HTTP tools."""
    clock, metrics = ManualClock(), MemoryMetrics()
    store = MemoryStore(now=clock.now)
    await store.owners.save(of or owner())
    await store.accounts.save(account())
    channel = MemoryChannel(now=clock.now)
    chat = chat if isinstance(chat, ScriptedChatModel) else ScriptedChatModel(chat)  # type: ignore[arg-type]
    transcriber = FixedTranscriber(heard)  # type: ignore[arg-type]
    outbound = MemoryQueue(name="outbound", clock=clock)
    conversation = ConversationSettings.model_validate(settings)
    ai = AIProcessor(
        agent=Agent(
            model=chat,
            tools=business_tools(store.owners),
            max_steps=conversation.max_steps,
            max_turn_tokens=conversation.max_turn_tokens,
            tool_timeout_s=conversation.tool_timeout_s,
        ),
        http_tools=HttpTools(
            http=GuardedHttp(
                client=httpx2.AsyncClient(transport=httpx2.MockTransport(services or _no_service)),
                hosts=["*.example"],
                resolver=_public_address,
            ),
            secrets=store.secrets,
        ),
        texts=TextCatalogue.load(),
        conversations=store.conversations,
        documents=store.documents,
        replies=store.replies,
        outbound=outbound,
        clock=clock,
        settings=conversation,
        number_reply_parts=number_reply_parts,
    )
    return Stage(
        chat=chat,
        transcriber=transcriber,
        clock=clock,
        store=store,
        channel=channel,
        inbound=MemoryQueue(name="inbound", clock=clock),
        outbound=outbound,
        ai=ai,
        orchestrator=MessageOrchestrator(
            messages=MessageHandler(accounts=store.accounts, conversations=store.conversations),
            owners=OwnerResolver(owners=store.owners),
            audio=AudioProcessor(conversations=store.conversations, transcriber=transcriber),
            attachments=AttachmentReader(conversations=store.conversations),
            consent=ConsentDesk(consents=store.consents),
            ai=ai,
            channels={channel.name: channel},
            clock=clock,
            typing_indicator=conversation.typing_indicator,
            metrics=metrics,
        ),
        metrics=metrics,
    )
