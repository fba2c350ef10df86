"""The picture of an entry that the front matter names, for links to it: each theme has a field of its own for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["PICTURE_FOLDERS", "read_picture"]

_FIELDS = (
    "featured_image",
    "featuredimage",
    "feature_image",
    "cover",
    "cover_image",
    "coverimage",
    "featured",
    "image",
    "images",
    "header",
    "hero",
    "hero_image",
    "heroimage",
    "header_image",
    "header_cover",
    "banner",
    "teaser",
    "thumbnail",
    "thumb",
    "og_image",
    "picture",
    "photo",
    "img",
)
_NAMES = frozenset(_FIELDS)
_INNER = ("image", "src", "path", "url", "feature", "cover", "overlay_image", "teaser", "thumbnail", "file")
"""The address in a field with several values, such as `cover.image`, `image.path` and `header.overlay_image`."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".svg")

PICTURE_FOLDERS = ("", "/", "/images/", "/img/", "/assets/images/", "/assets/img/")
"""What themes put before the address of a picture."""


def read_picture(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the address of the picture as it is written, and its alternative text; both may be empty.

    A value without the ending of a picture is something else, such as `featured: true`, unless it is a URL.
    """
    for address, alt in _candidates(fields):
        path = address.partition("?")[0].partition("#")[0].lower()
        if path.endswith(_SUFFIXES) or "://" in address:
            return address, alt
    return "", ""


def _candidates(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tables = [fields, *(fields[name] for name in ("params", "extra") if isinstance(fields.get(name), Mapping))]
    for table in tables:
        for name in _FIELDS if not _NAMES.isdisjoint(table) else ():
            value = table.get(name)
            yield from _addresses(value[0] if isinstance(value, list) and value else value)
    resources = fields.get("resources")
    for each in resources[:100] if isinstance(resources, list) else ():  # Of a page bundle of Hugo.
        if isinstance(each, Mapping) and str(each.get("name", "")).lower() in _FIELDS:
            yield from _addresses(each)


def _addresses(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield " ".join(value.split()), ""
    elif isinstance(value, Mapping):
        alt = value.get("alt") or value.get("image_description") or ""
        for name in _INNER:
            if isinstance(inner := value.get(name), str):
                yield " ".join(inner.split()), alt if isinstance(alt, str) else ""
