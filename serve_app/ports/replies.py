"""What is to be sent, what was, and how fast it may be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from models.conversations import (
    ConsentChange,
    DeliveryCount,
    Reply,
    ReplyStatus,
)
from models.messages import (
    InboundMessage,
    SentMessage,
    StatusUpdate,
)


class ReplyRepository(Protocol):
    async def get(self, reply_id: str) -> Reply | None: ...

    async def for_turns(self, turn_ids: Sequence[str]) -> list[Reply]:
        """Replies of these turns in sending order."""
        ...

    async def unsent(self, *, older_than_s: float, limit: int) -> list[Reply]:
        """Replies still `pending`, `sending` or `unknown` that long after their last change, oldest
        first; not those whose time hasn't come."""
        ...

    async def in_states(self, states: Collection[ReplyStatus], *, limit: int) -> list[Reply]:
        """Replies in one of these states, the one that is longest so first."""
        ...

    async def resend(self, reply_id: str) -> bool:
        """A person's decision: `parked` or `failed` to `pending`, as if it had never been sent. Reports of
        what was sent before change it no more. False if it is in another state (any more)."""
        ...

    async def drop(self, reply_id: str, *, error: str) -> bool:
        """A person's decision: `pending`, `unknown`, `parked` or `failed` to `canceled`. False if it is in
        another state (any more)."""
        ...

    async def mark_sending(
        self, reply_id: str, *, window_s: float | None = None, has_template: bool = False
    ) -> Reply | None:
        """`pending` to `sending`, after a last look at what may have changed meanwhile, all in one step.
        Returns the reply as it is to be sent; None if it isn't pending (any more).

        It becomes `canceled` instead, with the reason, if the contact has opted out, if a person has taken
        over since it was written, or if the contact's last message is more than `window_s` seconds ago
        and there is no template (`has_template`); with one it is sent `as_template`.
        """
        ...

    async def mark_pending(self, reply_id: str, *, as_template: bool = False) -> None:
        """`sending` or `unknown` back to `pending`: it is certain that nothing was sent. `as_template`, if
        the provider takes it in no other form."""
        ...

    async def mark_sent(self, reply_id: str, sent: SentMessage) -> None:
        """`sending`, `unknown` or `parked` to `sent`."""
        ...

    async def mark_unknown(self, reply_id: str, *, error: str) -> None: ...

    async def mark_failed(self, reply_id: str, *, code: int | None, error: str) -> None: ...

    async def mark_canceled(self, reply_id: str, *, error: str) -> None: ...

    async def park(self, reply_id: str, *, error: str) -> None:
        """A person must decide."""
        ...

    async def count_open(self) -> dict[ReplyStatus, int]:
        """How many replies are `pending`, `sending`, `unknown`, `parked` and `failed`."""
        ...

    async def template_words(self, reply_id: str) -> dict[str, str]:
        """What a template may say of a reply: the contact's `name` and the `business`'."""
        ...

    async def known_provider_ids(self, message_ids: Sequence[str]) -> set[str]:
        """Those of the provider's message ids that already belong to a reply, or did before it was
        resent."""
        ...

    async def apply_status(self, update: StatusUpdate) -> Reply | None:
        """Apply a delivery report; a late one changes nothing. Resolves `sending` and `unknown` to
        `sent`. Returns the reply as it is then; None if it isn't known."""
        ...

    async def send_again(
        self, reply_id: str, *, as_template: bool = False, after_s: float = 0.0
    ) -> bool:
        """`failed` to `pending` in `after_s` seconds, once in a reply's life: it was accepted, and couldn't
        be delivered. False if it was sent again before, or a later reply of its conversation has left."""
        ...

    async def delivery_counts(
        self, *, since: datetime, owner_id: str | None = None
    ) -> list[DeliveryCount]:
        """Replies written since then, counted by owner and by what became of them."""
        ...


class ConsentRepository(Protocol):
    """Who may not be written to. A consent counts once per message, and one that is older than the
    latest changes nothing."""

    async def apply(self, message: InboundMessage, *, stop: bool) -> ConsentChange | None:
        """The contact stops messages, or wants them again: from now on `mark_sending` says so. None if no
        account is stored for the number that was written to.

        Who was known by the address is from then on known by the external id that the message brings. A
        stop holds for every contact of the business with that address."""
        ...

    async def refused(self, reply_id: str, *, at: datetime) -> bool:
        """The provider refused this reply because its contact has opted out there. Whether that was new;
        repeating it tells the same."""
        ...

    async def has_stopped(self, *, owner_id: str, channel: str, address: str) -> bool:
        """Whether somebody with this address wants no messages of this owner."""
        ...

    async def is_sending_to(self, contact_id: str) -> bool:
        """Whether a reply to the contact, or to another one with the same address, was let go and its
        result isn't known yet."""
        ...


@dataclass(frozen=True, slots=True)
class SendLane:
    """Who sends to whom, and how fast it may: tokens a second, and how many may be saved up."""

    account_id: str
    sender: str
    recipient: str
    per_second: float
    burst: int
    recipient_per_second: float
    recipient_burst: int


class SendRates(Protocol):
    """Token buckets of each sender and of each recipient, shared by all replicas. Raises
    `QueueUnavailableError`."""

    async def acquire(self, lane: SendLane, who: str, *, cost: int = 1) -> float:
        """0.0 if `who` (a reply's id) may go now; its tokens are taken then. Else the seconds after which it
        should ask again, its place in line kept."""
        ...

    async def slow_down(self, lane: SendLane, *, at_least_s: float = 0.0) -> float:
        """The provider finds the sender too fast: it pauses, longer each time, and goes slower for a while.
        Returns the seconds to wait."""
        ...
