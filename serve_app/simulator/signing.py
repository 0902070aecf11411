"""Signing webhooks as https://www.twilio.com/docs/usage/security says."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping


def signature(token: str, url: str, params: Mapping[str, str]) -> str:
    """`url` as the receiver's owner configured it, without the fragment."""
    text = url + "".join(name + params[name] for name in sorted(params))
    mac = hmac.new(token.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()
