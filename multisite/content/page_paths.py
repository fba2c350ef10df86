"""The paths of pages, which are their slugs: `/about` and below it `/about/team`.

The slug of an article has no slash, so one unique constraint is enough for both. The address of a page ends in a slash,
as other tools write it. A page is below another one by its path alone, whether or not the other one exists.
"""

from __future__ import annotations

from urllib.parse import quote

from multisite.content.limits import SLUG_LENGTH
from multisite.content.slugs import slugify

__all__ = [
    "RESERVED",
    "ROOT",
    "address_of",
    "is_page_slug",
    "is_reserved",
    "join_page_slug",
    "own_page_slug",
    "parent_of",
    "parents_of",
]

ROOT = "/"
"""The parent of the pages at the top."""

RESERVED = frozenset({"archive", "edit", "entries", "login", "logout", "media", "preview", "search", "static", "tags"})
"""The first segments of the application's own addresses. Those with a dot, as of the feed, are not possible anyway."""


def is_page_slug(slug: str) -> bool:
    """Return whether a slug is that of a page."""
    return slug.startswith("/")


def address_of(slug: str) -> str:
    """Return the escaped path of the address of an entry: `/entries/leaf-mould`, or `/about/team/` for a page."""
    return f"{quote(slug)}/" if is_page_slug(slug) else f"/entries/{quote(slug, safe='')}"


def join_page_slug(*paths: str) -> str:
    """Return the slug of a page from parts of its path, made of valid segments; `/` if nothing remains.

    A path that is too long loses its last segments.
    """
    slug = ""
    for segment in filter(None, (slugify(part) for path in paths for part in path.split("/"))):
        if len(slug) + len(segment) >= SLUG_LENGTH:
            break
        slug += f"/{segment}"
    return slug or ROOT


def own_page_slug(*paths: str) -> str:
    """Return the slug of a page that an import makes: as `join_page_slug`, and below `/page` if that is reserved."""
    slug = join_page_slug(*paths)
    return join_page_slug("page", slug) if is_reserved(slug) else slug


def parent_of(slug: str) -> str:
    """Return the path above that of a page; `/` for a page at the top."""
    return slug.rpartition("/")[0] or ROOT


def parents_of(slug: str) -> list[str]:
    """Return the paths above that of a page, the top one first: `/about` for `/about/team`."""
    segments = slug.split("/")
    return ["/".join(segments[:end]) for end in range(2, len(segments))]


def is_reserved(slug: str) -> bool:
    """Return whether a page could not be read at its address, which is one of the application's own."""
    return slug == ROOT or slug.split("/")[1] in RESERVED
