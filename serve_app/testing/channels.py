"""A channel without a provider: it records what is sent and fails as it is told to."""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from models.accounts import TwilioAccount
from models.errors import (
    MediaRejectedError,
    RecadoError,
    SendRejectedError,
    SendUnknownError,
    SignatureError,
    UnprocessableError,
)
from models.messages import (
    MAX_BUTTONS,
    DeliveryStatus,
    InboundMessage,
    MediaFile,
    MediaRef,
    OutboundMessage,
    SentMessage,
    StatusUpdate,
    TemplateContent,
)
from serve_app.ports import Received, WebhookContents, WebhookForm, WebhookRequest

SIGNATURE_HEADER = "x-memory-signature"
ACCOUNT_HEADER = "x-memory-account"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Accepted:
    """A message that the pretended provider took, and will list."""

    message: OutboundMessage
    sent: SentMessage


@dataclass
class MemoryChannel:
    """Implements `serve_app.ports.Channel`.

    Its webhooks are the models' own JSON, made by `webhook` and `status_webhook`. `fail_next`
    queues errors for sends, one each; `media` holds what `fetch_media` finds, by URL: a file, or an
    error to raise; `list_error`, if set, is raised by `find_sent`.
    """

    name: str = "twilio"
    max_body_chars: int = 1600
    window: float | None = None
    """What `window_s` says, for every recipient."""
    now: Callable[[], datetime] = _utc_now
    attempts: list[OutboundMessage] = field(default_factory=list[OutboundMessage])
    """Every call of `send`, failed ones included."""
    accepted: list[Accepted] = field(default_factory=list[Accepted])
    typing: list[str] = field(default_factory=list[str])
    """Ids of the messages for which typing was shown."""
    media: dict[str, MediaFile | RecadoError] = field(
        default_factory=dict[str, "MediaFile | RecadoError"]
    )
    list_error: RecadoError | None = None
    received: list[InboundMessage] = field(default_factory=list[InboundMessage])
    """What contacts wrote, as `list_received` finds it."""
    max_listed: int = 20_000
    _failures: deque[tuple[RecadoError, bool]] = field(
        default_factory=deque[tuple[RecadoError, bool]]
    )

    def carries_buttons(
        self, count: int, *, body: str, recipient: str, account: TwilioAccount
    ) -> bool:
        return (
            recipient.startswith("whatsapp:") and 0 < count <= MAX_BUTTONS and 0 < len(body) <= 1024
        )

    def window_s(self, recipient: str) -> float | None:
        return self.window

    def fail_next(self, error: RecadoError, *, accepted: bool | None = None) -> None:
        """Fail a coming send. `accepted` says whether the provider takes the message all the same;
        by default only a `SendUnknownError` does."""
        took = isinstance(error, SendUnknownError) if accepted is None else accepted
        self._failures.append((error, took))

    def webhook(self, message: InboundMessage, account: TwilioAccount) -> WebhookRequest:
        """A signed webhook that `parse` reads back as `message`, `received_at` aside."""
        return self._request("message", message.model_dump_json(), message.account_id, account)

    def status_webhook(self, update: StatusUpdate, account: TwilioAccount) -> WebhookRequest:
        return self._request("status", update.model_dump_json(), update.account_id, account)

    @property
    def webhook_form(self) -> WebhookForm:
        return WebhookForm("application/json")

    @property
    def lists_messages(self) -> bool:
        return True

    def handshake(self, request: WebhookRequest) -> str:
        raise SignatureError("there is no handshake")

    def account_ids(self, request: WebhookRequest) -> tuple[str, ...]:
        account_id = request.headers.get(ACCOUNT_HEADER)
        if not account_id:
            raise SignatureError("the webhook names no account")
        return (account_id,)

    def verify(self, request: WebhookRequest, account: TwilioAccount) -> None:
        given = request.headers.get(SIGNATURE_HEADER, "")
        tokens = [account.auth_token, *filter(None, [account.secondary_token])]
        if not any(
            hmac.compare_digest(_sign(token.get_secret_value(), request.url, request.body), given)
            for token in tokens
        ):
            raise SignatureError("the webhook's signature is missing or wrong")

    def read(self, request: WebhookRequest, *, received_at: datetime) -> WebhookContents:
        try:
            if request.url.endswith("/status"):
                update = StatusUpdate.model_validate_json(request.body)
                return WebhookContents(
                    reports=(update.model_copy(update={"received_at": received_at}),)
                )
            message = InboundMessage.model_validate_json(request.body)
        except ValidationError as error:
            raise UnprocessableError("neither a message nor a delivery report") from error
        return WebhookContents(messages=(message.model_copy(update={"received_at": received_at}),))

    async def fetch_media(self, ref: MediaRef, account: TwilioAccount) -> MediaFile:
        found = self.media.get(ref.url)
        if found is None:
            raise MediaRejectedError(f"no file at {ref.url}")
        if isinstance(found, RecadoError):
            raise found
        return found

    async def send(self, message: OutboundMessage, account: TwilioAccount) -> SentMessage:
        self.attempts.append(message)
        error, took = self._failures.popleft() if self._failures else (None, True)
        if error is None and len(message.body) > self.max_body_chars:
            error, took = SendRejectedError("the body is too long", code=21617), False
        template = message.template
        if error is None and template is not None and not (template.content_sid or template.name):
            error, took = SendRejectedError("a template of another provider's"), False
        sent = SentMessage(
            message_id=f"SM{len(self.attempts):032x}",
            status=DeliveryStatus.QUEUED,
            body=message.body if template is None else _rendered(template),
            recipient=message.recipient,
            created_at=self.now(),
        )
        if took:
            self.accepted.append(Accepted(message, sent))
        if error is not None:
            raise error
        return sent

    async def find_sent(
        self, message: OutboundMessage, account: TwilioAccount, *, since: datetime
    ) -> list[SentMessage]:
        if self.list_error is not None:
            raise self.list_error
        return [
            entry.sent
            for entry in self.accepted
            if entry.message.account_id == message.account_id
            and entry.message.recipient == message.recipient
            and (message.messaging_service_id or entry.message.sender == message.sender)
            and entry.sent.created_at is not None
            and entry.sent.created_at >= since
        ]

    async def list_received(self, account: TwilioAccount, *, since: datetime) -> Received:
        if self.list_error is not None:
            raise self.list_error
        found = [
            message.model_copy(update={"media": (), "kind": "text"})
            for message in self.received
            if message.account_id == account.account_sid and message.received_at >= since
        ]
        latest = found[-self.max_listed :]
        return Received(tuple(latest), complete=len(latest) == len(found))

    async def with_media(self, message: InboundMessage, account: TwilioAccount) -> InboundMessage:
        if self.list_error is not None:
            raise self.list_error
        return next(each for each in self.received if each.message_id == message.message_id)

    async def show_typing(self, message: InboundMessage, account: TwilioAccount) -> None:
        if message.sender.startswith("whatsapp:"):
            self.typing.append(message.message_id)

    def _request(
        self, path: str, body: str, account_id: str, account: TwilioAccount
    ) -> WebhookRequest:
        url = f"https://bot.test/webhooks/{self.name}/{path}"
        token = account.auth_token.get_secret_value()
        return WebhookRequest(
            url=url,
            headers={
                ACCOUNT_HEADER: account_id,
                SIGNATURE_HEADER: _sign(token, url, body.encode()),
                "content-type": "application/json",
            },
            body=body.encode(),
        )


def _rendered(template: TemplateContent) -> str:
    name = template.content_sid or f"{template.name} {template.language}"
    return " ".join([f"[{name}]", *template.variables.values()])


def _sign(token: str, url: str, body: bytes) -> str:
    return hmac.new(token.encode(), url.encode() + body, hashlib.sha256).hexdigest()
