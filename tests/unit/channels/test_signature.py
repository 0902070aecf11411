"""Our signature check and the SDK's validator must always agree."""

from __future__ import annotations

import hashlib
import json
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from serve_app.channels.twilio.signature import (
    SETTINGS_HEADER,
    SIGNATURE_HEADER,
    is_signed,
    sign,
    url_variants,
)

URL = "https://bot.example.com/webhooks/twilio"
TOKEN = "0123456789abcdef0123456789abcdef"
# What the SDK's validator compares with `==` must be text that UTF-8 can hold.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


class Repeating:
    """Parameters as Flask's MultiDict shows them, which the SDK's validator understands."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def __iter__(self):
        return iter(name for name, _ in self._pairs)

    def getall(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]


def check(url=URL, params=(), signature="", *, body=b"", json_body=False, tokens=(TOKEN,), **more):
    return is_signed(
        url=url,
        headers={SIGNATURE_HEADER: signature, **more.get("headers", {})},
        params=list(params),
        body=body,
        json_body=json_body,
        tokens=tokens,
    )


# As published: the security page (now and formerly), and the tests of Twilio's own libraries.
DOCUMENTED = [
    (
        "https://example.com/myapp.php?foo=1&bar=2",
        {"Caller": "+14158675310", "From": "+14158675310"},
        "L/OH5YylLD5NRKLltdqwSvS0BnU=",
    ),
    (
        "https://mycompany.com/myapp.php?foo=1&bar=2",
        {"Caller": "+12349013030", "From": "+12349013030"},
        "0/KCTR6DLpKmkAf8muzZqo1nDgQ=",
    ),
    (
        "https://mycompany.com/myapp.php?foo=1&bar=2",
        {"Caller": "+14158675309", "From": "+14158675309"},
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    (
        "https://mycompany.com:1234/myapp.php?foo=1&bar=2",
        {"Caller": "+14158675309", "From": "+14158675309"},
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    (
        "http://mycompany.com:1234/myapp.php?foo=1&bar=2",
        {"Caller": "+14158675309", "From": "+14158675309"},
        "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
    ),
    (
        "https://mycompany.com/myapp.php?foo=1&bar=2",
        {"Caller": "+14158675309", "From": "+14158675309"},
        "kvajT1Ptam85bY51eRf/AJRuM3w=",
    ),
    (
        "http://mycompany.com/myapp.php?foo=1&bar=2",
        {"Caller": "+14158675309", "From": "+14158675309"},
        "0ZXoZLH/DfblKGATFgpif+LLRf4=",
    ),
]


@pytest.mark.parametrize(("url", "people", "signature"), DOCUMENTED)
def test_twilios_published_vectors(url, people, signature):
    call = {"CallSid": "CA1234567890ABCDE", "Digits": "1234", "To": "+18005551212"}
    params = list({**call, **people}.items())
    assert check(url, params, signature, tokens=("12345",))
    assert not check(url, params, signature, tokens=("12346",))
    assert not check(url, [*params, ("Extra", "")], signature, tokens=("12345",))


def test_twilios_published_vector_of_a_repeated_parameter():
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    params = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234")]
    assert check(url, params, "IK+Dwps556ElfBT0I3Rgjkr1wJU=", tokens=("12345",))


def test_twilios_published_vector_of_a_json_body():
    body = b'{"property": "value", "boolean": true}'
    digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    url = f"https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256={digest}"
    given = {"signature": "a9nBmqA0ju/hNViExpshrM61xv4=", "tokens": ("12345",), "json_body": True}
    assert check(url, body=body, **given)
    assert not check(url, body=body + b" ", **given)


@given(st.lists(st.tuples(texts, texts), max_size=12), texts)
def test_equals_the_sdk_for_any_parameters(pairs, token):
    expected = RequestValidator(token).compute_signature(URL, Repeating(pairs))
    assert sign(token, URL, pairs) == expected
    assert check(params=pairs, signature=expected, tokens=(token,))


@pytest.mark.parametrize(
    "pairs",
    [
        [("Body", "")],
        [("Body", "  white \t space\r\n ")],
        [("Body", "olá 👋🏽 안녕")],
        [("Added2027", "new"), ("Body", "x")],
        [("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b")],
        [("b", "1"), ("B", "2"), ("a", "3")],
        [("Body", "a&b=c+d%20")],
        [("a", "ab"), ("aa", "b")],
    ],
)
def test_known_shapes(pairs):
    signature = RequestValidator(TOKEN).compute_signature(URL, Repeating(pairs))
    assert check(params=pairs, signature=signature)
    assert not check(params=[*pairs, ("More", "")], signature=signature)
    assert not check(params=[(n, v + " ") for n, v in pairs], signature=signature)


@pytest.mark.parametrize(
    "configured",
    [
        "https://bot.example.com/w",
        "https://bot.example.com:443/w",
        "https://bot.example.com:8443/w?a=1&b=",
        "http://127.0.0.1:8000/w",
        "https://bot.example.com/w?reply=r-1",
    ],
)
def test_with_and_without_port(configured):
    validator = RequestValidator(TOKEN)
    for signed in url_variants(configured):
        signature = validator.compute_signature(signed, {"A": "1"})
        assert validator.validate(configured, {"A": "1"}, signature)
        assert check(configured, [("A", "1")], signature)
    other = validator.compute_signature("https://evil.example.com/w", {"A": "1"})
    assert not check(configured, [("A", "1")], other)


def test_an_ipv6_host_keeps_its_brackets():
    assert url_variants("http://[::1]:8000/w") == ("http://[::1]:8000/w", "http://[::1]/w")
    assert url_variants("http://[::1]/w")[1] == "http://[::1]:80/w"


@pytest.mark.parametrize("signature", ["", "x", "é", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="])
def test_wrong_and_missing_signatures(signature):
    assert not check(params=[("A", "1")], signature=signature)


def test_an_unreadable_port_is_no_signature():
    assert not check("https://bot.example.com:port/w", [], sign(TOKEN, URL, []))


def test_the_secondary_token_signs_too():
    signature = sign("second", URL, [("A", "1")])
    assert not check(params=[("A", "1")], signature=signature)
    assert check(params=[("A", "1")], signature=signature, tokens=(TOKEN, "second"))


def json_request(document, *, url_hash=None):
    body = json.dumps(document).encode()
    digest = hashlib.sha256(body).hexdigest() if url_hash is None else url_hash
    url = f"{URL}?bodySHA256={digest}"
    return url, body, RequestValidator(TOKEN).compute_signature(url, {})


def test_a_json_body_is_vouched_for_by_its_hash():
    url, body, signature = json_request({"AccountSid": "AC1"})
    assert RequestValidator(TOKEN).validate(url, body.decode(), signature)
    assert check(url, (), signature, body=body, json_body=True)
    assert not check(url, (), signature, body=body + b" ", json_body=True)


def test_a_json_body_without_a_hash_is_unsigned():
    signature = sign(TOKEN, URL, [])
    assert not check(URL, (), signature, body=b'{"a": 1}', json_body=True)
    url, body, signature = json_request({"a": 1}, url_hash="0" * 64)
    assert not check(url, (), signature, body=body, json_body=True)


def test_a_form_is_signed_even_where_the_url_has_a_body_hash():
    url, _, signature = json_request({"a": 1})
    assert not check(url, [("Body", "forged")], signature)


def test_the_algorithm_header():
    settings = {SETTINGS_HEADER: "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}
    signature = RequestValidator(TOKEN).compute_signature(URL, {"A": "1"}, "HMAC_SHA256")
    assert check(params=[("A", "1")], signature=signature, headers=settings)
    assert not check(params=[("A", "1")], signature=signature)
    unknown = {SETTINGS_HEADER: "algorithm=HMAC_MD5"}
    assert not check(params=[("A", "1")], signature=signature, headers=unknown)


def test_checking_costs_less_than_100_microseconds():
    params = [(f"Parameter{index}", "value" * 5) for index in range(30)]
    signature = sign("another", url_variants(URL)[1], params)
    runs = timeit.repeat(
        lambda: check(params=params, signature=signature, tokens=(TOKEN, "another")),
        number=200,
        repeat=5,
    )
    assert min(runs) / 200 < 100e-6
