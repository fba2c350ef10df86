"""Expand the permalink patterns of Jekyll, Hugo and Pelican.

Jekyll: https://jekyllrb.com/docs/permalinks/. Hugo: https://gohugo.io/configuration/permalinks/. Pelican:
https://docs.getpelican.com/en/stable/settings.html#url-settings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime

__all__ = ["JEKYLL_STYLES", "date_values", "expand_braces", "expand_colons", "plain_slug", "title_slug"]

JEKYLL_STYLES = {
    "date": "/:categories/:year/:month/:day/:title:output_ext",
    "pretty": "/:categories/:year/:month/:day/:title/",
    "ordinal": "/:categories/:year/:y_day/:title:output_ext",
    "weekdate": "/:categories/:year/W:week/:short_day/:title:output_ext",
    "none": "/:categories/:title:output_ext",
}
"""The patterns of Jekyll with a name."""

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_COLON = re.compile(r":([a-z][a-z_]*)")
_BRACES = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_NOT_IN_TITLE = re.compile(r"[^\w.~!$&'()+,;=@\u0300-\u036f]+")
_DIRECTIVE = re.compile(r"%(-?[A-Za-z])")


def date_values(when: datetime) -> dict[str, str]:
    """Return the parts of a date by their names in Jekyll and Hugo; names are English, whatever the locale."""
    month, day = _MONTHS[when.month - 1], _DAYS[when.weekday()]
    year_day = when.timetuple().tm_yday
    return {
        "year": f"{when.year:04}",
        "short_year": f"{when.year % 100:02}",
        "month": f"{when.month:02}",
        "i_month": str(when.month),
        "short_month": month[:3],
        "long_month": month,
        "monthname": month.lower(),
        "day": f"{when.day:02}",
        "i_day": str(when.day),
        "short_day": day[:3],
        "long_day": day,
        "weekday": str((when.weekday() + 1) % 7),
        "weekdayname": day.lower(),
        "y_day": f"{year_day:03}",
        "yearday": str(year_day),
        "week": f"{when.isocalendar().week:02}",
        "hour": f"{when.hour:02}",
        "minute": f"{when.minute:02}",
        "second": f"{when.second:02}",
    }


def expand_colons(pattern: str, values: Mapping[str, str]) -> str | None:
    """Return `pattern` with `:name` replaced, without empty segments; None if there is no value of a name."""
    unknown = False

    def value(match: re.Match[str]) -> str:
        nonlocal unknown
        # In `:year_:month`, the name ends before the line.
        name = match[1] if match[1] in values else match[1].rstrip("_")
        unknown = unknown or name not in values
        return values.get(name, "") + match[1][len(name) :]

    expanded = re.sub("/{2,}", "/", "/" + _COLON.sub(value, pattern))
    return None if unknown else expanded


def expand_braces(pattern: str, values: Mapping[str, str], when: datetime | None) -> str | None:
    """Return `pattern` with `{name}` and `{date:%Y}` replaced; None if there is no value of a name."""
    parts = {} if when is None else _directives(when)
    unknown = False

    def directive(match: re.Match[str]) -> str:
        nonlocal unknown
        unknown = unknown or match[1] not in parts
        return parts.get(match[1], "")

    def value(match: re.Match[str]) -> str:
        nonlocal unknown
        if match[1] == "date" and match[2]:
            return _DIRECTIVE.sub(directive, match[2])
        unknown = unknown or match[1] not in values
        return values.get(match[1], "")

    expanded = _BRACES.sub(value, pattern)
    return None if unknown else "/" + expanded.lstrip("/")


def _directives(when: datetime) -> dict[str, str]:
    values = date_values(when)
    names = {
        "Y": "year", "y": "short_year", "m": "month", "-m": "i_month", "b": "short_month", "B": "long_month",
        "d": "day", "-d": "i_day", "j": "y_day", "H": "hour", "M": "minute", "S": "second",
    }  # fmt: skip
    return {directive: values[name] for directive, name in names.items()}


def plain_slug(text: str, *, ascii_only: bool = False) -> str:
    """Return a slug as Hugo makes it, which drops punctuation; with `ascii_only` as Pelican does."""
    if ascii_only:
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    kept = "".join(c for c in text if c.isalnum() or c in "-_ \t\n" or unicodedata.category(c) in ("Mn", "Mc"))
    return re.sub(r"[-\s]+", "-", kept).strip("-").lower()


def title_slug(text: str) -> str:
    """Return the `:title` of an address as Jekyll makes it, which keeps upper case and much punctuation."""
    return _NOT_IN_TITLE.sub("-", text).strip("-")
