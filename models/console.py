"""The operators' side: who they are, what they did, and what their pages show. Times are UTC."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from models.accounts import Assistant
from models.conversations import HistoryEntry, Reply, ReplyStatus, StepTiming
from models.messages import Frozen, InboundMessage

ACKNOWLEDGING_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
"""Upper bounds of the buckets in which webhooks' answers are counted."""
TOKEN_OPERATOR = "token"  # noqa: S105 -- a name
"""Who signs in with the token."""
LONGEST_NAME = 80
"""Characters of an operator's name."""


class Role(StrEnum):
    """Each may do what the one before may."""

    VIEW = "view"
    OPERATE = "operate"
    ADMINISTER = "administer"

    def allows(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Operator(Frozen):
    name: str
    role: Role


class OperatorSession(Frozen):
    """A signed-in browser."""

    id_hash: str
    operator: Operator
    csrf_token: str = Field(repr=False)
    expires_at: datetime
    token_proof: str = Field(default="", repr=False)
    """Of the token that it was opened with, and its cookie; empty where a password was given."""
    notice: str = ""
    """What the last form did, to be told on the next page."""
    looks_on: bool = False
    """The store, which can't be asked now, knew it lately: it may look, whatever its role."""


class OperatorAction(Frozen):
    """Who did what to what, for good."""

    at: datetime | None = None
    operator: str
    role: Role
    action: str
    subject: str
    detail: str = ""
    outcome: str = ""
    """What came of it."""


class ConversationLine(Frozen):
    """One conversation in a list."""

    id: str
    owner_id: str
    owner_name: str
    channel: str
    address: str
    profile_name: str | None
    human: bool
    last_inbound_at: datetime | None
    excerpt: str = ""
    """The latest message, or the one that was searched for."""


class ConversationPage(Frozen):
    """`after` continues the list; None at its end."""

    lines: tuple[ConversationLine, ...]
    after: str | None = None


class StoredInbound(Frozen):
    """A contact's message as a page shows it."""

    id: str
    seq: int
    message: InboundMessage
    received_at: datetime
    transcript: str | None
    audio_seconds: float
    turn_id: str | None


class TurnRecord(Frozen):
    """A turn and what it said."""

    id: str
    created_at: datetime
    hand_over: bool
    prompt_tokens: int
    completion_tokens: int
    timings: tuple[StepTiming, ...]
    correlation_id: str | None
    entries: tuple[HistoryEntry, ...]
    replies: tuple[Reply, ...]


class ConversationRecord(Frozen):
    """A conversation to read: its latest messages and turns, oldest first."""

    line: ConversationLine
    messages: tuple[StoredInbound, ...]
    turns: tuple[TurnRecord, ...]
    complete: bool


class ReplyPage(Frozen):
    """`total` counts what is in the states that were asked for; `after` continues the list."""

    replies: tuple[Reply, ...]
    total: int
    after: str | None = None


class OwnerLine(Frozen):
    """One owner in a list; `used` are the answers of this month."""

    id: str
    name: str
    timezone: str
    language: str
    plan: str
    active: bool
    monthly_messages: int | None
    used: int


class OwnerPage(Frozen):
    """`total` counts all owners; `after` continues the list."""

    owners: tuple[OwnerLine, ...]
    total: int
    after: str | None = None


class AccountLine(Frozen):
    """An account without its tokens."""

    id: str
    channel: str
    account_sid: str
    messaging_service_sid: str | None
    active: bool
    numbers: tuple[str, ...]


class Quantiles(Frozen):
    """Seconds. None where there is nothing to tell of."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class OwnerTraffic(Frozen):
    owner_id: str
    name: str
    messages: int
    turns: int
    replies: int
    failed: int
    tokens: int
    audio_seconds: float
    queued_p95: float | None = None
    processing_p95: float | None = None
    """Seconds, of the turns that were looked at; None without any."""


class TrafficPoint(Frozen):
    """One slice of the time looked at. Durations are seconds."""

    at: datetime
    messages: int = 0
    turns: int = 0
    queued_p95: float | None = None
    processing_p95: float | None = None


class Traffic(Frozen):
    """What Postgres tells of a stretch of time. `stages` are in the order of a turn."""

    seconds: float
    as_of: datetime
    messages: int
    turns: int
    queued: Quantiles
    processing: Quantiles
    stages: tuple[tuple[str, Quantiles], ...]
    replies: tuple[tuple[ReplyStatus, int], ...]
    channels: tuple[tuple[str, ReplyStatus, int], ...]
    """Replies again, each channel's for itself."""
    owners: tuple[OwnerTraffic, ...]
    points: tuple[TrafficPoint, ...]
    completion_tokens: int
    answering_seconds: float
    audio_seconds: float
    transcribing_seconds: float
    last_sent_at: datetime | None


class WebhookCounts(Frozen):
    """Webhooks answered in a stretch of time, all replicas together. `counts` by `ACKNOWLEDGING_S`."""

    refused: int = 0
    counts: tuple[int, ...] = (0,) * (len(ACKNOWLEDGING_S) + 1)

    def __add__(self, other: WebhookCounts) -> WebhookCounts:
        both = zip(self.counts, other.counts, strict=True)
        return WebhookCounts(
            refused=self.refused + other.refused, counts=tuple(a + b for a, b in both)
        )

    @property
    def total(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket that it lies in; None without webhooks."""
        wanted, seen = share * self.total, 0
        for bound, count in zip((*ACKNOWLEDGING_S, 60.0), self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return None


class DeploymentState(Frozen):
    """A deployment as Ray Serve sees it."""

    name: str
    status: str
    running: int
    target: int
    message: str = ""


class EditedAssistant(Frozen):
    """An assistant that isn't saved yet. `changes`: field, old, new."""

    assistant: Assistant
    changes: tuple[tuple[str, str | None, str | None], ...]
    notes: tuple[str, ...]


class TrialAnswer(Frozen):
    """What an assistant would answer. `tools`: name, arguments, result."""

    text: str
    tools: tuple[tuple[str, str, str], ...]
    hand_over: bool
    tokens: int
    seconds: float
    passages: tuple[str, ...] = ()
    """The documents that it was given passages of."""
    left_out: tuple[str, ...] = ()
    """Tools that would reach somebody else's server: a trial doesn't call them."""
