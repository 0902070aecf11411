"""Every kind of message from the simulator's phone through the channel."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from models.messages import Choice, Location, Referral
from tests.integration.channels.serving import CONTACT, account, stage

pytestmark = pytest.mark.integration

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def file(content_type, **more):
    return {"content_base64": base64.b64encode(b"x").decode(), "content_type": content_type, **more}


async def test_each_kind_is_understood():
    async with stage() as on:

        async def came(**message):
            await on.write(**message)
            request = on.receiver.requests[-1]
            on.channel.verify(request, account())
            return on.channel.parse(request, received_at=NOW)

        place = {"latitude": 38.7, "longitude": -9.1, "name": "Home", "address": "27 Garden Lane"}
        located = await came(location=place)
        assert (located.kind, located.location) == ("location", Location(**place))

        tapped = await came(button={"title": "Yes", "id": "y"}, reply_to="SM1")
        assert (tapped.kind, tapped.body, tapped.in_reply_to) == ("button", "Yes", "SM1")
        assert tapped.choice == Choice(id="y", title="Yes")

        chosen = await came(list_item={"title": "Two", "id": "2", "description": "people"})
        assert (chosen.kind, chosen.body) == ("list", "Two")
        assert chosen.choice == Choice(id="2", title="Two", description="people")

        card = await came(contact={"name": "Ana", "phone": "+351912345678"})
        assert (card.kind, card.media[0].content_type) == ("contact", "text/vcard")
        fetched = await on.channel.fetch_media(card.media[0], account())
        assert b"FN:Ana" in fetched.content

        ad = await came(body="Hi", referral={"headline": "Best coffee", "source_id": "7"})
        assert isinstance(ad.referral, Referral)
        assert (ad.referral.headline, ad.referral.source_id) == ("Best coffee", "7")

        told = await came(body="Joke", forwarded=True, frequently_forwarded=True)
        assert (told.forwarded, told.frequently_forwarded) == (True, True)

        kinds = {
            "image/jpeg": "image",
            "video/mp4": "video",
            "application/pdf": "document",
            "audio/ogg": "audio",
        }
        for content_type, kind in kinds.items():
            assert (await came(body="c", media=[file(content_type)])).kind == kind
        assert (await came(media=[file("image/webp", sticker=True)])).kind == "sticker"

        assert (await came(body="x", FromZip="", Added="1")).extra["Added"] == "1"


async def test_a_contact_without_a_phone_number():
    async with stage() as on:
        hidden = "whatsapp:US.13491208655302741918"
        await on.write(**{"from": hidden, "user_id": "US.13491208655302741918", "body": "Hi"})
        message = on.channel.parse(on.receiver.requests[-1], received_at=NOW)
        assert (message.sender, message.contact_key) == (hidden, "US.13491208655302741918")
        assert "WaId" not in message.extra
        await on.write(user_id="US.9", body="Hi")
        shown = on.channel.parse(on.receiver.requests[-1], received_at=NOW)
        assert (shown.sender, shown.contact_key) == (CONTACT, "US.9")
