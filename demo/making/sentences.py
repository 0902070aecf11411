"""What the demo speech model hears: a café's customers, other businesses' too, and words without sense."""

from __future__ import annotations

from functools import cache
from random import Random

from demo.making.dialogues import as_written
from demo.making.phrases import Language, Part, Phrases, load

_CAFE, _EVERYDAY, _GLUED = 0.45, 0.15, 0.15
_SEVERAL = 0.12
_VOCABULARY_SENTENCES = 6_000


def sentence(random: Random, language: Language, *, part: Part = "trained") -> str:
    """As a transcript is written. A quarter of the trained ones is words in no order: they teach the ear
    not to finish sentences by heart."""
    if part == "trained" and random.random() < _SEVERAL:
        return " ".join(_written(random, language, part) for _ in range(random.randint(2, 7)))
    return _written(random, language, part)


def _written(random: Random, language: Language, part: Part) -> str:
    phrases = load(language)
    kind = random.random() if part == "trained" else 0.0
    if kind < _CAFE + _EVERYDAY:
        text = _one(random, phrases, part)
    elif kind < _CAFE + _EVERYDAY + _GLUED:
        text = f"{_one(random, phrases, part).rstrip('?')} {_one(random, phrases, part)}"
    else:
        words = _words(language)
        text = " ".join(random.choice(words) for _ in range(random.randint(2, 8)))
    # Nobody hears a comma.
    return as_written(text.replace(",", ""), phrases)


def _one(random: Random, phrases: Phrases, part: Part) -> str:
    if random.random() < _EVERYDAY / (_CAFE + _EVERYDAY):
        return phrases.say(random, phrases.everyday[part]).text
    return phrases.say(random, random.choice(_patterns(phrases.language, part))).text


@cache
def _patterns(language: Language, part: Part) -> tuple[str, ...]:
    """A block of patterns an intent, whatever lies below it."""
    blocks: list[str] = []

    def collect(node: object, trained: bool) -> None:
        if isinstance(node, str):
            if trained == (part == "trained"):
                blocks.append(node)
        elif isinstance(node, dict):
            for key, below in node.items():
                collect(below, trained and key != "unseen")

    collect(load(language).intents, True)
    return tuple(blocks)


@cache
def _words(language: Language) -> tuple[str, ...]:
    random = Random(0)
    phrases = load(language)
    found: set[str] = set()
    for _ in range(_VOCABULARY_SENTENCES):
        found |= set(_one(random, phrases, "trained").replace("?", "").replace(",", "").split())
    return tuple(sorted(found))
