"""Entry: what the directory remembers for a host, or for the id of a site."""

from __future__ import annotations

from typing import NamedTuple

from multisite.directory.places import Places

__all__ = ["Entry"]


class Entry(NamedTuple):
    """What is remembered for a key: its places (None: no site), as of which version, and until when."""

    places: Places | None
    version: int
    expires: float
