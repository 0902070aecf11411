"""STOP, START and HELP within a turn: what they change, what is said about it, what is left to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.consent import ConsentWord, is_standard
from models.conversations import ReplyPurpose, StoredMessage
from models.messages import InboundMessage
from serve_app.conversation.message_handler import RecordedTurn
from serve_app.ports import ConsentRepository

Said = Literal["opted_out", "opted_in", "who_we_are"]
"""Keys of the text catalogue."""


@dataclass(frozen=True, slots=True)
class ConsentOutcome:
    """`rest` is what is left for the assistant. If nothing is, `said` is all that is answered."""

    rest: tuple[StoredMessage, ...]
    said: Said | None = None
    silent: bool = False
    """The contact has opted out."""

    @property
    def purpose(self) -> ReplyPurpose:
        return ReplyPurpose.OPT_OUT if self.said == "opted_out" else ReplyPurpose.ANSWER


class ConsentDesk:
    """The state was changed when the webhook came in, if Postgres was there; doing it again changes
    nothing and tells what it changed."""

    def __init__(self, *, consents: ConsentRepository) -> None:
        self._consents = consents

    async def decide(self, turn: RecordedTurn) -> ConsentOutcome:
        """`turn.open` must not be empty."""
        opted_out = turn.conversation.contact.opted_out_at is not None
        said: Said | None = None
        rest = list(turn.open)
        for stored in turn.open:
            message = stored.message
            word = message.consent
            answered = _is_answered(message)
            if word is ConsentWord.HELP and not opted_out:
                said = None if answered else "who_we_are"
                rest.remove(stored)
            elif word is ConsentWord.STOP:
                change = await self._consents.apply(message, stop=True)
                confirm = change is not None and change.changed and not answered
                opted_out, said = True, "opted_out" if confirm else None
                rest.remove(stored)
            elif word is ConsentWord.START:
                change = await self._consents.apply(message, stop=False)
                if change is not None and change.changed:
                    opted_out, said = False, None if answered else "opted_in"
                    rest.remove(stored)
                elif message.opt_out_type is not None:
                    # Twilio has said something to it, whatever we knew of this contact.
                    opted_out = False
                    rest.remove(stored)
        return ConsentOutcome(() if opted_out else tuple(rest), said, silent=opted_out)


def _is_answered(message: InboundMessage) -> bool:
    """On SMS Twilio answers the carriers' words itself; elsewhere it says so if it has."""
    if message.opt_out_type is not None:
        return True
    return message.is_sms and is_standard(message.body)
