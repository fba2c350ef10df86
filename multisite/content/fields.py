"""Read single fields of a front matter: as a text, a date, a truth, a list of names. Raises `BadFile` for others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, tzinfo
from typing import Any

from multisite.content.bad_file import BadFile
from multisite.content.dates import parse_date
from multisite.content.limits import MAX_TAGS, TITLE_LENGTH
from multisite.content.slugs import slugify

__all__ = ["read_date", "read_names", "read_text_field", "read_truth"]

_MAX_NUMBER = 10**100
"""The largest number that is taken for a text: Python refuses to write one of 5,000 digits."""

_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")


def read_text_field(fields: Mapping[str, Any], *names: str) -> str:
    """Return the first of `names` that says something, as text; empty where none does."""
    for name in names:
        value = fields.get(name)
        if value is None or value in ("", "~", "null"):
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int, float, date, time)):
            raise BadFile(f"{name} is not a text")
        if isinstance(value, int) and abs(value) > _MAX_NUMBER:
            raise BadFile(f"{name} is a number of more than 100 digits")
        return _clean(name, str(value)).strip()
    return ""


def _clean(name: str, text: str) -> str:
    # A lone surrogate or a NUL, which YAML can spell as an escape, would end the whole batch in the database.
    if _NO_TEXT.search(text):
        raise BadFile(f"{name} holds characters that no text has")
    return text


def read_date(fields: Mapping[str, Any], zone: tzinfo, *names: str) -> datetime | None:
    """Return the first of `names` that is there, in UTC; without an offset it is by the clocks in `zone`."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, (datetime, date)):
            value = value.isoformat()
        if text := read_text_field({name: value}, name):
            return parse_date(text, zone)
    return None


def read_truth(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return whether `name` is true; None where it is not there, or is a date in `published`."""
    value = fields.get(name)
    if isinstance(value, bool):
        return value
    text = read_text_field(fields, name).lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    if not text or name == "published":  # some write the date there, which is read as that
        return None
    raise BadFile(f"{name} is {_shown(text)}: expected true or false")


def read_names(fields: Mapping[str, Any], name: str, thing: str) -> tuple[str, ...]:
    """Return a list of names, such as tags: a list, or a line with semicolons, else commas, between them.

    Of names with one slug the first is returned. `thing` is what a message calls one of them.
    """
    value = fields.get(name)
    names = value if isinstance(value, list) else _split(read_text_field(fields, name))
    if len(names) > MAX_TAGS:
        raise BadFile(f"more than {MAX_TAGS} {name}")
    found: dict[str, str] = {}
    for each in names:
        text = " ".join(read_text_field({name: each}, name).split())
        if len(text) > TITLE_LENGTH:
            raise BadFile(f"a {thing} has more than {TITLE_LENGTH} characters")
        slug = slugify(text)
        if text and not slug:
            raise BadFile(f"{thing} {_shown(text)} has no letter or digit")
        if text:
            found.setdefault(slug, text)
    return tuple(found.values())


def _split(text: str) -> list[str]:
    return text.split(";" if ";" in text else ",")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
