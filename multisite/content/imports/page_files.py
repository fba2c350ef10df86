"""The paths of the pages that an import makes of files without a date, as Jekyll, Hugo, Zola and Pelican do."""

from __future__ import annotations

import re
from pathlib import PurePath

from multisite.content.errors import NotAnEntry
from multisite.content.page_paths import ROOT, address_of, is_reserved, join_page_slug, parent_of

__all__ = ["page_slug_of"]

_CONTENT = frozenset({"content", "pages", "source"})
"""Folders of pages that are no part of an address, and without their underscore, as in Jekyll's `_pages`."""

_ENDING = re.compile(r"(?:(?:/|^)index)?\.x?html?$|/index$", re.IGNORECASE)


def page_slug_of(path: PurePath, *, address: str = "", name: str = "") -> str:
    """Return the slug of the page in a file.

    Args:
        path: The path of the file below the folder of the blog. That of the page has no folder such as `content`.
        address: The address that the file names, or empty. One with a pattern, such as `/:title/`, is not used.
        name: The slug that the file names, or empty: the last part of the path.

    Raises:
        NotAnEntry: The page is one that the application makes itself, such as the home page.
    """
    if address and not set(address) & set(":{"):
        slug = join_page_slug(_ENDING.sub("", address))
    else:
        slug = _slug_of_file(path)
        slug = join_page_slug(parent_of(slug), name) if name else slug
    if slug in (ROOT, "/404"):
        raise NotAnEntry("the home page, or a page for missing addresses, which the application makes itself")
    if is_reserved(slug):
        raise NotAnEntry(f"a page at {address_of(slug)}, which is an address of the application")
    return slug


def _slug_of_file(path: PurePath) -> str:
    folders = list(path.parts[:-1])
    while folders and folders[0].lstrip("_") in _CONTENT:
        del folders[0]
    is_folder = path.stem.lower() in ("index", "readme")
    return join_page_slug(*folders, "" if is_folder else path.stem)
