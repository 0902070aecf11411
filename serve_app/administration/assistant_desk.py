"""An assistant as a text that is edited, looked at and saved."""

from __future__ import annotations

from models.accounts import Owner
from models.console import EditedAssistant
from serve_app.administration.assistant_section import AssistantSection
from serve_app.administration.owner_file import read_assistant, write_assistant
from serve_app.administration.service import Administration, Proposal


class AssistantDesk:
    def __init__(self, *, administration: Administration) -> None:
        self._administration = administration

    def text(self, owner: Owner) -> str:
        """The assistant as YAML."""
        return write_assistant(owner.assistant)

    async def preview(self, owner: Owner, text: str) -> EditedAssistant:
        """Raises `AdministrationError`, which names the key."""
        section = read_assistant(text)
        return _edited(section, await self._administration.propose_assistant(owner, section))

    async def save(self, owner: Owner, text: str) -> EditedAssistant:
        """Raises `AdministrationError`, also if `owner` isn't what is stored any more."""
        section = read_assistant(text)
        proposal = await self._administration.propose_assistant(owner, section)
        await self._administration.apply(proposal)
        return _edited(section, proposal)


def _edited(section: AssistantSection, proposal: Proposal) -> EditedAssistant:
    return EditedAssistant(
        assistant=section.assistant(),
        changes=tuple((change.field, change.old, change.new) for change in proposal.changes),
        notes=proposal.notes,
    )
