"""Content templates: what Twilio makes of a ContentSid and its variables.

The account has three, as a business would make them for its buttons: `HX` and thirty-two digits, the last
of which is the number of buttons. `{{1}}` is the text, `{{2}}` and those after it are title and id of each
button. Others may be named, too; their texts aren't known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from serve_app.simulator.validation import RestError

QUICK_REPLIES = {f"HX{count:032x}": count for count in (1, 2, 3)}
_MAX_TITLE = 20


def rendered(form: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The text and the buttons' titles. Raises `RestError` for variables that WhatsApp refuses."""
    content_sid = form.get("ContentSid")
    if content_sid is None:
        return form.get("Body", ""), ()
    values = _variables(form)
    count = QUICK_REPLIES.get(content_sid)
    if count is None:
        return " ".join([f"[{content_sid}]", *values.values()]), ()
    wanted = [values.get(str(number), "") for number in range(1, count + 2)]
    if any(not value.strip() or len(value.splitlines()) > 1 for value in wanted):
        raise _invalid()
    body, *titles = wanted
    if any(len(title) > _MAX_TITLE for title in titles):
        raise _invalid()
    return body, tuple(titles)


def _variables(form: Mapping[str, str]) -> dict[str, str]:
    try:
        document: object = json.loads(form.get("ContentVariables") or "{}")
    except ValueError as error:
        raise _invalid() from error
    given = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    return {name: str(value) for name, value in given.items()}


def _invalid() -> RestError:
    return RestError(400, 21656, "The ContentVariables parameter is invalid.")
