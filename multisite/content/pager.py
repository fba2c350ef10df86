"""Turn the pages of a list: which page a request asks for, and the URLs of the adjacent ones.

The first hundred pages have numbers (`?page=2`). Older ones are named by the entry before them
(`?before=2024-05-05T12:00:00Z-leaf-mould`), so that a URL shows the same entries after new ones were published, and
the database need not skip the newer ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request

from multisite.content.listing import EntryList, ListedEntry, PlaceName

__all__ = ["MAX_PAGE", "ListPage", "Pager", "list_page", "page_number"]

MAX_PAGE = 100
"""The last page that has a number."""


@dataclass(frozen=True, slots=True)
class Pager:
    """The position of a page in a list: its number from 1, or None, and the URLs of the adjacent pages, or None."""

    number: int | None
    newer_url: str | None
    older_url: str | None


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list; `since` is when its newest entry was published, if the page has no number."""

    entries: Sequence[ListedEntry]
    pager: Pager
    url: str
    since: datetime | None = None


class Address(Protocol):
    """Returns the URL of a page of a list, by its number or by the entry before it."""

    def __call__(self, page: int = 1, *, before: PlaceName | None = None) -> str: ...


def list_page(request: Request, listed: EntryList, address: Address, *, size: int) -> ListPage:
    """Return the page that `request` asks for, with `size` entries at most.

    Raises:
        HTTPNotFound: There is no such page; only the first may be empty.
    """
    if "before" not in request.GET:
        return _numbered(request, listed, address, size)
    if "page" in request.GET:
        raise HTTPNotFound
    try:
        key = PlaceName.parse(request.GET["before"])
    except ValueError:
        raise HTTPNotFound from None
    session = request.dbsession
    found = listed.page(session, size=size, before=listed.place(session, key))
    if not found.entries:
        raise HTTPNotFound
    newer = listed.newer(session, found.entries[0], size=size)
    pager = Pager(None, address(before=newer), _older(found.entries, address) if found.has_more else None)
    return ListPage(found.entries, pager, address(before=key), found.entries[0].published)


def _numbered(request: Request, listed: EntryList, address: Address, size: int) -> ListPage:
    number = page_number(request, MAX_PAGE)
    found = listed.page(request.dbsession, size=size, number=number)
    if not found.entries and number > 1:
        raise HTTPNotFound
    older = None
    if found.has_more:
        older = address(number + 1) if number < MAX_PAGE else _older(found.entries, address)
    pager = Pager(number, address(number - 1) if number > 1 else None, older)
    return ListPage(found.entries, pager, address(number))


def _older(entries: Sequence[ListedEntry], address: Address) -> str:
    last = entries[-1]
    return address(before=PlaceName(last.published, last.slug))


def page_number(request: Request, last: int) -> int:
    """Return the number in `?page=`, or 1 without it; 404 if it is not a number of a page up to `last`."""
    text = request.GET.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 8 and not text.startswith("0")):
        raise HTTPNotFound
    number = int(text)
    if number > last:
        raise HTTPNotFound
    return number
