"""The buttons that an owner offers under a text, and what stands for them where there are none."""

from __future__ import annotations

from collections.abc import Sequence

from models.accounts import Assistant
from serve_app.conversation.catalogue import ANY_LANGUAGE, FALLBACK_LANGUAGE, in_language


def buttons_of(assistant: Assistant, key: str, *languages: str | None) -> tuple[str, ...]:
    """Titles in the first of `languages` that has any."""
    offered = assistant.buttons.get(key, {})
    by_language = {language.lower(): titles for language, titles in offered.items()}
    for language in (*languages, FALLBACK_LANGUAGE):
        if language is not None and (titles := in_language(by_language, language)):
            return titles
    return by_language.get(ANY_LANGUAGE, ())


def listed(text: str, titles: Sequence[str]) -> str:
    """For a message that can't have buttons. The dash is in GSM-7, so that an SMS doesn't get dearer."""
    return "\n".join([text, *(f"- {title}" for title in titles)])
