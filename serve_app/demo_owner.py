"""Stores the demo café, so that there is somebody to write to."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from models.accounts import Owner, PhoneNumber, TwilioAccount
from serve_app.administration.owner_file import AccountSection, read_owner_file
from serve_app.ports import OwnerRepository, TwilioAccountRepository
from serve_app.settings import PROJECT_ROOT

DEMO_OWNER_FILE = PROJECT_ROOT / "demo" / "cafe.yaml"
DEMO_ACCOUNT_ID = "demo-twilio"


def load_demo_owner(path: Path = DEMO_OWNER_FILE) -> tuple[Owner, tuple[PhoneNumber, ...]]:
    """The café and its numbers at Twilio."""
    return read_owner_file(path).owner(), load_demo_account("twilio", path).numbers()


def load_demo_account(channel: str, path: Path = DEMO_OWNER_FILE) -> AccountSection:
    """Raises StopIteration for a channel that the café doesn't have."""
    return next(section for section in read_owner_file(path).accounts if section.channel == channel)


async def store_demo_owner(
    *,
    owners: OwnerRepository,
    accounts: TwilioAccountRepository,
    account_sid: str,
    auth_token: SecretStr,
) -> None:
    """Idempotent; an owner that is there already, perhaps edited, is left as it is, and so are its accounts
    but for what the simulator knows them by."""
    file = read_owner_file(DEMO_OWNER_FILE)
    if await owners.get(file.id) is None:
        await owners.save(file.owner())
    stored = {account.id: account for account in await accounts.list_all()}
    for section in file.accounts:
        cloud = section.channel == "whatsapp_cloud"
        sid = section.account_sid or account_sid
        account = stored.get(section.id) or TwilioAccount(
            id=section.id,
            owner_id=file.id,
            channel=section.channel,
            account_sid=sid,
            auth_token=auth_token,
            phone_numbers=section.numbers(),
            sending=section.sending.rules(),
        )
        known_by = {
            "account_sid": sid,
            "auth_token": auth_token,
            "access_token": auth_token if cloud else None,
        }
        await accounts.save(account.model_copy(update=known_by))
