"""Twilio's REST API through the official SDK: send once, list what was sent, show typing."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import httpx2
import structlog
from twilio.base import values
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance
from twilio.rest.api.v2010.account.message.media import MediaInstance
from twilio.rest.messaging.v3.typing_indicator import TypingIndicatorList

from models.accounts import TwilioAccount
from models.errors import (
    ListUnavailableError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
    UnprocessableError,
)
from models.messages import DeliveryStatus, InboundMessage, OutboundMessage, SentMessage
from serve_app.channels.twilio.errors import send_error
from serve_app.channels.twilio.http import NOTHING_SENT, SingleShotHttp, TwilioAnswerError
from serve_app.channels.twilio.payload import REPLY_PARAMETER
from serve_app.channels.twilio.quick_reply import quick_reply
from serve_app.channels.twilio.received import (
    has_files,
    inbound_message,
    listed_at,
    with_files,
)
from serve_app.channels.twilio.tokens import TokenMemory
from serve_app.ports import Received
from serve_app.settings import TwilioSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")

STATUS_PATH = "/webhooks/twilio/status"

_LIST_LIMIT = 400
TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""What Twilio puts before the text of a trial account's messages."""
_LIST_PAGE = 100
_LIST_HORIZON = timedelta(hours=1)
"""The list is ordered by sending, looked through by creation: read on for this much longer."""
_RECEIVED_PAGE = 1000
_MOST_FILES = 32
_TYPING_TIMEOUT_S = 5.0
_CLIENTS = 256


class TwilioClient:
    """One per process; accounts share its connections."""

    def __init__(
        self,
        *,
        settings: TwilioSettings,
        public_url: str,
        http: httpx2.AsyncClient,
        tokens: TokenMemory,
    ) -> None:
        self._settings = settings
        self._callback_url = public_url.rstrip("/") + STATUS_PATH
        self._http = SingleShotHttp(http, timeout_s=settings.request_timeout_s)
        self._typing_http = SingleShotHttp(
            http, timeout_s=min(_TYPING_TIMEOUT_S, settings.request_timeout_s)
        )
        self._tokens = tokens
        self._clients: OrderedDict[tuple[str, str, bool], Client] = OrderedDict()

    async def send(self, message: OutboundMessage, account: TwilioAccount) -> SentMessage:
        """`POST Messages`, once. The errors are those of `ports.Channel.send`."""
        if message.template is not None and message.template.content_sid is None:
            raise SendRejectedError("a template of another provider's: Twilio's has a ContentSid")
        try:
            created = await self._with_either_token(
                account, lambda client: self._create(client, message, account)
            )
        except TwilioAnswerError as error:
            raise send_error(
                status=error.status,
                code=error.code,
                message=str(error),
                retry_after=error.retry_after,
            ) from error
        except NOTHING_SENT as error:
            raise SendDeferredError(f"Twilio can't be reached: {_name(error)}") from error
        except (httpx2.HTTPError, TimeoutError) as error:
            raise SendUnknownError(f"no answer from Twilio: {_name(error)}") from error
        except ValueError as error:
            raise SendUnknownError("Twilio's answer to a send can't be read") from error
        if not created.sid:
            raise SendUnknownError("Twilio's answer to a send names no message")
        return _sent(created)

    async def find_sent(
        self, message: OutboundMessage, account: TwilioAccount, *, since: datetime
    ) -> list[SentMessage]:
        """Outbound messages to the recipient created since then, by Twilio's clock, in whole seconds.

        Filtered by creation here, not by Twilio's `DateSent`, which is empty until a message leaves
        its queue. Raises `ListUnavailableError`, never one of the sending errors.
        """
        start = since.astimezone(UTC).replace(microsecond=0)
        with reading_the_list():
            return await self._with_either_token(
                account, lambda client: self._listed(client, message, account, start)
            )

    async def _listed(
        self, client: Client, message: OutboundMessage, account: TwilioAccount, start: datetime
    ) -> list[SentMessage]:
        messages = client.api.v2010.accounts(account.account_sid).messages
        found: list[SentMessage] = []
        seen = 0
        async for listed in await messages.stream_async(
            to=message.recipient,
            from_=values.unset if message.messaging_service_id else message.sender,
            limit=_LIST_LIMIT,
            page_size=_LIST_PAGE,
        ):
            seen += 1
            created = listed.date_created
            if created is not None and created < start - _LIST_HORIZON:
                break
            if (created is None or created >= start) and str(listed.direction) != "inbound":
                sent = _sent(listed)
                found.append(sent.model_copy(update={"body": sent.body.removeprefix(TRIAL_PREFIX)}))
        else:
            if seen >= _LIST_LIMIT:
                # What isn't in this much of it may be further on: that isn't absence.
                raise ListUnavailableError(
                    f"Twilio's list of messages to this contact is longer than the {_LIST_LIMIT} read of it"
                )
        found.reverse()
        return found

    async def list_received(self, account: TwilioAccount, *, since: datetime) -> Received:
        """Raises `ListUnavailableError`. At most `max_listed` messages are read, sent ones included."""
        start = since.astimezone(UTC).replace(microsecond=0)
        with reading_the_list():
            return await self._with_either_token(
                account, lambda client: self._received(client, account, start)
            )

    async def _received(self, client: Client, account: TwilioAccount, start: datetime) -> Received:
        messages = client.api.v2010.accounts(account.account_sid).messages
        limit = self._settings.max_listed
        found: list[InboundMessage] = []
        read = 0
        async for listed in await messages.stream_async(
            date_sent_after=start, limit=limit + 1, page_size=min(limit + 1, _RECEIVED_PAGE)
        ):
            read += 1
            if read > limit:
                break
            if str(listed.direction) != "inbound" or listed_at(listed) < start:
                continue
            try:
                found.append(inbound_message(listed))
            except UnprocessableError as error:
                log.warning("listed_message_ignored", sid=listed.sid, error=str(error))
        found.reverse()
        return Received(tuple(found), complete=read <= limit)

    async def with_media(self, message: InboundMessage, account: TwilioAccount) -> InboundMessage:
        """Raises `ListUnavailableError`."""
        if not has_files(message):
            return with_files(message, (), api_url=self._settings.api_url)

        async def listed(client: Client) -> list[MediaInstance]:
            messages = client.api.v2010.accounts(account.account_sid).messages
            stream = await messages(message.message_id).media.stream_async(limit=_MOST_FILES)
            return [file async for file in stream]

        with reading_the_list():
            files = await self._with_either_token(account, listed)
        return with_files(message, files, api_url=self._settings.api_url)

    async def show_typing(self, message_id: str, account: TwilioAccount) -> None:
        """For WhatsApp messages only; also marks the message read. Failures are logged, not raised."""
        request = TypingIndicatorList.TypingIndicatorRequest(
            {"channel": "whatsapp", "messageId": message_id}
        )
        try:
            await self._with_either_token(
                account,
                lambda client: client.messaging.v3.typing_indicator.create_async(request),
                typing=True,
            )
        except (TwilioAnswerError, httpx2.HTTPError, TimeoutError, ValueError) as error:
            log.info("typing_indicator_failed", message_id=message_id, error=_name(error))

    async def _create(
        self, client: Client, message: OutboundMessage, account: TwilioAccount
    ) -> MessageInstance:
        messages = client.api.v2010.accounts(account.account_sid).messages
        service = message.messaging_service_id
        template = message.template or quick_reply(message, account)
        return await messages.create_async(
            to=message.recipient,
            from_=values.unset if service else message.sender,
            messaging_service_sid=service or values.unset,
            body=message.body if template is None else values.unset,
            content_sid=values.unset if template is None else template.content_sid or values.unset,
            content_variables=values.unset
            if template is None or not template.variables
            else json.dumps(template.variables, ensure_ascii=False),
            status_callback=f"{self._callback_url}?{REPLY_PARAMETER}={quote(message.reply_id)}",
        )

    async def _with_either_token(
        self,
        account: TwilioAccount,
        call: Callable[[Client], Awaitable[T]],
        *,
        typing: bool = False,
    ) -> T:
        """A 401 is given before anything is done."""
        return await self._tokens.with_either(
            account,
            lambda token: call(self._client(account, token, typing=typing)),
            is_refusal=lambda e: isinstance(e, TwilioAnswerError) and e.status == 401,
        )

    def _client(self, account: TwilioAccount, token: str, *, typing: bool = False) -> Client:
        """Making an SDK client costs about as much as signing a hundred webhooks, so they are kept."""
        key = (account.account_sid, token, typing)
        client = self._clients.get(key)
        if client is None:
            client = Client(
                account.account_sid,
                token,
                http_client=self._typing_http if typing else self._http,
                # The SDK reads regions and credentials from the process' environment otherwise.
                environment={"TWILIO_REGION": ""},
            )
            client.api.base_url = self._settings.api_url
            client.messaging.base_url = self._settings.messaging_url
            self._clients[key] = client
            if len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)
        self._clients.move_to_end(key)
        return client


@contextmanager
def reading_the_list() -> Generator[None]:
    try:
        yield
    except TwilioAnswerError as error:
        text = f"Twilio's list answered {error.status} (code {error.code})"
        raise ListUnavailableError(text, retry_after=error.retry_after) from error
    except (httpx2.HTTPError, TimeoutError) as error:
        raise ListUnavailableError(f"Twilio's list can't be read: {_name(error)}") from error
    except ValueError as error:
        raise ListUnavailableError("Twilio's list isn't JSON") from error


def _sent(message: MessageInstance) -> SentMessage:
    try:
        status = DeliveryStatus(str(message.status))
    except ValueError:
        status = DeliveryStatus.ACCEPTED
    return SentMessage(
        message_id=message.sid or "",
        status=status,
        body=message.body or "",
        recipient=message.to or "",
        created_at=message.date_created,
    )


def _name(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
