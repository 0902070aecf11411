"""How a reply may change: by the sender's own doing, and by what the provider reports of it."""

from __future__ import annotations

from collections.abc import Mapping

from models.conversations import Reply, ReplyStatus
from models.messages import DeliveryStatus, StatusUpdate

_S = ReplyStatus

CAME_FROM: Mapping[ReplyStatus, frozenset[ReplyStatus]] = {
    _S.PENDING: frozenset({_S.SENDING, _S.UNKNOWN}),
    _S.SENDING: frozenset({_S.PENDING}),
    _S.UNKNOWN: frozenset({_S.SENDING}),
    _S.SENT: frozenset({_S.SENDING, _S.UNKNOWN, _S.PARKED}),
    _S.FAILED: frozenset({_S.PENDING, _S.SENDING, _S.UNKNOWN}),
    _S.PARKED: frozenset({_S.PENDING, _S.SENDING, _S.UNKNOWN}),
    _S.CANCELED: frozenset({_S.PENDING, _S.SENDING}),
}
"""The states out of which the sender may take a reply into each state; from others nothing happens."""

RESENT_FROM = frozenset({_S.PARKED, _S.FAILED})
"""The states out of which a person may have a reply sent again."""

DROPPED_FROM = frozenset({_S.PENDING, _S.UNKNOWN, _S.PARKED, _S.FAILED})
"""The states out of which a person may give a reply up; not while it is being sent."""

OPTED_OUT = "the contact has opted out"
TAKEN_OVER = "a person has taken over the conversation"
WINDOW_CLOSED = (
    "the contact wrote too long ago for a free message, and the account has no template "
    "(accounts[].sending.template in the owner's file)"
)
TEMPLATE_SENT = "the template was sent in place of the whole reply"
"""Why a reply is cancelled just before it would be sent."""

MISTAKEN = "the provider's message that was taken for it belongs to another reply"

_FAILURES = frozenset({DeliveryStatus.FAILED, DeliveryStatus.UNDELIVERED, DeliveryStatus.CANCELED})


def after_report(reply: Reply, update: StatusUpdate) -> Reply | None:
    """The reply as a delivery report leaves it; None if the report is late or about another message.

    That a report exists proves that the provider accepted the message, whatever the sender believed:
    the reply is `sent`, or `failed` with the provider's code.
    """
    if reply.provider_message_id not in (None, update.message_id):
        return None
    if reply.delivery is not None and update.status.rank < reply.delivery.rank:
        return None
    return reply.model_copy(
        update={
            "status": _S.FAILED if update.status in _FAILURES else _S.SENT,
            "provider_message_id": update.message_id,
            "delivery": update.status,
            "error_code": update.error_code,
            "error_message": update.error_message,
        }
    )
