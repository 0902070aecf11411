"""The YAML file of an owner: its shape, reading it, writing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, ValidationError, field_validator, model_validator

from models.accounts import Assistant, Document, Owner, PhoneNumber, Plan, TwilioAccount
from serve_app.administration.assistant_section import (
    ANY_LANGUAGE,
    AssistantSection,
    no_repeats,
)
from serve_app.administration.errors import AdministrationError, describe
from serve_app.administration.facts import WEEKDAYS
from serve_app.administration.field_types import (
    INTEGER_MAX,
    AccountSid,
    Address,
    Id,
    Language,
    Line,
    Section,
    ServiceSid,
    Timezone,
    Variable,
)
from serve_app.administration.sending_section import SendingSection
from serve_app.administration.yaml_text import dump_yaml, load_yaml

WHATSAPP = "whatsapp:"
_SHORT_CODE = 8
"""The most digits of a short code."""
MOST_DOCUMENT_CHARS = 50_000


class PlanSection(Section):
    code: Id
    active: bool = True
    features: frozenset[Literal["text", "voice"]] = frozenset({"text", "voice"})
    monthly_messages: int | None = Field(default=None, ge=0, le=INTEGER_MAX)

    @field_validator("features")
    @classmethod
    def _always_text(cls, features: frozenset[str]) -> frozenset[str]:
        """There is no plan without it, whether its file says so or not."""
        return features | {"text"}


class NumberEntry(Section):
    """May be written as the address alone; `channel` follows from it."""

    address: Address
    channel: Literal["whatsapp", "sms"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_address(cls, value: object) -> object:
        return cast(object, value) if isinstance(value, dict) else {"address": value}

    @model_validator(mode="after")
    def _agree(self) -> NumberEntry:
        if self.channel not in (None, channel_of(self.address)):
            raise ValueError(f"{self.address} is of the channel {channel_of(self.address)}")
        return self

    def number(self) -> PhoneNumber:
        return PhoneNumber(address=self.address, channel=channel_of(self.address))


class AccountSection(Section):
    """`account_sid` and the tokens of a stored account may be left out: they stay as they are."""

    id: Id
    channel: Literal["twilio", "whatsapp_cloud"] = "twilio"
    account_sid: AccountSid | None = None
    auth_token_env: Variable | None = None
    secondary_token_env: Variable | None = None
    access_token_env: Variable | None = None
    phone_numbers: tuple[NumberEntry, ...] = ()
    messaging_service_sid: ServiceSid | None = None
    active: bool = True
    debounce_s: float | None = Field(default=None, ge=0, le=60, allow_inf_nan=False)
    sending: SendingSection = SendingSection()

    @field_validator("phone_numbers")
    @classmethod
    def _once(cls, numbers: tuple[NumberEntry, ...]) -> tuple[NumberEntry, ...]:
        no_repeats([number.address for number in numbers])
        return numbers

    @model_validator(mode="after")
    def _as_the_channel_writes(self) -> AccountSection:
        cloud = self.channel == "whatsapp_cloud"
        if self.account_sid is not None and self.account_sid.startswith("AC") == cloud:
            raise ValueError(f"account_sid: {self.account_sid} is no account of {self.channel}")
        for number in self.phone_numbers:
            is_id = number.address.isdecimal() and len(number.address) > _SHORT_CODE
            if is_id != cloud:
                wanted = "the id of a phone number" if cloud else "a number or a short code"
                raise ValueError(f"phone_numbers: {number.address} isn't {wanted}")
        if not cloud and self.access_token_env is not None:
            raise ValueError("access_token_env: Twilio's API opens with the auth token")
        if cloud and self.messaging_service_sid is not None:
            raise ValueError("messaging_service_sid: only Twilio has messaging services")
        if self.sending.template is not None:
            self.sending.template.check(cloud=cloud)
        return self

    def numbers(self) -> tuple[PhoneNumber, ...]:
        return tuple(number.number() for number in self.phone_numbers)

    @property
    def drops_secondary(self) -> bool:
        """Whether the file says `secondary_token_env: null`."""
        return "secondary_token_env" in self.model_fields_set and self.secondary_token_env is None


class DocumentSection(Section):
    """A document of the owner's; `file` is beside the owner's file."""

    title: Line
    source: str = ""
    language: Language | None = None
    text: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _has_text(self) -> DocumentSection:
        if (self.text is None) == (self.file is None):
            raise ValueError("must have either text or file")
        return self

    def document(self, folder: Path) -> Document:
        """Raises `AdministrationError` if its file can't be read or it is too long."""
        text = self.text
        if text is None:
            path = folder / str(self.file)
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise AdministrationError(
                    f"knowledge[{self.title}]: {path} can't be read"
                ) from error
        return checked_document(
            Document(title=self.title, source=self.source, language=self.language, text=text)
        )


class OwnerFile(Section):
    """One owner with its plan, assistant, documents and accounts. Without `knowledge` the documents stay as
    they are; `secrets_env` names the variables that secrets are taken from."""

    id: Id
    name: Line
    timezone: Timezone = "UTC"
    language: Language = "en"
    plan: PlanSection
    retention_days: int | None = Field(default=None, ge=1, le=INTEGER_MAX)
    assistant: AssistantSection = AssistantSection()
    secrets_env: dict[Id, Variable | None] = Field(default_factory=dict[str, str | None])
    knowledge: tuple[DocumentSection, ...] | None = None
    accounts: tuple[AccountSection, ...] = ()

    @field_validator("knowledge")
    @classmethod
    def _titled_once(
        cls, documents: tuple[DocumentSection, ...] | None
    ) -> tuple[DocumentSection, ...] | None:
        no_repeats([document.title for document in documents or ()])
        return documents

    @field_validator("accounts")
    @classmethod
    def _once(cls, accounts: tuple[AccountSection, ...]) -> tuple[AccountSection, ...]:
        no_repeats([account.id for account in accounts])
        return accounts

    def owner(self) -> Owner:
        return Owner(
            id=self.id,
            name=self.name,
            timezone=self.timezone,
            language=self.language,
            plan=Plan.model_validate(self.plan.model_dump()),
            assistant=self.assistant.assistant(),
            retention_days=self.retention_days,
        )


def checked_document(document: Document) -> Document:
    """Raises `AdministrationError` for one that is empty or too long."""
    if not document.text.strip():
        raise AdministrationError(f"knowledge[{document.title}]: it is empty")
    if len(document.text) > MOST_DOCUMENT_CHARS:
        raise AdministrationError(
            f"knowledge[{document.title}]: {len(document.text):,} characters, more than "
            f"{MOST_DOCUMENT_CHARS:,}: put it into several documents"
        )
    return document


def channel_of(address: str) -> Literal["whatsapp", "sms"]:
    """An address of many digits is the id of a number at the Cloud API, which is WhatsApp's."""
    is_id = address.isdecimal() and len(address) > _SHORT_CODE
    return "whatsapp" if is_id or address.startswith(WHATSAPP) else "sms"


def read_owner_file(path: Path) -> OwnerFile:
    """Raises `AdministrationError`, which names the file and the key."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise AdministrationError(f"{path} doesn't exist.") from None
    except OSError as error:
        raise AdministrationError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AdministrationError(f"{path} isn't UTF-8 text.") from error
    try:
        return read_owner(text)
    except AdministrationError as error:
        raise AdministrationError(f"{path}: {error}") from error


def read_owner(text: str) -> OwnerFile:
    """Raises `AdministrationError`, which names the key."""
    try:
        return check_owner(load_yaml(text))
    except ValueError as error:
        raise AdministrationError(str(error)) from error


def check_owner(document: object) -> OwnerFile:
    """Raises `AdministrationError`, which names the key."""
    try:
        return OwnerFile.model_validate(document)
    except ValidationError as error:
        raise AdministrationError(describe(error)) from error


def read_assistant(text: str) -> AssistantSection:
    """Raises `AdministrationError`, which names the key."""
    try:
        return check_assistant(load_yaml(text))
    except ValueError as error:
        raise AdministrationError(str(error)) from error


def check_assistant(document: object) -> AssistantSection:
    """Raises `AdministrationError`, which names the key."""
    try:
        return AssistantSection.model_validate(document)
    except ValidationError as error:
        raise AdministrationError(describe(error)) from error


def read_account(text: str) -> AccountSection:
    """Raises `AdministrationError`, which names the key."""
    try:
        return check_account(load_yaml(text))
    except ValueError as error:
        raise AdministrationError(str(error)) from error


def check_account(document: object) -> AccountSection:
    """Raises `AdministrationError`, which names the key."""
    try:
        return AccountSection.model_validate(document)
    except ValidationError as error:
        raise AdministrationError(describe(error)) from error


def write_owner(
    owner: Owner, accounts: Sequence[TwilioAccount], documents: Sequence[Document] = ()
) -> str:
    """A file that changes nothing when it is applied; tokens and secrets stay out of it."""
    document: dict[str, Any] = owner.model_dump(mode="json", exclude={"assistant"})
    document["plan"]["features"] = sorted(document["plan"]["features"])
    document["assistant"] = assistant_document(owner.assistant)
    if documents:
        document["knowledge"] = [each.model_dump(mode="json") for each in documents]
    document["accounts"] = [_account_document(account) for account in accounts]
    return dump_yaml(document)


def write_account(account: TwilioAccount) -> str:
    """As in its owner's file, without tokens."""
    return dump_yaml(_account_document(account))


def _account_document(account: TwilioAccount) -> dict[str, Any]:
    return {
        "id": account.id,
        "channel": account.channel,
        "account_sid": account.account_sid,
        "phone_numbers": [number.address for number in account.phone_numbers],
        "messaging_service_sid": account.messaging_service_sid,
        "active": account.active,
        "debounce_s": account.debounce_s,
        "sending": account.sending.model_dump(mode="json", exclude_none=True),
    }


def write_assistant(assistant: Assistant) -> str:
    return dump_yaml(assistant_document(assistant))


def assistant_document(assistant: Assistant) -> dict[str, Any]:
    """Its fields in the order of the file; Postgres doesn't keep that of the weekdays."""
    document = assistant.model_dump(mode="json")
    document["facts"]["opening_hours"] = _in_order(document["facts"].get("opening_hours"))
    if document["facts"]["opening_hours"] is None:
        del document["facts"]["opening_hours"]
    document["business_hours"] = _in_order(document["business_hours"])
    for field in ("texts", "buttons"):
        document[field] = {
            key: said[ANY_LANGUAGE] if list(said) == [ANY_LANGUAGE] else said
            for key, said in document[field].items()
        }
    document["facts"] = document.pop("facts")  # the longest part comes last
    return document


def _in_order(hours: object) -> object:
    if not isinstance(hours, dict):
        return hours
    known = cast(dict[str, object], hours)
    others = [day for day in known if day not in WEEKDAYS]
    return {day: known[day] for day in (*WEEKDAYS, *others) if day in known}
