"""Format dates, numbers and money for a language and a time zone, with Babel.

The process-wide `locale` and `TZ` are never changed, so sites and threads do not affect each other. Babel is imported
when something is first formatted.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from multisite.core import program
from multisite.errors import MultisiteError
from multisite.language.local_time import local_time

if TYPE_CHECKING:
    from babel import Locale

__all__ = ["Formats", "formats_for"]

_STYLES = frozenset({"short", "medium", "long", "full"})


class Formats:
    """Formats dates, times and numbers for one language and one time zone.

    A `style` is `short`, `medium`, `long` or `full`, or a CLDR pattern (`MMMM y`). Datetimes must be aware: a naive one
    raises `ValueError`.
    """

    def __init__(self, language: str, zone: ZoneInfo, currency: str | None = None) -> None:
        """Initialize the formats.

        Args:
            language: A BCP 47 tag.
            zone: The time zone.
            currency: The default currency of `money` (ISO 4217), or None.
        """
        self.language = language
        self.zone = zone
        self.currency = currency

    @cached_property
    def locale(self) -> Locale:
        """The `babel.Locale` of the language; without its region if Babel does not know that, or else English."""
        from babel import Locale, UnknownLocaleError

        tag = self.language.replace("_", "-")
        for each in (tag, tag.partition("-")[0]):
            try:
                return Locale.parse(each, sep="-")
            except (UnknownLocaleError, ValueError):
                continue
        return Locale("en")

    @property
    def direction(self) -> str:
        """The text direction, `ltr` or `rtl`, for the HTML attribute `dir`."""
        return str(self.locale.text_direction)

    def local(self, when: dt.datetime) -> dt.datetime:
        """Convert a datetime to the time zone."""
        return local_time(when, self.zone)

    def date(self, when: dt.date, style: str = "long") -> str:
        """Format the date of a datetime in the time zone, or a plain date."""
        day = self.local(when) if isinstance(when, dt.datetime) else when
        if style in _STYLES:
            return _formatted_day(self, day.date() if isinstance(day, dt.datetime) else day, style)
        from babel.dates import format_datetime

        if not isinstance(day, dt.datetime):
            day = dt.datetime.combine(day, dt.time(), self.zone)
        return str(format_datetime(day, style, locale=self.locale))

    def time(self, when: dt.datetime, style: str = "short") -> str:
        """Format the time of a datetime."""
        from babel.dates import format_time

        return str(format_time(self.local(when), style, locale=self.locale))

    def datetime(self, when: dt.datetime, style: str = "long") -> str:
        """Format the date and the time of a datetime."""
        from babel.dates import format_datetime

        return str(format_datetime(self.local(when), style, locale=self.locale))

    def iso(self, when: dt.datetime) -> str:
        """Return a datetime in ISO 8601 with the offset of the time zone, for the attribute `datetime` of `<time>`."""
        return self.local(when).isoformat(timespec="seconds")

    def number(self, number: float | Decimal, pattern: str | None = None) -> str:
        """Format a number; `pattern` is a CLDR pattern such as `#,##0.00`."""
        from babel.numbers import format_decimal

        return str(format_decimal(number, pattern, locale=self.locale))

    def percent(self, share: float | Decimal) -> str:
        """Format `share` as a percentage; 1 is 100 %."""
        from babel.numbers import format_percent

        return str(format_percent(share, locale=self.locale))

    def money(self, amount: float | Decimal, currency: str | None = None) -> str:
        """Format an amount, rounded according to the currency (ISO 4217; None: the default of the site).

        Returns:
            The amount with the symbol of its currency, as is usual in the language.

        Raises:
            MultisiteError: There is no currency.
        """
        from babel.numbers import format_currency

        code = currency or self.currency
        if code is None:
            raise MultisiteError(
                "no currency for this amount: pass one, as in format.money(amount, 'EUR'), or set that of the site: "
                f"{program.command('set HOST currency=EUR')}"
            )
        return str(format_currency(amount, code, locale=self.locale))


@lru_cache(maxsize=4096)
def _formatted_day(formats: Formats, day: dt.date, style: str) -> str:
    """Return `day` in one of the `_STYLES`; cached, because lists show the same days to every visitor."""
    from babel.dates import format_date

    return str(format_date(day, style, locale=formats.locale))


@lru_cache(maxsize=1024)
def formats_for(language: str, zone: ZoneInfo, currency: str | None = None) -> Formats:
    """Return the `Formats` for these arguments, cached because parsing a locale costs more than the dates of a page."""
    return Formats(language, zone, currency)
