"""Conversations with a café's assistant, generated: what the demo chat model learns and is measured with.

A conversation is a list of messages. A user message and a reply have `content`, a tool call has `call`, a
tool's result has `result`; values are drawn at random, so that they can only be known by copying.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from demo.making import values
from demo.making.phrases import LANGUAGES, Language, Part, Phrases, Said, Style, load

VOICE_NOTE_MARK = "[voice note] "
TOPICS = (
    "address",
    "phone",
    "email",
    "parking",
    "wifi",
    "payment",
    "delivery",
    "dogs",
    "allergens",
)
SMALL_TALK = ("thanks", "hello", "goodbye", "who", "help", "agree", "elsewhere")


@dataclass(frozen=True, slots=True)
class Message:
    """`role` is user, assistant or tool; an assistant's message is a text or one tool call."""

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    call: tuple[str, dict[str, Any]] | None = None

    def written(self) -> str:
        """As the model reads and writes it, without the tokens that mark the role and the end."""
        if self.call is None:
            return self.content
        name, arguments = self.call
        body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        return f"<tool_call>{body}</tool_call>"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, the tools that it takes, and the reply: bursts are made of several."""

    question: Said
    steps: tuple[Message, ...]
    reply: str


class Dialogues:
    """`part` chooses between patterns to train and patterns to measure with."""

    def __init__(self, random: Random, *, part: Part = "trained", voice_notes: float = 0.2) -> None:
        self._random = random
        self._part = part
        self._voice_notes = voice_notes
        self._phrases: Phrases = load("en")
        self._style: Style = "typed"
        self._spoken = False

    def conversation(
        self, *, language: Language | None = None, topics: int | None = None
    ) -> list[Message]:
        random = self._random
        self._phrases = load(language or random.choice(LANGUAGES))
        messages: list[Message] = []
        for _ in range(topics or random.choice((1, 1, 1, 2, 2, 3, 4))):
            self._spoken = random.random() < self._voice_notes
            self._style = "spoken" if self._spoken or random.random() < 0.4 else "typed"
            if language is None and random.random() < 0.05:
                self._phrases = load(random.choice(LANGUAGES))
            messages += self._topic()
        return messages

    def _topic(self) -> list[Message]:
        makers: Sequence[tuple[Callable[[], list[Message]], float]] = (
            (self._single, 0.42),
            (self._burst, 0.13),
            (self._followed, 0.12),
            (self._booking, 0.22),
            (self._small_talk, 0.11),
        )
        make = self._random.choices([m for m, _ in makers], [w for _, w in makers])[0]
        messages = make()
        if self._random.random() < 0.08:
            greeting = self._random.choice(self._phrases.greetings)
            messages.insert(0, self._user(greeting, polite=False))
        return messages

    # --- questions that one tool answers ---------------------------------------------------------

    def _single(self) -> list[Message]:
        if self._random.random() < 0.12:
            return self._hand_over()
        return self._told([self._exchange()])

    def _burst(self) -> list[Message]:
        """Two or three questions at once: every tool, then one reply."""
        several = [self._exchange() for _ in range(self._random.choice((2, 2, 2, 3)))]
        return self._told(several, as_one=self._random.random() < 0.4)

    def _followed(self) -> list[Message]:
        """A question, then the same of another day or item in a few words."""
        intent, make = self._random.choice(
            (("opening_hours", self._hours), ("menu_item", self._item))
        )
        messages = self._told([make()])
        patterns = self._phrases.intents[intent]["follow"]
        for _ in range(self._random.choice((1, 1, 2))):
            said = self._phrases.say(self._random, patterns, style=self._style)
            messages += self._told([make(said)], polite=False)
        return messages

    def _exchange(self) -> Exchange:
        makers = (
            (self._hours, 0.3),
            (self._item, 0.28),
            (self._category, 0.1),
            (self._about, 0.32),
        )
        return self._random.choices([m for m, _ in makers], [w for _, w in makers])[0]()

    def _hours(self, said: Said | None = None) -> Exchange:
        said = said or self._say("opening_hours")
        day = said.values.get("day", "today")
        on_day = self._phrases.on_day(day)
        result: dict[str, Any] = {"day": day}
        if self._random.random() < 0.03:
            return self._failed(said, ("opening_hours", {"day": day}))
        if self._random.random() < 0.18:
            result["closed"] = True
            reply = self._phrases.reply("closed", On_day=_first_up(on_day))
        else:
            result |= {"open": values.clock(self._random), "close": values.clock(self._random)}
            reply = self._phrases.reply(
                "open", On_day=_first_up(on_day), open=result["open"], close=result["close"]
            )
        return Exchange(said, self._called(("opening_hours", {"day": day}), result), reply)

    def _item(self, said: Said | None = None) -> Exchange:
        if said is None:
            known = {}
            if self._random.random() < 0.2:
                known = {"item": self._odd_item()}
            said = self._say("menu_item", known)
        item = said.values["item"]
        call = ("menu", {"item": item})
        if self._random.random() < 0.25:
            steps = self._called(call, {"item": item, "error": "not on the menu"})
            return Exchange(said, steps, self._phrases.reply("no_item", item=item))
        price = values.price(self._random)
        reply = self._phrases.reply("item", item=item, Item=_first_up(item), price=price)
        return Exchange(said, self._called(call, {"item": item, "price": price}), reply)

    def _category(self) -> Exchange:
        if self._random.random() < 0.4:
            said, category = self._say("menu_all"), "all"
        else:
            said = self._say("menu_category")
            category = said.values["category"]
        every = [item for items in self._phrases.items.values() for item in items]
        names = [
            self._odd_item() if self._random.random() < 0.2 else item
            for item in self._random.sample(every, self._random.randint(1, 7))
        ]
        items = ", ".join(f"{name} {values.price(self._random)}" for name in names)
        steps = self._called(
            ("menu", {"category": category}), {"category": category, "items": items}
        )
        return Exchange(said, steps, self._phrases.reply("category", items=items))

    def _about(self) -> Exchange:
        topic = self._random.choice(TOPICS)
        said = self._say(topic)
        call = ("business_info", {"topic": topic})
        if self._random.random() < 0.04:
            return self._failed(said, call)
        text = values.about(self._random, topic)
        return Exchange(
            said,
            self._called(call, {"topic": topic, "text": text}),
            self._phrases.reply(topic, text=text),
        )

    def _failed(self, said: Said, call: tuple[str, dict[str, Any]]) -> Exchange:
        steps = self._called(call, {"error": values.free_text(self._random).lower()})
        return Exchange(said, steps, self._phrases.reply("failed"))

    def _odd_item(self) -> str:
        word = values.odd_word(self._random).lower()
        kind = self._random.choice(
            [item for items in self._phrases.items.values() for item in items]
        )
        return self._random.choice((word, f"{word} {kind}", f"{kind} {word}"))

    def _hand_over(self) -> list[Message]:
        reason = self._random.choice(("asked", "problem"))
        patterns = self._phrases.intents["hand_over"][reason][self._part]
        said = self._phrases.say(self._random, patterns, style=self._style)
        steps = self._called(("hand_over", {"reason": reason}), {"status": "ok"})
        return self._told([Exchange(said, steps, self._phrases.reply("hand_over"))])

    def _small_talk(self) -> list[Message]:
        intent = self._random.choice((*SMALL_TALK, "elsewhere"))
        said = self._say(intent)
        return [self._user(said.text), self._says(self._phrases.reply(intent))]

    # --- bookings --------------------------------------------------------------------------------

    def _booking(self) -> list[Message]:
        """Asks for what lacks, requests the table, and sometimes once more when it is corrected."""
        patterns = self._phrases.intents["booking"][self._part]
        said = self._booking_said(patterns)
        messages = [self._user(said.text)]
        known = {key: said.values[key] for key in ("people", "day", "time") if key in said.values}
        while missing := [key for key in ("people", "day", "time") if key not in known]:
            ask = "day_time" if missing[-2:] == ["day", "time"] else missing[0]
            # How many people comes first, on its own; day and time are asked for together.
            ask = "people" if missing[0] == "people" else ask
            messages.append(self._says(self._phrases.reply(f"ask_{ask}")))
            given = self._given(ask)
            known |= given.values
            messages.append(self._user(given.text, polite=False))
        messages += self._booked(known)
        if self._random.random() < 0.25:
            changed = self._random.choice(("people", "day", "time"))
            said = self._changed(changed, known)
            known |= {changed: said.values[changed]}
            messages += [self._user(said.text, polite=False), *self._booked(known)]
        return messages

    def _given(self, what: str) -> Said:
        if what == "day_time" and self._random.random() < 0.25:
            what = self._random.choice(("day", "time"))
        return self._booking_said(self._phrases.intents["booking"]["give"][what])

    def _changed(self, what: str, known: dict[str, Any]) -> Said:
        patterns = self._phrases.intents["booking"]["change"][what]
        while True:
            said = self._booking_said(patterns)
            if said.values[what] != known[what]:
                return said

    def _booking_said(self, patterns: str) -> Said:
        return self._phrases.say(self._random, patterns, style=self._style, parts_of_day=False)

    def _booked(self, known: dict[str, Any]) -> list[Message]:
        arguments = {key: known[key] for key in ("people", "day", "time")}
        reference = values.reference(self._random)
        result = {"status": "requested", "reference": reference, **arguments}
        reply = self._phrases.reply(
            "booked",
            people=known["people"],
            on_day=self._phrases.on_day(known["day"]),
            time=known["time"],
            reference=reference,
        )
        return [*self._called(("book_table", arguments), result), self._says(reply)]

    # --- messages --------------------------------------------------------------------------------

    def _say(self, intent: str, known: dict[str, Any] | None = None) -> Said:
        patterns = self._phrases.intents[intent][self._part]
        return self._phrases.say(self._random, patterns, style=self._style, values=known)

    def _told(
        self, exchanges: Sequence[Exchange], *, as_one: bool = False, polite: bool = True
    ) -> list[Message]:
        questions = [exchange.question.text for exchange in exchanges]
        if as_one:
            joint = {"en": " and ", "pt": " e "}[self._phrases.language]
            questions = [self._random.choice((joint, " ", ". ")).join(questions)]
        steps = [step for exchange in exchanges for step in exchange.steps]
        reply = " ".join(exchange.reply for exchange in exchanges)
        asked = (self._user(question, polite=polite) for question in questions)
        return [*asked, *steps, self._says(reply)]

    def _called(
        self, call: tuple[str, dict[str, Any]], result: dict[str, Any]
    ) -> tuple[Message, ...]:
        content = json.dumps(result, ensure_ascii=False)
        return (Message("assistant", call=call), Message("tool", content=content))

    def _says(self, text: str) -> Message:
        return Message("assistant", content=text)

    def _user(self, text: str, *, polite: bool = True) -> Message:
        if self._spoken:
            return Message("user", content=VOICE_NOTE_MARK + as_written(text, self._phrases))
        return Message("user", content=as_typed(text, self._phrases, self._random, polite=polite))


def as_written(text: str, phrases: Phrases) -> str:
    """With capitals and a mark at the end, as a transcript is."""
    text = " ".join(_capital(word, phrases) for word in text.split())
    return _first_up(text) + ("" if text[-1] in "?!." else ".")


def as_typed(text: str, phrases: Phrases, random: Random, *, polite: bool = True) -> str:
    """As people type: politely or not, with or without capitals and marks, sometimes with a slip."""
    kind = random.random() if polite else 1.0
    if kind < 0.12:
        text = random.choice(phrases.greetings) + random.choice((" ", ", ", "! ")) + text
    elif kind < 0.2:
        text = f"{text.rstrip('?')} {random.choice(phrases.courtesy['after'])}"
    elif kind < 0.26:
        text = f"{random.choice(phrases.courtesy['before'])} {text}"
    if random.random() < 0.2:
        for long, short in phrases.shortened:
            text = text.replace(long, short)
    kind = random.random()
    if kind < 0.4:
        text = text.rstrip("?")
    elif kind < 0.7:
        text = as_written(text, phrases)
    elif kind < 0.75:
        text = text.upper()
    elif kind < 0.8:
        text = text.rstrip("?") + random.choice(("...", "!", "??"))
    if random.random() < 0.07 and len(text) > 8:
        text = _slip(text, random)
    return text


def _slip(text: str, random: Random) -> str:
    """Two neighbouring letters change places, or one is lost. Digits keep theirs."""
    at = random.randrange(1, len(text) - 2)
    if not (text[at].isalpha() and text[at + 1].isalpha()):
        return text
    if random.random() < 0.5:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :]


def _capital(word: str, phrases: Phrases) -> str:
    return word[0].upper() + word[1:] if word.rstrip("?.,!") in phrases.capitalised else word


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]
