"""What `recado say` was asked to say, as the simulator takes it."""

from __future__ import annotations

import base64
import math
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.cli.context import CommandError

_CONTENT_TYPES = {
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".vcf": "text/vcard",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class Saying:
    text: str = ""
    audio: Path | None = None
    files: tuple[Path, ...] = ()
    location: str | None = None
    """`LAT,LON`."""
    button: str | None = None
    contact: str | None = None
    """`NAME,PHONE`."""

    @property
    def is_empty(self) -> bool:
        return not any(
            (self.text, self.audio, self.files, self.location, self.button, self.contact)
        )

    def message(self) -> dict[str, Any]:
        """Sender and recipient left out. Raises `CommandError` for a location that can't be read."""
        message: dict[str, Any] = {"body": self.text}
        media = [_file(path, "application/octet-stream") for path in self.files]
        if self.audio is not None:
            media.insert(0, _file(self.audio, "audio/ogg"))
        if media:
            message["media"] = media
        if self.location is not None:
            message["location"] = _location(self.location)
        if self.button is not None:
            message["button"] = {"title": self.button}
        if self.contact is not None:
            name, _, phone = self.contact.partition(",")
            message["contact"] = {"name": name.strip(), "phone": phone.strip() or None}
        return message


def _file(path: Path, otherwise: str) -> dict[str, str]:
    kind = _CONTENT_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    return {
        "content_base64": base64.b64encode(path.read_bytes()).decode(),
        "content_type": kind or otherwise,
        "filename": path.name,
    }


def _location(text: str) -> dict[str, float]:
    latitude, comma, longitude = text.partition(",")
    try:
        place = {"latitude": float(latitude), "longitude": float(longitude)}
    except ValueError:
        place = {}
    degrees = list(place.values())
    if not comma or not degrees or not all(map(math.isfinite, degrees)):
        place = {}
    if not place or abs(place["latitude"]) > 90 or abs(place["longitude"]) > 180:
        raise CommandError(f"{text} is no place: say --location 38.7169,-9.1399")
    return place
