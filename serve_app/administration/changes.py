"""What differs between what is stored and what is wanted, field by field, without any token."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import SecretStr

from models.accounts import Document, Owner, TwilioAccount

_CHANGED = "token changed"
_ORDER = " in order"


@dataclass(frozen=True, slots=True)
class Change:
    """`old` or `new` is None where the field isn't there."""

    field: str
    old: str | None
    new: str | None


def owner_changes(old: Owner | None, new: Owner) -> list[Change]:
    return _changes("", None if old is None else _owner(old), _owner(new))


def account_changes(old: TwilioAccount | None, new: TwilioAccount) -> list[Change]:
    name = f"accounts[{new.id}]"
    found = _changes(name, None if old is None else _account(old), _account(new))
    if old is None or old.auth_token != new.auth_token:
        found.append(Change(f"{name}.auth_token", old and "set", "set" if not old else _CHANGED))
    before = old.secondary_token if old else None
    if before != new.secondary_token:
        said = "dropped" if new.secondary_token is None else "set" if before is None else _CHANGED
        found.append(Change(f"{name}.secondary_token", "set" if before else None, said))
    if (old.access_token if old else None) != new.access_token:
        known = old is not None and old.access_token is not None
        said = "dropped" if new.access_token is None else _CHANGED if known else "set"
        found.append(Change(f"{name}.access_token", "set" if known else None, said))
    return found


def document_changes(old: Sequence[Document], new: Sequence[Document]) -> list[Change]:
    before = {document.title: document for document in old}
    after = {document.title: document for document in new}
    found: list[Change] = []
    for title in dict.fromkeys([*after, *before]):
        one, other = (_document(each.get(title)) for each in (before, after))
        if one != other:
            found += _changes(f"knowledge[{title}]", one, other)
    return found


def secret_changes(
    old: Mapping[str, SecretStr | None], new: Mapping[str, SecretStr | None]
) -> list[Change]:
    """By name, without any value."""
    return [
        Change(
            f"secrets[{name}]",
            "set" if old.get(name) else None,
            None if value is None else "changed" if old.get(name) else "set",
        )
        for name, value in new.items()
        if value != old.get(name)
    ]


def _document(document: Document | None) -> Mapping[str, object]:
    if document is None:
        return {}
    shown = document.text if len(document.text) <= 60 else f"{document.text[:60]}… "
    if shown != document.text:
        digest = hashlib.sha256(document.text.encode()).hexdigest()[:8]
        shown += f"({len(document.text):,} characters, {digest})"
    return {"source": document.source, "language": document.language, "text": shown}


def _owner(owner: Owner) -> Mapping[str, object]:
    document = owner.model_dump(mode="json")
    document["plan"]["features"] = sorted(document["plan"]["features"])
    return document


def _account(account: TwilioAccount) -> Mapping[str, object]:
    return {
        "owner": account.owner_id,
        "channel": account.channel,
        "account_sid": account.account_sid,
        "phone_numbers": [number.address for number in account.phone_numbers],
        "messaging_service_sid": account.messaging_service_sid,
        "active": account.active,
        "debounce_s": account.debounce_s,
        "sending": account.sending.model_dump(mode="json", exclude_none=True),
    }


def _changes(prefix: str, old: object, new: object) -> list[Change]:
    before: dict[str, str] = {}
    if old is not None:
        _flatten(prefix, old, before)
    after: dict[str, str] = {}
    _flatten(prefix, new, after)
    fields = list(dict.fromkeys([*after, *before]))
    found = [
        Change(field, before.get(field), after.get(field))
        for field in fields
        if before.get(field) != after.get(field)
    ]
    return [change for change in found if _tells(change, found)]


def _tells(change: Change, found: list[Change]) -> bool:
    """Whether the others don't tell it already."""
    if change.field.endswith(_ORDER):
        before, after = (sorted((said or "").split(", ")) for said in (change.old, change.new))
        return before == after
    # `facts: {}` that became `facts.menu` is told by the latter.
    inner = (f"{change.field}.", f"{change.field}[")
    return not any(other.field.startswith(inner) for other in found)


def _flatten(path: str, value: object, into: dict[str, str]) -> None:
    """Fields by path; the entries of a menu go by their names."""
    if isinstance(value, Mapping) and value:
        for key, item in cast(Mapping[str, object], value).items():
            _flatten(f"{path}.{key}" if path else key, item, into)
        return
    if isinstance(value, list):
        named = _by_name(cast(list[object], value))
        if named:
            for name, item in named.items():
                _flatten(f"{path}[{name}]", item, into)
            into[path + _ORDER] = ", ".join(named)
            return
    into[path] = _shown(cast(object, value))


def _by_name(entries: list[object]) -> dict[str, object] | None:
    named: dict[str, object] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            return None
        name = cast(Mapping[str, object], entry).get("item")
        if not isinstance(name, str) or name in named:
            return None
        named[name] = cast(object, entry)
    return named


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in cast(list[object], value)) + "]"
    if isinstance(value, Mapping):
        items = cast(Mapping[str, object], value).items()
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in items) + "}"
    return str(value)
