"""Database queries of the pages. None of them mentions a site: the scoping layer adds that to each statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only, selectinload

from multisite.content.listing import visible
from multisite.content.models import Entry, Tag, entry_counts
from multisite.language.local_time import local_bounds

__all__ = ["adjacent_entries", "count_periods", "find_entry", "find_tag", "list_slugs", "newest_with_bodies", "year_of"]

_FOR_LINKS = load_only(Entry.slug, Entry.title, Entry.published)
_NEWEST_FIRST = (Entry.published.desc(), Entry.id.desc())


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
    # The entry is visible, so older ones are published too. SQLite looks for one upper limit only.
    published = sa.select(Entry).where(Entry.draft == sa.false()).options(_FOR_LINKS).limit(1)
    older = session.scalars(published.where(place < here).order_by(*_NEWEST_FIRST)).first()
    return newer, older


def find_tag(session: Session, slug: str) -> Tag | None:
    """Return the tag with `slug`, or None."""
    return session.scalars(sa.select(Tag).where(Tag.slug == slug)).one_or_none()


def count_periods(session: Session, now: datetime) -> Counter[str]:
    """Return the number of visible entries by period of `entry_counts`.

    The counts that triggers keep include entries with a future publication time, so these are subtracted. Their
    number is the only thing that the cost depends on.
    """
    table = entry_counts.c
    kept = session.execute(sa.select(table.period, table.entries).where(table.entries > 0))
    counts = Counter[str](dict(kept.all()))
    future = sa.select(Entry.published).where(Entry.draft == sa.false(), Entry.published > now)
    for published in session.scalars(future):
        assert published is not None  # noqa: S101 - It is later than now.
        text = _text(published)
        counts[text if text[5:10] in {"12-31", "01-01"} else text[:7]] -= 1
    return +counts


def year_of(period: str, zone: ZoneInfo) -> int:
    """Return the year of `zone` in which a period of `entry_counts` is."""
    year = int(period[:4])
    if len(period) == 7:
        return year
    begins, ends = _bounds(zone, year)
    return year - 1 if period < begins else year + 1 if period >= ends else year


@lru_cache(maxsize=1024)
def _bounds(zone: ZoneInfo, year: int) -> tuple[str, str]:
    try:
        begins, ends = local_bounds(zone, year)
    except ValueError:  # The first and the last year of the calendar.
        return "", "~"
    return _text(begins), _text(ends)


def _text(when: datetime) -> str:
    return when.replace(tzinfo=None).isoformat(" ", timespec="seconds")


def list_slugs(
    session: Session, now: datetime, between: tuple[datetime, datetime] | None = None, *, limit: int, offset: int = 0
) -> Sequence[tuple[str, datetime]]:
    """Return slug and last change of the visible entries, oldest first, for the sitemap; only of a period, if given.

    For its readers, an entry written before its publication changed when it was published.
    """
    statement = sa.select(Entry.slug, Entry.updated, Entry.published).where(visible(now))
    if between is not None:
        statement = statement.where(Entry.published >= between[0], Entry.published < between[1])
    statement = statement.order_by(Entry.published, Entry.id).limit(limit).offset(offset)
    return [(slug, max(updated, published or updated)) for slug, updated, published in session.execute(statement)]
