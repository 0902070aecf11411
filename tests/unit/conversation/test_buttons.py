"""Buttons under the service's own texts and the first answer, and the lines that stand for them."""

from __future__ import annotations

import pytest

from models.accounts import Assistant
from models.errors import InferenceError
from models.messages import MAX_BUTTONS
from serve_app.administration.facts import WEEKDAYS
from serve_app.conversation.buttons import buttons_of, listed
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.segments import count_segments
from tests.unit.conversation import stage
from tests.unit.conversation.stage import Stage

TEXTS = TextCatalogue.load()
CLOSED = dict.fromkeys(WEEKDAYS)
BOTH = ("Opening hours", "A person")


async def turn_of(body: str = "Hi", *, sms: bool = False, **assistant: object) -> Stage:
    chat = assistant.pop("chat", ["Good morning!", "Yes."])
    on = await stage.build_stage(chat, of=stage.owner(**assistant))  # type: ignore[arg-type]
    ends = {"sender": "+15551112222"} if sms else {}
    contact = {"contact_key": ends["sender"]} if sms else {}
    await on.turn(stage.message(1, body, **ends, **contact))
    return on


@pytest.mark.parametrize(
    ("assistant", "body", "key"),
    [
        ({"outside_hours": "text", "business_hours": CLOSED}, "Hi", "outside_hours"),
        ({"people": {"keywords": ["human"]}}, "a human, please", "handed_over"),
        ({}, "HELP", "who_we_are"),
        ({"chat": [""]}, "Hi", "try_later"),
        ({"chat": [InferenceError("broken")]}, "Hi", "try_later"),
    ],
)
async def test_under_a_text_of_the_services(
    assistant: dict[str, object], body: str, key: str
) -> None:
    on = await turn_of(body, buttons={key: {"any": BOTH}}, **assistant)
    (reply,) = on.replies
    assert reply.buttons == BOTH
    assert reply.body == TEXTS.text(key, "en").replace("{business}", "Café")


async def test_under_the_first_answer_alone() -> None:
    on = await turn_of(buttons={"first_answer": {"any": BOTH}})
    await on.turn(stage.message(2, "Really?"))
    assert [(reply.body, reply.buttons) for reply in on.replies] == [
        ("Good morning!", BOTH),
        ("Yes.", ()),
    ]


async def test_the_tap_is_read_without_what_the_service_said_itself() -> None:
    on = await turn_of("HELP", buttons={"who_we_are": {"any": BOTH}}, chat=["From nine to five."])
    await on.turn(stage.message(2, BOTH[0], kind="button"))
    assert [(m.role, m.content) for m in on.chat.requests[0].messages] == [
        ("system", "Be brief."),
        ("user", BOTH[0]),
    ]
    assert on.said[-1] == "From nine to five."


async def test_none_where_none_are_offered() -> None:
    on = await turn_of(buttons={"handed_over": {"any": BOTH}})
    assert [reply.buttons for reply in on.replies] == [()]


async def test_an_sms_lists_them_and_is_counted_with_them() -> None:
    on = await turn_of(sms=True, buttons={"first_answer": {"any": BOTH}})
    (reply,) = on.replies
    assert (reply.body, reply.buttons) == ("Good morning!\n- Opening hours\n- A person", ())
    assert reply.segments == count_segments(reply.body) == 1


async def test_under_the_last_part_of_a_long_answer() -> None:
    on = await turn_of(chat=["word " * 400], buttons={"first_answer": {"any": BOTH}})
    assert [bool(reply.buttons) for reply in on.replies] == [False, True]


async def test_a_part_that_is_too_long_for_buttons_lists_them() -> None:
    on = await turn_of(chat=["x" * 1500], buttons={"first_answer": {"any": BOTH}})
    (reply,) = on.replies
    assert reply.buttons == ()
    assert reply.body.endswith("x\n- Opening hours\n- A person")


def test_the_language_decides() -> None:
    offered = {"k": {"pt-BR": ("Sim",), "en": ("Yes",)}, "all": {"any": ("OK",), "es": ("Vale",)}}
    assistant = Assistant(buttons=offered)
    assert buttons_of(assistant, "k", "pt", "es") == ("Sim",)
    assert buttons_of(assistant, "k", None, "fr") == ("Yes",)
    assert buttons_of(assistant, "all", "es-MX") == ("Vale",)
    assert buttons_of(assistant, "all", "fr") == ("OK",)
    assert buttons_of(assistant, "other", "en") == ()


def test_lines_for_buttons_stay_in_the_alphabet_of_sms() -> None:
    text = listed("x" * 140, ["1234"] * MAX_BUTTONS)
    assert count_segments(text) == 2
    assert len(text) == 140 + MAX_BUTTONS * 7
