"""The first reading of a WordPress export: the slugs, addresses and attachments of all posts, before any text."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.exports.index import ExportIndex
from multisite.content.exports.links import OldBlog
from multisite.content.exports.wordpress_menu import ITEM, OldMenus
from multisite.content.exports.wordpress_posts import Post, plain_text, read_number, read_post
from multisite.content.exports.wxr import WxrRecord, read_wxr
from multisite.content.page_paths import own_page_slug
from multisite.content.slugs import slugify
from multisite.language.local_time import local_time

__all__ = ["Survey", "survey"]

_MAX_AUTHORS = 100_000
_KINDS = {"category": "category", "post_tag": "tag"}
"""The domains of terms that become tags, by the first part of their addresses."""


@dataclass(slots=True)
class Survey:
    """The data about the blog from the first reading."""

    url: str = ""
    blog: OldBlog = field(default_factory=lambda: OldBlog(None, ()))
    authors: dict[str, str] = field(default_factory=dict)
    total: int = 0
    menus: OldMenus = field(default_factory=OldMenus)

    def source(self, number: int) -> str:
        """Return what identifies a post, in `Entry.source`: WordPress's own permanent address."""
        return f"{self.url}/?p={number}"


def survey(path: Path, index: ExportIndex, zone: ZoneInfo) -> Survey:
    """Read the whole export into `index`."""
    found = Survey()
    with closing(read_wxr(path)) as records:
        for record in records:
            if record.kind == "channel":
                _read_channel(record, found)
                index.prefix = f"{found.url}/?p="
            elif record.kind == "wp:author" and len(found.authors) < _MAX_AUTHORS:
                login = record.fields.get("wp:author_login", "")
                found.authors[login] = plain_text(record.fields.get("wp:author_display_name", "")) or login
            elif record.kind == "wp:category":
                fields = record.fields
                number = read_number(fields.get("wp:term_id"))
                found.menus.categories[number] = unquote(fields.get("wp:category_nicename", ""))
                parent = unquote(fields.get("wp:category_parent", ""))
                _add_tag(index, "category", fields.get("wp:category_nicename"), fields.get("wp:cat_name"), parent)
            elif record.kind == "item":
                found.total += 1
                _survey_item(record, found, index, zone)
    return found


def _read_channel(record: WxrRecord, found: Survey) -> None:
    fields = record.fields
    found.url = (fields.get("wp:base_blog_url") or fields.get("link") or "").rstrip("/")[:300]
    parts = urlsplit(found.url)
    host = parts.netloc.lower().removeprefix("www.")
    file_hosts = (f"{host.removesuffix('.wordpress.com')}.files.wordpress.com",)
    found.blog = OldBlog(host or None, ("/wp-content/uploads/",), parts.path, file_hosts)


def _add_tag(
    index: ExportIndex, domain: str, nicename: str | None, name: str | None, parent: str | None = None
) -> None:
    """Add a category or tag of the blog; one of a post, unless its parent is given."""
    slug = slugify(plain_text(name or "")) or slugify(unquote(nicename or ""))
    if nicename and slug and domain in _KINDS:
        index.add_tag(_KINDS[domain], unquote(nicename), slug, parent=parent or "", used=parent is None)


def _survey_item(record: WxrRecord, found: Survey, index: ExportIndex, zone: ZoneInfo) -> None:
    fields = record.fields
    if fields.get("wp:post_type") == "attachment":
        texts = (
            plain_text(fields.get("title", "")),
            plain_text(" ".join(record.meta.get("_wp_attachment_image_alt", ()))),
        )
        caption = plain_text(fields.get("excerpt:encoded", ""))
        number, parent = read_number(fields.get("wp:post_id")), read_number(fields.get("wp:post_parent"))
        index.add_attachment(number, parent, fields.get("wp:attachment_url", ""), *texts, caption)
        return
    if fields.get("wp:post_type") == ITEM:
        found.menus.add(record)
        return
    try:
        post = read_post(record, zone)
    except (InvalidArticle, NotAnEntry):
        return
    if post is None:
        return
    for domain, nicename, name in record.terms if not post.is_page else ():
        _add_tag(index, domain, nicename, name)
    day = _day(post.published, zone)
    wanted = _page_slug(post, found.blog) if post.is_page else post.slug
    slug = index.choose_slug(wanted, found.source(post.number), day, str(post.number))
    if post.draft:
        return  # Nobody had its address.
    if day is not None:
        index.add_day(day)
    index.add_address(f"?p={post.number}", slug)
    address = found.blog.address(post.link)
    if address is not None and address != "/" and not address.startswith("?"):
        index.add_address(address, slug)
        for old_slug in post.old_slugs:
            index.add_address(f"{address.rpartition('/')[0]}/{unquote(old_slug)}", slug)


def _page_slug(post: Post, blog: OldBlog) -> str:
    """Return the path of a page, which its link has; a draft has none. An address of the application is not free."""
    address = blog.address(post.link) or ""
    path = "" if address.startswith("?") else address.removeprefix(blog.path).strip("/")
    return own_page_slug(path or post.slug or f"page-{post.number}")


def _day(when: datetime | None, zone: ZoneInfo) -> date | None:
    return None if when is None else local_time(when, zone).date()
