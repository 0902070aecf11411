"""Looks for replies that fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx2
import pytest

from serve_app.ops.load.arrivals import TrafficPlan
from serve_app.ops.load.ledger import Ledger
from serve_app.ops.load.traffic import LOOKS_IN_VAIN, Material, Traffic


class Simulator:
    """Answers the one message as soon as somebody looks who isn't turned away."""

    def __init__(self, *, turns_away: int) -> None:
        self.left = turns_away
        self.contact = ""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            self.contact = json.loads(request.content)["from"]
            return httpx2.Response(
                200, json={"cursor": 1, "webhook_status": 200, "seconds": 0.01}, request=request
            )
        if self.left:
            self.left -= 1
            raise httpx2.RemoteProtocolError("closed as it was used", request=request)
        reply = {"at": time.time() + 1, "direction": "outbound-api", "to": self.contact}
        return httpx2.Response(200, json={"cursor": 2, "messages": [reply]}, request=request)


async def run(simulator: Callable[[httpx2.Request], httpx2.Response]) -> Ledger:
    ledger = Ledger()
    plan = TrafficPlan(
        rate=50.0, seconds=1.0, voice_share=0.0, burst=1.0, owners=1, people=1, max_messages=1
    )
    transport = httpx2.MockTransport(simulator)
    async with httpx2.AsyncClient(transport=transport, base_url="http://simulator") as http:
        material = Material(texts=("hello",), voice_notes=())
        run = Traffic(
            plan=plan, http=http, numbers=["whatsapp:+1"], material=material, ledger=ledger
        )
        await run.run(drain_s=10)
    return ledger


@pytest.mark.parametrize("turns_away", [0, 1, LOOKS_IN_VAIN - 1])
async def test_a_look_that_is_repeated_is_no_error(turns_away: int) -> None:
    ledger = await run(Simulator(turns_away=turns_away))
    assert (dict(ledger.errors), ledger.open) == ({}, 0)


async def test_looks_that_go_on_failing_are() -> None:
    ledger = await run(Simulator(turns_away=LOOKS_IN_VAIN))
    assert dict(ledger.errors) == {"reading replies: RemoteProtocolError": 1}
