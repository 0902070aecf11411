"""Who may come in: sign-in, sessions, and the proof that a form is our own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from models.console import LONGEST_NAME, TOKEN_OPERATOR, Operator, OperatorSession, Role
from models.errors import PermanentError, StoreUnavailableError
from serve_app.console.deeds import on_record
from serve_app.console.passwords import PasswordChecker
from serve_app.ports import Clock, OperatorRepository
from serve_app.settings import ConsoleSettings

log = structlog.get_logger(__name__)

COOKIE = "recado_console"
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "x-csrf-token"
UNGUESSABLE = 20
"""Characters of a token that nobody finds by trying: the right one is let in whoever else fails."""
MOST_WAITING = 20
"""Sign-ins that run or wait, passwords being looked at one by one; further ones are refused at once."""
REMEMBERED_S = 300.0
"""A session that was seen this lately may look on while the store is away."""
_MOST_REMEMBERED = 1_000
_STORE_LIMIT_S = 2.0
"""That a remembered session waits for the store."""


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
        self._signing_in = 0
        self._remembered: OrderedDict[str, tuple[float, OperatorSession]] = OrderedDict()

    async def sign_in(self, request: Request, *, name: str, secret: str) -> str:
        """The new session's cookie; the one that the browser came with ends. Raises `SignInRefusedError`."""
        if self._signing_in >= MOST_WAITING:
            raise SignInRefusedError("Too many people sign in just now. Try again.", wait=True)
        self._signing_in += 1
        try:
            return await self._signed_in(
                request, name.strip()[:LONGEST_NAME] or TOKEN_OPERATOR, secret
            )
        finally:
            self._signing_in -= 1

    async def _signed_in(self, request: Request, name: str, secret: str) -> str:
        settings = self._settings
        # Before the secret is looked at: those who guess at the same time are counted too.
        counted = await self._operators.begin_attempt(
            name, within_s=settings.sign_in_window_s, most=settings.max_sign_in_failures
        )
        if not counted and not self._is_unguessable(name):
            raise _too_many(settings)
        operator = await self._operator(name, secret)
        if operator is None:
            log.warning("console_sign_in_refused", operator=name)
            if not counted:
                raise _too_many(settings)
            raise SignInRefusedError("The name, password or token isn't right.")
        await self.sign_out(request)
        cookie = secrets.token_urlsafe(32)
        async with on_record(self._operators, operator, "sign in", ""):
            await self._operators.open_session(
                OperatorSession(
                    id_hash=_digest(cookie),
                    operator=operator,
                    csrf_token=secrets.token_urlsafe(32),
                    expires_at=self._clock.now() + timedelta(hours=settings.session_hours),
                    token_proof=self._proof(operator.name, cookie),
                )
            )
        await self._operators.forgive_attempts(name)
        return cookie

    def _is_unguessable(self, name: str) -> bool:
        """Then a lock would only keep the right one out: anybody could hold it shut."""
        return name == TOKEN_OPERATOR and len(self._known_token()) >= UNGUESSABLE

    def _known_token(self) -> str:
        return self._token.get_secret_value() if self._token else ""

    def _proof(self, name: str, cookie: str) -> str:
        """Ties a session to the token that opened it. The store can't tell the token from it: it doesn't
        have the cookie."""
        if name != TOKEN_OPERATOR:
            return ""
        return hmac.new(cookie.encode(), self._known_token().encode(), hashlib.sha256).hexdigest()

    async def _operator(self, name: str, secret: str) -> Operator | None:
        if name == TOKEN_OPERATOR:
            known = self._known_token()
            right = hmac.compare_digest(known.encode(), secret.strip().encode())
            return Operator(name=name, role=Role.ADMINISTER) if known and right else None
        found = await self._operators.password_hash(name)
        right = await self._passwords.matches(secret, found[1] if found else None)
        return found[0] if found and right else None

    async def session(self, request: Request) -> OperatorSession | None:
        """None too for one that was opened with a token that isn't the token any more.

        While the store is away, one that was seen lately may look, and no more than that. Raises
        `StoreUnavailableError`."""
        cookie = request.cookies.get(COOKIE)
        if not cookie:
            return None
        id_hash = _digest(cookie)
        kept = self._remembered.pop(id_hash, None)
        if kept is not None and time.monotonic() - kept[0] > REMEMBERED_S:
            kept = None
        limit_s = _STORE_LIMIT_S if kept and request.method == "GET" else None
        try:
            async with asyncio.timeout(limit_s):
                session = await self._operators.session(
                    id_hash, idle_s=self._settings.idle_minutes * 60
                )
        except (StoreUnavailableError, TimeoutError) as error:
            if kept is not None:
                self._remembered[id_hash] = kept
            if kept is None or request.method != "GET":
                raise StoreUnavailableError(f"Postgres doesn't answer: {error}") from error
            session = _looking_on(kept[1])
            return session if session.expires_at > self._clock.now() else None
        if session is None or not self._still_opens(session, cookie):
            return None
        self._remembered[id_hash] = (time.monotonic(), session)
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return session

    def _still_opens(self, session: OperatorSession, cookie: str) -> bool:
        proof = self._proof(session.operator.name, cookie)
        known = bool(self._known_token()) or session.operator.name != TOKEN_OPERATOR
        return known and hmac.compare_digest(session.token_proof, proof)

    async def sign_out(self, request: Request) -> None:
        cookie = request.cookies.get(COOKIE)
        if cookie:
            self._remembered.pop(_digest(cookie), None)
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


def _too_many(settings: ConsoleSettings) -> SignInRefusedError:
    return SignInRefusedError(
        f"Too many failures. Wait {settings.sign_in_window_s / 60:g} minutes.", wait=True
    )


def _looking_on(session: OperatorSession) -> OperatorSession:
    watcher = session.operator.model_copy(update={"role": Role.VIEW})
    return session.model_copy(update={"operator": watcher, "looks_on": True, "notice": ""})


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
