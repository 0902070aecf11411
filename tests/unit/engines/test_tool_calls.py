"""Reading what a model wrote: markup becomes calls and never reaches a customer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.engines.tool_calls import parse_reply, read_arguments

HOURS = ("opening_hours", {"day": "friday"})
HOURS_MARKUP = '<tool_call>{"name": "opening_hours", "arguments": {"day": "friday"}}</tool_call>'


def test_plain_words_stay_words():
    parsed = parse_reply("  We open at 9 < 10.\n")
    assert (parsed.content, parsed.calls, parsed.unreadable) == ("We open at 9 < 10.", (), 0)


@pytest.mark.parametrize(
    "markup",
    [
        HOURS_MARKUP,
        '<tool_call>\n{"name": "opening_hours", "arguments": {"day": "friday"}}\n</tool_call>',
        '<tool_call>{"name": "opening_hours", "parameters": {"day": "friday"}}</tool_call>',
        '<tool_call>{"name": "opening_hours", "arguments": "{\\"day\\": \\"friday\\"}"}</tool_call>',
        "<tool_call>{'name': 'opening_hours', 'arguments': {'day': 'friday'}}</tool_call>",
        '<tool_call>{"name": "opening_hours", "arguments": {"day": "friday"}</tool_call>',
        '<tool_call>{"name": "opening_hours", "arguments": {"day": "friday"}}',
        "<tool_call><function=opening_hours>\n<parameter=day>\nfriday\n</parameter>\n"
        "</function></tool_call>",
    ],
)
def test_the_ways_in_which_models_write_a_call(markup):
    parsed = parse_reply(markup)
    assert parsed.calls == (HOURS,)
    assert parsed.content == ""


def test_words_around_several_calls():
    parsed = parse_reply(f"Let me look.{HOURS_MARKUP}\n{HOURS_MARKUP} One moment.")
    assert parsed.calls == (HOURS, HOURS)
    assert parsed.content.split() == ["Let", "me", "look.", "One", "moment."]


def test_calls_without_an_end_between_them():
    unclosed = HOURS_MARKUP.removesuffix("</tool_call>")
    assert parse_reply(unclosed + HOURS_MARKUP).calls == (HOURS, HOURS)


def test_numbers_in_xml_parameters_are_numbers():
    parsed = parse_reply(
        "<tool_call><function=book><parameter=people>4</parameter>"
        "<parameter=day>friday</parameter></function></tool_call>"
    )
    assert parsed.calls == (("book", {"people": 4, "day": "friday"}),)


@pytest.mark.parametrize(
    "markup",
    [
        "<tool_call>menu please</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "menu", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "menu", "argum',
        "<tool_call></tool_call>",
    ],
)
def test_what_cannot_be_read_is_counted_and_not_shown(markup):
    parsed = parse_reply(f"One moment. {markup}")
    assert (parsed.content, parsed.calls, parsed.unreadable) == ("One moment.", (), 1)


@pytest.mark.parametrize(
    "text",
    [
        "<think>They want hours.</think>We open at nine.",
        "They want hours.</think>We open at nine.",
        "We open at nine.<think>Was that right",
        "We open at nine.</tool_call>",
    ],
)
def test_thoughts_and_stray_marks_are_left_out(text):
    assert parse_reply(text).content == "We open at nine."


PIECES = st.lists(
    st.sampled_from(
        ["<tool_call>", "</tool_call>", "<think>", "</think>", '{"name": "x"', "}", "hi", "\n"]
    ),
    max_size=12,
).map("".join)


@given(PIECES)
def test_no_markup_ever_leaks(text):
    content = parse_reply(text).content
    assert "tool_call>" not in content
    assert "think>" not in content


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("[1]", None),
        ("nonsense", None),
        (None, None),
        (3, None),
    ],
)
def test_arguments_are_an_object_or_its_text(value, arguments):
    assert read_arguments(value) == arguments


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('[TOOL_CALLS] [{"name": "menu", "arguments": {"item": "tea"}}]</s>', ["menu"]),
        (
            '[TOOL_CALLS]menu[ARGS]{"item": "tea"}[TOOL_CALLS]menu[ARGS]{"item": "tea"}',
            ["menu"] * 2,
        ),
        ('{"name": "menu", "parameters": {"item": "tea"}}', ["menu"]),
        ('<|python_tag|>{"name": "menu", "parameters": {"item": "tea"}}', ["menu"]),
    ],
)
def test_other_families_write_calls_in_their_own_way(text, calls):
    parsed = parse_reply(text, tools={"menu"})
    assert [name for name, _ in parsed.calls] == calls
    assert all(arguments == {"item": "tea"} for _, arguments in parsed.calls)
    assert (parsed.content, parsed.unreadable) == ("", 0)


def test_bare_json_is_a_call_only_of_a_tool_that_was_offered():
    text = '{"name": "menu", "arguments": {}}'
    assert parse_reply(text).content == text
    assert parse_reply(text, tools={"hours"}).content == text


def test_a_mistral_call_that_cannot_be_read_is_counted():
    parsed = parse_reply("One moment. [TOOL_CALLS] [oops")
    assert (parsed.content, parsed.calls, parsed.unreadable) == ("One moment.", (), 1)
