"""Which messages stop, start and ask: whole messages only, however they are written."""

from __future__ import annotations

import pytest

from models.consent import STANDARD, ConsentWord, consent_word, is_standard


@pytest.mark.parametrize(
    "word", [pair for w in ConsentWord for pair in ((w, t) for t in STANDARD[w])]
)
def test_the_carriers_words(word: tuple[ConsentWord, str]) -> None:
    meaning, text = word
    assert consent_word(text.upper()) is consent_word(f"  {text.title()}.\n") is meaning
    assert is_standard(text)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("¡Parar!", ConsentWord.STOP),
        ("Cancelar", ConsentWord.STOP),
        ("Cancelar inscrição", ConsentWord.STOP),
        ("darme de baja", ConsentWord.STOP),
        ("Opt-out", ConsentWord.STOP),
        ("STOP 🛑", ConsentWord.STOP),
        ("Começar", ConsentWord.START),
        ("sí", ConsentWord.START),
        ("Ayuda", ConsentWord.HELP),
        ("AJUDA??", ConsentWord.HELP),
    ],
)
def test_translations_and_how_people_write(text: str, meaning: ConsentWord) -> None:
    assert consent_word(text) is meaning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "🙂",
        "don't stop",
        "when do you stop serving?",
        "help me",
        "cancel my table",
        "stop " * 20,
    ],
)
def test_other_messages_are_for_the_assistant(text: str) -> None:
    assert consent_word(text) is None


def test_twilio_does_not_answer_translations() -> None:
    assert not is_standard("parar")
    assert is_standard("Stop")
