"""What people get who send something else than words."""

from __future__ import annotations

import base64
import time

import pytest

from tests.e2e.product import NOTES, Product, await_replies, replies, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def test_a_picture_a_place_and_a_button_each_get_a_sensible_reply(product, tmp_path) -> None:
    photo = tmp_path / "cake.png"
    photo.write_bytes(PIXEL)
    phone = "whatsapp:+15557000001"
    alone = product.say("--image", str(photo), phone=phone)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "can't look at pictures yet" in alone.stdout
    captioned = product.say("how much is the carrot cake?", "--image", str(photo), phone=phone)
    assert "4.20" in captioned.stdout, captioned.stdout + captioned.stderr
    place = product.say("--location", "38.7169,-9.1399", phone="whatsapp:+15557000002")
    assert "received your location" in place.stdout, place.stdout + place.stderr
    button = product.say("--button", "Opening hours on Saturday", phone="whatsapp:+15557000003")
    assert "from 09:00 to 16:30" in button.stdout, button.stdout + button.stderr


def test_a_contact_card_is_answered_and_a_hidden_number_too(product: Product) -> None:
    card = product.say("--contact", "Ana Silva,+351912345678", phone="whatsapp:+15557000004")
    assert "received the contact" in card.stdout, card.stdout + card.stderr
    hidden = "whatsapp:US.13491208655302741918"
    with product.simulator as client:
        write(client, hidden, "what time do you open on saturday", user_id=hidden[9:])
        assert "09:00" in await_replies(client, hidden)[0]
        assert {reply["to"] for reply in replies(client, hidden)} == {hidden}


def test_the_second_channel_answers_through_the_same_product(product: Product, tmp_path) -> None:
    channel = ("--channel", "whatsapp_cloud")
    asked = product.say("what time do you open on saturday", *channel, phone="15557000005")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "from 09:00 to 16:30" in asked.stdout
    note = str(NOTES / "hours-saturday.ogg")
    heard = product.say("--audio", note, *channel, phone="15557000006")
    assert "heard: What are your opening hours on Saturday?" in heard.stdout, heard.stdout
    photo = tmp_path / "cake.png"
    photo.write_bytes(PIXEL)
    seen = product.say("--image", str(photo), *channel, phone="15557000007")
    assert "can't look at pictures yet" in seen.stdout, seen.stdout + seen.stderr
    with product.simulator as client:
        deadline = time.monotonic() + 20
        while replies(client, "15557000005")[0]["status"] != "read":
            assert time.monotonic() < deadline
            time.sleep(0.1)
