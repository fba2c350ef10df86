"""The format of an archive: the names of its members, and `manifest.json`, which describes the others.

An archive is a zip file. `docs/site-archives.md` describes its members. A change of the format that an earlier version
cannot read raises `VERSION`; every version of multisite reads all earlier ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from multisite.errors import MultisiteError, escape_for_message

__all__ = ["FORMAT", "MANIFEST", "SITE", "VERSION", "Manifest", "Member", "TableEntry"]

FORMAT = "multisite-site"
VERSION = 1

MANIFEST = "manifest.json"
SITE = "site.json"
ROWS, TEMPLATES, STATIC, TRANSLATIONS, PARTS = "rows", "templates", "static", "translations", "parts"
FOLDERS = (ROWS, TEMPLATES, STATIC, TRANSLATIONS, PARTS)
"""The folders of an archive."""


@dataclass(frozen=True)
class Member:
    """The size and the SHA-256 of a member."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableEntry:
    """A table: the member with its rows, their number, and the kind of each column by name."""

    member: str
    rows: int
    columns: dict[str, str]


@dataclass
class Manifest:
    """The content of `manifest.json`.

    `multisite` is the version that wrote the archive. `revisions` are those of the application's tables, as alembic
    numbers them. `left_out` has a sentence for each thing that is not in the archive although it belongs to the site.
    """

    host: str
    created: str
    multisite: str
    dialect: str
    revisions: list[str]
    left_out: list[str] = field(default_factory=list)
    tables: dict[str, TableEntry] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        first = {"format": self.format, "version": self.version}
        return json.dumps(
            {**first, **{key: value for key, value in asdict(self).items() if key not in first}}, indent=1
        )

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Parse `manifest.json`. Raises `MultisiteError` if it is not a manifest of a version that is known here."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _unfit("is not JSON") from error
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise _unfit(f"does not have the format '{FORMAT}'")
        version = raw.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise MultisiteError(
                f"the archive has version {escape_for_message(version)} of the format, and this multisite reads "
                f"versions up to {VERSION}: use the one that wrote it, {escape_for_message(raw.get('multisite'))}"
            )
        return cls(
            host=_typed(raw, "host", str),
            created=_typed(raw, "created", str),
            multisite=_typed(raw, "multisite", str),
            dialect=_typed(raw, "dialect", str),
            revisions=_strings(raw, "revisions"),
            left_out=_strings(raw, "left_out"),
            tables={name: _table(entry) for name, entry in _typed(raw, "tables", dict).items()},
            members={name: _member(entry) for name, entry in _typed(raw, "members", dict).items()},
        )


def _unfit(reason: str) -> MultisiteError:
    return MultisiteError(f"{MANIFEST} of the archive {reason}: the file is not an archive of a site, or was changed")


def _typed(raw: dict[str, Any], name: str, kind: type) -> Any:
    value = raw.get(name)
    if type(value) is not kind:
        raise _unfit(f"has no valid '{name}'")
    return value


def _strings(raw: dict[str, Any], name: str) -> list[str]:
    values = _typed(raw, name, list)
    if not all(type(value) is str for value in values):
        raise _unfit(f"has no valid '{name}'")
    return list(values)


def _object(raw: Any) -> dict[str, Any]:
    if type(raw) is not dict:
        raise _unfit("has an entry that is not an object")
    return raw


def _table(raw: Any) -> TableEntry:
    entry = _object(raw)
    columns = _typed(entry, "columns", dict)
    if not all(type(kind) is str for kind in columns.values()):
        raise _unfit("has a column without a kind")
    return TableEntry(_typed(entry, "member", str), _count(entry, "rows"), columns)


def _member(raw: Any) -> Member:
    entry = _object(raw)
    return Member(_count(entry, "bytes"), _typed(entry, "sha256", str))


def _count(raw: dict[str, Any], name: str) -> int:
    value: int = _typed(raw, name, int)
    if value < 0:
        raise _unfit(f"has a negative '{name}'")
    return value
