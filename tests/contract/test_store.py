"""What every store promises of accounts, owners and conversations, the fakes included."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from models.accounts import Addressee, Assistant, Document, PhoneNumber, Plan
from models.conversations import BookingRequest, HistoryEntry, NewNote, StepTiming
from models.errors import PermanentError
from models.inference import ChatUsage, ToolCall
from models.messages import DeliveryStatus, MediaRef
from tests.contract.store_samples import (
    CONTACT,
    NUMBER,
    RECEIVED,
    Store,
    a_message,
    a_reply,
    a_report,
    a_turn,
    an_account,
    an_owner,
)


class TestAccounts:
    async def test_round_trip(self, store: Store) -> None:
        account = an_account(
            secondary_token=SecretStr("secondary"),
            messaging_service_sid="MG1",
            active=False,
            debounce_s=0.0,
        )
        await store.owners.save(an_owner())
        await store.accounts.save(account)

        assert await store.accounts.by_sid("AC1") == account
        assert await store.accounts.by_sid("AC2") is None

    async def test_save_again_replaces(self, store: Store) -> None:
        await store.owners.save(an_owner())
        await store.accounts.save(an_account(secondary_token=SecretStr("old")))
        newer = an_account(auth_token=SecretStr("new"), phone_numbers=())
        await store.accounts.save(newer)

        assert await store.accounts.by_sid("AC1") == newer
        assert await store.accounts.find(account_sid="AC1", address=NUMBER) is None

    async def test_found_by_number(self, store: Store) -> None:
        await store.owners.save(an_owner())
        await store.owners.save(an_owner(id="o2"))
        await store.accounts.save(an_account())
        other = an_account(
            id="a2", owner_id="o2", phone_numbers=(PhoneNumber(address="whatsapp:+2"),)
        )
        await store.accounts.save(other)

        assert await store.accounts.find(account_sid="AC1", address="whatsapp:+2") == other
        assert await store.accounts.find(account_sid="AC1", address=NUMBER) == an_account()
        assert await store.accounts.find(account_sid="AC9", address=NUMBER) is None
        assert await store.accounts.find(account_sid="AC1", address="whatsapp:+") is None

    async def test_found_by_messaging_service(self, store: Store) -> None:
        await store.owners.save(an_owner())
        account = an_account(messaging_service_sid="MG1")
        await store.accounts.save(account)

        async def find(sid: str, service: str | None) -> object:
            return await store.accounts.find(
                account_sid=sid, address="+9", messaging_service_sid=service
            )

        assert await find("AC1", "MG1") == account
        assert await find("AC1", "MG2") is None
        assert await find("AC1", None) is None
        assert await find("AC2", "MG1") is None, "another account may not name our service"

    async def test_whom_a_message_is_to(self, store: Store) -> None:
        for owner_id, number in (("o1", NUMBER), ("o2", "whatsapp:+2")):
            await store.owners.save(an_owner(id=owner_id, plan=Plan(code=f"plan-{owner_id}")))
            account = an_account(
                id=f"a-{owner_id}",
                owner_id=owner_id,
                phone_numbers=(PhoneNumber(address=number),),
                messaging_service_sid=f"MG-{owner_id}",
                active=owner_id == "o1",
            )
            await store.accounts.save(account)
        await store.documents.save("o2", Document(title="Parking", text="Behind the house."))

        async def addressee(address: str, service: str | None = None) -> Addressee | None:
            return await store.accounts.addressee(
                account_sid="AC1", address=address, messaging_service_sid=service
            )

        for address, service, owner_id in (
            (NUMBER, None, "o1"),
            ("whatsapp:+2", "MG-o1", "o2"),
            ("+9", "MG-o2", "o2"),
        ):
            found = await addressee(address, service)
            assert found is not None
            assert found.account == await store.accounts.find(
                account_sid="AC1", address=address, messaging_service_sid=service
            )
            assert found.owner == await store.owners.get(owner_id)
            assert found.has_documents == (owner_id == "o2")
        assert await addressee("+9") is None
        assert await addressee("+9", "MG-other") is None

    async def test_what_a_conversation_is_answered_through(self, store: Store) -> None:
        for owner_id in ("o1", "o2"):
            await store.owners.save(an_owner(id=owner_id))
            services = {"phone_numbers": (), "messaging_service_sid": f"MG-{owner_id}"}
            await store.accounts.save(an_account(id=f"a-{owner_id}", owner_id=owner_id, **services))

        async def answering(account_id: str, sid: str = "AC1") -> str | None:
            found = await store.accounts.answering(account_id, account_sid=sid, address=NUMBER)
            return None if found is None else found.id

        assert await answering("a-o2") == "a-o2"
        assert await answering("a-o2", "AC2") is None, "it is of another account at the provider"
        assert await answering("gone") is None
        # Its account ends, and the number goes to another one.
        ended = an_account(id="a-o2", owner_id="o2", active=False, messaging_service_sid="MG-o2")
        await store.accounts.save(ended)
        assert await answering("a-o2") == "a-o2"
        await store.accounts.save(an_account(id="a-new", owner_id="o2"))
        assert await answering("a-o2") == "a-new"
        assert await answering("a-o1") == "a-o1", "who still has an account keeps it"

    async def test_replies_and_notes_know_their_account(self, store: Store) -> None:
        await store.owners.save(an_owner())
        account = an_account(phone_numbers=(), messaging_service_sid="MG1")
        await store.accounts.save(account)
        conversation, stored = await store.conversations.record(
            [a_message("SM1")], owner_id="o1", account=account
        )
        note = NewNote(id="n1", destination="message", target="+1555", content={})
        turn = a_turn(conversation, stored, hand_over=True, notes=(note,))
        assert await store.conversations.commit_turn(turn)
        reply = await store.replies.mark_sending("reply")
        assert reply is not None
        assert reply.account_id == "a1"
        assert await store.replies.get("reply") == reply
        to_send = await store.accounts.to_send("reply")
        assert to_send is not None
        assert (to_send.reply, to_send.account) == (reply, account)
        assert await store.accounts.to_send("unknown") is None
        (due,) = await store.notes.take_due(limit=1, lease_s=60)
        assert due.account_id == "a1"
        report = a_report(DeliveryStatus.FAILED, reply_id="reply")
        reported = await store.replies.apply_status(report)
        assert reported is not None
        assert reported.account_id == "a1"
        await store.accounts.save(account.model_copy(update={"account_sid": "AC2"}))
        to_send = await store.accounts.to_send("reply")
        assert to_send is not None
        assert to_send.account is None

    async def test_active_before_inactive(self, store: Store) -> None:
        await store.owners.save(an_owner())
        await store.accounts.save(an_account(id="retired", active=False))
        current = an_account(id="current")
        await store.accounts.save(current)

        assert await store.accounts.by_sid("AC1") == current
        assert await store.accounts.find(account_sid="AC1", address=NUMBER) == current


class TestOwners:
    async def test_round_trip(self, store: Store) -> None:
        await store.owners.save(an_owner())
        assert await store.owners.get("o1") == an_owner()
        assert await store.owners.get("o2") is None

    async def test_save_again_replaces(self, store: Store) -> None:
        await store.owners.save(an_owner())
        changed = an_owner(
            name="Aurora",
            language="en",
            timezone="UTC",
            plan=Plan(code="pro", active=False, monthly_messages=None),
            assistant=Assistant(),
        )
        await store.owners.save(changed)
        assert await store.owners.get("o1") == changed

    async def test_a_plan_is_shared(self, store: Store) -> None:
        await store.owners.save(an_owner())
        ended = Plan(code="basic", active=False)
        await store.owners.save(an_owner(id="o2", plan=ended))

        owner = await store.owners.get("o1")
        assert owner is not None
        assert owner.plan == ended

    async def test_unknown_time_zone(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            await store.owners.save(an_owner(timezone="Mars/Olympus"))
        assert await store.owners.get("o1") is None

    async def test_bookings(self, store: Store) -> None:
        conversation, _ = await store.begin()
        request = BookingRequest(
            owner_id="o1", conversation_id=conversation.id, people=4, day="Friday", time="20:30"
        )

        first = await store.owners.request_booking(request, key="turn:call-1")
        again = await store.owners.request_booking(request, key="turn:call-1")
        at_once = await asyncio.gather(
            *(store.owners.request_booking(request, key=f"k{n % 5}") for n in range(20))
        )

        assert again == first
        assert len(set(at_once)) == 5
        assert at_once == at_once[:5] * 4
        assert first not in at_once

    async def test_booking_of_nobody(self, store: Store) -> None:
        conversation, _ = await store.begin()
        request = BookingRequest(
            owner_id="nobody", conversation_id=conversation.id, people=1, day="d", time="t"
        )
        with pytest.raises(PermanentError):
            await store.owners.request_booking(request, key="k")


class TestRecord:
    async def test_what_is_recorded(self, store: Store) -> None:
        await store.owners.save(an_owner())
        await store.accounts.save(an_account())
        first = a_message("SM1", body="¿Abren hoy? 😀", profile_name="Ana")
        second = a_message(
            "SM2",
            kind="audio",
            media=(MediaRef(url="https://api.twilio.com/m", content_type="audio/ogg"),),
            received_at=RECEIVED + timedelta(seconds=2),
            extra={"WaId": "34600000001"},
        )

        conversation, stored = await store.conversations.record(
            [first, second], owner_id="o1", account=an_account()
        )

        assert [message.message for message in stored] == [first, second]
        assert [message.turn_id for message in stored] == [None, None]
        assert len({message.id for message in stored}) == 2
        assert (conversation.owner_id, conversation.account_id) == ("o1", "a1")
        assert (conversation.recipient, conversation.human) == (NUMBER, False)
        assert conversation.last_inbound_at == RECEIVED + timedelta(seconds=2)
        contact = conversation.contact
        assert (contact.owner_id, contact.channel, contact.key) == ("o1", "whatsapp", CONTACT)
        assert (contact.address, contact.profile_name) == (CONTACT, "Ana")

    async def test_idempotent(self, store: Store) -> None:
        before = await store.begin(messages=3)
        again = await store.begin(messages=3)
        at_once = await asyncio.gather(*(store.begin(messages=3) for _ in range(5)))

        assert again == before
        assert all(result == before for result in at_once)

    async def test_tries_that_begin_at_once_find_the_same(self, store: Store) -> None:
        await store.owners.save(an_owner())
        await store.accounts.save(an_account())
        messages = [a_message(f"SM{number}") for number in range(3)]
        first, *others = await asyncio.gather(
            *(
                store.conversations.record(messages, owner_id="o1", account=an_account())
                for _ in range(8)
            )
        )
        assert [stored.message for stored in first[1]] == messages
        assert all(other == first for other in others)

    async def test_order_is_the_callers(self, store: Store) -> None:
        _, stored = await store.begin(messages=3)
        messages = [message.message for message in stored]
        _, again = await store.conversations.record(
            [messages[2], a_message("new"), messages[0], messages[2]],
            owner_id="o1",
            account=an_account(id="a-o1"),
        )
        assert [m.message.message_id for m in again] == ["SM2", "new", "SM0"]

    async def test_an_older_message_keeps_the_newer_time(self, store: Store) -> None:
        conversation, _ = await store.begin()
        older = a_message("SMolder", received_at=RECEIVED - timedelta(hours=1))
        again, _ = await store.conversations.record(
            [older], owner_id="o1", account=an_account(id="a-o1")
        )
        assert again == conversation

    async def test_conversations_are_apart(self, store: Store) -> None:
        one, _ = await store.begin()
        account = an_account(id="a-o1")
        ids = {one.id}
        for number, other in enumerate(
            (
                a_message("SMa", sender="whatsapp:+9", contact_key="whatsapp:+9"),
                a_message("SMb", recipient="+15550001111"),
                a_message("SMc", channel="sms"),
            ),
            start=2,
        ):
            conversation, _ = await store.conversations.record(
                [other], owner_id="o1", account=account
            )
            ids.add(conversation.id)
            assert len(ids) == number

    async def test_profile_name_is_kept(self, store: Store) -> None:
        await store.begin()
        account = an_account(id="a-o1")
        for message in (a_message("SMa", profile_name="Ana"), a_message("SMb")):
            conversation, _ = await store.conversations.record(
                [message], owner_id="o1", account=account
            )
            assert conversation.contact.profile_name == "Ana"

    async def test_one_conversation_at_a_time(self, store: Store) -> None:
        await store.begin()
        mixed = [a_message("SMa"), a_message("SMb", contact_key="another")]
        for messages in (mixed, []):
            with pytest.raises(PermanentError):
                await store.conversations.record(
                    messages, owner_id="o1", account=an_account(id="a-o1")
                )

    async def test_transcript(self, store: Store) -> None:
        _, [stored] = await store.begin()
        await store.conversations.save_transcript(
            stored.id, text="Hola", language="es", audio_seconds=2.5
        )
        _, [again] = await store.begin()

        assert (again.transcript, again.transcript_language) == ("Hola", "es")
        assert again.audio_seconds == 2.5


class TestTurns:
    async def test_all_is_written(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=2)
        outcome = a_turn(
            conversation,
            stored,
            replies=(a_reply("r2", 1, "second"), a_reply("r1", 0, "first")),
            hand_over=True,
            contact_language="es",
            timings=(StepTiming(step="agent", started_s=0.5, seconds=1.25),),
            trace={"traceparent": "00-1"},
        )

        committed = await store.conversations.commit_turn(outcome)

        again, messages = await store.begin(messages=2)
        assert [message.turn_id for message in messages] == ["turn", "turn"]
        assert again.human
        assert again.contact.language == "es"
        assert await store.conversations.is_human(conversation.id)
        replies = await store.replies.for_turns(["turn"])
        assert [(r.id, r.position, r.body) for r in replies] == [
            ("r1", 0, "first"),
            ("r2", 1, "second"),
        ]
        assert committed is not None
        assert list(committed.replies) == replies, "so that nobody has to read them again"
        reply = replies[0]
        assert reply.conversation_id == conversation.id
        assert reply.conversation_key == stored[0].message.conversation_key
        assert (reply.channel, reply.account_sid) == ("whatsapp", "AC1")
        assert (reply.sender, reply.recipient) == (NUMBER, CONTACT)
        assert (reply.status, reply.delivery, reply.trace) == (
            "pending",
            None,
            {"traceparent": "00-1"},
        )
        progress = await store.conversations.progress(account_sid="AC1", message_id="SM1")
        assert progress is not None
        assert progress.turn_id == "turn"
        assert progress.timings == outcome.timings
        assert list(progress.replies) == replies

    async def test_exactly_one_of_many_tries(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=3)
        results = await asyncio.gather(
            *(
                store.conversations.commit_turn(
                    a_turn(
                        conversation,
                        stored,
                        turn_id=f"turn{n}",
                        replies=(a_reply(f"reply{n}", 0, str(n)),),
                        usage=ChatUsage(prompt_tokens=10, completion_tokens=1),
                    )
                )
                for n in range(12)
            )
        )

        (winner,) = [f"turn{n}" for n, committed in enumerate(results) if committed]
        _, messages = await store.begin(messages=3)
        assert {message.turn_id for message in messages} == {winner}
        replies = await store.replies.for_turns([f"turn{n}" for n in range(12)])
        assert [reply.turn_id for reply in replies] == [winner]
        assert len(await store.conversations.history(conversation.id, limit=100)) == 2
        assert await store.owners.messages_this_month("o1") == 1

    async def test_the_same_turn_again(self, store: Store) -> None:
        conversation, stored = await store.begin()
        outcome = a_turn(conversation, stored)

        assert await store.conversations.commit_turn(outcome)
        assert not await store.conversations.commit_turn(outcome)
        empty = outcome.model_copy(update={"message_ids": ()})
        assert not await store.conversations.commit_turn(empty)
        assert await store.owners.messages_this_month("o1") == 1

    async def test_partly_answered_writes_nothing(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=3)
        assert await store.conversations.commit_turn(
            a_turn(conversation, stored[:1], turn_id="t1", replies=(a_reply("r1", 0, "1"),))
        )

        late = a_turn(
            conversation,
            stored,
            turn_id="t2",
            replies=(a_reply("r2", 0, "2"),),
            hand_over=True,
            contact_language="fr",
        )
        assert not await store.conversations.commit_turn(late)

        again, messages = await store.begin(messages=3)
        assert [message.turn_id for message in messages] == ["t1", None, None]
        assert (again.human, again.contact.language) == (False, None)
        assert await store.replies.get("r2") is None
        assert len(await store.conversations.history(conversation.id, limit=100)) == 2
        assert await store.owners.messages_this_month("o1") == 1

    async def test_unknown_message(self, store: Store) -> None:
        conversation, stored = await store.begin()
        outcome = a_turn(conversation, stored, message_ids=(stored[0].id, "unknown"))

        assert not await store.conversations.commit_turn(outcome)
        _, [message] = await store.begin()
        assert message.turn_id is None

    async def test_unknown_conversation(self, store: Store) -> None:
        conversation, stored = await store.begin()
        outcome = a_turn(conversation, stored, conversation_id="unknown")

        with pytest.raises(PermanentError):
            await store.conversations.commit_turn(outcome)
        assert not await store.conversations.is_human("unknown")

    async def test_a_person_takes_over_and_gives_back(self, store: Store) -> None:
        conversation, _ = await store.begin()
        assert await store.conversations.with_people(limit=10) == []

        assert await store.conversations.set_human(conversation.id, human=True)
        taken = conversation.model_copy(update={"human": True, "takeovers": 1})
        assert await store.conversations.with_people(limit=10) == [taken]
        assert await store.conversations.with_people(limit=0) == []

        assert await store.conversations.set_human(conversation.id, human=False)
        assert not await store.conversations.is_human(conversation.id)
        assert await store.conversations.with_people(limit=10) == []
        assert not await store.conversations.set_human("unknown", human=True)

    async def test_human_stays(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=2)
        for number, hand_over in enumerate((True, False)):
            await store.conversations.commit_turn(
                a_turn(
                    conversation,
                    [stored[number]],
                    turn_id=f"t{number}",
                    replies=(),
                    hand_over=hand_over,
                )
            )
        assert await store.conversations.is_human(conversation.id)


class TestHistory:
    async def test_round_trip_in_order(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=2)
        first = (
            HistoryEntry(role="user", content="open?"),
            HistoryEntry(
                role="assistant",
                tool_calls=(ToolCall(id="c1", name="hours", arguments={"day": "mon", "n": [1]}),),
            ),
            HistoryEntry(role="tool", content="9-18", tool_call_id="c1", name="hours"),
            HistoryEntry(role="assistant", content="Yes 😀"),
        )
        second = (
            HistoryEntry(role="user", content="thanks"),
            HistoryEntry(role="assistant", content=":)"),
        )
        for number, entries in enumerate((first, second)):
            await store.conversations.commit_turn(
                a_turn(
                    conversation,
                    [stored[number]],
                    turn_id=f"t{number}",
                    replies=(),
                    entries=entries,
                )
            )

        async def history(limit: int) -> tuple[HistoryEntry, ...]:
            return tuple(await store.conversations.history(conversation.id, limit=limit))

        assert await history(100) == first + second
        assert await history(6) == first + second
        for cut in (5, 4, 3, 2):
            assert await history(cut) == second, "never an answer without its question"
        assert await history(1) == ()
        assert await history(0) == ()

    async def test_of_nobody(self, store: Store) -> None:
        assert await store.conversations.history("unknown", limit=10) == []


class TestUsage:
    async def test_month_is_the_owners(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=3)
        in_madrid_already_april = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
        for number, at in enumerate(
            (
                datetime(2026, 3, 31, 21, 30, tzinfo=UTC),
                in_madrid_already_april,
                datetime(2026, 4, 30, 21, 59, tzinfo=UTC),
            )
        ):
            store.clock.at = at
            await store.conversations.commit_turn(
                a_turn(
                    conversation,
                    [stored[number]],
                    turn_id=f"t{number}",
                    replies=(a_reply(f"r{number}", 0, "."),),
                )
            )

        counts: list[int] = []
        for at in (
            datetime(2026, 3, 1, tzinfo=UTC),
            in_madrid_already_april,
            datetime(2026, 4, 30, 22, 0, tzinfo=UTC),
        ):
            store.clock.at = at
            counts.append(await store.owners.messages_this_month("o1"))
        assert counts == [1, 2, 0]
        assert await store.owners.messages_this_month("nobody") == 0

    async def test_only_answered_turns_count(self, store: Store) -> None:
        conversation, stored = await store.begin()
        await store.conversations.commit_turn(
            a_turn(conversation, stored, turn_id="silent", replies=())
        )
        await store.conversations.commit_turn(
            a_turn(conversation, [], turn_id="apology", replies=(a_reply("sorry", 0, "Sorry"),))
        )
        assert await store.owners.messages_this_month("o1") == 0

    async def test_concurrent_turns_all_count(self, store: Store) -> None:
        conversation, stored = await store.begin(messages=10)
        results = await asyncio.gather(
            *(
                store.conversations.commit_turn(
                    a_turn(
                        conversation,
                        [message],
                        turn_id=f"t{number}",
                        replies=(a_reply(f"r{number}", 0, "."),),
                    )
                )
                for number, message in enumerate(stored)
            )
        )
        assert all(results)
        assert await store.owners.messages_this_month("o1") == 10


class TestProgress:
    async def test_before_the_turn(self, store: Store) -> None:
        _, [stored] = await store.begin()
        await store.conversations.save_transcript(
            stored.id, text="Hola", language="es", audio_seconds=1.0
        )
        progress = await store.conversations.progress(account_sid="AC1", message_id="SM0")

        assert progress is not None
        assert (progress.message_id, progress.received_at) == ("SM0", RECEIVED)
        assert (progress.transcript, progress.turn_id) == ("Hola", None)
        assert (progress.timings, progress.replies) == ((), ())

    async def test_unknown(self, store: Store) -> None:
        await store.begin()
        assert await store.conversations.progress(account_sid="AC1", message_id="x") is None
        assert await store.conversations.progress(account_sid="AC2", message_id="SM0") is None


async def test_which_messages_are_answered(store: Store) -> None:
    conversation, stored = await store.begin(messages=3)
    assert await store.conversations.commit_turn(a_turn(conversation, stored[:2], turn_id="t"))

    written = stored[0].message

    async def answered(**other: str) -> set[str]:
        by = {"channel": written.channel, "account_sid": written.account_id, **other}
        return await store.conversations.answered(
            channel=by["channel"],
            account_sid=by["account_sid"],
            message_ids=["SM0", "SM1", "SM2", "SM9"],
        )

    assert await answered() == {"SM0", "SM1"}
    assert await answered(channel="other") == set()
    assert await answered(account_sid="AC2") == set()
