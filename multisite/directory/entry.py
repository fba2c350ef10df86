"""CachedEntry: what the directory remembers for a host, or for the id of a site."""

from __future__ import annotations

from typing import NamedTuple

from multisite.directory.places import HostMatches

__all__ = ["CachedEntry"]


class CachedEntry(NamedTuple):
    """What is remembered for a key: its places (None: no site), as of which version, and until when."""

    places: HostMatches | None
    version: int
    expires: float
