"""What `recado say` sends."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from serve_app.cli.context import CommandError
from serve_app.cli.saying import Saying


def test_nothing_to_say() -> None:
    assert Saying().is_empty
    assert not Saying(button="Yes").is_empty


def test_a_picture_with_its_caption(tmp_path: Path) -> None:
    photo = tmp_path / "cake.JPG"
    photo.write_bytes(b"\xff\xd8\xff")
    message = Saying(text="How much?", files=(photo,)).message()
    assert message["body"] == "How much?"
    (media,) = message["media"]
    assert base64.b64decode(media["content_base64"]) == b"\xff\xd8\xff"
    assert (media["content_type"], media["filename"]) == ("image/jpeg", "cake.JPG")


@pytest.mark.parametrize(
    ("name", "kind"), [("a.ogg", "audio/ogg"), ("a.opus", "audio/ogg"), ("a", "audio/ogg")]
)
def test_a_voice_note(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"OggS")
    (media,) = Saying(audio=tmp_path / name).message()["media"]
    assert media["content_type"] == kind


def test_a_place_a_button_and_a_person() -> None:
    assert Saying(location=" -23.5, -46.6").message()["location"] == {
        "latitude": -23.5,
        "longitude": -46.6,
    }
    assert Saying(button="Yes").message()["button"] == {"title": "Yes"}
    assert Saying(contact="Ana, +351").message()["contact"] == {"name": "Ana", "phone": "+351"}
    assert Saying(contact="Ana").message()["contact"] == {"name": "Ana", "phone": None}


@pytest.mark.parametrize("text", ["", "1", "1;2", "x,y", "91,0", "0,181", "nan,0", "1,2,3"])
def test_no_place(text: str) -> None:
    with pytest.raises(CommandError, match=r"38\.7169"):
        Saying(location=text).message()
