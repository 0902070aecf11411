"""The texts that the service itself says, from one catalogue per language."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TypeVar

import yaml

FALLBACK_LANGUAGE = "en"
ANY_LANGUAGE = "any"
"""Of an owner's text that is said whatever the language."""

T = TypeVar("T")


class TextCatalogue:
    """Looks up a text by key and language (BCP 47: `en`, `pt-BR`, `es-MX`).

    A language without a catalogue falls back to another region of the same language, then to the
    other languages offered, then to English.
    """

    def __init__(self, catalogues: Mapping[str, Mapping[str, str]]) -> None:
        self._own: dict[str, dict[str, str]] = {}
        self._catalogues = {language.lower(): dict(texts) for language, texts in catalogues.items()}

    @classmethod
    def load(cls) -> TextCatalogue:
        """Read the catalogues shipped with the package."""
        folder = resources.files("serve_app.conversation") / "texts"
        return cls(
            {
                entry.name.removesuffix(".yaml"): yaml.safe_load(entry.read_text("utf-8"))
                for entry in folder.iterdir()
                if entry.name.endswith(".yaml")
            }
        )

    def with_own(self, own: Mapping[str, Mapping[str, str]]) -> TextCatalogue:
        """This catalogue with an owner's texts in front: by key, then language or `any`."""
        if not own:
            return self
        merged = TextCatalogue(self._catalogues)
        merged._own = {
            key: {language.lower(): text for language, text in texts.items()}
            for key, texts in own.items()
        }
        return merged

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self._catalogues.get(FALLBACK_LANGUAGE, {}))

    @property
    def languages(self) -> frozenset[str]:
        return frozenset(self._catalogues)

    def text(self, key: str, *languages: str | None) -> str:
        """The text in the first of `languages` that has one, the owner's before the catalogue's. KeyError
        for an unknown key."""
        own = self._own.get(key, {})
        for language in (*languages, FALLBACK_LANGUAGE):
            if language is None:
                continue
            written = in_language(own, language) or own.get(ANY_LANGUAGE)
            if written is not None:
                return written
            catalogue = in_language(self._catalogues, language)
            if catalogue is not None:
                return catalogue[key]
        raise KeyError(key)


def in_language(by_language: Mapping[str, T], language: str) -> T | None:
    """What is there for a language or, failing that, for another region of it; keys are in lower case."""
    wanted = language.lower()
    if wanted in by_language:
        return by_language[wanted]
    base = wanted.split("-", 1)[0]
    for name, found in sorted(by_language.items()):
        if name.split("-", 1)[0] == base:
            return found
    return None
