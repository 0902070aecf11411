"""Send rates in memory: the token buckets of `queue/lua/send_rates.lua` in one process, by a given clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from serve_app.ports import Clock, SendLane

MOST_STRIKES = 5
PATIENCE_S = 5.0


@dataclass
class _Bucket:
    tokens: float
    at: float

    def level(self, now: float, per_second: float, most: float) -> float:
        return min(most, self.tokens + max(0.0, now - self.at) * per_second)


@dataclass
class _Sender:
    bucket: _Bucket | None = None
    line: dict[str, float] = field(default_factory=dict[str, float])
    """Who waits, and when each may come back."""
    strikes: float = 0.0
    struck_at: float = 0.0
    paused_until: float = 0.0


@dataclass
class MemorySendRates:
    """Implements `serve_app.ports.SendRates` for one process."""

    clock: Clock
    longest_pause_s: float = 8.0
    recovery_s: float = 30.0
    slowed: list[float] = field(default_factory=list[float])
    """What was asked of `slow_down`, in seconds."""
    _senders: dict[tuple[str, str], _Sender] = field(default_factory=dict[tuple[str, str], _Sender])
    _recipients: dict[tuple[str, str, str], _Bucket] = field(
        default_factory=dict[tuple[str, str, str], _Bucket]
    )

    async def acquire(self, lane: SendLane, who: str, *, cost: int = 1) -> float:
        await asyncio.sleep(0)
        now = self.clock.monotonic()
        sender = self._sender(lane)
        rate = lane.per_second * 0.5 ** self._strikes(sender, now)
        sender.line = {name: due for name, due in sender.line.items() if due > now - PATIENCE_S}
        line = sorted(sender.line, key=lambda name: (sender.line[name], name))
        ahead = line.index(who) if who in line else len(line)

        bucket = sender.bucket or _Bucket(lane.burst, now)
        tokens, wait = bucket.level(now, rate, lane.burst), 0.0
        if sender.paused_until > now:
            wait = sender.paused_until - now + ahead / rate
        else:
            wait = max(0.0, (min(cost, lane.burst) + ahead - tokens) / rate)

        to = (lane.account_id, lane.sender, lane.recipient)
        theirs = self._recipients.get(to, _Bucket(lane.recipient_burst, now)).level(
            now, lane.recipient_per_second, lane.recipient_burst
        )
        their_wait = max(0.0, (1 - theirs) / lane.recipient_per_second)

        if wait == 0 and their_wait == 0:
            sender.bucket = _Bucket(tokens - cost, now)
            self._recipients[to] = _Bucket(theirs - 1, now)
            sender.line.pop(who, None)
            return 0.0
        if their_wait > wait:
            # It must not keep others of the same sender waiting.
            sender.line.pop(who, None)
            return their_wait
        sender.line[who] = now + wait
        return wait

    async def slow_down(self, lane: SendLane, *, at_least_s: float = 0.0) -> float:
        await asyncio.sleep(0)
        self.slowed.append(at_least_s)
        now = self.clock.monotonic()
        sender = self._sender(lane)
        strikes = self._strikes(sender, now)
        if sender.paused_until <= now:
            # Others that were under way at the same time are refused too: they count as one.
            strikes = min(MOST_STRIKES, strikes + 1)
            sender.strikes, sender.struck_at = strikes, now
        pause = max(at_least_s, min(self.longest_pause_s, 0.5 * 2**strikes))
        sender.paused_until = max(sender.paused_until, now + pause)
        sender.bucket = _Bucket(1.0, sender.paused_until)
        return sender.paused_until - now

    def _sender(self, lane: SendLane) -> _Sender:
        return self._senders.setdefault((lane.account_id, lane.sender), _Sender())

    def _strikes(self, sender: _Sender, now: float) -> float:
        return max(0.0, sender.strikes - (now - sender.struck_at) / self.recovery_s)
