"""One number, as the channels write it."""

from __future__ import annotations

_WHATSAPP = "whatsapp:"


def ways_of_writing(which: str) -> list[str]:
    """Every way in which a contact's number or address may be stored: `+1555…` on SMS, `whatsapp:+1555…` at
    Twilio, bare digits at the Cloud API. Anything else stands for itself, with and without the prefix."""
    bare = which.removeprefix(_WHATSAPP)
    digits = bare.removeprefix("+")
    if digits.isascii() and digits.isdigit():
        return [f"+{digits}", f"{_WHATSAPP}+{digits}", digits]
    return [bare, f"{_WHATSAPP}{bare}"]
