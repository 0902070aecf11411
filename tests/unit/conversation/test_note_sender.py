"""Notes to owners: signed, tried again, given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

import httpx
import pytest
from pydantic import SecretStr

from models.errors import PermanentError
from serve_app.conversation.note_sender import NoteSender, signature
from serve_app.network import GuardedHttp
from serve_app.settings import NoteSettings
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
        self.asked: list[httpx.Request] = []
        self._statuses = list(statuses)
        self.sender = NoteSender(
            notes=on.store.notes,
            owners=on.store.owners,
            secrets=on.store.secrets,
            accounts=on.store.accounts,
            channels={on.channel.name: on.channel},
            http=GuardedHttp(
                client=httpx.AsyncClient(transport=httpx.MockTransport(self._answer)),
                hosts=["crm.example"],
                resolver=_public,
            ),
            clock=on.clock,
            settings=NoteSettings(max_attempts=3, backoff_base_s=10, backoff_cap_s=15),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self._statuses.pop(0))

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
