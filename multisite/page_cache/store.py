"""Page store: the cached responses, bounded by their size in bytes.

A lookup reads a dictionary without a lock and does not reorder anything, since pages expire anyway. When the store is
full, the site that uses most of it loses its oldest page, so a site with a million URLs evicts only its own pages.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from multisite.core.fork_safety import fork_safe_lock
from multisite.core.site import Site
from multisite.page_cache.versions import Version

__all__ = ["Page", "PageStore"]

OVERHEAD_BYTES = 2_000
"""Estimated memory of a page besides body and headers: its key, which is no longer than this, and Python objects."""


class Page(NamedTuple):
    """A cached response with the status 200, and what it depends on.

    If `body` is None, this is only a marker that the pages of a URL differ by language: by the locale of the request,
    or if `by_header` is set by its Accept-Language, because the view negotiates by itself. `expires` is in seconds of
    the cache's clock; `is_conditional` is WebOb's `conditional_response`.
    """

    site: Site
    version: Version
    expires: float
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    is_conditional: bool
    by_header: bool = False

    @property
    def size(self) -> int:
        """Estimated memory use in bytes."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return OVERHEAD_BYTES + headers + (0 if self.body is None else len(self.body))


class PageStore:
    """Pages by key, `size_bytes` in total. Thread-safe."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._pages: dict[Hashable, Page] = {}
        self._by_site: dict[int, dict[Hashable, None]] = {}
        self._bytes: dict[int, int] = {}
        self._total = 0
        self._lock = fork_safe_lock()

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def total_bytes(self) -> int:
        """Memory use of all pages, in bytes."""
        return self._total

    def get(self, key: Hashable) -> Page | None:
        """Return the page stored under `key`, fresh or stale."""
        return self._pages.get(key)

    def put(self, key: Hashable, page: Page) -> bool:
        """Store `page`; return False if it is larger than an eighth of the store."""
        if page.size > self.size_bytes // 8:
            return False
        with self._lock:
            self._drop(key)
            while self._total + page.size > self.size_bytes:
                most = max(self._bytes, key=self._bytes.__getitem__)
                self._drop(next(iter(self._by_site[most])))
            self._pages[key] = page
            self._by_site.setdefault(page.site.id, {})[key] = None
            self._bytes[page.site.id] = self._bytes.get(page.site.id, 0) + page.size
            self._total += page.size
        return True

    def _drop(self, key: Hashable) -> None:
        page = self._pages.pop(key, None)
        if page is None:
            return
        site_id = page.site.id
        self._total -= page.size
        self._bytes[site_id] -= page.size
        own = self._by_site[site_id]
        del own[key]
        if not own:
            del self._by_site[site_id], self._bytes[site_id]
