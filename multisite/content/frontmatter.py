"""A Markdown file of Jekyll, Hugo or Pelican, read into an `Article`.

Three notations: YAML between `---` lines (Jekyll, Hugo), TOML between `+++` lines (Hugo), and `Key: value` lines up
to the first empty one (Pelican). Everything here works on text and raises `BadFile` with a reason for a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from pathlib import PurePath
from typing import Any

from multisite.content.bad_file import BadFile
from multisite.content.limits import MAX_TAGS, TITLE_LENGTH
from multisite.content.metadata import split_metadata
from multisite.content.slugs import slugify

__all__ = ["Article", "BadFile", "parse_article", "parse_date"]

_UNLISTED = frozenset({"draft", "hidden", "skip"})
"""What Pelican lists nowhere. Any other status is a word of the author's own."""

_MAX_NUMBER = 10**100
"""The largest number that is taken for a text: Python refuses to write one of 5,000 digits."""

_DATED_NAME = re.compile(r"(\d{4}-\d{1,2}-\d{1,2})[-_](.+)")
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")
_DATE = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
    r"(?:(?:[T\s]\s*)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
    r"\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Article:
    """What a file says. `published` is None only for drafts, `summary` and `updated` are None where it says nothing."""

    slug: str
    title: str
    body: str
    tags: tuple[str, ...]
    published: datetime | None
    updated: datetime | None
    summary: str | None
    draft: bool


def parse_article(text: str, path: PurePath, zone: tzinfo) -> Article:
    """Return the article in `text`, the content of the file `path`; dates without a zone are in `zone`.

    The file's name gives the slug where the front matter has none (the folder's name for `index.md`), and the date
    where it begins with one. Raises `BadFile`.
    """
    fields, body = split_metadata(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    file_date, file_slug = _from_name(path)
    title = " ".join(_text(fields, "title").split())
    if not title:
        raise BadFile("no title")
    if len(title) > TITLE_LENGTH:
        raise BadFile(f"the title has more than {TITLE_LENGTH} characters")
    slug = slugify(_text(fields, "slug") or file_slug)
    if not slug:
        raise BadFile("no slug: neither the front matter nor the file's name has a letter or digit to make one of")
    draft = _is_draft(fields) or "_drafts" in path.parts
    published = _date(fields, zone, "date", "publishdate", "pubdate")
    if published is None and _truth(fields, "published") is None:
        published = _date(fields, zone, "published")
    if published is None and file_date is not None:
        published = parse_date(file_date, zone)
    if published is None and not draft:
        raise BadFile("no date, and it is not a draft")
    return Article(
        slug=slug,
        title=title,
        body=body.strip("\n"),
        tags=_tags(fields),
        published=published,
        updated=_date(fields, zone, "updated", "lastmod", "modified", "last_modified_at"),
        summary=" ".join(_text(fields, "summary", "description", "excerpt").split()) or None,
        draft=draft,
    )


def parse_date(text: str, zone: tzinfo) -> datetime:
    """Return `text` (`2024-10-12`, `2024/5/1 9:30`, `2024-10-12T09:30:00+02:00`, …) in UTC; raises `BadFile`.

    Without an offset it is the time that clocks in `zone` show; without a time it is midnight there.
    """
    match = _DATE.fullmatch(text.strip())
    if match is None:
        raise BadFile(f"date {_shown(text)} is not like 2024-10-12, 2024-10-12 09:30 or 2024-10-12T09:30:00+02:00")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        clock = time(int(hour or 0), int(minute or 0), int(second or 0), int((fraction or "0").ljust(6, "0")[:6]))
        when = datetime.combine(date(int(year), int(month), int(day)), clock, _offset(offset) or zone)
        return when.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadFile(f"date {_shown(text)}: {error}") from None


def _offset(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text in ("Z", "z", "UTC", "GMT"):
        return UTC
    return datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo


def _from_name(path: PurePath) -> tuple[str | None, str]:
    stem = path.stem if path.stem.lower() not in ("index", "readme") else path.parent.name
    match = _DATED_NAME.fullmatch(stem)
    return (match[1], match[2]) if match else (None, stem)


def _text(fields: Mapping[str, Any], *names: str) -> str:
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


def _date(fields: Mapping[str, Any], zone: tzinfo, *names: str) -> datetime | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, (datetime, date)):
            value = value.isoformat()
        if text := _text({name: value}, name):
            return parse_date(text, zone)
    return None


def _is_draft(fields: Mapping[str, Any]) -> bool:
    if _text(fields, "status").lower() in _UNLISTED:
        return True
    draft, published = _truth(fields, "draft"), _truth(fields, "published")
    return draft is True or published is False


def _truth(fields: Mapping[str, Any], name: str) -> bool | None:
    value = fields.get(name)
    if isinstance(value, bool):
        return value
    text = _text(fields, name).lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    if not text or name == "published":  # some write the date there, which is read as that
        return None
    raise BadFile(f"{name} is {_shown(text)}: expected true or false")


def _tags(fields: Mapping[str, Any]) -> tuple[str, ...]:
    value = fields.get("tags")
    names = value if isinstance(value, list) else _tags_in_line(_text(fields, "tags"))
    if len(names) > MAX_TAGS:
        raise BadFile(f"more than {MAX_TAGS} tags")
    found: dict[str, str] = {}
    for name in names:
        text = " ".join(_text({"tags": name}, "tags").split())
        if len(text) > TITLE_LENGTH:
            raise BadFile(f"a tag has more than {TITLE_LENGTH} characters")
        slug = slugify(text)
        if text and not slug:
            raise BadFile(f"tag {_shown(text)} has no letter or digit")
        if text:
            found.setdefault(slug, text)
    return tuple(found.values())


def _tags_in_line(text: str) -> list[str]:
    """Split a line of tags at semicolons, as Pelican does, else at commas."""
    return text.split(";" if ";" in text else ",")


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 80 else text[:77] + "...")
