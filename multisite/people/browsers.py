"""The browser and the system that a header User-Agent names, for people to recognize a log-in of theirs.

Half a dozen names are enough for that. Libraries that know thousands need updates to stay right, and the header can be
anything anyway: nothing but a text on a page may depend on it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Browser", "find_browser"]

# Browsers name those that they are like, and systems those that they are made of: the more particular ones come first.
_BROWSERS = {
    "Edg": "Edge", "OPR/": "Opera", "SamsungBrowser/": "Samsung Internet", "Vivaldi/": "Vivaldi",
    "Firefox/": "Firefox", "FxiOS/": "Firefox", "Chrome/": "Chrome", "CriOS/": "Chrome", "Safari/": "Safari",
}  # fmt: skip
_SYSTEMS = {
    "iPhone": "iPhone", "iPad": "iPad", "Android": "Android", "Windows": "Windows", "CrOS": "ChromeOS",
    "Mac OS X": "macOS", "Macintosh": "macOS", "Linux": "Linux", "BSD": "BSD",
}  # fmt: skip


class Browser(NamedTuple):
    """The names of a browser and of its system."""

    name: str
    system: str


def find_browser(agent: str) -> Browser | None:
    """Return what a header User-Agent names; None if it names no browser or no system that is known."""
    name, system = (
        next((text for part, text in known.items() if part in agent), None) for known in (_BROWSERS, _SYSTEMS)
    )
    return Browser(name, system) if name and system else None
