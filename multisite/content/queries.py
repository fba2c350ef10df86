"""Database queries of the pages. None of them mentions a site: the scoping layer adds that to each statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only, selectinload
from sqlalchemy.sql.elements import ColumnElement

from multisite.content.models import Entry, Tag
from multisite.language.local_time import local_bounds, local_time

__all__ = [
    "MAX_PAGE",
    "Listing",
    "adjacent_entries",
    "count_visible",
    "count_years",
    "find_entry",
    "find_tag",
    "list_entries",
    "list_slugs",
    "newest_with_bodies",
    "visible",
]

MAX_PAGE = 1_000_000
"""The highest page number that is looked up: databases accept larger offsets, but no list is that long."""

# The columns of a list; without the texts, which may be a megabyte for each entry.
_FOR_LISTS = (
    load_only(Entry.slug, Entry.title, Entry.summary, Entry.published, Entry.updated),
    selectinload(Entry.tags),
)
_FOR_LINKS = load_only(Entry.slug, Entry.title, Entry.published)
_NEWEST_FIRST = (Entry.published.desc(), Entry.id.desc())


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list: its entries, and whether there is a next page."""

    entries: Sequence[Entry]
    number: int
    has_more: bool


def visible(now: datetime) -> ColumnElement[bool]:
    """Return the condition for visible entries: not a draft, and already published."""
    return sa.and_(Entry.draft == sa.false(), Entry.published <= now)


def list_entries(
    session: Session,
    now: datetime,
    *,
    page: int,
    size: int,
    tag: Tag | None = None,
    between: tuple[datetime, datetime] | None = None,
) -> Listing:
    """Return page number `page` (from 1) of the visible entries, newest first, with `size` entries per page.

    Filters by `tag`, and by publication from `between[0]` to before `between[1]`, if given. One more query loads the
    tags; selecting one entry more than needed tells whether there is a next page.
    """
    statement = sa.select(Entry).where(visible(now)).options(*_FOR_LISTS).order_by(*_NEWEST_FIRST)
    if tag is not None:
        statement = statement.join(Entry.tags).where(Tag.id == tag.id)
    if between is not None:
        statement = statement.where(Entry.published >= between[0], Entry.published < between[1])
    found = session.scalars(statement.limit(size + 1).offset((page - 1) * size)).all()
    return Listing(found[:size], page, len(found) > size)


def newest_with_bodies(session: Session, now: datetime, size: int) -> Sequence[Entry]:
    """Return the newest `size` visible entries with their texts and tags."""
    statement = sa.select(Entry).where(visible(now)).options(selectinload(Entry.tags)).order_by(*_NEWEST_FIRST)
    return session.scalars(statement.limit(size)).all()


def find_entry(session: Session, now: datetime, slug: str) -> Entry | None:
    """Return the visible entry with `slug` and its tags, or None."""
    statement = sa.select(Entry).where(Entry.slug == slug, visible(now)).options(selectinload(Entry.tags))
    return session.scalars(statement).one_or_none()


def adjacent_entries(session: Session, now: datetime, entry: Entry) -> tuple[Entry | None, Entry | None]:
    """Return the next newer and the next older visible entry, with the columns that a link needs."""
    place = sa.tuple_(Entry.published, Entry.id)
    here = sa.tuple_(sa.literal(entry.published, Entry.published.type), sa.literal(entry.id, Entry.id.type))
    links = sa.select(Entry).where(visible(now)).options(_FOR_LINKS).limit(1)
    newer = session.scalars(links.where(place > here).order_by(Entry.published, Entry.id)).first()
    older = session.scalars(links.where(place < here).order_by(*_NEWEST_FIRST)).first()
    return newer, older


def find_tag(session: Session, slug: str) -> Tag | None:
    """Return the tag with `slug`, or None."""
    return session.scalars(sa.select(Tag).where(Tag.slug == slug)).one_or_none()


def count_years(session: Session, now: datetime, zone: ZoneInfo) -> list[tuple[int, int]]:
    """Return each year with visible entries and their number, newest first; years start at midnight in `zone`.

    The database counts, in every dialect: by a CASE over the beginnings of the years from the first to the last entry.
    """
    first, last = session.execute(
        sa.select(sa.func.min(Entry.published), sa.func.max(Entry.published)).where(visible(now))
    ).one()
    if first is None or last is None:
        return []
    years = range(local_time(last, zone).year, local_time(first, zone).year - 1, -1)
    begins: list[tuple[ColumnElement[bool], ColumnElement[int]]] = [
        (Entry.published >= local_bounds(zone, year)[0], sa.literal_column(str(year), sa.Integer))
        for year in years[:-1]
    ]
    earliest: ColumnElement[int] = sa.literal_column(str(years[-1]), sa.Integer)
    year_of = sa.case(*begins, else_=earliest) if begins else earliest
    counted = sa.select(year_of.label("year"), Entry.id).where(visible(now)).subquery()
    statement = sa.select(counted.c.year, sa.func.count()).group_by(counted.c.year).order_by(counted.c.year.desc())
    return [(int(year), count) for year, count in session.execute(statement)]


def list_slugs(session: Session, now: datetime, *, limit: int, offset: int) -> Sequence[tuple[str, datetime]]:
    """Return slug and last change of the visible entries, oldest first, for the sitemap.

    For its readers, an entry written before its publication changed when it was published.
    """
    columns = sa.select(Entry.slug, Entry.updated, Entry.published)
    statement = columns.where(visible(now)).order_by(Entry.published, Entry.id).limit(limit).offset(offset)
    return [(slug, max(updated, published or updated)) for slug, updated, published in session.execute(statement)]


def count_visible(session: Session, now: datetime) -> int:
    """Return the number of visible entries."""
    return session.scalar(sa.select(sa.func.count()).select_from(Entry).where(visible(now))) or 0
