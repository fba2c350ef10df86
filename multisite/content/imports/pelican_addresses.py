"""The addresses of Pelican: https://docs.getpelican.com/en/stable/settings.html#url-settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from multisite.content.imports.article import Article
from multisite.content.imports.pelican_slugs import pelican_slug
from multisite.content.imports.permalinks import expand_braces

__all__ = ["UNKNOWN_ADDRESS", "article_address", "author_address", "list_addresses"]

UNKNOWN_ADDRESS = "its old address is not known: Pelican made it from the title, in a way that cannot be repeated here"

Config = Mapping[str, Any]
"""Pelican's settings, with names in lower case."""


def article_address(article: Article, config: Config, path: PurePath, folder: str, when: datetime | None) -> str | None:
    """Return the address of an article or page, None if it cannot be known.

    Args:
        article: The article.
        config: Pelican's settings.
        path: The path of its file.
        folder: The category of articles without one.
        when: Its date in the time zone of the old site.
    """
    kind = "page" if "pages" in path.parts else "article"
    pattern = article.address or config.get(f"{kind}_save_as") or config.get(f"{kind}_url")
    default = "pages/{slug}" if kind == "page" else "{slug}"
    if not isinstance(pattern, str):
        pattern = f"{default}.html"
    if not article.address and article.language not in (None, config.get("default_lang", "en")):
        pattern = config.get(f"{kind}_lang_save_as") or config.get(f"{kind}_lang_url")
        pattern = pattern if isinstance(pattern, str) else f"{default}-{{lang}}.html"
    source = path.stem if config.get("slugify_source") == "basename" else article.title
    parts = {
        "slug": article.written_slug or pelican_slug(source, config, kind),
        "category": pelican_slug(next(iter(article.categories), folder), config, "category"),
        "author": pelican_slug(article.author, config, "author") if article.author else "",
        "lang": article.language or "",
    }
    return expand_braces(pattern, {name: part for name, part in parts.items() if part is not None}, when)


def list_addresses(article: Article, config: Config) -> Iterator[tuple[str, str]]:
    """Yield the addresses of the lists of an article's tags and categories, each with the name."""
    for kind, names in (("tag", article.tags), ("category", article.categories)):
        for name in names:
            if (address := _list_address(kind, name, config)) is not None:
                yield address, name


def author_address(author: str, config: Config) -> str | None:
    """Return the address of the list of an author's articles, None if there is none or it cannot be known."""
    return _list_address("author", author, config)


def _list_address(kind: str, name: str, config: Config) -> str | None:
    if config.get(f"{kind}_save_as") == "":  # Pelican makes no such list.
        return None
    pattern = config.get(f"{kind}_save_as") or config.get(f"{kind}_url")
    slug = pelican_slug(name, config, kind)
    if slug is None:
        return None
    return expand_braces(pattern if isinstance(pattern, str) else f"{kind}/{{slug}}.html", {"slug": slug}, None)
