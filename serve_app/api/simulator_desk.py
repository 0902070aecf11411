"""What the stand-in for Twilio may ask, so that its phone can show a message's way.

Not part of Twilio's interface: it is there only where the simulator runs, and each request is signed
as a webhook is.
"""

from __future__ import annotations

from typing import Any

from models.errors import SignatureError
from models.messages import DeliveryStatus
from serve_app.api.webhook_service import WebhookService
from serve_app.ports import (
    ConversationRepository,
    OwnerRepository,
    Queue,
    TwilioAccountRepository,
    WebhookRequest,
)

CHANNEL = "twilio"


class SimulatorDesk:
    """Answers `progress` (of `MessageSid`) and `businesses`, for the account that signs."""

    def __init__(
        self,
        *,
        webhooks: WebhookService,
        accounts: TwilioAccountRepository,
        owners: OwnerRepository,
        conversations: ConversationRepository,
        inbound: Queue,
    ) -> None:
        self._webhooks = webhooks
        self._accounts = accounts
        self._owners = owners
        self._conversations = conversations
        self._inbound = inbound

    async def answer(self, question: str, request: WebhookRequest) -> dict[str, Any]:
        """Raises `SignatureError`, also for a question that there isn't."""
        (account_sid,) = await self._webhooks.verify(request)
        if question == "businesses":
            return {"businesses": await self._businesses(account_sid)}
        if question == "progress":
            return await self._progress(account_sid, dict(request.params).get("MessageSid", ""))
        raise SignatureError(f"there is no question {question}")

    async def _businesses(self, account_sid: str) -> list[dict[str, Any]]:
        names = {owner.id: owner.name for owner in await self._owners.list_all()}
        return [
            {
                "name": names.get(account.owner_id, account.owner_id),
                "numbers": [number.address for number in account.phone_numbers],
            }
            for account in await self._accounts.list_all()
            if account.account_sid == account_sid and account.active and account.phone_numbers
        ]

    async def _progress(self, account_sid: str, message_id: str) -> dict[str, Any]:
        state, job = await self._inbound.job_state(f"{CHANNEL}:{account_sid}:{message_id}")
        found = await self._conversations.progress(account_sid=account_sid, message_id=message_id)
        answer: dict[str, Any] = {"state": state.value}
        if job is not None:
            answer["attempts"] = job.attempts
            answer["correlation_id"] = job.trace.get("correlation_id")
            if job.history:
                answer["error"] = f"{job.history[-1].error_type}: {job.history[-1].message}"
        if found is None:
            return answer
        answer |= found.model_dump(mode="json", include={"received_at", "transcript", "turn_id"})
        answer["timings"] = [timing.model_dump() for timing in found.timings]
        answer["replies"] = [
            {
                "id": reply.id,
                "body": reply.body,
                "status": reply.status.value,
                "delivery": (reply.delivery or DeliveryStatus.ACCEPTED).value,
                "provider_message_id": reply.provider_message_id,
                "sending_since": reply.sending_since and reply.sending_since.isoformat(),
            }
            for reply in found.replies
        ]
        for reply in found.replies:
            answer.setdefault("correlation_id", reply.trace.get("correlation_id"))
        return answer
