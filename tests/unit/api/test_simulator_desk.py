"""What the stand-in for Twilio may ask of the ingress."""

from __future__ import annotations

from dataclasses import replace

from serve_app.api.simulator_desk import SimulatorDesk
from tests.unit.api.door import open_door, text_message
from tests.unit.conversation.stage import ACCOUNT_SID, owner

PROGRESS = "/webhooks/twilio/progress"
BUSINESSES = "/webhooks/twilio/businesses"


def with_desk(door):
    parts = door.app.state.parts
    door.app.state.parts = replace(
        parts,
        simulator_desk=SimulatorDesk(
            webhooks=parts.webhooks["twilio"],
            accounts=door.store.accounts,
            owners=door.store.owners,
            conversations=door.store.conversations,
            inbound=door.inbound,
        ),
    )


async def test_where_no_simulator_runs_there_is_nothing_to_ask():
    async with open_door() as door:
        asked = [("AccountSid", ACCOUNT_SID)]
        assert (await door.post(asked, path=BUSINESSES)).status_code == 404


async def test_only_the_account_itself_may_ask():
    async with open_door() as door:
        with_desk(door)
        await door.store.owners.save(owner())
        asked = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM" + "0" * 31 + "1")]
        for signature in ("", "bm90IGl0"):
            for path in (PROGRESS, BUSINESSES):
                assert (await door.post(asked, path=path, signature=signature)).status_code == 403
        assert (await door.post(asked, path="/webhooks/twilio/else")).status_code == 403
        assert (await door.post(asked, path=BUSINESSES)).status_code == 200
        assert (await door.post(asked, path=PROGRESS)).json() == {"state": "unknown"}
        await door.post(text_message())
        told = (await door.post(asked, path=PROGRESS)).json()
        assert told["attempts"] == 0
        assert len(told["correlation_id"]) == 32
