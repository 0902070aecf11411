"""Delivers notes to owners: signed webhooks, or a message to a number. Tried again until they arrive.

Webhooks follow the Standard Webhooks specification (standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`, an HMAC-SHA256 in base64 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from random import Random, SystemRandom

import structlog
from pydantic import SecretStr

from models.conversations import Note
from models.errors import (
    PermanentError,
    RecadoError,
    RetryableError,
    SendUnknownError,
    SnoozeError,
)
from serve_app.conversation.note_messages import NoteMessages
from serve_app.network import GuardedHttp
from serve_app.ports import (
    Clock,
    NoteRepository,
    OwnerRepository,
    OwnerSecretRepository,
)
from serve_app.settings import NoteSettings

log = structlog.get_logger(__name__)

_BATCH = 20
_MOST_ANSWER_BYTES = 65_536
_SECRET_PREFIX = "whsec_"  # noqa: S105 - how the specification marks a secret in base64


class NoteSender:
    """A loop beside the senders; any number may run."""

    def __init__(
        self,
        *,
        notes: NoteRepository,
        owners: OwnerRepository,
        secrets: OwnerSecretRepository,
        messages: NoteMessages,
        http: GuardedHttp,
        clock: Clock,
        settings: NoteSettings,
        random: Random | None = None,
    ) -> None:
        self._notes = notes
        self._owners = owners
        self._secrets = secrets
        self._messages = messages
        self._http = http
        self._clock = clock
        self._settings = settings
        self._random = random or SystemRandom()

    async def run(self) -> None:
        """Until cancelled; a store that is away is tried again at the next round."""
        failing = False
        while True:
            try:
                while await self.send_due() >= _BATCH:
                    continue
                failing = False
            except RecadoError as error:
                if not failing:
                    log.warning("notes_wait", error=str(error))
                failing = True
            except Exception:
                # The replica's health hangs on this loop; one bad row must not restart it for ever.
                log.exception("notes_failed")
            await self._clock.sleep(self._settings.interval_s)

    async def send_due(self) -> int:
        """Deliver what is due, once; returns how many notes that were."""
        due = await self._notes.take_due(limit=_BATCH, lease_s=self._settings.lease_s)
        for note in due:
            await self._send(note)
        return len(due)

    async def _send(self, note: Note) -> None:
        try:
            if note.destination == "webhook":
                await self._post(note)
            else:
                await self._messages.send(note)
        except SnoozeError as error:
            await self._notes.retry(note.id, delay_s=error.delay_s, error=str(error), counted=False)
        except RetryableError as error:
            await self._put_off(note, error)
        except PermanentError as error:
            await self._notes.settle(note.id, error=str(error))
            log.error("note_given_up", note=note.id, owner=note.owner_id, error=str(error))
        except SendUnknownError as error:
            # It may have arrived: somebody told twice minds more than a warning in the log.
            await self._notes.settle(note.id, error=str(error))
            log.warning("note_in_doubt", note=note.id, owner=note.owner_id, error=str(error))
        else:
            await self._notes.settle(note.id)
            log.info("note_sent", note=note.id, owner=note.owner_id, to=note.destination)

    async def _put_off(self, note: Note, error: RetryableError) -> None:
        if note.attempts + 1 >= self._settings.max_attempts:
            await self._notes.settle(note.id, error=str(error))
            log.error("note_given_up", note=note.id, owner=note.owner_id, error=str(error))
            return
        ceiling = min(
            self._settings.backoff_cap_s, self._settings.backoff_base_s * 2.0**note.attempts
        )
        asked = min(self._settings.backoff_cap_s, error.retry_after or 0.0)
        delay = max(self._random.uniform(ceiling / 2, ceiling), asked)
        await self._notes.retry(note.id, delay_s=delay, error=str(error))
        log.warning("note_put_off", note=note.id, delay_s=round(delay, 1), error=str(error))

    async def _post(self, note: Note) -> None:
        owner = await self._owners.get(note.owner_id)
        name = "" if owner is None else owner.assistant.people.notify_secret
        secret = await self._secrets.get(note.owner_id, name)
        if secret is None:
            raise PermanentError(
                f"the owner has no secret {name}: `recado owners secret {note.owner_id} {name}`"
            )
        body = json.dumps(note.content, ensure_ascii=False).encode()
        at = int(self._clock.now().timestamp())
        answer = await self._http.request(
            "POST",
            note.target,
            headers={
                "Content-Type": "application/json",
                "webhook-id": note.id,
                "webhook-timestamp": str(at),
                "webhook-signature": signature(secret, note_id=note.id, timestamp=at, body=body),
            },
            content=body,
            timeout_s=self._settings.timeout_s,
            max_bytes=_MOST_ANSWER_BYTES,
        )
        if 200 <= answer.status < 300:
            return
        if answer.status == 410:
            raise PermanentError("the webhook's receiver is gone for good (410)")
        wait = answer.retry_after
        raise RetryableError(
            f"the webhook was answered {answer.status}",
            retry_after=float(wait) if wait and wait.isascii() and wait.isdigit() else None,
        )


def signature(secret: SecretStr, *, note_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC. A secret that begins with `whsec_` is base64, another is taken as it is."""
    value = secret.get_secret_value()
    key = value.encode()
    if value.startswith(_SECRET_PREFIX):
        try:
            key = base64.b64decode(value.removeprefix(_SECRET_PREFIX), validate=True)
        except binascii.Error as error:
            raise PermanentError("the secret for notes isn't base64 behind whsec_") from error
    signed = f"{note_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
