"""Index a whole export for an import that reads one post at a time: slugs, addresses, attachments.

It is a temporary SQLite database, so that memory use does not grow with the number of posts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import chain, count
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from multisite.content.limits import SLUG_LENGTH
from multisite.content.models import Entry
from multisite.content.page_paths import is_page_slug
from multisite.content.slugs import slugify
from multisite.language.local_time import local_time

__all__ = ["ExportIndex", "open_index"]

_TABLES = """
CREATE TABLE slugs (slug TEXT PRIMARY KEY, source TEXT, day TEXT) WITHOUT ROWID;
CREATE INDEX slugs_source ON slugs (source);
CREATE TABLE addresses (address TEXT PRIMARY KEY, slug TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tags (
    kind TEXT, nicename TEXT, slug TEXT NOT NULL, parent TEXT, used INTEGER, PRIMARY KEY (kind, nicename)
) WITHOUT ROWID;
CREATE TABLE days (day TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE attachments (id INTEGER PRIMARY KEY, parent INTEGER, url TEXT, title TEXT, alt TEXT, caption TEXT);
CREATE TABLE files (name TEXT PRIMARY KEY, path TEXT, reason TEXT) WITHOUT ROWID;
CREATE INDEX attachments_parent ON attachments (parent, id);
"""

_MAX_LEVELS = 10
"""Categories within each other."""

_MAX_GALLERY = 1000
"""Pictures of one gallery."""


@dataclass(slots=True)
class ExportIndex:
    """The slugs of a site's entries and of an export's posts, and where the export's addresses lead.

    `prefix` is what the sources of all entries from this export begin with.
    """

    database: sqlite3.Connection
    prefix: str = "\0"

    def add_entry(self, slug: str, source: str | None, day: date | None) -> None:
        """Add an entry that the site already has."""
        values = (slug, source, None if day is None else day.isoformat())
        self.database.execute("INSERT OR REPLACE INTO slugs VALUES (?, ?, ?)", values)

    def choose_slug(self, wanted: str, source: str, day: date | None, number: str) -> str:
        """Return the slug of a post, and remember it.

        An entry that was imported from the post keeps its slug, and so does an entry with the slug and the day of the
        post that is not from this export. Otherwise, if the slug is taken, the post's day or else `number` is added.
        """
        row = self.database.execute("SELECT slug FROM slugs WHERE source = ?", (source,)).fetchone()
        if row is not None:
            return str(row[0])
        candidates: Iterator[str]
        dated = slugify(f"{day}-{wanted}") if day is not None and wanted else wanted
        if is_page_slug(wanted):
            numbered = f"{wanted[: SLUG_LENGTH // 2]}-{slugify(number)}"
            candidates = chain((wanted, numbered), (f"{numbered}-{n}" for n in count(2)))
        else:
            numbered = f"{number}-{wanted[: SLUG_LENGTH // 2]}"
            candidates = chain((wanted, dated, slugify(numbered)), (slugify(f"{n}-{numbered}") for n in count(2)))
        slug = next(slug for slug in candidates if slug and self._is_free(slug, day))
        self.add_entry(slug, source, day)
        return slug

    def add_day(self, day: date) -> None:
        """Remember that a post was published on `day`."""
        self.database.execute("INSERT OR IGNORE INTO days VALUES (?)", (day.isoformat(),))

    def _is_free(self, slug: str, day: date | None) -> bool:
        row = self.database.execute("SELECT source, day FROM slugs WHERE slug = ?", (slug,)).fetchone()
        if row is None:
            return True
        is_from_here = row[0] is not None and row[0].startswith(self.prefix)
        return not is_from_here and day is not None and row[1] == day.isoformat()

    def slug_of(self, source: str) -> str | None:
        """Return the slug of the post with `source`; None if it does not become an entry."""
        row = self.database.execute("SELECT slug FROM slugs WHERE source = ?", (source,)).fetchone()
        return None if row is None else str(row[0])

    def add_address(self, address: str, slug: str) -> None:
        """Remember that the old `address` belongs to the entry `slug`; the first entry with an address has it."""
        self.database.execute("INSERT OR IGNORE INTO addresses VALUES (?, ?)", (address, slug))

    def find_address(self, address: str) -> str | None:
        """Return the slug of the entry with an old address, or None."""
        row = self.database.execute("SELECT slug FROM addresses WHERE address = ?", (address,)).fetchone()
        return None if row is None else str(row[0])

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yield each old address with the slug of its entry."""
        yield from self.database.execute("SELECT address, slug FROM addresses ORDER BY address")

    def add_tag(self, kind: str, nicename: str, slug: str, *, parent: str = "", used: bool) -> None:
        """Remember the slug of the tag that a category or tag of the blog becomes.

        `kind` is `category` or `tag`; `parent` is the nicename of the category above; `used` is whether an entry has
        the tag.
        """
        statement = """
        INSERT INTO tags VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, nicename)
        DO UPDATE SET used = max(used, excluded.used), parent = coalesce(nullif(parent, ''), excluded.parent)
        """
        self.database.execute(statement, (kind, nicename, slug, parent, int(used)))

    def find_tag(self, kind: str, nicename: str) -> str | None:
        """Return the slug of the tag for a category or tag of the blog; None if no entry has it."""
        statement = "SELECT slug FROM tags WHERE kind = ? AND nicename = ? AND used"
        row = self.database.execute(statement, (kind, nicename)).fetchone()
        return None if row is None else str(row[0])

    def tags(self) -> Iterator[tuple[str, str]]:
        """Yield the path that each used category or tag had below the blog, and the slug of its tag."""
        for kind, nicename, slug in self.database.execute("SELECT kind, nicename, slug FROM tags WHERE used"):
            names = [nicename]
            while len(names) < _MAX_LEVELS and (parent := self._parent(kind, names[0])):
                names.insert(0, parent)
            yield "/".join((kind, *names)), slug

    def _parent(self, kind: str, nicename: str) -> str:
        statement = "SELECT parent FROM tags WHERE kind = ? AND nicename = ?"
        row = self.database.execute(statement, (kind, nicename)).fetchone()
        return "" if row is None else str(row[0])

    def months(self) -> Iterator[str]:
        """Yield the months in which posts were published, as `2024-05`."""
        for (month,) in self.database.execute("SELECT DISTINCT substr(day, 1, 7) FROM days"):
            yield str(month)

    def add_attachment(self, number: int, parent: int, *texts: str) -> None:
        """Add an uploaded file with its URL, title, alternative text and caption."""
        self.database.execute("INSERT OR REPLACE INTO attachments VALUES (?, ?, ?, ?, ?, ?)", (number, parent, *texts))

    def find_attachment(self, number: int) -> tuple[str, str, str, str] | None:
        """Return URL, title, alternative text and caption of the attachment with an id, or None."""
        statement = "SELECT url, title, alt, caption FROM attachments WHERE id = ?"
        found: tuple[str, str, str, str] | None = self.database.execute(statement, (number,)).fetchone()
        return found

    def attachments_of(self, parent: int) -> Sequence[tuple[str, str, str, str]]:
        """Return the attachments that were uploaded to a post."""
        statement = "SELECT url, title, alt, caption FROM attachments WHERE parent = ? ORDER BY id LIMIT ?"
        return self.database.execute(statement, (parent, _MAX_GALLERY)).fetchall()

    def add_file(self, name: str, path: str | None, reason: str) -> None:
        """Remember the new URL path of an uploaded file, or the reason why it has none."""
        self.database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, path, reason))

    def find_file(self, name: str) -> tuple[str | None, str] | None:
        """Return the new URL path of an uploaded file and the reason; None if it is not known yet."""
        statement = "SELECT path, reason FROM files WHERE name = ?"
        found: tuple[str | None, str] | None = self.database.execute(statement, (name,)).fetchone()
        return found


@contextmanager
def open_index(session: Session, zone: ZoneInfo) -> Iterator[ExportIndex]:
    """Yield an index that has the slugs of the entries of the session's site; days are those in `zone`."""
    # An empty name is a temporary file, which SQLite removes by itself.
    with closing(sqlite3.connect("")) as database:
        database.executescript(_TABLES)
        index = ExportIndex(database)
        statement = sa.select(Entry.slug, Entry.source, Entry.published).execution_options(yield_per=1000)
        for slug, source, published in session.execute(statement):
            index.add_entry(slug, source, None if published is None else local_time(published, zone).date())
        session.rollback()
        yield index
