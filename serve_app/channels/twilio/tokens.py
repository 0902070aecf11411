"""Which of an account's tokens opens Twilio's API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from models.accounts import TwilioAccount

log = structlog.get_logger(__name__)

T = TypeVar("T")


class TokenMemory:
    """Asks with the token that worked last, and where Twilio doesn't know it (any more), with the other.
    So a token may be changed at Twilio before it is here."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}
        """By AccountSid, the token that Twilio refused last."""

    def tokens(self, account: TwilioAccount) -> list[str]:
        """The likeliest first."""
        tokens = [account.auth_token.get_secret_value()]
        if account.secondary_token is not None:
            tokens.append(account.secondary_token.get_secret_value())
        refused = self._refused.get(account.account_sid)
        return sorted(tokens, key=lambda token: token == refused)

    async def with_either(
        self,
        account: TwilioAccount,
        call: Callable[[str], Awaitable[T]],
        *,
        is_refusal: Callable[[Exception], bool],
    ) -> T:
        """`call` must have done nothing when it raises a refusal; that of the last token is raised."""
        tokens = self.tokens(account)
        for token in tokens[:-1]:
            try:
                return await call(token)
            except Exception as error:
                if not is_refusal(error):
                    raise
            log.warning("token_refused", account=account.account_sid)
            self._refused[account.account_sid] = token
        return await call(tokens[-1])
