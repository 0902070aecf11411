"""Who may come in: sign-in, sessions, and the proof that a form is our own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from models.console import Operator, OperatorAction, OperatorSession, Role
from models.errors import PermanentError
from serve_app.console.passwords import PasswordChecker
from serve_app.ports import Clock, OperatorRepository
from serve_app.settings import ConsoleSettings

log = structlog.get_logger(__name__)

COOKIE = "recado_console"
TOKEN_OPERATOR = "token"  # noqa: S105 -- a name
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "x-csrf-token"


class SignInRefusedError(PermanentError):
    """One line for the form. `wait` if there were too many failures."""

    def __init__(self, message: str, *, wait: bool = False) -> None:
        super().__init__(message)
        self.wait = wait


class Gate:
    """Sessions live in the store, so that every ingress replica knows them; the browser holds a random id
    of which the store has the digest alone."""

    def __init__(
        self,
        *,
        operators: OperatorRepository,
        passwords: PasswordChecker,
        clock: Clock,
        settings: ConsoleSettings,
        token: SecretStr | None,
        public_url: str,
    ) -> None:
        self._operators = operators
        self._passwords = passwords
        self._clock = clock
        self._settings = settings
        self._token = token
        self._host = urlsplit(public_url).netloc
        self._secure = public_url.startswith("https://")

    async def sign_in(self, request: Request, *, name: str, secret: str) -> str:
        """The new session's cookie; the one that the browser came with ends. Raises `SignInRefusedError`."""
        name = name.strip()[:80] or TOKEN_OPERATOR
        settings = self._settings
        failures = await self._operators.failures(name, within_s=settings.sign_in_window_s)
        if failures >= settings.max_sign_in_failures:
            raise SignInRefusedError(
                f"Too many failures. Wait {settings.sign_in_window_s / 60:g} minutes.", wait=True
            )
        operator = await self._operator(name, secret)
        if operator is None:
            await self._operators.count_failure(name)
            log.warning("console_sign_in_refused", operator=name)
            raise SignInRefusedError("The name, password or token isn't right.")
        await self.sign_out(request)
        cookie = secrets.token_urlsafe(32)
        await self._operators.open_session(
            OperatorSession(
                id_hash=_digest(cookie),
                operator=operator,
                csrf_token=secrets.token_urlsafe(32),
                expires_at=self._clock.now() + timedelta(hours=settings.session_hours),
            )
        )
        await self._operators.log_action(
            OperatorAction(operator=operator.name, role=operator.role, action="sign in", subject="")
        )
        return cookie

    async def _operator(self, name: str, secret: str) -> Operator | None:
        if name == TOKEN_OPERATOR:
            known = self._token.get_secret_value() if self._token else ""
            right = hmac.compare_digest(known.encode(), secret.strip().encode())
            return Operator(name=name, role=Role.ADMINISTER) if known and right else None
        found = await self._operators.password_hash(name)
        right = await self._passwords.matches(secret, found[1] if found else None)
        return found[0] if found and right else None

    async def session(self, request: Request) -> OperatorSession | None:
        cookie = request.cookies.get(COOKIE)
        if not cookie:
            return None
        return await self._operators.session(
            _digest(cookie), idle_s=self._settings.idle_minutes * 60
        )

    async def sign_out(self, request: Request) -> None:
        cookie = request.cookies.get(COOKIE)
        if cookie:
            await self._operators.close_session(_digest(cookie))

    def set_cookie(self, response: Response, cookie: str) -> None:
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=int(self._settings.session_hours * 3600),
            path="/console",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )

    def is_ours(self, request: Request, session: OperatorSession | None, given: str) -> bool:
        """Whether one of our own pages sent this form. Before there is a session its origin tells."""
        site = request.headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = request.headers.get("origin")
        if origin is not None:
            host = urlsplit(origin).netloc
            if host not in {self._host, request.headers.get("host")}:
                return False
        if session is None:
            return site is not None or origin is not None
        return hmac.compare_digest(session.csrf_token.encode(), given.encode())


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
