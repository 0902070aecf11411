"""The template that is sent where a free message isn't allowed any more."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models.accounts import ReplyTemplate
from models.messages import TemplateContent

MAX_VARIABLE_CHARS = 600
"""WhatsApp takes templates of at most 1,024 characters in all."""

_PLACEHOLDER = re.compile(r"\{(name|business|text)(?:\|([^{}]*))?\}")


def fill(template: ReplyTemplate, words: Mapping[str, str]) -> TemplateContent:
    """`{name}`, `{business}` and `{text}` are replaced by `words`; `{name|friend}` says what stands for an
    empty one. WhatsApp refuses variables that are empty or hold line breaks."""

    def word(match: re.Match[str]) -> str:
        return words.get(match[1], "") or match[2] or ""

    variables = {
        key: _one_line(_PLACEHOLDER.sub(word, value)) for key, value in template.variables.items()
    }
    return TemplateContent(
        content_sid=template.content_sid,
        name=template.name,
        language=template.language,
        variables=variables,
    )


def _one_line(value: str) -> str:
    line = " ".join(value.split())
    if len(line) > MAX_VARIABLE_CHARS:
        line = line[: MAX_VARIABLE_CHARS - 1].rsplit(" ", 1)[0] + "…"
    return line or "-"
