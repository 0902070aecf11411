from __future__ import annotations

import httpx2
import pytest

from models.errors import MediaRejectedError
from serve_app.channels.addresses import MediaPolicy, is_public
from serve_app.network import resolve
from serve_app.settings import TwilioSettings


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "localhost",
        "",
    ],
)
def test_not_public(address):
    assert not is_public(address)


def policy(*addresses, **settings):
    async def resolver(host, port):
        return addresses

    return MediaPolicy(TwilioSettings(**settings), resolver=resolver)


@pytest.mark.parametrize(
    ("url", "redirected"),
    [
        ("https://api.twilio.com/x", False),
        ("https://API.twilio.com:443/x", False),
        ("https://api.twilio.com/x", True),
        ("https://media.us1.twiliocdn.com/x", True),
        ("https://twiliocdn.com/x", True),
        ("https://s3-external-1.amazonaws.com/x", True),
    ],
)
def test_allowed(url, redirected):
    policy().check(httpx2.URL(url), redirected=redirected)


@pytest.mark.parametrize(
    ("url", "redirected"),
    [
        ("http://api.twilio.com/x", False),
        ("https://api.twilio.com:8443/x", False),
        ("https://api.twilio.com.evil.example/x", False),
        ("https://evil.example/api.twilio.com", False),
        ("https://user:pass@api.twilio.com/x", False),
        ("https://api.twilio.com@evil.example/x", False),
        ("https://media.twiliocdn.com/x", False),
        ("https://eviltwiliocdn.com/x", True),
        ("https://bucket.s3.amazonaws.com/x", True),
        ("http://media.twiliocdn.com/x", True),
        ("https://169.254.169.254/latest", True),
        ("file:///etc/passwd", True),
        ("/relative", False),
        ("http://127.0.0.1:8001/x", False),
    ],
)
def test_refused(url, redirected):
    with pytest.raises(MediaRejectedError):
        policy().check(httpx2.URL(url), redirected=redirected)


def test_a_local_origin_is_exempt_under_each_loopback_name_but_not_its_neighbour_port():
    local = policy("127.0.0.1", local_origins=("http://127.0.0.1:8001",))
    for url in ("http://127.0.0.1:8001/x", "http://localhost:8001/x", "http://[::1]:8001/x"):
        local.check(httpx2.URL(url), redirected=True)
    for url in ("http://127.0.0.1:8002/x", "http://10.0.0.1:8001/x", "https://localhost:8001/x"):
        with pytest.raises(MediaRejectedError):
            local.check(httpx2.URL(url), redirected=True)


async def test_one_private_address_among_public_ones_is_enough_to_refuse():
    url = httpx2.URL("https://api.twilio.com/x")
    assert await policy("8.8.8.8", "2606:4700::1").addresses(url)
    with pytest.raises(MediaRejectedError):
        await policy("8.8.8.8", "10.0.0.1").addresses(url)
    with pytest.raises(OSError, match="no address"):
        await policy().addresses(url)


@pytest.mark.parametrize("host", ["a..example.com", "x" * 64 + ".example.com"])
async def test_what_is_no_name_is_like_a_name_that_nobody_knows(host):
    with pytest.raises(OSError, match="no name of a host"):
        await resolve(host, 443)
