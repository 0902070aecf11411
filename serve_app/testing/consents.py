"""Opt-outs and opt-ins in memory."""

from __future__ import annotations

import asyncio
from datetime import datetime

from models.conversations import ConsentChange, Contact, ReplyStatus
from models.messages import InboundMessage
from serve_app.testing.external_ids import adopt_external_id, contacts_at
from serve_app.testing.owners import MemoryTwilioAccountRepository
from serve_app.testing.tables import StoredConsent, Tables, contact_key


class MemoryConsentRepository:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._accounts = MemoryTwilioAccountRepository(tables)

    async def apply(self, message: InboundMessage, *, stop: bool) -> ConsentChange | None:
        account = await self._accounts.find(
            account_sid=message.account_id,
            address=message.recipient,
            messaging_service_sid=message.messaging_service_id,
        )
        if account is None:
            return None
        others = contacts_at(self._tables, message, account.owner_id)
        adopt_external_id(self._tables, message, account.owner_id)
        key = (account.owner_id, message.channel, message.contact_key)
        contact = self._tables.contacts.get(key) or Contact(
            id=f"contact-of-{message.job_id}",
            owner_id=account.owner_id,
            channel=message.channel,
            key=message.contact_key,
            address=message.sender,
        )
        contact = contact.model_copy(update={"address": message.sender})
        self._tables.contacts[key] = contact
        changed = self._take_down(contact, message.message_id, stop=stop, at=message.received_at)
        for other in others:
            if stop and other.id != contact.id:
                self._take_down(other, message.message_id, stop=True, at=message.received_at)
        return ConsentChange(contact_id=contact.id, changed=changed)

    async def refused(self, reply_id: str, *, at: datetime) -> bool:
        await asyncio.sleep(0)
        stored = self._tables.replies.get(reply_id)
        if stored is None:
            return False
        conversation = self._tables.conversations[stored.reply.conversation_id]
        contact = self._tables.contacts[contact_key(conversation.contact)]
        return self._take_down(contact, reply_id, stop=True, at=at)

    async def has_stopped(self, *, owner_id: str, channel: str, address: str) -> bool:
        await asyncio.sleep(0)
        wanted = (owner_id, channel, address)
        return any(
            (contact.owner_id, contact.channel, contact.address) == wanted
            and contact.opted_out_at is not None
            for contact in self._tables.contacts.values()
        )

    async def is_sending_to(self, contact_id: str) -> bool:
        await asyncio.sleep(0)
        contacts = self._tables.contacts.values()
        places = {(c.owner_id, c.channel, c.address) for c in contacts if c.id == contact_id}
        same = {c.id for c in contacts if (c.owner_id, c.channel, c.address) in places}
        return any(
            stored.reply.status is ReplyStatus.SENDING
            and self._tables.conversations[stored.reply.conversation_id].contact.id in same
            for stored in self._tables.replies.values()
        )

    def _take_down(self, contact: Contact, message_id: str, *, stop: bool, at: datetime) -> bool:
        consents = self._tables.consents.setdefault(contact.id, {})
        known = consents.get(message_id)
        if known is not None:
            return known.changed
        differs = (contact.opted_out_at is None) is stop
        changed = differs and all(at >= earlier.at for earlier in consents.values())
        consents[message_id] = StoredConsent(stop=stop, at=at, changed=changed)
        if changed:
            self._tables.contacts[contact_key(contact)] = contact.model_copy(
                update={"opted_out_at": at if stop else None}
            )
        return changed
