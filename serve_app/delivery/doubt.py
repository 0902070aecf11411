"""Looks for a doubtful reply in the provider's list of sent messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from models.accounts import TwilioAccount
from models.conversations import Reply
from models.messages import OutboundMessage, SentMessage, TemplateContent
from serve_app.ports import Channel, ReplyRepository, TwilioAccountRepository

CLOCK_SLACK = timedelta(seconds=60)
"""How far the provider's clock may be behind ours when its list is searched. Too little repeats a message;
too much could only match the same text sent by somebody else shortly before."""


class DoubtfulReplies:
    """Whether, as far as the provider knows, a reply was sent."""

    def __init__(
        self,
        *,
        replies: ReplyRepository,
        accounts: TwilioAccountRepository,
        channels: Mapping[str, Channel],
    ) -> None:
        self._replies = replies
        self._accounts = accounts
        self._channels = channels

    async def find(
        self, reply: Reply, account: TwilioAccount, *, since: datetime
    ) -> SentMessage | None:
        """The listed message that is this reply and no other. Raises `ListUnavailableError`."""
        listed = await self._channels[reply.channel].find_sent(
            outbound_message(reply, account), account, since=since - CLOCK_SLACK
        )
        # What a template says isn't known here: any message to this contact that is no other reply is it. So
        # it is with buttons, which are in a template, too, if the list doesn't show the text as it was.
        same = [m for m in listed if reply.as_template or m.body == reply.body]
        if reply.buttons:
            same += [m for m in listed if m.body != reply.body]
        taken = await self._replies.known_provider_ids([message.message_id for message in same])
        return next((message for message in same if message.message_id not in taken), None)

    async def account_of(self, reply: Reply) -> TwilioAccount | None:
        return await self._accounts.answering(
            reply.account_id, account_sid=reply.account_sid, address=reply.sender
        )


def outbound_message(
    reply: Reply, account: TwilioAccount, *, template: TemplateContent | None = None
) -> OutboundMessage:
    return OutboundMessage(
        reply_id=reply.id,
        account_id=reply.account_sid,
        sender=reply.sender,
        recipient=reply.recipient,
        body=reply.body,
        messaging_service_id=account.messaging_service_sid,
        template=template,
        buttons=() if template else reply.buttons,
    )
