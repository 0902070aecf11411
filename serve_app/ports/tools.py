"""What a tool of the assistant knows when it is called."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from models.accounts import Owner
from models.conversations import (
    Conversation,
)


class ToolContext(BaseModel):
    """What a tool may know of the turn that calls it."""

    model_config = {"frozen": True}

    owner: Owner
    conversation: Conversation
    turn_id: str
    call_id: str
    now: datetime
    """In the owner's time zone."""
    trial: bool = False
    """Nobody wrote: somebody tries the assistant in the console, and nothing may come of it."""
