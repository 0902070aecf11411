"""What a file is by its first bytes, whatever its sender calls it.

Decoders are the widest door into a machine: only what looks like a recording is handed to one.
"""

from __future__ import annotations

from models.errors import MediaRejectedError

_HEAD = 64
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"fLaC", "audio/flac"),
    (0, b"caff", "audio/x-caf"),
    (8, b"AIFF", "audio/aiff"),
    (8, b"AIFC", "audio/aiff"),
    (8, b"WAVE", "audio/wav"),
    (0, b".snd", "audio/basic"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "audio/x-ms-wma"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"MZ", "application/x-executable"),
)
_CONTAINERS = frozenset({"video/mp4", "video/quicktime", "video/webm", "audio/ogg"})
"""May hold sound alone, or pictures too."""
_VCARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})


def file_type(content: bytes) -> str | None:
    """The media type, None if it isn't known here."""
    head = content[:_HEAD]
    for offset, signature, media_type in _SIGNATURES:
        if head.startswith(signature, offset):
            return media_type
    # A frame of MPEG audio or of AAC begins with eleven set bits; 0xFFFE and 0xFFFF are marks of text.
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] < 0xFE:
        return "audio/aac" if head[1] & 0xF6 == 0xF0 else "audio/mpeg"
    text = head.lstrip(b"\xef\xbb\xbf\r\n\t ").lower()
    if text.startswith(b"begin:vcard"):
        return "text/vcard"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "text/html"
    return None


def checked_type(content: bytes, announced: str) -> str:
    """The type to treat a file as: the announced one where the content agrees. Raises
    `MediaRejectedError` for a recording or a contact card that isn't one."""
    named = announced.split(";", 1)[0].strip().lower()
    found = file_type(content)
    major = named.split("/", 1)[0]
    if major == "audio":
        if found is None or not (found.startswith("audio/") or found in _CONTAINERS):
            raise MediaRejectedError(f"announced as {named}, and {found or 'not a recording'}")
        return announced
    if named in _VCARDS:
        if found != "text/vcard":
            raise MediaRejectedError(f"announced as {named}, and {found or 'no contact card'}")
        return announced
    return announced if found is None or found.split("/", 1)[0] == major else found
