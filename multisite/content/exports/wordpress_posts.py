"""Interpret the items of a WordPress export: which of them are entries, and with which fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import unescape
from urllib.parse import unquote

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.exports.wxr import WxrRecord
from multisite.content.imports.fields import read_names
from multisite.content.limits import TITLE_LENGTH
from multisite.content.markup.cleaning import text_of
from multisite.content.markup.markdown import shorten
from multisite.content.slugs import slugify

__all__ = ["Post", "is_internal", "plain_text", "read_number", "read_post"]

_INTERNAL = frozenset({"customize_changeset", "oembed_cache", "revision", "user_request"})
"""Types of items that are no content."""

_DRAFTS = frozenset({"draft", "pending"})
_LEFT_OUT = {
    "auto-draft": "an automatic draft",
    "private": "private",
    "trash": "in the trash",
}
"""Statuses of posts that visitors of the old blog did not see, and which an entry must not publish."""


@dataclass(frozen=True, slots=True)
class Post:
    """A post or page of the blog, as its export describes it.

    `slug` may be empty, for a draft. `author` is a login. `published` is None only for drafts and pages. `content` is
    the text as the editor saved it, and begins in `content_line`. `old_slugs` are slugs that the post had before.
    """

    number: int
    line: int
    title: str
    slug: str
    link: str
    author: str
    content: str
    content_line: int
    excerpt: str
    published: datetime | None
    updated: datetime | None
    draft: bool
    is_page: bool
    tags: tuple[str, ...]
    old_slugs: tuple[str, ...]
    thumbnail: int | None
    footnotes: list[str]
    comments: int


def read_number(text: str | None) -> int:
    """Return the number in `text`; 0 if there is none."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text, re.ASCII) else 0


def plain_text(html: str) -> str:
    """Return the text in `html` as one line."""
    return " ".join(unescape(text_of(html, raw=True)).split())


def read_post(record: WxrRecord, zone: tzinfo) -> Post | None:
    """Return the post or page in an `item`; None if it is of a type that has no text for visitors.

    Dates without a time zone are local time in `zone`.

    Raises:
        InvalidArticle: The item cannot become an entry.
        NotAnEntry: It must not become an entry; the message is the reason.
    """
    fields = record.fields
    kind = fields.get("wp:post_type", "post")
    title = plain_text(fields.get("title", ""))
    is_page = kind == "page"
    if kind not in ("page", "post"):
        return None
    status = fields.get("wp:status", "publish")
    _check_status(status, fields, f"the {kind} '{shorten(title, 80)}'")
    number = read_number(fields.get("wp:post_id"))
    if not number:
        raise InvalidArticle("no wp:post_id")
    if record.too_long is not None:
        raise InvalidArticle(f"{record.too_long} is too long")
    published = None if is_page else _published(record, zone, status)
    if published is None and status not in _DRAFTS and not is_page:
        raise InvalidArticle("no date, and it is not a draft")
    return Post(
        number=number,
        line=record.line,
        title=title if len(title) <= TITLE_LENGTH else shorten(title, TITLE_LENGTH - 1),
        slug=slugify(unquote(fields.get("wp:post_name", ""))) or slugify(title),
        link=fields.get("link", ""),
        author=fields.get("dc:creator", ""),
        content=fields.get("content:encoded", "").replace("\r\n", "\n").replace("\r", "\n"),
        content_line=record.content_line or record.line,
        excerpt=plain_text(fields.get("excerpt:encoded", "")),
        published=published,
        updated=_utc(fields.get("wp:post_modified_gmt")),
        draft=status in _DRAFTS or (is_page and status == "future"),
        is_page=is_page,
        tags=() if is_page else _tags(record.terms),
        old_slugs=tuple(record.meta.get("_wp_old_slug", ())),
        thumbnail=read_number(next(iter(record.meta.get("_thumbnail_id", ())), None)) or None,
        footnotes=record.meta.get("footnotes", []),
        comments=record.comments,
    )


def is_internal(record: WxrRecord) -> bool:
    """Return whether an item is of a type that is no content, so that leaving it out is no loss."""
    return record.fields.get("wp:post_type") in _INTERNAL


def _check_status(status: str, fields: dict[str, str], name: str) -> None:
    if status in _LEFT_OUT:
        raise NotAnEntry(f"{name} is {_LEFT_OUT[status]}")
    if status not in ("publish", "future", *_DRAFTS):
        raise NotAnEntry(f"{name} has the status {status[:40]}, which is not known")
    if fields.get("wp:post_password"):
        raise NotAnEntry(f"{name} is protected by a password")


def _published(record: WxrRecord, zone: tzinfo, status: str) -> datetime | None:
    """Return the time of publication; None for a draft that has none yet."""
    when = _utc(record.fields.get("wp:post_date_gmt"))
    if when is None and status not in _DRAFTS:
        local = _read(record.fields.get("wp:post_date"))
        when = None if local is None else _to_utc(local.replace(tzinfo=zone))
    return when


def _utc(text: str | None) -> datetime | None:
    when = _read(text)
    return None if when is None else when.replace(tzinfo=UTC)


def _read(text: str | None) -> datetime | None:
    """Return a date of MySQL; None for `0000-00-00 00:00:00`, which is that of drafts, and for what is no date."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 (the caller knows the zone)
    except ValueError:
        return None


def _to_utc(when: datetime) -> datetime | None:
    try:
        return when.astimezone(UTC)
    except OverflowError:
        return None


def _tags(terms: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return the names of the categories and tags; of one without letters and digits, the nicename."""
    names = []
    for domain, nicename, name in terms:
        if domain in ("category", "post_tag"):
            text = shorten(" ".join(unescape(name).split()), TITLE_LENGTH - 1)
            names.append(text if slugify(text) else unquote(nicename))
    return read_names({"tags": [name for name in names if slugify(name)]}, "tags", "tag")
