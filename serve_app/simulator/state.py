"""What the simulator remembers: messages in order, files, counts. All in memory, all bounded."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile

from serve_app.simulator.events import LAGGED, Event, EventHub


def new_sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


def now() -> datetime:
    """Twilio's times have whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class SimFile:
    sid: str
    content: bytes
    content_type: str
    absent_looks: int
    """How many more looks find nothing."""
    created: datetime = field(default_factory=now)


@dataclass(eq=False)
class SimMessage:
    sid: str
    direction: str
    """`inbound` or `outbound-api`."""
    sender: str
    recipient: str
    body: str
    status: str
    account_sid: str = ""
    """Of Twilio's; messages of another provider have none."""
    cursor: int = 0
    messaging_service_sid: str | None = None
    template: bool = False
    """Whether it is one, which may be sent at any time."""
    status_callback: str | None = None
    media: tuple[str, ...] = ()
    buttons: tuple[str, ...] = ()
    """Titles; what a button is called comes back with the tap as its title and id."""
    error_code: int | None = None
    created: datetime = field(default_factory=now)
    created_at: float = field(default_factory=time.time)
    """The same, exactly, in seconds since the epoch."""
    updated: datetime = field(default_factory=now)
    sent: datetime | None = None
    webhook_status: int | None = None
    details: dict[str, str] = field(default_factory=dict[str, str])
    """Of an inbound message: the webhook's parameters that say what it is."""
    posted_at: float | None = None
    """When its webhook left, in seconds since the epoch; as all that follows."""
    acknowledged_at: float | None = None
    fetched_at: list[float] = field(default_factory=list[float])
    trail: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """Of an outbound message: its states and when it reached them."""
    ended: bool = False
    """Of an outbound message: nothing more becomes of it."""

    @property
    def contact(self) -> str:
        return self.sender if self.direction == "inbound" else self.recipient


class SimulatorState:
    """Messages by sid and by contact, oldest first."""

    def __init__(self, *, max_messages: int, max_media_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_media_bytes = max_media_bytes
        self._waiters: dict[str | None, set[asyncio.Event]] = {}
        self._cursor = 0
        self.events = EventHub()
        self.clear()

    def clear(self) -> None:
        """Forget everything but the cursor: a reader's position stays valid across a reset."""
        self._messages: OrderedDict[str, SimMessage] = OrderedDict()
        self._by_contact: dict[str, deque[SimMessage]] = {}
        self._by_recipient: dict[str, deque[SimMessage]] = {}
        self._files: OrderedDict[str, SimFile] = OrderedDict()
        self._media_bytes = 0
        self.last_inbound: OrderedDict[str, datetime] = OrderedDict()
        """When each contact last wrote."""
        self.opted_out: OrderedDict[str, None] = OrderedDict()
        self.typing: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.events.tell(Event(LAGGED))

    def changed(self, message: SimMessage) -> None:
        """Something about it is new."""
        if message.direction != "inbound" and message.status not in (n for n, _ in message.trail):
            message.trail.append((message.status, time.time()))
        self.events.tell(Event("message", message.contact, message.sid))

    def add(self, message: SimMessage) -> None:
        replaced = self._messages.pop(message.sid, None)
        if replaced is not None:
            self._by_contact[replaced.contact].remove(replaced)
            self._by_recipient[replaced.recipient].remove(replaced)
        self._cursor += 1
        message.cursor = self._cursor
        self._messages[message.sid] = message
        self._by_contact.setdefault(message.contact, deque()).append(message)
        self._by_recipient.setdefault(message.recipient, deque()).append(message)
        if len(self._messages) > self._max_messages:
            self._forget_oldest()
        self.changed(message)
        if message.direction == "inbound":
            self.last_inbound[message.sender] = message.created
            self.last_inbound.move_to_end(message.sender)
            if len(self.last_inbound) > self._max_messages:
                self.last_inbound.popitem(last=False)
            return
        for key in (message.contact, None):
            for event in self._waiters.get(key, ()):
                event.set()

    def _forget_oldest(self) -> None:
        _, oldest = self._messages.popitem(last=False)
        for index, key in (
            (self._by_contact, oldest.contact),
            (self._by_recipient, oldest.recipient),
        ):
            index[key].popleft()
            if not index[key]:
                del index[key]

    def get(self, sid: str) -> SimMessage | None:
        return self._messages.get(sid)

    def newest_first(
        self, *, contact: str | None = None, recipient: str | None = None
    ) -> Iterator[SimMessage]:
        """All, one contact's, or those to one number."""
        if recipient is not None:
            return reversed(self._by_recipient.get(recipient, deque()))
        if contact is None:
            return reversed(self._messages.values())
        return reversed(self._by_contact.get(contact, deque()))

    def after(self, cursor: int, *, contact: str | None) -> list[SimMessage]:
        """Messages beyond `cursor`, oldest first."""
        newer = takewhile(lambda m: m.cursor > cursor, self.newest_first(contact=contact))
        return list(newer)[::-1]

    async def wait_for_outbound(self, cursor: int, *, contact: str | None, seconds: float) -> None:
        """Returns when there is an outbound message beyond `cursor`, or the time is up."""
        if any(message.direction != "inbound" for message in self.after(cursor, contact=contact)):
            return
        event = asyncio.Event()
        waiting = self._waiters.setdefault(contact, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiters.pop(contact, None)

    def add_file(self, file: SimFile) -> None:
        self._files[file.sid] = file
        self._media_bytes += len(file.content)
        while self._media_bytes > self._max_media_bytes and len(self._files) > 1:
            _, oldest = self._files.popitem(last=False)
            self._media_bytes -= len(oldest.content)

    def file(self, sid: str) -> SimFile | None:
        return self._files.get(sid)

    def opt_out(self, contact: str) -> None:
        self.opted_out[contact] = None
        if len(self.opted_out) > self._max_messages:
            self.opted_out.popitem(last=False)

    def typed(self, entry: dict[str, str], *, contact: str) -> None:
        self.typing.append(entry)
        del self.typing[: -self._max_messages]
        self.events.tell(Event("typing", contact, entry["message_sid"]))
