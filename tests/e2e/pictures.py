"""`python -m tests.e2e.pictures`: makes the pictures of docs/images anew, from a product that it starts and
people who write to it. A person should look at each afterwards.

With names (`python -m tests.e2e.pictures phones console-now`) only those are made; `--folder` keeps the
product's data there, and uses the product that runs on it, if one does.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import yaml
from playwright.sync_api import Browser, Locator, Page, Route, expect

from serve_app.cli.serve_api import authorization, parse_deployments
from serve_app.local.layout import DataDir
from serve_app.local.secrets import read_secrets
from serve_app.settings import PROJECT_ROOT
from tests.e2e.product import (
    NOTES,
    NUMBER,
    Product,
    await_replies,
    free_port_block,
    write,
    write_config,
)
from tests.fixtures.browser import chromium

IMAGES = PROJECT_ROOT / "docs" / "images"
WARM_UP_S = 240.0
"""How long people write before anything is looked at: Now shows five minutes."""
PACE_S = (0.8, 3.0)
"""Between two people who write."""
PATIENCE_MS = 60_000.0
BURST_LIMIT_S = 180.0
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
BOOKING = "A table for four on Friday at 19:00, please"
PHONES = 100
"""Added to the number of a person who writes from the simulator's page."""
DESKTOP = {"width": 1280, "height": 900}
HANDY = {"width": 390, "height": 844}
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


def say(phone: Locator, text: str, answer: str) -> None:
    phone.get_by_label("Message", exact=True).fill(text)
    phone.get_by_label("Message", exact=True).press("Enter")
    expect(phone.locator(".bubble:not(.mine)").last).to_contain_text(answer, timeout=PATIENCE_MS)


def all_read(phone: Locator) -> None:
    expect(phone.locator(".bubble:not(.mine) .meta").last).to_have_class("meta read")


def record(phone: Locator) -> None:
    phone.get_by_role("button", name="Record a voice note").click()
    expect(phone.locator(".clock")).to_have_text("0:03")
    phone.get_by_role("button", name="Send the voice note").click()
    expect(phone.locator(".heard").last).to_be_visible(timeout=PATIENCE_MS)


def phones(studio: Studio) -> None:
    page = studio.phones({"width": 1560, "height": 900}, 9, 12, way=True)
    first, second = page.locator(".set").nth(0), page.locator(".set").nth(1)
    say(first, "What time do you open on Saturday?", "09:00 to 16:30")
    say(first, BOOKING, "19:00")
    record(second)
    expect(second.locator(".bubble:not(.mine)").last).to_contain_text("16:30", timeout=PATIENCE_MS)
    second.get_by_label("Message", exact=True).fill("help")
    second.get_by_label("Message", exact=True).press("Enter")
    expect(second.locator(".buttons")).to_be_visible(timeout=PATIENCE_MS)
    for phone in (first, second):
        all_read(phone)
        expect(phone.locator(".journey .state").first).to_have_text("answered")
    page.evaluate("document.activeElement.blur()")
    studio.keep(page, "phones")


def phone(studio: Studio) -> None:
    page = studio.phones(HANDY, 16, way=False, device_scale_factor=2, has_touch=True)
    mine = page.locator(".set")
    record(mine)
    expect(mine.locator(".bubble:not(.mine)").last).to_contain_text("16:30", timeout=PATIENCE_MS)
    say(mine, "Do you have wifi?", "Free")
    say(mine, BOOKING, "19:00")
    all_read(mine)
    page.evaluate("document.activeElement.blur()")
    studio.keep(page, "phone")


def console_now(studio: Studio) -> None:
    page = studio.console("now", {"width": 1280, "height": 1000})
    expect(page.locator(".chart canvas").first).to_be_visible()
    studio.keep(page, "console-now", whole=True)


def console_now_phone(studio: Studio) -> None:
    page = studio.console("now", HANDY, device_scale_factor=2, has_touch=True)
    expect(page.locator(".tile").first).to_be_visible()
    studio.keep(page, "console-now-phone")


def console_conversations(studio: Studio) -> None:
    studio.keep(studio.console("conversations"), "console-conversations")


def console_conversation(studio: Studio) -> None:
    with studio.product.simulator as client:
        person = ask(client, 0, "", note="price-cake.ogg")
        await_replies(client, person, 1)
        ask(client, 0, BOOKING)
        await_replies(client, person, 2)
    page = studio.console(f"conversations?q={PEOPLE[0].split()[0]}", {"width": 1280, "height": 860})
    page.get_by_role("link", name=PEOPLE[0]).first.click()
    expect(page.locator(".said.us > footer .state").last).to_have_text("read", timeout=PATIENCE_MS)
    page.get_by_text("How it was made").last.click()
    expect(page.get_by_text("correlation id").last).to_be_visible()
    page.locator(".said.us").last.scroll_into_view_if_needed()
    page.locator("#thread").evaluate("thread => { thread.scrollTop = thread.scrollHeight; }")
    studio.keep(page, "console-conversation")


def console_owners(studio: Studio) -> None:
    studio.keep(studio.console("owners", {"width": 1280, "height": 460}), "console-owners")


def console_assistant(studio: Studio) -> None:
    page = studio.console("owners/demo-cafe", {"width": 1280, "height": 1000})
    text = page.get_by_label("YAML, as in the owner's file")
    before = text.input_value()
    text.fill(before.replace("3.80", "4.10"))
    expect(page.locator("#preview")).to_contain_text("4.10")
    page.get_by_label("A contact's message").fill("How much is a flat white?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#trial")).to_contain_text("4.10", timeout=PATIENCE_MS)
    # The line that was changed, in the middle of the field.
    text.evaluate(
        """field => {
          const line = field.value.slice(0, field.value.indexOf("4.10")).split("\\n").length;
          const lines = field.value.split("\\n").length;
          field.scrollTop = (line / lines) * field.scrollHeight - field.clientHeight / 2;
          scrollTo(0, 0);
        }"""
    )
    studio.keep(page, "console-assistant", whole=True)


def _dead_letters(studio: Studio) -> None:
    """Messages to a number that was taken from the owners' files, and isn't Twilio's no longer."""
    with studio.product.simulator as client:
        for person, body in ((3, "Do you still have the lunch menu?"), (7, "See you at eight!")):
            ask(client, person, body, to="whatsapp:+15550142799")
    page = studio.console("dead")
    _reload_until(page, page.get_by_role("row", name="AccountNotFoundError"), 2)
    page.context.close()


def console_dead_letters(studio: Studio) -> None:
    _dead_letters(studio)
    page = studio.console("dead", {"width": 1280, "height": 620}, scheme="dark")
    studio.keep(page, "console-dead-letters")


def console_dead_letter(studio: Studio) -> None:
    page = studio.console("dead")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    studio.keep(page, "console-dead-letter")


def console_replies(studio: Studio) -> None:
    """One that the provider refused, and one that may have been sent."""
    studio.people.stop()
    _until(studio.product, "nothing waits", _is_quiet)
    faults = (
        ({"reject": 1.0, "reject_code": 63024}, 5, "How much is a scone?", "failed"),
        (
            {"error_after": 1.0, "lost_callbacks": 1.0, "list_unavailable": True},
            8,
            "Where are you?",
            "parked",
        ),
    )
    with studio.product.simulator as client:
        for fault, person, body, state in faults:
            client.put("/simulator/faults", json=fault).raise_for_status()
            ask(client, person, body)
            _until(studio.product, f"a reply is {state}", _has_reply(state))
        client.put("/simulator/faults", json={}).raise_for_status()
    page = studio.console("replies", {"width": 1280, "height": 620})
    studio.keep(page, "console-replies")


def console_activity(studio: Studio) -> None:
    page = studio.console(f"conversations?q={PEOPLE[0].split()[0]}", {"width": 1280, "height": 620})
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("link", name=PEOPLE[0]).first.click()
    page.get_by_role("button", name="Take over").click()
    page.get_by_label("Your answer").fill("This is Maria. I have put you at the window.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".said.us").last).to_contain_text("This is Maria.")
    page.get_by_role("button", name="Give back").click()
    expect(page.get_by_text("The assistant answers.")).to_be_visible()
    page.goto(f"{studio.product.url}/console/dead")
    page.locator("tbody a").first.click()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("Replayed 1")).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 420})
    page.goto(f"{studio.product.url}/console/activity")
    studio.keep(page, "console-activity")


def ray_serve(studio: Studio) -> None:
    """Ray's own page of the deployments, while people write."""
    status = json.loads(studio.product.recado("status", "--json").stdout)
    page = studio.window({"width": 1280, "height": 980}, extra_http_headers=authorization())
    page.goto(f"{status['dashboard_url']}/#/serve/applications/recado")
    expect(page.get_by_text("ChatModel").first).to_be_visible()
    page.wait_for_timeout(2_000)
    studio.keep(page, "ray-serve")


def ray_burst(studio: Studio) -> None:
    """Ray's page at the peak of the burst that `bench scale` sends to a product of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "serve_app.cli", "bench", "scale", "--quick"]
        environment = {**os.environ, "TMPDIR": folder}
        bench = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment)
        try:
            dashboard_url = _await_burst(Path(folder), bench)
            size = {"width": 1280, "height": 980}
            page = studio.window(size, extra_http_headers=authorization())
            page.goto(f"{dashboard_url}/#/serve/applications/recado")
            expect(page.get_by_text("ChatModel").first).to_be_visible()
            page.wait_for_timeout(500)
            studio.keep(page, "ray-burst")
        finally:
            bench.wait(300)


def _await_burst(folder: Path, bench: subprocess.Popen[bytes]) -> str:
    """Where the dashboard is, once two deployments have a second replica."""
    deadline = time.monotonic() + BURST_LIMIT_S
    url = None
    while True:
        assert bench.poll() is None, "the benchmark has ended"
        assert time.monotonic() < deadline, "the burst scaled nothing up"
        time.sleep(0.5)
        for run in folder.glob("*/run.json"):
            url = json.loads(run.read_text()).get("dashboard_url")
        if url is None:
            continue
        with suppress(httpx2.HTTPError):
            answer = httpx2.get(
                f"{url}/api/serve/applications/", headers=authorization(), trust_env=False
            )
            states = parse_deployments(answer.json())
            if sum(state.running > 1 for state in states) >= 2:
                return url


# Trouble comes last: the pictures before it are of a service that is well.
PICTURES: dict[str, Callable[[Studio], None]] = {
    "phones": phones,
    "phone": phone,
    "console-now": console_now,
    "console-now-phone": console_now_phone,
    "ray-serve": ray_serve,
    "ray-burst": ray_burst,
    "console-conversations": console_conversations,
    "console-conversation": console_conversation,
    "console-owners": console_owners,
    "console-assistant": console_assistant,
    "console-dead-letters": console_dead_letters,
    "console-dead-letter": console_dead_letter,
    "console-replies": console_replies,
    "console-activity": console_activity,
}


def _reload_until(page: Page, rows: Locator, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while rows.count() < count:
        assert time.monotonic() < deadline, f"there are {rows.count()} of {count} rows"
        page.wait_for_timeout(500)
        page.reload()


def _until(product: Product, what: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """`holds` is asked with what `recado status` tells."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not holds(json.loads(product.recado("status", "--json").stdout)):
        assert time.monotonic() < deadline, f"it never came to this: {what}"


def _is_quiet(status: dict[str, Any]) -> bool:
    queues = status["queues"]
    return not any(queue["waiting"] + queue["in_flight"] + queue["delayed"] for queue in queues)


def _has_reply(state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["replies"].get(state))


def _open_branches(product: Product, folder: Path) -> None:
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
def _product(folder: Path) -> Generator[Product]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, metavar="SECONDS")
    options = parser.parse_args()
    wanted = options.names or list(PICTURES)
    if unknown := set(wanted) - set(PICTURES):
        parser.error(f"there are no pictures {sorted(unknown)}, but {list(PICTURES)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with _product(folder) as product, chromium(folder) as browser:
            _open_branches(product, folder)
            token = product.recado(
                "console", "token", "--config", str(product.config)
            ).stdout.strip()
            people = People(product)
            studio = Studio(product, browser, people, token)
            people.start()
            try:
                time.sleep(options.warm_up)
                for name in wanted:
                    PICTURES[name](studio)
            finally:
                people.stop()


if __name__ == "__main__":
    main()
