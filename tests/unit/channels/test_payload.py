from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from models.errors import SignatureError, UnprocessableError
from models.messages import Choice, DeliveryStatus, InboundMessage, Location, Referral
from serve_app.channels.twilio.channel import TwilioChannel
from serve_app.channels.twilio.payload import TwilioWhatsAppPayload, read_params, read_status
from serve_app.channels.twilio.tokens import TokenMemory
from serve_app.ports import WebhookRequest

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
FORM = {"content-type": "application/x-www-form-urlencoded"}
TEXT = {
    "MessageSid": "SM1",
    "AccountSid": "AC1",
    "From": "whatsapp:+15552223333",
    "To": "whatsapp:+15550001111",
    "Body": "Hello",
    "NumMedia": "0",
    "ProfileName": "Ana",
    "WaId": "15552223333",
    "MessageType": "text",
}


def parse(**changes):
    params = {**TEXT, **changes}
    pairs = [(name, value) for name, value in params.items() if value is not None]
    return TwilioWhatsAppPayload.from_params(pairs).to_message(received_at=NOW)


def request(body=b"", *, headers=FORM, params=(), url="https://bot.test/w"):
    return WebhookRequest(url=url, headers=headers, body=body, params=params)


def test_a_text_message():
    message = parse()
    assert message.channel == "twilio"
    assert message.job_id == "twilio:AC1:SM1"
    assert (message.sender, message.recipient) == (TEXT["From"], TEXT["To"])
    assert message.contact_key == TEXT["From"]
    assert (message.body, message.kind, message.profile_name) == ("Hello", "text", "Ana")
    assert message.extra == {"WaId": "15552223333"}
    assert message.received_at == NOW


def test_white_space_and_unknown_parameters_are_kept():
    message = parse(Body="  two\n lines ", Added2027="x", Empty="")
    assert message.body == "  two\n lines "
    assert message.extra["Added2027"] == "x"
    assert "Empty" not in message.extra


def test_a_voice_note():
    message = parse(
        Body="",
        NumMedia="1",
        MessageType="audio",
        MediaUrl0="https://api.twilio.com/m/0",
        MediaContentType0="audio/ogg",
    )
    assert message.kind == "audio"
    assert message.media[0].url == "https://api.twilio.com/m/0"
    assert message.media[0].is_audio
    assert "MediaUrl0" not in message.extra


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["image/png"], "image"),
        (["AUDIO/ogg; codecs=opus"], "audio"),
        (["application/pdf"], "document"),
    ],
)
def test_sms_carries_no_message_type(kinds, expected):
    media = {f"MediaUrl{i}": f"https://api.twilio.com/{i}" for i, _ in enumerate(kinds)}
    media |= {f"MediaContentType{i}": kind for i, kind in enumerate(kinds)}
    assert parse(MessageType=None, NumMedia=str(len(kinds)), **media).kind == expected


def test_a_location():
    message = parse(MessageType=None, Body="", Latitude="38.7", Longitude="-9.1")
    assert message.kind == "location"
    assert message.location == Location(latitude=38.7, longitude=-9.1)
    named = parse(Body="", Latitude="0", Longitude="0", Label="Home", Address="27 Garden Lane")
    assert named.location == Location(
        latitude=0, longitude=0, name="Home", address="27 Garden Lane"
    )


@pytest.mark.parametrize("degrees", ["north", "91", "nan", ""])
def test_a_location_that_cannot_be_read_is_kept_as_it_came(degrees):
    message = parse(Latitude=degrees, Longitude="-9.1", MessageType="location")
    assert (message.kind, message.location) == ("location", None)
    assert message.extra.get("Latitude", "") == degrees
    assert message.extra["Longitude"] == "-9.1"


def test_a_contact_without_a_phone_number():
    message = parse(From="whatsapp:US.123abc", ExternalUserId="US.123abc")
    assert message.contact_key == "US.123abc"
    assert message.sender == "whatsapp:US.123abc"
    nameless = parse(From=None, ExternalUserId="US.9")
    assert (nameless.sender, nameless.contact_key) == ("whatsapp:US.9", "US.9")
    assert not nameless.is_sms


def test_a_button():
    message = parse(
        Body="", ButtonText="Yes", ButtonPayload="y", MessageType="button",
        OriginalRepliedMessageSid="SM0", OriginalRepliedMessageSender="whatsapp:+15550001111",
    )  # fmt: skip
    assert (message.body, message.kind) == ("Yes", "button")
    assert message.choice == Choice(id="y", title="Yes")
    assert message.in_reply_to == "SM0"
    assert message.extra["OriginalRepliedMessageSender"] == "whatsapp:+15550001111"


def test_an_item_of_a_list():
    message = parse(
        Body="", MessageType="interactive", ListId="t-2", ListTitle="Table for two",
        ListDescription="At the window",
    )  # fmt: skip
    assert (message.body, message.kind) == ("Table for two", "list")
    assert message.choice == Choice(id="t-2", title="Table for two", description="At the window")
    typed = parse(Body="Two", ButtonPayload="t-2")
    assert (typed.body, typed.kind, typed.choice.title) == ("Two", "button", "Two")


def test_forwarded():
    assert not parse().forwarded
    message = parse(Forwarded="true", FrequentlyForwarded="false")
    assert (message.forwarded, message.frequently_forwarded) == (True, False)
    assert parse(FrequentlyForwarded="TRUE").frequently_forwarded


def test_an_advertisement():
    message = parse(
        ReferralHeadline="Best coffee", ReferralBody="Come in", ReferralSourceType="ad",
        ReferralSourceId="12", ReferralSourceUrl="https://fb.me/1", ReferralCtwaClid="c1",
        ReferralNumMedia="1", ReferralMediaUrl="https://fb.me/p",
    )  # fmt: skip
    assert message.referral == Referral(
        headline="Best coffee", body="Come in", source_type="ad", source_id="12",
        source_url="https://fb.me/1", click_id="c1",
    )  # fmt: skip
    assert message.extra["ReferralMediaUrl"] == "https://fb.me/p"
    assert parse(ReferralNumMedia="0").referral is None


@pytest.mark.parametrize(
    ("content_type", "message_type", "kind"),
    [
        ("image/jpeg", "image", "image"),
        ("image/webp", "sticker", "sticker"),
        ("video/mp4", "video", "video"),
        ("application/pdf", "document", "document"),
        ("audio/mpeg", "audio", "audio"),
        ("audio/ogg", "voice", "audio"),
        ("text/vcard", "contacts", "contact"),
        ("text/x-vcard; charset=utf-8", "document", "contact"),
        ("text/directory", None, "contact"),
        ("video/3gpp", "something-new", "video"),
        ("", "text", "document"),
    ],
)
def test_files_by_their_type(content_type, message_type, kind):
    media = {"MediaUrl0": "https://api.twilio.com/0", "MediaContentType0": content_type}
    message = parse(Body="", NumMedia="1", MessageType=message_type, **media)
    assert message.kind == kind
    assert len(message.media) == 1


def test_a_kind_that_is_newer_than_this_code():
    message = parse(MessageType="hologram")
    assert (message.kind, message.body) == ("other", "Hello")
    assert message.extra["MessageType"] == "hologram"
    again = InboundMessage.model_validate_json(message.model_dump_json())
    assert again == message
    assert InboundMessage.model_validate({**message.model_dump(), "kind": "later"}).kind == "other"


def test_blank_repeated_and_unknown_parameters():
    body = (
        b"MessageSid=SM1&AccountSid=AC1&From=%2B1555&To=%2B1666&Body=&Body=Hi+%26+bye&NumMedia="
        b"&FromCity=&Added=a&Added=&Added=b&Added=a&Added=%C3%A9%0A+&=nameless&Flag&Body=late"
    )
    payload = TwilioWhatsAppPayload.from_params(read_params(request(body)))
    message = payload.to_message(received_at=NOW)
    assert (message.body, message.media) == ("Hi & bye", ())
    assert message.extra == {"Added": "a\nb\né\n ", "": "nameless"}


def test_older_names_and_messaging_services():
    message = parse(MessageSid=None, SmsMessageSid="SM7", MessagingServiceSid="MG1")
    assert message.message_id == "SM7"
    assert message.messaging_service_id == "MG1"


def test_nul_is_dropped_because_postgres_cannot_hold_it():
    assert parse(Body="a\x00b", Extra="\x00").body == "ab"


@pytest.mark.parametrize(
    "changes",
    [
        {"MessageSid": None},
        {"AccountSid": ""},
        {"From": None},
        {"To": None},
        {"NumMedia": "many"},
        {"NumMedia": "-1"},
        {"NumMedia": "1000000"},
        {"MessageSid": "x" * 65},
    ],
)
def test_what_cannot_be_understood(changes):
    with pytest.raises(UnprocessableError) as caught:
        parse(**{"Body": "very private", **changes})
    assert next(iter(changes)) in str(caught.value)
    assert "very private" not in str(caught.value)


def test_parameters_from_the_body_when_the_entry_did_not_parse_them():
    pairs = (("Body", ""), ("Body", "é +"), ("A", "1"))
    assert read_params(request(urlencode(pairs).encode())) == pairs
    assert read_params(request(b"ignored", params=pairs)) == pairs


def test_parameters_of_a_json_body():
    body = json.dumps({"Body": "x", "NumMedia": 0, "Gone": None}).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert read_params(request(body, headers=headers)) == (("Body", "x"), ("NumMedia", "0"))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff=1", FORM),
        (b"Body=%FF", FORM),
        (b"[1]", {"content-type": "application/json"}),
        (b"{", {"content-type": "application/json"}),
    ],
)
def test_unreadable_bodies(body, headers):
    with pytest.raises(UnprocessableError):
        read_params(request(body, headers=headers))
    channel = TwilioChannel(client=None, media=None, tokens=TokenMemory())  # type: ignore[arg-type]
    with pytest.raises(SignatureError):
        channel.account_ids(request(body, headers=headers))


def status(**params):
    return read_status(
        "https://bot.test/webhooks/twilio/status?reply=r%2F1",
        list({"MessageSid": "SM1", "AccountSid": "AC1", **params}.items()),
        received_at=NOW,
    )


@pytest.mark.parametrize("name", list(DeliveryStatus))
def test_every_status(name):
    update = status(MessageStatus=name.value)
    assert (update.status, update.reply_id, update.error_code) == (name, "r/1", None)


def test_a_failed_delivery_and_a_read_receipt():
    failed = status(MessageStatus="undelivered", ErrorCode="63016", ChannelStatusMessage="window")
    assert (failed.error_code, failed.error_message) == (63016, "window")
    assert status(EventType="READ").status is DeliveryStatus.READ
    assert status(MessageStatus="sent", ErrorCode="0").error_code is None


@pytest.mark.parametrize(
    "params", [{}, {"MessageStatus": "received"}, {"MessageStatus": "sent", "AccountSid": ""}]
)
def test_reports_that_cannot_be_understood(params):
    with pytest.raises(UnprocessableError):
        status(**params)
