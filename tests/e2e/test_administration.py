"""A business that is added and changed while the product runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.product import Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NUMBER = "whatsapp:+15550142799"
OWNER = """
id: e2e-bakery
name: Corner Bakery
timezone: Europe/Madrid
plan: {{code: e2e}}
assistant:
  instructions: You are the assistant of the Corner Bakery. State only facts that a tool returned.
  tools: [opening_hours, menu, business_info, hand_over]
  facts:
    opening_hours:
      saturday: {saturday}
      sunday: null
    menu:
      - {{item: croissant, price: 1.80, category: food}}
accounts:
  - id: e2e-bakery-twilio
    account_sid: {sid}
    phone_numbers: ["{number}"]
"""


class Bakery:
    def __init__(self, product: Product, file: Path) -> None:
        secrets = json.loads((product.data_dir / "secrets.json").read_text())
        self._product = product
        self._file = file
        self._sid = secrets["simulator_account_sid"]
        self._token = secrets["simulator_auth_token"]

    def apply(self, *, saturday: str) -> str:
        self._file.write_text(OWNER.format(saturday=saturday, sid=self._sid, number=NUMBER))
        done = self.recado("apply", str(self._file))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def recado(self, *args: str) -> subprocess.CompletedProcess[str]:
        done = self._product.recado(*args, "--config", str(self._product.config))
        assert self._token not in done.stdout + done.stderr
        return done

    def ask(self, text: str, *, phone: str) -> str:
        said = self._product.say(text, "--to", NUMBER, phone=phone)
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout


@pytest.fixture
def bakery(product: Product, tmp_path: Path) -> Bakery:
    return Bakery(product, tmp_path / "bakery.yaml")


def test_a_business_is_added_and_changed_while_the_product_runs(bakery: Bakery) -> None:
    question = "what time do you open on saturday"
    phone = "whatsapp:+15556000001"
    assert "e2e-bakery-twilio" in bakery.apply(saturday="[09:30, 13:00]")
    assert "On Saturday we are open from 09:30 to 13:00." in bakery.ask(question, phone=phone)

    told = bakery.apply(saturday="[10:00, 15:30]")
    assert "[09:30, 13:00]" in told
    assert "Applied 1 change." in told
    assert "Nothing to change." in bakery.apply(saturday="[10:00, 15:30]")
    assert "On Saturday we are open from 10:00 to 15:30." in bakery.ask(question, phone=phone)

    price = bakery.recado("assistant", "set", "e2e-bakery", "facts.menu.croissant.price=1.95")
    assert price.returncode == 0, price.stderr
    asked = bakery.ask("how much is a croissant", phone="whatsapp:+15556000002")
    assert "1.95" in asked

    listed = bakery.recado("owners", "list").stdout
    assert "demo-cafe" in listed
    assert NUMBER in listed
    # The café is answered for as before, from the same AccountSid.
    shown = bakery.recado("assistant", "show", "demo-cafe").stdout
    assert "saturday: ['09:00', '16:30']" in shown


def test_an_account_that_is_deactivated_is_not_answered_for(bakery: Bakery) -> None:
    bakery.apply(saturday="[10:00, 15:30]")
    phone = "whatsapp:+15556000003"
    off = bakery.recado("accounts", "deactivate", "e2e-bakery-twilio")
    assert off.returncode == 0, off.stderr
    assert "10:00" not in bakery.ask("what time do you open on saturday", phone=phone)
    assert bakery.recado("accounts", "activate", "e2e-bakery-twilio").returncode == 0
    assert "10:00" in bakery.ask("what time do you open on saturday", phone=phone)
