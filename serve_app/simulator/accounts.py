"""The accounts at Twilio that the simulator stands for: their ids and auth tokens."""

from __future__ import annotations

import base64
import hmac

from serve_app.simulator.settings import SimulatorSettings


class Accounts:
    """The one of the settings, and those that are added while it runs."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.first = settings.account_sid
        self._tokens = {settings.account_sid: settings.auth_token.get_secret_value()}

    def put(self, account_sid: str, auth_token: str) -> None:
        """A further account, or another token for one that is there: from now on it signs that account's
        webhooks, and the former opens nothing any more."""
        self._tokens[account_sid] = auth_token

    def __contains__(self, account_sid: str) -> bool:
        return account_sid in self._tokens

    def token(self, account_sid: str | None) -> str:
        """The first account's where there is no such account: what is forged is signed wrongly."""
        return self._tokens.get(account_sid or self.first, self._tokens[self.first])

    def opened_by(self, authorization: str) -> str | None:
        """The account whose credentials a request's header holds."""
        given, opened = authorization.encode(), None
        for account_sid, token in self._tokens.items():
            pair = base64.b64encode(f"{account_sid}:{token}".encode())
            if hmac.compare_digest(given, b"Basic " + pair):
                opened = account_sid
        return opened
