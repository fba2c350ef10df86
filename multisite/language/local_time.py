"""Convert times to the time zone of a site, and find where its days, months and years begin.

Everything is computed from `site.timezone`. The process-wide `TZ` is never used.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from multisite.core.site import Site

__all__ = ["local_bounds", "local_time", "zone_of"]

log = logging.getLogger(__name__)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # `multisite set` rejects unknown zones, but this machine may have an older time zone database.
        log.exception("unknown time zone '%s' on this machine: using UTC for its sites", name)
        return ZoneInfo("UTC")


def zone_of(site: Site) -> ZoneInfo:
    """Return the time zone of `site`; UTC, with a log line, if the machine's database does not have it."""
    return _zone(site.timezone)


def local_time(when: datetime, zone: tzinfo) -> datetime:
    """Convert an aware datetime to `zone`.

    Returns:
        The same time in `zone`, or in UTC if its year in `zone` is not within 1 to 9999.

    Raises:
        ValueError: `when` is naive. Its time zone is unknown, and a guess would be hours off on some sites.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone: add the one that it was written in, as in .replace(tzinfo=UTC)")
    try:
        return when.astimezone(zone)
    except OverflowError:
        return when.astimezone(UTC)


def local_bounds(
    zone: ZoneInfo, year: int, month: int | None = None, day: int | None = None
) -> tuple[datetime, datetime]:
    """Return the start and the end (exclusive) of a year, month or day in `zone`, in UTC.

    Each period ends where the next one starts, even if the clocks change at midnight. A day that a zone has skipped is
    empty. A day on which midnight occurs twice starts at the first one.

    Raises:
        ValueError: The date does not exist, or is at the edge of the calendar: in the years 1 and 9999, the bounds
            cannot be represented in all zones.
    """
    if day is not None and month is None:
        raise ValueError("a day needs a month")
    first = date(year, month or 1, day or 1)
    try:
        if day is not None:
            following = first + timedelta(days=1)
        elif month is not None:
            following = date(year + month // 12, month % 12 + 1, 1)
        else:
            following = date(year + 1, 1, 1)
        return _beginning(first, zone), _beginning(following, zone)
    except OverflowError:
        raise ValueError(f"{first.isoformat()} is at the edge of the calendar") from None


def _beginning(day: date, zone: ZoneInfo) -> datetime:
    """Return the start of `day` in `zone`, in UTC."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    found = midnight.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return found
    # The clocks skip midnight. With the offset after the transition, midnight is too early; with the offset before it,
    # too late or exact. The transition is in between. (It may start before midnight, as in Toronto in 1919.)
    early, late = int(midnight.replace(fold=1).timestamp()), int(found.timestamp())
    after = found.astimezone(zone).utcoffset()
    while late - early > 1:
        middle = (early + late) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == after:
            late = middle
        else:
            early = middle
    return datetime.fromtimestamp(late, UTC)
