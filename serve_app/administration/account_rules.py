"""What must hold between accounts, and where an account's tokens come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from models.accounts import TwilioAccount
from serve_app.administration.errors import AdministrationError
from serve_app.administration.owner_file import AccountSection


def check_together(changed: Sequence[TwilioAccount], stored: Sequence[TwilioAccount]) -> None:
    """Raises `AdministrationError` if a changed account doesn't go with the others, as stored or changed.

    A webhook names its AccountSid and its number. The first must lead to one token, whichever of the
    accounts that share it is looked at; the second to one active account.
    """
    ids = {account.id for account in changed}
    everybody = [*changed, *(account for account in stored if account.id not in ids)]
    for account in changed:
        for other in everybody:
            if other.id == account.id:
                continue
            if other.account_sid == account.account_sid and other.auth_token != account.auth_token:
                raise AdministrationError(
                    f"accounts {account.id} and {other.id} share the AccountSid "
                    f"{account.account_sid} and so its token, but they differ: change both with "
                    f"`recado accounts rotate {other.id}`"
                )
            shared = _addresses(account) & _addresses(other)
            if shared and account.active and other.active:
                raise AdministrationError(
                    f"{', '.join(sorted(shared))} belongs to the account {other.id} of "
                    f"{other.owner_id}: deactivate that one first, or leave the number out"
                )


def account_of(
    section: AccountSection,
    *,
    owner_id: str,
    stored: Sequence[TwilioAccount],
    environ: Mapping[str, str],
) -> tuple[TwilioAccount, list[str]]:
    """The account that a file asks for, and what to remark. Raises `AdministrationError`."""
    name = f"accounts[{section.id}]"
    mine = next((account for account in stored if account.id == section.id), None)
    if mine is not None and mine.owner_id != owner_id:
        raise AdministrationError(f"{name}: this account belongs to {mine.owner_id}")
    sid = section.account_sid or (mine.account_sid if mine else None)
    if sid is None:
        raise AdministrationError(
            f"{name}.account_sid: missing, and no account of this id is stored"
        )
    # An AccountSid has its tokens at Twilio, whichever of our accounts shares it.
    candidates = ([mine] if mine else []) + list(stored)
    known = next((account for account in candidates if account.account_sid == sid), None)
    token, secondary = (known.auth_token, known.secondary_token) if known else (None, None)
    notes: list[str] = []
    if section.auth_token_env is not None:
        given = environ.get(section.auth_token_env)
        if given:
            token = as_token(given, where=f"the variable {section.auth_token_env}")
        elif token is None:
            raise AdministrationError(
                f"{name}.auth_token_env: the variable {section.auth_token_env} isn't set"
            )
        else:
            notes.append(f"{name}: {section.auth_token_env} isn't set, so the token stays as it is")
    if token is None:
        raise AdministrationError(f"{name}.auth_token_env: missing, and {sid} isn't known yet")
    if section.drops_secondary:
        secondary = None
    elif section.secondary_token_env is not None:
        given = environ.get(section.secondary_token_env)
        if given:
            secondary = as_token(given, where=f"the variable {section.secondary_token_env}")
        else:
            notes.append(
                f"{name}: {section.secondary_token_env} isn't set, so the secondary token stays as it is"
            )
    access = _access_token(section, known, environ, notes)
    account = TwilioAccount(
        id=section.id,
        owner_id=owner_id,
        channel=section.channel,
        account_sid=sid,
        auth_token=token,
        secondary_token=secondary,
        access_token=access,
        phone_numbers=section.numbers(),
        messaging_service_sid=section.messaging_service_sid,
        active=section.active,
        debounce_s=section.debounce_s,
        sending=section.sending.rules(),
    )
    return account, notes


def _access_token(
    section: AccountSection,
    known: TwilioAccount | None,
    environ: Mapping[str, str],
    notes: list[str],
) -> SecretStr | None:
    """What the provider's API opens with, where it isn't the auth token. Adds to `notes`."""
    name, variable = f"accounts[{section.id}]", section.access_token_env
    kept = known.access_token if known else None
    given = environ.get(variable) if variable else None
    if variable and given:
        return as_token(given, where=f"the variable {variable}")
    if variable and kept is None:
        raise AdministrationError(f"{name}.access_token_env: the variable {variable} isn't set")
    if variable:
        notes.append(f"{name}: {variable} isn't set, so the access token stays as it is")
    if section.channel == "whatsapp_cloud" and kept is None:
        raise AdministrationError(
            f"{name}.access_token_env: missing, and the Cloud API opens with nothing else"
        )
    return kept


def rotated(
    account: TwilioAccount, *, token: SecretStr | None, drop_secondary: bool
) -> TwilioAccount:
    """With `token` as primary and the former one as secondary, or with the secondary dropped."""
    primary, secondary = account.auth_token, account.secondary_token
    if token is not None and token != primary:
        primary, secondary = token, primary
    if drop_secondary:
        secondary = None
    return account.model_copy(update={"auth_token": primary, "secondary_token": secondary})


def as_token(value: str, *, where: str) -> SecretStr:
    """Raises `AdministrationError` for what can't be a token: nothing, or something with spaces."""
    token = value.strip()
    if not token or not token.isascii() or any(not character.isalnum() for character in token):
        raise AdministrationError(f"{where} holds no token: letters and digits are expected")
    return SecretStr(token)


def _addresses(account: TwilioAccount) -> set[str]:
    return {number.address for number in account.phone_numbers}
