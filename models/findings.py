"""What a check of the installation found."""

from __future__ import annotations

from typing import Literal

from models.messages import Frozen


class Finding(Frozen):
    """`action` says what to do, where there is something to do."""

    check: str
    level: Literal["ok", "warning", "failed"]
    text: str
    action: str = ""


def clock_finding(check: str, ahead_s: float, *, limit_s: float) -> Finding:
    """Of a clock that is `ahead_s` seconds ahead of this machine's."""
    text = f"{abs(ahead_s) * 1000:,.0f} ms {'ahead of' if ahead_s > 0 else 'behind'} this machine"
    if abs(ahead_s) <= limit_s:
        return Finding(check=check, level="ok", text=text)
    action = "Let both machines keep their time with NTP: waits and retries follow these clocks."
    return Finding(check=check, level="warning", text=text, action=action)
