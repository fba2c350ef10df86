"""`EntryText`, the editable text of an entry, and who has changed an entry since its import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from multisite.content.models import Entry
from multisite.content.revisions import Revision

__all__ = ["EntryText", "changed_by_people"]


@dataclass(frozen=True)
class EntryText:
    """The text of an entry, as a person edits it.

    `tags` are names; `author` is None if the entry names nobody, and `picture` if none was chosen.
    """

    title: str
    slug: str
    summary: str
    body: str
    tags: tuple[str, ...]
    author: str | None
    published: datetime | None
    draft: bool
    picture: str | None = None

    @classmethod
    def of(cls, entry: Entry) -> EntryText:
        """Return the text of an entry."""
        names = tuple(sorted(tag.name for tag in entry.tags))
        return cls(
            entry.title,
            entry.slug,
            entry.summary,
            entry.body,
            names,
            entry.author,
            entry.published,
            entry.draft,
            entry.picture,
        )

    @classmethod
    def of_revision(cls, found: Revision) -> EntryText:
        """Return the text of a revision."""
        tags = tuple(found.tags.splitlines())
        return cls(
            found.title,
            found.slug,
            found.summary,
            found.body,
            tags,
            found.author,
            found.published,
            found.draft,
            found.picture,
        )

    @property
    def version(self) -> str:
        """A hash of all fields, which changes with each of them, also by an import."""
        published = None if self.published is None else self.published.astimezone(UTC).isoformat()
        values = {**asdict(self), "published": published, "tags": sorted(self.tags)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8", "replace")).hexdigest()[:32]


def changed_by_people(session: Session, entries: Iterable[Entry]) -> dict[int, str]:
    """Return the logins of those who saved the text that an entry has now, by the id of the entry.

    An entry whose text was imported after a person saved it is not among them.
    """
    known = {entry.id: entry for entry in entries}
    latest = (
        sa.select(sa.func.max(Revision.id))
        .where(Revision.entry_id.in_(known), Revision.kind == "saved", Revision.login.is_not(None))
        .group_by(Revision.entry_id)
    )
    found = session.scalars(sa.select(Revision).where(Revision.id.in_(latest))) if known else ()
    return {
        revision.entry_id: revision.login
        for revision in found
        if revision.entry_id is not None
        and revision.login is not None
        and EntryText.of_revision(revision).version == EntryText.of(known[revision.entry_id]).version
    }
