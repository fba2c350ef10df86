"""The digest of an entry, by which a later import sees whether a person, or another import, has changed it since."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from multisite.content.models import Entry

__all__ = ["ENTRY_COLUMNS", "digest_of_entry", "digest_of_values"]

ENTRY_COLUMNS = [each for each in Entry.__table__.c if each.name not in ("id", "site_id")]
"""The columns that the digest depends on."""


def digest_of_entry(entry: Entry) -> str:
    """Return the digest of an entry that was flushed."""
    values = [getattr(entry, column.name) for column in ENTRY_COLUMNS]
    return digest_of_values(values, sorted(tag.slug for tag in entry.tags))


def digest_of_values(values: Iterable[Any], tags: Iterable[str]) -> str:
    """Return the digest of an entry with these values of `ENTRY_COLUMNS`, and these slugs of tags in their order."""
    found = blake2b(digest_size=20)
    for value in (*values, *tags):
        # Most are long texts, of which `repr` would take longer than the digest.
        text = (
            value
            if isinstance(value, str)
            else f"\0{value.astimezone(UTC) if isinstance(value, datetime) else value!r}"
        )
        data = text.encode("utf-8", "backslashreplace")
        found.update(b"%d:%b" % (len(data), data))
    return found.hexdigest()
