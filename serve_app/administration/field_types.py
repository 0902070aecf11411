"""The types of what operators write: each says what is wrong in a line."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

INTEGER_MAX = 2**31 - 1
"""Of the column."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SPOKEN_LANGUAGE = re.compile(r"auto|[a-z]{2,3}")
_ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}|[0-9]{5,20}")
_CONTENT_SID = re.compile(r"HX[0-9a-f]{32}")
_BUTTON_COUNT = re.compile(r"[123]")
_TEMPLATE_NAME = re.compile(r"[a-z0-9_]{1,512}")
_TEMPLATE_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2,3})?")
_SERVICE_SID = re.compile(r"MG[0-9a-f]{32}")
_ADDRESS = re.compile(r"(whatsapp:)?\+[1-9][0-9]{6,14}|[0-9]{3,20}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOOKS_LIKE_TOKEN = re.compile(r"[0-9a-fA-F]{32}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#@]+(:\d+)?([/?][^\s#]*)?")


def _matching(pattern: re.Pattern[str], otherwise: str) -> AfterValidator:
    def check(value: str) -> str:
        if pattern.fullmatch(value) is None:
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


def _name(value: str) -> str:
    if not value.strip() or _CONTROL.search(value):
        raise ValueError("must be one line of text")
    return value


def _variable(value: str) -> str:
    if _VARIABLE.fullmatch(value) is None or _LOOKS_LIKE_TOKEN.fullmatch(value):
        raise ValueError("must be the name of an environment variable, never the token itself")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone as in Europe/Lisbon") from None
    return value


Id = Annotated[str, _matching(_ID, "must be letters, digits, `.`, `_` and `-`, at most 63")]
Line = Annotated[str, AfterValidator(_name)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Language = Annotated[str, _matching(_LANGUAGE, "must be a language as in en or pt-BR")]
SpokenLanguage = Annotated[
    str, _matching(_SPOKEN_LANGUAGE, "must be a language as in en or pt, or auto to detect it")
]
AccountSid = Annotated[
    str,
    _matching(
        _ACCOUNT_SID,
        "must be AC and 32 hexadecimal digits, or the digits of a WhatsApp business account",
    ),
]
TemplateName = Annotated[
    str, _matching(_TEMPLATE_NAME, "must be lower-case letters, digits and `_`, as at Meta")
]
TemplateLanguage = Annotated[
    str, _matching(_TEMPLATE_LANGUAGE, "must be as Meta writes it, as in en or pt_BR")
]
ServiceSid = Annotated[str, _matching(_SERVICE_SID, "must be MG and 32 hexadecimal digits")]
ContentSid = Annotated[str, _matching(_CONTENT_SID, "must be HX and 32 hexadecimal digits")]
ButtonCount = Annotated[str, _matching(_BUTTON_COUNT, "must be a number of buttons: 1, 2 or 3")]
# As long as WhatsApp shows it.
ButtonTitle = Annotated[str, Field(max_length=20), AfterValidator(_name)]
Address = Annotated[str, _matching(_ADDRESS, "must be as in whatsapp:+15551234567 or +15551234567")]
Variable = Annotated[str, AfterValidator(_variable)]
WebAddress = Annotated[
    str, _matching(_WEB_ADDRESS, "must be as in https://example.com/path, without user or fragment")
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
