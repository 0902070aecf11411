"""The phone's page in a real browser, against the running product."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Route, expect

from serve_app.settings import PROJECT_ROOT
from tests.e2e.product import Product, await_replies, write
from tests.fixtures.browser import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

SATURDAY = "On Saturday we are open from 09:00 to 16:30."
REPLY_MS = 60_000
_NOTE_PRESENCE = """node => {
  window.presences = [];
  new MutationObserver(() => {
    if (window.presences.at(-1) !== node.textContent) window.presences.push(node.textContent);
  }).observe(node, {childList: true, characterData: true, subtree: true});
}"""
_NOTE_TICKS = """chat => {
  window.ticks = [];
  new MutationObserver(() => {
    const words = chat.querySelector(".bubble.mine .meta")?.title;
    if (words && window.ticks.at(-1) !== words) window.ticks.push(words);
  }).observe(chat, {childList: true, subtree: true});
}"""
_COUNT_MICROPHONES = """() => {
  window.microphones = 0;
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (wanted) => { window.microphones += 1; return open(wanted); };
}"""
Visit = Callable[..., Visitor]


def bare(number: str) -> str:
    return number.removeprefix("whatsapp:")


def phone_of(visitor: Visitor, product: Product, number: str) -> Locator:
    """The page with one phone of that number, once it is live."""
    with product.simulator as client:
        visitor.page.goto(str(client.base_url))
    mine = visitor.page.get_by_label("My number")
    expect(visitor.page.locator("#link")).to_have_text("live")
    expect(visitor.page.locator(".business")).to_have_text("Garden Lane Café")
    mine.fill(bare(number))
    mine.press("Tab")
    return visitor.page.locator(".set")


def test_a_chat_with_ticks_and_the_way_of_a_message(product: Product, visit: Visit) -> None:
    visitor = visit()
    phone = phone_of(visitor, product, "whatsapp:+15553330001")
    visitor.page.get_by_label("Show each message's way").check()
    # A fast answer leaves no time to look.
    phone.locator(".presence").evaluate(_NOTE_PRESENCE)
    phone.locator(".chat").evaluate(_NOTE_TICKS)
    phone.get_by_label("Message", exact=True).fill("what time do you open on saturday")
    phone.get_by_label("Message", exact=True).press("Enter")
    mine = phone.locator(".bubble.mine")
    expect(mine).to_contain_text("what time do you open on saturday")
    reply = phone.locator(".bubble:not(.mine)")
    expect(reply).to_contain_text(SATURDAY, timeout=REPLY_MS)
    assert visitor.page.evaluate("window.presences") == ["typing…", "WhatsApp"]
    expect(mine.locator(".meta")).to_have_class(re.compile("read"))
    assert visitor.page.evaluate("window.ticks") == ["sent", "delivered", "read"]
    expect(reply.locator(".meta")).to_have_class(re.compile("read"))
    journey = phone.locator(".journey")
    expect(journey.locator(".state")).to_have_text("answered")
    for step in (
        *("webhook", "in queue", "stored", "answered", "outbound queue", "to Twilio"),
        *("reply queued", "reply sent", "reply read"),
    ):
        expect(journey.get_by_text(step, exact=True).last).to_be_visible()
    expect(journey.locator(".id")).to_contain_text(re.compile("correlation id [0-9a-f]{32}"))
    assert visitor.violations() == []


def test_a_voice_note_recorded_in_the_browser_is_answered(product: Product, visit: Visit) -> None:
    visitor = visit()
    phone = phone_of(visitor, product, "whatsapp:+15553330002")
    phone.get_by_role("button", name="Record a voice note").click()
    # The demo note takes 2.9 s.
    expect(phone.locator(".clock")).to_have_text("0:03")
    phone.get_by_role("button", name="Send the voice note").click()
    expect(phone.locator(".bubble.mine audio")).to_be_visible()
    expect(phone.locator(".heard")).to_contain_text("Saturday", timeout=REPLY_MS)
    expect(phone.locator(".bubble:not(.mine)")).to_contain_text(SATURDAY, timeout=REPLY_MS)
    with product.simulator as client:
        query = {"contact": "whatsapp:+15553330002"}
        sent = client.get("/simulator/messages", params=query).json()["messages"][0]
    assert [file["content_type"] for file in sent["files"]] == ["audio/ogg"]


def test_files_and_places(product: Product, visit: Visit) -> None:
    visitor = visit()
    phone = phone_of(visitor, product, "whatsapp:+15553330003")
    note = PROJECT_ROOT / "demo" / "voice-notes" / "price-coffee.ogg"
    phone.get_by_role("button", name="Attach").click()
    with visitor.page.expect_file_chooser() as chooser:
        phone.get_by_role("menuitem", name="Voice note from a file").click()
    chooser.value.set_files(note)
    expect(phone.locator(".bubble:not(.mine)")).to_contain_text("2.20", timeout=REPLY_MS)
    phone.get_by_role("button", name="Attach").click()
    with visitor.page.expect_file_chooser() as chooser:
        phone.get_by_role("menuitem", name="Image").click()
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
    chooser.value.set_files({"name": "dot.png", "mimeType": "image/png", "buffer": pixel})
    expect(phone.locator(".bubble.mine img")).to_have_count(1)
    expect(phone.locator(".bubble:not(.mine)")).to_have_count(2, timeout=REPLY_MS)
    phone.get_by_role("button", name="Attach").click()
    assert visitor.violations() == [], "with the menu open"
    phone.get_by_role("menuitem", name="Location").click()
    expect(visitor.page.get_by_role("dialog", name="Send a location")).to_be_visible()
    assert visitor.violations() == [], "with the dialog open"
    visitor.page.get_by_role("button", name="Send").last.click()
    expect(phone.locator(".place")).to_contain_text("Garden Lane (38.7139, -9.1394)")
    expect(phone.locator(".bubble:not(.mine)")).to_have_count(3, timeout=REPLY_MS)
    phone.get_by_role("button", name="Attach").click()
    with visitor.page.expect_file_chooser() as chooser:
        phone.get_by_role("menuitem", name="Document").click()
    menu = {"name": "menu.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 a menu"}
    chooser.value.set_files(menu)
    expect(phone.locator(".bubble.mine .doc")).to_have_text("application/pdf")
    expect(phone.locator(".bubble:not(.mine)")).to_have_count(4, timeout=REPLY_MS)


def test_a_button_is_pressed_and_answered(product: Product, visit: Visit) -> None:
    visitor = visit()
    number = "whatsapp:+15553330006"
    phone = phone_of(visitor, product, number)
    phone.get_by_role("button", name="Help", exact=True).click()
    offer = phone.locator(".bubble:not(.mine)")
    expect(offer).to_contain_text("This is the assistant of Garden Lane Café", timeout=REPLY_MS)
    choices = offer.locator(".buttons").get_by_role("button")
    expect(choices).to_have_text(["When are you open?", "Where are you?", "Talk to a person"])
    assert visitor.violations() == []
    choices.nth(1).focus()
    visitor.page.keyboard.press("Enter")
    expect(phone.locator(".bubble.mine").last).to_contain_text("Where are you?")
    expect(phone.locator(".bubble:not(.mine)").last).to_contain_text(
        "27 Garden Lane", timeout=REPLY_MS
    )
    expect(offer.first.locator(".buttons").get_by_role("button").first).to_be_disabled()
    with product.simulator as client:
        sent = client.get("/simulator/messages", params={"contact": number}).json()["messages"]
    tapped = [message["details"] for message in sent if message["direction"] == "inbound"][-1]
    assert (tapped["ButtonText"], tapped["ButtonPayload"]) == ("Where are you?", "Where are you?")
    assert tapped["OriginalRepliedMessageSid"] == sent[1]["sid"]


def test_phones_side_by_side_and_markup_that_is_only_text(product: Product, visit: Visit) -> None:
    visitor = visit(color_scheme="dark")
    phone_of(visitor, product, "whatsapp:+15553330004")
    visitor.page.get_by_role("button", name="Phone", exact=True).click()
    phones = visitor.page.locator(".set")
    expect(phones).to_have_count(2)
    expect(phones.nth(1).locator(".business")).to_have_text("Garden Lane Café")
    second = phones.nth(1).get_by_label("My number")
    second.fill("+15553330005")
    second.press("Tab")
    attack = "<img src=x onerror=\"document.title='owned'\"> where are you"
    phones.nth(0).get_by_label("Message", exact=True).fill(attack)
    phones.nth(0).get_by_role("button", name="Send").click()
    phones.nth(1).get_by_label("Message", exact=True).fill("do you have wifi")
    phones.nth(1).get_by_role("button", name="Send").click()
    expect(phones.nth(0).locator(".bubble.mine .body")).to_have_text(attack)
    expect(phones.nth(0).locator(".bubble:not(.mine)")).to_contain_text(
        "Garden Lane", timeout=REPLY_MS
    )
    expect(phones.nth(1).locator(".bubble:not(.mine)")).to_contain_text("Free", timeout=REPLY_MS)
    assert "owned" not in visitor.page.title()
    assert visitor.violations() == []
    visitor.page.reload()
    expect(visitor.page.locator(".set")).to_have_count(2)
    expect(visitor.page.locator(".bubble")).to_have_count(4)


def test_on_a_small_screen_by_touch(product: Product, visit: Visit) -> None:
    size = {"width": 375, "height": 667}
    visitor = visit(viewport=size, has_touch=True, is_mobile=True)
    phone = phone_of(visitor, product, "whatsapp:+15553330007")
    phone.get_by_role("button", name="Help", exact=True).tap()
    offer = phone.locator(".bubble:not(.mine)")
    choices = offer.locator(".buttons").get_by_role("button")
    expect(choices).to_have_count(3, timeout=REPLY_MS)
    assert visitor.violations() == []
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == size["width"]
    box = phone.locator(".phone").bounding_box()
    assert box is not None
    assert (box["x"], box["width"], box["y"] + box["height"]) == (0, size["width"], size["height"])
    expect(phone.get_by_label("Message", exact=True)).to_be_in_viewport()
    choices.nth(1).tap()
    expect(offer).to_have_count(2, timeout=REPLY_MS)
    expect(offer.last).to_contain_text("27 Garden Lane")
    expect(offer.last).to_be_in_viewport()
    visitor.page.get_by_label("Show each message's way").check()
    journey = phone.locator(".journey").first
    expect(journey.locator(".state")).to_have_text("answered")
    journey.scroll_into_view_if_needed()
    expect(journey).to_be_in_viewport()


def test_what_could_not_be_sent_can_be_sent_again(product: Product, visit: Visit) -> None:
    visitor = visit()
    phone = phone_of(visitor, product, "whatsapp:+15553330008")
    text = phone.get_by_label("Message", exact=True)
    text.fill("help")
    text.press("Enter")
    choice = phone.locator(".buttons").get_by_role("button").nth(1)
    expect(choice).to_be_enabled(timeout=REPLY_MS)
    visitor.page.route("**/simulator/messages", lambda route: route.abort())
    choice.click()
    expect(phone.get_by_role("alert")).to_contain_text("Not sent")
    expect(choice).to_be_enabled()
    text.fill("do you have wifi")
    text.press("Enter")
    expect(phone.get_by_role("alert")).to_contain_text("Not sent")
    expect(text).to_have_value("do you have wifi")
    visitor.page.unroute("**/simulator/messages")
    phone.get_by_role("button", name="Send").click()
    expect(phone.locator(".bubble.mine").last).to_contain_text("do you have wifi")
    expect(phone.get_by_role("alert")).to_be_empty()


def test_a_recording_is_discarded_and_opens_one_microphone(product: Product, visit: Visit) -> None:
    visitor = visit()
    phone = phone_of(visitor, product, "whatsapp:+15553330009")
    visitor.page.evaluate(_COUNT_MICROPHONES)
    record = phone.locator(".record")
    record.evaluate("button => { button.click(); button.click(); }")
    expect(phone.locator(".clock")).to_have_text("0:01")
    assert visitor.page.evaluate("window.microphones") == 1
    assert visitor.violations() == [], "while it records"
    phone.get_by_role("button", name="Discard").click()
    expect(record).to_have_attribute("title", "Record a voice note")
    expect(phone.locator(".bubble")).to_have_count(0)
    expect(phone.get_by_label("Message", exact=True)).to_be_visible()


def test_each_phone_has_a_number_and_a_chat_of_its_own(product: Product, visit: Visit) -> None:
    visitor = visit()
    earlier, later = "whatsapp:+15553330010", "whatsapp:+15553330011"
    with product.simulator as client:
        write(client, earlier, "where are you")
        await_replies(client, earlier)
    phone = phone_of(visitor, product, "whatsapp:+15553330012")
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    visitor.page.route("**/simulator/messages?contact=*0010", hold)
    mine = visitor.page.get_by_label("My number")
    with visitor.page.expect_request("**/simulator/messages?contact=*0010"):
        mine.fill(bare(earlier))
        mine.press("Tab")
    with visitor.page.expect_response("**/simulator/messages?contact=*0011"):
        mine.fill(bare(later))
        mine.press("Tab")
    with visitor.page.expect_response("**/simulator/messages?contact=*0010"):
        late[0].continue_()
    expect(phone.locator(".empty")).to_be_visible()
    expect(phone.locator(".bubble")).to_have_count(0)
    for _ in range(11):
        visitor.page.get_by_role("button", name="Phone", exact=True).click()
    numbers = visitor.page.locator(".me").evaluate_all("fields => fields.map((f) => f.value)")
    assert len(numbers) == len(set(numbers)) == 12
