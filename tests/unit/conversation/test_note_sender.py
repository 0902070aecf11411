"""Notes to owners: signed, tried again, given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

import httpx2
import pytest
from pydantic import SecretStr

from models.accounts import SendingRules, TwilioAccount
from models.conversations import Note
from models.errors import PermanentError, SendDeferredError
from models.messages import Fault
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.note_messages import NoteMessages, ends_of
from serve_app.conversation.note_sender import NoteSender, signature
from serve_app.delivery.lanes import lane_between
from serve_app.network import GuardedHttp
from serve_app.ports import SendLane
from serve_app.settings import NoteSettings, SenderSettings
from serve_app.testing.rates import MemorySendRates
from tests.unit.conversation import stage
from tests.unit.conversation.stage import Stage

PEOPLE = {
    "keywords": ["human"],
    "notify_url": "https://crm.example/hook",
    "notify_number": "+15559990000",
}


async def _public(host: str, port: int) -> Sequence[str]:
    return ["93.184.216.34"]


class Desk:
    """A conversation that was handed over, and somebody to be told."""

    def __init__(self, on: Stage, statuses: Sequence[int]) -> None:
        self.on = on
        self.asked: list[httpx2.Request] = []
        self._statuses = list(statuses)
        self.rates = MemorySendRates(on.clock)
        self.answer_headers: dict[str, str] = {}
        self.sender = NoteSender(
            notes=on.store.notes,
            owners=on.store.owners,
            secrets=on.store.secrets,
            messages=NoteMessages(
                accounts=on.store.accounts,
                consents=on.store.consents,
                channels={on.channel.name: on.channel},
                rates=self.rates,
                lane_of=self._lane,
                owners=on.store.owners,
                texts=TextCatalogue.load(),
            ),
            http=GuardedHttp(
                client=httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer)),
                hosts=["crm.example"],
                resolver=_public,
            ),
            clock=on.clock,
            settings=NoteSettings(max_attempts=3, backoff_base_s=10, backoff_cap_s=15),
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return httpx2.Response(self._statuses.pop(0), headers=self.answer_headers)

    def _lane(self, account: TwilioAccount, *, sender: str, recipient: str) -> SendLane:
        return lane_between(account, SenderSettings(), sender=sender, recipient=recipient)

    def attempts(self, destination: str) -> int:
        (found,) = [
            stored.note.attempts
            for stored in self.on.store.tables.notes.values()
            if stored.note.destination == destination
        ]
        return found

    def state(self, destination: str) -> tuple[bool, str | None]:
        (found,) = [
            stored
            for stored in self.on.store.tables.notes.values()
            if stored.note.destination == destination
        ]
        return found.done, found.error


async def desk(*statuses: int, secret: str | None = "shared", **people: object) -> Desk:
    on = await stage.build_stage(of=stage.owner(people={**PEOPLE, **people}))
    if secret is not None:
        await on.store.secrets.save("owner-1", "notify", SecretStr(secret))
    await on.turn(stage.message(1, "A human, please", profile_name="Ana"))
    return Desk(on, statuses)


async def test_a_webhook_is_signed_and_a_message_sent() -> None:
    at = await desk(204)
    assert await at.sender.send_due() == 2
    assert at.state("webhook") == (True, None)
    (request,) = at.asked
    note_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    signed = f"{note_id}.{timestamp}.".encode() + request.content
    expected = base64.b64encode(hmac.digest(b"shared", signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert int(timestamp) == int(at.on.clock.now().timestamp())
    document = json.loads(request.content)
    assert document["type"] == "conversation.handed_over"
    assert document["data"]["reason"] == "keyword: human"
    (sent,) = at.on.channel.attempts
    assert (sent.recipient, sent.sender) == (
        "+15559990000",
        stage.BUSINESS.removeprefix("whatsapp:"),
    )
    assert sent.body == (
        f"Ana {stage.CONTACT} would like to talk to a person.\n"
        "Reason: keyword: human\nLast message: A human, please"
    )
    assert await at.sender.send_due() == 0


async def test_the_owners_people_are_told_in_the_owners_language() -> None:
    at = await desk(notify_url=None)
    own = {"note_reason": {"any": "Porquê: {reason}"}}
    there = await at.on.store.owners.get("owner-1")
    assert there is not None
    assistant = there.assistant.model_copy(update={"texts": own})
    changed = there.model_copy(update={"language": "pt", "assistant": assistant})
    await at.on.store.owners.save(changed)
    await at.sender.send_due()
    (sent,) = at.on.channel.attempts
    assert sent.body == (
        f"Ana {stage.CONTACT} gostaria de falar com uma pessoa.\n"
        "Porquê: keyword: human\nÚltima mensagem: A human, please"
    )


async def test_a_webhook_that_fails_is_tried_again_later_under_the_same_id() -> None:
    at = await desk(500, 200, notify_number=None)
    await at.sender.send_due()
    assert at.state("webhook")[0] is False
    assert await at.sender.send_due() == 0, "not yet"
    at.on.clock.advance(10)
    assert await at.sender.send_due() == 1
    assert at.state("webhook") == (True, None)
    assert len({request.headers["webhook-id"] for request in at.asked}) == 1


async def test_it_is_given_up_after_so_many_tries() -> None:
    at = await desk(500, 503, 429, notify_number=None)
    for _ in range(4):
        await at.sender.send_due()
        at.on.clock.advance(60)
    assert len(at.asked) == 3
    assert at.state("webhook") == (True, "the webhook was answered 429")


async def test_a_receiver_that_is_gone_and_a_missing_secret_are_final() -> None:
    at = await desk(410, notify_number=None)
    await at.sender.send_due()
    assert at.state("webhook")[0]
    at = await desk(secret=None, notify_number=None)
    await at.sender.send_due()
    done, error = at.state("webhook")
    assert done
    assert "recado owners secret owner-1 notify" in (error or "")
    assert at.asked == []


@pytest.mark.parametrize("asked", ["315360000", "9" * 30, "1e9"])
async def test_a_receiver_that_asks_for_years_gets_no_more_than_the_longest_pause(
    asked: str,
) -> None:
    at = await desk(503, 200, notify_number=None)
    at.answer_headers = {"Retry-After": asked}
    await at.sender.send_due()
    at.on.clock.advance(15)
    assert await at.sender.send_due() == 1
    assert at.state("webhook") == (True, None)


NUMBER_ONLY = {"notify_url": None}


async def test_a_number_that_has_opted_out_is_told_nothing() -> None:
    at = await desk(**NUMBER_ONLY)
    stop = stage.message(2, "STOP", sender="+15559990000", contact_key="+15559990000")
    assert await at.on.store.consents.apply(stop, stop=True) is not None
    await at.sender.send_due()
    done, error = at.state("message")
    assert done
    assert "opted out" in (error or "")
    assert at.on.channel.attempts == []


async def test_a_note_waits_for_its_senders_turn_and_that_is_no_try() -> None:
    at = await desk(**NUMBER_ONLY)
    rules = SendingRules(per_second=0.1, burst=3)
    await at.on.store.accounts.save(stage.account(sending=rules))
    lane = lane_between(
        stage.account(sending=rules),
        SenderSettings(),
        sender=stage.BUSINESS.removeprefix("whatsapp:"),
        recipient="+15551112222",
    )
    assert await at.rates.acquire(lane, "a reply", cost=3) == 0
    for _ in range(10):
        await at.sender.send_due()
        assert (at.state("message")[0], at.attempts("message")) == (False, 0)
        at.on.clock.advance(1)
    at.on.clock.advance(20)
    await at.sender.send_due()
    assert at.state("message") == (True, None)


async def test_a_sender_that_was_too_fast_is_slowed_down_for_replies_too() -> None:
    at = await desk(**NUMBER_ONLY)
    for _ in range(5):
        slow = SendDeferredError("429", retry_after=7, fault=Fault.SLOW_DOWN)
        at.on.channel.fail_next(slow)
        await at.sender.send_due()
        at.on.clock.advance(60)
    assert at.rates.slowed == [7.0] * 5
    assert at.state("message")[0] is False
    await at.sender.send_due()
    assert at.state("message") == (True, None)


@pytest.mark.parametrize(
    ("channel", "target", "ends"),
    [
        ("twilio", "+34600000001", ("+1555", "+34600000001")),
        ("twilio", "whatsapp:+34600000001", ("whatsapp:+1555", "whatsapp:+34600000001")),
        ("whatsapp_cloud", "+34600000001", ("1065", "34600000001")),
        ("whatsapp_cloud", "whatsapp:+34600000001", ("1065", "34600000001")),
        ("whatsapp_cloud", "34600000001", ("1065", "34600000001")),
    ],
)
def test_the_number_is_written_as_its_channel_does(
    channel: str, target: str, ends: tuple[str, str]
) -> None:
    note = Note(
        id="n",
        destination="message",
        target=target,
        content={},
        owner_id="o",
        conversation_id="c",
        account_id="a",
        account_sid="1",
        channel=channel,
        sender="1065" if channel == "whatsapp_cloud" else "whatsapp:+1555",
        created_at=stage.NOON,
    )
    assert ends_of(note) == ends


def test_the_vector_of_the_specification() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, libraries' shared test vector.
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(
        secret,
        note_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(PermanentError):
        signature(SecretStr("whsec_%%%"), note_id="a", timestamp=1, body=b"")
