"""Fetching over real connections: the simulator's redirect, and servers that don't behave."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from models.errors import MediaNotReadyError, MediaRejectedError
from models.messages import MediaRef
from serve_app.channels.twilio.channel import open_twilio
from serve_app.clock import SystemClock
from serve_app.settings import TwilioSettings
from tests.integration.channels.serving import account, raw_server, reply, stage

pytestmark = pytest.mark.integration

VOICE = b"OggS" + bytes(range(256)) * 200


async def voice_note(on):
    content = base64.b64encode(VOICE).decode()
    await on.write(media=[{"content_base64": content, "content_type": "audio/ogg"}])
    message = on.channel.parse(on.receiver.requests[-1], received_at=datetime.now(UTC))
    return message.media[0]


async def test_a_voice_note_behind_the_redirect():
    async with stage() as on:
        file = await on.channel.fetch_media(await voice_note(on), account())
        stats = await on.stats()
    assert (file.content, file.content_type) == (VOICE, "audio/ogg")
    assert stats["cdn_downloads"] == 1
    assert "cdn_with_credentials" not in stats


async def test_an_early_404():
    async with stage(early_404s=2) as on:
        assert (await on.channel.fetch_media(await voice_note(on), account())).content == VOICE
        assert (await on.stats())["media_looks"] == 3


async def test_a_404_that_stays():
    async with stage(early_404s=100, twilio_media_not_ready_retries=1) as on:
        with pytest.raises(MediaNotReadyError):
            await on.channel.fetch_media(await voice_note(on), account())
        assert (await on.stats())["media_looks"] == 2


async def test_a_5xx_is_for_later_and_wrong_credentials_are_not():
    async with stage() as on:
        ref = await voice_note(on)
        with pytest.raises(MediaRejectedError, match="401"):
            await on.channel.fetch_media(ref, account(auth_token=SecretStr("wrong")))
        await on.faults(media_500=1)
        with pytest.raises(MediaNotReadyError):
            await on.channel.fetch_media(ref, account())


async def test_either_token_opens_a_file_and_sending_has_learnt_which():
    async with stage() as on:
        ref = await voice_note(on)
        changed = account(auth_token=SecretStr("retired"), secondary_token=account().auth_token)
        for _ in range(2):
            assert (await on.channel.fetch_media(ref, changed)).content == VOICE
        await on.channel.send(reply(), changed)
        assert (await on.stats())["unauthorized"] == 1
        neither = account(auth_token=SecretStr("x"), secondary_token=SecretStr("y"))
        with pytest.raises(MediaRejectedError, match="401"):
            await on.channel.fetch_media(ref, neither)


async def test_too_large():
    async with stage(twilio_max_media_bytes=len(VOICE) - 1) as on:
        with pytest.raises(MediaRejectedError, match="more than"):
            await on.channel.fetch_media(await voice_note(on), account())


@asynccontextmanager
async def fetching(url, **settings):
    twilio = TwilioSettings.model_validate(
        {"local_origins": (url,), "media_timeout_s": 1.0, **settings}
    )
    async with open_twilio(twilio, public_url="https://bot.test", clock=SystemClock()) as channel:
        yield channel.fetch_media(MediaRef(url=f"{url}/f"), account())


async def test_a_simulator_that_is_not_exempt_is_refused():
    async def answer(reader, writer):
        raise AssertionError("must not be asked")

    async with raw_server(answer) as url, fetching(url, local_origins=()) as fetch:
        with pytest.raises(MediaRejectedError, match="https"):
            await fetch


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/x", "http://169.254.169.254/latest", "https://10.0.0.1/x"]
)
async def test_a_redirect_into_the_network_is_refused(location):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())
        await writer.drain()

    async with raw_server(answer) as url, fetching(url) as fetch:
        with pytest.raises(MediaRejectedError):
            await fetch


async def test_a_public_name_that_leads_to_this_machine_is_refused():
    """localhost stands for a name of somebody else's that resolves to a private address."""
    async with fetching("https://localhost", local_origins=(), media_hosts=("localhost",)) as fetch:
        with pytest.raises(MediaRejectedError, match="private"):
            await fetch


async def test_a_file_without_end_is_cut_off_at_the_limit():
    sent = 0

    async def answer(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/ogg\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 1000)
            sent += 1000
            await writer.drain()

    async with raw_server(answer) as url, fetching(url, max_media_bytes=50_000) as fetch:
        with pytest.raises(MediaRejectedError, match="50000"):
            await fetch
    assert sent < 10_000_000


async def test_slow_drops_do_not_add_time():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_server(answer) as url, fetching(url, media_timeout_s=0.4) as fetch:
        started = time.monotonic()
        with pytest.raises(MediaNotReadyError, match=r"0\.4 s"):
            await fetch
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("head", "body", "error"),
    [
        (b"Content-Length: 99999999999\r\n", b"x", MediaRejectedError),
        (b"Content-Length: 50\r\n", b"short", MediaNotReadyError),
        (b"Content-Length: -1\r\n", b"x", MediaNotReadyError),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nab", MediaNotReadyError),
        (b"Content-Encoding: gzip\r\n", b"x", MediaRejectedError),
    ],
)
async def test_headers_that_lie(head, body, error):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        await writer.drain()

    async with raw_server(answer) as url, fetching(url) as fetch:
        with pytest.raises(error):
            await fetch


async def test_a_promise_of_less_than_comes_is_kept():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOggS and much more")
        await writer.drain()

    async with raw_server(answer) as url, fetching(url) as fetch:
        assert (await fetch).content == b"OggS"
