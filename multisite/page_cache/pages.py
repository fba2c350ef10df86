"""Pages: the answers that are kept, bounded by their bytes.

A page that is found is read from a dictionary, without a lock; nothing is moved for that, since every page is gone
after a time anyway. When the cache is full, the site that takes most of it loses its oldest page: one site with a
million addresses pushes out its own.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from multisite.forks import fork_safe_lock
from multisite.page_cache.versions import Version
from multisite.site import Site

__all__ = ["Page", "Pages"]

OVERHEAD_BYTES = 2_000
"""What a page takes besides its body and its headers: the key, which is no longer than this, and the objects."""


class Page(NamedTuple):
    """An answer with the status 200, and what it was made of.

    `body` is None where what is kept is only that the pages of an address differ by language: by that of the request,
    or with `by_header` by what its Accept-Language says, since the view chooses for itself. `expires` is in seconds of
    the clock of the cache; `is_conditional` as WebOb's `conditional_response`.
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
        """About how many bytes of memory it takes."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return OVERHEAD_BYTES + headers + (0 if self.body is None else len(self.body))


class Pages:
    """Pages by key, of `size_bytes` altogether. Safe in threads."""

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
        """What all pages take."""
        return self._total

    def get(self, key: Hashable) -> Page | None:
        """Return what is kept under `key`; whether it is still good is for the caller to say."""
        return self._pages.get(key)

    def put(self, key: Hashable, page: Page) -> bool:
        """Keep `page`; return False if it is too large for that: more than an eighth of all."""
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
