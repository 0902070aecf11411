"""What the model is shown of a message."""

from __future__ import annotations

import pytest

from models.conversations import StoredMessage
from models.messages import (
    Choice,
    ContactCard,
    InboundMessage,
    Location,
    MediaRef,
    MessageKind,
    Referral,
)
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.reading import HeardMessage, as_read, wordless_problem
from tests.unit.conversation.stage import message

PHOTO = MediaRef(url="https://m/1", content_type="image/jpeg")
MENU = MediaRef(url="https://m/2", content_type="application/pdf", filename="menu.pdf")
HOME = Location(latitude=38.7169, longitude=-9.1399, name="Home", address="27 Garden Lane")
ANA = ContactCard(name="Ana", phones=("+351912345678",), organization="Garden Lane")


def read(text: str = "", **changes: object) -> str:
    """`changes` are the message's; those of `HeardMessage` start with `heard_`."""
    found = {
        name.removeprefix("heard_"): changes.pop(name)
        for name in list(changes)
        if name.startswith("heard_")
    }
    stored = StoredMessage(id="m-1", message=message(1, text, **changes))
    return as_read(HeardMessage(stored, text, **found))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": "Hello"}, "Hello"),
        ({}, ""),
        ({"text": "Hello", "heard_spoken": True, "kind": "audio"}, "[voice note] Hello"),
        ({"kind": "audio", "media": (MediaRef(url="u", content_type="audio/ogg"),)}, ""),
        ({"kind": "image", "media": (PHOTO,)}, "[image you can't see]"),
        ({"text": "This one?", "kind": "image", "media": (PHOTO,)},
         "[image you can't see] This one?"),
        ({"kind": "image", "media": (PHOTO, PHOTO)}, "[2 files you can't see]"),
        ({"kind": "document", "media": (MENU,)}, "[document you can't see: menu.pdf]"),
        ({"kind": "video", "media": (PHOTO,)}, "[video you can't see]"),
        ({"kind": "sticker", "media": (PHOTO,)}, "[sticker you can't see]"),
        ({"kind": "other"}, "[message of a kind you can't see]"),
        ({"kind": "location", "location": HOME},
         "[location: Home, 27 Garden Lane (38.71690, -9.13990)]"),
        ({"text": "Deliver here", "kind": "location",
          "location": Location(latitude=1, longitude=2)},
         "[location: 1.00000, 2.00000] Deliver here"),
        ({"kind": "contact", "contacts": (ANA,)},
         "[contact card: Ana, Garden Lane, +351912345678]"),
        ({"kind": "contact", "heard_cards": (ANA, ContactCard(name="Eve"))},
         "[contact card: Ana, Garden Lane, +351912345678; Eve]"),
        ({"kind": "contact", "heard_cards": (ANA,) * 7},
         "[contact card: " + "; ".join(["Ana, Garden Lane, +351912345678"] * 5) + "; 2 more]"),
        ({"kind": "contact"}, "[contact card: unreadable]"),
        ({"text": "Yes", "kind": "button", "choice": Choice(id="y", title="Yes")}, "Yes"),
        ({"text": "Yes", "kind": "button", "heard_quoted": "Shall we?"}, "Yes"),
        ({"text": "2 x scone", "kind": "order"}, "[order] 2 x scone"),
        ({"kind": "reaction", "reaction": "\U0001f44d"}, "[reaction \U0001f44d]"),
        ({"kind": "reaction"}, ""),
        ({"kind": "notice"}, ""),
        ({"text": "And on Sunday?", "heard_quoted": "Open\non [Saturday]"},
         "And on Sunday? [in reply to: Open on (Saturday)]"),
        ({"text": "Hi", "forwarded": True}, "Hi [forwarded]"),
        ({"text": "Hi", "forwarded": True, "frequently_forwarded": True},
         "Hi [forwarded many times]"),
        ({"text": "Hi", "referral": Referral(headline="Best coffee")},
         "Hi [came through: Best coffee]"),
        ({"text": "Hi", "referral": Referral(source_id="1")}, "Hi"),
    ],
)  # fmt: skip
def test_what_the_model_reads(changes: dict[str, object], expected: str) -> None:
    assert read(**changes) == expected  # type: ignore[arg-type]


def test_a_long_quotation_is_shortened() -> None:
    told = read("Yes", heard_quoted="word " * 200)
    assert len(told) < 250
    assert told.endswith("…]")


def wordless(**changes: object) -> InboundMessage:
    return message(1, "", **changes)


@pytest.mark.parametrize("kind", list(MessageKind))
def test_there_is_something_to_say_to_every_kind(kind: MessageKind) -> None:
    texts = TextCatalogue.load()
    key = wordless_problem(wordless(kind=kind), ask_about_structured=False)
    assert key is not None
    assert texts.text(key, "pt-BR") != texts.text(key, "en")


def test_the_model_may_be_asked_about_places_and_people() -> None:
    for kind in ("location", "contact"):
        assert wordless_problem(wordless(kind=kind), ask_about_structured=True) is None
    assert wordless_problem(wordless(kind="image"), ask_about_structured=True) == "image_not_seen"


def test_only_reactions_and_notices_expect_no_answer() -> None:
    silent = {
        kind
        for kind in MessageKind
        if HeardMessage(StoredMessage(id="m", message=wordless(kind=kind)), "").expects_no_answer
    }
    assert silent == {MessageKind.REACTION, MessageKind.NOTICE}
