"""URLs of a site's pages: absolute, on the canonical domain of the request's site."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urlencode

from pyramid.request import Request

from multisite.content.listing import ListedEntry, ListedTag, PlaceName
from multisite.content.models import Entry, Tag
from multisite.content.page_paths import address_of

__all__ = ["Urls"]


class Urls:
    """Builds the URLs of one request's site; the site's root URL is computed once."""

    def __init__(self, request: Request) -> None:
        self.root: str = request.site_url(request.site, "/").rstrip("/")

    def home(self, page: int = 1, *, before: PlaceName | None = None) -> str:
        """Return the URL of the home page, or of a later page of its list."""
        return self._paged(f"{self.root}/", page, before)

    def entry(self, entry: Entry | ListedEntry | str) -> str:
        """Return the URL of an entry or page, given the entry or its slug."""
        return self.root + _address(entry if isinstance(entry, str) else entry.slug)

    def tag(self, tag: Tag | ListedTag | str, page: int = 1, *, before: PlaceName | None = None) -> str:
        """Return the URL of the entries with a tag, given the tag or its slug."""
        return self._paged(f"{self.root}/tags/{_slug(tag)}", page, before)

    def archive(self) -> str:
        """Return the URL of the list of years."""
        return f"{self.root}/archive"

    def year(self, year: int, page: int = 1, *, before: PlaceName | None = None) -> str:
        """Return the URL of the entries of a year."""
        return self._paged(f"{self.root}/archive/{year}", page, before)

    def feed(self) -> str:
        """Return the URL of the Atom feed."""
        return f"{self.root}/feed.xml"

    def search(self, query: str = "", page: int = 1) -> str:
        """Return the URL of the search, with a query, if there is one."""
        words = {"q": query} | ({"page": str(page)} if page > 1 else {})
        return f"{self.root}/search" + (f"?{urlencode(words)}" if query else "")

    def sitemap(self, part: str | None = None) -> str:
        """Return the URL of the sitemap, or of one part of it, such as `2024-05`."""
        return f"{self.root}/sitemap.xml" if part is None else f"{self.root}/sitemap-{part}.xml"

    @staticmethod
    def _paged(url: str, page: int, before: PlaceName | None) -> str:
        if before is not None:
            return f"{url}?before={quote(str(before), safe=':')}"
        return url if page == 1 else f"{url}?page={page}"


def _slug(thing: Tag | ListedTag | str) -> str:
    return _quoted(thing if isinstance(thing, str) else thing.slug)


_address = lru_cache(maxsize=4096)(address_of)


@lru_cache(maxsize=4096)
def _quoted(slug: str) -> str:
    return quote(slug, safe="")
