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


def consent_word(text: str) -> ConsentWord | None:
    """Whatever the case, the accents and the marks around it: `¡Parar!` is STOP."""
    plain = _plain(text)
    for word in ConsentWord:
        if plain in STANDARD[word] or plain in _TRANSLATED[word]:
            return word
    return None


def is_standard(text: str) -> bool:
    """Whether it is one of the words that Twilio answers by itself on SMS."""
    plain = _plain(text)
    return any(plain in words for words in STANDARD.values())


def _plain(text: str) -> str:
    if len(text) > 60:
        return ""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(
        character
        for character in decomposed
        if character.isalnum() or (character.isspace() and not unicodedata.combining(character))
    )
    return " ".join(kept.split())
