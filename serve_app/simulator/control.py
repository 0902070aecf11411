"""The simulator's own API: write as a contact, read along, cause trouble."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from serve_app.simulator.accounts import Accounts
from serve_app.simulator.faults import FaultDie
from serve_app.simulator.inbound import Inbound, NewInbound
from serve_app.simulator.own_pages import refuse_other_pages
from serve_app.simulator.settings import Faults
from serve_app.simulator.state import SimMessage, SimulatorState
from serve_app.simulator.whatsapp_cloud.inbound import CloudInbound

_MAX_WAIT_S = 60.0


class NewAccount(BaseModel):
    model_config = ConfigDict(extra="forbid")

    auth_token: SecretStr = Field(min_length=1)


def control_router(
    *,
    state: SimulatorState,
    accounts: Accounts,
    inbound: Inbound,
    cloud: CloudInbound,
    die: FaultDie,
) -> APIRouter:
    router = APIRouter(
        prefix="/simulator", tags=["simulator"], dependencies=[Depends(refuse_other_pages)]
    )

    @router.post("/messages")
    async def write(new: NewInbound) -> dict[str, object]:
        """Send a message as a contact and wait for the webhook's answer."""
        try:
            if new.channel == "whatsapp_cloud":
                message, value = cloud.store(new)
                posts = [cloud.post(message, value) for _ in range(new.copies)]
            else:
                message, params = await inbound.store(new)
                posts = [inbound.post(message, params) for _ in range(new.copies)]
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        deliveries = await asyncio.gather(*posts)
        first = deliveries[0]
        return {
            "message_sid": message.sid,
            "cursor": message.cursor,
            "webhook_status": first.status,
            "webhook_statuses": [delivery.status for delivery in deliveries],
            "attempts": first.attempts,
            "seconds": round(first.seconds, 6),
        }

    @router.get("/messages")
    async def read(
        contact: str | None = None,
        after: int = 0,
        wait_s: Annotated[float, Query(ge=0, le=_MAX_WAIT_S)] = 0.0,
    ) -> dict[str, object]:
        """Messages beyond the cursor `after`, oldest first; waits for an outbound one if asked to."""
        if wait_s > 0:
            await state.wait_for_outbound(after, contact=contact, seconds=wait_s)
        messages = state.after(after, contact=contact)
        return {
            "messages": [message_document(message, state) for message in messages],
            "cursor": messages[-1].cursor if messages else after,
        }

    @router.get("/typing")
    async def typing() -> dict[str, object]:
        return {"typing": state.typing}

    @router.get("/stats")
    async def stats() -> dict[str, int]:
        """Counts since the last reset: requests, accepted messages, faults that struck, callbacks."""
        return dict(state.counts)

    @router.get("/faults")
    async def faults() -> Faults:
        return die.faults

    @router.put("/faults")
    async def set_faults(new: Faults) -> Faults:
        """Replace all faults; members left out are off."""
        die.set(new)
        return new

    @router.put("/accounts/{account_sid}", status_code=204)
    async def put_account(account_sid: str, new: NewAccount) -> None:
        """A further account, or a new token for one that is there."""
        accounts.put(account_sid, new.auth_token.get_secret_value())

    @router.post("/reset", status_code=204)
    async def reset() -> None:
        """Forget messages, files, counts and faults. Cursors keep counting."""
        state.clear()
        die.set(Faults())

    _ = (write, read, typing, stats, faults, set_faults, put_account, reset)
    return router


def message_document(message: SimMessage, state: SimulatorState) -> dict[str, object]:
    files = [file for sid in message.media if (file := state.file(sid)) is not None]
    return {
        "cursor": message.cursor,
        "sid": message.sid,
        "direction": "inbound" if message.direction == "inbound" else "outbound",
        "account_sid": message.account_sid,
        "messaging_service_sid": message.messaging_service_sid,
        "from": message.sender,
        "to": message.recipient,
        "body": message.body,
        "status": message.status,
        "error_code": message.error_code,
        "media": list(message.media),
        "files": [{"sid": file.sid, "content_type": file.content_type} for file in files],
        "buttons": [{"text": title, "payload": title} for title in message.buttons],
        "details": message.details,
        "webhook_status": message.webhook_status,
        "settled": message.acknowledged_at is not None,
        "created_at": message.created.isoformat(),
        "at": message.created_at,
    }
