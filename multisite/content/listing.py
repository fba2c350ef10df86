"""Lists of visible entries, newest first, at a cost that does not depend on how many entries there are.

A page of a list begins after a `Place`, which an index finds. Even a numbered page does: the place is that of the last
entry on the page before, and the database skips the entries up to there in the index alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from multisite.content.limits import SLUG_LENGTH
from multisite.content.models import Entry, Tag, entry_tags
from multisite.content.site_paths import add_path_to_text
from multisite.scoping.pin import pin_of

__all__ = [
    "EntryList",
    "ListedEntry",
    "ListedTag",
    "Listing",
    "Place",
    "PlaceName",
    "readable",
    "select_tags",
    "visible",
]

_ENTRIES, _TAG = Entry.__table__.c, Tag.__table__.c
"""Statements on tables take less time than those on models, whose rows SQLAlchemy prepares for entities."""

_COLUMNS = (
    *(_ENTRIES.id, _ENTRIES.slug, _ENTRIES.title, _ENTRIES.summary),
    *(_ENTRIES.published, _ENTRIES.updated, _ENTRIES.picture),
)
"""The columns of a list; without the texts, which may be a megabyte for each entry."""

_LAST_ID = 2**63 - 1


def select_tags(*columns: Any) -> sa.Select[Any]:
    """Return the statement for the ids of the entries `ids`, each with `columns` of a tag, by the names of the tags.

    On PostgreSQL, the tags of the entries are a subquery of its own. Otherwise, if most sites are small, it may begin
    with the tags of the site, and read all entries with each of them.
    """
    links = sa.select(entry_tags.c.entry_id, entry_tags.c.tag_id)
    links = links.where(entry_tags.c.entry_id.in_(sa.bindparam("ids", expanding=True)))
    found = links.cte("links").prefix_with("MATERIALIZED", dialect="postgresql")
    tags = Tag.__table__
    return sa.select(found.c.entry_id, *columns).join_from(found, tags, _TAG.id == found.c.tag_id).order_by(_TAG.name)


_TAGS = select_tags(_TAG.slug, _TAG.name)
"""Built once, like `_newest`: building a statement costs as much as the query."""


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
        """Parse the name of a place. Raises `ValueError` if it is not one."""
        when, separator, slug = text.partition("Z-")
        if not separator or not 0 < len(slug) <= SLUG_LENGTH or "\0" in slug:
            raise ValueError(f"{text!r} is not the name of a place in a list")
        key = cls(datetime.fromisoformat(when).replace(tzinfo=UTC), slug)
        if str(key) != text:
            raise ValueError(f"{text!r} is not written as {str(key)!r}")
        return key


class ListedTag(NamedTuple):
    """A tag of a listed entry."""

    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """An entry of a list: a row, which costs half as much as an entity, whose changes the session has to follow."""

    tags: tuple[ListedTag, ...]
    session: Session = field(repr=False, compare=False)
    # The columns of a list, in their order.
    id: int
    slug: str
    title: str
    summary: str
    published: datetime
    updated: datetime
    picture: str | None

    @property
    def body_html(self) -> str:
        """The text, which costs a query."""
        html = self.session.scalars(sa.select(Entry.body_html).where(Entry.id == self.id)).one()
        scope = pin_of(self.session).resolve()
        path = "" if scope is None or scope.site is None else scope.site.path
        return add_path_to_text(path, html)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list: its entries, and whether there are older ones."""

    entries: Sequence[ListedEntry]
    has_more: bool


def visible(now: datetime) -> ColumnElement[bool]:
    """Return the condition for visible entries: not a draft, and already published. No page is among them."""
    return sa.and_(Entry.draft == sa.false(), Entry.published <= now)


def readable(now: datetime) -> ColumnElement[bool]:
    """Return the condition for visible entries and pages."""
    return sa.and_(Entry.draft == sa.false(), sa.or_(Entry.published <= now, Entry.published.is_(None)))


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
        rows = self._rows(session, size + 1, before)
        tags = _tags_of(session, [row[0] for row in rows[:size]])
        entries = [ListedEntry(tuple(tags.get(row[0], ())), session, *row) for row in rows[:size]]
        return Listing(entries, len(rows) > size)

    def _rows(self, session: Session, limit: int, before: Place | None) -> Sequence[Any]:
        if before is not None:
            statement = self._select(*_COLUMNS, before=before).order_by(*self._newest_first())
            return session.execute(statement.limit(limit)).all()
        first, end = self.between or (None, None)
        is_past = end is not None and end <= self.now
        values: dict[str, Any] = {"limit": limit, "newest": end if is_past else self.now}
        if first is not None:
            values["first"] = first
        if self.tag is not None:
            values["tag_id"] = self.tag.id
        return session.execute(_newest(self.tag is not None, first is not None, is_past), values).all()

    def place(self, session: Session, key: PlaceName) -> Place:
        """Return the place that `key` names; after an entry was deleted, that of the first one of the same time."""
        found = session.scalar(sa.select(Entry.id).where(Entry.slug == key.slug))
        return Place(key.published, _LAST_ID if found is None else found)

    def newer(self, session: Session, first: ListedEntry, *, size: int) -> PlaceName | None:
        """Return the key of the page before the one that begins with `first`; None if that is the first page."""
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


@lru_cache
def _newest(of_tag: bool, of_period: bool, is_past: bool) -> Any:
    """Return the statement for the first page of a list, with the parameters of `EntryList._rows`.

    Args:
        of_tag: Whether it has the entries with the tag `tag_id`.
        of_period: Whether it begins at `first`.
        is_past: Whether the entries end before the time `newest`, instead of at it.
    """
    when = entry_tags.c.listed if of_tag else _ENTRIES.published
    number = entry_tags.c.entry_id if of_tag else _ENTRIES.id
    newest = sa.bindparam("newest", type_=_ENTRIES.published.type)
    statement = sa.select(*_COLUMNS).where(when < newest if is_past else when <= newest)
    if of_tag:
        statement = statement.join(entry_tags, entry_tags.c.entry_id == _ENTRIES.id)
        statement = statement.where(entry_tags.c.tag_id == sa.bindparam("tag_id", type_=sa.BigInteger))
    else:
        statement = statement.where(_ENTRIES.draft == sa.false())
    if of_period:
        statement = statement.where(when >= sa.bindparam("first", type_=_ENTRIES.published.type))
    return statement.order_by(when.desc(), number.desc()).limit(sa.bindparam("limit", type_=sa.Integer))


def _tags_of(session: Session, ids: Sequence[int]) -> dict[int, list[ListedTag]]:
    """Return the tags of entries by the entry's id, in the order of their names."""
    found: dict[int, list[ListedTag]] = {}
    if ids:
        for entry_id, slug, name in session.execute(_TAGS, {"ids": ids}):
            found.setdefault(entry_id, []).append(ListedTag(slug, name))
    return found


def _row(place: Place) -> ColumnElement[Any]:
    return sa.tuple_(sa.literal(place.published, Entry.published.type), sa.literal(place.id, Entry.id.type))
