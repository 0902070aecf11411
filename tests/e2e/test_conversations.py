"""What people get who write to the running product."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.e2e.product import NOTES, Product, await_replies, replies, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

SATURDAY = "On Saturday we are open from 09:00 to 16:30."


def test_a_text_is_answered(product: Product) -> None:
    said = product.say("what time do you open on saturday", phone="whatsapp:+15551000001")
    assert said.returncode == 0, said.stdout + said.stderr
    assert SATURDAY in said.stdout
    assert "answer" in said.stdout


def test_a_voice_note_is_heard_and_answered(product: Product) -> None:
    note = str(NOTES / "hours-saturday.ogg")
    said = product.say("--audio", note, phone="whatsapp:+15551000002")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "heard: What are your opening hours on Saturday?" in said.stdout
    assert SATURDAY in said.stdout


def test_silence_gets_a_friendly_reply(product: Product) -> None:
    note = str(NOTES / "silence.ogg")
    said = product.say("--audio", note, phone="whatsapp:+15551000003")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "heard: (nothing)" in said.stdout
    assert "couldn't hear anything" in said.stdout


def test_no_reply_in_time_tells_where_the_message_is(product: Product) -> None:
    phone = "whatsapp:+15551000008"
    # Shorter than the quiet time that a conversation must have before its turn.
    said = product.say("are dogs allowed", "--timeout", "0.2", phone=phone)
    assert said.returncode == 1
    assert "It is in the queue (delayed, 0 failed attempts)" in said.stdout
    with product.simulator as client:
        assert len(await_replies(client, phone)) == 1


def test_forged_webhooks_are_refused(product: Product) -> None:
    url = f"{product.url}/webhooks/twilio"
    form = {"AccountSid": "AC1", "MessageSid": "SM1", "From": "a", "To": "b", "Body": "hi"}
    assert httpx2.post(url, data=form, trust_env=False).status_code == 403
    assert httpx2.post(url, json=form, trust_env=False).status_code == 415
    large = {**form, "Body": "x" * 300_000}
    assert httpx2.post(url, data=large, trust_env=False).status_code == 413
    paths = httpx2.get(f"{product.url}/openapi.json", trust_env=False).json()["paths"]
    assert "/webhooks/twilio/status" in paths


def test_three_messages_within_a_second_get_one_reply(product: Product) -> None:
    phone = "whatsapp:+15551000004"
    with product.simulator as client:
        for body in ("hi", "what time do you open on saturday", "and where are you"):
            write(client, phone, body)
            time.sleep(0.3)
        bodies = await_replies(client, phone)
        time.sleep(3)
        assert len(replies(client, phone)) == len(bodies) == 1
        assert "09:00" in bodies[0]
        assert "27 Garden Lane" in bodies[0]
        assert bodies[0].index("09:00") < bodies[0].index("27 Garden Lane")


def test_fifty_conversations_at_once_each_get_their_own_reply(product: Product) -> None:
    days = {
        "monday": "Monday",
        "friday": "22:00",
        "saturday": "16:30",
        "sunday": "closed",
        "tuesday": "Tuesday",
    }
    people = {
        f"whatsapp:+155520000{number:02d}": list(days)[number % len(days)] for number in range(50)
    }
    with product.simulator as client:
        with ThreadPoolExecutor(16) as pool:
            asked = [
                pool.submit(write, client, phone, f"when do you open on {day}")
                for phone, day in people.items()
            ]
            for future in asked:
                future.result()
        for phone, day in people.items():
            bodies = await_replies(client, phone, timeout_s=90)
            assert len(bodies) == 1
            assert days[day] in bodies[0]


def test_the_delivery_report_comes_back(product: Product) -> None:
    phone = "whatsapp:+15551000005"
    assert product.say("where are you", phone=phone).returncode == 0
    with product.simulator as client:
        deadline = time.monotonic() + 20
        while replies(client, phone)[0]["status"] != "read":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    log = product.data_dir / "logs" / "recado.log"
    deadline = time.monotonic() + 20
    while not _chain(log.read_text()):
        assert time.monotonic() < deadline, "no correlation id from the webhook to the report"
        time.sleep(0.2)


def _chain(log: str) -> bool:
    """Whether some correlation id is on each process' lines, to the delivery report."""
    told: dict[str, set[tuple[str, str]]] = {}
    for line in log.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if "correlation_id" in entry:
                found = told.setdefault(entry["correlation_id"], set())
                found.add((entry["service"], entry["event"]))
    whole = {
        ("ingress", "webhook_accepted"),
        ("worker", "turn_finished"),
        ("sender", "reply_sent"),
        ("sender", "delivery_report"),
    }
    return any(whole <= found for found in told.values())


def test_nothing_personal_is_logged(product: Product) -> None:
    phone = "whatsapp:+15551000006"
    assert product.say("do you have wifi", phone=phone).returncode == 0
    log = (product.data_dir / "logs" / "recado.log").read_text()
    assert "15551000006" not in log
    assert "do you have wifi" not in log


def test_a_killed_worker_costs_no_reply_and_repeats_none(product: Product) -> None:
    people = [f"whatsapp:+155530000{number:02d}" for number in range(12)]
    with product.simulator as client:
        worker = product.replica("Worker")
        # Killed while these turns are somewhere between being taken and being answered.
        killer = threading.Timer(1.25, worker.kill)
        killer.start()
        for phone in people:
            write(client, phone, "how much is a flat white")
        killer.join()
        for phone in people:
            assert await_replies(client, phone, timeout_s=90) == ["The flat white is 3.80 euros."]
        time.sleep(2)
        assert [len(replies(client, phone)) for phone in people] == [1] * len(people)
    assert product.replica("Worker").pid != worker.pid


def test_what_fails_is_retried_then_dead_then_replayed(product: Product) -> None:
    phone = "whatsapp:+15551000007"
    note = NOTES / "hours-saturday.ogg"
    with product.simulator as client:
        client.put("/simulator/faults", json={"media_500": 1.0}).raise_for_status()
        try:
            said = product.say("--audio", str(note), "--timeout", "5", phone=phone)
            deadline = time.monotonic() + 60
            while "exhausted" not in (listed := product.recado("dead", "list")).stdout:
                assert time.monotonic() < deadline, said.stdout + listed.stdout + listed.stderr
                time.sleep(0.5)
        finally:
            client.put("/simulator/faults", json={}).raise_for_status()
        dead_id = next(word for word in listed.stdout.split() if word.startswith("inbound/"))
        shown = product.recado("dead", "show", dead_id)
        assert [f"attempt {n}" in shown.stdout for n in (1, 2, 3, 4)] == [True, True, True, False]
        apology = await_replies(client, phone)
        assert "something went wrong" in apology[0]
        assert product.recado("dead", "replay", dead_id).returncode == 0
        assert SATURDAY in await_replies(client, phone, 2)
    assert "No dead letters" in product.recado("dead", "list").stdout
