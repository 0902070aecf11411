"""The Cloud API's webhooks: signature, handshake, every kind of message, statuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from models.errors import (
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
    SignatureError,
    UnprocessableError,
)
from models.messages import Choice, ContactCard, Fault, Location, Referral
from serve_app.channels.whatsapp_cloud.errors import send_error
from serve_app.channels.whatsapp_cloud.payload import account_ids, read_document, read_webhook
from serve_app.channels.whatsapp_cloud.signature import challenge, is_signed, sign

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GRAPH = "https://graph.facebook.com/v23.0/"


def webhook(*messages: object, statuses: tuple[object, ...] = (), **value: object) -> bytes:
    content = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": "15552223333", "user_id": "US.1"}],
        "messages": list(messages),
        "statuses": list(statuses),
        **value,
    }
    entry = {"id": "102290129340398", "changes": [{"value": content, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def read(body: bytes) -> Any:
    return read_webhook(read_document(body), media_url=GRAPH, received_at=NOW)


def message(kind: str = "text", part: object = None, **around: object) -> Any:
    """The one message of a webhook; `part` is the member named as its type."""
    document = {
        "from": "15552223333", "id": "wamid.1", "timestamp": "1", "type": kind,
        kind: {"body": "Hi"} if part is None else part, **around,
    }  # fmt: skip
    contents = read(webhook(document))
    assert contents.unreadable == ()
    (found,) = contents.messages
    return found


def test_a_text() -> None:
    found = message(added_later={"x": 1})
    assert (found.account_id, found.message_id) == ("102290129340398", "wamid.1")
    assert (found.sender, found.recipient) == ("15552223333", "106540352242922")
    assert (found.contact_key, found.profile_name) == ("US.1", "Ana")
    assert (found.kind, found.body) == ("text", "Hi")
    assert found.extra == {"added_later": '{"x": 1}'}


def test_who_hides_the_number() -> None:
    document = {"from_user_id": "US.7", "id": "wamid.1", "type": "text", "text": {"body": "Hi"}}
    people = [{"profile": {"name": "Eve"}, "user_id": "US.7"}]
    (found,) = read(webhook(document, contacts=people)).messages
    assert (found.sender, found.contact_key, found.profile_name) == ("US.7", "US.7", "Eve")


@pytest.mark.parametrize("kind", ["audio", "image", "video", "document", "sticker"])
def test_files(kind: str) -> None:
    part = {"id": "77", "mime_type": "audio/ogg; codecs=opus", "caption": "Look", "filename": "f"}
    found = message(kind, part)
    (ref,) = found.media
    assert (found.kind, found.body) == (kind, "Look")
    assert (ref.url, ref.content_type, ref.filename) == (GRAPH + "77", part["mime_type"], "f")


@pytest.mark.parametrize("media_id", ["../me", "1?x=1", "", "\u0661", None, 7])
def test_an_id_that_would_lead_elsewhere_is_left_out(media_id: object) -> None:
    assert message("image", {"id": media_id}).media == ()


def test_places_people_and_choices() -> None:
    place = {"latitude": 38.7, "longitude": -9.1, "name": "Home", "address": "27 Garden Lane"}
    assert message("location", place).location == Location(**place)
    card = {
        "name": {"formatted_name": "Ana Silva"}, "phones": [{"phone": "+351"}, {}],
        "emails": [{"email": "a@b.example"}], "org": {"company": "Garden Lane"},
    }  # fmt: skip
    assert message("contacts", [card]).contacts == (
        ContactCard(
            name="Ana Silva", phones=("+351",), emails=("a@b.example",), organization="Garden Lane"
        ),
    )
    for name, kind in (("button_reply", "button"), ("list_reply", "list")):
        found = message("interactive", {"type": name, name: {"id": "y", "title": "Yes"}})
        assert (found.kind, found.body, found.choice) == (kind, "Yes", Choice(id="y", title="Yes"))
    assert message("button", {"payload": "p", "text": "Stop"}).choice == Choice(
        id="p", title="Stop"
    )


def test_what_stands_around_a_message() -> None:
    ad = {"headline": "Best coffee", "source_type": "ad", "ctwa_clid": "c"}
    found = message(context={"id": "wamid.0", "frequently_forwarded": True}, referral=ad)
    assert (found.in_reply_to, found.forwarded, found.frequently_forwarded) == (
        "wamid.0",
        True,
        True,
    )
    assert found.referral == Referral(headline="Best coffee", source_type="ad", click_id="c")
    reaction = message("reaction", {"message_id": "wamid.0", "emoji": "\U0001f44d"})
    assert (reaction.kind, reaction.reaction, reaction.in_reply_to) == (
        "reaction", "\U0001f44d", "wamid.0",
    )  # fmt: skip


def test_orders_notices_and_what_is_new() -> None:
    items = [{"product_retailer_id": "cake", "quantity": 2, "item_price": 4.2, "currency": "EUR"}]
    order = message("order", {"text": "Please", "product_items": items})
    assert (order.kind, order.body) == ("order", "Please\n2 x cake (4.2 EUR)")
    assert message("system", {"body": "changed number"}).kind == "notice"
    new = message("hologram", {"x": 1})
    assert (new.kind, new.extra["type"]) == ("other", "hologram")
    assert message("unsupported", {}, errors=[{"code": 131051}]).kind == "other"


def test_several_at_once_and_a_bad_one_among_them() -> None:
    good = {"from": "1", "id": "wamid.1", "type": "text", "text": {"body": "a"}}
    bad = {"from": "1", "id": "wamid.2", "type": "location", "location": {"latitude": "north"}}
    anonymous = {"id": "wamid.3", "type": "text", "text": {"body": "very private"}}
    contents = read(webhook(good, bad, anonymous, {**good, "id": "wamid.4"}, 7, contacts=[]))
    assert [found.message_id for found in contents.messages] == ["wamid.1", "wamid.4"]
    assert len(contents.unreadable) == 2
    assert "latitude" in contents.unreadable[0].reason
    assert "very private" not in contents.unreadable[1].reason
    assert json.loads(contents.unreadable[1].payload)["messages"] == [anonymous]


def test_statuses() -> None:
    failed = {
        "id": "wamid.9", "status": "failed", "biz_opaque_callback_data": "r-1",
        "errors": [{"code": 131047, "title": "t", "error_data": {"details": "window"}}],
    }  # fmt: skip
    contents = read(
        webhook(
            statuses=(failed, {"id": "wamid.8", "status": "read"}, {"id": "x", "status": "played"})
        )
    )
    first, second = contents.reports
    assert (first.status, first.reply_id, first.error_code) == ("failed", "r-1", 131047)
    assert first.fault is Fault.TEMPLATE_NEEDED
    assert first.error_message == "window"
    assert (second.status, second.reply_id, second.error_code) == ("read", None, None)
    assert contents.unreadable == ()


def test_other_fields_bring_nothing() -> None:
    body = webhook().replace(b'"field": "messages"', b'"field": "account_update"')
    assert read(body).messages == ()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"object": "page"}', b"[" * 100_000, b"\xff", b"AccountSid=AC1"]
)
def test_what_is_no_webhook(body: bytes) -> None:
    with pytest.raises(UnprocessableError):
        read_document(body)


def test_every_entry_names_its_account() -> None:
    document = {"entry": [{"id": "1"}, {"id": "2"}, {"id": "1"}, {}]}
    assert account_ids(document) == ("1", "2", "")


def test_signatures() -> None:
    # HMAC-SHA256 of RFC 4231, test case 2.
    known = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    body = b"what do ya want for nothing?"
    assert sign("Jefe", body) == known
    assert is_signed({"X-Hub-Signature-256": known}, body, ["other", "Jefe"])
    for headers in ({}, {"x-hub-signature-256": known[7:]}, {"x-hub-signature": known}):
        assert not is_signed(headers, body, ["Jefe"])
    assert not is_signed({"x-hub-signature-256": known}, body + b" ", ["Jefe"])
    assert not is_signed({"x-hub-signature-256": "sha256=\xe9"}, body, ["Jefe"])


def test_the_handshake() -> None:
    asked = [("hub.mode", "subscribe"), ("hub.verify_token", "w"), ("hub.challenge", "1158201444")]
    assert challenge(asked, "w") == "1158201444"
    for params, token in (
        (asked, "other"),
        (asked, None),
        (asked[:2], "w"),
        (asked[1:], "w"),
        ([], ""),
    ):
        with pytest.raises(SignatureError):
            challenge(params, token)


@pytest.mark.parametrize(
    ("status", "code", "kind", "at_least", "fault"),
    [
        (429, 130429, SendDeferredError, 0, Fault.SLOW_DOWN),
        (400, 131056, SendDeferredError, 6, Fault.RETRY),
        (400, 131048, SendDeferredError, 3600, Fault.DEFER),
        (401, 190, SendDeferredError, 300, Fault.HOLD),
        (401, None, SendDeferredError, 300, Fault.HOLD),
        (429, None, SendDeferredError, 0, Fault.SLOW_DOWN),
        (403, 200, SendDeferredError, 300, Fault.HOLD),
        (500, 131000, SendUnknownError, 0, Fault.AMBIGUOUS),
        (503, 131016, SendUnknownError, 0, Fault.AMBIGUOUS),
        (502, None, SendUnknownError, 0, Fault.AMBIGUOUS),
        (400, 131026, SendRejectedError, 0, Fault.FINAL),
        (400, 131047, SendRejectedError, 0, Fault.TEMPLATE_NEEDED),
        (400, 131050, SendRejectedError, 0, Fault.OPTED_OUT),
        (400, 999999, SendRejectedError, 0, Fault.FINAL),
    ],
)
def test_error_codes(
    status: int, code: int | None, kind: type, at_least: float, fault: Fault
) -> None:
    document = {"error": {"message": "m", "code": code}} if code else {}
    error = send_error(httpx2.Response(status, json=document))
    assert type(error) is kind
    if isinstance(error, SendDeferredError):
        assert (error.retry_after or 0) >= at_least
    if isinstance(error, (SendDeferredError, SendRejectedError)):
        assert (error.code, error.fault) == (code, fault)
