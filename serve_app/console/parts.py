"""What the console works with, and what it needs of packages that it doesn't know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from models.accounts import Owner
from models.console import EditedAssistant, TrialAnswer
from models.conversations import Reply
from serve_app.console.figures_keeper import FiguresKeeper
from serve_app.console.gate import Gate
from serve_app.console.webhook_window import WebhookWindow
from serve_app.ports import (
    Channel,
    Clock,
    ClusterView,
    ConsoleViews,
    ConversationRepository,
    OperatorRepository,
    OwnerRepository,
    Queue,
    ReplyRepository,
    TwilioAccountRepository,
)


class ReplyDesk(Protocol):
    """A person's decisions about replies. They tell in a word or two what came of them."""

    async def resend(self, reply: Reply, *, blindly: bool = False) -> str: ...

    async def drop(self, reply: Reply, *, why: str) -> str: ...


class AssistantDesk(Protocol):
    """Each raises `PermanentError` with a line that says what to change."""

    def text(self, owner: Owner) -> str:
        """The assistant as YAML."""
        ...

    async def preview(self, owner: Owner, text: str) -> EditedAssistant: ...

    async def save(self, owner: Owner, text: str) -> EditedAssistant:
        """Refused if `owner` isn't what is stored any more."""
        ...


class TrialDesk(Protocol):
    async def ask(self, owner: Owner, question: str) -> TrialAnswer:
        """Nothing is stored, booked or sent. Raises what the model raises."""
        ...


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    gate: Gate
    clock: Clock
    views: ConsoleViews
    operators: OperatorRepository
    queues: Mapping[str, Queue]
    conversations: ConversationRepository
    replies: ReplyRepository
    owners: OwnerRepository
    accounts: TwilioAccountRepository
    channels: Mapping[str, Channel]
    discard: Callable[[str, str], Awaitable[bool]]
    """Delete a dead letter (queue, id) for good, and what it was to do. False if there is none (any more)."""
    attention: ReplyDesk
    publish: Callable[[Reply], Awaitable[object]]
    assistants: AssistantDesk
    trial: TrialDesk | None
    cluster: ClusterView | None
    checks: Mapping[str, Callable[[], Awaitable[None]]]
    window: WebhookWindow
    figures: FiguresKeeper
    spooled: Callable[[], Awaitable[int]]
