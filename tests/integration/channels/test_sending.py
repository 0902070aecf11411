"""Sending through the real SDK to the simulator: what each failure is called, and that nothing is sent
twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from models.errors import (
    ListUnavailableError,
    RetryableError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
)
from models.messages import DeliveryStatus, Fault, TemplateContent
from serve_app.channels.registry import open_channels
from serve_app.channels.twilio import client as twilio_client
from serve_app.channels.twilio.channel import open_twilio
from serve_app.clock import SystemClock
from serve_app.settings import AppSettings, EnvironmentSettings, TwilioSettings
from tests.integration.channels.serving import (
    ACCOUNT_SID,
    BUSINESS,
    CONTACT,
    account,
    free_socket,
    port_of,
    raw_server,
    reply,
    stage,
)

pytestmark = pytest.mark.integration


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def test_a_message_is_accepted_and_listed():
    async with stage() as on:
        sent = await on.channel.send(reply("Olá 👋\n\nsecond paragraph"), account())
        assert sent.message_id.startswith("SM")
        assert sent.status is DeliveryStatus.QUEUED
        assert sent.body == "Olá 👋\n\nsecond paragraph"
        assert sent.recipient == CONTACT
        (listed,) = await on.channel.find_sent(reply(), account(), since=ago(1))
        assert (listed.message_id, listed.body) == (sent.message_id, sent.body)
        (message,) = await on.messages()
        assert message["from"] == BUSINESS


async def test_a_trial_accounts_message_is_found_by_its_own_text():
    """Twilio puts its line before it; whoever looks for a doubtful reply looks for the reply's text."""
    async with stage() as on:
        await on.channel.send(reply("Sent from your Twilio trial account - Olá"), account())
        (listed,) = await on.channel.find_sent(reply(), account(), since=ago(1))
        assert listed.body == "Olá"


async def test_a_list_longer_than_what_is_read_of_it_tells_of_no_absence(monkeypatch):
    monkeypatch.setattr(twilio_client, "_LIST_LIMIT", 3)
    async with stage() as on:
        for number in range(3):
            await on.channel.send(reply(f"m{number}"), account())
            if number == 1:
                assert len(await on.channel.find_sent(reply(), account(), since=ago(1))) == 2
        with pytest.raises(ListUnavailableError, match="3"):
            await on.channel.find_sent(reply("missing"), account(), since=ago(1))


async def test_a_messaging_service_stands_in_for_the_sender():
    async with stage() as on:
        message = reply(messaging_service_id="MG1")
        sent = await on.channel.send(message, account())
        assert sent.status is DeliveryStatus.ACCEPTED
        (stored,) = await on.messages()
        assert stored["from"] != BUSINESS
        (listed,) = await on.channel.find_sent(message, account(), since=ago(1))
        assert listed.message_id == sent.message_id


@pytest.mark.parametrize(
    ("faults", "error", "attributes"),
    [
        (
            {"rate_429": 1, "retry_after_s": 7},
            SendDeferredError,
            {"retry_after": 7.0, "code": 20429},
        ),
        ({"rate_429": 1}, SendDeferredError, {"retry_after": None}),
        ({"reject": 1, "reject_code": 21211}, SendRejectedError, {"code": 21211}),
        ({"reject": 1, "reject_code": 21610}, SendRejectedError, {"code": 21610}),
        ({"reject": 1, "reject_code": 63018}, SendDeferredError, {"code": 63018}),
        ({"reject": 1, "reject_code": 20500}, SendUnknownError, {}),
        ({"error_before": 1}, SendUnknownError, {}),
        ({"error_after": 1}, SendUnknownError, {}),
    ],
)
async def test_each_fault_has_its_error_and_is_asked_for_once(faults, error, attributes):
    async with stage() as on:
        await on.faults(**faults)
        with pytest.raises(error) as caught:
            await on.channel.send(reply(), account())
        for name, value in attributes.items():
            assert getattr(caught.value, name) == value
        assert (await on.stats())["create_requests"] == 1


async def test_a_5xx_after_acceptance_is_found_in_the_list():
    async with stage() as on:
        await on.faults(error_after=1)
        with pytest.raises(SendUnknownError):
            await on.channel.send(reply("doubtful"), account())
        (found,) = await on.channel.find_sent(reply("doubtful"), account(), since=ago(1))
        assert found.body == "doubtful"


async def test_no_answer_after_acceptance_is_doubtful_within_the_time_limit():
    async with stage(request_timeout_s=0.5) as on:
        await on.faults(timeout_after=1, hold_s=2)
        started = time.monotonic()
        with pytest.raises(SendUnknownError):
            await on.channel.send(reply(), account())
        assert time.monotonic() - started < 1.5
        assert (await on.stats())["create_requests"] == 1
        assert len(await on.channel.find_sent(reply(), account(), since=ago(1))) == 1


async def test_many_sends_under_every_fault_are_never_repeated():
    async with stage() as on:
        await on.faults(rate_429=0.3, error_before=0.2, error_after=0.1, seed=3)
        outcomes: dict[str, int] = {}
        for index in range(120):
            try:
                await on.channel.send(reply(f"m{index}"), account())
                name = "sent"
            except (SendDeferredError, SendUnknownError) as error:
                name = type(error).__name__
            outcomes[name] = outcomes.get(name, 0) + 1
        stats = await on.stats()
        assert stats["create_requests"] == 120
        assert outcomes["SendDeferredError"] == stats["rate_429"]
        assert outcomes["SendUnknownError"] == stats["error_before"] + stats["error_after"]
        assert stats["accepted"] == outcomes["sent"] + stats["error_after"]
        bodies = [m["body"] for m in await on.messages()]
        assert len(bodies) == len(set(bodies)) == stats["accepted"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"body": "x" * 1601}, 21617),
        ({"recipient": "whatsapp:+0"}, 21211),
        ({"recipient": "+15552223333"}, 21910),
        ({"body": ""}, 21602),
    ],
)
async def test_what_twilio_refuses(changes, code):
    async with stage() as on:
        with pytest.raises(SendRejectedError) as caught:
            await on.channel.send(reply(**changes), account())
        assert caught.value.code == code


async def test_wrong_credentials_put_the_message_off():
    async with stage() as on:
        with pytest.raises(SendDeferredError) as caught:
            await on.channel.send(reply(), account(auth_token=SecretStr("wrong")))
        assert caught.value.code == 20003
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 60
        await on.channel.send(reply(), account())


async def test_a_new_token_is_used_at_once():
    async with stage() as on:
        stale = account(auth_token=SecretStr("stale"))
        with pytest.raises(SendDeferredError):
            await on.channel.send(reply(), stale)
        await on.channel.send(reply(), account())


async def test_either_token_will_do_and_the_one_that_works_is_remembered():
    async with stage() as on:
        changed = account(auth_token=SecretStr("retired"), secondary_token=account().auth_token)
        await on.channel.send(reply("a"), changed)
        await on.channel.send(reply("b"), changed)
        assert [m.body for m in await on.channel.find_sent(reply(), changed, since=ago(1))] == [
            "a",
            "b",
        ]
        assert (await on.stats())["unauthorized"] == 1
        with pytest.raises(SendDeferredError) as caught:
            await on.channel.send(
                reply(), account(auth_token=SecretStr("x"), secondary_token=SecretStr("y"))
            )
        assert caught.value.fault is Fault.HOLD


async def test_either_token_reads_what_contacts_wrote_and_their_files():
    async with stage() as on:
        note = {"content_base64": "T2dnUyBub3Rl", "content_type": "audio/ogg"}
        await on.write(body="a")
        await on.write(media=[note])
        changed = account(auth_token=SecretStr("retired"), secondary_token=account().auth_token)
        received = await on.channel.list_received(changed, since=ago(60))
        assert [message.body for message in received.messages] == ["a", ""]
        whole = await on.channel.with_media(received.messages[1], changed)
        assert [ref.content_type for ref in whole.media] == ["audio/ogg"]
        assert (await on.stats())["unauthorized"] == 1
        # Twilio changes its mind: the other is tried again.
        await on.control.put(f"/simulator/accounts/{ACCOUNT_SID}", json={"auth_token": "retired"})
        assert len((await on.channel.list_received(changed, since=ago(60))).messages) == 2
        assert len((await on.channel.with_media(received.messages[1], changed)).media) == 1
        assert (await on.stats())["unauthorized"] == 2


async def test_a_template_is_sent_instead_of_the_text():
    async with stage() as on:
        content = TemplateContent(content_sid="HX" + "1" * 32, variables={"1": "Ana"})
        sent = await on.channel.send(reply("unsaid", template=content), account())
        assert sent.message_id
        (message,) = await on.messages()
        assert message["body"] == f"[{content.content_sid}] Ana"


@contextlib.asynccontextmanager
async def channel_to(url, **settings):
    twilio = TwilioSettings(
        api_url=url, messaging_url=url, local_origins=(url,), request_timeout_s=1.0, **settings
    )
    async with open_twilio(twilio, public_url="https://bot.test", clock=SystemClock()) as channel:
        yield channel


async def test_nobody_at_the_other_end_is_surely_not_sent():
    nowhere = free_socket()
    url = f"http://127.0.0.1:{port_of(nowhere)}"
    nowhere.close()
    async with channel_to(url) as channel:
        with pytest.raises(SendDeferredError):
            await channel.send(reply(), account())
    async with channel_to("http://unknown-name.invalid") as channel:
        with pytest.raises(SendDeferredError):
            await channel.send(reply(), account())


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 201 Created\r\nContent-Length: 900\r\n\r\n{",
        b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 307 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_connection_lost_after_sending_is_doubtful_and_not_retried(answer):
    requests = 0

    async def rude(reader, writer):
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.write(answer)
        await writer.drain()

    async with raw_server(rude) as url, channel_to(url) as channel:
        with pytest.raises(SendUnknownError):
            await channel.send(reply(), account())
    assert requests == 1


async def test_an_answer_that_trickles_is_cut_off():
    async def trickle(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with raw_server(trickle) as url, channel_to(url) as channel:
        started = time.monotonic()
        with pytest.raises(SendUnknownError):
            await channel.send(reply(), account())
        assert time.monotonic() - started < 2


async def test_the_list_is_filtered_by_contact_sender_time_and_direction():
    async with stage() as on:
        await on.write(**{"from": BUSINESS, "to": CONTACT}, body="inbound, whatever its addresses")
        await on.channel.send(reply("a"), account())
        await on.channel.send(reply("b", recipient="whatsapp:+15557777777"), account())
        await on.channel.send(reply("c", sender="whatsapp:+15556666666"), account())
        await on.channel.send(reply("d"), account())
        found = await on.channel.find_sent(reply(), account(), since=ago(1))
        assert [sent.body for sent in found] == ["a", "d"]
        future = datetime.now(UTC) + timedelta(hours=1)
        assert await on.channel.find_sent(reply(), account(), since=future) == []


async def test_a_long_list_is_read_page_by_page():
    async with stage() as on:
        for index in range(130):
            await on.channel.send(reply(f"{index}"), account())
        found = await on.channel.find_sent(reply(), account(), since=ago(60))
        assert [sent.body for sent in found] == [str(index) for index in range(130)]


async def test_a_list_that_cannot_be_read_is_no_statement_about_the_send():
    async with stage() as on:
        await on.faults(list_unavailable=True)
        with pytest.raises(RetryableError) as caught:
            await on.channel.find_sent(reply(), account(), since=ago(1))
        assert not isinstance(caught.value, SendDeferredError)
    nowhere = free_socket()
    url = f"http://127.0.0.1:{port_of(nowhere)}"
    nowhere.close()
    async with channel_to(url) as channel:
        with pytest.raises(RetryableError) as caught:
            await channel.find_sent(reply(), account(), since=ago(1))
        assert not isinstance(caught.value, SendDeferredError)


async def inbound(on, **changes):
    await on.write(body="hi", **changes)
    return on.channel.parse(on.receiver.requests[-1], received_at=datetime.now(UTC))


async def test_typing_is_shown_on_whatsapp_and_failures_are_nobodys_business():
    async with stage() as on:
        message = await inbound(on)
        await on.channel.show_typing(message, account())
        typing = (await on.control.get("/simulator/typing")).json()["typing"]
        assert [entry["message_sid"] for entry in typing] == [message.message_id]
        sms = await inbound(on, **{"from": "+15552223333", "to": "+15550001111"})
        await on.channel.show_typing(sms, account())
        await on.channel.show_typing(message.model_copy(update={"message_id": "SMx"}), account())
        await on.faults(typing_unavailable=True)
        await on.channel.show_typing(message, account())
        await on.channel.show_typing(message, account(auth_token=SecretStr("wrong")))
        assert len((await on.control.get("/simulator/typing")).json()["typing"]) == 1
    nowhere = free_socket()
    url = f"http://127.0.0.1:{port_of(nowhere)}"
    nowhere.close()
    async with channel_to(url) as channel:
        await channel.show_typing(message, account())


async def test_reports_come_back_to_the_reply_they_belong_to():
    async with stage() as on:
        sent = await on.channel.send(reply(reply_id="r/1 ä"), account())
        for request in await on.receiver.wait_for(3):
            on.channel.verify(request, account())
            update = on.channel.parse_status(request, received_at=datetime.now(UTC))
            assert (update.reply_id, update.message_id) == ("r/1 ä", sent.message_id)
            assert update.account_id == ACCOUNT_SID


async def test_the_registry_opens_every_channel():
    settings = AppSettings(twilio=TwilioSettings(api_url="http://127.0.0.1:9"))
    env = EnvironmentSettings(public_url="https://bot.test/")
    async with open_channels(settings, env, clock=SystemClock()) as channels:
        assert list(channels) == ["twilio", "whatsapp_cloud"]
        assert channels["twilio"].max_body_chars == 1600
        assert all(name == channel.name for name, channel in channels.items())
