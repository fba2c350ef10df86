"""Interpret Ghost's export: its posts with their tags, authors and other data.

Source of the format: https://docs.ghost.org/migration/custom
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from multisite.content.errors import InvalidArticle, InvalidExport, NotAnEntry
from multisite.content.exports.documents import post_html
from multisite.content.exports.wordpress_posts import plain_text
from multisite.content.imports.fields import read_date, read_names, read_text_field
from multisite.content.imports.files import open_file, printable
from multisite.content.limits import TITLE_LENGTH
from multisite.content.markup.markdown import shorten
from multisite.content.page_paths import own_page_slug
from multisite.content.slugs import slugify

__all__ = ["MAX_EXPORT_BYTES", "GhostPost", "Row", "Tables", "read_ghost", "read_post"]

MAX_EXPORT_BYTES = 200_000_000
"""Limit in bytes: JSON is held in memory as a whole, which takes a few times its size."""

Row = Mapping[str, Any]

_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class GhostPost:
    """A post or page of the blog.

    `published` is None only for drafts and pages; `image` is the URL of the feature image. `permalink_parts` are those
    of its address, by the names in `routes.yaml`.
    """

    source: str
    number: str
    title: str
    slug: str
    html: str
    has_replaced_characters: bool
    image: str
    image_alt: str
    image_caption: str
    published: datetime | None
    updated: datetime | None
    draft: bool
    summary: str | None
    tags: tuple[str, ...]
    tag_slugs: tuple[tuple[str, str], ...]
    author: str | None
    permalink_parts: Mapping[str, str]
    lost: tuple[str, ...]


@dataclass(slots=True)
class Tables:
    """The tables of an export that the import uses."""

    posts: list[Row] = field(default_factory=list)
    meta: dict[str, Row] = field(default_factory=dict)
    tags: dict[str, list[Row]] = field(default_factory=dict)
    authors: dict[str, list[Row]] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)
    zone: ZoneInfo | None = None
    """The time zone of the blog, None if it is not known."""


def read_ghost(path: Path) -> Tables:
    """Return the tables of the export `path`. Raises `InvalidExport`, with the place, if it is not one."""
    name = printable(path)
    try:
        document = json.loads(_read_text(path, name))
    except json.JSONDecodeError as error:
        reason = "the file is cut off here: export it again" if not error.doc[error.pos :].strip() else error.msg
        raise InvalidExport(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {reason}") from None
    except (RecursionError, ValueError) as error:  # Of nesting, or of a number with thousands of digits.
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidExport(f"{name}:1: not valid JSON: {reason}") from None
    data = _data(document)
    if data is None or not isinstance(data.get("posts"), list):
        raise InvalidExport(f"{name}:1: not an export of Ghost: it has no data with posts")
    return _tables(data)


def _read_text(path: Path, name: str) -> str:
    try:
        with open_file(path) as file:
            content = file.read(MAX_EXPORT_BYTES + 1)
    except (InvalidArticle, OSError) as error:
        raise InvalidExport(f"{name}: {error}") from None
    if len(content) > MAX_EXPORT_BYTES:
        raise InvalidExport(f"{name}: longer than {MAX_EXPORT_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise InvalidExport(f"{name}:{line}:{column}: not UTF-8: byte 0x{content[error.start]:02x}") from None


def _data(document: Any) -> Row | None:
    """Return the tables of `document`, which may be in a list named `db`."""
    databases = document.get("db") if isinstance(document, dict) else None
    if isinstance(databases, list) and databases:
        document = databases[0]
    data = document.get("data") if isinstance(document, dict) else None
    return data if isinstance(data, dict) else None


def _tables(data: Row) -> Tables:
    tags = {_key(row, "id"): row for row in _rows(data, "tags")}
    users = {_key(row, "id"): row for row in _rows(data, "users")}
    found = Tables(
        posts=_rows(data, "posts"),
        meta={_key(row, "post_id"): row for row in _rows(data, "posts_meta")},
        users=users,
        zone=_zone(data),
    )
    for row in sorted(_rows(data, "posts_tags"), key=_order):
        if tag := tags.get(_key(row, "tag_id")):
            found.tags.setdefault(_key(row, "post_id"), []).append(tag)
    for row in sorted(_rows(data, "posts_authors"), key=_order):
        if user := users.get(_key(row, "author_id")):
            found.authors.setdefault(_key(row, "post_id"), []).append(user)
    return found


def _rows(data: Row, table: str) -> list[Row]:
    rows = data.get(table)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _key(row: Row, name: str) -> str:
    value = row.get(name)
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""


def _order(row: Row) -> int:
    value = row.get("sort_order")
    return value if isinstance(value, int) else 0


def read_post(row: Row, tables: Tables) -> GhostPost:
    """Return the post or page in `row`.

    Raises:
        InvalidArticle: The post cannot become an entry.
        NotAnEntry: It must not become an entry; the message is the reason.
    """
    title = " ".join(read_text_field(row, "title").split())
    status = read_text_field(row, "status") or "draft"
    _check_kind(row, title, status)
    number = _key(row, "id")
    if not number:
        raise InvalidArticle("no id")
    is_page = _is_page(row)
    published = None if is_page else _date(row, "published_at")
    if published is None and status != "draft" and not is_page:
        raise InvalidArticle("no date, and it is not a draft")
    if is_page:
        slug = own_page_slug(read_text_field(row, "slug") or title or f"page-{number}")
    else:
        slug = slugify(read_text_field(row, "slug")) or slugify(title)
    all_tags = [] if is_page else tables.tags.get(number, [])
    tags = [tag for tag in all_tags if not read_text_field(tag, "name").startswith("#")]
    names = [shorten(read_text_field(tag, "name"), TITLE_LENGTH - 1) for tag in tags]
    meta = tables.meta.get(number, {})
    lost = list(_lost(row))
    html = post_html(row, lost.append)
    return GhostPost(
        source=f"urn:uuid:{read_text_field(row, 'uuid') or number}"[:200],
        number=number,
        title=title if len(title) <= TITLE_LENGTH else shorten(title, TITLE_LENGTH - 1),
        slug=slug,
        html=_NO_TEXT.sub(" ", html),
        has_replaced_characters=_NO_TEXT.search(html) is not None,
        image=read_text_field(row, "feature_image", "image"),
        image_alt=read_text_field(meta, "feature_image_alt"),
        image_caption=read_text_field(meta, "feature_image_caption"),
        published=published if status != "draft" else None,
        updated=_date(row, "updated_at"),
        draft=status == "draft" or (is_page and status == "scheduled"),
        summary=" ".join(read_text_field(row, "custom_excerpt", "meta_description").split()) or None,
        tags=read_names({"tags": [name for name in names if slugify(name)]}, "tags", "tag"),
        tag_slugs=tuple((read_text_field(tag, "slug"), read_text_field(tag, "name")) for tag in tags),
        author=_author(row, tables.authors.get(number, []), tables.users),
        permalink_parts=_permalink_parts(row, number, tags, tables),
        lost=tuple(lost),
    )


def _permalink_parts(row: Row, number: str, tags: list[Row], tables: Tables) -> dict[str, str]:
    authors = tables.authors.get(number) or [tables.users.get(_key(row, "author_id"), {})]
    author = read_text_field(authors[0], "slug")
    tag = read_text_field(tags[0], "slug") if tags else "all"
    slug = read_text_field(row, "slug")
    return {"id": number, "slug": slug, "author": author, "primary_author": author, "primary_tag": tag}


def _zone(data: Row) -> ZoneInfo | None:
    names = ("timezone", "active_timezone", "activeTimezone")
    found = next((row.get("value") for row in _rows(data, "settings") if row.get("key") in names), None)
    try:
        return ZoneInfo(found) if isinstance(found, str) and found else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _is_page(row: Row) -> bool:
    return read_text_field(row, "type") == "page" or row.get("page") in (1, True)


def _check_kind(row: Row, title: str, status: str) -> None:
    name = f"'{shorten(title, 80)}'"
    if status not in ("draft", "published", "scheduled"):
        reason = "was sent as a newsletter only" if status == "sent" else f"has the status {status[:40]}"
        raise NotAnEntry(f"the post {name} {reason}")
    visibility = read_text_field(row, "visibility") or "public"
    if visibility != "public" and status != "draft":
        raise NotAnEntry(f"the post {name} is not public: its visibility is {visibility[:40]}")


def _date(row: Row, name: str) -> datetime | None:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):  # Milliseconds, in exports before Ghost 1.0.
        try:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
        except OverflowError:
            raise InvalidArticle(f"{name} is not a date") from None
    return read_date(row, UTC, name)


def _author(row: Row, authors: list[Row], users: Mapping[str, Row]) -> str | None:
    if not authors and (user := users.get(_key(row, "author_id"))):
        authors = [user]
    names = (" ".join(read_text_field(user, "name").split()) for user in authors)
    return ", ".join(filter(None, names))[:TITLE_LENGTH] or None


def _lost(row: Row) -> Iterator[str]:
    """Yield the data of a post that an entry cannot have."""
    visibility = read_text_field(row, "visibility") or "public"
    if visibility != "public":  # Of a draft: others are skipped.
        yield f"its visibility {visibility[:40]}: once it is published, everybody can read it"
    if read_text_field(row, "canonical_url"):
        yield f"canonical URL {read_text_field(row, 'canonical_url')[:200]}"
    for name in ("codeinjection_head", "codeinjection_foot"):
        if plain_text(read_text_field(row, name)) or "<" in read_text_field(row, name):
            yield name
