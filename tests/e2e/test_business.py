"""What a business does with its assistant while the product runs, and what its contacts see of it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from serve_app.conversation.catalogue import TextCatalogue
from tests.e2e.product import NOTES, Product, await_replies, replies
from tests.e2e.product import NUMBER as CAFE_NUMBER
from tests.fixtures.store_search import places_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

SID = "AC" + "e" * 32
NUMBER = "whatsapp:+15550142801"
KIOSK_NUMBER = "whatsapp:+15550142802"
TOKEN, NEW_TOKEN = "florists0token" * 2, "florists1token" * 2
QUESTION = "what time do you open on saturday"
OWNER = """
id: {id}
name: Corner Florist
timezone: Europe/Lisbon
plan: {{code: {id}, monthly_messages: {quota}}}
assistant:
  instructions: You are the assistant of the Corner Florist. State only facts that a tool returned.
  tools: [opening_hours, menu, business_info, hand_over]
  people: {{keywords: [a real person]}}
  texts: {{outside_hours: "We are out in the garden."}}
  facts:
    opening_hours: {{saturday: ["09:15", "13:45"], sunday: null}}
accounts:
  - id: {id}-twilio
    account_sid: {sid}
    auth_token_env: FLORIST_TOKEN
    phone_numbers: ["{number}"]
"""
TEXTS = TextCatalogue.load()


def says(key: str) -> str:
    return TEXTS.text(key, "en").format(business="Corner Florist")


@dataclass
class Florist:
    """A business with an account of its own at Twilio, beside the café's."""

    product: Product
    folder: Path
    phone: httpx2.Client

    def recado(self, *args: str) -> str:
        done = self.product.recado(*args, "--config", str(self.product.config))
        assert done.returncode == 0, done.stdout + done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout

    def apply(self, *, id: str, number: str, quota: str) -> str:
        file = self.folder / f"{id}.yaml"
        file.write_text(OWNER.format(id=id, number=number, quota=quota, sid=SID))
        return self.recado("apply", str(file))

    def token_is(self, token: str) -> None:
        """At Twilio."""
        url = f"/simulator/accounts/{SID}"
        self.phone.put(url, json={"auth_token": token}).raise_for_status()

    def write(self, contact: str, body: str, *, to: str = NUMBER, **more: object) -> str:
        message = {"from": contact, "to": to, "body": body, "account_sid": SID, **more}
        answer = self.phone.post("/simulator/messages", json=message).json()
        assert answer["webhook_status"] == 200, answer
        return answer["message_sid"]

    def ask(self, contact: str, body: str, **more: Any) -> str:
        """What is answered next."""
        before = len(replies(self.phone, contact))
        self.write(contact, body, **more)
        return await_replies(self.phone, contact, before + 1)[before]

    def write_in_vain(self, contact: str, body: str) -> None:
        """The turn is over, and nothing was said."""
        before = len(replies(self.phone, contact))
        sid = self.write(contact, body)
        until(lambda: self.phone.get(f"/simulator/messages/{sid}/journey").json()["done"])
        assert len(replies(self.phone, contact)) == before


def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def florist(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Florist]:
    with product.simulator as phone:
        florist = Florist(product, tmp_path_factory.mktemp("florist"), phone)
        florist.token_is(TOKEN)
        product.extra |= {"FLORIST_TOKEN": TOKEN, "FLORIST_NEW_TOKEN": NEW_TOKEN}
        try:
            florist.apply(id="e2e-florist", number=NUMBER, quota="null")
            yield florist
        finally:
            del product.extra["FLORIST_TOKEN"], product.extra["FLORIST_NEW_TOKEN"]


def test_an_assistant_that_is_edited_answers_the_next_message_differently(
    florist: Florist,
) -> None:
    contact = "whatsapp:+15558100001"
    hours = "facts.opening_hours.saturday=[10:20, 15:10]"
    assert "[10:20, 15:10]" in florist.recado("assistant", "set", "e2e-florist", hours)
    assert "10:20 to 15:10" in florist.ask(contact, QUESTION)

    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    closed = f"business_hours={{{', '.join(f'{day}: null' for day in days)}}}"
    florist.recado("assistant", "set", "e2e-florist", closed, "outside_hours=text")
    assert florist.ask(contact, QUESTION) == "We are out in the garden."
    florist.recado("assistant", "set", "e2e-florist", "business_hours=", "outside_hours=answer")


def test_a_quota_that_is_used_up_is_a_polite_refusal(florist: Florist) -> None:
    florist.apply(id="e2e-kiosk", number=KIOSK_NUMBER, quota="1")
    one, two = "whatsapp:+15558100002", "whatsapp:+15558100003"
    assert "09:15 to 13:45" in florist.ask(one, QUESTION, to=KIOSK_NUMBER)
    assert florist.ask(two, QUESTION, to=KIOSK_NUMBER) == says("quota_exceeded")
    assert florist.ask(one, QUESTION, to=KIOSK_NUMBER) == says("quota_exceeded")
    assert "1 (of 1)" in florist.recado("owners", "show", "e2e-kiosk")


def test_a_person_has_the_conversation_until_it_is_given_back(florist: Florist) -> None:
    contact = "whatsapp:+15558100004"
    assert florist.ask(contact, "I want A REAL PERSON") == says("handed_over")
    florist.write_in_vain(contact, QUESTION)
    florist.write_in_vain(contact, "hello?")
    assert contact in florist.recado("conversations", "list")
    florist.recado("conversations", "give-back", contact)
    assert "saturday" in florist.ask(contact, QUESTION).lower()


def test_after_stop_there_is_silence_until_start(florist: Florist) -> None:
    contact = "whatsapp:+15558100005"
    assert florist.ask(contact, "STOP") == says("opted_out")
    florist.write_in_vain(contact, QUESTION)
    florist.write_in_vain(contact, "STOP")
    assert florist.ask(contact, "START") == says("opted_in")
    assert "saturday" in florist.ask(contact, QUESTION).lower()


def test_accounts_side_by_side_and_a_token_changed_without_a_gap(florist: Florist) -> None:
    theirs, ours = "whatsapp:+15558100006", "whatsapp:+15558100007"
    florist.ask(theirs, QUESTION)
    assert "09:00 to 16:30" in florist.ask(ours, QUESTION, to=CAFE_NUMBER, account_sid=None)
    accounts = {
        contact: {reply["account_sid"] for reply in replies(florist.phone, contact)}
        for contact in (theirs, ours)
    }
    assert accounts[theirs] == {SID}
    assert SID not in accounts[ours]

    # The new token is here before it is Twilio's: voice notes and replies go by the former.
    florist.recado("accounts", "rotate", "e2e-florist-twilio", "--token-env", "FLORIST_NEW_TOKEN")
    florist.ask(theirs, "", media=[voice_note("hours-saturday.ogg")])
    florist.token_is(NEW_TOKEN)
    heard = florist.ask(theirs, "", media=[voice_note("hours-saturday.ogg")])
    assert "saturday" in heard.lower()


def voice_note(name: str) -> dict[str, str]:
    content = base64.b64encode((NOTES / name).read_bytes()).decode()
    return {"content_base64": content, "content_type": "audio/ogg"}


def test_who_is_erased_leaves_no_trace_in_either_store(florist: Florist) -> None:
    contact, other = "whatsapp:+15558100008", "whatsapp:+15558100009"
    florist.ask(contact, QUESTION)
    florist.ask(contact, "", media=[voice_note("hours-saturday.ogg")])
    florist.ask(contact, "I want a real person")
    florist.write(contact, "this waits, or is being answered")
    florist.ask(other, QUESTION)
    before = found_places(florist.product, "15558100008")
    assert "table contacts" in before
    exported = json.loads(florist.recado("contacts", "export", "+15558100008"))
    assert "What are your opening hours on Saturday?" in json.dumps(exported)

    assert "Erased:" in florist.recado("contacts", "erase", "+15558100008", "--yes")
    until(lambda: found_places(florist.product, "15558100008") == [])
    assert "table contacts" in found_places(florist.product, "15558100009")


def found_places(product: Product, number: str) -> list[str]:
    services = json.loads((product.data_dir / "services.json").read_text())
    return asyncio.run(
        places_of(
            number,
            database_url=services["database_url"],
            redis_url=services["redis_url"],
            prefix="recado",
        )
    )
