"""Twilio's webhook signatures (https://www.twilio.com/docs/usage/security).

The signature is base64(HMAC(token, URL + each parameter's name and value, sorted)). It is computed
here rather than with the SDK's validator because this runs for every webhook, in the event loop;
the tests hold both to the same answers.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

SIGNATURE_HEADER = "x-twilio-signature"
SETTINGS_HEADER = "x-twilio-webhooks-signature-settings"
"""Names the algorithm where Twilio signs with a shared key instead of the auth token."""
BODY_HASH_PARAMETER = "bodySHA256"

_ALGORITHMS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_DEFAULT_PORTS = {"https": 443, "http": 80}


def algorithm_of(settings_header: str | None) -> str | None:
    """The hash that the header names, SHA-1 without one; None if it isn't known here."""
    for part in (settings_header or "").split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return _ALGORITHMS.get(value.strip().upper())
    return "sha1"


@lru_cache(maxsize=256)
def url_variants(url: str) -> tuple[str, ...]:
    """The URL as configured, and with its port added or left out: Twilio signs either.

    Raises ValueError for a URL whose port isn't a number.
    """
    parts = urlsplit(url)
    if parts.port is not None:
        bare = (
            parts.netloc[: -len(f":{parts.port}")]
            if parts.netloc.endswith(f":{parts.port}")
            else parts.netloc
        )
        return (url, parts._replace(netloc=bare).geturl())
    port = _DEFAULT_PORTS.get(parts.scheme)
    if port is None:
        return (url,)
    return (url, parts._replace(netloc=f"{parts.netloc}:{port}").geturl())


def signed_text(params: Iterable[tuple[str, str]]) -> str:
    """Names and values, sorted; a repeated name counts each of its different values once."""
    return "".join(name + value for name, value in sorted(set(params)))


def sign(
    token: str, url: str, params: Iterable[tuple[str, str]], *, algorithm: str = "sha1"
) -> str:
    """What the signature header must hold for this request."""
    text = url + signed_text(params)
    return _sign_text(token, text, algorithm)


def is_signed(
    *,
    url: str,
    headers: Mapping[str, str],
    params: Sequence[tuple[str, str]],
    body: bytes,
    json_body: bool,
    tokens: Iterable[str],
) -> bool:
    """Whether one of `tokens` signed exactly this request. `headers` have lower-case names.

    A JSON body isn't part of the signed text: the signed URL holds its hash. Without the hash
    nothing vouches for the body, and the request counts as unsigned.
    """
    signature = headers.get(SIGNATURE_HEADER, "")
    algorithm = algorithm_of(headers.get(SETTINGS_HEADER))
    if not signature or not signature.isascii() or algorithm is None:
        return False
    if json_body:
        claimed = parse_qs(urlsplit(url).query).get(BODY_HASH_PARAMETER, [""])[0]
        actual = hashlib.sha256(body).hexdigest()
        if not hmac.compare_digest(actual.encode(), claimed.lower().encode()):
            return False
        params = ()
    try:
        urls = url_variants(url)
    except ValueError:
        return False
    text = signed_text(params)
    expected = signature.strip().encode()
    return any(
        hmac.compare_digest(_sign_text(token, variant + text, algorithm).encode(), expected)
        for token in tokens
        for variant in urls
    )


def _sign_text(token: str, text: str, algorithm: str) -> str:
    digest = hmac.digest(token.encode(), text.encode(), algorithm)
    return b64encode(digest).decode()
