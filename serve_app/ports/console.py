"""What the console reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.console import (
    AccountLine,
    ConversationPage,
    ConversationRecord,
    DeploymentState,
    Operator,
    OperatorAction,
    OperatorSession,
    OwnerPage,
    ReplyPage,
    StoredInbound,
    Traffic,
    WebhookCounts,
)
from models.conversations import ReplyStatus
from models.inference import EngineStats
from models.jobs import Backlog
from models.samples import SampledFigures


class OperatorRepository(Protocol):
    """Who may use the console, their sessions, and what they did."""

    async def save_operator(self, operator: Operator, *, password_hash: str) -> None:
        """Insert or update; sessions that the operator had end."""
        ...

    async def delete_operator(self, name: str) -> bool: ...

    async def operators(self) -> list[Operator]: ...

    async def password_hash(self, name: str) -> tuple[Operator, str] | None: ...

    async def open_session(self, session: OperatorSession) -> None: ...

    async def session(self, id_hash: str, *, idle_s: float) -> OperatorSession | None:
        """None if there is none, or if it expired or wasn't used for that long. Looking uses it."""
        ...

    async def close_session(self, id_hash: str) -> None: ...

    async def set_notice(self, id_hash: str, notice: str) -> None: ...

    async def begin_attempt(self, name: str, *, within_s: float, most: int) -> bool:
        """Count a sign-in under this name as failed, before its secret is looked at: False, and not
        counted, if there were `most` already. Those at the same time are counted one after the other."""
        ...

    async def forgive_attempts(self, name: str) -> None:
        """A sign-in under this name succeeded."""
        ...

    async def begin_action(self, action: OperatorAction) -> int:
        """Its number, for `end_action`."""
        ...

    async def end_action(self, seq: int, outcome: str) -> None: ...

    async def actions(self, *, limit: int) -> list[OperatorAction]:
        """The latest first."""
        ...


class ConsoleViews(Protocol):
    """What the console's pages look up."""

    async def conversations(
        self, *, search: str, only_people: bool, after: str | None, limit: int
    ) -> ConversationPage:
        """The latest first. `search` finds words of messages and replies, names, numbers, message ids
        and correlation ids."""
        ...

    async def conversation(self, conversation_id: str, *, limit: int) -> ConversationRecord | None:
        """With its latest `limit` messages and turns."""
        ...

    async def replies(
        self, *, states: Sequence[ReplyStatus], search: str, after: str | None, limit: int
    ) -> ReplyPage:
        """Those in the first of the states first, in each the latest first."""
        ...

    async def owners(self, *, search: str, after: str | None, limit: int) -> OwnerPage:
        """By id."""
        ...

    async def accounts_of(self, owner_id: str) -> list[AccountLine]: ...

    async def message(self, message_id: str) -> StoredInbound | None: ...

    async def traffic(self, *, seconds: float, points: int) -> Traffic:
        """Of the last `seconds`, its course in that many slices."""
        ...

    async def add_webhooks(self, replica: str, counts: WebhookCounts) -> None:
        """What one replica has answered since it last told; what is older than a day is forgotten."""
        ...

    async def webhooks(self, *, seconds: float) -> WebhookCounts: ...


class FigureSamples(Protocol):
    """What the queues and the cluster looked like, kept for little more than a day. Each `add` does nothing
    if its like was added within `apart_s`, by whomever."""

    async def add_backlogs(self, backlogs: Sequence[Backlog], *, apart_s: float) -> None: ...

    async def add_replicas(
        self, deployments: Sequence[DeploymentState], *, apart_s: float
    ) -> None: ...

    async def add_engines(self, engines: Sequence[EngineStats], *, apart_s: float) -> None:
        """Counters of replicas since they started: what they did meanwhile is told by `figures`."""
        ...

    async def figures(self, *, seconds: float, points: int) -> SampledFigures:
        """Of the last `seconds`, the backlog's course in that many slices."""
        ...


class ClusterView(Protocol):
    """The cluster as the console shows it. Raises `EngineUnavailableError` while it can't be asked."""

    async def deployments(self) -> list[DeploymentState]: ...

    async def engines(self) -> list[EngineStats]:
        """One replica of each model."""
        ...
