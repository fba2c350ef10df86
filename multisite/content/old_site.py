"""The site that files come from: its tool and configuration, and the addresses that its pages had.

The configuration is that of the folder which contains `content`, `_posts` or `_drafts`, or of an imported folder
itself. Python of Pelican is not run: values that are not written out in it are not known.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from multisite.content.article import Article
from multisite.content.errors import InvalidArticle
from multisite.content.files import read_text
from multisite.content.metadata import load_configuration
from multisite.content.permalinks import JEKYLL_STYLES, date_values, expand_braces, expand_colons, plain_slug
from multisite.core.site import Site

__all__ = ["OldSite", "find_old_site", "seen_from"]

Tool = Literal["jekyll", "hugo", "zola", "pelican"]

_FILES: tuple[tuple[str, Tool | None], ...] = (
    ("_config.yml", "jekyll"),
    ("_config.yaml", "jekyll"),
    ("_config.toml", "jekyll"),
    *(
        (f"{folder}hugo{suffix}", "hugo")
        for folder in ("", "config/_default/")
        for suffix in (".toml", ".yaml", ".json")
    ),
    *(
        (f"{folder}config{suffix}", None)
        for folder in ("", "config/_default/")
        for suffix in (".toml", ".yaml", ".json")
    ),
    ("pelicanconf.py", "pelican"),
)
"""The files of configuration, by their tool; Hugo and Zola both have a `config.toml`."""

_FEEDS: Mapping[Tool, tuple[str, ...]] = {
    "jekyll": ("/atom.xml", "/rss.xml"),
    "hugo": ("/index.xml",),
    "zola": ("/atom.xml", "/rss.xml"),
    "pelican": ("/feeds/all.atom.xml", "/feeds/all.rss.xml"),
}
_PELICAN_FEEDS = ("feed_atom", "feed_all_atom", "feed_rss", "feed_all_rss")
_MAX_PAGES = 100
_SAFE = "/:@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class OldSite:
    """A site made by `tool`, None if that is not known. `base` is the path of the site, such as `/blog`, or empty."""

    tool: Tool | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    root: Path = Path()
    base: str = ""

    def addresses(self, article: Article, path: PurePath, when: datetime | None) -> Iterator[str]:
        """Yield the addresses that an article had.

        Args:
            article: The article.
            path: The absolute path of its file, without the language in its name.
            when: Its date in the time zone of the site; None for an undated draft.
        """
        make = {"jekyll": self._jekyll, "hugo": self._hugo, "zola": self._hugo, "pelican": self._pelican}
        own = make[self.tool](article, path, when) if self.tool else _with_date(article.address, article, when)
        if article.address:
            # A colon or a brace without a known name is part of the address.
            own = own or f"/{article.address.lstrip('/')}"
            yield self.base + own
            if self.tool == "jekyll" and not PurePath(own).suffix and not own.endswith("/"):
                yield f"{self.base}{own}.html"  # The name of the file, which some servers add.
        elif own is not None:
            yield self.base + quote(own, safe=_SAFE)
        for alias in article.aliases:
            yield _path_of(alias) if "://" in alias else f"{self.base}/{alias.lstrip('/')}"

    def common_addresses(self, entries: int) -> Iterator[tuple[str, str]]:
        """Yield the addresses of feeds and lists, each with the path of the new one; `entries` is their number."""
        feeds = _FEEDS[self.tool] if self.tool else tuple(sorted({each for feeds in _FEEDS.values() for each in feeds}))
        configured = [self.config.get(name) for name in _PELICAN_FEEDS]
        for feed in (*feeds, *(f"/{each}" for each in configured if isinstance(each, str))):
            yield self.base + feed, "/feed.xml"
        for number in range(2, min(-(-entries // 10), _MAX_PAGES) + 1):
            for form in ("/index{}.html",) if self.tool == "pelican" else ("/page/{}", "/page{}"):
                yield self.base + form.format(number), f"/?page={number}"
        if self.tool == "hugo":
            yield f"{self.base}/categories/*", "/tags/*"
        if self.tool == "pelican":
            yield f"{self.base}/archives.html", "/archive"

    def tag_addresses(self, article: Article) -> Iterator[tuple[str, str]]:
        """Yield the addresses of the tags and categories of an article, each with the name, as Pelican makes them."""
        for kind, names in (("tag", article.tags), ("category", article.categories)) if self.tool == "pelican" else ():
            pattern = self.config.get(f"{kind}_save_as") or self.config.get(f"{kind}_url")
            pattern = pattern if isinstance(pattern, str) else f"{kind}/{{slug}}.html"
            for name in names:
                address = expand_braces(pattern, {"slug": plain_slug(name, ascii_only=True)}, None)
                if address is not None:
                    yield self.base + address, name

    def _jekyll(self, article: Article, path: PurePath, when: datetime | None) -> str | None:
        pattern = article.address or str(self.config.get("permalink") or "date")
        is_post = bool({"_posts", "_drafts"} & set(path.parts)) or path.name[:4].isdigit()
        if not is_post and not article.address:
            relative = self._below(path, self.root)
            if relative is None:
                return None
            is_pretty = pattern == "pretty" or pattern.endswith("/")
            return f"/{relative.with_suffix('')}{'/' if is_pretty else '.html'}"
        pattern = article.address or JEKYLL_STYLES.get(pattern, pattern)
        return _with_date(pattern, article, when, _dated(path.stem))

    def _hugo(self, article: Article, path: PurePath, when: datetime | None) -> str | None:
        if article.address and self.tool == "zola":
            return "/" + article.address.lstrip("/")
        if article.address:
            return _with_date(article.address, article, when)
        relative = self._below(path, self.root / "content")
        if relative is None:
            return None
        if relative.stem == "index":
            relative = relative.parent
        folders = [folder.lower().replace(" ", "-") for folder in relative.parts[:-1]]
        stem = relative.stem if path.stem != "index" else relative.name
        stem = _dated(stem) if self.tool == "zola" else stem
        name = article.written_slug or stem.replace(" ", "-")
        pattern = self._hugo_pattern(folders[0] if folders else "")
        if pattern is None:
            ending = ".html" if str(self.config.get("uglyurls")).lower() == "true" else "/"
            return "/" + "/".join([*folders, name.lower()]) + ending
        title = plain_slug(article.title)
        values = {
            "section": folders[0] if folders else "",
            "sections": "/".join(folders),
            "title": title,
            "slug": article.written_slug.lower() or title,
            **dict.fromkeys(("filename", "contentbasename"), stem.lower()),
            **dict.fromkeys(("slugorfilename", "slugorcontentbasename"), name.lower()),
        }
        return expand_colons(pattern, {**values, **(date_values(when) if when else {})})

    def _hugo_pattern(self, section: str) -> str | None:
        table = self.config.get("permalinks")
        if isinstance(table, Mapping) and isinstance(table.get("page"), Mapping):
            table = table["page"]
        found = table.get(section or "/") if isinstance(table, Mapping) else None
        return found if isinstance(found, str) else None

    def _pelican(self, article: Article, path: PurePath, when: datetime | None) -> str | None:
        kind = "page" if "pages" in path.parts else "article"
        pattern = article.address or self.config.get(f"{kind}_save_as") or self.config.get(f"{kind}_url")
        if not isinstance(pattern, str):
            pattern = "pages/{slug}.html" if kind == "page" else "{slug}.html"
        relative = self._below(path, self.root / "content")
        folder = relative.parts[0] if relative is not None and len(relative.parts) > 1 else "misc"
        values = {
            "slug": article.written_slug or plain_slug(article.title, ascii_only=True),
            "category": plain_slug(next(iter(article.categories), folder), ascii_only=True),
            "author": plain_slug(article.author or "", ascii_only=True),
            "lang": article.language or "",
        }
        return expand_braces(pattern, values, when)

    @staticmethod
    def _below(path: PurePath, folder: Path) -> PurePath | None:
        return path.relative_to(folder) if path.is_relative_to(folder) else None


def _with_date(pattern: str, article: Article, when: datetime | None, name: str = "") -> str | None:
    """Return a pattern of Jekyll, or an address as it is written, with its values; None if one is not known."""
    if not pattern:
        return None
    categories = [name.lower() for name in article.categories]
    title = article.written_slug or name or article.slug
    values = {
        "title": title,
        "slug": plain_slug(title),
        "name": plain_slug(title),
        "categories": "/".join(categories),
        "slugified_categories": "/".join(map(plain_slug, categories)),
        "output_ext": ".html",
    }
    return expand_colons(pattern, {**values, **(date_values(when) if when else {})})


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _dated(stem: str) -> str:
    """Return a file name without a date at its beginning."""
    parts = stem.split("-", 3)
    return parts[3] if len(parts) == 4 and all(part.isdecimal() for part in parts[:3]) else stem


def find_old_site(paths: Iterable[Path], on_problem: Callable[[Path, str], None]) -> OldSite | None:
    """Return the site that the files in `paths` come from, or None if there is no configuration.

    `on_problem(path, reason)` is called for a configuration that cannot be read.
    """
    for root in dict.fromkeys(root for path in paths for root in _roots(Path(path).absolute())):
        for name, tool in _FILES:
            file = root / name
            if not os.path.isfile(file):  # noqa: PTH113 (Path.is_file raises for a folder that cannot be read)
                continue
            try:
                config = _read(file)
            except InvalidArticle as error:
                reason = str(error).replace("the front matter", "the configuration")
                on_problem(file, f"the old addresses are not known: {reason}")
                return None
            if tool is None and "baseurl" not in config and "base_url" not in config:
                continue  # Of another program.
            return OldSite(tool or ("hugo" if "baseurl" in config else "zola"), config, root, _base(config))
    return None


def seen_from(site: Site, old_site: OldSite | None) -> OldSite:
    """Return `old_site` with addresses as they are below the path of `site`; one without a tool if it is None."""
    if old_site is None:
        return OldSite()
    return replace(old_site, base="") if old_site.base == site.path else old_site


def _roots(path: Path) -> Iterator[Path]:
    folder = path if path.is_dir() else path.parent
    yield folder
    for each in (folder, *folder.parents):
        if each.name in ("content", "_posts", "_drafts"):
            yield each.parent


def _read(file: Path) -> dict[str, Any]:
    text = read_text(file)
    if file.suffix != ".py":
        return load_configuration(text, file.suffix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About escape sequences, for example.
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidArticle("it is not Python") from None
    return {
        target.id.lower(): node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _base(config: Mapping[str, Any]) -> str:
    """Return the path in the URL of the site."""
    for name in ("baseurl", "base_url", "siteurl"):
        value = config.get(name)
        if isinstance(value, str) and value:
            try:
                path = urlsplit(value).path
            except ValueError:
                return ""
            return "/" + path.strip("/") if path.strip("/") else ""
    return ""
