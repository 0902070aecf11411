"""Splits a long reply into messages that a channel can carry."""

from __future__ import annotations

import re

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n")
_WORD = re.compile(r"\s+")


def split_text(text: str, limit: int) -> list[str]:
    """Parts of at most `limit` characters, cut at a paragraph, else a sentence, else a word, else
    anywhere. Nothing but white space at the cuts is lost; an empty text gives no part."""
    if limit < 1:
        raise ValueError("limit must be at least 1")
    parts: list[str] = []
    rest = text.strip()
    while len(rest) > limit:
        cut, resume = _cut(rest, limit)
        parts.append(rest[:cut].rstrip())
        rest = rest[resume:].lstrip()
    if rest:
        parts.append(rest)
    return parts


def number_parts(text: str, limit: int) -> list[str]:
    """Like `split_text`, with `(1/3) ` in front of each part when there is more than one and room for it."""
    whole = parts = split_text(text, limit)
    total = len(parts)
    while total > 1:
        room = limit - len(f"({total}/{total}) ")
        if room < 1:
            return whole
        parts = split_text(text, room)
        if len(str(len(parts))) <= len(str(total)):
            return [f"({i}/{len(parts)}) {part}" for i, part in enumerate(parts, 1)]
        total = len(parts)
    return parts


def _cut(text: str, limit: int) -> tuple[int, int]:
    window = text[: limit + 1]
    for pattern in (_PARAGRAPH, _SENTENCE, _WORD):
        best: re.Match[str] | None = None
        for match in pattern.finditer(window):
            if 0 < match.start() <= limit:
                best = match
        # A cut that leaves a message mostly empty is worse than the next finer kind.
        if best is not None and (best.start() * 2 >= limit or pattern is _WORD):
            return best.start(), best.end()
    return limit, limit
