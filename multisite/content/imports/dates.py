"""Dates as written in blogs, in English, parsed like Jekyll (Ruby's Time.parse), Hugo and Pelican (dateutil)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from multisite.content.errors import InvalidArticle, quote_value

__all__ = ["parse_date", "parse_local_date"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"  # noqa: E501
_TIME = r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,9}))?)?(?:\s*([ap])\.?m\b\.?)?"
_ZONE = r"(?:(?:UTC|GMT)?[+-]\d{2}(?::?\d{2})?|[A-Z]{1,5})"
_DAY = (
    r"(?:(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})|(\d{4})(\d{2})(\d{2})|(\d{1,2})/(\d{1,2})/(\d{4})"
    rf"|(?:[a-z]{{3,9}},?\s+)?(?:(\d{{1,2}})(?:st|nd|rd|th|\.)?[\s-]\s*({_MONTH})|({_MONTH})\s+(\d{{1,2}})(?:st|nd|rd|th)?)"
    r",?[\s-]\s*(\d{4}))"
)
_DATE = re.compile(
    rf"{_DAY}(?:(?:T|,?\s)\s*(?:at\s+)?{_TIME}(?:\s*({_ZONE}))?|\s+({_ZONE}))?", re.ASCII | re.IGNORECASE
)
_YEAR_LAST = re.compile(
    rf"(?:[a-z]{{3,9}},?\s+)?({_MONTH}\s+\d{{1,2}})\s+([\d:.]+)(\s+{_ZONE})?\s+(\d{{4}})", re.ASCII | re.IGNORECASE
)
"""The notation of the Unix command `date`: `Fri Dec 21 10:00:00 CST 2018`."""

_UNIX = re.compile(r"\d{9,10}", re.ASCII)
"""Seconds since 1970, which Hugo reads."""

_NAME_AFTER_OFFSET = re.compile(r"(?<=[+-]\d{4})\s+(?:[A-Z]{1,5}|[+-]\d{2,4})$", re.ASCII)
"""The name of the time zone in Go's notation: `2018-12-21 10:00:00 +0100 CET`."""

_COMMENT = re.compile(r"\s*\([^()]*\)$")

_ZONES = {"Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "MET": 1, "CEST": 2, "MEST": 2}
_ZONES |= {"EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9}
_ZONES |= {"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8}
_ZONES |= {"AKDT": -8, "AKST": -9, "HST": -10, "AWST": 8, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13}
"""Hours east of Greenwich for the names in RFC 2822 section 4.3 and the common ones of Ruby's Time.parse."""


def parse_date(text: str, zone: tzinfo) -> datetime:
    """Return `text` in UTC, as `parse_local_date` reads it."""
    return parse_local_date(text, zone).astimezone(UTC)


def parse_local_date(text: str, zone: tzinfo) -> datetime:
    """Return `text` (`2024-10-12`, `2024/5/1 9:30`, `March 3, 2015`, an RFC 2822 date, …) in its own time zone.

    A time without an offset is local time in `zone`. A date without a time is midnight in `zone`, even with an offset,
    as in Ruby's Time.parse.

    Raises:
        InvalidArticle: `text` is not a date.
    """
    if _UNIX.fullmatch(text.strip()):
        return datetime.fromtimestamp(int(text), UTC)
    match = _DATE.fullmatch(_rewritten(text)) if len(text) < 100 else None
    if match is None:
        raise InvalidArticle(
            f"date {quote_value(text)} is not like 2024-10-12, 2024-10-12 09:30 or 2024-10-12T09:30:00+02:00"
        )
    hour, minute, second, fraction, half, named_zone, _ = match.groups()[-7:]
    try:
        day, number = _day(match), _hour(hour, half)
        if number == 24 and not int(minute or 0) and not int(second or 0):  # The end of the day, as in ISO 8601.
            day, number = day + timedelta(days=1), 0
        clock = time(number, int(minute or 0), int(second or 0), int((fraction or "0").ljust(6, "0")[:6]))
        found = datetime.combine(day, clock, _offset(named_zone) or zone)
        found.astimezone(UTC)  # Raises for a time that is in the year 0 or 10,000 there.
    except (ValueError, OverflowError) as error:
        raise InvalidArticle(f"date {quote_value(text)}: {error}") from None
    return found


def _rewritten(text: str) -> str:
    """Return the date without a comment in parentheses or a second time zone, and with the year before the time."""
    text = _NAME_AFTER_OFFSET.sub("", _COMMENT.sub("", text.strip()))
    parts = _YEAR_LAST.fullmatch(text)
    return text if parts is None else f"{parts[1]} {parts[4]} {parts[2]}{parts[3] or ''}"


def _day(match: re.Match[str]) -> date:
    year, month, day, year2, month2, day2, one, other, year4, day3, month3, month4, day4, year3 = match.groups()[:14]
    if one is not None:
        return _day_of_slashes(int(one), int(other), int(year4))
    name = month3 or month4
    number = _MONTHS.index(name[:3].lower()) + 1 if name else int(month or month2)
    return date(int(year or year2 or year3), number, int(day or day2 or day3 or day4))


def _day_of_slashes(one: int, other: int, year: int) -> date:
    """Return the day of `21/12/2018` or `12/21/2018`; Jekyll reads the day first, Pelican the month."""
    if one <= 12 and other <= 12 and one != other:
        raise ValueError("the day or the month may be first: write it like 2018-12-21")
    return date(year, min(one, other), max(one, other))


def _hour(hour: str | None, half: str | None) -> int:
    if half is None:
        return int(hour or 0)
    if not 1 <= int(hour or 0) <= 12:
        raise ValueError("hour must be in 1..12 with AM and PM")
    return int(hour or 0) % 12 + (12 if half.lower() == "p" else 0)


def _offset(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text.upper() in _ZONES:
        return timezone(timedelta(hours=_ZONES[text.upper()]))
    sign = re.search("[+-]", text)
    if sign is None:
        raise ValueError(f"unknown time zone {text}")
    return datetime.fromisoformat(f"2000-01-01T00:00:00{text[sign.start() :]}").tzinfo
