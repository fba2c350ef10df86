"""Time by the clocks of a site: its zone, its days, months and years.

All of it is computed from `site.timezone`: the process-wide `TZ` is never looked at.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from multisite.site import Site

__all__ = ["local_bounds", "local_time", "zone_of"]

log = logging.getLogger(__name__)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # What `multisite set` refuses; or a machine whose database of zones is older than this one.
        log.exception("there is no time zone '%s' on this machine: its sites have their times in UTC", name)
        return ZoneInfo("UTC")


def zone_of(site: Site) -> ZoneInfo:
    """Return the time zone of `site`; UTC, with a line in the log, where the machine's database does not have it."""
    return _zone(site.timezone)


def local_time(when: datetime, zone: ZoneInfo) -> datetime:
    """Return the aware `when` as the clocks of `zone` show it; years outside of 1 to 9999 stay in UTC.

    Raises `ValueError` for a naive one: whose clock it was read from nobody could know, and a guess would be wrong by
    hours on some sites and right on others.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone: give it the one it was written in, as in .replace(tzinfo=UTC)")
    try:
        return when.astimezone(zone)
    except OverflowError:
        return when.astimezone(UTC)


def local_bounds(
    zone: ZoneInfo, year: int, month: int | None = None, day: int | None = None
) -> tuple[datetime, datetime]:
    """Return when a year, a month or a day begins by the clocks of `zone`, and when it ends (exclusive), in UTC.

    Each ends where the next begins, also where the clocks change at midnight; a day that a zone has left out ends where
    it begins. Where the clock strikes midnight twice, the day begins the first time. Raises `ValueError` for what is
    not in the calendar, and for its edges: the years 1 and 9999 have no such moments in all zones.
    """
    if day is not None and month is None:
        raise ValueError("a day is of a month")
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
    """Return the moment, in UTC, from which on it is `day` in `zone`."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    found = midnight.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return found
    # The clocks jump over midnight: read by the clocks after the jump it is too early, by those before it too late or
    # just right, and the jump is between the two. (It begins before midnight in some, as in Toronto in 1919.)
    early, late = int(midnight.replace(fold=1).timestamp()), int(found.timestamp())
    after = found.astimezone(zone).utcoffset()
    while late - early > 1:
        middle = (early + late) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == after:
            late = middle
        else:
            early = middle
    return datetime.fromtimestamp(late, UTC)
