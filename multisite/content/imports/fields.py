"""Read fields of the front matter: text, dates, booleans, lists of names. Raises `InvalidArticle` for other values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

from multisite.content.errors import InvalidArticle, quote_value
from multisite.content.imports.dates import parse_local_date
from multisite.content.limits import MAX_TAGS, TITLE_LENGTH
from multisite.content.slugs import slugify

__all__ = ["has_other_values", "read_date", "read_local_date", "read_names", "read_text_field", "read_truth"]

_MAX_NUMBER = 10**100
"""Numbers above this are not converted to text: Python refuses to convert one with 5,000 digits."""

_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")


def read_text_field(fields: Mapping[str, Any], *names: str) -> str:
    """Return the first non-empty field of `names` as text, or an empty string."""
    for name in names:
        value = fields.get(name)
        if value is None or value in ("", "~", "null"):
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int, float, date, time)):
            raise InvalidArticle(f"{name} is not text")
        if isinstance(value, int) and abs(value) > _MAX_NUMBER:
            raise InvalidArticle(f"{name} is a number of more than 100 digits")
        return _clean(name, str(value)).strip()
    return ""


def _clean(name: str, text: str) -> str:
    # YAML escapes can contain lone surrogates and NUL, for which the database would reject the whole batch.
    if _NO_TEXT.search(text):
        raise InvalidArticle(f"{name} contains characters that are not allowed in text")
    return text


def read_date(fields: Mapping[str, Any], zone: tzinfo, *names: str) -> datetime | None:
    """Return the first existing field of `names` in UTC; without an offset it is local time in `zone`."""
    found = read_local_date(fields, zone, *names)
    return None if found is None else found.astimezone(UTC)


def read_local_date(fields: Mapping[str, Any], zone: tzinfo, *names: str) -> datetime | None:
    """Return the first existing field of `names` in its own time zone, which is `zone` without an offset."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, (datetime, date)):
            value = value.isoformat()
        if text := read_text_field({name: value}, name):
            return parse_local_date(text, zone)
    return None


def read_truth(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return whether `name` is true; None if it does not exist, or if it is `published` with a date."""
    value = fields.get(name)
    if isinstance(value, bool):
        return value
    text = read_text_field(fields, name).lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    if not text or name == "published":  # Some authors write the date there, which is read elsewhere.
        return None
    raise InvalidArticle(f"{name} is {quote_value(text)}: expected true or false")


def read_names(fields: Mapping[str, Any], name: str, thing: str) -> tuple[str, ...]:
    """Return a list of names, such as tags: a list, or a line separated by semicolons or else commas.

    Of names with the same slug, the first is returned. Tables and lists in a list are ignored. `thing` is the word for
    one of the names in messages.

    Raises:
        InvalidArticle: There are too many names, or one is too long or has no letter or digit.
    """
    value = fields.get(name)
    names = value if isinstance(value, list) else _split(read_text_field(fields, name))
    names = [each for each in names if not isinstance(each, (Mapping, list))]
    if len(names) > MAX_TAGS:
        raise InvalidArticle(f"more than {MAX_TAGS} {name}")
    found: dict[str, str] = {}
    for each in names:
        text = " ".join(read_text_field({name: each}, name).split())
        if len(text) > TITLE_LENGTH:
            raise InvalidArticle(f"a {thing} has more than {TITLE_LENGTH} characters")
        slug = slugify(text)
        if text and not slug:
            raise InvalidArticle(f"{thing} {quote_value(text)} has no letter or digit")
        if text:
            found.setdefault(slug, text)
    return tuple(found.values())


def has_other_values(value: Any) -> bool:
    """Return whether a list has values that `read_names` ignores."""
    return isinstance(value, list) and any(isinstance(each, (Mapping, list)) for each in value)


def _split(text: str) -> list[str]:
    return text.split(";" if ";" in text else ",")
