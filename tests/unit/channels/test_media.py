"""The fetcher over a transport that records what would have gone where."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager

import httpx2
import pytest

from models.errors import MediaNotReadyError, MediaRejectedError
from models.messages import MediaRef
from serve_app.channels.media import MediaFetcher
from serve_app.settings import TwilioSettings

CREDENTIALS = httpx2.BasicAuth("AC1", "secret-token")
REF = MediaRef(url="https://api.twilio.com/media/1", content_type="audio/ogg")
NAMES = {
    "api.twilio.com": ["8.8.8.8"],
    "media.twiliocdn.com": ["1.1.1.1"],
    "inside.twiliocdn.com": ["10.0.0.7"],
}


class FakeClock:
    def __init__(self):
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)


class Web:
    """Answers by the Host header; `seen` holds what was asked: address, host, TLS name, credentials."""

    def __init__(self, **answers):
        self.answers = answers
        self.seen = []

    async def handle(self, request):
        host = request.headers["host"]
        self.seen.append(
            (
                request.url.host,
                host,
                request.extensions["sni_hostname"],
                request.headers.get("authorization"),
            )
        )
        answer = self.answers[host.replace(".", "_")]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def fetching(web, *, names=NAMES, **settings):
    async def resolver(host, port):
        if host not in names:
            raise OSError("unknown name")
        return names[host]

    clock = FakeClock()
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(web.handle)) as http:
        yield (
            MediaFetcher(
                settings=TwilioSettings(**settings), http=http, clock=clock, resolver=resolver
            ),
            clock,
        )


def found(content=b"OggS", **headers):
    return httpx2.Response(200, stream=httpx2.ByteStream(content), headers=headers)


def moved(location):
    return httpx2.Response(307, headers={"location": location})


async def test_the_file_behind_the_redirect_without_credentials():
    web = Web(
        api_twilio_com=moved("https://media.twiliocdn.com/f?sig=1"),
        media_twiliocdn_com=found(**{"content-type": "audio/ogg; codecs=opus"}),
    )
    async with fetching(web) as (fetcher, _):
        file = await fetcher.fetch(REF, CREDENTIALS)
    assert (file.content, file.content_type) == (b"OggS", "audio/ogg; codecs=opus")
    basic = "Basic " + base64.b64encode(b"AC1:secret-token").decode()
    assert web.seen == [
        ("8.8.8.8", "api.twilio.com", "api.twilio.com", basic),
        ("1.1.1.1", "media.twiliocdn.com", "media.twiliocdn.com", None),
    ]


async def test_no_credentials_for_the_first_host_either_once_the_chain_has_left_it():
    web = Web(
        api_twilio_com=[moved("https://media.twiliocdn.com/f"), found()],
        media_twiliocdn_com=moved("https://api.twilio.com/other"),
    )
    async with fetching(web) as (fetcher, _):
        await fetcher.fetch(REF, CREDENTIALS)
    assert [seen[3] is not None for seen in web.seen] == [True, False, False]


@pytest.mark.parametrize(
    "location",
    [
        "https://inside.twiliocdn.com/f",
        "https://evil.example/f",
        "http://media.twiliocdn.com/f",
        "https://127.0.0.1/f",
        "https://[::1]/f",
        "https://media.twiliocdn.com:8080/f",
        "//evil.example/f",
    ],
)
async def test_redirects_that_are_refused(location):
    web = Web(api_twilio_com=moved(location))
    async with fetching(web) as (fetcher, _):
        with pytest.raises(MediaRejectedError):
            await fetcher.fetch(REF, CREDENTIALS)
    assert len(web.seen) == 1


async def test_a_name_that_leads_inside_is_never_asked():
    web = Web()
    async with fetching(web, names={"api.twilio.com": ["8.8.8.8", "192.168.0.1"]}) as (fetcher, _):
        with pytest.raises(MediaRejectedError, match="private"):
            await fetcher.fetch(REF, CREDENTIALS)
    assert web.seen == []


async def test_endless_redirects():
    web = Web(api_twilio_com=moved("/again"))
    async with fetching(web) as (fetcher, _):
        with pytest.raises(MediaRejectedError, match="redirects"):
            await fetcher.fetch(REF, CREDENTIALS)
    assert len(web.seen) == 6


async def test_an_early_404_is_looked_at_again():
    absent = httpx2.Response(404)
    web = Web(api_twilio_com=[absent, absent, found()])
    async with fetching(web) as (fetcher, clock):
        assert (await fetcher.fetch(REF, CREDENTIALS)).content == b"OggS"
    assert clock.slept == [0.25, 0.5]


async def test_a_file_that_never_comes():
    web = Web(api_twilio_com=httpx2.Response(404))
    async with fetching(web, media_not_ready_retries=4) as (fetcher, clock):
        with pytest.raises(MediaNotReadyError) as caught:
            await fetcher.fetch(REF, CREDENTIALS)
    assert clock.slept == [0.25, 0.5, 1.0, 2.0]
    assert caught.value.retry_after


@pytest.mark.parametrize(
    "answer",
    [httpx2.Response(500), httpx2.Response(503), httpx2.Response(429), httpx2.ReadError("lost")],
)
async def test_try_again_later(answer):
    async with fetching(Web(api_twilio_com=answer)) as (fetcher, _):
        with pytest.raises(MediaNotReadyError):
            await fetcher.fetch(REF, CREDENTIALS)


@pytest.mark.parametrize("status", [400, 401, 403, 410, 204, 206])
async def test_refused_for_good(status):
    async with fetching(Web(api_twilio_com=httpx2.Response(status))) as (fetcher, _):
        with pytest.raises(MediaRejectedError, match=str(status)):
            await fetcher.fetch(REF, CREDENTIALS)


@pytest.mark.parametrize(
    "url", ["https://api.twilio.com:99999999/", "ftp://x/y", "https://\x00/", "nonsense"]
)
async def test_unreadable_urls(url):
    async with fetching(Web()) as (fetcher, _):
        with pytest.raises(MediaRejectedError):
            await fetcher.fetch(MediaRef(url=url), CREDENTIALS)


async def test_an_unknown_name_is_tried_later():
    async with fetching(Web(), names={}) as (fetcher, _):
        with pytest.raises(MediaNotReadyError):
            await fetcher.fetch(REF, CREDENTIALS)


@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False)])
async def test_the_size_limit_to_the_byte(size, fits):
    for headers in ({}, {"content-length": str(size)}, {"content-length": "5"}):
        web = Web(api_twilio_com=found(b"OggS".ljust(size, b"x"), **headers))
        async with fetching(web, max_media_bytes=100) as (fetcher, _):
            if fits:
                assert len((await fetcher.fetch(REF, CREDENTIALS)).content) == size
            else:
                with pytest.raises(MediaRejectedError, match="100"):
                    await fetcher.fetch(REF, CREDENTIALS)


async def test_a_packed_body_is_refused_rather_than_unpacked():
    web = Web(api_twilio_com=found(**{"content-encoding": "gzip"}))
    async with fetching(web) as (fetcher, _):
        with pytest.raises(MediaRejectedError, match="encoded"):
            await fetcher.fetch(REF, CREDENTIALS)


async def test_the_next_address_after_one_that_cannot_be_reached():
    class OneDown(Web):
        async def handle(self, request):
            if request.url.host == "2606:4700::1":
                self.seen.append("down")
                raise httpx2.ConnectError("unreachable")
            return await super().handle(request)

    web = OneDown(api_twilio_com=found())
    names = {"api.twilio.com": ["2606:4700::1", "8.8.8.8"]}
    async with fetching(web, names=names) as (fetcher, _):
        await fetcher.fetch(REF, CREDENTIALS)
    assert web.seen[0] == "down"
    assert web.seen[1][0] == "8.8.8.8"
    async with fetching(web, names={"api.twilio.com": ["2606:4700::1"]}) as (fetcher, _):
        with pytest.raises(MediaNotReadyError):
            await fetcher.fetch(REF, CREDENTIALS)


async def test_the_content_type_falls_back_to_the_announced_one():
    async with fetching(Web(api_twilio_com=found())) as (fetcher, _):
        assert (await fetcher.fetch(REF, CREDENTIALS)).content_type == "audio/ogg"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><p>log in",
        b"PK\x03\x04",
        b"\x7fELF",
        b"MZ\x90",
        b"#!/bin/sh\n",
        b"%PDF-1.7",
    ],
)
async def test_a_recording_that_is_none(content):
    async with fetching(Web(api_twilio_com=found(content))) as (fetcher, _):
        with pytest.raises(MediaRejectedError, match="announced as audio/ogg"):
            await fetcher.fetch(REF, CREDENTIALS)
    # What the server calls it doesn't help, nor does what the webhook called it.
    web = Web(api_twilio_com=found(content, **{"content-type": "audio/ogg"}))
    async with fetching(web) as (fetcher, _):
        with pytest.raises(MediaRejectedError):
            await fetcher.fetch(MediaRef(url=REF.url), CREDENTIALS)
