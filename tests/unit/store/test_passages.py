"""How documents are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve_app.store.passages import config_of, passages_of, without_accents


def test_paragraphs_stay_together_while_there_is_room() -> None:
    assert passages_of("One.\n\nTwo.\n \nThree.", limit=12) == ["One.\n\nTwo.", "Three."]
    assert passages_of("   ", limit=12) == []


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    assert passages_of("First one. Second one. Third.", limit=22) == [
        "First one. Second one.",
        "Third.",
    ]


@given(st.text(), st.integers(min_value=5, max_value=60))
def test_nothing_is_lost_and_nothing_too_long(text: str, limit: int) -> None:
    passages = passages_of(text, limit=limit)
    assert all(0 < len(passage) <= limit for passage in passages)
    assert "".join("".join(passages).split()) == "".join(text.split())


def test_languages() -> None:
    assert (config_of("pt-BR"), config_of("en"), config_of("ja")) == (
        "portuguese",
        "english",
        "simple",
    )
    assert config_of(None) == "simple"
    assert without_accents("Ação à França, mañana") == "Acao a Franca, manana"
