"""A text as the messages that a channel can carry, and the job that sends one."""

from __future__ import annotations

import uuid

from models.accounts import TwilioAccount
from models.conversations import NewReply, Reply, ReplyPurpose
from models.jobs import NewJob
from serve_app.conversation.buttons import listed
from serve_app.conversation.segments import count_segments
from serve_app.conversation.splitting import number_parts, split_text
from serve_app.ports import Channel


class ReplyParts:
    """`numbered` is for accounts that don't say themselves."""

    def __init__(self, *, max_chars: int, numbered: bool) -> None:
        self._max_chars = max_chars
        self._numbered = numbered

    def parts_of(
        self,
        turn_id: str,
        text: str,
        channel: Channel,
        *,
        to: str,
        account: TwilioAccount,
        buttons: tuple[str, ...] = (),
        purpose: ReplyPurpose = ReplyPurpose.ANSWER,
    ) -> tuple[NewReply, ...]:
        """What is sent for `text`, shortened to the limit. The buttons come under the last part or, where
        they can't, as lines of its text."""
        own_choice = account.sending.number_parts
        numbered = self._numbered if own_choice is None else own_choice
        split = number_parts if numbered else split_text
        limited = text
        if len(text) > self._max_chars:
            limited = split_text(text, self._max_chars)[0] + "…"
        parts = split(limited, channel.max_body_chars)
        if (
            parts
            and buttons
            and not channel.carries_buttons(
                len(buttons), body=parts[-1], recipient=to, account=account
            )
        ):
            parts, buttons = split(listed(limited, buttons), channel.max_body_chars), ()
        last = len(parts) - 1
        return tuple(
            NewReply(
                id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"reply:{turn_id}:{position}")),
                position=position,
                body=body,
                purpose=purpose,
                segments=count_segments(body) if to.startswith("+") else None,
                buttons=buttons if position == last else (),
            )
            for position, body in enumerate(parts)
        )


def reply_job(reply: Reply, *, suffix: str = "") -> NewJob:
    """The outbound job of a reply. The sender looks at the reply's state, so that repeating a job under
    another `suffix` repeats no message."""
    return NewJob(
        id=reply.id + suffix,
        conversation=reply.conversation_key,
        payload=reply.id,
        trace=reply.trace,
        # The number: what the provider limits is what a number sends.
        fairness_key=reply.sender,
    )
