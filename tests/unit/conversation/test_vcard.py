"""Contact cards as phones write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.messages import ContactCard
from serve_app.conversation.vcard import parse_vcards

WHATSAPP = (
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nN:Silva;Ana;;;\r\nFN:Ana Silva\r\nORG:Garden Lane;Kitchen\r\n"
    b"item1.TEL;waid=351912345678:+351 912 345 678\r\nitem1.X-ABLabel:Mobile\r\n"
    b"EMAIL;type=INTERNET:ana@example.com\r\nPHOTO;ENCODING=b:AAAA\r\n BBBB\r\nEND:VCARD\r\n"
)
ANA = ContactCard(
    name="Ana Silva",
    phones=("+351 912 345 678",),
    emails=("ana@example.com",),
    organization="Garden Lane, Kitchen",
)


def test_a_card_of_whatsapp() -> None:
    assert parse_vcards(WHATSAPP) == (ANA,)


def test_several_people() -> None:
    assert [card.name for card in parse_vcards(WHATSAPP * 3)] == ["Ana Silva"] * 3
    assert len(parse_vcards(WHATSAPP * 50)) == 20


def test_older_and_newer_versions() -> None:
    old = (
        b"BEGIN:VCARD\nVERSION:2.1\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=4D=C3=BC=\nller;J=C3=B6rg\n"
        b"TEL;CELL:0123\nTEL;HOME:0123\nEND:VCARD\n"
    )
    assert parse_vcards(old) == (ContactCard(name="J\u00f6rg M\u00fcller", phones=("0123",)),)
    new = (
        b"begin:vcard\nversion:4.0\nfn:Comma\\, Inc.\\nSecond line\n"
        b"tel;type=cell:tel:+1555\nemail:mailto:a@b.example\nend:vcard"
    )
    (card,) = parse_vcards(new)
    assert (card.name, card.phones, card.emails) == (
        "Comma, Inc. Second line", ("+1555",), ("a@b.example",),
    )  # fmt: skip


def test_a_folded_line() -> None:
    (card,) = parse_vcards(b"BEGIN:VCARD\r\nFN:Ana\r\n  Silva\r\nEND:VCARD")
    assert card.name == "Ana Silva"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no card",
        b"BEGIN:VCARD\nFN:Ana",
        b"BEGIN:VCARD\nEND:VCARD",
        b"\xff\xfe\x00",
        b"END:VCARD",
    ],
)
def test_what_holds_nobody(content: bytes) -> None:
    assert parse_vcards(content) == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(noise: bytes) -> None:
    for card in parse_vcards(b"BEGIN:VCARD\nFN:" + noise + b"\nEND:VCARD\n"):
        assert len(card.name) <= 200
