"""What contacts write to stop messages, to have them again, and to ask who this is.

STOP, START and HELP are the carriers' words (CTIA), which Twilio understands by itself on SMS
(https://help.twilio.com/articles/223134027); the others are their translations. A word counts only if it is
the whole message.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum


class ConsentWord(StrEnum):
    STOP = "stop"
    START = "start"
    HELP = "help"


STANDARD: dict[ConsentWord, frozenset[str]] = {
    ConsentWord.STOP: frozenset(
        {"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"}
    ),
    ConsentWord.START: frozenset({"start", "unstop", "yes"}),
    ConsentWord.HELP: frozenset({"help", "info"}),
}
"""Those that Twilio answers by itself on SMS."""

_TRANSLATED: dict[ConsentWord, frozenset[str]] = {
    ConsentWord.STOP: frozenset(
        {
            *("stop all", "opt out", "stop it", "stop messages"),
            *("parar", "pare", "sair", "cancelar", "fim", "descadastrar", "cancelar inscricao"),
            *("detener", "salir", "fin", "baja", "dar de baja", "darme de baja"),
            *("cancelar suscripcion", "no mas mensajes", "parar mensagens"),
        }
    ),
    ConsentWord.START: frozenset(
        {"comecar", "iniciar", "voltar", "sim", "comenzar", "empezar", "volver", "alta", "si"}
    ),
    ConsentWord.HELP: frozenset({"ajuda", "ayuda"}),
}


_MEANINGS = {
    text: word
    for words in (_TRANSLATED, STANDARD)
    for word, texts in words.items()
    for text in texts
}
_ASCII_MARKS = {
    code: None for code in range(128) if not (chr(code).isalnum() or chr(code).isspace())
}


def consent_word(text: str) -> ConsentWord | None:
    """Whatever the case, the accents and the marks around it: `¡Parar!` is STOP."""
    return _MEANINGS.get(_plain(text))


def is_standard(text: str) -> bool:
    """Whether it is one of the words that Twilio answers by itself on SMS."""
    plain = _plain(text)
    return any(plain in words for words in STANDARD.values())


_TAPPED: dict[ConsentWord, frozenset[str]] = {
    ConsentWord.STOP: frozenset(
        {
            *("stop", "stopall", "unsubscribe", "optout"),
            *("stop all", "opt out", "stop messages", "parar mensagens", "no mas mensajes"),
            *("descadastrar", "cancelar inscricao", "cancelar suscripcion"),
            *("dar de baja", "darme de baja"),
        }
    ),
    ConsentWord.START: frozenset({"start", "unstop"}),
}
"""Those that can mean nothing else on a button: `Cancel` may be about a table, and `Yes` about anything."""


def tapped_consent_word(title: str) -> ConsentWord | None:
    """What a tap on a button or a list's item of that title says about messages."""
    plain = _plain(title)
    return next((word for word, titles in _TAPPED.items() if plain in titles), None)


def _plain(text: str) -> str:
    if len(text) > 60:
        return ""
    if text.isascii():
        # The same, for every text message at once.
        return " ".join(text.lower().translate(_ASCII_MARKS).split())
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(
        character
        for character in decomposed
        if character.isalnum() or (character.isspace() and not unicodedata.combining(character))
    )
    return " ".join(kept.split())
