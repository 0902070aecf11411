"""What every store promises of quotas, usage, contacts' profiles and notes to owners, the fakes included."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from models.accounts import Assistant, Plan
from models.conversations import NewNote
from models.errors import PermanentError, RetryableError
from models.inference import ChatUsage
from models.messages import DeliveryStatus, SentMessage, StatusUpdate
from tests.contract.store_samples import (
    NUMBER,
    Store,
    a_message,
    a_reply,
    a_turn,
    an_account,
    an_owner,
)

LIMITED = Plan(code="limited", monthly_messages=7)


async def answer(store: Store, number: int, *, reserve: bool = True, **fields: object) -> bool:
    """One contact's turn as a worker does it; whether the quota had room for it."""
    account = an_account()
    address = f"whatsapp:+3460000{number:04d}"
    message = a_message(f"SM{number}", sender=address, contact_key=address)
    conversation, stored = await store.conversations.record(
        [message], owner_id="o1", account=account
    )
    turn_id = f"turn-{number}"
    room = not reserve or await store.owners.reserve_turn("o1", turn_id=turn_id)
    turn = {
        "turn_id": turn_id,
        "replies": (a_reply(f"reply-{number}", 0, "Hello"),),
        "refused": not room,
        **fields,
    }
    assert await store.conversations.commit_turn(a_turn(conversation, stored, **turn))
    return room


async def sms_segments(store: Store) -> list[int]:
    """By month, the latest first."""
    return [month.sms_segments for month in await store.owners.usage("o1", months=12)]


def accepted(number: int) -> SentMessage:
    return SentMessage(message_id=f"SMS{number}", status=DeliveryStatus.QUEUED)


def reported(number: int, status: DeliveryStatus) -> StatusUpdate:
    return StatusUpdate(
        channel="twilio",
        account_id=an_account().account_sid,
        message_id=f"SMS{number}",
        reply_id=f"sms-{number}",
        status=status,
        received_at=datetime(2026, 1, 31, 23, 59, tzinfo=UTC),
    )


class TestQuota:
    async def test_a_hundred_turns_at_once_and_exactly_so_many_answers(self, store: Store) -> None:
        await store.owners.save(an_owner(plan=LIMITED))
        await store.accounts.save(an_account())
        usage = ChatUsage(prompt_tokens=10, completion_tokens=3)
        found = await asyncio.gather(
            *(answer(store, n, usage=usage, audio_seconds=0.5) for n in range(100))
        )
        assert found.count(True) == 7
        assert await store.owners.messages_this_month("o1") == 7
        (used,) = await store.owners.usage("o1", months=12)
        assert (used.messages, used.audio_seconds) == (7, 50.0)
        assert (used.prompt_tokens, used.completion_tokens) == (1000, 300)

    async def test_a_place_is_kept_for_further_tries_and_used_up_once(self, store: Store) -> None:
        await store.owners.save(an_owner(plan=Plan(code="one", monthly_messages=1)))
        await store.accounts.save(an_account())
        assert await store.owners.reserve_turn("o1", turn_id="turn-1")
        assert await store.owners.reserve_turn("o1", turn_id="turn-1")
        assert not await store.owners.reserve_turn("o1", turn_id="turn-2")
        assert await answer(store, 1)
        assert not await answer(store, 2)
        assert await store.owners.messages_this_month("o1") == 1

    async def test_a_silent_turn_gives_its_place_back(self, store: Store) -> None:
        await store.owners.save(an_owner(plan=Plan(code="one", monthly_messages=1)))
        await store.accounts.save(an_account())
        assert await answer(store, 1, replies=())
        assert await store.owners.messages_this_month("o1") == 0
        assert await answer(store, 2)

    async def test_a_turn_without_a_place_is_not_committed_over_the_quota(
        self, store: Store
    ) -> None:
        await store.owners.save(an_owner(plan=Plan(code="two", monthly_messages=2)))
        await store.accounts.save(an_account())
        assert await answer(store, 1, reserve=False), "there is room"
        assert await store.owners.reserve_turn("o1", turn_id="turn-9")
        with pytest.raises(RetryableError):
            await answer(store, 2, reserve=False)
        assert await store.replies.get("reply-2") is None
        assert await store.owners.messages_this_month("o1") == 1

    async def test_turns_without_places_at_once_are_as_many_as_there_is_room(
        self, store: Store
    ) -> None:
        await store.owners.save(an_owner(plan=LIMITED))
        await store.accounts.save(an_account())
        for number in (100, 101):
            assert await store.owners.reserve_turn("o1", turn_id=f"turn-{number}")
        found = await asyncio.gather(
            *(answer(store, n, reserve=False) for n in range(20)), return_exceptions=True
        )
        assert found.count(True) == 5
        assert sum(isinstance(error, RetryableError) for error in found) == 15
        assert await asyncio.gather(*(answer(store, n) for n in (100, 101))) == [True, True]
        assert await store.owners.messages_this_month("o1") == 7
        for number, committed in enumerate(found):
            assert (await store.replies.get(f"reply-{number}") is not None) == (committed is True)

    async def test_a_new_month_is_a_new_quota(self, store: Store) -> None:
        await store.owners.save(an_owner(timezone="UTC", plan=Plan(code="one", monthly_messages=1)))
        await store.accounts.save(an_account())
        store.clock.at = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
        assert await answer(store, 1)
        assert not await answer(store, 2)
        store.clock.at += timedelta(minutes=2)
        assert await answer(store, 3)
        months = await store.owners.usage("o1", months=12)
        assert [(m.month, m.messages) for m in months] == [
            (date(2026, 2, 1), 1),
            (date(2026, 1, 1), 1),
        ]
        assert len(await store.owners.usage("o1", months=1)) == 1

    async def test_the_segments_of_each_accepted_sms_are_counted_once(self, store: Store) -> None:
        await store.owners.save(an_owner(timezone="UTC"))
        await store.accounts.save(an_account())
        store.clock.at = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
        replies = [a_reply(f"sms-{n}", 0, "Hello", segments=n or None) for n in range(5)]
        for number, reply in enumerate(replies):
            await answer(store, number, replies=(reply,))
            assert await store.replies.mark_sending(reply.id)
        assert await sms_segments(store) == [0], "nothing is accepted yet"
        for _ in range(2):
            for number in (0, 1, 2):
                await store.replies.mark_sent(f"sms-{number}", accepted(number))
        assert await sms_segments(store) == [3]
        # Doubtful ones that a delivery report settles, failed or not; and further reports.
        for status in (DeliveryStatus.SENT, DeliveryStatus.DELIVERED):
            await store.replies.mark_unknown("sms-3", error="no answer")
            await store.replies.apply_status(reported(3, status))
        await store.replies.mark_unknown("sms-4", error="no answer")
        await store.replies.apply_status(reported(4, DeliveryStatus.FAILED))
        assert await sms_segments(store) == [10]
        # What is sent again is billed again, in the month in which it is.
        store.clock.at += timedelta(minutes=2)
        assert await store.replies.resend("sms-4")
        await store.replies.mark_sending("sms-4")
        await store.replies.mark_sent("sms-4", accepted(9))
        assert await sms_segments(store) == [4, 10]

    async def test_a_message_that_changes_its_reply_was_accepted_once(self, store: Store) -> None:
        await store.owners.save(an_owner())
        await store.accounts.save(an_account())
        for number in (1, 2):
            await answer(store, number, replies=(a_reply(f"sms-{number}", 0, "Hello", segments=2),))
            await store.replies.mark_sending(f"sms-{number}")
        await store.replies.mark_sent("sms-1", accepted(7))
        await store.replies.mark_unknown("sms-2", error="no answer")
        taken = reported(2, DeliveryStatus.SENT).model_copy(update={"message_id": "SMS7"})
        assert await store.replies.apply_status(taken)
        assert await sms_segments(store) == [2]

    async def test_no_quota_no_limit(self, store: Store) -> None:
        await store.owners.save(an_owner(plan=Plan(code="free")))
        assert await store.owners.reserve_turn("o1", turn_id="t")
        with pytest.raises(PermanentError):
            await store.owners.reserve_turn("nobody", turn_id="t")
        assert await store.owners.usage("nobody", months=3) == []


class TestAssistants:
    async def test_every_setting_round_trips(self, store: Store) -> None:
        assistant = Assistant.model_validate(
            {
                "instructions": "Be brief.",
                "tone": "warm",
                "model": "large",
                "top_p": 0.8,
                "business_hours": {"monday": ["09:00", "17:00"], "sunday": None},
                "outside_hours": "hand_over",
                "texts": {"try_later": {"en": "Oops", "any": "…"}},
                "people": {"keywords": ["human"], "give_back_after_hours": 1.5},
                "speech": {"language": "auto", "prompt": "At Joe's:", "hot_words": ["flat white"]},
                "http_tools": [
                    {
                        "name": "order",
                        "description": "An order.",
                        "url": "https://shop.example/{id}",
                        "headers": {"Authorization": "Bearer {secret:shop}"},
                    }
                ],
            }
        )
        owner = an_owner(assistant=assistant, retention_days=30)
        await store.owners.save(owner)
        assert await store.owners.get("o1") == owner
        assert await store.owners.list_all() == [owner]


class TestContacts:
    async def test_language_and_time_zone_are_kept(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=2)
        profile = {"contact_language": "pt", "contact_timezone": "Europe/Lisbon"}
        first = a_turn(conversation, stored[:1], turn_id="t1", replies=(), **profile)
        assert await store.conversations.commit_turn(first)
        nothing_new = a_turn(conversation, stored[1:], turn_id="t2", replies=())
        assert await store.conversations.commit_turn(nothing_new)
        again, _ = await store.begin(messages=2)
        assert (again.contact.language, again.contact.timezone) == ("pt", "Europe/Lisbon")


def a_note(note_id: str, **fields: object) -> NewNote:
    return NewNote.model_validate(
        {
            "id": note_id,
            "destination": "webhook",
            "target": "https://crm.example/hook",
            "content": {"reason": "asked"},
            **fields,
        }
    )


class TestNotes:
    async def test_a_hand_over_leaves_notes_until_they_are_settled(self, store: Store) -> None:
        conversation, stored = await store.begin()
        notes = (a_note("n1"), a_note("n2", destination="message", target="+1555"))
        assert await store.conversations.commit_turn(
            a_turn(conversation, stored, hand_over=True, notes=notes)
        )
        first, second = sorted(
            await store.notes.take_due(limit=10, lease_s=60), key=lambda note: note.id
        )
        assert (first.content, first.attempts, first.owner_id) == ({"reason": "asked"}, 0, "o1")
        assert (second.target, second.sender, second.account_sid) == ("+1555", NUMBER, "AC1")
        assert second.channel == "whatsapp"
        assert await store.notes.take_due(limit=10, lease_s=60) == [], "somebody has them"
        await store.notes.retry("n1", delay_s=0, error="refused")
        await store.notes.settle("n2")
        (again,) = await store.notes.take_due(limit=10, lease_s=0)
        assert (again.id, again.attempts) == ("n1", 1)
        await store.notes.retry("n1", delay_s=0, error="not its turn yet", counted=False)
        (again,) = await store.notes.take_due(limit=10, lease_s=0)
        assert (again.id, again.attempts) == ("n1", 1)
        await store.notes.settle("n1", error="given up")
        assert await store.notes.take_due(limit=10, lease_s=0) == []

    async def test_one_that_was_not_delivered_is_done(self, store: Store) -> None:
        conversation, stored = await store.begin()
        notes = (a_note("n1"), a_note("n2"))
        await store.conversations.commit_turn(
            a_turn(conversation, stored, hand_over=True, notes=notes)
        )
        lost = {"account_sid": "AC1", "error": "not delivered: 63016"}
        await store.notes.settle("n1")
        assert await store.notes.not_delivered("n1", **lost)
        assert await store.notes.not_delivered("n2", **lost), "its report was quicker"
        assert await store.notes.take_due(limit=10, lease_s=0) == []
        assert not await store.notes.not_delivered("reply", **lost)
        assert not await store.notes.not_delivered("n1", account_sid="AC2", error="another's")

    async def test_without_a_hand_over_there_are_none(self, store: Store) -> None:
        conversation, stored = await store.begin()
        assert await store.conversations.commit_turn(
            a_turn(conversation, stored, notes=(a_note("n1"),))
        )
        assert await store.notes.take_due(limit=10, lease_s=60) == []
