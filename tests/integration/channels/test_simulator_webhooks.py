"""What the simulator posts, and how it insists."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr
from twilio.request_validator import RequestValidator

from models.messages import Fault, TemplateContent
from serve_app.simulator.webhooks import IDEMPOTENCY_HEADER
from tests.integration.channels.serving import (
    ACCOUNT_SID,
    BUSINESS,
    CLOUD_ACCOUNT,
    CLOUD_BUSINESS,
    CLOUD_CONTACT,
    CONTACT,
    TOKEN,
    account,
    cloud_account,
    free_socket,
    port_of,
    reply,
    stage,
)

pytestmark = pytest.mark.integration


def params_of(request):
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def is_genuine(request):
    return RequestValidator(TOKEN).validate(
        request.url, params_of(request), request.headers["x-twilio-signature"]
    )


async def test_a_message_arrives_signed_with_twilios_parameters():
    async with stage() as on:
        answer = await on.write(body="Olá 👋", Forwarded="true")
        (request,) = on.receiver.requests
        assert is_genuine(request)
        params = params_of(request)
    assert answer["webhook_status"] == 200
    assert params["MessageSid"] == params["SmsSid"] == answer["message_sid"]
    assert params["Body"] == "Olá 👋"
    assert params["Forwarded"] == "true"
    assert params["MessageType"] == "text"
    assert params["WaId"] == "15552223333"
    assert IDEMPOTENCY_HEADER.lower() not in request.headers


async def test_a_proxys_url_is_the_signed_one():
    public = "https://bot.example.com"
    async with stage(public_webhook_url=f"{public}/webhooks/twilio", fragment="#rc=2&rp=5xx") as on:
        on.receiver.statuses = [500]
        assert (await on.write(body="x"))["attempts"] == 2
        request = on.receiver.requests[0]
        assert is_genuine(replace(request, url=f"{public}/webhooks/twilio"))
        assert not is_genuine(request)
        form = {
            "To": CONTACT,
            "From": BUSINESS,
            "Body": "x",
            "StatusCallback": f"{public}/s?reply=1",
        }
        url = f"/2010-04-01/Accounts/{account().account_sid}/Messages.json"
        await on.control.post(url, data=form, auth=(account().account_sid, TOKEN))
        report = (await on.receiver.wait_for(1, path="/s?reply=1"))[0]
        assert is_genuine(replace(report, url=f"{public}/s?reply=1"))


@pytest.mark.parametrize(
    ("fragment", "statuses", "posts"),
    [
        ("", [500], 1),
        ("#rc=3&rp=ct,rt,5xx", [500, 503, 200], 3),
        ("#rc=3&rp=ct,rt,5xx", [500] * 9, 4),
        ("#rc=3&rp=5xx", [403], 1),
        ("#rc=1&rp=4xx", [403], 2),
        ("#rc=5&rp=all", [500, 404, 200], 3),
    ],
)
async def test_retries_by_the_fragment(fragment, statuses, posts):
    async with stage(fragment=fragment) as on:
        on.receiver.statuses = list(statuses)
        answer = await on.write(body="x")
        requests = on.receiver.requests
        assert answer["attempts"] == len(requests) == posts
        assert all(is_genuine(request) for request in requests)
        assert "#" not in requests[0].url
        tokens = {request.headers.get(IDEMPOTENCY_HEADER.lower()) for request in requests[1:]}
        assert len(tokens) == min(1, posts - 1)
        assert None not in tokens


async def test_a_slow_answer_is_retried_only_if_asked_for():
    async with stage(fragment="#rt=100&rc=2&rp=rt") as on:
        on.receiver.delay_s = 0.5
        answer = await on.write(body="x")
        assert (answer["webhook_status"], answer["attempts"]) == (None, 3)
    async with stage(fragment="#rt=100") as on:
        on.receiver.delay_s = 0.5
        assert (await on.write(body="x"))["attempts"] == 1


async def test_nobody_listens():
    nowhere = free_socket()
    url = f"http://127.0.0.1:{port_of(nowhere)}/w"
    nowhere.close()
    async with stage(webhook_url=url) as on:
        answer = await on.write(body="x")
    assert (answer["webhook_status"], answer["attempts"]) == (None, 2)


async def test_copies_are_one_message_posted_at_once():
    async with stage() as on:
        answer = await on.write(body="x", copies=5)
        assert answer["webhook_statuses"] == [200] * 5
        assert {params_of(r)["MessageSid"] for r in on.receiver.requests} == {answer["message_sid"]}
        assert len(await on.messages(contact=CONTACT)) == 1


async def test_unreadable_media_is_refused():
    async with stage() as on:
        answer = await on.control.post(
            "/simulator/messages",
            json={"from": CONTACT, "to": BUSINESS, "media": [{"content_base64": "?"}]},
        )
    assert answer.status_code == 422


async def test_reading_along_and_waiting_for_the_answer():
    async with stage() as on:
        cursor = (await on.write(body="question"))["cursor"]
        assert await on.messages(contact=CONTACT, after=cursor) == []
        await on.channel.send(reply("answer"), account())
        (answer,) = await on.messages(contact=CONTACT, after=cursor, wait_s=5)
        assert (answer["direction"], answer["body"]) == ("outbound", "answer")
        both = await on.messages()
        assert [m["direction"] for m in both] == ["inbound", "outbound"]
        assert await on.messages(contact="whatsapp:+15554444444") == []


async def test_reports_in_order_and_signed():
    async with stage() as on:
        await on.channel.send(reply(), account())
        reports = await on.receiver.wait_for(3, path="/webhooks/twilio/status?reply=reply-1")
        assert [params_of(r)["MessageStatus"] for r in reports] == ["sent", "delivered", "read"]
        assert all(is_genuine(r) for r in reports)
        (message,) = await on.messages()
        assert message["status"] == "read"


async def test_reports_out_of_order_and_twice():
    async with stage() as on:
        await on.faults(shuffled_callbacks=1, duplicate_callbacks=1)
        await on.channel.send(reply(), account())
        reports = await on.receiver.wait_for(6)
        statuses = [params_of(r)["MessageStatus"] for r in reports]
        assert statuses == ["read", "read", "delivered", "delivered", "sent", "sent"]


async def test_lost_reports():
    async with stage() as on:
        await on.faults(lost_callbacks=1)
        await on.channel.send(reply(), account())
        await on.until(callbacks_lost=3)
        assert on.receiver.requests == []


async def test_outside_the_window_a_message_is_accepted_and_fails():
    async with stage(enforce_window=True) as on:
        await on.channel.send(reply(), account())
        (report,) = await on.receiver.wait_for(1)
        params = params_of(report)
        assert (params["MessageStatus"], params["ErrorCode"]) == ("failed", "63016")
        await on.write(body="here I am")
        await on.channel.send(reply(), account())
        reports = await on.receiver.wait_for(4, path="/status")
        assert params_of(reports[1])["MessageStatus"] == "sent"


async def test_outside_the_window_a_template_gets_through_on_either_channel():
    async with stage(enforce_window=True) as on:
        twilio = TemplateContent(content_sid="HX" + "1" * 32)
        cloud = TemplateContent(name="follow_up", language="en")
        ends = {"account_id": CLOUD_ACCOUNT, "sender": CLOUD_BUSINESS, "recipient": CLOUD_CONTACT}
        await on.channel.send(reply(template=twilio), account())
        await on.cloud.send(reply(template=cloud, **ends), cloud_account())
        await on.receiver.wait_for(6)
        assert {message["status"] for message in await on.messages()} == {"read"}
        await on.cloud.send(reply("free", **ends), cloud_account())
        report = (await on.receiver.wait_for(7))[6]
        (update,) = on.cloud.read(report, received_at=datetime.now(UTC)).reports
        assert (update.status, update.fault) == ("failed", Fault.TEMPLATE_NEEDED)
        assert update.error_code == 131047


async def test_sms_opt_outs_are_twilios_business():
    async with stage() as on:
        await on.write(**{"from": "+15552223333", "to": "+15550001111"}, body=" stop ")
        assert params_of(on.receiver.requests[0])["OptOutType"] == "STOP"
        sms = {"To": "+15552223333", "From": "+15550001111", "Body": "x"}
        url = f"/2010-04-01/Accounts/{account().account_sid}/Messages.json"
        credentials = (account().account_sid, TOKEN)
        assert (await on.control.post(url, data=sms, auth=credentials)).json()["code"] == 21610
        await on.write(**{"from": "+15552223333", "to": "+15550001111"}, body="START")
        assert (await on.control.post(url, data=sms, auth=credentials)).status_code == 201


async def test_the_front_page_and_a_reset():
    async with stage() as on:
        page = await on.control.get("/")
        assert "Stands in for Twilio" in page.text
        await on.write(body="x")
        await on.faults(reject=1)
        assert (await on.control.post("/simulator/reset")).status_code == 204
        assert await on.messages() == []
        assert (await on.control.get("/simulator/faults")).json()["reject"] == 0


async def test_a_file_needs_credentials_and_its_copy_refuses_them():
    async with stage() as on:
        content = base64.b64encode(b"OggS").decode()
        await on.write(media=[{"content_base64": content, "content_type": "audio/ogg"}])
        url = params_of(on.receiver.requests[0])["MediaUrl0"]
        assert (await on.control.get(url)).status_code == 401
        moved = await on.control.get(url, auth=(account().account_sid, TOKEN))
        assert moved.status_code == 307
        target = moved.headers["location"]
        assert "//localhost:" in target
        refused = await on.control.get(target, auth=(account().account_sid, TOKEN))
        assert refused.status_code == 400
        assert (await on.control.get(target)).content == b"OggS"
        assert (await on.stats())["cdn_with_credentials"] == 1


async def test_accounts_side_by_side_each_with_its_own_token_and_messages():
    other = "AC" + "2" * 32
    async with stage() as on:
        refused = await on.control.post(
            "/simulator/messages",
            json={"from": CONTACT, "to": BUSINESS, "body": "x", "account_sid": other},
        )
        assert refused.status_code == 422
        assert f"PUT /simulator/accounts/{other}" in refused.text
        put = await on.control.put(f"/simulator/accounts/{other}", json={"auth_token": "other"})
        assert put.status_code == 204
        await on.write(body="x", account_sid=other)
        (request,) = on.receiver.requests
        assert params_of(request)["AccountSid"] == other
        assert not is_genuine(request)
        assert RequestValidator("other").validate(
            request.url, params_of(request), request.headers["x-twilio-signature"]
        )
        theirs = account(account_sid=other, auth_token=SecretStr("other"))
        await on.channel.send(reply("theirs"), theirs)
        await on.channel.send(reply("ours"), account())
        since = datetime.now(UTC) - timedelta(seconds=60)
        found = await on.channel.find_sent(reply(), theirs, since=since)
        assert [message.body for message in found] == ["theirs"]
        reports = await on.receiver.wait_for(6, path="/status")
        assert {params_of(report)["AccountSid"] for report in reports} == {other, ACCOUNT_SID}
        # Neither opens the other, nor does a token that has been replaced.
        await on.control.put(f"/simulator/accounts/{other}", json={"auth_token": "newer"})
        url = "/2010-04-01/Accounts/{}/Messages.json"
        for sid, pair, status in (
            (ACCOUNT_SID, (other, "newer"), 404),
            (other, (ACCOUNT_SID, TOKEN), 404),
            (other, (other, "other"), 401),
            (other, (other, "newer"), 200),
        ):
            assert (await on.control.get(url.format(sid), auth=pair)).status_code == status
