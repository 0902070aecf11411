"""The rule by which words of a contact hand the conversation to a person, without asking a model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_NOT_WORDS = re.compile(r"[^\w]+")


def matching_keyword(texts: Iterable[str], keywords: Iterable[str]) -> str | None:
    """The first keyword that stands in a text as whole words, whatever its case and accents."""
    said = [f" {_plain(text)} " for text in texts]
    for keyword in keywords:
        wanted = _plain(keyword)
        if wanted and any(f" {wanted} " in text for text in said):
            return keyword
    return None


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _NOT_WORDS.sub(" ", letters).strip()
