"""Sentences from patterns: what people say to a café, in one language, with the values they name.

A pattern is text with (a|b) for a choice, [x] for what may be left out and {slot} for a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal, cast

import yaml

Language = Literal["en", "pt"]
LANGUAGES: tuple[Language, ...] = ("en", "pt")
Style = Literal["spoken", "typed"]
Part = Literal["trained", "unseen"]
"""Patterns to train, or to measure with."""

FOLDER = Path(__file__).parent / "phrases"
_INNERMOST = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_SPACES = re.compile(r"\s+")
_BEFORE_MARK = re.compile(r"\s+([?,.])")
_VOWELS = "aeiou"
_LEFT_OUT = 0.5
_EVENING = 18
_LAST_HOUR = 21


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence and what was filled in: slot name to the value that a tool would be called with."""

    text: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Phrases:
    """One language. All sentences are in small letters, as patterns are."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.language: Language = document["language"]
        self.intents: Mapping[str, Any] = document["intents"]
        self.everyday: Mapping[str, str] = document["everyday"]
        self.replies: Mapping[str, str] = document["replies"]
        self.days: Mapping[str, Mapping[str, Any]] = document["days"]
        self.items: Mapping[str, list[str]] = document["items"]
        self.categories: Mapping[str, list[str]] = document["categories"]
        self.greetings: list[str] = document["greetings"]
        self.courtesy: Mapping[str, list[str]] = document["courtesy"]
        self.shortened: list[list[str]] = document["shortened"]
        self.capitalised = frozenset(document["capitalised"])
        self._feminine = frozenset(document.get("feminine", ()))
        self._hours: list[str] = document["hours"]
        self._parts: list[str] = document["parts"]
        self._parts_of_day = frozenset(document["parts_of_day"])
        self._times: Mapping[str, Mapping[str, list[str]]] = document["times"]
        self._names: list[str] = document["names"]
        self._cities: list[str] = document["cities"]
        self._unseen_patterns = frozenset(
            pattern for block in _blocks(document, "unseen") for pattern in block.splitlines()
        )
        self._unseen = frozenset(
            _bare(variant) for pattern in self._unseen_patterns for variant in variants(pattern)
        )

    def say(
        self,
        random: Random,
        patterns: str,
        *,
        style: Style = "spoken",
        values: Mapping[str, Any] | None = None,
        parts_of_day: bool = True,
    ) -> Said:
        """A sentence of one of the patterns (a line each). `values` fixes slots by their tool's value.
        `parts_of_day`: whether a day may name one, as "friday night"; an hour could contradict it."""
        pattern = self._chosen(random, patterns)
        filling = _Filling(self, random, style, dict(values or {}), parts_of_day=parts_of_day)
        text = _SLOT.sub(lambda slot: filling(slot[1]), pattern)
        text = _BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text)).strip()
        return Said(text, filling.values)

    def reply(self, name: str, **values: object) -> str:
        return self.replies[name].format(**values)

    def on_day(self, day: str) -> str:
        """The day as a reply names it, for instance "on Saturday"."""
        return self.days[day]["reply"]

    def whens(self, day: str, *, parts_of_day: bool) -> list[str]:
        """How the day is named as the time of something."""
        whens: list[str] = self.days[day]["when"]
        if parts_of_day:
            return whens
        return [when for when in whens if self._parts_of_day.isdisjoint(when.split())]

    def a(self, thing: str) -> str:
        """The thing with its indefinite article."""
        if self.language == "en":
            return f"an {thing}" if thing[0] in _VOWELS else f"a {thing}"
        return f"uma {thing}" if self._is_feminine(thing) else f"um {thing}"

    def the(self, thing: str) -> str:
        if self.language == "en":
            return f"the {thing}"
        return f"a {thing}" if self._is_feminine(thing) else f"o {thing}"

    def number(self, value: int) -> str:
        return _in_words(value, self.language)

    def clock(self, random: Random, style: Style, value: str) -> str:
        """A time of day (HH:MM) as it is said."""
        hour, minute = int(value[:2]), value[3:]
        key = minute
        if minute == "00" and hour in (10, 11):
            key = "morning"
        elif value == "12:00":
            key = "noon"
        if style == "typed" and (key not in self._times["typed"]):
            key = "00"
        return random.choice(self._times[style][key]).format(
            h=self._hours[hour % 12],
            next=self._hours[(hour + 1) % 12],
            n=hour % 12 or 12,
            h24=hour,
            part=self._parts[hour >= _EVENING],
            clock=value,
        )

    def pick(self, random: Random, slot: Literal["name", "city"]) -> str:
        return random.choice(self._names if slot == "name" else self._cities)

    def _chosen(self, random: Random, patterns: str) -> str:
        """Nothing that a pattern under `unseen` says too, unless it is one of those."""
        while True:
            pattern = random.choice(patterns.splitlines())
            chosen = choose(random, pattern)
            if pattern in self._unseen_patterns or _bare(chosen) not in self._unseen:
                return chosen

    def _is_feminine(self, thing: str) -> bool:
        return thing.split(maxsplit=1)[0] in self._feminine


@cache
def load(language: Language) -> Phrases:
    return Phrases(yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8")))


def choose(random: Random, pattern: str) -> str:
    """The pattern with its choices made and its slots left."""

    def one(match: re.Match[str]) -> str:
        if match[2] is not None and random.random() < _LEFT_OUT:
            return ""
        return random.choice((match[1] if match[2] is None else match[2]).split("|"))

    while _INNERMOST.search(pattern):
        pattern = _INNERMOST.sub(one, pattern)
    return pattern


def variants(pattern: str) -> list[str]:
    """Everything that `choose` can make of the pattern."""
    match = _INNERMOST.search(pattern)
    if match is None:
        return [pattern]
    options = match[1].split("|") if match[2] is None else ["", *match[2].split("|")]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [variant for option in options for variant in variants(before + option + after)]


def booking_time(random: Random) -> str:
    """When people want tables: HH:MM, quarters of an hour from 10:00 to 21:45."""
    return f"{random.randint(10, _LAST_HOUR):02d}:{random.choice(('00', '00', '00', '30', '30', '15', '45'))}"


class _Filling:
    """Fills slots; a slot that comes twice gets the same value."""

    def __init__(
        self,
        phrases: Phrases,
        random: Random,
        style: Style,
        values: dict[str, Any],
        *,
        parts_of_day: bool,
    ) -> None:
        self.values = values
        self._phrases = phrases
        self._random = random
        self._style: Style = style
        self._any_part = parts_of_day

    def __call__(self, slot: str) -> str:
        made: Callable[[], str] = getattr(self, f"_{slot}")
        return made()

    def _of(self, name: str, make: Callable[[], Any]) -> Any:
        return self.values.setdefault(name, make())

    def _day(self) -> str:
        return self._random.choice(self._phrases.days[self._which_day()]["said"])

    def _on_day(self) -> str:
        whens = self._phrases.whens(self._which_day(), parts_of_day=self._any_part)
        return self._random.choice(whens)

    def _other_day(self) -> str:
        others = [day for day in self._phrases.days if day != self._which_day()]
        return self._random.choice(self._phrases.days[self._random.choice(others)]["said"])

    def _which_day(self) -> str:
        return self._of("day", lambda: self._random.choice(list(self._phrases.days)))

    def _time(self) -> str:
        value = self._of("time", lambda: booking_time(self._random))
        return self._phrases.clock(self._random, self._style, value)

    def _at_time(self) -> str:
        said = self._time()
        return f"at {said}" if self._phrases.language == "en" else said

    def _people(self) -> str:
        count = self._of("people", lambda: self._random.randint(1, 12))
        if self._style == "typed" and self._random.random() < 0.6:
            return str(count)
        return self._phrases.number(count)

    def _item(self) -> str:
        return self._of("item", lambda: self._random.choice(_all_items(self._phrases)))

    def _a_item(self) -> str:
        return self._phrases.a(self._item())

    def _the_item(self) -> str:
        return self._phrases.the(self._item())

    def _category(self) -> str:
        names = self._phrases.categories
        category = self._of("category", lambda: self._random.choice(list(names)))
        return self._random.choice(names[category])

    def _name(self) -> str:
        return self._phrases.pick(self._random, "name")

    def _city(self) -> str:
        return self._phrases.pick(self._random, "city")

    def _number(self) -> str:
        return self._phrases.number(
            self._random.choice((self._random.randint(1, 20), self._random.randint(2, 99)))
        )

    def _digits(self) -> str:
        count = self._random.randint(3, 9)
        return " ".join(self._phrases.number(self._random.randint(0, 9)) for _ in range(count))


def _blocks(node: object, name: str) -> Iterator[str]:
    """All texts with this key, however deep."""
    if isinstance(node, dict):
        for key, below in cast("dict[str, object]", node).items():
            if key == name and isinstance(below, str):
                yield below
            else:
                yield from _blocks(below, name)


def _bare(pattern: str) -> str:
    return _SPACES.sub(" ", pattern).strip().rstrip("?").rstrip()


def _all_items(phrases: Phrases) -> list[str]:
    return [item for items in phrases.items.values() for item in items]


def _in_words(value: int, language: Language) -> str:
    from num2words import num2words

    words = num2words(value, lang="pt_BR" if language == "pt" else "en")
    return words.replace("-", " ").replace(",", "")
