"""What the API documentation says of the webhooks."""

from __future__ import annotations

from typing import Any


def _webhook(summary: str) -> dict[str, Any]:
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "post": {
            "summary": summary,
            "tags": ["webhooks"],
            "parameters": [
                {
                    "name": "X-Twilio-Signature",
                    "in": "header",
                    "required": True,
                    "schema": {"type": "string"},
                    "description": "base64(HMAC-SHA1(auth token, URL and sorted parameters))",
                }
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": {
                            "type": "object",
                            "required": ["AccountSid", "MessageSid"],
                            "properties": {
                                "AccountSid": {"type": "string"},
                                "MessageSid": {"type": "string"},
                                "From": {"type": "string"},
                                "To": {"type": "string"},
                                "Body": {"type": "string"},
                                "NumMedia": {"type": "string"},
                                "MessageStatus": {"type": "string"},
                            },
                            "additionalProperties": {"type": "string"},
                        }
                    }
                },
            },
            "responses": {
                "200": {
                    "description": "Stored durably; the work follows",
                    "content": {"text/xml": {"schema": {"type": "string"}}},
                },
                "400": {"description": "The body isn't a well-formed form", **text},
                "403": {"description": "Signature missing or wrong; nothing is stored", **text},
                "413": {"description": "The body is too large", **text},
                "415": {"description": "The body isn't a form", **text},
                "503": {
                    "description": "Neither store can keep it, or too much waits already;"
                    " send it again after `Retry-After` seconds",
                    **text,
                },
            },
        }
    }


WEBHOOK_PATHS: dict[str, Any] = {
    "/webhooks/twilio": _webhook("A message from a contact"),
    "/webhooks/twilio/status": _webhook("A delivery report"),
}
