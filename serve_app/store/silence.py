"""When a turn ends without a word of the assistant, although it has found an answer."""

from __future__ import annotations

from models.conversations import ReplyPurpose, TurnOutcome
from serve_app.store.reply_states import OPTED_OUT, TAKEN_OVER


def silence_sql(takeovers: str) -> str:
    """`obstacle` of a row of conversations `v` with its `contact`; `takeovers` is the outcome's argument."""
    return f"""
        CASE WHEN contact.opted_out_at IS NOT NULL THEN '{OPTED_OUT}'
            WHEN v.human OR v.takeovers <> {takeovers}::integer THEN '{TAKEN_OVER}' END
    """


def obstacle(outcome: TurnOutcome, *, human: bool, takeovers: int, opted_out: bool) -> str | None:
    """Why the assistant may not speak (any more), as the conversation is when the turn ends."""
    if opted_out:
        return OPTED_OUT
    if human or outcome.takeovers not in (None, takeovers):
        return TAKEN_OVER
    return None


def silenced(outcome: TurnOutcome) -> TurnOutcome:
    """What is left of a turn then: what the contact said, and the replies, to be stored as canceled. What
    others than the assistant say stays."""
    if any(reply.purpose is not ReplyPurpose.ANSWER for reply in outcome.replies):
        return outcome
    heard = tuple(entry for entry in outcome.entries if entry.role == "user")
    return outcome.model_copy(update={"entries": heard, "hand_over": False, "notes": ()})
