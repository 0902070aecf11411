"""What the webhooks accept, refuse and keep."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from structlog.typing import EventDict

from models.jobs import DeadReason
from models.messages import DeliveryStatus, StatusUpdate
from tests.unit.api.door import (
    INBOUND,
    STATUS,
    Door,
    open_door,
    signed,
    text_message,
    with_token,
)
from tests.unit.conversation.stage import ACCOUNT_SID, BUSINESS, CONTACT


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with open_door() as opened:
        yield opened


def is_accepted(answer: httpx2.Response) -> bool:
    return (
        answer.status_code == 200
        and answer.headers["content-type"].startswith("text/xml")
        and answer.text.endswith("<Response/>")
    )


# --- accepted -------------------------------------------------------------------------------------


async def test_a_message_is_on_the_queue(door: Door) -> None:
    assert is_accepted(await door.post(text_message(1, ProfileName="Ana")))
    (job,) = await door.jobs()
    assert job.id == f"twilio:{ACCOUNT_SID}:SM{1:032d}"
    assert job.trace["message_id"] == f"SM{1:032d}"
    assert job.trace["correlation_id"]
    await door.post(text_message(2))


async def test_owners_that_share_an_account_have_lines_of_their_own(door: Door) -> None:
    await door.post(text_message(1))
    await door.post(text_message(2, To="whatsapp:+15557770000"))
    await door.inbound.promote()
    claims = await door.inbound.take(consumer="test", count=2, block_s=0)
    (owned,) = await door.store.accounts.list_all()
    keys = [claim.jobs[0].fairness_key for claim in claims]
    assert keys == [owned.owner_id, "whatsapp:+15557770000"]


async def test_its_words_arrive_as_they_were_written(door: Door) -> None:
    await door.post(text_message(1))
    (message,) = await door.messages()
    assert message.body == "Hello & welcome: ¿qué tal? +1"
    assert (message.sender, message.recipient) == (CONTACT, BUSINESS)
    assert message.received_at.tzinfo is not None


async def test_a_message_posted_five_times_is_one(door: Door) -> None:
    for _ in range(5):
        assert is_accepted(await door.post(text_message(1)))
    assert len(await door.jobs()) == 1


async def test_a_burst_waits_for_its_end() -> None:
    async with open_door(debounce_s=2.0) as door:
        await door.post(text_message(1))
        assert await door.inbound.promote() == 0
        assert (await door.inbound.backlog()).delayed == 1
        assert len(await door.jobs()) == 1


async def test_blank_values_and_repeated_parameters_are_part_of_the_signature(door: Door) -> None:
    params = [*text_message(1), ("FromCity", ""), ("Extra", "b"), ("Extra", "a"), ("Empty", "")]
    assert is_accepted(await door.post(params))
    without_blanks = [p for p in params if p[1]]
    wrong = signed(INBOUND, without_blanks)
    assert (await door.post(params, signature=wrong)).status_code == 403
    assert len(await door.jobs()) == 1


async def test_an_empty_body_is_a_message_too(door: Door) -> None:
    assert is_accepted(await door.post(text_message(1, Body="")))
    assert (await door.messages())[0].body == ""


async def test_a_query_is_part_of_the_signed_address(door: Door) -> None:
    path = f"{INBOUND}?tenant=a%20b"
    assert is_accepted(await door.post(text_message(1), path=path))
    elsewhere = signed(INBOUND, text_message(2))
    assert (await door.post(text_message(2), path=path, signature=elsewhere)).status_code == 403


async def test_a_delivery_report_is_on_its_queue(door: Door) -> None:
    params = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM9"), ("MessageStatus", "delivered")]
    assert is_accepted(await door.post(params, path=f"{STATUS}?reply=reply-7"))
    (job,) = await door.jobs(door.status)
    update = StatusUpdate.model_validate_json(job.payload)
    assert (update.reply_id, update.status) == ("reply-7", DeliveryStatus.DELIVERED)
    assert await door.jobs() == []


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [INBOUND, STATUS])
@pytest.mark.parametrize("signature", ["", "bm90IGEgc2lnbmF0dXJl", "ünsinn"])
async def test_a_wrong_or_missing_signature_keeps_nothing(
    door: Door, path: str, signature: str
) -> None:
    answer = await door.post(text_message(1), path=path, signature=signature)
    assert answer.status_code == 403
    assert await door.is_empty()


async def test_a_changed_word_breaks_the_signature(door: Door) -> None:
    signature = signed(INBOUND, text_message(1))
    answer = await door.post(text_message(1, Body="Send money"), signature=signature)
    assert answer.status_code == 403
    assert await door.is_empty()


async def test_an_unknown_account_and_none_at_all(door: Door) -> None:
    for params in (text_message(1, AccountSid="AC" + "9" * 32), text_message(1)[1:], []):
        assert (await door.post(params)).status_code == 403
    assert await door.is_empty()


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "", "multipart/form-data"]
)
async def test_what_is_not_a_form(door: Door, content_type: str) -> None:
    answer = await door.http.post(INBOUND, content=b"{}", headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert await door.is_empty()


async def test_a_body_that_is_announced_too_large_is_not_read(door: Door) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"x"

    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(10**9),
    }
    answer = await door.http.post(INBOUND, content=body(), headers=headers)
    assert answer.status_code == 413
    assert await door.is_empty()


@pytest.mark.parametrize("announced", [None, "1", "²"])
async def test_a_body_that_turns_out_too_large_is_cut_off(
    door: Door, announced: str | None
) -> None:
    served = 0

    async def receive() -> dict[str, object]:
        nonlocal served
        served += 1
        return {"type": "http.request", "body": b"a=" + b"x" * 1022, "more_body": True}

    sent: list[dict[str, object]] = []

    async def send(event: dict[str, object]) -> None:
        sent.append(event)

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    if announced is not None:
        headers.append((b"content-length", announced.encode("latin-1")))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": INBOUND,
        "raw_path": INBOUND.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "server": ("10.0.0.7", 8000),
        "client": ("10.0.0.8", 1234),
    }
    await door.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert served == 5


async def test_a_contact_cannot_fill_the_form_with_fields(door: Door) -> None:
    many = [*text_message(1), *((f"k{n}", "v") for n in range(60))]
    assert (await door.post(many)).status_code == 400
    assert await door.is_empty()


async def test_bytes_that_are_no_text(door: Door) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await door.http.post(INBOUND, content=b"a=\xff\xfe", headers=headers)
    assert answer.status_code == 400


async def test_only_posts(door: Door) -> None:
    assert (await door.http.get(INBOUND)).status_code == 405


# --- signed, and not understood -------------------------------------------------------------------


async def test_what_is_not_understood_is_kept_for_a_person(door: Door) -> None:
    params = [("AccountSid", ACCOUNT_SID), ("Event", "something new")]
    for _ in range(2):
        assert is_accepted(await door.post(params))
    (letter,) = await door.inbound.dead()
    assert letter.reason is DeadReason.UNPROCESSABLE
    assert "something+new" in letter.job.payload
    assert letter.job.history[-1].error_type == "UnprocessableError"
    assert await door.jobs() == []


async def test_a_report_that_is_not_understood_is_kept_too(door: Door) -> None:
    params = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM9"), ("MessageStatus", "teleported")]
    assert is_accepted(await door.post(params, path=STATUS))
    (letter,) = await door.status.dead()
    assert letter.reason is DeadReason.UNPROCESSABLE


async def test_what_is_not_understood_survives_an_outage(door: Door) -> None:
    door.inbound.down = True
    assert is_accepted(await door.post([("AccountSid", ACCOUNT_SID), ("Event", "new")]))
    (spooled,) = door.store.tables.spool.values()
    assert "Event=new" in spooled.job.payload


# --- outages --------------------------------------------------------------------------------------


async def test_redis_down_goes_to_the_spool() -> None:
    async with open_door(debounce_s=1.5) as door:
        door.inbound.down = True
        assert is_accepted(await door.post(text_message(1)))
        (spooled,) = door.store.tables.spool.values()
        assert (spooled.queue, spooled.debounce_s) == ("inbound", 1.5)
        assert spooled.job.trace["correlation_id"]


async def test_a_redis_that_hangs_goes_to_the_spool_in_time(door: Door) -> None:
    door.inbound.hung = True
    answer = await door.post(text_message(1))
    assert is_accepted(answer)
    assert answer.elapsed.total_seconds() < 1
    assert len(door.store.tables.spool) == 1


async def test_reports_are_spooled_too(door: Door) -> None:
    door.status.down = True
    params = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM9"), ("MessageStatus", "sent")]
    assert is_accepted(await door.post(params, path=STATUS))
    (spooled,) = door.store.tables.spool.values()
    assert spooled.queue == "status"


@pytest.mark.parametrize("way", ["down", "hung"])
async def test_both_stores_away_is_said_so_that_it_is_sent_again(door: Door, way: str) -> None:
    assert is_accepted(await door.post(text_message(1)))
    setattr(door.inbound, way, True)
    setattr(door.spool, way, True)
    answer = await door.post(text_message(2))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("way", ["down", "hung"])
async def test_postgres_away_does_not_refuse_a_known_account(door: Door, way: str) -> None:
    assert is_accepted(await door.post(text_message(1)))
    setattr(door.accounts, way, True)
    for minutes in (1, 10, 600):
        door.clock.advance(60 * minutes)
        assert is_accepted(await door.post(text_message(minutes)))


async def test_in_an_outage_only_some_webhooks_wait_for_postgres(door: Door) -> None:
    await door.post(text_message(1))
    door.clock.advance(3600)
    door.accounts.hung, before = True, door.accounts.calls
    for number in range(2, 12):
        assert is_accepted(await door.post(text_message(number)))
    assert door.accounts.calls == before + 1


async def test_postgres_away_and_an_account_never_seen(door: Door) -> None:
    door.accounts.down = True
    assert (await door.post(text_message(1))).status_code == 503
    assert await door.is_empty()


async def test_postgres_away_makes_no_forgery_right(door: Door) -> None:
    await door.post(text_message(1))
    door.accounts.down = True
    assert (await door.post(text_message(2), signature="forged")).status_code == 403


# --- tokens ---------------------------------------------------------------------------------------


async def test_a_rotated_token_is_picked_up_at_once(door: Door) -> None:
    assert is_accepted(await door.post(text_message(1)))
    await door.store.accounts.save(with_token("token-2"))
    new = text_message(2)
    assert is_accepted(await door.post(new, signature=signed(INBOUND, new, "token-2")))
    assert (await door.post(text_message(3))).status_code == 403


async def test_both_tokens_count_while_one_is_being_rotated(door: Door) -> None:
    await door.store.accounts.save(with_token("token-2", secondary_token="token-1"))
    assert is_accepted(await door.post(text_message(1)))
    new = text_message(2)
    assert is_accepted(await door.post(new, signature=signed(INBOUND, new, "token-2")))


async def test_an_account_added_later_is_found(door: Door) -> None:
    later = text_message(1, AccountSid="AC" + "2" * 32)
    assert (await door.post(later)).status_code == 403
    await door.store.accounts.save(with_token("token-1", id="b", account_sid="AC" + "2" * 32))
    assert is_accepted(await door.post(later))


async def test_accounts_are_not_looked_up_for_every_webhook(door: Door) -> None:
    for number in range(20):
        assert is_accepted(await door.post(text_message(number)))
    assert door.accounts.calls == 1
    door.clock.advance(31)
    await door.post(text_message(21))
    assert door.accounts.calls == 2


async def test_made_up_accounts_drive_nobody_out_of_memory(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_accepted(await door.post(text_message(1)))
    cache = door.app.state.parts.webhooks["twilio"]._accounts
    monkeypatch.setattr(cache, "_max_entries", 3)
    for number in range(10):
        await door.post(text_message(1, AccountSid=f"AC{number:032d}"))
    door.accounts.down = True
    assert is_accepted(await door.post(text_message(2)))


# --- logs -----------------------------------------------------------------------------------------


async def test_nothing_private_is_logged(door: Door, logs: list[EventDict]) -> None:
    await door.post(text_message(1))
    await door.post(text_message(2), signature="forged")
    door.inbound.down = True
    await door.post(text_message(3))
    await door.post([("AccountSid", ACCOUNT_SID), ("Body", "welcome"), ("From", CONTACT)])
    events = [entry["event"] for entry in logs]
    assert "webhook_accepted" in events
    assert "webhook_unprocessable" in events
    for private in ("welcome", "15552223333", "token-1"):
        assert private not in str(logs)


async def test_a_webhook_of_nobody_and_the_handshake_of_who_has_none(door: Door) -> None:
    assert (await door.post(text_message(), path="/webhooks/telegraph")).status_code == 404
    assert (await door.post(text_message(), path="/webhooks/twilio/else")).status_code == 404
    assert (await door.http.get("/webhooks/telegraph")).status_code == 404
    asked = await door.http.get(INBOUND, params={"hub.mode": "subscribe", "hub.challenge": "1"})
    assert asked.status_code == 405
    assert await door.is_empty()


async def test_an_account_of_another_channel_is_not_known(door: Door) -> None:
    stored = await door.store.accounts.by_sid(ACCOUNT_SID)
    assert stored is not None
    await door.store.accounts.save(stored.model_copy(update={"channel": "whatsapp_cloud"}))
    assert (await door.post(text_message())).status_code == 403
