"""An assistant that is tried answers as it would answer a contact, and does nothing else."""

from __future__ import annotations

from models.accounts import Assistant, Document, HttpTool, Owner, Plan
from serve_app.clock import SystemClock
from serve_app.conversation.tools import ToolRegistry
from serve_app.conversation.trial import AssistantTrial
from serve_app.settings import ConversationSettings
from serve_app.testing.engines import ScriptedChatModel
from serve_app.testing.store import MemoryStore


async def test_the_owners_documents_are_given_as_to_a_contact() -> None:
    store, model = MemoryStore(), ScriptedChatModel(["Until ten."])
    tool = HttpTool(name="stock", description="What is left", method="GET", url="https://x.example")
    owner = Owner(
        id="o",
        name="Café",
        plan=Plan(code="p", active=True, features=frozenset({"text"}), monthly_messages=None),
        assistant=Assistant(instructions="Be kind.", http_tools=(tool,)),
    )
    await store.owners.save(owner)
    document = Document(title="Terrace", source="", text="The terrace is open until ten at night.")
    await store.documents.save("o", document)
    trial = AssistantTrial(
        model=model,
        tools=ToolRegistry(()),
        documents=store.documents,
        clock=SystemClock(),
        settings=ConversationSettings(),
    )
    told = await trial.ask(owner, "How long is the terrace open?")
    (request,) = model.requests
    assert "open until ten at night" in request.messages[0].content
    assert told.text == "Until ten."
    assert told.passages == ("Terrace",)
    assert told.left_out == ("stock",)
