"""Quotas, tools, documents, people and privacy, from the contact's message on, over real servers."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models.accounts import Document, Plan
from models.errors import PermanentError
from models.inference import ChatRequest, ToolCall
from models.jobs import DeadReason, NewJob
from serve_app.bootstrap import compose_privacy
from serve_app.conversation.catalogue import TextCatalogue
from serve_app.conversation.note_sender import signature
from serve_app.testing.engines import FixedTranscriber, ScriptedChatModel
from tests.fixtures.store_search import places_of
from tests.integration.chain.house import CLOUD, House, Open, change, contact, until
from tests.integration.channels.serving import free_socket, port_of, serving

pytestmark = pytest.mark.integration

TEXTS = TextCatalogue.load()


class Service:
    """A business's own server: an order service and a receiver of notes."""

    def __init__(self) -> None:
        self.socket: socket.socket = free_socket()
        self.origin = f"http://127.0.0.1:{port_of(self.socket)}"
        self.asked: list[Request] = []
        self.notes: list[tuple[dict[str, str], bytes]] = []
        self.refusals = 1
        self.app = Starlette(
            routes=[
                Route("/orders/{number}", self._order),
                Route("/notes", self._note, methods=["POST"]),
            ]
        )

    async def _order(self, request: Request) -> Response:
        self.asked.append(request)
        if request.path_params["number"] == "404":
            return Response(status_code=404)
        return JSONResponse({"state": "baked"})

    async def _note(self, request: Request) -> Response:
        self.notes.append((dict(request.headers), await request.body()))
        self.refusals -= 1
        return Response(status_code=503 if self.refusals >= 0 else 204)


async def test_a_quota_is_exact_under_a_hundred_turns_at_once(house: Open) -> None:
    people = range(1, 101)
    # Nobody dies here, and a slow machine isn't to be taken for that.
    async with house(worker={"concurrency": 100}, queue={"lease_s": 20.0}) as at:
        await change(at, plan=Plan(code="limited", monthly_messages=17))
        await asyncio.gather(*(at.write(f"Hello {n}", of=n) for n in people))
        said = [body for n in people for body in await at.received(of=n, seconds=60)]
        refusal = TEXTS.text("quota_exceeded", "en")
        assert len(said) == 100
        assert sum(body != refusal for body in said) == 17
        assert len(at.chat.requests) == 17, "the model is asked for nobody else"
        assert await at.stores.owners.messages_this_month("chain") == 17


async def test_an_owners_own_tool_is_called_and_its_failure_explained(house: Open) -> None:
    service = Service()

    def clerk(request: ChatRequest) -> str | ToolCall:
        last = request.messages[-1]
        if last.role == "user":
            number = last.content.rsplit(" ", 1)[-1]
            return ToolCall(id="x", name="order", arguments={"number": number})
        return f"I was told: {last.content}"

    tool = {
        "name": "order",
        "description": "Where an order is.",
        "url": service.origin + "/orders/{number}",
        "arguments": {
            "type": "object",
            "properties": {"number": {"type": "string"}},
            "required": ["number"],
        },
        "headers": {"Authorization": "Bearer {secret:orders}"},
    }
    outside = {"local_origins": [service.origin]}
    async with (
        serving((service.app, service.socket)),
        house(chat=ScriptedChatModel(clerk), outside=outside) as at,
    ):
        await at.stores.secrets.save("chain", "orders", SecretStr("k-1"))
        await change(at, http_tools=[tool])
        await at.write("Where is order 17")
        assert await at.received() == ['I was told: {"state": "baked"}']
        assert service.asked[0].headers["authorization"] == "Bearer k-1"
        await at.write("Where is order 404", of=2)
        (said,) = await at.received(of=2)
        assert "knows nothing of that" in said


async def test_documents_are_offered_to_the_model_with_their_source(house: Open) -> None:
    async with house(chat=ScriptedChatModel(lambda r: r.messages[0].content)) as at:
        text = "Perros: son bienvenidos en la terraza."
        await at.stores.documents.save(
            "chain",
            Document(title="Reglas", text=text, source="cartel de la puerta", language="es"),
        )
        await at.write("¿Puedo ir con mi perro?")
        (said,) = await at.received()
        assert f"[1] Reglas (source: cartel de la puerta)\n{text}" in said
        await at.write("Good morning", of=2)
        assert await at.received(of=2) == ["Be brief."]


async def test_a_keyword_hands_over_people_are_told_and_the_assistant_is_silent(
    house: Open,
) -> None:
    service = Service()
    people = {
        "keywords": ["a human"],
        "notify_url": service.origin + "/notes",
        "notify_number": contact(99),
    }
    outside = {"local_origins": [service.origin]}
    async with serving((service.app, service.socket)), house(outside=outside) as at:
        await at.stores.secrets.save("chain", "notify", SecretStr("shared"))
        await change(at, people=people)
        await at.write("I want A HUMAN!")
        assert await at.received() == [TEXTS.text("handed_over", "en")]
        (told,) = await at.received(of=99)
        assert contact() in told
        assert "keyword: a human" in told
        assert "I want A HUMAN!" in told

        async def arrived() -> bool:
            return len(service.notes) >= 2

        await until(arrived)
        (first, body), (again, _) = service.notes[:2]
        assert first["webhook-id"] == again["webhook-id"], "refused once, sent again"
        assert first["webhook-signature"] == signature(
            SecretStr("shared"),
            note_id=first["webhook-id"],
            timestamp=int(first["webhook-timestamp"]),
            body=body,
        )
        assert json.loads(body)["data"]["contact"]["address"] == contact()

        await at.write("Hello?")
        await at.settle()
        assert len(await at.received()) == 1
        assert at.chat.requests == []
        (taken,) = await at.stores.conversations.with_people(limit=5)
        assert await at.stores.conversations.set_human(taken.id, human=False)
        await at.write("Thanks")
        assert (await at.received(at_least=2))[1] == "You said: Hello? / Thanks"


async def test_a_number_that_stopped_is_told_of_no_hand_over(house: Open) -> None:
    async with house() as at:
        await change(at, people={"keywords": ["a human"], "notify_number": contact(99)})
        await at.write("A human", of=1)
        await at.received(of=99)
        await at.write("STOP", of=99)
        (_, goodbye) = await at.received(of=99, at_least=2)
        assert goodbye == TEXTS.text("opted_out", "en").format(business="Chain Café")
        await at.write("A human", of=2)
        await at.received(of=2)

        async def given_up() -> bool:
            (second,) = await at.stores.contacts.find(contact(2))
            notes = (await at.stores.contacts.export(second.id))["notes"]
            return any("opted out" in (note["error"] or "") for note in notes)

        await until(given_up)
        assert await at.received(of=99, at_least=2) == await at.received(of=99)
        assert (await at.counts())["create_requests"] == 4


@pytest.mark.parametrize("told", ["+15552229999", "whatsapp:+15552229999"])
async def test_people_are_told_from_a_number_at_the_cloud_api(house: Open, told: str) -> None:
    async with house() as at:
        await at.open_cloud_account()
        await change(at, people={"keywords": ["a human"], "notify_number": told})
        await at.write("A human", **{**CLOUD, "from": "15552220001"})
        await at.settle()

        async def arrived() -> list[str]:
            answer = await at.simulator.get(
                "/simulator/messages", params={"contact": "15552229999"}
            )
            return [message["body"] for message in answer.json()["messages"]]

        await until(arrived)
        assert "15552220001 would like to talk to a person." in (await arrived())[0]


async def test_outside_of_business_hours_the_owners_own_words(house: Open) -> None:
    closed = dict.fromkeys(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    )
    async with house() as at:
        own = {"outside_hours": {"any": "Closed for the winter."}}
        await change(at, business_hours=closed, outside_hours="text", texts=own)
        await at.write("Are you open?")
        assert await at.received() == ["Closed for the winter."]
        assert at.chat.requests == []


async def test_the_voice_notes_language_decides_the_replys(house: Open) -> None:
    spanish = FixedTranscriber("una mesa para dos", language="es")
    chat = ScriptedChatModel(lambda r: r.messages[0].content)
    async with house(transcriber=spanish, chat=chat) as at:
        await at.write("", voice=b"OggS a recording")
        (said,) = await at.received()
        assert said.endswith("Answer in Spanish (es), the language of the voice note.")
        # The profile keeps it: what the service itself says is Spanish from now on.
        await change(at, people={"keywords": ["humano"]})
        await at.write("humano")
        assert (await at.received(at_least=2))[1] == TEXTS.text("handed_over", "es")


# --- privacy --------------------------------------------------------------------------------------

DIGITS = contact(1).rsplit("+", 1)[1]


async def bury_and_leave_waiting(at: House) -> None:
    """Work of the first contact in every corner: dead letters, a waiting job, the spool."""
    (conversation,) = await at.stores.contacts.find(contact(1))
    (key,) = await at.stores.contacts.conversation_keys(conversation.id)
    for queue in at.stores.queues.values():
        job = NewJob(id=f"dead-{queue.name}", conversation=key, payload=f"from {contact(1)}")
        await queue.bury(job, DeadReason.PERMANENT, PermanentError(f"no {contact(1)}"))
    form = NewJob(
        id="unprocessable:1", conversation="unprocessable", payload=f"From=whatsapp%3A%2B{DIGITS}"
    )
    await at.stores.inbound.bury(form, DeadReason.UNPROCESSABLE, PermanentError("no form"))
    other = form.model_copy(update={"id": "unprocessable:2", "payload": f"From=%2B{DIGITS}7"})
    await at.stores.inbound.bury(other, DeadReason.UNPROCESSABLE, PermanentError("no form"))
    waiting = NewJob(id="waiting", conversation=key, payload=f'{{"from": "{contact(1)}"}}')
    await at.stores.inbound.publish(waiting, debounce_s=600)
    await at.stores.spool.add("inbound", waiting.model_copy(update={"id": "spooled"}))


async def test_an_erased_contact_leaves_no_trace_in_either_store(
    house: Open, valkey_url: str, redis_prefix: str, database_url: str
) -> None:
    places = partial(
        places_of, database_url=database_url, redis_url=valkey_url, prefix=redis_prefix
    )
    book = ToolCall(
        id="x", name="book_table", arguments={"people": 2, "day": "friday", "time": "20:00"}
    )
    handing = ToolCall(id="y", name="hand_over", arguments={"reason": "complains"})
    script = [book, "Booked", "Heard", handing, "Somebody comes", "Hello to you too"]
    async with house(chat=ScriptedChatModel(script), staffed=False, notes={"interval_s": 60}) as at:
        await change(
            at, tools=["book_table", "hand_over"], people={"notify_number": "+15550001234"}
        )
        async with at.worker(), at.sender():
            for body, voice in (
                ("a table", None),
                ("", b"OggS a recording"),
                ("a complaint", None),
            ):
                before = len(await at.received(at_least=0))
                await at.write(body, voice=voice)
                await at.received(at_least=before + 1)
            await at.write("Hello", of=2)
            await at.received(of=2)
            await at.settle()
        await bury_and_leave_waiting(at)
        before = await places(DIGITS)
        assert len(before) >= 8, before

        privacy = compose_privacy(at.settings, at.stores)
        exported = await privacy.export(contact(1).removeprefix("whatsapp:"))
        (mine,) = exported["contacts"]
        assert [len(mine[name]) for name in ("messages", "bookings", "conversations")] == [3, 1, 1]
        assert {row["transcript"] for row in mine["messages"]} == {None, "a table for two"}
        assert "Somebody comes" in json.dumps(mine["replies"])
        assert mine["waiting"] == {"inbound": [{"from": contact(1)}]}
        assert len(mine["inbox_spool"]) == 1
        assert len(exported["dead_letters"]) == 4
        assert contact(2) not in json.dumps(exported)

        erased = await privacy.erase(contact(1).removeprefix("whatsapp:"))
        assert (erased.contacts, erased.jobs, erased.dead_letters) == (1, 1, 4)
        assert await places(DIGITS) == ["key " + f"{redis_prefix}:{{inbound:0}}:dead"], (
            "only the letter of the number that begins alike is left"
        )
        (left,) = await at.stores.inbound.dead()
        assert left.job.id == "unprocessable:2"
        await at.stores.inbound.purge(left.id)
        assert await places(DIGITS) == []
        # Others, and what was counted, are untouched; whoever writes again is met as for the first time.
        assert await places(contact(2).rsplit("+", 1)[1]) != []
        assert await at.stores.owners.messages_this_month("chain") == 4
        async with at.worker(), at.sender():
            at.chat._script = lambda request: "Nice to meet you"
            await at.write("Hello again")
            assert (await at.received(at_least=4))[-1] == "Nice to meet you"
        assert len(at.chat.requests[-1].messages) == 2


async def test_a_turn_that_runs_while_its_contact_is_erased_leaves_nothing(
    house: Open, valkey_url: str, redis_prefix: str, database_url: str
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    class Thinking(ScriptedChatModel):
        async def chat(self, request: ChatRequest) -> Any:
            started.set()
            await go_on.wait()
            return await super().chat(request)

    async with house(chat=Thinking(["Too late"], repeat=True)) as at:
        await at.write("Forget me")
        async with asyncio.timeout(20):
            await started.wait()
        await compose_privacy(at.settings, at.stores).erase(contact(1))
        go_on.set()
        await at.settle()
        assert await at.received(at_least=0) == []
        assert [await queue.dead() for queue in at.stores.queues.values()] == [[], [], []]
        found = await places_of(
            DIGITS, database_url=database_url, redis_url=valkey_url, prefix=redis_prefix
        )
        assert found == []


async def test_content_goes_after_the_owners_days_and_conversations_come_back(
    house: Open, database_url: str
) -> None:
    async with house() as at:
        for number in (1, 2):
            await at.write("Hello", of=number)
            await at.received(of=number)
        await at.settle()

        async def sql(statement: str) -> Any:
            connection = await asyncpg.connect(database_url)
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        contacts = at.stores.contacts
        assert await contacts.sweep(limit=10) == 0, "nobody asked for it"
        await sql("UPDATE owners SET retention_days = 30")
        assert await contacts.sweep(limit=10) == 0, "nothing is that old"
        first = "(SELECT id FROM contacts WHERE address = '" + contact(1) + "')"
        month_ago = "now() - interval '31 days'"
        await sql(f"UPDATE contacts SET updated_at = {month_ago} WHERE id = {first}")
        await sql(
            f"UPDATE conversations SET last_inbound_at = {month_ago}, updated_at = {month_ago} "
            f"WHERE contact_id = {first}"
        )
        await sql(
            f"UPDATE turns SET created_at = {month_ago} WHERE conversation_id IN "
            f"(SELECT id FROM conversations WHERE contact_id = {first})"
        )
        while await contacts.sweep(limit=1):
            continue
        assert await contacts.find(contact(1)) == []
        assert await sql("SELECT count(*) FROM messages") == 1
        (kept,) = await contacts.find(contact(2))
        assert len((await contacts.export(kept.id))["messages"]) == 1

        await sql("UPDATE conversations SET human = true")
        await change(at, people={"give_back_after_hours": 1})
        assert await contacts.give_back_due() == 0
        await sql(
            "UPDATE conversations SET updated_at = now() - interval '61 minutes', "
            "last_inbound_at = now() - interval '61 minutes'"
        )
        assert await contacts.give_back_due() == 1
        assert not await sql("SELECT bool_or(human) FROM conversations")
