"""Remember which loader reads an ini file: commands ask for it at each start, and the answer takes half of their time.

To find a loader, plaster reads the metadata of every installed package: 19 ms of the 33 ms that `multisite show-site`
takes in the process of a test.
"""

from __future__ import annotations

import functools
from typing import Any

import plaster.loaders

__all__ = ["remember_loaders"]


def remember_loaders() -> None:
    """Let `plaster.loaders.find_loaders` look once for each scheme and protocols; a second call changes nothing."""
    find_loaders = plaster.loaders.find_loaders
    if hasattr(find_loaders, "__wrapped__"):
        return
    found: dict[tuple[str, ...], Any] = {}

    @functools.wraps(find_loaders)
    def find(scheme: str, protocols: list[str] | None = None) -> Any:
        key = scheme, *(protocols or ())
        if key not in found:
            found[key] = find_loaders(scheme, protocols)
        return found[key]

    plaster.loaders.find_loaders = find
