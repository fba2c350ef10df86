"""Dates and numbers as the readers of a site expect them.

All of it is computed from the site's locale and time zone: the process-wide `locale` and `TZ` are never touched, so
two sites of one process, or two threads, cannot disturb each other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal

from multisite.site import Site

__all__ = ["Formats", "formats_for", "zone_of"]

_STYLES = frozenset({"short", "medium", "long", "full"})


def zone_of(site: Site) -> ZoneInfo:
    """Return the time zone of `site`; UTC where the machine's database does not have it."""
    try:
        return ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _locale_of(site: Site) -> Locale:
    for tag in (site.locale, site.locale.replace("_", "-").partition("-")[0], "en"):
        try:
            return Locale.parse(tag.replace("-", "_"))
        except (UnknownLocaleError, ValueError):
            continue
    raise UnknownLocaleError("en")  # pragma: no cover: Babel without English


class Formats:
    """What turns points in time and numbers into text for one site."""

    def __init__(self, site: Site) -> None:
        self._locale = _locale_of(site)
        self._zone = zone_of(site)

    @property
    def direction(self) -> str:
        """`ltr` or `rtl`, for the attribute `dir`."""
        return str(self._locale.text_direction)

    def local(self, when: datetime) -> datetime:
        """Return the aware `when` in the site's time zone; years outside of 1 to 9999 stay in UTC."""
        try:
            return when.astimezone(self._zone)
        except OverflowError:
            return when.astimezone(UTC)

    def format_date(self, when: datetime, style: str = "long") -> str:
        """Return the day of the aware `when`. `style`: short, medium, long, full, or a CLDR pattern (`MMMM y`)."""
        local = self.local(when)
        if style in _STYLES:
            return str(format_date(local, style, locale=self._locale))
        return str(format_datetime(local, style, locale=self._locale))

    def iso_date(self, when: datetime) -> str:
        """Return the aware `when` for the attribute `datetime` of `<time>`, with the site's offset."""
        return self.local(when).isoformat(timespec="seconds")

    def format_number(self, number: float) -> str:
        """Return `number` with the separators of the locale."""
        return str(format_decimal(number, locale=self._locale))

    def year_bounds(self, year: int) -> tuple[datetime, datetime]:
        """Return when `year` begins and ends (exclusive) by the site's clocks, in UTC.

        Raises `ValueError` for a year that has no such moments: the edges of the calendar, 1 and 9999.
        """
        try:
            start, end = (datetime(y, 1, 1, tzinfo=self._zone).astimezone(UTC) for y in (year, year + 1))
        except OverflowError:
            raise ValueError(f"year {year} is out of range") from None
        return start, end


@lru_cache(maxsize=1024)
def formats_for(site: Site) -> Formats:
    """Return the `Formats` of `site`, kept for the sites used last: parsing a locale costs more than a page's dates."""
    return Formats(site)
