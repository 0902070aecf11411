"""Reading contact cards (vCard 2.1 to 4.0, RFC 6350): names, numbers, addresses of mail."""

from __future__ import annotations

import quopri
import re

from models.messages import ContactCard

_MOST = 20
_LONGEST = 200
_ESCAPED = re.compile(r"\\([nN,;:\\])")


def parse_vcards(content: bytes) -> tuple[ContactCard, ...]:
    """The people of a file, at most 20. Empty if it holds no card; never raises."""
    cards: list[ContactCard] = []
    fields: dict[str, list[str]] | None = None
    for name, value in _lines(content.decode("utf-8", "replace")):
        if name == "BEGIN" and value.upper() == "VCARD":
            fields = {}
        elif name == "END" and fields is not None:
            cards.append(_card(fields))
            fields = None
            if len(cards) == _MOST:
                break
        elif fields is not None:
            fields.setdefault(name, []).append(value)
    return tuple(card for card in cards if card != ContactCard())


def _card(fields: dict[str, list[str]]) -> ContactCard:
    def first(name: str) -> str:
        return next(iter(fields.get(name, ())), "")

    # N is family;given;additional;prefix;suffix.
    family, _, given = first("N").partition(";")
    structured = " ".join(filter(None, (given.split(";")[0].strip(), family.strip())))
    organization = ", ".join(filter(None, (part.strip() for part in first("ORG").split(";"))))
    return ContactCard(
        name=first("FN") or structured,
        phones=_values(fields, "TEL"),
        emails=_values(fields, "EMAIL"),
        organization=organization or None,
    )


def _values(fields: dict[str, list[str]], name: str) -> tuple[str, ...]:
    found = (value.removeprefix("tel:").removeprefix("mailto:") for value in fields.get(name, ()))
    return tuple(dict.fromkeys(value for value in found if value))[:_MOST]


def _lines(text: str) -> list[tuple[str, str]]:
    """Names without groups and parameters, values unfolded and without escapes."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    unfolded = re.sub(r"=\r?\n", "", unfolded)  # quoted-printable's own folding
    found: list[tuple[str, str]] = []
    for line in unfolded.splitlines():
        head, colon, value = line.partition(":")
        if not colon:
            continue
        name, *parameters = head.upper().split(";")
        if any("QUOTED-PRINTABLE" in parameter for parameter in parameters):
            value = quopri.decodestring(value.encode()).decode("utf-8", "replace")
        plain = _ESCAPED.sub(lambda match: " " if match[1] in "nN" else match[1], value)
        found.append((name.rpartition(".")[2].strip(), plain.strip()[:_LONGEST]))
    return found
