"""The entry that the directory caches for a host or a site id."""

from __future__ import annotations

from typing import NamedTuple

from multisite.directory.matching import HostMatches

__all__ = ["CachedEntry"]


class CachedEntry(NamedTuple):
    """A cached query result: the matches (None: no site), the directory's version, and when the entry expires."""

    matches: HostMatches | None
    version: int
    expires: float
