"""Cache the file of each path for a second, so that not every request searches all layers again.

A cached value is known to be right only when it is stored. A file is therefore opened by its real path, and sent
only if it is still the same file with the same times (`multisite.static.files`): a link that has been put in its place
is another file, and the layers are searched again. Only a file added to a layer above, and a changed link, are seen up
to `SECONDS` late.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, TypeVar

from pyramid.settings import asbool

from multisite.core.lru_cache import LRUCache

__all__ = ["SECONDS", "SIZE", "VIEWS", "Memory", "is_development"]

VIEWS = "multisite.static"
"""Registry key of the `SiteStatic` views by route name."""

SECONDS = 1.0
"""How long a path is remembered. A constant: even a site with one file a second gains nothing from more."""

SIZE = 10_000
"""How many paths of all sites together are remembered, each in about 300 bytes."""

Value = TypeVar("Value")
_Key = tuple[str, str | None, str]


class Memory(LRUCache[_Key, tuple[float, Value]]):
    """Values by site and path, each for `SECONDS`. Thread-safe.

    A key must contain everything that decides which files a site has: its folder and its theme.
    """

    def __init__(self) -> None:
        super().__init__(SIZE)

    def find(self, key: _Key) -> Value | None:
        """Return the value of `key`; None if there is none, or if it is too old."""
        # Mostly it is young, which saves a call.
        found = self._young.get(key) or self.get(key)
        return found[1] if found is not None and monotonic() < found[0] else None

    def remember(self, key: _Key, value: Value) -> None:
        """Set the value of `key`, found just now."""
        self.set(key, (monotonic() + SECONDS, value))


def is_development(registry: Any) -> bool:
    """Return whether changed files must be seen at once, so that nothing is remembered."""
    settings = registry.settings
    return any(asbool(settings.get(f"pyramid.reload_{what}")) for what in ("templates", "assets"))
