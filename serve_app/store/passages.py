"""Cuts documents into passages and says in which words they are looked for."""

from __future__ import annotations

import re
import unicodedata

PASSAGE_CHARS = 900
"""About the length of a passage: enough to answer from, short enough to quote several."""

CONFIGS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
"""Postgres' text search configurations; other languages are searched word for word."""

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n")


def config_of(language: str | None) -> str:
    return CONFIGS.get((language or "").split("-", 1)[0].lower(), "simple")


def without_accents(text: str) -> str:
    """People leave accents out on phones; `ñ` and `ç` are written `n` and `c` then."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def passages_of(text: str, *, limit: int = PASSAGE_CHARS) -> list[str]:
    """Paragraphs put together up to `limit` characters; longer ones are cut between sentences, and a
    sentence that is longer still between words."""
    found: list[str] = []
    for piece in _pieces(text, limit):
        if found and len(found[-1]) + len(piece) + 2 <= limit:
            found[-1] += "\n\n" + piece
        else:
            found.append(piece)
    return found


def _pieces(text: str, limit: int) -> list[str]:
    pieces: list[str] = []
    for paragraph in (part.strip() for part in _PARAGRAPH.split(text)):
        if len(paragraph) <= limit:
            pieces += [paragraph] if paragraph else []
            continue
        line = ""
        for sentence in (
            word for part in _SENTENCE.split(paragraph) for word in _words(part, limit)
        ):
            if line and len(line) + len(sentence) + 1 > limit:
                pieces.append(line)
                line = sentence
            else:
                line = f"{line} {sentence}" if line else sentence
        pieces += [line] if line else []
    return pieces


def _words(sentence: str, limit: int) -> list[str]:
    if len(sentence) <= limit:
        return [sentence] if sentence else []
    return [word[at : at + limit] for word in sentence.split() for at in range(0, len(word), limit)]
