"""Whether a turn needs the model at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.accounts import Owner
from models.conversations import StoredMessage
from serve_app.conversation.business_hours import is_open, zone_of
from serve_app.conversation.hand_over_rule import matching_keyword
from serve_app.conversation.owner_resolver import Entitlement
from serve_app.conversation.reading import SILENT, HeardMessage


@dataclass(frozen=True, slots=True)
class Plan:
    """`text` is a key of the catalogue; None asks the model."""

    text: str | None = None
    hand_over_reason: str | None = None
    silent: bool = False


def stays_silent(owner: Owner, messages: Sequence[StoredMessage], now: datetime) -> bool:
    """Whether it is known before anything is read that there is nothing to say, but for a keyword."""
    if all(stored.message.kind in SILENT for stored in messages):
        return True
    closed = not is_open(owner.assistant, now.astimezone(zone_of(owner)))
    return closed and owner.assistant.outside_hours == "silent"


def plan_without_a_model(
    entitlement: Entitlement, heard: Sequence[HeardMessage], now: datetime
) -> Plan:
    """Whether this is answered without a model, and how."""
    assistant = entitlement.owner.assistant
    asking = [h for h in heard if not h.expects_no_answer]
    if not asking:
        return Plan(silent=True)
    if entitlement.refusal is not None:
        return Plan(entitlement.refusal)
    keyword = matching_keyword((h.text for h in heard), assistant.people.keywords)
    if keyword is not None:
        return Plan("handed_over", hand_over_reason=f"keyword: {keyword}")
    if assistant.outside_hours != "answer" and not is_open(assistant, now):
        match assistant.outside_hours:
            case "silent":
                return Plan(silent=True)
            case "hand_over":
                return Plan("outside_hours", hand_over_reason="outside of business hours")
            case "text":
                return Plan("outside_hours")
    if all(h.problem is not None for h in asking):
        return Plan(asking[-1].problem)
    return Plan()
