"""The addresses that a blog's `routes.yaml` gives to its posts and lists, instead of those that Ghost has by default.

Source of the format: https://docs.ghost.org/themes/routing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from multisite.content.errors import InvalidArticle, InvalidExport
from multisite.content.exports.index import ExportIndex
from multisite.content.exports.links import tag_path
from multisite.content.imports.files import printable, read_text
from multisite.content.imports.metadata import load_configuration
from multisite.content.imports.permalinks import date_values, expand_braces
from multisite.content.page_paths import address_of

__all__ = ["GhostRoutes", "find_routes_file", "read_routes"]

_NAME = "routes.yaml"
_MAX_CHARACTERS = 1_000_000
_PLACES = ("id", "slug", "year", "month", "day", "author", "primary_author", "primary_tag")
"""What a permalink is made of."""


@dataclass(frozen=True, slots=True)
class GhostRoutes:
    """The addresses of a blog: the permalinks of its collections, and those of its tags.

    `pages` has what each route shows: `page.about`, or the name of a template.
    """

    collections: tuple[str, ...] = ()
    permalinks: tuple[str, ...] = ()
    tags: str | None = None
    pages: Mapping[str, str] = field(default_factory=dict)

    def addresses(self, values: Mapping[str, str], when: datetime | None) -> Iterator[str]:
        """Yield the addresses that a post may have had: one in each collection, since filters are not evaluated.

        Args:
            values: The parts of the addresses, without those of the date.
            when: Its date in the time zone of the blog; None for a draft.
        """
        parts = {**values, **(date_values(when) if when else {})}
        for pattern in self.permalinks:
            address = expand_braces(pattern, {name: parts[name] for name in _PLACES if name in parts}, None)
            if address is not None:
                yield address.rstrip("/")

    def lists(self, index: ExportIndex, on_invalid: Callable[[str], None]) -> dict[str, str]:
        """Return the targets of lists and routes by their paths, without the slash at the beginning."""
        found: dict[str, str] = {}
        for path in self.collections:
            found |= {path: "/", f"{path}/rss": "/feed.xml", f"{path}/page/*": "/"}
        for path, slug in index.tags():
            if self.tags is not None and (address := expand_braces(self.tags, {"slug": path.partition("/")[2]}, None)):
                found[address.strip("/")] = tag_path(slug)
        for path, shown in self.pages.items():
            kind, _, name = shown.partition(".")
            entry = index.find_address(f"/{name}") if kind in ("page", "post") else None
            if entry is None:
                on_invalid(f"the route '/{path[:80]}' shows {shown[:80]!r}, which is not in the export")
            else:
                found[path] = address_of(entry)
        return found


def find_routes_file(export: Path, folder: Path | None) -> Path | None:
    """Return the routes of Ghost beside `export`, or in `folder`, its folder `content`; None if there are none."""
    places = [export.parent, *([folder / "settings", folder] if folder else [])]
    return next((place / _NAME for place in places if (place / _NAME).is_file()), None)


def read_routes(path: Path, on_invalid: Callable[[str], None]) -> GhostRoutes:
    """Return the routes in the file `path`.

    Args:
        path: The file.
        on_invalid: Called with the reason for each route that is left out.

    Raises:
        InvalidExport: The file is not one with routes of Ghost.
    """
    try:
        document = load_configuration(read_text(path).removeprefix("\ufeff"), ".yaml", _MAX_CHARACTERS)
    except InvalidArticle as error:
        raise InvalidExport(f"{printable(path)}: {str(error).replace('the front matter', 'it')}") from None
    sections = {name: _section(document, name) for name in ("routes", "collections", "taxonomies")}
    if not any(name in document for name in sections):
        raise InvalidExport(f"{printable(path)}: no routes of Ghost: it has neither routes nor collections")
    permalinks = []
    for name, collection in sections["collections"].items():
        pattern = collection.get("permalink") if isinstance(collection, dict) else collection
        if isinstance(pattern, str) and expand_braces(pattern, dict.fromkeys(_PLACES, "x"), None) is not None:
            permalinks.append(pattern)
        else:
            on_invalid(f"the permalink of the collection {str(name)[:80]!r} is not one of Ghost: {str(pattern)[:80]!r}")
    tags = sections["taxonomies"].get("tag")
    return GhostRoutes(
        collections=tuple(filter(None, (str(name).strip("/") for name in sections["collections"]))),
        permalinks=tuple(permalinks),
        tags=tags if isinstance(tags, str) else None,
        pages={str(name).strip("/"): _shown(route) for name, route in sections["routes"].items() if name != "/"},
    )


def _section(document: Mapping[str, Any], name: str) -> dict[Any, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _shown(route: Any) -> str:
    """Return what a route shows: its data, or else its template."""
    if not isinstance(route, dict):
        return str(route)
    data = route.get("data")
    if isinstance(data, str):
        return data
    return str(route.get("template") or route.get("controller") or "nothing")
