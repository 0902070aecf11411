"""Writes down what an owner's people are told when a conversation is handed to them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from models.accounts import Owner
from models.conversations import Conversation, NewNote

_MOST_CHARS = 1_000
"""Of what the contact wrote."""


def hand_over_notes(
    owner: Owner,
    conversation: Conversation,
    *,
    turn_id: str,
    reason: str,
    last_words: Sequence[str],
    at: datetime,
) -> tuple[NewNote, ...]:
    """One note for each destination that the owner has; their ids repeat with the turn."""
    people, contact = owner.assistant.people, conversation.contact
    content: dict[str, object] = {
        "type": "conversation.handed_over",
        "timestamp": at.isoformat(),
        "data": {
            "owner": owner.id,
            "conversation": conversation.id,
            "channel": contact.channel,
            "contact": {
                "address": contact.address,
                "name": contact.profile_name,
                "language": contact.language,
                "timezone": contact.timezone,
            },
            "reason": reason,
            "last_message": "\n".join(last_words)[-_MOST_CHARS:],
        },
    }
    targets = {"webhook": people.notify_url, "message": people.notify_number}
    return tuple(
        NewNote.model_validate(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"note:{turn_id}:{destination}")),
                "destination": destination,
                "target": target,
                "content": content,
            }
        )
        for destination, target in targets.items()
        if target
    )
