"""The official SDK, unmodified and unconfigured but for its address, against the simulator."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from tests.integration.channels.serving import ACCOUNT_SID, BUSINESS, CONTACT, TOKEN, stage

pytestmark = pytest.mark.integration


async def with_sdk(on, work, *, token=TOKEN):
    """Runs `work(client)` in a thread: the SDK's own client blocks."""

    def run():
        http = TwilioHttpClient(timeout=10)
        client = Client(ACCOUNT_SID, token, http_client=http, environment={"TWILIO_REGION": ""})
        client.api.base_url = on.simulator
        try:
            return work(client)
        finally:
            http.session.close()

    return await asyncio.to_thread(run)


async def test_create_and_fetch():
    async with stage() as on:
        created = await with_sdk(
            on, lambda c: c.messages.create(to=CONTACT, from_=BUSINESS, body="Olá 👋")
        )
        assert (created.status, created.direction, created.body) == (
            "queued",
            "outbound-api",
            "Olá 👋",
        )
        assert created.sid.startswith("SM")
        assert len(created.sid) == 34
        assert (created.from_, created.to, created.num_segments) == (BUSINESS, CONTACT, "1")
        assert created.date_sent is None
        assert abs(created.date_created - datetime.now(UTC)) < timedelta(seconds=5)
        await on.until(accepted=1)
        fetched = await with_sdk(on, lambda c: c.messages(created.sid).fetch())
        assert (fetched.sid, fetched.account_sid, fetched.error_code) == (
            created.sid,
            ACCOUNT_SID,
            None,
        )


@pytest.mark.parametrize(
    ("work", "status", "code"),
    [
        (lambda c: c.messages("SM0").fetch(), 404, 20404),
        (lambda c: c.messages.create(to="+15551112222", from_="+15550001111"), 400, 21602),
        (lambda c: c.messages.create(to=CONTACT, body="x"), 400, 21603),
        (lambda c: c.messages.create(to="nobody", from_=BUSINESS, body="x"), 400, 21211),
        (lambda c: c.api.v2010.accounts("AC9").messages("SM0").fetch(), 404, 20404),
    ],
)
async def test_errors_read_as_twilios(work, status, code):
    async with stage() as on:
        with pytest.raises(TwilioRestException) as caught:
            await with_sdk(on, work)
        assert (caught.value.status, caught.value.code) == (status, code)


async def test_wrong_credentials():
    async with stage() as on:
        with pytest.raises(TwilioRestException) as caught:
            await with_sdk(on, lambda c: c.messages("SM0").fetch(), token="wrong")
        assert (caught.value.status, caught.value.code) == (401, 20003)


async def test_listing_filters_and_pages():
    async with stage(status_delays_s=(0, 0, 0)) as on:

        def write(client):
            for index in range(7):
                client.messages.create(to=CONTACT, from_=BUSINESS, body=str(index))
            client.messages.create(to="whatsapp:+15554444444", from_=BUSINESS, body="else")

        await with_sdk(on, write)
        await on.write(body="inbound")

        def bodies(**filters):
            return lambda c: [m.body for m in c.messages.list(**filters)]

        everything = await with_sdk(on, bodies())
        assert everything == ["inbound", "else", *map(str, reversed(range(7)))]
        paged = await with_sdk(on, bodies(to=CONTACT, page_size=3))
        assert paged == list(map(str, reversed(range(7))))
        assert await with_sdk(on, bodies(to=CONTACT, limit=2)) == ["6", "5"]
        assert await with_sdk(on, bodies(from_=CONTACT)) == ["inbound"]
        now = datetime.now(UTC)
        hour = timedelta(hours=1)
        assert len(await with_sdk(on, bodies(date_sent_after=now - hour))) == 9
        assert await with_sdk(on, bodies(date_sent_after=now + hour)) == []
        assert await with_sdk(on, bodies(date_sent_before=now - hour)) == []
        assert len(await with_sdk(on, bodies(date_sent_before=now + hour, date_sent=now))) == 9


async def test_an_inbound_messages_files():
    async with stage() as on:
        content = base64.b64encode(b"OggS").decode()
        sid = (await on.write(media=[{"content_base64": content}]))["message_sid"]
        fetched, files = await with_sdk(
            on, lambda c: (c.messages(sid).fetch(), c.messages(sid).media.list())
        )
        assert (fetched.direction, fetched.status, fetched.num_media) == (
            "inbound",
            "received",
            "1",
        )
        assert [file.content_type for file in files] == ["audio/ogg"]
        assert files[0].parent_sid == sid
