"""One person, known by the address at first and later by an id of the provider's: in memory."""

from __future__ import annotations

from models.conversations import Contact
from models.messages import InboundMessage
from serve_app.testing.tables import Tables


def adopt_external_id(tables: Tables, latest: InboundMessage, owner_id: str) -> None:
    new = (owner_id, latest.channel, latest.contact_key)
    known = tables.contacts.get((owner_id, latest.channel, latest.sender))
    if latest.contact_key == latest.sender or known is None or new in tables.contacts:
        return
    del tables.contacts[owner_id, latest.channel, latest.sender]
    tables.contacts[new] = known.model_copy(update={"key": latest.contact_key})
    for key, conversation_id in list(tables.keys.items()):
        conversation = tables.conversations[conversation_id]
        if conversation.contact.id == known.id:
            del tables.keys[key]
            renamed = key[2].removesuffix(latest.sender) + latest.contact_key
            tables.keys[key[0], key[1], renamed] = conversation_id
            tables.conversations[conversation_id] = conversation.model_copy(
                update={"contact": tables.contacts[new]}
            )


def contacts_at(tables: Tables, message: InboundMessage, owner_id: str) -> list[Contact]:
    """Contacts with the address that a message came from; the one that came last is the last."""
    return [
        contact
        for contact in tables.contacts.values()
        if (contact.owner_id, contact.channel, contact.address)
        == (owner_id, message.channel, message.sender)
    ]
