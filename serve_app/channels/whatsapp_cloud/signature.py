"""Meta's webhook signatures and its handshake.

`X-Hub-Signature-256` is `sha256=` and the hex HMAC-SHA256 of the body, byte for byte, with the app's secret:
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from models.errors import SignatureError

SIGNATURE_HEADER = "x-hub-signature-256"
_PREFIX = "sha256="


def sign(secret: str, body: bytes) -> str:
    """What the signature header must hold for this body."""
    return _PREFIX + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_signed(headers: Mapping[str, str], body: bytes, secrets: Iterable[str]) -> bool:
    """Whether one of `secrets` signed exactly these bytes."""
    given = next((value for name, value in headers.items() if name.lower() == SIGNATURE_HEADER), "")
    if not given.isascii():
        return False
    return any(hmac.compare_digest(sign(secret, body), given.strip().lower()) for secret in secrets)


def challenge(params: Iterable[tuple[str, str]], verify_token: str | None) -> str:
    """What to answer to the request that Meta sends when the webhook's address is entered. Raises
    `SignatureError`."""
    values = dict(params)
    if verify_token is None:
        raise SignatureError("RECADO_WHATSAPP_VERIFY_TOKEN isn't set")
    given = values.get("hub.verify_token", "")
    if values.get("hub.mode") != "subscribe" or not hmac.compare_digest(
        given.encode(), verify_token.encode()
    ):
        raise SignatureError("not a subscription with the right verify token")
    word = values.get("hub.challenge", "")
    if not word or len(word) > 1_000:
        raise SignatureError("the challenge is missing or too long")
    return word
