"""Buttons under a message: Twilio sends them through a content template of the type `twilio/quick-reply`.

Within WhatsApp's 24 hours such a template needs no approval. One for each number of buttons will do, if
all it says are variables: `{{1}}` is the text, `{{2}}` the first title, and so on.
"""

from __future__ import annotations

import structlog

from models.accounts import TwilioAccount
from models.messages import MAX_BUTTONS, OutboundMessage, TemplateContent

log = structlog.get_logger(__name__)

MAX_BODY_CHARS = 1024
"""Of a quick reply; a variable's own limit is higher."""


def fits_quick_reply(count: int, body: str, account: TwilioAccount) -> bool:
    """A variable that is empty or holds line breaks is refused with 21656."""
    one_line = bool(body.strip()) and len(body.splitlines()) == 1
    fits = 0 < count <= MAX_BUTTONS and len(body) <= MAX_BODY_CHARS
    return fits and one_line and str(count) in account.sending.buttons


def quick_reply(message: OutboundMessage, account: TwilioAccount) -> TemplateContent | None:
    """What stands for the text. None if there are no buttons, or if the account has lost its template
    since the message was written: then the text goes out alone."""
    if not message.buttons:
        return None
    content_sid = account.sending.buttons.get(str(len(message.buttons)))
    if content_sid is None:
        log.warning("account_has_no_button_template", buttons=len(message.buttons))
        return None
    values = (message.body, *message.buttons)
    variables = {str(number): value for number, value in enumerate(values, 1)}
    return TemplateContent(content_sid=content_sid, variables=variables)
