"""Files by their first bytes."""

from __future__ import annotations

import pytest

from models.errors import MediaRejectedError
from serve_app.channels.file_types import checked_type, file_type
from serve_app.settings import PROJECT_ROOT

RECORDINGS = {
    b"OggS\x00\x02": "audio/ogg",
    b"ID3\x04": "audio/mpeg",
    b"\xff\xfb\x90\x64": "audio/mpeg",
    b"\xff\xf1\x50\x80": "audio/aac",
    b"#!AMR\n": "audio/amr",
    b"RIFF\x00\x00\x00\x00WAVEfmt ": "audio/wav",
    b"\x00\x00\x00\x20ftypM4A ": "audio/mp4",
    b"\x00\x00\x00\x20ftypisom": "video/mp4",
    b"\x1aE\xdf\xa3\x01": "video/webm",
    b"fLaC": "audio/flac",
}
OTHERS = {
    b"\xff\xd8\xff\xe0": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"RIFF\x00\x00\x00\x00WEBPVP8 ": "image/webp",
    b"%PDF-1.7": "application/pdf",
    b"\xef\xbb\xbf begin:vcard": "text/vcard",
    b"\n<html>": "text/html",
    b"\xff\xfeB\x00": None,
    b"hello": None,
    b"": None,
}


@pytest.mark.parametrize(("head", "kind"), [*RECORDINGS.items(), *OTHERS.items()])
def test_known_and_unknown(head: bytes, kind: str | None) -> None:
    assert file_type(head) == kind


@pytest.mark.parametrize("head", RECORDINGS)
def test_recordings_are_let_through_under_any_name_of_a_recording(head: bytes) -> None:
    assert checked_type(head, "audio/ogg; codecs=opus") == "audio/ogg; codecs=opus"


@pytest.mark.parametrize("head", OTHERS)
def test_what_is_no_recording_is_refused_as_one(head: bytes) -> None:
    with pytest.raises(MediaRejectedError, match="audio/ogg"):
        checked_type(head, "audio/ogg")


def test_a_contact_card_must_be_one() -> None:
    assert checked_type(b"BEGIN:VCARD\n", "text/x-vcard") == "text/x-vcard"
    with pytest.raises(MediaRejectedError):
        checked_type(b"MZ", "text/vcard")


def test_other_files_are_called_what_they_are() -> None:
    assert checked_type(b"MZ\x90", "image/jpeg") == "application/x-executable"
    assert checked_type(b"\x89PNG\r\n\x1a\n", "image/jpeg") == "image/jpeg"
    assert checked_type(b"plain", "text/plain") == "text/plain"


def test_the_demo_recordings() -> None:
    notes = list((PROJECT_ROOT / "demo" / "voice-notes").glob("*.ogg"))
    assert notes
    assert {file_type(note.read_bytes()) for note in notes} == {"audio/ogg"}
