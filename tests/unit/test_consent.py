"""Which messages stop, start and ask: whole messages only, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.consent import STANDARD, ConsentWord, consent_word, is_standard
from models.messages import MessageKind
from tests.unit.conversation.stage import message


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


@given(st.text(st.characters(max_codepoint=0x7F), max_size=12))
def test_accents_change_nothing_about_plain_letters(text: str) -> None:
    # The dot below falls away like any accent, and takes the text the long way.
    assert consent_word(text + "\u0323") is consent_word(text)


def test_twilio_does_not_answer_translations() -> None:
    assert not is_standard("parar")
    assert is_standard("Stop")


@pytest.mark.parametrize("kind", [MessageKind.BUTTON, MessageKind.LIST])
def test_a_tap_says_it_only_where_it_can_mean_nothing_else(kind: MessageKind) -> None:
    def tapped(title: str) -> ConsentWord | None:
        return message(1, title).model_copy(update={"kind": kind}).consent

    for title in ("Cancel", "Cancelar", "End", "Fin", "Sair", "Baja", "Yes", "Sí", "Info", "Help"):
        assert consent_word(title) is not None
        assert tapped(title) is None, title
    for title in ("STOP", "Unsubscribe", "Stop messages", "Darme de baja", "Descadastrar"):
        assert tapped(title) is ConsentWord.STOP, title
    assert tapped("Start") is ConsentWord.START
