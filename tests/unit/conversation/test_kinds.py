"""Every kind of message through a whole turn."""

from __future__ import annotations

import pytest

from models.errors import MediaNotReadyError, MediaRejectedError
from models.messages import InboundMessage, Location, MediaFile, MediaRef
from serve_app.conversation.catalogue import TextCatalogue
from tests.unit.conversation import stage
from tests.unit.conversation.stage import Stage

TEXTS = TextCatalogue.load()
PHOTO = MediaRef(url="https://media.test/p", content_type="image/jpeg")
PLACE = Location(latitude=38.7169, longitude=-9.1399)
CARD = MediaRef(url="https://media.test/c", content_type="text/vcard")
VCARD = b"BEGIN:VCARD\nFN:Ana Silva\nTEL:+351912345678\nEND:VCARD\n"


def image(number: int, caption: str = "") -> InboundMessage:
    return stage.message(number, caption, kind="image", media=(PHOTO,))


def asked(on: Stage) -> list[str]:
    """What the model read, instructions aside."""
    (request,) = on.chat.requests
    return [message.content for message in request.messages if message.role == "user"]


def remembered(on: Stage) -> list[str]:
    (entries,) = on.store.tables.entries.values()
    return [entry.content for entry in entries]


@pytest.mark.parametrize(
    ("message", "key", "entry"),
    [
        (image(1), "image_not_seen", "[image you can't see]"),
        (
            stage.message(1, "", kind="location", location=PLACE),
            "location_received",
            "[location: 38.71690, -9.13990]",
        ),
        (
            stage.message(1, "", kind="sticker", media=(PHOTO,)),
            "sticker_not_seen",
            "[sticker you can't see]",
        ),
        (
            stage.message(1, "", kind="other"),
            "kind_not_supported",
            "[message of a kind you can't see]",
        ),
    ],
)
async def test_what_comes_without_words_is_answered_honestly_and_remembered(
    message: InboundMessage, key: str, entry: str
) -> None:
    on = await stage.build_stage()
    await on.turn(message)
    assert on.said == [TEXTS.text(key, "en")]
    assert on.chat.requests == []
    assert remembered(on) == [entry, TEXTS.text(key, "en")]


async def test_a_caption_is_answered_and_the_model_knows_of_the_picture() -> None:
    on = await stage.build_stage()
    await on.turn(image(1, "How much is this?"))
    assert asked(on) == ["[image you can't see] How much is this?"]
    assert on.said == ["Hello from the café"]


async def test_a_picture_and_then_words_are_one_question() -> None:
    on = await stage.build_stage()
    await on.turn(image(1), stage.message(2, "Do you have this cake?"))
    assert asked(on) == ["[image you can't see]", "Do you have this cake?"]


async def test_a_contact_card_is_read() -> None:
    on = await stage.build_stage()
    on.channel.media[CARD.url] = MediaFile(content=VCARD, content_type="text/vcard")
    await on.turn(
        stage.message(1, "", kind="contact", media=(CARD,)), stage.message(2, "Please call her")
    )
    assert asked(on) == ["[contact card: Ana Silva, +351912345678]", "Please call her"]


async def test_a_contact_card_that_is_refused_or_late() -> None:
    on = await stage.build_stage()
    card = stage.message(1, "", kind="contact", media=(CARD,))
    on.channel.media[CARD.url] = MediaNotReadyError("404")
    claim = await on.claim(card)
    with pytest.raises(MediaNotReadyError):
        await on.orchestrator.handle(claim)
    on.channel.media[CARD.url] = MediaRejectedError("too large")
    await on.orchestrator.handle(claim)
    assert on.said == [TEXTS.text("contact_received", "en")]
    assert remembered(on)[0] == "[contact card: unreadable]"


async def test_a_reaction_is_remembered_and_not_answered() -> None:
    on = await stage.build_stage()
    await on.turn(stage.message(1, "", kind="reaction", reaction="\U0001f44d"))
    assert on.said == []
    assert on.chat.requests == []
    assert remembered(on) == ["[reaction \U0001f44d]"]


async def test_a_reaction_beside_a_question_does_not_stop_the_answer() -> None:
    on = await stage.build_stage()
    await on.turn(
        image(1), stage.message(2, "", kind="reaction", reaction="\U0001f44d", in_reply_to="SM0")
    )
    assert on.said == [TEXTS.text("image_not_seen", "en")]


async def test_a_reply_quotes_what_it_replies_to() -> None:
    on = await stage.build_stage(["On Saturday from nine.", "Closed on Sunday."])
    await on.turn(first := stage.message(1, "When on Saturday?"))
    await on.turn(stage.message(2, "And on Sunday?", in_reply_to=first.message_id))
    read = [m.content for m in on.chat.requests[-1].messages if m.role == "user"]
    assert read[-1] == "And on Sunday? [in reply to: When on Saturday?]"


async def test_a_reply_to_what_is_not_known() -> None:
    on = await stage.build_stage()
    await on.turn(stage.message(1, "And on Sunday?", in_reply_to="SM-of-somebody-else"))
    assert asked(on) == ["And on Sunday?"]
