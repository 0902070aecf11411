"""Whose a job or a dead letter is, and of whom it tells, as far as what it holds can say."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import parse_qsl, unquote_plus

from pydantic import ValidationError

from models.accounts import TwilioAccount
from models.jobs import DeadLetter
from models.messages import InboundMessage

LEAST_DIGITS, MOST_DIGITS = 7, 15
"""Of a phone number. Fewer are too common in what providers send to tell somebody by."""
_SENDERS = frozenset({"From", "WaId", "ExternalUserId"})
"""Twilio's parameters that say who wrote."""
_WORD = re.compile(r"[0-9A-Za-z]+")


def digits_of(name: str) -> str | None:
    """Of a phone number, however it is written; None if it is none."""
    digits = name.removeprefix("whatsapp:").removeprefix("+")
    is_number = digits.isascii() and digits.isdigit()
    return digits if is_number and LEAST_DIGITS <= len(digits) <= MOST_DIGITS else None


class LetterReader:
    """Knows the accounts that are stored."""

    def __init__(self, accounts: Sequence[TwilioAccount]) -> None:
        self._by_sid: dict[str, list[TwilioAccount]] = {}
        for account in sorted(accounts, key=lambda account: not account.active):
            self._by_sid.setdefault(account.account_sid, []).append(account)
        numbers = (n.address for account in accounts for n in account.phone_numbers)
        self._own = {digits for address in numbers if (digits := digits_of(address))}

    def owner_of(self, conversation: str, payload: str) -> str | None:
        """A message is its account's owner's. Of anything else the account must be named by its id and, where
        owners share it, by a number or a messaging service; None if that tells nobody, or several."""
        message = _message(payload)
        if message is not None:
            account = self._written_to(message)
            return None if account is None else account.owner_id
        text = f"{conversation}\n{unquote_plus(payload)}"
        sids = self._by_sid.keys() & set(_WORD.findall(text))
        named = [account for sid in sids for account in self._by_sid[sid]]
        narrower = [account for account in named if any(_holds(text, n) for n in _ways_to(account))]
        owners = {account.owner_id for account in narrower or named}
        return owners.pop() if len(owners) == 1 else None

    def tells_of(self, letter: DeadLetter, names: Collection[str]) -> bool:
        """Whether it is a message from somebody with one of these names, or else holds one of them anywhere.
        A business's own number is in all that its contacts write: who has that must have sent it."""
        payload = letter.job.payload
        message = _message(payload)
        if message is not None:
            return message.sender in names or message.contact_key in names
        if any(key in _SENDERS and value in names for key, value in parse_qsl(payload)):
            return True
        found = unquote_plus(letter.model_dump_json())
        numbers = {digits for name in names if (digits := digits_of(name))} - self._own
        others = {name for name in names if len(name) >= LEAST_DIGITS and digits_of(name) is None}
        return any(_holds(found, name) for name in numbers | others)

    def _written_to(self, message: InboundMessage) -> TwilioAccount | None:
        """By the number, else by the messaging service; an active account before one that has ended."""
        same = self._by_sid.get(message.account_id, [])
        by_number = (
            account
            for account in same
            if any(number.address == message.recipient for number in account.phone_numbers)
        )
        service = message.messaging_service_id
        by_service = (a for a in same if service and a.messaging_service_sid == service)
        return next(by_number, None) or next(by_service, None)


def _message(payload: str) -> InboundMessage | None:
    try:
        return InboundMessage.from_queue(payload)
    except ValidationError:
        return None


def _ways_to(account: TwilioAccount) -> list[str]:
    ways = [number.address for number in account.phone_numbers]
    return [*ways, account.messaging_service_sid] if account.messaging_service_sid else ways


def _holds(text: str, name: str) -> bool:
    """As a whole: neither digits nor letters go on before or behind it."""
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(name)}(?![0-9A-Za-z])", text) is not None
