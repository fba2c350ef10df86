"""Lists of visible entries, newest first, at a cost that does not depend on how many entries there are.

A page of a list begins after a `Place`, which an index finds. Even a numbered page does: the place is that of the last
entry on the page before, and the database skips the entries up to there in the index alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only, selectinload
from sqlalchemy.sql.elements import ColumnElement

from multisite.content.limits import SLUG_LENGTH
from multisite.content.models import Entry, Tag, entry_tags

__all__ = ["FOR_LISTS", "EntryList", "Listing", "Place", "PlaceName", "visible"]

FOR_LISTS = (
    load_only(Entry.slug, Entry.title, Entry.summary, Entry.published, Entry.updated),
    selectinload(Entry.tags),
)
"""The columns of a list; without the texts, which may be a megabyte for each entry."""

_LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list: that of the entry with this `published` and `id`."""

    published: datetime
    id: int


@dataclass(frozen=True, slots=True)
class PlaceName:
    """The name of a place in a URL, such as `2024-05-05T12:00:00Z-leaf-mould`: `published` and slug of an entry.

    It is valid as long as the list has older entries, even if the entry is changed or deleted. It has no id, since ids
    tell how many rows other sites have.
    """

    published: datetime
    slug: str

    def __str__(self) -> str:
        return f"{self.published.astimezone(UTC).replace(tzinfo=None).isoformat()}Z-{self.slug}"

    @classmethod
    def parse(cls, text: str) -> PlaceName:
        """Return the key that `text` is the name of. Raises `ValueError` if it is not one."""
        when, separator, slug = text.partition("Z-")
        if not separator or not 0 < len(slug) <= SLUG_LENGTH or "\0" in slug:
            raise ValueError(f"{text!r} is not the name of a place in a list")
        key = cls(datetime.fromisoformat(when).replace(tzinfo=UTC), slug)
        if str(key) != text:
            raise ValueError(f"{text!r} is not written as {str(key)!r}")
        return key


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list: its entries, and whether there are older ones."""

    entries: Sequence[Entry]
    has_more: bool


def visible(now: datetime) -> ColumnElement[bool]:
    """Return the condition for visible entries: not a draft, and already published."""
    return sa.and_(Entry.draft == sa.false(), Entry.published <= now)


@dataclass(frozen=True, slots=True)
class EntryList:
    """The entries that are visible at `now`; only those with `tag`, or of a period, if given.

    `between` is the start of the period and its end, which does not belong to it. A list has one of `tag` and
    `between` at most.
    """

    now: datetime
    tag: Tag | None = None
    between: tuple[datetime, datetime] | None = None

    def page(self, session: Session, *, size: int, number: int = 1, before: Place | None = None) -> Listing:
        """Return page `number` (from 1) with `size` entries, or those that come after the place `before`.

        One more query loads the tags; selecting one entry more than needed tells whether there are older ones.
        """
        if number > 1:
            before = self._place_at(session, (number - 1) * size - 1)
            if before is None:
                return Listing([], has_more=False)
        statement = self._select(Entry, before=before).options(*FOR_LISTS).order_by(*self._newest_first())
        found = session.scalars(statement.limit(size + 1)).all()
        return Listing(found[:size], len(found) > size)

    def place(self, session: Session, key: PlaceName) -> Place:
        """Return the place that `key` names; after an entry was deleted, that of the first one of the same time."""
        found = session.scalar(sa.select(Entry.id).where(Entry.slug == key.slug))
        return Place(key.published, _LAST_ID if found is None else found)

    def newer(self, session: Session, first: Entry, *, size: int) -> PlaceName | None:
        """Return the key of the page before the one that begins with `first`; None if that is the first page."""
        assert first.published is not None  # noqa: S101 - The list has visible entries only.
        here = Place(first.published, first.id)
        statement = self._select(Entry.published, Entry.slug, after=here)
        oldest_first = (column.asc() for column in self._columns())
        row = session.execute(statement.order_by(*oldest_first).offset(size).limit(1)).first()
        return None if row is None else PlaceName(*row)

    def _place_at(self, session: Session, offset: int) -> Place | None:
        when, number = self._columns()
        statement = sa.select(when, number).where(*self._conditions()).order_by(*self._newest_first())
        row = session.execute(statement.offset(offset).limit(1)).first()
        return None if row is None else Place(*row)

    def _columns(self) -> tuple[ColumnElement[Any], ColumnElement[int]]:
        """Return the columns that lists are ordered by, both in one index."""
        if self.tag is not None:
            return entry_tags.c.listed, entry_tags.c.entry_id
        return Entry.published.expression, Entry.id.expression

    def _position(self) -> ColumnElement[Any]:
        return sa.tuple_(*self._columns())

    def _newest_first(self) -> list[ColumnElement[Any]]:
        return [column.desc() for column in self._columns()]

    def _conditions(self, before: Place | None = None, after: Place | None = None) -> list[ColumnElement[bool]]:
        """Return the conditions for the entries between two places.

        There is one limit on each side, since SQLite looks for one only and would read all entries up to the other.
        """
        when, _ = self._columns()
        # A draft is listed under its tags as NULL, which no limit includes.
        which = Entry.draft == sa.false() if self.tag is None else entry_tags.c.tag_id == self.tag.id
        end = None if self.between is None or self.between[1] > self.now else self.between[1]
        newest = when <= self.now if end is None else when < end
        if before is not None and before.published <= self.now and (end is None or before.published < end):
            newest = self._position() < _row(before)
        if after is not None:
            return [which, newest, self._position() > _row(after)]
        return [which, newest] if self.between is None else [which, newest, when >= self.between[0]]

    def _select(self, *columns: Any, before: Place | None = None, after: Place | None = None) -> Any:
        statement = sa.select(*columns).where(*self._conditions(before, after))
        return statement if self.tag is None else statement.join(entry_tags, entry_tags.c.entry_id == Entry.id)


def _row(place: Place) -> ColumnElement[Any]:
    return sa.tuple_(sa.literal(place.published, Entry.published.type), sa.literal(place.id, Entry.id.type))
