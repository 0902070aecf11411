"""`python -m tests.e2e.pictures`: makes the pictures of docs/images anew, from a product that it starts and
people who write to it. A person should look at each afterwards.

With names (`python -m tests.e2e.pictures phones console-now`) only those are made; `--folder` keeps the
product's data there, and uses the product that runs on it, if one does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Locator, Page, expect

from serve_app.cli.serve_api import authorization, parse_deployments
from serve_app.settings import PROJECT_ROOT
from tests.e2e.product import Product, await_replies
from tests.e2e.studio import PATIENCE_MS, PEOPLE, People, Studio, ask, open_branches, open_product
from tests.fixtures.browser import chromium

WARM_UP_S = 240.0
"""How long people write before anything is looked at: Now shows five minutes."""
BURST_LIMIT_S = 180.0
BOOKING = "A table for four on Friday at 19:00, please"
HANDY = {"width": 390, "height": 844}


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
        with open_product(folder) as product, chromium(folder) as browser:
            open_branches(product, folder)
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
