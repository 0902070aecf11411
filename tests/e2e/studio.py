"""What the pictures are taken of: a product with three businesses and people who write to them."""

from __future__ import annotations

import base64
import json
import random
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import yaml
from playwright.sync_api import Browser, Page, Route, expect

from serve_app.local.layout import DataDir
from serve_app.local.secrets import read_secrets
from serve_app.settings import PROJECT_ROOT
from tests.e2e.product import NOTES, NUMBER, Product, free_port_block, write, write_config

IMAGES = PROJECT_ROOT / "docs" / "images"
PACE_S = (0.8, 3.0)
"""Between two people who write."""
PATIENCE_MS = 60_000.0
BRANCHES = {
    "harbour-cafe": ("Harbour Café", "whatsapp:+15550142711", "3 Harbour Street"),
    "station-cafe": ("Station Café", "whatsapp:+15550142712", "1 Station Square"),
}
PEOPLE = (
    *("Ana Ribeiro", "Bruno Costa", "Carla Nunes", "Duarte Lopes", "Elena Rossi", "Filipe Matos"),
    *("Greta Holm", "Hugo Pinto", "Inês Faria", "João Reis", "Karim Haddad", "Lena Vogt"),
    *("Marta Sousa", "Nuno Prates", "Olga Ivanova", "Paulo Dias", "Rita Gomes", "Sofia Leal"),
)
QUESTIONS = (
    "What time do you open on Saturday?",
    "How much is a flat white?",
    "Do you have wifi?",
    "Where are you?",
    "Are dogs allowed?",
    "When do you close on Friday?",
    "Is there parking?",
    "Can I pay by card?",
    "How much is the carrot cake?",
    "Do you deliver?",
)
SPOKEN = ("hours-saturday.ogg", "price-cake.ogg", "parking.ogg", "pay-by-card.ogg", "where.ogg")
PHONES = 100
"""Added to the number of a person who writes from the simulator's page."""
DESKTOP = {"width": 1280, "height": 900}
NAMELESS = """name => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    texts.currentNode.data = texts.currentNode.data.replace(RegExp(`\\\\b${name}\\\\b`, "g"), "this-machine");
}"""
"""How this machine is called is nobody's business."""


class People:
    """Write now and then, each about one thing, until they are told to stop."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="people")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nobody writes any more."""
        self._stop.set()
        self._thread.join()

    def _write_on(self) -> None:
        chance = random.Random(6)
        numbers = (NUMBER, NUMBER, *(number for _, number, _ in BRANCHES.values()))
        with self._product.simulator as client:
            while not self._stop.wait(chance.uniform(*PACE_S)):
                person = chance.randrange(1, len(PEOPLE))
                spoken = chance.random() < 0.15
                ask(
                    client,
                    person,
                    "" if spoken else chance.choice(QUESTIONS),
                    to=chance.choice(numbers),
                    note=chance.choice(SPOKEN) if spoken else None,
                )


def contact(person: int) -> str:
    return f"whatsapp:+1555012{person:04d}"


def ask(
    client: httpx2.Client, person: int, body: str, *, to: str = NUMBER, note: str | None = None
) -> str:
    """Who wrote."""
    phone = contact(person)
    media = (
        [{"content_base64": base64.b64encode((NOTES / note).read_bytes()).decode()}] if note else []
    )
    named = {"ProfileName": PEOPLE[person], "WaId": phone.removeprefix("whatsapp:+")}
    write(client, phone, body, **{"to": to, "media": media, **named})
    return phone


@dataclass
class Studio:
    """A product with customers, and a browser to look at it."""

    product: Product
    browser: Browser
    people: People
    token: str
    _session: Any = None
    """The cookie of the one sign-in."""

    def window(self, size: dict[str, int], *, scheme: str = "light", **options: Any) -> Page:
        context = self.browser.new_context(
            viewport=size,
            color_scheme=scheme,
            locale="en-GB",
            timezone_id="Europe/Lisbon",
            permissions=["microphone"],
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        context.route("**/*", _stay_home)
        return context.new_page()

    def phones(self, size: dict[str, int], *people: int, way: bool, **options: Any) -> Page:
        """The simulator's page with a phone for each of these."""
        page = self.window(size, **options)
        kept = {
            "phones": [
                {"me": contact(PHONES + n), "name": PEOPLE[n], "to": NUMBER} for n in people
            ],
            "way": way,
        }
        page.add_init_script(
            f"localStorage.setItem('recado-phones', {json.dumps(json.dumps(kept))})"
        )
        with self.product.simulator as client:
            page.goto(str(client.base_url))
        expect(page.locator("#link")).to_have_text("live")
        return page

    def console(self, path: str, size: dict[str, int] | None = None, **options: Any) -> Page:
        page = self.window(size or DESKTOP, storage_state=self._session, **options)
        if self._session is None:
            page.goto(f"{self.product.url}/console/sign-in")
            page.get_by_label("Password or token").fill(self.token)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/console/now*")
            self._session = page.context.storage_state()
        page.goto(f"{self.product.url}/console/{path}")
        return page

    def keep(self, page: Page, name: str, *, whole: bool = False) -> None:
        page.wait_for_timeout(400)
        page.evaluate(NAMELESS, socket.gethostname())
        page.screenshot(path=IMAGES / f"{name}.png", full_page=whole, animations="disabled")
        page.context.close()
        print(f"  {name}.png", flush=True)


def _stay_home(route: Route) -> None:
    if urlsplit(route.request.url).hostname in {"127.0.0.1", "localhost"}:
        route.continue_()
    else:
        route.abort()


def open_branches(product: Product, folder: Path) -> None:
    """Two more cafés beside the demo's, so that there is more than one owner."""
    secrets = read_secrets(DataDir.at(product.data_dir))
    assert secrets is not None
    product.extra["BRANCH_TOKEN"] = secrets.simulator_auth_token.get_secret_value()
    demo = yaml.safe_load((PROJECT_ROOT / "demo" / "cafe.yaml").read_text())
    for owner_id, (name, number, address) in BRANCHES.items():
        owner: dict[str, Any] = {
            **demo,
            "id": owner_id,
            "name": name,
            "plan": {**demo["plan"], "monthly_messages": 2_000},
        }
        owner["plan"]["code"] = "branch"
        owner["assistant"]["facts"]["info"]["address"] = address
        account: dict[str, object] = {
            "id": f"{owner_id}-twilio",
            "account_sid": secrets.simulator_account_sid,
            "auth_token_env": "BRANCH_TOKEN",
            "phone_numbers": [number],
        }
        file = folder / f"{owner_id}.yaml"
        file.write_text(yaml.safe_dump({**owner, "accounts": [account]}, allow_unicode=True))
        done = product.recado("apply", str(file), "--config", str(product.config))
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def open_product(folder: Path) -> Generator[Product]:
    config = folder / "config.yaml"
    run = folder / "data" / "run.json"
    if run.exists():
        yield Product(
            folder=folder, port=json.loads(run.read_text())["ports"]["http"], config=config
        )
        return
    port = free_port_block()
    sender = {"resolve_after_s": 1.0, "resolve_attempts": 1}
    write_config(config, port=port, args={"sender": sender})
    product = Product(folder=folder, port=port, config=config)
    try:
        started = product.up()
        assert started.returncode == 0, started.stdout + started.stderr
        yield product
    finally:
        product.down()
