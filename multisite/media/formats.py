"""Recognize the format of a file by its first bytes, and check its name.

The content decides, never the name or the type that a browser sends: files are served with the type found here.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from multisite.media.errors import MediaRefused

__all__ = ["HEAD_BYTES", "Format", "check_name", "format_named", "format_of", "is_format", "is_media_name", "url_name"]

HEAD_BYTES = 512
"""How many bytes at the beginning of a file decide what it is."""

MAX_NAME_CHARACTERS = 200

_MAX_URL_NAME = 60


@dataclass(frozen=True, slots=True)
class Format:
    """A format that uploads may have: its media type, its usual extension, and the others that are used for it."""

    name: str
    kind: Literal["image", "video", "audio", "document"]
    content_type: str
    extension: str
    others: tuple[str, ...] = ()


_FORMATS = {
    each.name: each
    for each in (
        Format("JPEG", "image", "image/jpeg", ".jpg", (".jpeg", ".jpe", ".jfif")),
        Format("PNG", "image", "image/png", ".png", (".apng",)),
        Format("GIF", "image", "image/gif", ".gif"),
        Format("WebP", "image", "image/webp", ".webp"),
        Format("MP4", "video", "video/mp4", ".mp4", (".m4v",)),
        Format("WebM", "video", "video/webm", ".webm"),
        Format("MP3", "audio", "audio/mpeg", ".mp3"),
        Format("M4A", "audio", "audio/mp4", ".m4a"),
        Format("Ogg", "audio", "audio/ogg", ".ogg", (".oga", ".opus")),
        Format("WAV", "audio", "audio/wav", ".wav"),
        Format("FLAC", "audio", "audio/flac", ".flac"),
        Format("PDF", "document", "application/pdf", ".pdf"),
    )
}
_ACCEPTED = "JPEG, PNG, GIF, WebP, MP4, WebM, MP3, M4A, Ogg, WAV, FLAC, PDF"
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,9}$", re.IGNORECASE)
_BY_EXTENSION = {extension: each for each in _FORMATS.values() for extension in (each.extension, *each.others)}
_MAGIC = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)"
    rb"|(?P<PNG>\x89PNG\r\n\x1a\n)"
    rb"|(?P<GIF>GIF8[79]a)"
    rb"|(?P<WebP>RIFF....WEBP)"
    rb"|(?P<WAV>RIFF....WAVE)"
    rb"|(?P<M4A>....ftypM4[AB] )"
    rb"|(?P<MP4>....ftyp(?:isom|iso[2-9]|mp4[12]|avc1|M4V |MSNV|dash|qt  ))"
    rb"|(?P<WebM>\x1aE\xdf\xa3.{1,60}\x42\x82.webm)"
    rb"|(?P<MP3>ID3[\x02-\x04]|\xff[\xfb\xfa\xf3\xf2])"
    rb"|(?P<Ogg>OggS\x00)"
    rb"|(?P<FLAC>fLaC)"
    rb"|(?P<PDF>%PDF-)",
    re.DOTALL,
)
_SVG = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:\?xml|!DOCTYPE svg|!--|svg)", re.IGNORECASE)


def format_named(name: str) -> Format:
    """Return the format with this `Format.name`."""
    return _FORMATS[name]


def is_format(name: str) -> bool:
    """Return whether a format has this `Format.name`."""
    return name in _FORMATS


def format_of(head: bytes, name: str) -> Format:
    """Return the format of a file by its first `HEAD_BYTES`.

    Args:
        head: The beginning of the file.
        name: Its name. An extension must be one of the same kind, so that HTML cannot be uploaded as an image; images
            may have that of another image format.

    Raises:
        MediaRefused: The format is not accepted, or the name has the extension of another one.
    """
    found = _MAGIC.match(head)
    extension = _extension(name)
    if found is None:
        if extension in (".svg", ".svgz") or _SVG.match(head):
            raise MediaRefused("SVG can contain scripts: convert it to PNG or WebP")
        if not head:
            raise MediaRefused("it is empty")
        raise MediaRefused("its format is not known: accepted are {formats}", formats=_ACCEPTED)
    assert found.lastgroup is not None  # noqa: S101 (each alternative is a group)
    file_format = _FORMATS[found.lastgroup]
    named = _BY_EXTENSION.get(extension)
    if extension and (named is None or named.kind != file_format.kind):
        raise MediaRefused(
            "its name ends in {extension}, but its content is {format}", extension=extension, format=file_format.name
        )
    return file_format


def is_media_name(name: str) -> bool:
    """Return whether the extension of `name` is that of an accepted format."""
    return _extension(name) in _BY_EXTENSION


def check_name(name: str) -> None:
    """Check the name of an uploaded file.

    Raises:
        MediaRefused: It is empty, too long, or contains a path or unprintable characters.
    """
    if not name.strip(" ."):
        raise MediaRefused("it has no name")
    if len(name) > MAX_NAME_CHARACTERS:
        raise MediaRefused("its name has more than {limit} characters", limit=MAX_NAME_CHARACTERS)
    if "/" in name or "\\" in name:
        raise MediaRefused("its name contains a path")
    if not name.isprintable():
        raise MediaRefused("its name contains unprintable characters")


def url_name(name: str, extension: str) -> str:
    """Return the last part of a file's URL: `Leaf mould.JPEG` becomes `leaf-mould.jpg`."""
    stem = _EXTENSION.sub("", name)
    ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode("ascii")
    words = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower())
    return f"{words[:_MAX_URL_NAME].strip('-') or 'file'}{extension}"


def _extension(name: str) -> str:
    found = _EXTENSION.search(name)
    return found[0].lower() if found else ""
