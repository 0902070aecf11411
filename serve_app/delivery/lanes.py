"""Which rates a reply is sent at: the account's own, else the installation's."""

from __future__ import annotations

from models.accounts import TwilioAccount
from models.conversations import Reply
from serve_app.ports import SendLane
from serve_app.settings import SenderSettings


def lane_of(reply: Reply, account: TwilioAccount, settings: SenderSettings) -> SendLane:
    return lane_between(account, settings, sender=reply.sender, recipient=reply.recipient)


def lane_between(
    account: TwilioAccount, settings: SenderSettings, *, sender: str, recipient: str
) -> SendLane:
    """A messaging service has its rate as a whole, whichever of its numbers it takes."""
    rules = account.sending
    # By the recipient: a sender may be a short code, without a plus.
    sms = recipient.startswith("+")
    per_second = settings.sms_per_second if sms else settings.whatsapp_per_second
    return SendLane(
        account_id=account.account_sid,
        sender=account.messaging_service_sid or sender,
        recipient=recipient,
        per_second=rules.per_second or per_second,
        burst=rules.burst or max(1, round(rules.per_second or per_second)),
        recipient_per_second=rules.recipient_per_second or settings.recipient_per_second,
        recipient_burst=rules.recipient_burst or settings.recipient_burst,
    )
