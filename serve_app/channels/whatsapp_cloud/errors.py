"""What the Cloud API's error codes mean for a message.

https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

from __future__ import annotations

from typing import cast

import httpx2

from models.errors import RecadoError, SendDeferredError, SendRejectedError, SendUnknownError
from models.messages import Fault
from serve_app.channels.retry_after import retry_after_s

HOURS_S = 2 * 3600.0
"""Wait for limits that are counted by the day."""
ACCOUNT_S = 300.0
"""Wait for somebody to mend an account: its token, its rights, its payment."""
PAIR_S = 6.0
"""At most one message in six seconds to the same person, once the burst is used up."""

PAIR_RATE = 131056

FAULTS: dict[int, Fault] = {
    **dict.fromkeys((4, 80007, 130429), Fault.SLOW_DOWN),
    **dict.fromkeys((PAIR_RATE, 131057, 133004, 133016), Fault.RETRY),
    **dict.fromkeys((368, 130497, 131048, 131049), Fault.DEFER),
    **dict.fromkeys((0, 3, 10, 190, 131005, 131031, 131042, 131045, 133010), Fault.HOLD),
    **dict.fromkeys(range(200, 300), Fault.HOLD),
    **dict.fromkeys((1, 2, 131000, 131016), Fault.AMBIGUOUS),
    131050: Fault.OPTED_OUT,
    131047: Fault.TEMPLATE_NEEDED,
}
"""Others are final for their message."""


def fault_of(status: int, code: int | None) -> Fault:
    """A code that the table lacks is judged by the HTTP status that came with it."""
    if (code is None and status >= 500) or not 400 <= status < 600:
        return Fault.AMBIGUOUS
    if code in FAULTS:
        return FAULTS[code]
    if status == 429:
        return Fault.SLOW_DOWN
    if status == 401:
        return Fault.HOLD
    return Fault.AMBIGUOUS if status >= 500 else Fault.FINAL


def reported_fault(code: int | None) -> Fault | None:
    """What the code in a delivery report means: of a message that was accepted, and then failed."""
    return None if code is None else FAULTS.get(code, Fault.FINAL)


def error_of(answer: httpx2.Response) -> tuple[int | None, str]:
    """Code and message of an answer that isn't a success."""
    try:
        document: object = answer.json()
    except ValueError:
        return None, answer.reason_phrase
    members = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    error = members.get("error")
    fields = cast("dict[str, object]", error) if isinstance(error, dict) else {}
    code = fields.get("code")
    return (code if isinstance(code, int) else None), str(fields.get("message", ""))[:500]


def send_error(answer: httpx2.Response) -> RecadoError:
    """The error to raise for an answer to a send that isn't a success."""
    status = answer.status_code
    code, message = error_of(answer)
    fault = fault_of(status, code)
    text = f"the Cloud API answered {status} (code {code}, {fault.value}): {message}"
    after = retry_after_s(answer.headers.get("retry-after"))
    match fault:
        case Fault.SLOW_DOWN:
            return SendDeferredError(text, retry_after=after, code=code, fault=fault)
        case Fault.RETRY:
            wait = max(PAIR_S, after or 0.0) if code == PAIR_RATE else after
            return SendDeferredError(text, retry_after=wait, code=code, fault=fault)
        case Fault.DEFER:
            wait = max(HOURS_S, after or 0.0)
            return SendDeferredError(text, retry_after=wait, code=code, fault=fault)
        case Fault.HOLD:
            wait = max(ACCOUNT_S, after or 0.0)
            return SendDeferredError(text, retry_after=wait, code=code, fault=fault)
        case Fault.AMBIGUOUS:
            return SendUnknownError(text)
        case _:
            return SendRejectedError(text, code=code, fault=fault)
