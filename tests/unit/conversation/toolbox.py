"""What a tool is called with."""

from __future__ import annotations

from datetime import datetime

from models.accounts import Owner
from models.conversations import Contact, Conversation
from serve_app.ports import ToolContext
from tests.unit.conversation import stage


def context(
    *, now: datetime = stage.NOON, of: Owner | None = None, call_id: str = "call-0-0"
) -> ToolContext:
    return ToolContext(
        owner=of or stage.owner(),
        conversation=Conversation(
            id="conversation-1",
            owner_id="owner-1",
            account_id="account-1",
            contact=Contact(
                id="contact-1",
                owner_id="owner-1",
                channel="twilio",
                key=stage.CONTACT,
                address=stage.CONTACT,
            ),
            recipient=stage.BUSINESS,
        ),
        turn_id="turn-1",
        call_id=call_id,
        now=now,
    )
