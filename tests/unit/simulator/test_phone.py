"""The phone's pieces: events, recordings, a message's way."""

from __future__ import annotations

import io
import json
import math
import struct
import wave

import av
import httpx2
import pytest
from pydantic import SecretStr

from serve_app.settings import PROJECT_ROOT
from serve_app.simulator.app import create_simulator
from serve_app.simulator.events import Event, EventHub
from serve_app.simulator.journey import journey
from serve_app.simulator.recordings import VoiceNotes
from serve_app.simulator.settings import SimulatorSettings
from serve_app.simulator.state import SimMessage, SimulatorState

CONTACT = "whatsapp:+15551234567"


async def test_a_subscriber_hears_of_its_contacts_alone():
    hub = EventHub()
    with hub.subscribe([CONTACT]) as subscription:
        hub.tell(Event("message", "whatsapp:+15550000000", "SM1"))
        hub.tell(Event("message", CONTACT, "SM2"))
        assert await subscription.next(seconds=1) == Event("message", CONTACT, "SM2")
        assert await subscription.next(seconds=0.01) is None
    hub.tell(Event("message", CONTACT, "SM3"))
    assert await subscription.next(seconds=0.01) is None


async def test_who_is_too_slow_is_told_to_read_again():
    hub = EventHub(queue_size=3)
    with hub.subscribe([CONTACT]) as subscription:
        for number in range(4):
            hub.tell(Event("message", CONTACT, f"SM{number}"))
        assert await subscription.next(seconds=1) == Event("lagged")
        hub.tell(Event("typing", CONTACT, "SM9"))
        assert await subscription.next(seconds=1) == Event("typing", CONTACT, "SM9")


async def test_a_recording_becomes_ogg_with_opus():
    recorded = io.BytesIO()
    with wave.open(recorded, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(44_100)
        for number in range(22_050):
            level = int(9_000 * math.sin(number / 20))
            out.writeframes(struct.pack("<hh", level, level))
    notes = VoiceNotes()
    try:
        note = await notes.convert(recorded.getvalue())
        for rubbish in (b"", b"no sound at all" * 50):
            with pytest.raises(ValueError, match="recording"):
                await notes.convert(rubbish)
    finally:
        notes.close()
    with av.open(io.BytesIO(note)) as decoded:
        stream = decoded.streams.audio[0]
        assert (decoded.format.name, stream.codec_context.name) == ("ogg", "libopus") or (
            decoded.format.name,
            stream.codec_context.name,
        ) == ("ogg", "opus")
        assert stream.layout.name == "mono"
        seconds = sum(frame.samples for frame in decoded.decode(audio=0)) / 48_000
    assert seconds == pytest.approx(0.5, abs=0.05)


class Told:
    """A service that tells what it is told to."""

    def __init__(self, **progress: object) -> None:
        self._progress = progress or None

    async def progress(self, message: SimMessage) -> dict[str, object] | None:
        return self._progress


def a_message(state: SimulatorState) -> SimMessage:
    message = SimMessage("SM1", "inbound", CONTACT, "whatsapp:+15550142700", "hi", "received")
    message.posted_at, message.acknowledged_at, message.webhook_status = 1000.0, 1000.004, 200
    state.add(message)
    return message


async def test_a_way_joins_what_both_sides_saw():
    state = SimulatorState(max_messages=9, max_media_bytes=9)
    message = a_message(state)
    reply = SimMessage("SM2", "outbound-api", "+1", CONTACT, "hello", "queued")
    reply.trail = [("queued", 1000.5), ("sent", 1000.6), ("delivered", 1000.7)]
    state.add(reply)
    reply.trail = reply.trail[:3]
    service = Told(
        state="done",
        turn_id="t",
        received_at="1970-01-01T00:16:40.002+00:00",
        timings=[{"step": "answer", "started_s": 0.3, "seconds": 0.1}],
        replies=[
            {
                "status": "sent",
                "body": "hello",
                "provider_message_id": "SM2",
                "sending_since": "1970-01-01T00:16:40.450+00:00",
            }
        ],
    )
    found = await journey(message, state=state, service=service)  # type: ignore[arg-type]
    assert [(s["name"], s["at_ms"], s["ms"]) for s in found["steps"]] == [
        ("webhook", 0.0, 4.0),
        ("answer", 302.0, 100.0),
    ]
    sending = found["replies"][0]["steps"]
    assert [(s["name"], s["at_ms"], s["ms"]) for s in sending] == [
        ("outbound", 402.0, 48.0),
        ("handover", 450.0, 50.0),
    ]
    marks = {mark["name"]: mark["at_ms"] for mark in found["replies"][0]["marks"]}
    assert marks == {"queued": 500.0, "sent": 600.0, "delivered": 700.0}
    assert not found["done"], "it may still be read"
    reply.ended = True
    found = await journey(message, state=state, service=service)  # type: ignore[arg-type]
    assert found["done"]


async def test_a_way_that_nobody_tells_of_is_what_was_seen_from_here():
    state = SimulatorState(max_messages=9, max_media_bytes=9)
    found = await journey(a_message(state), state=state, service=Told())  # type: ignore[arg-type]
    assert [step["name"] for step in found["steps"]] == ["webhook"]
    assert not found["known"]
    assert not found["done"]


async def test_the_page_and_its_parts_are_served_strictly():
    app = create_simulator(SimulatorSettings(auth_token=SecretStr("t")))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://sim") as http:
        page = await http.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "unsafe" not in page.headers["content-security-policy"]
        for name in (PROJECT_ROOT / "serve_app" / "simulator" / "pages").iterdir():
            part = await http.get(f"/phone/{name.name}")
            assert part.status_code == 200
            assert part.headers["x-content-type-options"] == "nosniff"
        assert (await http.get("/phone/..%2Fapp.py")).status_code == 404
        # FastAPI's pages of the description load their scripts from a CDN.
        assert (await http.get("/simulator/openapi.json")).status_code == 200
        for gone in ("/simulator/docs", "/docs", "/redoc"):
            assert (await http.get(gone)).status_code == 404
        assert (await http.get("/simulator/messages/SM404/journey")).status_code == 404
        wrong = {
            "from": CONTACT,
            "to": "+1",
            "media": [{"content_base64": "AAAA", "recorded": True}],
        }
        refused = await http.post("/simulator/messages", content=json.dumps(wrong))
        assert refused.status_code == 422


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://sim:9999"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://sim"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_page_in_the_same_browser_steers_nothing(headers: dict[str, str]):
    app = create_simulator(SimulatorSettings(auth_token=SecretStr("t")))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://sim") as http:
        await http.put("/simulator/faults", json={"error_before": 0.5})
        for method, path in (
            ("POST", "/simulator/reset"),
            ("PUT", "/simulator/faults"),
            ("POST", "/simulator/messages"),
            ("PUT", "/simulator/accounts/AC1"),
        ):
            refused = await http.request(method, path, json={}, headers=headers)
            assert refused.status_code == 403, path
        assert (await http.get("/simulator/faults")).json()["error_before"] == 0.5
        assert (await http.get("/simulator/stats", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://sim", "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
)
async def test_its_own_page_and_programs_may(headers: dict[str, str]):
    app = create_simulator(SimulatorSettings(auth_token=SecretStr("t")))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://sim") as http:
        assert (await http.post("/simulator/reset", headers=headers)).status_code == 204
