"""Links to the old site by its domain: the entry, or the file, that an absolute URL of it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from functools import cached_property
from urllib.parse import unquote, urlsplit

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.imports.entry_links import EntryLinks, File
from multisite.content.imports.old_site import OldSite, bare_host
from multisite.content.markup.links import OldAddress
from multisite.language.local_time import local_time

__all__ = ["OldDomain"]


class OldDomain:
    """Finds what absolute URLs of `site` stand for.

    Args:
        site: The site that the files come from, with its own base.
        files: The files of the import.
        links: The entries of these files.
        zone: The time zone of dates without an offset.
    """

    def __init__(self, site: OldSite, files: Sequence[File], links: EntryLinks, zone: tzinfo) -> None:
        self._site = replace(site, base="")
        self._base = site.base
        self._files = files
        self._links = links
        self._zone = zone

    def find(self, url: str) -> OldAddress | None:
        """Return the address within the site for an absolute URL or path of it; None for a URL of another site."""
        is_path = url.startswith("/") and not url.startswith("//")
        if not (self._site.tool if is_path else self._site.host):
            return None
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        is_below = parts.path == self._base or parts.path.startswith(f"{self._base}/") or not parts.path
        if parts.scheme not in ("", "http", "https") or not is_below:
            return None
        if not is_path and bare_host(parts.netloc) != self._site.host:
            return None
        path = parts.path.removeprefix(self._base) or "/"
        file = None if path == "/" else self._by_address.get(_plain(path))
        return OldAddress(path, None if file is None else self._links.address(file, parts.fragment))

    @cached_property
    def _by_address(self) -> dict[str, File]:
        """The files by the addresses that their pages had. They are read again, but only if a text has such a link."""
        found: dict[str, File] = {}
        for path, base in self._files:
            try:
                article = self._links.parse(path, base)
            except (InvalidArticle, NotAnEntry):
                continue
            when = None if article.published is None else local_time(article.published, self._zone)
            for address in self._site.addresses(article, base.absolute(), when, path.absolute()):
                found.setdefault(_plain(address), (path, base))
        return found


def _plain(address: str) -> str:
    """Return an address without what servers ignore or add: `/a/`, `/a/index.html` and `/a` are one page."""
    return unquote(address).removesuffix("index.html").rstrip("/")
