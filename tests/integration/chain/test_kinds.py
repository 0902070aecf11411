"""Each kind of message at both channels, from the contact to what the model reads or the service says."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from serve_app.conversation.catalogue import TextCatalogue
from serve_app.testing.engines import FixedTranscriber
from tests.integration.chain.house import Open

pytestmark = pytest.mark.integration

TEXTS = TextCatalogue.load()


def file(kind: str, **more: object) -> list[dict[str, object]]:
    content = base64.b64encode(b"OggS a recording" if kind == "audio/ogg" else b"a file").decode()
    return [{"content_base64": content, "content_type": kind, **more}]


def says(words: str) -> str:
    return f"You said: {words}"


Kind = tuple[str, dict[str, Any], str]
"""The words that come with it, what the simulator is told, and what the contact has on the phone then."""

KINDS: dict[str, Kind] = {
    "text": ("Hello", {}, says("Hello")),
    "voice note": ("", {"media": file("audio/ogg")}, says("[voice note] two teas")),
    "image": ("Nice?", {"media": file("image/png")}, says("[image you can't see] Nice?")),
    "video": ("Nice?", {"media": file("video/mp4")}, says("[video you can't see] Nice?")),
    "document": (
        "Is it right?",
        {"media": file("application/pdf", filename="bill.pdf")},
        says("[document you can't see] Is it right?"),
    ),
    "video without words": ("", {"media": file("video/mp4")}, TEXTS.text("video_not_seen", "en")),
    "sticker": (
        "",
        {"media": file("image/webp", sticker=True)},
        TEXTS.text("sticker_not_seen", "en"),
    ),
    "location": (
        "",
        {"location": {"latitude": 38.7, "longitude": -9.1}},
        TEXTS.text("location_received", "en"),
    ),
    "contact card": (
        "",
        {"contact": {"name": "Ana", "phone": "+351210000000"}},
        TEXTS.text("contact_received", "en"),
    ),
    "button": ("", {"button": {"title": "Opening hours"}}, says("Opening hours")),
    "a button called Cancel": ("", {"button": {"title": "Cancel"}}, says("Cancel")),
    "list item": ("", {"list_item": {"title": "Monday", "id": "mo"}}, says("Monday")),
    "forwarded": ("Look", {"forwarded": True}, says("Look [forwarded]")),
    "forwarded often": (
        "Look",
        {"frequently_forwarded": True},
        says("Look [forwarded many times]"),
    ),
    "advertisement": (
        "Is it true?",
        {"referral": {"headline": "Winter sale"}},
        says("Is it true? [came through: Winter sale]"),
    ),
}


@pytest.mark.parametrize("channel", ["twilio", "whatsapp_cloud"])
async def test_every_kind_is_read_or_answered_honestly(house: Open, channel: str) -> None:
    cloud = channel == "whatsapp_cloud"

    def address(number: int) -> str:
        return f"{'' if cloud else 'whatsapp:+'}1555222{number:04d}"

    heard = FixedTranscriber("two teas")
    async with house(transcriber=heard) as at:
        if cloud:
            await at.open_cloud_account()

        async def reply_to(words: str, number: int, **particulars: Any) -> str:
            person = address(number)
            known = len(await at.received(of=person, at_least=0))
            await at.write(words, of=person, channel=channel, **particulars)
            return (await at.received(of=person, at_least=known + 1))[-1]

        said = await asyncio.gather(
            *(
                reply_to(words, number, **particulars)
                for number, (words, particulars, _) in enumerate(KINDS.values())
            )
        )
        expected = {name: kind[2] for name, kind in KINDS.items()}
        if cloud:
            # Only there files have names.
            name = "document"
            expected[name] = expected[name].replace("see]", "see: bill.pdf]")
        assert dict(zip(KINDS, said, strict=True)) == expected

        (earlier,) = await at.phone(address(0))
        quoted = await reply_to("How much is that?", 0, reply_to=earlier["sid"])
        assert quoted == says("How much is that? [in reply to: You said: Hello]")

        hidden = "US.13491208655302741918"
        await at.write(
            "Guess who",
            of=hidden if cloud else f"whatsapp:{hidden}",
            channel=channel,
            user_id=hidden,
        )
        assert await at.received(of=hidden if cloud else f"whatsapp:{hidden}") == [
            says("Guess who")
        ]
