"""Outside the window: the template that is sent, what it says, and what stays unsent."""

from __future__ import annotations

from models.accounts import ReplyTemplate, SendingRules
from models.conversations import ReplyStatus
from serve_app.delivery.template import MAX_VARIABLE_CHARS, fill
from serve_app.store.reply_states import TEMPLATE_SENT, WINDOW_CLOSED
from tests.unit.conversation import stage
from tests.unit.delivery.desk import Desk, open_desk

DAY_S = 86_400.0
SID = "HX" + "0" * 32
TEMPLATE = ReplyTemplate(
    content_sid=SID, variables={"1": "{name|friend}", "2": "{business}: {text}"}
)


async def late(template: ReplyTemplate | None) -> Desk:
    desk = await open_desk()
    desk.channel.window = DAY_S
    account = stage.account(sending=SendingRules(template=template))
    await desk.store.accounts.save(account)
    return desk


def test_variables_are_one_line_and_never_empty() -> None:
    content = fill(TEMPLATE, {"name": "", "business": "Café", "text": "one\n\n  two"})
    assert content.variables == {"1": "friend", "2": "Café: one two"}
    long = fill(TEMPLATE, {"text": "word " * 500}).variables["2"]
    assert len(long) <= MAX_VARIABLE_CHARS
    assert long.endswith("…")
    bare = ReplyTemplate(content_sid=SID, variables={"1": "{name}"})
    assert fill(bare, {}).variables == {"1": "-"}


async def test_a_late_reply_goes_as_the_template_and_its_other_parts_do_not() -> None:
    desk = await late(TEMPLATE)
    replies = await desk.answer(1, "one", "two")
    desk.clock.advance(DAY_S + 60)
    await desk.send(*replies)
    (sent,) = desk.channel.accepted
    assert sent.message.template is not None
    assert sent.message.template.variables == {"1": "friend", "2": "Café: one"}
    second = await desk.now_of(replies[1])
    assert (second.status, second.error_message) == (ReplyStatus.CANCELED, TEMPLATE_SENT)


async def test_without_a_template_it_is_canceled_and_says_why() -> None:
    desk = await late(None)
    (reply,) = await desk.answer(1, "one")
    desk.clock.advance(DAY_S + 60)
    await desk.send(reply)
    now = await desk.now_of(reply)
    assert (now.status, now.error_message) == (ReplyStatus.CANCELED, WINDOW_CLOSED)
    assert desk.channel.attempts == []


async def test_within_the_window_it_is_free() -> None:
    desk = await late(TEMPLATE)
    (reply,) = await desk.answer(1, "one")
    desk.clock.advance(DAY_S - 60)
    await desk.send(reply)
    assert desk.channel.accepted[0].message.template is None
