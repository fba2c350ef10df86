"""Parse a Markdown file of Jekyll, Hugo, Zola or Pelican into an `Article`.

Fields have the meaning that the file's own tool gives them. Everything here works on text, and raises `InvalidArticle`
with a readable reason, or `NotAnEntry` for a file that its own tool does not publish.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import PurePath
from typing import Any

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.imports.article import Article
from multisite.content.imports.dates import parse_date, parse_local_date
from multisite.content.imports.fields import (
    has_other_values,
    read_date,
    read_local_date,
    read_names,
    read_text_field,
    read_truth,
)
from multisite.content.imports.front_pictures import read_picture
from multisite.content.imports.metadata import Metadata, Notation, split_metadata
from multisite.content.imports.page_files import page_slug_of
from multisite.content.limits import MAX_TAGS, TITLE_LENGTH
from multisite.content.slugs import slugify

__all__ = ["Article", "InvalidArticle", "NotAnEntry", "parse_article", "parse_date"]

_UNLISTED = frozenset({"draft", "hidden", "skip"})
"""Statuses that Pelican does not list. Any other status is a word of the author's own."""

Relative = Callable[[PurePath], PurePath]

_POSTS = frozenset({"_posts", "_drafts"})
"""Jekyll's folders of posts. It ignores a post without a date."""

_DATED_NAME = re.compile(r"(\d{4}-\d{1,2}-\d{1,2})(?:T[\d:.]+(?:Z|[+-]\d{2}:\d{2})?)?[-_](.+)", re.ASCII)
_HEADING = re.compile(r"\s*#[ \t]+(\S.*?)[ \t]*#*[ \t]*(?:\n|$)")
_NO, _LINK = frozenset({"never", "false"}), frozenset({"never", "false", "link"})
_NESTED = ("taxonomies", "extra", "params")
"""Tables in which Zola and Hugo nest fields that others write at the top level."""

_NESTED_NAMES = frozenset(
    {"author", "authors", "categories", "date", "description", "lastmod", "summary", "tags", "title", "updated"}
)


def parse_article(
    text: str,
    path: PurePath,
    zone: tzinfo,
    relative: Relative | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Article:
    """Return the article in `text`, the content of the file `path`; dates without an offset are local time in `zone`.

    With `relative`, which returns the path below the folder of the blog, a file without a date becomes a page, and so
    does one with the layout or type `page`. Without it, and in a folder of posts, it is refused.

    `defaults` are fields that the file has unless it names them itself; a plain line of metadata has none.

    Without a slug in the front matter, the file name is used (the folder's name for `index.md`), and without a date the
    one at the beginning of the file name.

    Raises:
        InvalidArticle: The file cannot become an entry.
        NotAnEntry: The file's own tool would not create a page from it.
    """
    found = split_metadata(text.replace("\r\n", "\n").replace("\r", "\n"))
    fields = _flattened(_with_defaults(found, defaults or {}))
    _refuse_parts_of_pages(fields)
    file_date, file_slug = _from_name(path)
    slug = slugify(read_text_field(fields, "slug") or file_slug)
    if not slug:
        raise InvalidArticle(
            "no slug: neither the front matter nor the file name has a letter or digit to make one from"
        )
    expiry = read_date(fields, zone, "expirydate", "unpublishdate")
    draft = _is_draft(fields) or "_drafts" in path.parts or (expiry is not None and expiry <= datetime.now(UTC))
    written = _published(fields, zone, file_date)
    published = None if written is None else written.astimezone(UTC)
    is_page = (
        relative is not None
        and not _POSTS & set(path.parts)
        and (_is_page(fields) or (published is None and not draft))
    )
    if relative is not None and is_page:  # A home page has no title.
        slug = page_slug_of(relative(path), address=_address(fields), name=read_text_field(fields, "slug"))
    title, body, line = _title(fields, found, file_slug if file_date else None)
    if published is None and not draft and not is_page:
        raise InvalidArticle("no date, and it is not a draft")
    picture, picture_alt = read_picture(fields)
    return Article(
        slug=slug,
        title=title,
        body=body.strip("\n"),
        tags=() if is_page else read_names(fields, "tags", "tag"),
        published=None if is_page else published,
        written=written,
        updated=read_date(fields, zone, "updated", "lastmod", "modified", "last_modified_at"),
        summary=" ".join(read_text_field(fields, "summary", "description", "excerpt").split()) or None,
        draft=draft,
        categories=() if is_page else _categories(fields, found.notation),
        author=_author(fields),
        language=read_text_field(fields, "lang", "language").lower() or None,
        notation=found.notation,
        line=line,
        notes=_notes(fields, expiry, draft),
        written_slug=read_text_field(fields, "slug"),
        address=_address(fields),
        aliases=_aliases(fields),
        picture=picture,
        picture_alt=picture_alt,
    )


def _with_defaults(found: Metadata, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    if not defaults or found.notation == "lines":
        return found.fields
    # Hugo does not publish a page of a section that cascades `draft: true`, whatever the page says.
    kept = {"draft": defaults["draft"]} if read_truth(defaults, "draft") else {}
    return {**defaults, **found.fields, **kept}


def _flattened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Move the fields of Zola's `[extra]` and `[taxonomies]` and Hugo's `[params]` to the top level."""
    flat = dict(fields)
    for table in _NESTED:
        inner = fields.get(table)
        if isinstance(inner, Mapping):
            for name, value in inner.items():
                if str(name).lower() in _NESTED_NAMES:
                    flat.setdefault(str(name).lower(), value)
    return flat


def _refuse_parts_of_pages(fields: Mapping[str, Any]) -> None:
    """Reject what Hugo does not render: https://gohugo.io/content-management/build-options/."""
    if read_truth(fields, "headless"):
        raise NotAnEntry("a headless bundle, which Hugo does not render")
    if _build(fields, "render") in _LINK:
        raise NotAnEntry("its build options tell Hugo not to render it")


def _build(fields: Mapping[str, Any], name: str) -> str:
    options = fields.get("build", fields.get("_build"))
    return str(options.get(name, "")).lower() if isinstance(options, Mapping) else ""


def _title(fields: Mapping[str, Any], found: Metadata, dated_slug: str | None) -> tuple[str, str, int]:
    """Return the title, and the text and its first line, without the heading if that is the title.

    Without a title in the front matter, the heading at the beginning of the text is used (jekyll-titles-from-headings),
    or the file name, as in Jekyll.

    Raises:
        InvalidArticle: There is no title, or it is too long.
    """
    title = " ".join(read_text_field(fields, "title").split())
    body, line = found.body, found.line
    if not title and (heading := _HEADING.match(body)) is not None:
        title, body, line = heading[1], body[heading.end() :], line + body.count("\n", 0, heading.end())
    if not title and dated_slug is not None and found.notation == "yaml":
        title = " ".join(word.capitalize() for word in dated_slug.split("-") if word)
    if not title:
        raise InvalidArticle("no title")
    if len(title) > TITLE_LENGTH:
        raise InvalidArticle(f"the title has more than {TITLE_LENGTH} characters")
    return title, body, line + len(body) - len(body.lstrip("\n"))


def _published(fields: Mapping[str, Any], zone: tzinfo, file_date: str | None) -> datetime | None:
    """Return the time of publication in the time zone in which it is written."""
    # Hugo's names for one field: https://gohugo.io/configuration/front-matter/#dates.
    names = ("publishdate", "pubdate", *(("published",) if read_truth(fields, "published") is None else ()))
    embargo = read_local_date(fields, zone, *names)
    if embargo is not None and embargo > datetime.now(UTC):
        return embargo  # The page does not exist before, whatever its date.
    published = read_local_date(fields, zone, "date") or embargo
    if published is None and file_date is not None:
        published = parse_local_date(file_date, zone)
    return published or read_local_date(fields, zone, "lastmod", "modified")  # Hugo's order.


def _from_name(path: PurePath) -> tuple[str | None, str]:
    stem = path.stem if path.stem.lower() not in ("index", "readme") else path.parent.name
    match = _DATED_NAME.fullmatch(stem)
    return (match[1], match[2]) if match else (None, stem)


def _is_draft(fields: Mapping[str, Any]) -> bool:
    if read_text_field(fields, "status").lower() in _UNLISTED or _build(fields, "list") in _NO:
        return True
    draft, published = read_truth(fields, "draft"), read_truth(fields, "published")
    return draft is True or published is False


def _is_page(fields: Mapping[str, Any]) -> bool:
    """Return whether the author says that the file is a page, which may have a date: Jekyll's layout, Hugo's type."""
    return any(fields.get(name) == "page" for name in ("layout", "type"))


def _categories(fields: Mapping[str, Any], notation: Notation) -> tuple[str, ...]:
    """Return the categories: a list, words in YAML and TOML (Jekyll), or the single one of a Pelican line."""
    names = fields.get("categories")
    if isinstance(names, str) and notation != "lines":
        names = names.split("," if "," in names else None)
    found = read_names({"categories": names}, "categories", "category")
    single = read_text_field(fields, "category") if not isinstance(fields.get("category"), list) else ""
    return read_names({"categories": [*found, single]}, "categories", "category")


def _author(fields: Mapping[str, Any]) -> str | None:
    """Return the names of the authors, separated by commas; None if there are none."""
    value = fields.get("authors") or fields.get("author")
    names = value if isinstance(value, list) else [value]
    names = [name.get("name") if isinstance(name, Mapping) else name for name in names]
    text = ", ".join(" ".join(name.split()) for name in names if isinstance(name, str) and name.strip())
    return read_text_field({"author": text}, "author")[:TITLE_LENGTH] or None


def _address(fields: Mapping[str, Any]) -> str:
    """Return the address that the file names: Jekyll's `permalink`, Hugo's and Pelican's `url`, Zola's `path`."""
    for name in ("permalink", "url", "save_as", "path"):
        value = fields.get(name)
        # A URL is that of another page, as in blogs of links.
        if isinstance(value, str) and value.strip() and "://" not in value:
            return value.strip()
    return ""


def _aliases(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the further addresses: `aliases` of Hugo and Zola, jekyll-redirect-from, and those of jekyll-import."""
    found: list[str] = []
    for name in ("aliases", "redirect_from", "wordpress_url"):
        value = fields.get(name)
        found += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    if read_text_field(fields, "wordpress_id").isdecimal():
        found.append(f"/?p={read_text_field(fields, 'wordpress_id')}")
    return tuple(each.strip() for each in found[:MAX_TAGS] if each.strip())


def _notes(fields: Mapping[str, Any], expiry: datetime | None, draft: bool) -> tuple[str, ...]:
    notes = []
    if expiry is not None and not draft:
        notes.append(f"it stays after its expiry date {expiry:%Y-%m-%d}: entries do not expire")
    if _build(fields, "list") in _NO:
        notes.append("it is a draft, because Hugo does not list its page")
    notes += [f"{name} that are not text" for name in ("tags", "categories") if has_other_values(fields.get(name))]
    return tuple(notes)
