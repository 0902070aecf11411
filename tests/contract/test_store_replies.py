"""What every store promises of replies, the fakes included."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models.conversations import ReplyStatus
from models.messages import DeliveryStatus, SentMessage
from tests.contract.store_samples import Store, a_reply, a_report, a_turn

D = DeliveryStatus
S = ReplyStatus
SENT = SentMessage(message_id="SMout", status=D.QUEUED)


async def _status(store: Store, reply_id: str = "reply") -> ReplyStatus:
    reply = await store.replies.get(reply_id)
    assert reply is not None
    return reply.status


async def _bring_to(store: Store, status: ReplyStatus, reply_id: str = "reply") -> None:
    replies = store.replies
    if status in (S.SENDING, S.UNKNOWN, S.SENT):
        assert await replies.mark_sending(reply_id)
    if status is S.UNKNOWN:
        await replies.mark_unknown(reply_id, error="timeout")
    elif status is S.SENT:
        await replies.mark_sent(reply_id, SENT)
    elif status is S.FAILED:
        await replies.mark_failed(reply_id, code=21211, error="no such number")
    elif status is S.PARKED:
        await replies.park(reply_id, error="who knows")
    elif status is S.CANCELED:
        await replies.mark_canceled(reply_id, error="opted out")
    assert await _status(store, reply_id) is status


async def test_open_replies_are_counted(store: Store) -> None:
    assert await store.replies.count_open() == {}
    states = [S.PENDING, S.PENDING, S.SENDING, S.UNKNOWN, S.SENT, S.FAILED, S.PARKED, S.CANCELED]
    for number, status in enumerate(states):
        await store.reply(turn_id=f"turn-{number}", reply_id=f"reply-{number}")
        if status is not S.SENT:
            await _bring_to(store, status, f"reply-{number}")
        else:
            sent = SentMessage(message_id="SM-counted", status=D.QUEUED)
            await store.replies.mark_sending(f"reply-{number}")
            await store.replies.mark_sent(f"reply-{number}", sent)
    assert await store.replies.count_open() == {
        S.PENDING: 2,
        S.SENDING: 1,
        S.UNKNOWN: 1,
        S.FAILED: 1,
        S.PARKED: 1,
    }


async def test_the_usual_way(store: Store) -> None:
    await store.reply()

    assert await store.replies.mark_sending("reply")
    sending = await store.replies.get("reply")
    assert sending is not None
    assert sending.status is S.SENDING
    assert sending.sending_since is not None
    assert abs(datetime.now(UTC) - sending.sending_since) < timedelta(minutes=1)

    await store.replies.mark_sent("reply", SENT)
    sent = await store.replies.get("reply")
    assert sent is not None
    assert (sent.status, sent.provider_message_id, sent.delivery) == (S.SENT, "SMout", D.QUEUED)


async def test_buttons_stay_with_their_reply(store: Store) -> None:
    titles = ("Opening hours", "Zoë 👋")
    conversation, stored = await store.begin()
    with_buttons = a_reply("reply", 0, "Hello!").model_copy(update={"buttons": titles})
    replies = (with_buttons, a_reply("plain", 1, "Bye!"))
    assert await store.conversations.commit_turn(a_turn(conversation, stored, replies=replies))
    found = await store.replies.for_turns(["turn"])
    assert [reply.buttons for reply in found] == [titles, ()]
    cleared = await store.replies.mark_sending("reply")
    assert cleared is not None
    assert cleared.buttons == titles


async def test_one_sender_wins(store: Store) -> None:
    await store.reply()
    results = await asyncio.gather(*(store.replies.mark_sending("reply") for _ in range(10)))
    assert sum(reply is not None for reply in results) == 1


async def test_unknown_reply(store: Store) -> None:
    assert await store.replies.get("nothing") is None
    assert not await store.replies.mark_sending("nothing")
    await store.replies.mark_sent("nothing", SENT)
    await store.replies.mark_pending("nothing")
    assert await store.replies.for_turns(["nothing"]) == []
    assert not await store.replies.apply_status(a_report(D.SENT, reply_id="nothing"))


@pytest.mark.parametrize(
    ("mark", "origins"),
    [
        ("mark_sending", {S.PENDING}),
        ("mark_pending", {S.SENDING, S.UNKNOWN}),
        ("mark_sent", {S.SENDING, S.UNKNOWN, S.PARKED}),
        ("mark_unknown", {S.SENDING}),
        ("mark_failed", {S.PENDING, S.SENDING, S.UNKNOWN}),
        ("mark_canceled", {S.PENDING, S.SENDING}),
        ("park", {S.PENDING, S.SENDING, S.UNKNOWN}),
    ],
)
async def test_compare_and_set(store: Store, mark: str, origins: set[ReplyStatus]) -> None:
    target = {
        "mark_sending": S.SENDING,
        "mark_pending": S.PENDING,
        "mark_sent": S.SENT,
        "mark_unknown": S.UNKNOWN,
        "mark_failed": S.FAILED,
        "mark_canceled": S.CANCELED,
        "park": S.PARKED,
    }[mark]
    for origin in S:
        reply_id = f"from-{origin}"
        await store.reply(turn_id=reply_id, reply_id=reply_id)
        await _bring_to(store, origin, reply_id)
        before = await store.replies.get(reply_id)
        arguments: dict[str, dict[str, object]] = {
            "mark_sending": {},
            "mark_pending": {},
            # A provider's id belongs to one reply.
            "mark_sent": {"sent": SentMessage(message_id=f"SM-{origin}", status=D.SENT)},
            "mark_failed": {"code": 63016, "error": "template needed"},
        }
        await getattr(store.replies, mark)(reply_id, **arguments.get(mark, {"error": "e"}))
        after = await store.replies.get(reply_id)
        assert after is not None
        if origin in origins:
            assert after.status is target
        else:
            assert after == before


async def test_errors_are_kept_and_cleared(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.UNKNOWN)
    doubtful = await store.replies.get("reply")
    assert doubtful is not None
    assert doubtful.error_message == "timeout"
    assert doubtful.sending_since is not None

    await store.replies.mark_pending("reply")
    assert await store.replies.mark_sending("reply")
    await store.replies.mark_failed("reply", code=63016, error="a template\x00 is needed")
    failed = await store.replies.get("reply")
    assert failed is not None
    assert failed.error_code == 63016
    assert failed.error_message is not None
    assert failed.error_message.startswith("a template")


async def test_back_to_pending_as_a_template(store: Store) -> None:
    await store.reply()
    assert await store.replies.mark_sending("reply")
    await store.replies.mark_pending("reply", as_template=True)
    await store.replies.mark_sending("reply", has_template=True)
    await store.replies.mark_pending("reply")
    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.status, reply.as_template) == (S.PENDING, True)


async def test_unsent(store: Store) -> None:
    for number, status in enumerate(S):
        await store.reply(turn_id=f"t{number}", reply_id=f"r-{status}")
        await _bring_to(store, status, f"r-{status}")

    async def unsent(older_than_s: float, limit: int = 10) -> list[str]:
        found = await store.replies.unsent(older_than_s=older_than_s, limit=limit)
        return [reply.id for reply in found]

    assert await unsent(0.0) == ["r-pending", "r-sending", "r-unknown"]
    assert await unsent(0.0, limit=1) == ["r-pending"]
    assert await unsent(60.0) == []


async def test_for_turns_in_sending_order(store: Store) -> None:
    conversation, stored = await store.begin(messages=2)
    for turn, message in enumerate(stored):
        await store.conversations.commit_turn(
            a_turn(
                conversation,
                [message],
                turn_id=f"t{turn}",
                replies=tuple(
                    a_reply(f"t{turn}-{position}", position, ".") for position in (2, 0, 10, 1)
                ),
            )
        )
    replies = await store.replies.for_turns(["t1", "t0", "unknown"])

    assert [reply.id for reply in replies] == [
        f"t{turn}-{position}" for turn in (0, 1) for position in (0, 1, 2, 10)
    ]


async def test_known_provider_ids(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)
    assert await store.replies.known_provider_ids(["SMout", "SMother"]) == {"SMout"}
    assert await store.replies.known_provider_ids([]) == set()


@pytest.mark.parametrize("status", [S.PENDING, S.SENDING, S.UNKNOWN, S.PARKED])
async def test_a_report_resolves_a_doubt(store: Store, status: ReplyStatus) -> None:
    await store.reply()
    await _bring_to(store, status)

    assert await store.replies.apply_status(a_report(D.SENT, reply_id="reply"))

    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.status, reply.provider_message_id, reply.delivery) == (S.SENT, "SMout", D.SENT)
    assert reply.error_message is None
    assert not await store.replies.mark_sending("reply")


async def test_the_report_may_overtake_the_response(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENDING)

    await store.replies.apply_status(a_report(D.DELIVERED, reply_id="reply"))
    await store.replies.mark_sent("reply", SENT)

    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.status, reply.delivery) == (S.SENT, D.DELIVERED)


async def test_found_by_the_providers_id(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)

    assert await store.replies.apply_status(a_report(D.DELIVERED))
    assert await store.replies.apply_status(a_report(D.READ, reply_id="unknown"))
    assert not await store.replies.apply_status(a_report(D.READ, message_id="SMother"))

    reply = await store.replies.get("reply")
    assert reply is not None
    assert reply.delivery is D.READ


async def test_never_backwards(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)
    for status in (D.READ, D.DELIVERED, D.QUEUED, D.FAILED, D.READ):
        assert await store.replies.apply_status(a_report(status))

    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.status, reply.delivery, reply.error_code) == (S.SENT, D.READ, None)


async def test_at_once_the_furthest_wins(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)
    statuses = [D.READ, D.QUEUED, D.DELIVERED, D.SENT, D.SENDING] * 3
    await asyncio.gather(*(store.replies.apply_status(a_report(s)) for s in statuses))

    reply = await store.replies.get("reply")
    assert reply is not None
    assert reply.delivery is D.READ


async def test_failure_is_visible(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)
    await store.replies.apply_status(
        a_report(D.UNDELIVERED, error_code=63024, error_message="invalid recipient")
    )

    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.status, reply.delivery) == (S.FAILED, D.UNDELIVERED)
    assert (reply.error_code, reply.error_message) == (63024, "invalid recipient")


async def test_another_accounts_report(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)

    forged = a_report(D.FAILED, reply_id="reply", account_id="AC-other")
    assert not await store.replies.apply_status(forged)
    assert await _status(store) is S.SENT


async def test_a_message_matched_to_the_wrong_reply(store: Store) -> None:
    for reply_id in ("true", "wrong"):
        await store.reply(turn_id=f"turn-{reply_id}", reply_id=reply_id)
        await _bring_to(store, S.UNKNOWN, reply_id)
    await store.replies.mark_sent("wrong", SENT)

    assert await store.replies.apply_status(a_report(D.DELIVERED, reply_id="true"))

    right, wrong = await store.replies.get("true"), await store.replies.get("wrong")
    assert right is not None
    assert wrong is not None
    assert (right.status, right.provider_message_id) == (S.SENT, "SMout")
    assert (wrong.status, wrong.provider_message_id) == (S.PARKED, None)
    assert wrong.error_message is not None


async def test_what_a_person_looks_after(store: Store) -> None:
    for number, status in enumerate(S):
        await store.reply(turn_id=f"t{number}", reply_id=f"r-{status}")
        await _bring_to(store, status, f"r-{status}")
    await store.replies.mark_unknown("r-sending", error="later than the other")

    async def ids(*states: ReplyStatus, limit: int = 10) -> list[str]:
        return [reply.id for reply in await store.replies.in_states(states, limit=limit)]

    assert await ids(S.PARKED) == ["r-parked"]
    assert await ids(S.PARKED, S.FAILED, S.UNKNOWN) == [
        "r-unknown",
        "r-failed",
        "r-parked",
        "r-sending",
    ]
    assert await ids(S.PARKED, S.FAILED, limit=1) == ["r-failed"]
    assert await ids() == []
    parked = await store.replies.get("r-parked")
    assert parked is not None
    assert parked.changed_at is not None
    assert abs((datetime.now(UTC) - parked.changed_at).total_seconds()) < 60


@pytest.mark.parametrize(
    ("decide", "origins", "target"),
    [
        ("resend", {S.PARKED, S.FAILED}, S.PENDING),
        ("drop", {S.PENDING, S.UNKNOWN, S.PARKED, S.FAILED}, S.CANCELED),
    ],
)
async def test_a_persons_decision(
    store: Store, decide: str, origins: set[ReplyStatus], target: ReplyStatus
) -> None:
    for origin in S:
        reply_id = f"from-{origin}"
        await store.reply(turn_id=reply_id, reply_id=reply_id)
        await _bring_to(store, origin, reply_id)
        before = await store.replies.get(reply_id)
        arguments = {"error": "not worth it"} if decide == "drop" else {}
        acted = await getattr(store.replies, decide)(reply_id, **arguments)
        after = await store.replies.get(reply_id)
        assert after is not None
        assert acted is (origin in origins)
        if acted:
            assert after.status is target
            assert after.error_message == arguments.get("error")
        else:
            assert after == before
    assert not await getattr(store.replies, decide)("nothing", **arguments)


async def test_a_resent_reply_starts_anew(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.SENT)
    await store.replies.apply_status(a_report(D.UNDELIVERED, error_code=63024, reply_id="reply"))

    assert await store.replies.resend("reply")

    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.provider_message_id, reply.delivery, reply.sending_since) == (None, None, None)
    assert (reply.error_code, reply.error_message) == (None, None)
    # What was sent before isn't taken for the new one, neither in the provider's list…
    assert await store.replies.known_provider_ids(["SMout", "SMother"]) == {"SMout"}
    # …nor when its report comes once more.
    late = a_report(D.UNDELIVERED, error_code=63024, reply_id="reply")
    assert not await store.replies.apply_status(late)
    assert await _status(store) is S.PENDING
    assert await store.replies.mark_sending("reply")
    await store.replies.mark_sent("reply", SentMessage(message_id="SMnew", status=D.QUEUED))
    assert not await store.replies.apply_status(late)
    assert await store.replies.apply_status(a_report(D.DELIVERED, message_id="SMnew"))
    assert await _status(store) is S.SENT


async def test_a_report_and_a_resend_at_once(store: Store) -> None:
    for number in range(10):
        reply_id = f"r{number}"
        await store.reply(turn_id=f"t{number}", reply_id=reply_id)
        await _bring_to(store, S.PARKED, reply_id)
        report = a_report(D.DELIVERED, reply_id=reply_id, message_id=f"SM{number}")
        await asyncio.gather(store.replies.apply_status(report), store.replies.resend(reply_id))
        # Whichever came first: it has arrived, and nobody may send it any more.
        assert await _status(store, reply_id) is S.SENT
        assert not await store.replies.mark_sending(reply_id)
        assert not await store.replies.resend(reply_id)


async def test_one_person_resends(store: Store) -> None:
    await store.reply()
    await _bring_to(store, S.PARKED)
    results = await asyncio.gather(*(store.replies.resend("reply") for _ in range(10)))
    assert results.count(True) == 1


async def test_a_failed_delivery_is_sent_again_once(store: Store) -> None:
    await store.reply()
    assert not await store.replies.send_again("reply")
    await _bring_to(store, S.SENT)
    await store.replies.apply_status(a_report(D.UNDELIVERED, error_code=30008, reply_id="reply"))

    assert await store.replies.send_again("reply", after_s=60, as_template=True)
    reply = await store.replies.get("reply")
    assert reply is not None
    assert (reply.status, reply.provider_message_id) == (S.PENDING, None)
    assert reply.as_template
    assert reply.not_before is not None
    assert await store.replies.unsent(older_than_s=0, limit=10) == []
    late = a_report(D.UNDELIVERED, error_code=30008, reply_id="reply")
    assert await store.replies.apply_status(late) is None

    await store.replies.mark_sending("reply", has_template=True)
    await store.replies.mark_sent("reply", SentMessage(message_id="SMnew", status=D.QUEUED))
    again = a_report(D.UNDELIVERED, error_code=30008, message_id="SMnew")
    assert await store.replies.apply_status(again) is not None
    assert not await store.replies.send_again("reply")


async def test_a_failed_delivery_stays_behind_a_later_reply(store: Store) -> None:
    for reply_id in ("first", "second"):
        await store.reply(turn_id=f"t-{reply_id}", reply_id=reply_id)
        await store.replies.mark_sending(reply_id)
        await store.replies.mark_sent(
            reply_id, SentMessage(message_id=f"SM{reply_id}", status=D.QUEUED)
        )
        if reply_id == "first":
            failed = a_report(D.UNDELIVERED, error_code=30008, message_id="SMfirst")
            await store.replies.apply_status(failed)
    assert not await store.replies.send_again("first")


async def test_figures(store: Store) -> None:
    for number in range(3):
        await store.reply(turn_id=f"t{number}", reply_id=f"r{number}")
    await _bring_to(store, S.FAILED, "r0")
    await _bring_to(store, S.CANCELED, "r1")
    ever = datetime(2020, 1, 1, tzinfo=UTC)
    counts = await store.replies.delivery_counts(since=ever)
    assert {(c.owner_id, c.status, c.error_code, c.replies) for c in counts} == {
        ("o1", S.FAILED, 21211, 1),
        ("o1", S.CANCELED, None, 1),
        ("o1", S.PENDING, None, 1),
    }
    assert await store.replies.delivery_counts(since=ever, owner_id="o2") == []
    assert await store.replies.delivery_counts(since=datetime.now(UTC) + timedelta(days=1)) == []


async def test_what_a_template_may_say(store: Store) -> None:
    await store.reply()
    words = await store.replies.template_words("reply")
    assert words == {"name": "", "business": "Café Aurora"}
    assert await store.replies.template_words("nothing") == {}
