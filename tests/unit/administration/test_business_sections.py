"""HTTP tools, people, texts, documents and secrets of an owner's file: read, checked, compared, applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.administration.errors import AdministrationError
from serve_app.administration.owner_file import write_owner
from tests.unit.administration.samples import TOKENS, Office, owner_file, told

OWNER = """
id: bakery
name: Corner Bakery
plan: {code: basic}
retention_days: 30
assistant:
  texts: {try_later: "Later!", handed_over: {es: "Ya va", en: "Soon"}}
  buttons: {handed_over: [Opening hours, A person], first_answer: {es: [Horario], en: [Hours]}}
  outside_hours: text
  business_hours: {monday: ["09:00", "17:00"], sunday: null}
  speech: {language: es, prompt: "En Corner Bakery:", hot_words: [hogaza, pan de masa madre]}
  people: {keywords: [human], notify_url: "https://crm.bakery.example/in", give_back_after_hours: 12}
  http_tools:
    - name: order
      description: Where an order is.
      url: https://api.bakery.example/orders/{id}
      arguments: {type: object, properties: {id: {type: string}}, required: [id]}
      headers: {Authorization: "Bearer {secret:orders}"}
secrets_env: {orders: ORDERS_KEY}
knowledge:
  - {title: Returns, source: page 3, text: No returns.}
"""
TEMPLATES = """
id: bakery
name: Corner Bakery
plan: {code: basic}
accounts:
  - id: bakery-cloud
    channel: whatsapp_cloud
    account_sid: "102290129340398"
    auth_token_env: TOKEN
    access_token_env: TOKEN
    phone_numbers: ["106540352242922"]
    sending:
      template:
        name: order_follow_up
        language: pt_BR
        variables: {"1": "{name|friend}", "2": "{text}"}
  - id: bakery-twilio
    account_sid: AC0123456789abcdef0123456789abcdef
    auth_token_env: TOKEN
    phone_numbers: ["whatsapp:+34600000000"]
    sending:
      template: {content_sid: HX0123456789abcdef0123456789abcdef, variables: {"1": "{name}"}}
"""
ENVIRON = {**TOKENS, "ORDERS_KEY": "k-1"}


@pytest.fixture
def office() -> Office:
    return Office()


async def test_applied_as_written_and_nothing_to_change_then(office: Office) -> None:
    first = await office.apply(OWNER, ENVIRON)
    assert ("knowledge[Returns].text", None, "No returns.") in told(first.changes)
    assert ("secrets[orders]", None, "set") in told(first.changes)
    assert "the secret notify isn't set: `recado owners secret bakery notify`" in first.notes
    assert (await office.propose(OWNER, ENVIRON)).changes == ()
    owner = await office.administration.owner("bakery")
    assert owner.assistant.texts["try_later"] == {"any": "Later!"}
    assert owner.assistant.buttons["handed_over"] == {"any": ("Opening hours", "A person")}
    assert owner.assistant.speech.language == "es"
    assert owner.assistant.speech.hot_words == ("hogaza", "pan de masa madre")
    documents = await office.store.documents.list_all("bakery")
    written = owner_file(write_owner(owner, [], documents))
    again = await office.administration.propose_file(written, environ={})
    assert again.changes == ()


async def test_buttons_that_stop_messages_are_remarked_on(office: Office) -> None:
    proposal = await office.propose(OWNER.replace("A person]", "Stop messages]"), ENVIRON)
    assert (
        "assistant.buttons: a tap on Stop messages ends all messages to the contact"
        in proposal.notes
    )
    assert not any("a tap on" in note for note in (await office.propose(OWNER, ENVIRON)).notes)


async def test_what_differs_is_told_by_name(office: Office) -> None:
    await office.apply(OWNER, ENVIRON)
    changed = OWNER.replace("No returns.", "Within a week.").replace("page 3", "page 4")
    proposal = await office.propose(changed, {**ENVIRON, "ORDERS_KEY": "k-2"})
    assert told(proposal.changes) == {
        ("knowledge[Returns].text", "No returns.", "Within a week."),
        ("knowledge[Returns].source", "page 3", "page 4"),
        ("secrets[orders]", "set", "changed"),
    }
    removed = OWNER[: OWNER.index("secrets_env")] + "secrets_env: {orders: null}\nknowledge: []\n"
    await office.apply(removed, ENVIRON)
    assert await office.store.documents.list_all("bakery") == []
    assert await office.store.secrets.names("bakery") == []


async def test_without_knowledge_the_documents_stay(office: Office) -> None:
    await office.apply(OWNER, ENVIRON)
    proposal = await office.apply(OWNER[: OWNER.index("knowledge:")], ENVIRON)
    assert proposal.changes == ()
    assert len(await office.store.documents.list_all("bakery")) == 1


async def test_a_document_may_lie_beside_the_file(office: Office, tmp_path: Path) -> None:
    (tmp_path / "returns.txt").write_text("From a file.")
    text = OWNER.replace("text: No returns.", "file: returns.txt")
    file = owner_file(text)
    proposal = await office.administration.propose_file(file, environ=ENVIRON, folder=tmp_path)
    assert ("knowledge[Returns].text", None, "From a file.") in told(proposal.changes)
    with pytest.raises(AdministrationError, match=r"returns.txt can't be read"):
        await office.administration.propose_file(file, environ=ENVIRON, folder=tmp_path / "none")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("api.bakery.example", "api.other.example", "add it to outside.hosts"),
        ("https://crm", "http://crm", "must be https"),
        ("name: order", "name: menu", "has a tool menu already"),
        ("try_later:", "never_said:", "there is no text never_said"),
        ("  outside_hours: text", "  model: large", "has one model"),
        ("{handed_over: [", "{opted_out: [", "none are offered under opted_out, only under "),
    ],
)
async def test_what_the_installation_does_not_have(
    office: Office, old: str, new: str, problem: str
) -> None:
    with pytest.raises(AdministrationError, match=problem):
        await office.propose(OWNER.replace(old, new), ENVIRON)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "{id: {type: string}}",
            "{id: {$ref: 'http://169.254.169.254/'}}",
            "isn't part of this schema",
        ),
        ("orders/{id}", "orders/{number}", r"\{number\} must be a required argument"),
        (
            "https://api.bakery.example/orders/{id}",
            "https://{id}.bakery.example/",
            "its host fixed",
        ),
        ("handed_over: [Opening hours", f"handed_over: [{'x' * 21}", "at most 20 characters"),
        ("[Opening hours,", "[A person,", "A person stands twice"),
        ("[Opening hours,", "[A, B, C,", "at most 3 items"),
        ("type: object, properties", "type: array, items", "must be the JSON schema of an object"),
        ("{type: string}", "{type: strange}", "must be a JSON schema"),
        ("headers: {Authorization", "headers: {Host", "Host can't be set"),
        ("name: order", "name: Order!", "lower-case letters"),
        ("text: No returns.", "language: en", "either text or file"),
        ("{orders: ORDERS_KEY}", f"{{orders: {'a' * 32}}}", "never the token itself"),
        ("language: es, prompt", "language: pt-BR, prompt", "as in en or pt, or auto"),
        ("[hogaza, pan de masa madre]", "[hogaza, hogaza]", "stands twice"),
        ("give_back_after_hours: 12", "give_back_after_hours: 0", "greater than 0"),
    ],
)
def test_what_cannot_be(old: str, new: str, problem: str) -> None:
    assert old in OWNER
    with pytest.raises(ValueError, match=problem):
        owner_file(OWNER.replace(old, new))


def test_each_channel_has_templates_of_its_own_kind() -> None:
    cloud, twilio = (account.sending.rules().template for account in owner_file(TEMPLATES).accounts)
    assert cloud is not None
    assert twilio is not None
    assert (cloud.name, cloud.language, cloud.content_sid) == ("order_follow_up", "pt_BR", None)
    assert (twilio.name, twilio.content_sid) == (None, "HX0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("        language: pt_BR\n", "", "the Cloud API's has a name and a language"),
        ("language: pt_BR", "language: pt-BR", "as Meta writes it"),
        ("order_follow_up", "Order Follow Up", "lower-case letters, digits"),
        ('"2": "{text}"', '"3": "{text}"', "without a gap"),
        ('"2": "{text}"', 'text: "{text}"', "not both"),
        (
            "template: {content_sid: HX0123456789abcdef0123456789abcdef",
            "template: {name: x, language: en",
            "Twilio's has a content_sid",
        ),
    ],
)
def test_templates_that_cannot_be(old: str, new: str, problem: str) -> None:
    assert old in TEMPLATES
    with pytest.raises(ValueError, match=problem):
        owner_file(TEMPLATES.replace(old, new))
