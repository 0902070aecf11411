"""The business's side: owners, plans, assistants and their accounts at a provider."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, SecretStr

from models.messages import Frozen

FIRST_ANSWER = "first_answer"
"""The key of the buttons under the assistant's first answer to a contact; the others are the catalogue's."""


class Plan(Frozen):
    """What an owner may use: `text` always, `voice` notes where it is among the features. A limit of None
    means unlimited."""

    code: str
    active: bool = True
    features: frozenset[str] = frozenset({"text", "voice"})
    monthly_messages: int | None = None


class People(Frozen):
    """When people take over, and how they hear of it.

    `keywords` in a contact's message hand the conversation over without asking a model. A note goes to
    `notify_url` (signed with the owner's secret called `notify_secret`), as a message to `notify_number`
    from the number that was written to, or both. After `give_back_after_hours` without a message the
    assistant answers again; None leaves that to people.
    """

    keywords: tuple[str, ...] = ()
    notify_url: str | None = None
    notify_secret: str = "notify"  # noqa: S105 - a name
    notify_number: str | None = None
    give_back_after_hours: float | None = Field(default=None, gt=0)


class HttpTool(Frozen):
    """A tool that calls an HTTP service. `{name}` in `url` is filled from the arguments, which are checked
    against the JSON schema `arguments`; the others go into the query, or into a JSON body where the method
    has one. `{secret:name}` in a header's value is the owner's secret of that name."""

    name: str
    description: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: str
    arguments: dict[str, object] = Field(
        default_factory=lambda: dict[str, object](type="object", properties={})
    )
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    max_response_bytes: int = Field(default=65_536, ge=1, le=1_048_576)


class SpeechHints(Frozen):
    """What helps to hear an owner's voice notes right; what is None or empty is as the installation's
    settings say. `language` is one that is always spoken (ISO 639-1), or `auto` to have it detected.
    `prompt` is text as it might come before a note: spelling and style follow it. `hot_words` are names and
    terms that are likely to be said."""

    language: str | None = None
    prompt: str = ""
    hot_words: tuple[str, ...] = ()


class Assistant(Frozen):
    """How an owner's assistant answers; `facts` is what the tools look things up in.

    `language` is what the service says in to a contact whose own language isn't known; None is the
    owner's. `model` is for engines that offer several; None is the installation's. Outside of
    `business_hours` (of the shape of the fact `opening_hours`, which it defaults to) `outside_hours` says
    what happens. `texts` replaces texts of the catalogue: key, then language or `any`. `buttons` are the
    titles of those offered under such a text, by the same keys, and under the first answer to a contact
    (`first_answer`).
    """

    instructions: str = ""
    tone: str = ""
    language: str | None = None
    tools: tuple[str, ...] = ()
    facts: dict[str, object] = Field(default_factory=dict[str, object])
    model: str | None = None
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_reply_tokens: int = Field(default=256, ge=1)
    business_hours: dict[str, tuple[str, str] | None] | None = None
    outside_hours: Literal["answer", "text", "hand_over", "silent"] = "answer"
    texts: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])
    buttons: dict[str, dict[str, tuple[str, ...]]] = Field(
        default_factory=dict[str, dict[str, tuple[str, ...]]]
    )
    people: People = People()
    http_tools: tuple[HttpTool, ...] = ()
    speech: SpeechHints = SpeechHints()


class Owner(Frozen):
    """A business. What its contacts wrote is deleted after `retention_days`; None keeps it."""

    id: str
    name: str
    timezone: str = "UTC"
    language: str = "en"
    plan: Plan
    assistant: Assistant = Assistant()
    retention_days: int | None = Field(default=None, ge=1)


class MonthlyUsage(Frozen):
    """What an owner used in a calendar month of its time zone; `month` is its first day. `messages` are
    turns that were answered, `sms_segments` those of the SMS that the provider accepted."""

    month: date
    messages: int = 0
    audio_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sms_segments: int = 0


class Document(Frozen):
    """A text that the assistant may quote, with its source. `title` names it within its owner."""

    title: str
    text: str
    source: str = ""
    language: str | None = None


class Passage(Frozen):
    """A part of a document that fits a question."""

    title: str
    source: str
    text: str
    rank: float


class PhoneNumber(Frozen):
    """A sender address of an account, as the provider writes it (`whatsapp:+15551234567`, `+1555…`)."""

    address: str
    channel: str = "whatsapp"


class ReplyTemplate(Frozen):
    """What is sent in place of a reply when WhatsApp takes no free message any more: Twilio knows it by
    `content_sid`, the Cloud API by `name` and `language`. In a variable `{name}` is the contact's,
    `{business}` the owner's and `{text}` the reply's; `{name|friend}` says what stands for an empty one."""

    content_sid: str | None = None
    name: str | None = None
    language: str | None = None
    variables: dict[str, str] = Field(default_factory=dict[str, str])


class SendingRules(Frozen):
    """How an account's messages go out; None is what the installation's settings say. Rates are messages a
    second (SMS: segments), of each sender and to each recipient."""

    number_parts: bool | None = None
    per_second: float | None = Field(default=None, gt=0)
    burst: int | None = Field(default=None, ge=1)
    recipient_per_second: float | None = Field(default=None, gt=0)
    recipient_burst: int | None = Field(default=None, ge=1)
    template: ReplyTemplate | None = None
    buttons: dict[str, str] = Field(default_factory=dict[str, str])
    """At Twilio: the ContentSid of the quick-reply template by its number of buttons (`"3"`)."""


class TwilioAccount(Frozen):
    """An account at a provider, named after the first; the tokens are decrypted, so never log or serialise
    one.

    `account_sid` is the provider's id of it. `auth_token` signs its webhooks and opens its API, which
    `access_token` does where the provider has another secret for that (the Cloud API: app secret and
    access token).
    """

    id: str
    owner_id: str
    channel: str = "twilio"
    account_sid: str
    auth_token: SecretStr
    access_token: SecretStr | None = None
    secondary_token: SecretStr | None = None
    phone_numbers: tuple[PhoneNumber, ...] = ()
    messaging_service_sid: str | None = None
    active: bool = True
    debounce_s: float | None = Field(default=None, ge=0)
    """How long a conversation must be quiet before its turn starts; None is the installation's."""
    sending: SendingRules = SendingRules()

    def owns(self, address: str) -> bool:
        return any(number.address == address for number in self.phone_numbers)

    def fairness_key(self, address: str) -> str:
        """Whose a message to `address` is, where owners' work takes turns: the owner's, if the address is
        this account's; owners may share an account at the provider, and there each other address counts
        for itself."""
        return self.owner_id if self.owns(address) else address


class Addressee(Frozen):
    """Whom a message is to: the account that has the number, and the business behind it."""

    account: TwilioAccount
    owner: Owner
    has_documents: bool = False
    """Whether there is anything to look up for its answers."""
