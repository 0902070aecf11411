"""Takes STOP and START down before their webhook is answered.

They don't wait for their turn, which may be behind one that the assistant is still thinking about: its reply
must not be sent any more.
"""

from __future__ import annotations

import asyncio

import structlog

from models.consent import ConsentWord
from models.conversations import ConsentChange
from models.errors import RecadoError
from models.jobs import NewJob
from models.messages import InboundMessage
from serve_app.api.deadline import within
from serve_app.ports import ConsentRepository

log = structlog.get_logger(__name__)

LOOK_S = 0.05
"""Between two looks whether a reply that was on its way has left."""


class ConsentIntake:
    """`timeout_s` is how long the webhook waits for Postgres, and then for a reply on its way."""

    def __init__(self, *, consents: ConsentRepository, timeout_s: float) -> None:
        self._consents = consents
        self._timeout_s = timeout_s

    async def take(self, message: InboundMessage) -> NewJob | None:
        """Returns a job for the status queue if Postgres didn't take it: while Postgres is away nothing is
        sent either, and that queue is worked as soon as it is back."""
        word = message.consent
        if word not in (ConsentWord.STOP, ConsentWord.START):
            return None
        stop = word is ConsentWord.STOP
        try:
            change = await within(self._timeout_s, self._consents.apply(message, stop=stop))
        except (RecadoError, TimeoutError) as error:
            log.warning("consent_not_taken_down_yet", error=str(error))
            return consent_job(message)
        if stop and change is not None and change.changed:
            await self._await_sends(change)
        return None

    async def _await_sends(self, change: ConsentChange) -> None:
        """What was let go before counts as sent before; nobody shall see it arrive after the answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while await self._consents.is_sending_to(change.contact_id):  # noqa: ASYNC110
                    # What is waited for is another process' doing.
                    await asyncio.sleep(LOOK_S)
        except (RecadoError, TimeoutError) as error:
            log.info("consent_did_not_wait", error=str(error))


def consent_job(message: InboundMessage) -> NewJob:
    return NewJob(
        id=f"consent:{message.job_id}",
        conversation=f"consent:{message.conversation_key}",
        payload=message.model_dump_json(),
    )
