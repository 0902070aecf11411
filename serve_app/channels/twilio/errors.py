"""What Twilio's error codes mean for a message (https://www.twilio.com/docs/api/errors)."""

from __future__ import annotations

from models.errors import RecadoError, SendDeferredError, SendRejectedError, SendUnknownError
from models.messages import Fault

HOURS_S = 2 * 3600.0
"""Wait for limits that are counted by the day and for phones that are off."""
CREDENTIALS_S = 300.0
"""Wait for somebody to mend an account's credentials."""


_CODES: dict[Fault, tuple[int, ...]] = {
    Fault.SLOW_DOWN: (20429, 63018, 30001, 21611, 30022),
    Fault.RETRY: (63017, 63009, 63010, 63012),
    Fault.DEFER: (63038, 30023, 30003, 30008),
    Fault.HOLD: (20003,),
    Fault.AMBIGUOUS: (20500,),
    Fault.OPTED_OUT: (21610,),
    Fault.TEMPLATE_NEEDED: (63016,),
    Fault.BAD_MEDIA: (63019,),
    Fault.FINAL: (
        21211, 21408, 21606, 21612, 21614, 21617, 21620, 21655, 21656,
        30004, 30005, 30006, 30007, 30034,
        63003, 63005, 63007, 63013, 63014, 63015, 63024, 63027, 63028, 63032, 63033,
    ),
}  # fmt: skip

FAULTS: dict[int, Fault] = {code: fault for fault, codes in _CODES.items() for code in codes}


def fault_of(status: int, code: int | None) -> Fault:
    """A code that the table lacks is judged by the HTTP status that came with it."""
    if status >= 500 or status == 408 or not 400 <= status < 600:
        # The server's own fault, at a point that nobody knows: even a code doesn't settle it.
        return Fault.AMBIGUOUS
    if code in FAULTS:
        return FAULTS[code]
    if status == 429:
        return Fault.SLOW_DOWN
    return Fault.HOLD if status == 401 else Fault.FINAL


def reported_fault(code: int | None) -> Fault | None:
    """What the code in a delivery report means: of a message that was accepted, and then failed."""
    return None if code is None else FAULTS.get(code, Fault.FINAL)


def send_error(
    *, status: int, code: int | None, message: str, retry_after: float | None
) -> RecadoError:
    """The error to raise for an answer to `POST Messages` that isn't a success."""
    fault = fault_of(status, code)
    text = f"Twilio answered {status} (code {code}, {fault.value}): {message}"
    match fault:
        case Fault.SLOW_DOWN | Fault.RETRY:
            return SendDeferredError(text, retry_after=retry_after, code=code, fault=fault)
        case Fault.DEFER:
            return SendDeferredError(
                text, retry_after=max(HOURS_S, retry_after or 0.0), code=code, fault=fault
            )
        case Fault.HOLD:
            wait = max(CREDENTIALS_S, retry_after or 0.0)
            return SendDeferredError(text, retry_after=wait, code=code, fault=fault)
        case Fault.AMBIGUOUS:
            return SendUnknownError(text)
        case _:
            return SendRejectedError(text, code=code, fault=fault)
