"""The texts of the service itself."""

from __future__ import annotations

import re
from importlib import resources
from typing import get_args

import pytest
import yaml

from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.owner_resolver import Refusal
from serve_app.conversation.reading import WORDLESS


def _shipped() -> dict[str, dict[str, str]]:
    folder = resources.files("serve_app.conversation") / "texts"
    return {
        entry.name.removesuffix(".yaml"): yaml.safe_load(entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }


def test_all_languages_have_the_same_keys_and_placeholders() -> None:
    shipped = _shipped()
    assert {"en", "es", "pt-BR"} <= set(shipped)
    english = shipped["en"]
    for language, texts in shipped.items():
        assert texts.keys() == english.keys(), language
        for key, text in texts.items():
            assert text.strip(), (language, key)
            assert re.findall(r"\{\w*\}", text) == re.findall(r"\{\w*\}", english[key])


@pytest.mark.parametrize(
    "key",
    [
        *get_args(Refusal),
        "voice_not_heard",
        "voice_not_supported",
        "voice_unreadable",
        *WORDLESS.values(),
        "empty_message",
        "try_later",
        "outside_hours",
        "handed_over",
        "note_person_wanted",
        "note_reason",
        "note_last_message",
    ],
)
def test_every_key_that_the_code_uses_exists(key: str) -> None:
    assert TextCatalogue.load().text(key)


@pytest.fixture
def texts() -> TextCatalogue:
    return TextCatalogue({"en": {"k": "english"}, "es": {"k": "spanish"}, "pt-BR": {"k": "brazil"}})


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        (("es",), "spanish"),
        (("ES",), "spanish"),
        (("es-MX",), "spanish"),
        (("pt",), "brazil"),
        (("pt-PT",), "brazil"),
        (("pt-br",), "brazil"),
        (("de", "es"), "spanish"),
        ((None, "pt"), "brazil"),
        (("de", None), "english"),
        ((), "english"),
    ],
)
def test_languages_fall_back(
    texts: TextCatalogue, languages: tuple[str | None, ...], expected: str
) -> None:
    assert texts.text("k", *languages) == expected


def test_an_unknown_key_is_an_error_in_any_language(texts: TextCatalogue) -> None:
    with pytest.raises(KeyError):
        texts.text("nothing", "es")
    with pytest.raises(KeyError):
        TextCatalogue({}).text("k", "en")


def test_an_owners_texts_come_first(texts: TextCatalogue) -> None:
    own = texts.with_own({"k": {"es": "propio", "any": "own"}})
    assert own.text("k", "es-MX") == "propio"
    assert own.text("k", "pt-BR") == "own"
    spanish_only = texts.with_own({"k": {"es": "propio"}})
    assert spanish_only.text("k", "en") == "english"
    assert texts.text("k", "es") == "spanish", "the catalogue itself stays as it is"
