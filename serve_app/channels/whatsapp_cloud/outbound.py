"""A message as the Cloud API wants it.

https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-message-templates
"""

from __future__ import annotations

from models.errors import SendRejectedError
from models.messages import OutboundMessage, TemplateContent


def message_document(message: OutboundMessage, *, link_previews: bool) -> dict[str, object]:
    """Raises `SendRejectedError` for a template that isn't the Cloud API's."""
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **_addressee(message.recipient),
        **_content(message, link_previews=link_previews),
        # Comes back with each delivery report: whose it is, even where the answer to this is lost.
        "biz_opaque_callback_data": message.reply_id,
    }


def _content(message: OutboundMessage, *, link_previews: bool) -> dict[str, object]:
    if message.template is not None:
        return {"type": "template", "template": _template(message.template)}
    if not message.buttons:
        text = {"body": message.body, "preview_url": link_previews}
        return {"type": "text", "text": text}
    # A button's id comes back with the tap.
    buttons = [
        {"type": "reply", "reply": {"id": title, "title": title}} for title in message.buttons
    ]
    interactive = {
        "type": "button",
        "body": {"text": message.body},
        "action": {"buttons": buttons},
    }
    return {"type": "interactive", "interactive": interactive}


def _template(template: TemplateContent) -> dict[str, object]:
    """Variables that are numbers are given in their order, others by their name."""
    if template.name is None or template.language is None:
        raise SendRejectedError(
            "a template of another provider's: the Cloud API's has a name and a language"
        )
    variables = template.variables
    if all(key.isdecimal() for key in variables):
        parameters = [
            {"type": "text", "text": variables[key]} for key in sorted(variables, key=int)
        ]
    else:
        parameters = [
            {"type": "text", "parameter_name": key, "text": value}
            for key, value in variables.items()
        ]
    components = [{"type": "body", "parameters": parameters}] if parameters else []
    return {
        "name": template.name,
        "language": {"code": template.language},
        "components": components,
    }


def _addressee(recipient: str) -> dict[str, str]:
    """A phone number, or the business-scoped id of who hides it (`US.1349…`)."""
    return {"to": recipient} if recipient.isdecimal() else {"recipient": recipient}
