"""Proposes changes, so that they can be shown and agreed to, and applies them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from models.accounts import FIRST_ANSWER, Assistant, Document, Owner, TwilioAccount
from models.consent import ConsentWord, tapped_consent_word
from serve_app.administration.account_rules import account_of, check_together, rotated
from serve_app.administration.changes import (
    Change,
    account_changes,
    document_changes,
    owner_changes,
    secret_changes,
)
from serve_app.administration.errors import AdministrationError
from serve_app.administration.facts import remarks
from serve_app.administration.owner_file import (
    AccountSection,
    AssistantSection,
    OwnerFile,
    PlanSection,
)
from serve_app.network import host_is_allowed
from serve_app.ports import (
    DocumentRepository,
    OwnerRepository,
    OwnerSecretRepository,
    TwilioAccountRepository,
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be saved, how it differs from what is stored, and what to mind."""

    owner: Owner | None
    accounts: tuple[TwilioAccount, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    owner_before: Owner | None
    accounts_before: tuple[TwilioAccount, ...]
    """All that were stored: rules hold between any of them."""
    documents: tuple[Document, ...] | None = None
    """All that the owner shall have; None leaves them alone."""
    documents_before: tuple[Document, ...] = ()
    secrets: Mapping[str, SecretStr | None] = field(default_factory=dict[str, SecretStr | None])


class Administration:
    """`known_tools` are those that the installation has, `known_texts` the keys of its catalogue, and
    `hosts` those that HTTP tools and notes may reach. `one_model` says that its engine has a single one."""

    def __init__(
        self,
        *,
        owners: OwnerRepository,
        accounts: TwilioAccountRepository,
        documents: DocumentRepository,
        secrets: OwnerSecretRepository,
        known_tools: Collection[str],
        known_texts: Collection[str],
        hosts: Collection[str] = (),
        local_origins: Collection[str] = (),
        one_model: bool = False,
    ) -> None:
        self._documents = documents
        self._secrets = secrets
        self._known_texts = known_texts
        self._hosts = hosts
        self._local_origins = local_origins
        self._one_model = one_model
        self._owners = owners
        self._accounts = accounts
        self._known_tools = known_tools

    async def owner(self, owner_id: str) -> Owner:
        """Raises `AdministrationError` if there is none."""
        found = await self._owners.get(owner_id)
        if found is None:
            raise AdministrationError(f"There is no owner {owner_id}: see `recado owners list`.")
        return found

    async def account(self, account_id: str) -> TwilioAccount:
        """Raises `AdministrationError` if there is none."""
        for account in await self._accounts.list_all():
            if account.id == account_id:
                return account
        raise AdministrationError(f"There is no account {account_id}: see `recado accounts list`.")

    async def propose_file(
        self, file: OwnerFile, *, environ: Mapping[str, str], folder: Path = Path()
    ) -> Proposal:
        """Everything that the file says; `folder` is where it lies. Accounts that it leaves out stay.

        Raises `AdministrationError` if it can't be applied.
        """
        stored = await self._accounts.list_all()
        accounts: list[TwilioAccount] = []
        notes: list[str] = []
        for section in file.accounts:
            account, said = account_of(section, owner_id=file.id, stored=stored, environ=environ)
            accounts.append(account)
            notes += said
        named = {section.id for section in file.accounts}
        notes += [
            f"accounts[{account.id}] isn't in the file and stays as it is"
            for account in stored
            if account.owner_id == file.id and account.id not in named
        ]
        secrets, said = _secrets_of(file, environ)
        proposal = await self._propose(file.owner(), accounts, stored, [*notes, *said])
        stored_secrets = {name: await self._secrets.get(file.id, name) for name in secrets}
        changes = [*proposal.changes, *secret_changes(stored_secrets, secrets)]
        known = await self._secrets.names(file.id)
        missing = _secrets_needed(file.assistant) - {*known, *secrets}
        notes = [
            *proposal.notes,
            *(
                f"the secret {name} isn't set: `recado owners secret {file.id} {name}`"
                for name in sorted(missing)
            ),
        ]
        documents, before = None, tuple(await self._documents.list_all(file.id))
        if file.knowledge is not None:
            documents = tuple(section.document(folder) for section in file.knowledge)
            changes += document_changes(before, documents)
        return replace(
            proposal,
            changes=tuple(changes),
            notes=tuple(notes),
            documents=documents,
            documents_before=before,
            secrets=secrets,
        )

    async def propose_new_owner(self, file: OwnerFile) -> Proposal:
        """A plan that others have already is taken as it is. Raises `AdministrationError` if there is such an
        owner."""
        stored = await self._owners.list_all()
        if any(owner.id == file.id for owner in stored):
            raise AdministrationError(
                f"There is an owner {file.id} already: see `recado owners edit {file.id}`."
            )
        plan = next((owner.plan for owner in stored if owner.plan.code == file.plan.code), None)
        if plan is not None:
            known = PlanSection.model_validate(plan.model_dump())
            file = file.model_copy(update={"plan": known})
        return await self.propose_file(file, environ={})

    async def propose_owner(
        self, owner_id: str, file: OwnerFile, *, environ: Mapping[str, str]
    ) -> Proposal:
        """Another state of one that is stored. Raises `AdministrationError`."""
        if file.id != owner_id:
            raise AdministrationError(f"id: {owner_id} can't become {file.id}")
        return await self.propose_file(file, environ=environ)

    async def propose_assistant(self, before: Owner, assistant: AssistantSection) -> Proposal:
        """Raises `AdministrationError` if it names a tool that doesn't exist."""
        wanted = before.model_copy(update={"assistant": assistant.assistant()})
        stored = await self._accounts.list_all()
        proposal = await self._propose(wanted, [], stored, [])
        if proposal.owner_before != before:
            raise AdministrationError(_MEANWHILE)
        return proposal

    async def propose_account(
        self,
        section: AccountSection,
        *,
        owner_id: str,
        token: SecretStr | None,
        access_token: SecretStr | None = None,
    ) -> Proposal:
        """A new account; without `token` its AccountSid must be known. Raises `AdministrationError`."""
        stored = await self._accounts.list_all()
        if any(account.id == section.id for account in stored):
            raise AdministrationError(f"There is an account {section.id} already.")
        await self.owner(owner_id)
        environ: dict[str, str] = {}
        if token is not None:
            section = section.model_copy(update={"auth_token_env": _GIVEN})
            environ[_GIVEN] = token.get_secret_value()
        if access_token is not None and section.access_token_env is not None:
            environ[section.access_token_env] = access_token.get_secret_value()
        account, notes = account_of(section, owner_id=owner_id, stored=stored, environ=environ)
        return await self._propose(None, [account], stored, notes)

    async def propose_account_edit(
        self, before: TwilioAccount, section: AccountSection, *, environ: Mapping[str, str]
    ) -> Proposal:
        """Another state of one that is stored. Raises `AdministrationError`."""
        if section.id != before.id:
            raise AdministrationError(f"id: {before.id} can't become {section.id}")
        stored = await self._accounts.list_all()
        if before not in stored:
            raise AdministrationError(_MEANWHILE)
        account, notes = account_of(
            section, owner_id=before.owner_id, stored=stored, environ=environ
        )
        return await self._propose(None, [account], stored, notes)

    async def propose_rotation(
        self, account_id: str, *, token: SecretStr | None, drop_secondary: bool = False
    ) -> Proposal:
        """For all accounts that share its AccountSid. Raises `AdministrationError` if there is none."""
        chosen = await self.account(account_id)
        stored = await self._accounts.list_all()
        sharing = [account for account in stored if account.account_sid == chosen.account_sid]
        accounts = [rotated(a, token=token, drop_secondary=drop_secondary) for a in sharing]
        return await self._propose(None, accounts, stored, [])

    async def propose_activity(self, account_id: str, *, active: bool) -> Proposal:
        """Raises `AdministrationError` if there is none, or if another has its numbers meanwhile."""
        chosen = await self.account(account_id)
        stored = await self._accounts.list_all()
        return await self._propose(None, [chosen.model_copy(update={"active": active})], stored, [])

    async def apply(self, proposal: Proposal) -> None:
        """All of it or nothing. Raises `AdministrationError` if what it was compared with has changed."""
        if not proposal.changes:
            return
        if proposal.owner is not None:
            now = await self._owners.get(proposal.owner.id)
            if now != proposal.owner_before:
                raise AdministrationError(_MEANWHILE)
            if proposal.documents is not None:
                stored = tuple(await self._documents.list_all(proposal.owner.id))
                if stored != proposal.documents_before:
                    raise AdministrationError(_MEANWHILE)
        if tuple(await self._accounts.list_all()) != proposal.accounts_before:
            raise AdministrationError(_MEANWHILE)
        await self._accounts.save_all(
            proposal.accounts,
            owner=proposal.owner,
            documents=proposal.documents,
            secrets=proposal.secrets,
        )

    async def _propose(
        self,
        owner: Owner | None,
        accounts: Sequence[TwilioAccount],
        stored: Sequence[TwilioAccount],
        notes: list[str],
    ) -> Proposal:
        check_together(accounts, stored)
        before = {account.id: account for account in stored}
        changes: list[Change] = []
        owner_before = None
        if owner is not None:
            self._check_assistant(owner.assistant)
            owner_before = await self._owners.get(owner.id)
            changes += owner_changes(owner_before, owner)
            notes = [
                *notes,
                *await self._plan_notes(owner),
                *remarks(owner.assistant),
                *_consent_notes(owner.assistant),
            ]
        for account in accounts:
            changes += account_changes(before.get(account.id), account)
        return Proposal(
            owner=owner,
            accounts=tuple(accounts),
            changes=tuple(changes),
            notes=tuple(notes),
            owner_before=owner_before,
            accounts_before=tuple(stored),
        )

    def _check_assistant(self, assistant: Assistant) -> None:
        unknown = [tool for tool in assistant.tools if tool not in self._known_tools]
        if unknown:
            raise AdministrationError(
                f"assistant.tools: there is no tool {', '.join(unknown)}, only "
                f"{', '.join(self._known_tools)}"
            )
        unknown = [key for key in assistant.texts if key not in self._known_texts]
        if unknown:
            raise AdministrationError(
                f"assistant.texts: there is no text {', '.join(unknown)}, only "
                f"{', '.join(sorted(self._known_texts))}"
            )
        offered = {*self._known_texts, FIRST_ANSWER} - {"opted_out"}
        unknown = [key for key in assistant.buttons if key not in offered]
        if unknown:
            raise AdministrationError(
                f"assistant.buttons: none are offered under {', '.join(unknown)}, only under "
                f"{', '.join(sorted(offered))}"
            )
        if assistant.model is not None and self._one_model:
            raise AdministrationError(
                "assistant.model: this installation's engine has one model: leave it out"
            )
        for tool in assistant.http_tools:
            if tool.name in self._known_tools:
                raise AdministrationError(
                    f"assistant.http_tools: the installation has a tool {tool.name} already"
                )
            self._check_address(f"assistant.http_tools[{tool.name}].url", tool.url)
        if assistant.people.notify_url is not None:
            self._check_address("assistant.people.notify_url", assistant.people.notify_url)

    def _check_address(self, where: str, url: str) -> None:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" in self._local_origins:
            return
        if parts.scheme != "https":
            raise AdministrationError(f"{where}: must be https")
        if not host_is_allowed(parts.hostname or "", self._hosts):
            raise AdministrationError(
                f"{where}: {parts.hostname} isn't allowed: add it to outside.hosts in config.yaml"
            )

    async def _plan_notes(self, owner: Owner) -> list[str]:
        """A plan belongs to all owners with its code."""
        others = [
            other.id
            for other in await self._owners.list_all()
            if other.id != owner.id
            and other.plan.code == owner.plan.code
            and other.plan != owner.plan
        ]
        if not others:
            return []
        return [f"the plan {owner.plan.code} changes for {', '.join(others)} too"]


def _secrets_of(
    file: OwnerFile, environ: Mapping[str, str]
) -> tuple[dict[str, SecretStr | None], list[str]]:
    """The secrets to store, None to forget one, and what to remark."""
    found: dict[str, SecretStr | None] = {}
    notes: list[str] = []
    for name, variable in file.secrets_env.items():
        if variable is None:
            found[name] = None
        elif environ.get(variable):
            found[name] = SecretStr(environ[variable])
        else:
            notes.append(f"secrets_env.{name}: {variable} isn't set, so the secret stays as it is")
    return found, notes


def _consent_notes(assistant: Assistant) -> list[str]:
    """Of buttons that say more than their owner may think."""
    titles = {
        title
        for by_language in assistant.buttons.values()
        for offered in by_language.values()
        for title in offered
    }
    effects = {
        ConsentWord.STOP: "ends all messages to the contact",
        ConsentWord.START: "lets the contact have messages again",
    }
    return [
        f"assistant.buttons: a tap on {title} {effects[word]}"
        for title in sorted(titles)
        if (word := tapped_consent_word(title)) is not None
    ]


def _secrets_needed(assistant: AssistantSection) -> set[str]:
    needed = {name for tool in assistant.http_tools for name in tool.secrets()}
    if assistant.people.notify_url is not None:
        needed.add(assistant.people.notify_secret)
    return needed


_MEANWHILE = "Somebody else has changed this meanwhile: look at it again, and repeat the change."
_GIVEN = "token"
