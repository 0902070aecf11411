"""The console's pages in a real browser, against the running product."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.product import Product, await_replies, write
from tests.fixtures.browser import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

Visit = Callable[..., Visitor]
ATTACK = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
PAGES = (
    "now?window=hour",
    "now?window=day",
    "conversations",
    "dead",
    "replies",
    "owners",
    "owners/demo-cafe",
    "activity",
)


@pytest.fixture(scope="module")
def token(product: Product) -> str:
    told = product.recado("console", "token")
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def sign_in(visitor: Visitor, product: Product, token: str, path: str = "now") -> Page:
    page = visitor.page
    page.goto(f"{product.url}/console/{path}")
    page.get_by_label("Password or token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(re.escape(path.split("?", maxsplit=1)[0])))
    return page


def test_every_page_is_fit_for_everybody(product: Product, visit: Visit, token: str) -> None:
    with product.simulator as client:
        write(client, "whatsapp:+15558000001", "what time do you open on saturday")
        await_replies(client, "whatsapp:+15558000001")
        strange = {"from": "whatsapp:+15558000009", "to": "whatsapp:+15559999999"}
        client.post("/simulator/messages", json={**strange, "body": "hello"}).raise_for_status()
    sizes = {"light": {"width": 1280, "height": 900}, "dark": {"width": 390, "height": 844}}
    for scheme, size in sizes.items():
        visitor = visit(color_scheme=scheme, viewport=size)
        visitor.page.goto(f"{product.url}/console/now")
        assert visitor.violations() == []
        page = sign_in(visitor, product, token)
        for path in (*PAGES, *one_of_each(page, product)):
            page.goto(f"{product.url}/console/{path}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert visitor.violations() == [], path
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, f"{path} is wider than the window"
    page.goto(f"{product.url}/console/activity")
    expect(page.get_by_role("cell", name="sign in").first).to_be_visible()
    page.goto(f"{product.url}/console/dead")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Choose all on this page").check()
    page.get_by_role("button", name="Discard the chosen").click()
    expect(page.get_by_text("No dead letters")).to_be_visible()


def one_of_each(page: Page, product: Product) -> list[str]:
    """A conversation, a dead letter, and a page that isn't there."""
    found: list[str] = []
    for listing, link in (("conversations", "main .list a"), ("dead", "tbody a")):
        page.goto(f"{product.url}/console/{listing}")
        first = page.locator(link).first
        for _ in range(40):
            if first.count():
                break
            page.wait_for_timeout(500)
            page.reload()
        address = first.get_attribute("href")
        assert address is not None
        found.append(address.removeprefix("/console/"))
    return [*found, "conversations/nobody"]


def test_everything_is_reached_by_keyboard(product: Product, visit: Visit, token: str) -> None:
    phone = "whatsapp:+15558000004"
    with product.simulator as client:
        write(client, phone, "do you have wifi", ProfileName="Kay Board", WaId="15558000004")
        await_replies(client, phone)
        page = visit().page
        keys = page.keyboard
        page.goto(f"{product.url}/console/conversations?q=Kay+Board")
        page.get_by_label("Password or token").focus()
        keys.type(token)
        keys.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Conversations")
        # The first stop leads past the navigation.
        keys.press("Tab")
        expect(page.locator(":focus")).to_have_text(re.compile("Skip"))
        keys.press("Enter")
        expect(page.locator("main")).to_be_focused()
        tab_to(page, "Kay Board")
        keys.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Kay Board")
        tab_to(page, "Take over")
        keys.press("Enter")
        expect(page.get_by_text("A person has this conversation")).to_be_visible()
        tab_to(page, "Your answer")
        keys.type("Typed without a mouse.")
        keys.press("Tab")
        keys.press("Enter")
        # The browser's requests wait for this thread, which must not wait for their effect meanwhile.
        expect(page.locator(".said.us").last).to_contain_text("Typed without a mouse.")
        assert await_replies(client, phone, 2)[-1] == "Typed without a mouse."
        tab_to(page, "Give back")
        keys.press("Enter")
        expect(page.get_by_text("The assistant answers.")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until what is focused, visibly, says this."""
    for _ in range(60):
        page.keyboard.press("Tab")
        said = page.evaluate(
            "(e => [e.textContent, e.getAttribute('aria-label'), e.labels?.[0]?.textContent].join(' '))"
            "(document.activeElement)"
        )
        if name in said:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{name} has the focus, and nobody sees it"
            return
    raise AssertionError(f"Tab doesn't reach {name}")


def test_now_tells_of_what_just_happened(product: Product, visit: Visit, token: str) -> None:
    with product.simulator as client:
        write(client, "whatsapp:+15558000002", "how much is a flat white")
        await_replies(client, "whatsapp:+15558000002")
    page = sign_in(visit(), product, token)
    expect(page.get_by_role("heading", name="In processing", exact=True)).to_be_visible()
    for stage in ("queued", "transcribe", "answer"):
        expect(page.get_by_role("rowheader", name=stage, exact=True)).to_be_visible()
    expect(page.get_by_role("rowheader", name="Garden Lane Café")).to_be_visible()
    for name in ("Ingress", "Worker", "Sender", "Transcriber", "ChatModel"):
        row = page.locator(".parts li", has_text=name)
        # A burst that others sent may have scaled it up.
        expect(row).to_contain_text(re.compile(r"\b([1-9]\d*) of \1 replica"), timeout=30_000)
        expect(row).to_contain_text("healthy", timeout=30_000)
    expect(page.locator(".parts li", has_text="Postgres")).to_contain_text("well")
    expect(page.locator(".chart canvas")).to_have_count(2)
    webhooks = page.locator(".tile", has=page.get_by_text("Webhooks", exact=True))
    before = webhooks.inner_text()
    with product.simulator as client:
        write(client, "whatsapp:+15558000002", "and a latte")
    expect(webhooks).not_to_have_text(before, timeout=30_000)
    # What changed was changed in place: the charts are still drawn, and who was at a link is still there.
    expect(page.locator(".chart canvas")).to_have_count(2)
    link = page.get_by_role("link", name="Those that need a person")
    link.focus()
    as_of = page.locator(".as-of time").get_attribute("datetime") or ""
    expect(page.locator(".as-of time")).not_to_have_attribute("datetime", as_of, timeout=30_000)
    expect(link).to_be_focused()
    # A page that gets no answer says so, and stops saying it.
    page.route("**/now/figures*", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("No answer since", timeout=30_000)
    page.unroute("**/now/figures*")
    expect(page.get_by_role("alert")).to_have_count(0, timeout=30_000)
    asks = """hidden => {
      Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
      const asking = new CustomEvent("htmx:beforeRequest", {bubbles: true, cancelable: true});
      return document.getElementById("figures").dispatchEvent(asking);
    }"""
    assert page.evaluate(asks, False)
    assert not page.evaluate(asks, True), "a page that nobody sees asks on"


def test_a_person_takes_over_answers_and_gives_back(
    product: Product, visit: Visit, token: str
) -> None:
    phone = "whatsapp:+15558000003"
    with product.simulator as client:
        write(client, phone, f"zebra {ATTACK}", ProfileName=f"Eve {ATTACK}", WaId="15558000003")
        await_replies(client, phone)
        page = sign_in(visit(), product, token, "conversations")
        page.get_by_label("Search").fill("zebra")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("link", name=re.compile("Eve")).first.click()
        expect(page.locator(".said.contact .body").first).to_have_text(f"zebra {ATTACK}")
        page.get_by_text("How it was made").first.click()
        expect(page.get_by_text(re.compile("correlation id")).first).to_be_visible()
        page.get_by_role("button", name="Take over").click()
        page.get_by_label("Your answer").fill("This is Maria speaking.")
        page.get_by_role("button", name="Send").click()
        assert await_replies(client, phone, 2)[-1] == "This is Maria speaking."
        expect(page.locator(".said.us").last).to_contain_text("a person")
        expect(page.locator(".said.us .state").last).to_have_text("read", timeout=30_000)
        page.get_by_role("button", name="Give back").click()
        expect(page.get_by_text("The assistant answers.")).to_be_visible()
        assert page.title() != "owned"
        write(client, phone, "where are you")
        assert "Garden Lane" in await_replies(client, phone, 3)[-1]
    page.goto(f"{product.url}/console/activity")
    for did in ("take over", "answer", "give back"):
        expect(page.get_by_role("cell", name=did, exact=True).first).to_be_visible()


def test_dead_letters_are_looked_at_replayed_and_discarded(
    product: Product, visit: Visit, token: str
) -> None:
    with product.simulator as client:
        # Signed, but there is nobody to answer as: both die at once.
        for number in (1, 2):
            strange = {"from": f"whatsapp:+1555800010{number}", "to": "whatsapp:+15559999999"}
            client.post("/simulator/messages", json={**strange, "body": ATTACK}).raise_for_status()
    page = sign_in(visit(), product, token, "dead")
    rows = page.get_by_role("row", name=re.compile("AccountNotFoundError"))
    for _ in range(40):
        if rows.count() == 2:
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(rows).to_have_count(2)
    rows.first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    expect(page.locator("pre").last).to_contain_text("onerror")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("Replayed 1.")).to_be_visible()
    for _ in range(40):
        if rows.count() == 2:
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(rows).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Choose all on this page").check()
    page.get_by_role("button", name="Discard the chosen").click()
    expect(page.get_by_text("Discarded 2.")).to_be_visible()
    expect(page.get_by_text("No dead letters")).to_be_visible()


def test_an_assistant_is_tried_before_it_is_saved(
    product: Product, visit: Visit, token: str
) -> None:
    page = sign_in(visit(), product, token, "owners/demo-cafe")
    text = page.get_by_label("YAML, as in the owner's file")
    before = text.input_value()
    text.fill(before.replace("'3.80'", "'9.99'").replace('"3.80"', '"9.99"'))
    expect(page.locator("#preview")).to_contain_text("9.99")
    page.get_by_label("A contact's message").fill("how much is a flat white")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#trial")).to_contain_text("The flat white is 9.99 euros.", timeout=60_000)
    page.reload()
    assert text.input_value() == before
    text.fill("temperature: hot")
    expect(page.locator("#preview .problem")).to_contain_text("temperature")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("temperature")
    text.fill(
        before + "\ntone: warm\n"
        if "\ntone:" not in before
        else before.replace("tone: ''", "tone: warm")
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(re.compile("Saved: 1 changes"))).to_be_visible()
    text.fill(before)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(re.compile("Saved"))).to_be_visible()


def test_forms_of_others_and_sessions_of_others_are_refused(product: Product, token: str) -> None:
    with httpx2.Client(base_url=f"{product.url}/console", trust_env=False) as http:
        own = {"Origin": product.url, "Sec-Fetch-Site": "same-origin"}
        assert http.get("/now").headers["location"].startswith("/console/sign-in")
        foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        form = {"name": "", "secret": token, "next": "//evil.example"}
        assert http.post("/sign-in", data=form, headers=foreign).status_code == 403
        # A session that somebody else chose is worth nothing before the sign-in, nor after it.
        http.cookies.set("recado_console", "chosen", path="/console")
        signed = http.post("/sign-in", data=form, headers=own)
        assert signed.headers["location"] == "/console/now"
        cookie = signed.headers["set-cookie"]
        assert "chosen" not in cookie
        for attribute in ("HttpOnly", "SameSite=strict", "Path=/console"):
            assert attribute in cookie
        http.cookies.clear()
        http.cookies.set("recado_console", "chosen", path="/console")
        assert http.get("/now").status_code == 303
        http.cookies.clear()
        http.cookies.set("recado_console", cookie.split(";")[0].split("=", 1)[1], path="/console")
        page = http.get("/owners/demo-cafe")
        assert page.status_code == 200
        assert "unsafe" not in page.headers["content-security-policy"]
        proof = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert proof is not None
        for data, headers in (
            ({}, own),
            ({"csrf_token": "guess"}, own),
            ({"csrf_token": proof[1]}, foreign),
        ):
            assert http.post("/dead/replay", data=data, headers=headers).status_code == 403
        assert http.post("/sign-out", data={"csrf_token": proof[1]}, headers=own).status_code == 303
        assert http.get("/now").status_code == 303
