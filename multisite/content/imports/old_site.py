"""The site that files come from: its tool and configuration, and the addresses that its pages had."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path, PurePath
from posixpath import normpath
from typing import Any, Literal
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from multisite.content.imports.article import Article
from multisite.content.imports.pelican_addresses import article_address, author_address, list_addresses
from multisite.content.imports.permalinks import JEKYLL_STYLES, date_values, expand_colons, plain_slug, title_slug
from multisite.core.site import Site

__all__ = ["OldSite", "Tool", "bare_host", "seen_from"]

Tool = Literal["jekyll", "hugo", "zola", "pelican"]
"""A tool whose configuration is understood."""

_FEEDS: Mapping[Tool, tuple[str, ...]] = {
    "jekyll": ("/atom.xml", "/rss.xml"),
    "hugo": ("/index.xml",),
    "zola": ("/atom.xml", "/rss.xml"),
    "pelican": ("/feeds/all.atom.xml", "/feeds/all.rss.xml"),
}
_PELICAN_FEEDS = ("feed_atom", "feed_all_atom", "feed_rss", "feed_all_rss")
_MAX_PAGES = 100
_ZOLA_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-]\d{2}:\d{2})?)?[-_]")
_SAFE = "/:@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class OldSite:
    """A site made by `tool`, None if that is not known.

    `base` is the path of the site, such as `/blog`, or empty; `host` is its host without `www.`, empty if unknown.
    """

    tool: Tool | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    root: Path = Path()
    base: str = ""
    host: str = ""

    def addresses(
        self, article: Article, path: PurePath, when: datetime | None, file: PurePath | None = None
    ) -> Iterator[str]:
        """Yield the addresses that an article had.

        Args:
            article: The article.
            path: The absolute path of its file, without the language in its name.
            when: Its date in the time zone of the old site; None for an undated draft.
            file: The absolute path of its file, with the language.
        """
        make = {"jekyll": self._jekyll, "hugo": self._hugo, "zola": self._hugo, "pelican": self._pelican}
        if self.tool == "hugo":
            when = article.written or when  # Hugo uses the offset of the date itself.
        own = make[self.tool](article, path, when) if self.tool else _with_date(article.address, article, when)
        if article.address:
            # A colon or a brace without a known name is part of the address.
            own = own or f"/{article.address.lstrip('/')}"
            yield self.base + own
            if self.tool == "jekyll" and not PurePath(own).suffix and not own.endswith("/"):
                yield f"{self.base}{own}.html"  # The name of the file, which some servers add.
        elif own is not None:
            own = (self.language_prefix(file) if file is not None else "") + own
            yield self.base + quote(own, safe=_SAFE)
        for alias in article.aliases:
            if "://" in alias:
                yield _path_of(alias)
            elif self.tool == "hugo" and own and not alias.startswith(("/", "?")):
                # It is relative to the folder of the page.
                yield self.base + normpath(f"{own.rstrip('/').rpartition('/')[0]}/{alias}")
            else:
                yield f"{self.base}/{alias.lstrip('/')}"

    def zone(self, default: tzinfo) -> tzinfo:
        """Return the time zone of dates without an offset: that of the configuration, or `default`."""
        name = self.config.get("timezone")
        try:
            return ZoneInfo(name) if isinstance(name, str) and name else default
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return default

    def language_folders(self) -> dict[Path, str]:
        """Return the folders of Hugo's languages with a content folder of their own, each with its language."""
        languages = self.config.get("languages")
        if self.tool != "hugo" or not isinstance(languages, Mapping):
            return {}
        found = {}
        for code, options in languages.items():
            folder = (
                next((options[name] for name in ("contentDir", "contentdir") if name in options), None)
                if isinstance(options, Mapping)
                else None
            )
            if isinstance(folder, str) and isinstance(code, str):
                found[Path(normpath(self.root / folder))] = code
        return found

    def language_prefix(self, path: PurePath) -> str:
        """Return what the addresses of a file begin with in the language of its name or folder: `/de`, or nothing."""
        languages = self.config.get("languages")
        if self.tool != "hugo" or not isinstance(languages, Mapping):
            return ""
        folders = self.language_folders().items()
        code = next((code for folder, code in folders if path.is_relative_to(folder)), PurePath(path.stem).suffix[1:])
        default = str(self.config.get("defaultcontentlanguage") or "en")
        is_below = str(self.config.get("defaultcontentlanguageinsubdir")).lower() == "true"
        code = code if code in languages else default
        return f"/{code.lower()}" if code != default or is_below else ""

    def reason_to_skip(self, path: Path) -> str | None:
        """Return why the tool makes no page of the file `path`, which is absolute; None if it does."""
        if self.tool != "jekyll" or not path.is_relative_to(self.root):
            return None
        options = self.config.get("collections")
        included = self.config.get("include")
        for part in path.relative_to(self.root).parts[:-1]:
            name = part[1:]
            if not part.startswith("_") or name in ("posts", "drafts", "pages"):
                continue
            if isinstance(included, list) and part in included:
                continue
            if isinstance(options, list) and name in options:
                return f"of the collection {name}, which Jekyll does not render"
            if not isinstance(options, Mapping) or name not in options:
                return f"in the folder {part}, which Jekyll does not render"
            collection = options[name]
            if not isinstance(collection, Mapping) or str(collection.get("output")).lower() != "true":
                return f"of the collection {name}, which Jekyll does not render"
        return None

    def content_folders(self) -> list[Path]:
        """Return the folders of texts of Hugo, Zola or Pelican: that of the blog if they have none of their own.

        The list is empty for other tools.
        """
        if self.tool in (None, "jekyll"):
            return []
        name = self.config.get({"hugo": "contentdir", "pelican": "path"}.get(str(self.tool), ""))
        folder = self.root / (name if isinstance(name, str) and name else "content")
        has_mounts = self.tool == "hugo" and "module" in self.config
        own = folder if folder.is_dir() and not has_mounts else self.root
        return [Path(normpath(own)), *self.language_folders()]

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

    def list_addresses(self, article: Article) -> Iterator[tuple[str, str]]:
        """Yield the addresses of the lists that an article was in, each with the name of the tag or category."""
        for address, name in list_addresses(article, self.config) if self.tool == "pelican" else ():
            yield self.base + address, name

    def author_address(self, author: str | None) -> str | None:
        """Return the address of the list of an author's articles; None if there was none."""
        address = author_address(author, self.config) if self.tool == "pelican" and author else None
        return None if address is None else self.base + address

    def _jekyll(self, article: Article, path: PurePath, when: datetime | None) -> str | None:
        pattern = article.address or str(self.config.get("permalink") or "date")
        is_post = bool({"_posts", "_drafts"} & set(path.parts)) or path.name[:4].isdigit()
        if not is_post and not article.address:
            relative = self._below(path, self.root)
            if relative is None:
                return None
            collection = relative.parts[0][1:] if relative.parts[0].startswith("_") else ""
            if collection:
                return self._collection(collection, article, relative, when)
            is_pretty = pattern == "pretty" or pattern.endswith("/")
            return f"/{relative.with_suffix('')}{'/' if is_pretty else '.html'}"
        pattern = article.address or JEKYLL_STYLES.get(pattern, pattern)
        return _with_date(pattern, article, when, _dated(path.stem))

    def _collection(self, name: str, article: Article, relative: PurePath, when: datetime | None) -> str | None:
        """Return the address of a document of a collection: https://jekyllrb.com/docs/permalinks/#collections."""
        options = self.config.get("collections")
        options = options.get(name) if isinstance(options, Mapping) else None
        pattern = options.get("permalink") if isinstance(options, Mapping) else None
        pattern = pattern if isinstance(pattern, str) else "/:collection/:path:output_ext"
        path = PurePath(*relative.parts[1:]).with_suffix("").as_posix()
        for word, value in (("collection", name), ("path", path), ("name", relative.stem)):
            pattern = pattern.replace(f":{word}", value)
        return _with_date(pattern, article, when, relative.stem)

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
        stem = relative.stem if path.stem != "index" else relative.name
        if self.tool == "zola":
            return self._zola(relative.parts[:-1], article.written_slug or _ZOLA_DATE.sub("", stem))
        folders = [folder.lower().replace(" ", "-") for folder in relative.parts[:-1]]
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

    def _zola(self, folders: Sequence[str], name: str) -> str:
        """Return the address of a page: https://www.getzola.org/documentation/getting-started/configuration/."""
        options = self.config.get("slugify")
        kind = options.get("paths") if isinstance(options, Mapping) else "on"
        parts = [*folders, name]
        if kind not in ("safe", "off"):
            parts = [plain_slug(part.replace("_", "-").replace(".", "-"), ascii_only=True) for part in parts]
        return f"/{'/'.join(parts)}/"

    def _hugo_pattern(self, section: str) -> str | None:
        table = self.config.get("permalinks")
        if isinstance(table, Mapping) and isinstance(table.get("page"), Mapping):
            table = table["page"]
        found = table.get(section or "/") if isinstance(table, Mapping) else None
        return found if isinstance(found, str) else None

    def _pelican(self, article: Article, path: PurePath, when: datetime | None) -> str | None:
        folder_name = self.config.get("path")
        relative = self._below(path, self.root / (folder_name if isinstance(folder_name, str) else "content"))
        folder = relative.parts[0] if relative is not None and len(relative.parts) > 1 else "misc"
        return article_address(article, self.config, path, folder, when)

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
        "title": title_slug(title),
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


def bare_host(netloc: str) -> str:
    """Return the host in a URL's network location, in lower case and without `www.`."""
    return netloc.rpartition("@")[2].lower().removeprefix("www.")


def seen_from(site: Site, old_site: OldSite | None) -> OldSite:
    """Return `old_site` with addresses as they are below the path of `site`; one without a tool if it is None."""
    if old_site is None:
        return OldSite()
    return replace(old_site, base="") if old_site.base == site.path else old_site
