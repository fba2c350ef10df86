"""Dates, numbers and money as the readers of a site expect them, by Babel.

All of it is computed from a locale and a time zone: the process-wide `locale` and `TZ` are never touched, so two sites
of one process, or two threads, cannot disturb each other. Babel is imported when something is first formatted.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from multisite import program
from multisite.errors import MultisiteError
from multisite.local_time import local_time

if TYPE_CHECKING:
    from babel import Locale

__all__ = ["Formats", "formats_for"]

_STYLES = frozenset({"short", "medium", "long", "full"})


class Formats:
    """What turns moments and numbers into text, in one language and by the clocks of one zone.

    A `style` is `short`, `medium`, `long` or `full`, or a pattern of CLDR (`MMMM y`). A moment is an aware datetime: a
    naive one raises `ValueError`.
    """

    def __init__(self, language: str, zone: ZoneInfo, currency: str | None = None) -> None:
        """`language` is a BCP 47 tag, `currency` what `money` is in unless told otherwise (ISO 4217), None for none."""
        self.language = language
        self.zone = zone
        self.currency = currency

    @cached_property
    def locale(self) -> Locale:
        """The `babel.Locale`; that of the language where the region is not known, else English."""
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
        """`ltr` or `rtl`, for the attribute `dir`."""
        return str(self.locale.text_direction)

    def local(self, when: dt.datetime) -> dt.datetime:
        """Return the moment `when` as the clocks of the zone show it."""
        return local_time(when, self.zone)

    def date(self, when: dt.date, style: str = "long") -> str:
        """Return the day of a moment by the clocks of the zone, or a plain date as it is."""
        from babel.dates import format_date, format_datetime

        day = self.local(when) if isinstance(when, dt.datetime) else when
        if style in _STYLES:
            return str(format_date(day, style, locale=self.locale))
        if not isinstance(day, dt.datetime):
            day = dt.datetime.combine(day, dt.time(), self.zone)
        return str(format_datetime(day, style, locale=self.locale))

    def time(self, when: dt.datetime, style: str = "short") -> str:
        """Return the time of day of a moment."""
        from babel.dates import format_time

        return str(format_time(self.local(when), style, locale=self.locale))

    def datetime(self, when: dt.datetime, style: str = "long") -> str:
        """Return day and time of day of a moment."""
        from babel.dates import format_datetime

        return str(format_datetime(self.local(when), style, locale=self.locale))

    def iso(self, when: dt.datetime) -> str:
        """Return a moment for the attribute `datetime` of `<time>`, with the offset of the zone."""
        return self.local(when).isoformat(timespec="seconds")

    def number(self, number: float | Decimal, pattern: str | None = None) -> str:
        """Return `number` with the separators of the language; `pattern` is one of CLDR, such as `#,##0.00`."""
        from babel.numbers import format_decimal

        return str(format_decimal(number, pattern, locale=self.locale))

    def percent(self, share: float | Decimal) -> str:
        """Return `share`, where 1 is all of it, in percent."""
        from babel.numbers import format_percent

        return str(format_percent(share, locale=self.locale))

    def money(self, amount: float | Decimal, currency: str | None = None) -> str:
        """Return `amount` of `currency` (ISO 4217, None for that of the site), rounded as that currency is.

        Raises `MultisiteError` if there is none.
        """
        from babel.numbers import format_currency

        code = currency or self.currency
        if code is None:
            raise MultisiteError(
                "money is in some currency: name it, as in format.money(amount, 'EUR'), or give the site one: "
                f"{program.command('set HOST currency=EUR')}"
            )
        return str(format_currency(amount, code, locale=self.locale))


@lru_cache(maxsize=1024)
def formats_for(language: str, zone: ZoneInfo, currency: str | None = None) -> Formats:
    """Return the `Formats`, kept for those used last: parsing a locale costs more than the dates of a page."""
    return Formats(language, zone, currency)
