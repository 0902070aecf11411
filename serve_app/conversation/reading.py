"""How a message reads: what the model is shown of it, and what is said where there are no words to answer.

A model that only reads is told that something came which it can't see, so that it neither ignores a
picture nor makes one up.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.conversations import StoredMessage
from models.messages import ContactCard, InboundMessage, Location, MediaRef, MessageKind

VOICE_NOTE_MARK = "[voice note] "
"""In front of a transcript, so that the model knows that it may be misheard."""

_UNSEEN = {
    MessageKind.IMAGE: "image",
    MessageKind.VIDEO: "video",
    MessageKind.DOCUMENT: "document",
    MessageKind.STICKER: "sticker",
    MessageKind.OTHER: "message of a kind",
}
WORDLESS = {
    MessageKind.IMAGE: "image_not_seen",
    MessageKind.VIDEO: "video_not_seen",
    MessageKind.DOCUMENT: "document_not_read",
    MessageKind.STICKER: "sticker_not_seen",
    MessageKind.LOCATION: "location_received",
    MessageKind.CONTACT: "contact_received",
    MessageKind.OTHER: "kind_not_supported",
}
_STRUCTURED = frozenset({MessageKind.LOCATION, MessageKind.CONTACT})
SILENT = frozenset({MessageKind.REACTION, MessageKind.NOTICE})
_CHOSEN = frozenset({MessageKind.BUTTON, MessageKind.LIST})
"""An answer that was offered: it stands for itself, and what offered it is in the history."""
_MOST_CARDS = 5
_MOST_QUOTED = 200


@dataclass(frozen=True, slots=True)
class HeardMessage:
    """A message with what was found out about it. `text` is what was written or said; `problem` is a key of
    the text catalogue, set where that leaves nothing to answer; `cards` are the people it tells of, and
    `quoted` is the text of the earlier message that it replies to."""

    stored: StoredMessage
    text: str
    spoken: bool = False
    language: str | None = None
    audio_seconds: float = 0.0
    problem: str | None = None
    cards: tuple[ContactCard, ...] = ()
    quoted: str | None = None

    @property
    def expects_no_answer(self) -> bool:
        """A thumbs-up is not a question."""
        return self.stored.message.kind in SILENT


def wordless_problem(message: InboundMessage, *, ask_about_structured: bool) -> str | None:
    """The key of what to say to a message without words. With `ask_about_structured` the model answers a
    location or a contact card itself."""
    kind = message.kind
    if kind in _STRUCTURED and ask_about_structured:
        return None
    if kind in WORDLESS:
        return WORDLESS[kind]
    return "document_not_read" if message.media else "empty_message"


def as_read(heard: HeardMessage) -> str:
    """What the model reads; empty for what it need not know of."""
    text = f"{VOICE_NOTE_MARK}{heard.text}" if heard.spoken else heard.text
    mark = _mark(heard)
    if not mark and not text:
        return ""
    return " ".join(part for part in (mark, text, *_notes(heard)) if part)


def _mark(heard: HeardMessage) -> str:
    message = heard.stored.message
    match message.kind:
        case MessageKind.LOCATION if message.location is not None:
            return f"[location: {_place(message.location)}]"
        case MessageKind.CONTACT:
            return f"[contact card: {_people(heard.cards or message.contacts)}]"
        case MessageKind.REACTION:
            return f"[reaction {message.reaction}]" if message.reaction else ""
        case MessageKind.ORDER:
            return "[order]"
        case kind if kind in _UNSEEN:
            name = _UNSEEN[kind]
            files = [ref for ref in message.media if not ref.is_audio]
            if len(files) > 1:
                name = f"{len(files)} files"
            return f"[{name} you can't see{_file_name(files)}]"
        case _:
            return ""


def _notes(heard: HeardMessage) -> list[str]:
    """Behind the words, where they distract a small model least."""
    message = heard.stored.message
    notes: list[str] = []
    if heard.quoted and message.kind not in _CHOSEN:
        notes.append(f"[in reply to: {_short(heard.quoted)}]")
    if message.frequently_forwarded:
        notes.append("[forwarded many times]")
    elif message.forwarded:
        notes.append("[forwarded]")
    if message.referral is not None:
        about = message.referral.headline or message.referral.body or message.referral.source_url
        notes.append(f"[came through: {_short(about)}]" if about else "")
    return notes


def _place(place: Location) -> str:
    named = ", ".join(part for part in (place.name, place.address) if part)
    degrees = f"{place.latitude:.5f}, {place.longitude:.5f}"
    return f"{_short(named)} ({degrees})" if named else degrees


def _people(cards: tuple[ContactCard, ...]) -> str:
    told = [
        ", ".join(
            part for part in (card.name, card.organization, *card.phones, *card.emails) if part
        )
        for card in cards[:_MOST_CARDS]
    ]
    more = len(cards) - _MOST_CARDS
    return "; ".join(filter(None, told)) + (f"; {more} more" if more > 0 else "") or "unreadable"


def _file_name(files: list[MediaRef]) -> str:
    names = [ref.filename for ref in files if ref.filename]
    return f": {_short(', '.join(names))}" if names else ""


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("[", "(").replace("]", ")")
    return line if len(line) <= _MOST_QUOTED else line[: _MOST_QUOTED - 1] + "…"
