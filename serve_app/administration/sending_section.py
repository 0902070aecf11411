"""How an account's messages go out, as the owner's file says it."""

from __future__ import annotations

from pydantic import Field, field_validator

from models.accounts import SendingRules
from serve_app.administration.field_types import (
    INTEGER_MAX,
    ButtonCount,
    ContentSid,
    Section,
    TemplateLanguage,
    TemplateName,
)


class TemplateSection(Section):
    """Twilio's has a `content_sid`, the Cloud API's a name and a language."""

    content_sid: ContentSid | None = None
    name: TemplateName | None = None
    language: TemplateLanguage | None = None
    variables: dict[str, str] = Field(default_factory=dict[str, str])

    @field_validator("variables")
    @classmethod
    def _in_a_row(cls, variables: dict[str, str]) -> dict[str, str]:
        positions = {int(key) for key in variables if key.isascii() and key.isdecimal()}
        if positions and positions != set(range(1, len(variables) + 1)):
            raise ValueError('must be "1", "2" and so on without a gap, or names, not both')
        return variables

    def check(self, *, cloud: bool) -> None:
        """Raises ValueError for a template of another channel's kind."""
        if cloud and (self.name is None or self.language is None or self.content_sid is not None):
            raise ValueError("sending.template: the Cloud API's has a name and a language")
        if not cloud and (self.content_sid is None or self.name or self.language):
            raise ValueError(
                "sending.template: Twilio's has a content_sid, which stands for name and language"
            )


class SendingSection(Section):
    """What is left out is as the installation's settings say."""

    number_parts: bool | None = None
    per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    burst: int | None = Field(default=None, ge=1, le=INTEGER_MAX)
    recipient_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    recipient_burst: int | None = Field(default=None, ge=1, le=INTEGER_MAX)
    template: TemplateSection | None = None
    buttons: dict[ButtonCount, ContentSid] = Field(default_factory=dict[str, str])

    def rules(self) -> SendingRules:
        return SendingRules.model_validate(self.model_dump())
