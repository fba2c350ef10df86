"""Skip the files that an import has seen before, unless they, their entry or the import itself have changed.

An import remembers a digest of each file whose entry depends on that file alone: without a link to another file, media,
an old address, or anything to report. Other files are read and rendered by each import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from multisite.content.imports.entry_digests import ENTRY_COLUMNS, digest_of_values
from multisite.content.imports.upsert import SavedArticle
from multisite.content.models import Entry, Tag, entry_tags, imported_files

__all__ = ["FILES_AT_A_TIME", "Unchanged"]

FILES_AT_A_TIME = 500
"""Files whose digests one statement reads."""

_RENDERERS = ("pyramid-multisite", "linkify-it-py", "markdown-it-py", "mdit-py-plugins", "nh3", "Pygments", "PyYAML")
"""Other releases of these may make other entries of the same files."""

_TIMED = ("expir", "unpublish")
"""Words of a file that may become a draft when a date is past."""

_FEW_ROWS = {"yield_per": 50}
"""Rows of entries, which contain their texts, are not all in memory."""


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    slug: str
    day: date | None


def _release(name: str) -> str | None:
    """Return the installed release of a package, or None: some are optional."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Unchanged:
    """The files that an import need not read again.

    Args:
        session: The session of the import.
        options: What the entries depend on beside their files: the site's language, for example.
        commit: Whether each batch is committed, as batches of entries are.
        enabled: Whether files are skipped at all.
    """

    def __init__(self, session: Session, options: Iterable[Any], *, commit: bool, enabled: bool) -> None:
        self._session = session
        releases = [(name, _release(name)) for name in _RENDERERS]
        found = repr((*options, releases)).encode("utf-8", "backslashreplace")
        self._options = blake2b(found, digest_size=20).digest()
        self._commit = commit
        self._enabled = enabled
        self._known: dict[str, _Known] = {}
        self._new: dict[int, dict[str, Any]] = {}

    def load(self, sources: Sequence[str]) -> None:
        """Read what is known about these files, instead of others."""
        self._known = {}
        if not self._enabled:
            return
        here = imported_files.c.source.in_(sources)
        statement = (
            sa.select(imported_files, *ENTRY_COLUMNS).join(Entry, Entry.id == imported_files.c.entry_id).where(here)
        )
        tags = self._tags(sa.select(imported_files.c.entry_id).where(here))
        for row in self._session.execute(statement, execution_options=_FEW_ROWS):
            if row.entry_digest == digest_of_values(row[len(imported_files.c) :], tags.get(row.entry_id, ())):
                self._known[row.source] = _Known(row.digest, row.slug, row.day)

    def digest(self, text: str, defaults: Mapping[str, Any]) -> str | None:
        """Return the digest of a file with this text and fields; None if its entry depends on the time."""
        if defaults:
            text = f"{text}\0{defaults!r}"
        lowered = text.lower()
        if any(word in lowered for word in _TIMED):
            return None
        found = blake2b(self._options, digest_size=20)
        found.update(text.encode("utf-8", "backslashreplace"))
        return found.hexdigest()

    def find(self, source: str, digest: str | None) -> tuple[str, date | None] | None:
        """Return the slug and day of the entry of a file; None if the file, or its entry, has changed or is new."""
        known = self._known.get(source)
        return (known.slug, known.day) if known is not None and known.digest == digest else None

    def add(self, saved: SavedArticle) -> None:
        """Note that an article was saved."""
        article = saved.article
        if article.digest is not None:
            self._new[saved.key] = {
                "source": article.source,
                "digest": article.digest,
                "day": article.day,
                "entry_digest": saved.digest,
            }
        if len(self._new) >= FILES_AT_A_TIME:
            self.save()

    def save(self) -> None:
        """Save the digests of the articles that were added."""
        new, self._new = self._new, {}
        # A person may have deleted some of the entries since.
        keys = self._session.scalars(sa.select(Entry.id).where(Entry.id.in_(list(new)))) if new else ()
        rows = [{"entry_id": key, **new[key]} for key in keys]
        if rows:
            insert = postgresql.insert if self._session.get_bind().dialect.name == "postgresql" else sqlite.insert
            upsert = insert(imported_files)
            columns = {name: upsert.excluded[name] for name in ("entry_id", "digest", "entry_digest", "day")}
            key = [imported_files.c.site_id, imported_files.c.source]
            self._session.execute(upsert.on_conflict_do_update(index_elements=key, set_=columns), rows)
            if self._commit:
                self._session.commit()

    def _tags(self, keys: sa.Select[Any]) -> dict[int, list[str]]:
        """Return the slugs of the tags of the entries with these primary keys, in the order of `sorted`."""
        statement = (
            sa.select(entry_tags.c.entry_id, Tag.slug)
            .join(Tag, Tag.id == entry_tags.c.tag_id)
            .where(entry_tags.c.entry_id.in_(keys))
        )
        found: dict[int, list[str]] = {}
        for key, slug in self._session.execute(statement):
            found.setdefault(key, []).append(slug)
        return {key: sorted(slugs) for key, slugs in found.items()}
