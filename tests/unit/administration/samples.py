"""An owner's file and what goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from models.accounts import PhoneNumber, TwilioAccount
from serve_app.administration.owner_file import OwnerFile, read_owner_file
from serve_app.administration.service import Administration, Proposal
from serve_app.administration.yaml_text import load_yaml
from serve_app.testing.store import MemoryStore

SID = "AC" + "1" * 32
OTHER_SID = "AC" + "2" * 32
TOKENS = {"BAKERY_TOKEN": "a" * 32, "NEXT_TOKEN": "b" * 32}
TOOLS = ("opening_hours", "menu", "business_info", "book_table", "hand_over")

BAKERY = f"""
id: bakery
name: Corner Bakery
timezone: Europe/Madrid
language: es
plan: {{code: basic, features: [text], monthly_messages: 100}}
assistant:
  instructions: Be brief.
  language: es
  tools: [opening_hours, menu]
  facts:
    opening_hours:
      monday: [08:00, 18:00]
      saturday: [9:00, 13:00]
      sunday:
    menu:
      - {{item: bread, price: 2.20, category: food}}
      - {{item: roll, price: 0.50, category: food}}
accounts:
  - id: bakery-twilio
    account_sid: {SID}
    auth_token_env: BAKERY_TOKEN
    phone_numbers:
      - whatsapp:+15550001111
      - {{address: "+15550001111", channel: sms}}
""".replace("[9:00", "[09:00")


class Office:
    """An administration over stores in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.administration = Administration(
            owners=self.store.owners,
            accounts=self.store.accounts,
            documents=self.store.documents,
            secrets=self.store.secrets,
            known_tools=TOOLS,
            known_texts=("try_later", "handed_over"),
            hosts=("*.bakery.example",),
            one_model=True,
        )

    async def propose(self, text: str, environ: dict[str, str] | None = None) -> Proposal:
        return await self.administration.propose_file(
            owner_file(text), environ=TOKENS if environ is None else environ
        )

    async def apply(self, text: str, environ: dict[str, str] | None = None) -> Proposal:
        proposal = await self.propose(text, environ)
        await self.administration.apply(proposal)
        return proposal


def owner_file(text: str) -> OwnerFile:
    return OwnerFile.model_validate(load_yaml(text))


def read(text: str, folder: Path) -> OwnerFile:
    path = folder / "owner.yaml"
    path.write_text(text)
    return read_owner_file(path)


def an_account(account_id: str = "bakery-twilio", **fields: object) -> TwilioAccount:
    return TwilioAccount.model_validate(
        {
            "id": account_id,
            "owner_id": "bakery",
            "account_sid": SID,
            "auth_token": SecretStr("a" * 32),
            "phone_numbers": (PhoneNumber(address="whatsapp:+15550001111"),),
            **fields,
        }
    )


def told(changes: Iterable[object]) -> set[tuple[str, str | None, str | None]]:
    return {(change.field, change.old, change.new) for change in changes}
