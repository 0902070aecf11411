"""The café's sentences: every pattern can be said, and what is measured was never trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
import yaml

from demo.making.dialogues import TOPICS, Dialogues
from demo.making.phrases import (
    FOLDER,
    LANGUAGES,
    Language,
    Phrases,
    booking_time,
    choose,
    load,
    variants,
)
from demo.making.sentences import sentence
from serve_app.conversation.business_tools import WEEKDAYS

TOOLS = {"opening_hours", "menu", "business_info", "book_table", "hand_over"}


def blocks(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, below in node.items():
            yield from blocks(below, (*path, key))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_pattern_can_be_said_in_both_styles(language: Language) -> None:
    phrases = load(language)
    random = Random(1)
    everything = [*blocks(phrases.intents), *blocks(phrases.everyday)]
    assert len(everything) > 50
    for path, patterns in everything:
        for pattern in patterns.splitlines():
            for style in ("spoken", "typed"):
                said = phrases.say(random, pattern, style=style)
                assert said.text, path
                assert not set(said.text) & set("{}()[]|"), (path, said.text)


def test_languages_have_the_same_intents_and_replies() -> None:
    english, portuguese = (load(language) for language in LANGUAGES)
    paths = [{path for path, _ in blocks(phrases.intents)} for phrases in (english, portuguese)]
    assert paths[0] == paths[1]
    assert set(english.replies) == set(portuguese.replies)
    assert set(english.days) == set(portuguese.days) == {*WEEKDAYS, "today", "tomorrow"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_measured_is_never_trained(language: Language) -> None:
    everything = list(blocks(load(language).intents))
    trained = {p for path, block in everything if path[-1] != "unseen" for p in block.splitlines()}
    unseen = {p for path, block in everything if path[-1] == "unseen" for p in block.splitlines()}
    assert unseen
    assert not trained & unseen


def test_a_trained_pattern_never_says_what_an_unseen_one_says() -> None:
    document = {**yaml.safe_load((FOLDER / "en.yaml").read_text(encoding="utf-8"))}
    document["intents"] = {"hello": {"trained": "(hi|good day)[ there]", "unseen": "good day"}}
    phrases = Phrases(document)
    random = Random(1)
    said = {phrases.say(random, "(hi|good day)[ there]").text for _ in range(60)}
    assert said == {"hi", "hi there", "good day there"}
    assert phrases.say(random, "good day").text == "good day"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_booked_day_names_no_part_of_it(language: Language) -> None:
    phrases = load(language)
    for day in phrases.days:
        free = phrases.whens(day, parts_of_day=True)
        booked = phrases.whens(day, parts_of_day=False)
        assert booked
        assert set(booked) < set(free)


def test_choices_and_options_nest() -> None:
    assert {choose(Random(seed), "(a|b[ c])") for seed in range(60)} == {"a", "b", "b c"}
    assert set(variants("(a|b[ c])")) == {"a", "b", "b c"}
    assert {choose(Random(seed), "(a|(b|c))") for seed in range(60)} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("language", "value", "said"),
    [
        ("en", "19:30", "half past seven"),
        ("en", "19:45", "quarter to eight"),
        ("en", "12:00", "noon"),
        ("en", "10:00", "ten in the morning"),
        ("en", "15:00", "three in the afternoon"),
        ("pt", "19:30", "às sete e meia"),
        ("pt", "20:45", "às quinze para as nove"),
        ("pt", "12:00", "ao meio dia"),
        ("pt", "15:00", "às três da tarde"),
    ],
)
def test_a_time_of_day_is_said_as_people_do(language: Language, value: str, said: str) -> None:
    phrases = load(language)
    ways = {phrases.clock(Random(seed), "spoken", value) for seed in range(200)}
    assert said in ways


def test_no_way_to_say_a_time_means_two_times() -> None:
    random = Random(3)
    for language in LANGUAGES:
        meaning: dict[str, str] = {}
        for _ in range(5_000):
            value = booking_time(random)
            said = load(language).clock(random, random.choice(("spoken", "typed")), value)
            assert meaning.setdefault(said, value) == value, said


@pytest.mark.parametrize("part", ["trained", "unseen"])
def test_a_dialogue_is_one_that_the_tools_could_have_had(part: str) -> None:
    dialogues = Dialogues(Random(7), part=part)
    called = set()
    for _ in range(1_500):
        messages = dialogues.conversation()
        assert messages[0].role == "user"
        assert messages[-1].role == "assistant"
        assert messages[-1].call is None
        for before, message in pairwise(messages):
            assert (before.call is not None) == (message.role == "tool")
        for message in messages:
            if message.call is None:
                assert message.content
                continue
            name, arguments = message.call
            called.add(name)
            assert json.loads(message.written()[11:-12]) == {"name": name, "arguments": arguments}
            if name == "business_info":
                assert arguments["topic"] in TOPICS
            if name == "book_table":
                assert set(arguments) == {"people", "day", "time"}
                assert 1 <= arguments["people"] <= 12
    assert called == TOOLS


def test_replies_state_what_the_tool_returned_and_nothing_else() -> None:
    dialogues = Dialogues(Random(11))
    copied = 0
    for _ in range(800):
        messages = dialogues.conversation(language="en")
        for result, reply in pairwise(messages):
            if result.role != "tool" or reply.call is not None:
                continue
            values = json.loads(result.content)
            for key in ("open", "close", "price", "reference", "text", "items"):
                if key in values:
                    assert values[key] in reply.content
                    copied += 1
    assert copied > 500


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_to_hear_are_words(language: Language) -> None:
    random = Random(5)
    for _ in range(500):
        text = sentence(random, language, part=random.choice(("trained", "unseen")))
        assert text[0].isupper()
        assert text[-1] in ".?"
        assert not any(letter.isdigit() for letter in text), text
