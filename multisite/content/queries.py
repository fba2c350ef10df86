"""Database queries of the pages. None of them mentions a site: the scoping layer adds that to each statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only
from sqlalchemy.orm.attributes import set_committed_value

from multisite.content.listing import select_tags, visible
from multisite.content.models import Entry, Tag, entry_counts
from multisite.language.local_time import local_bounds

__all__ = [
    "adjacent_entries",
    "count_months",
    "count_years",
    "find_entry",
    "find_page",
    "find_tag",
    "list_pages",
    "list_slugs",
    "newest_with_bodies",
]

_FOR_LINKS = load_only(Entry.slug, Entry.title, Entry.published)
_PUBLISHED_PAGES = (Entry.draft == sa.false(), Entry.published.is_(None))
"""Drafts have no date either. An index finds the pages by both columns."""

_NEWEST_FIRST = (Entry.published.desc(), Entry.id.desc())

_TAGS = select_tags(Tag)


def newest_with_bodies(session: Session, now: datetime, size: int) -> Sequence[Entry]:
    """Return the newest `size` visible entries with their texts and tags."""
    statement = sa.select(Entry).where(visible(now)).order_by(*_NEWEST_FIRST)
    return _with_tags(session, session.scalars(statement.limit(size)).all())


def find_entry(session: Session, now: datetime, slug: str) -> Entry | None:
    """Return the visible entry with `slug` and its tags, or None."""
    found = session.scalars(sa.select(Entry).where(Entry.slug == slug, visible(now))).one_or_none()
    return None if found is None else _with_tags(session, [found])[0]


def _with_tags(session: Session, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries with their tags, which `selectinload` would read as `select_tags` describes."""
    tags: dict[int, list[Tag]] = {entry.id: [] for entry in entries}
    for entry_id, tag in session.execute(_TAGS, {"ids": list(tags)}) if tags else ():
        tags[entry_id].append(tag)
    for entry in entries:
        set_committed_value(entry, "tags", tags[entry.id])
    return entries


def find_page(session: Session, slug: str) -> Entry | None:
    """Return the published page with `slug`, or None."""
    return session.scalars(sa.select(Entry).where(Entry.slug == slug, *_PUBLISHED_PAGES)).one_or_none()


def list_pages(session: Session, slugs: Sequence[str] | None = None) -> Sequence[Entry]:
    """Return the published pages by path, or those of `slugs`, with the columns that a link needs."""
    statement = sa.select(Entry).where(*_PUBLISHED_PAGES).order_by(Entry.slug)
    if slugs is not None:
        statement = statement.where(Entry.slug.in_(slugs))
    return session.scalars(statement.options(load_only(Entry.slug, Entry.title, Entry.updated))).all()


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


def count_months(session: Session, now: datetime) -> Counter[str]:
    """Return the number of visible entries by month of UTC, such as `2024-05`."""
    counts = _sums(session, 7)
    counts.subtract(period[:7] for period in _scheduled(session, now))
    return +counts


def count_years(session: Session, now: datetime, zone: ZoneInfo) -> Counter[int]:
    """Return the number of visible entries by year; years begin at midnight in `zone`."""
    counts = Counter({int(year): count for year, count in _sums(session, 4).items()})
    for period, count in _edges(session, list(counts), zone):
        counts[int(period[:4])] -= count
        counts[_year_of(period, zone)] += count
    counts.subtract(_year_of(period, zone) for period in _scheduled(session, now))
    return +counts


def _sums(session: Session, length: int) -> Counter[str]:
    """Return the numbers of `entry_counts` by the first characters of their periods, with scheduled entries."""
    beginning = sa.func.substr(entry_counts.c.period, 1, length)
    found = session.execute(sa.select(beginning, sa.func.sum(entry_counts.c.entries)).group_by(beginning))
    return Counter[str](dict(found.all()))


def _scheduled(session: Session, now: datetime) -> list[str]:
    """Return the periods of entries that will be published later, which `entry_counts` includes."""
    future = sa.select(Entry.published).where(Entry.draft == sa.false(), Entry.published > now)
    texts = [_text(published) for published in session.scalars(future) if published is not None]
    return [text if text[5:10] in {"12-31", "01-01"} else text[:7] for text in texts]


def _edges(session: Session, years: Sequence[int], zone: ZoneInfo) -> Sequence[tuple[str, int]]:
    """Return the periods, with their numbers, that may be in another year of `zone` than of UTC."""
    begins = {bound[5:] for year in years for bound in _bounds(zone, year) if bound} - {"01-01 00:00:00"}
    late = min((bound for bound in begins if bound > "12"), default=None)
    early = max((bound for bound in begins if bound < "12"), default=None)
    moment = sa.func.substr(entry_counts.c.period, 6)
    limits = [] if late is None else [moment >= late]
    if early is not None:
        limits.append(sa.and_(moment >= "01-01 00:00:00", moment < early))
    if not limits:
        return []
    found = session.execute(sa.select(entry_counts.c.period, entry_counts.c.entries).where(sa.or_(*limits)))
    return [(period, count) for period, count in found]


def _year_of(period: str, zone: ZoneInfo) -> int:
    year = int(period[:4])
    if len(period) == 7:
        return year
    begins, ends = _bounds(zone, year)
    return year - 1 if period < begins else year + 1 if ends and period >= ends else year


@lru_cache(maxsize=1024)
def _bounds(zone: ZoneInfo, year: int) -> tuple[str, str]:
    """Return the start and the end of a year as in `entry_counts`; empty at the edges of the calendar."""
    try:
        begins, ends = local_bounds(zone, year)
    except ValueError:
        return "", ""
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
