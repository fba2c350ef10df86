"""The pages: home, entry, tag, archive. `multisite.content.not_found` responds where there is none.

Each view returns the variables of its template; docs/templates lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import PredicateMismatch
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool

from multisite.content import queries
from multisite.content.etag import weak_etag
from multisite.content.listing import EntryList
from multisite.content.not_found import query_redirect
from multisite.content.pager import ListPage, list_page
from multisite.content.site_paths import add_path
from multisite.core import program
from multisite.language.local_time import zone_of

__all__ = ["ARCHIVE_SIZE", "YearCount", "includeme"]

ARCHIVE_SIZE = 100
"""Entries on one page of a year, which shows only their titles."""


@dataclass(frozen=True, slots=True)
class YearCount:
    """A year of the archive with its number of entries and its URL."""

    year: int
    count: int
    url: str


def home(request: Request) -> dict[str, Any]:
    """The newest entries, paginated."""
    if (redirect := query_redirect(request)) is not None:
        raise redirect
    page = list_page(request, EntryList(_now()), request.urls.home, size=_page_size(request))
    return {
        "page_kind": "home",
        "title": _home_title(request, page),
        "canonical_url": page.url,
        "entries": page.entries,
        "pager": page.pager,
        "import_command": None if page.entries else _import_command(request),
    }


def _home_title(request: Request, page: ListPage) -> str | None:
    if page.since is not None:
        title: str = request.phrase("until", date=request.format.date(page.since))
        return title
    return None if page.pager.number == 1 else request.phrase("page_number", number=page.pager.number)


def _import_command(request: Request) -> str | None:
    """Return the command that imports entries, or None outside of development, where visitors would read it."""
    if not asbool(request.registry.settings.get("pyramid.reload_templates")):
        return None
    return program.command(f"import-entries {request.site} FOLDER")


def entry(request: Request) -> dict[str, Any]:
    """One entry, with links to the newer and the older one."""
    now = _now()
    found = queries.find_entry(request.dbsession, now, _slug(request))
    if found is None:
        raise HTTPNotFound
    newer, older = queries.adjacent_entries(request.dbsession, now, found)
    add_path(request, found)
    return {
        "page_kind": "entry",
        "title": found.title,
        "canonical_url": request.urls.entry(found),
        "entry": found,
        "newer": newer,
        "older": older,
    }


def tag(request: Request) -> dict[str, Any]:
    """The entries with one tag; 404 for a tag that no visible entry has."""
    slug = _slug(request)
    found = queries.find_tag(request.dbsession, slug)
    if found is None:
        raise HTTPNotFound
    address = partial(request.urls.tag, found)
    page = list_page(request, EntryList(_now(), tag=found), address, size=_page_size(request))
    if not page.entries:
        raise HTTPNotFound
    return {
        "page_kind": "tag",
        "title": request.phrase("tagged", name=found.name),
        "canonical_url": page.url,
        "tag": found,
        "entries": page.entries,
        "pager": page.pager,
    }


def archive(request: Request) -> dict[str, Any]:
    """The years with entries."""
    return {
        "page_kind": "archive",
        "title": request.phrase("archive"),
        "canonical_url": request.urls.archive(),
        "year": None,
        "years": _years(request, _now()),
        "entries": [],
        "pager": None,
    }


def archive_year(request: Request) -> dict[str, Any]:
    """The entries of one year, from midnight to midnight in the site's time zone."""
    now, year = _now(), int(request.matchdict["year"])
    try:
        bounds = request.local_bounds(year)
    except ValueError:
        raise HTTPNotFound from None
    page = list_page(request, EntryList(now, between=bounds), partial(request.urls.year, year), size=ARCHIVE_SIZE)
    if not page.entries:
        raise HTTPNotFound
    return {
        "page_kind": "archive",
        "title": request.phrase("year_archive", year=year),
        "canonical_url": page.url,
        "year": year,
        "years": _years(request, now),
        "entries": page.entries,
        "pager": page.pager,
    }


def not_allowed(error: PredicateMismatch, request: Request) -> Response:
    """Return a 405 for a method other than GET and HEAD; views of this application have no other predicates.

    This is for pages, feeds and static files.
    """
    return Response(
        "Method Not Allowed\n", status=405, headers={"Allow": "GET, HEAD"}, content_type="text/plain", charset="utf-8"
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _slug(request: Request) -> str:
    slug: str = request.matchdict["slug"]
    if "\0" in slug:  # PostgreSQL rejects it in parameters.
        raise HTTPNotFound
    return slug


def _page_size(request: Request) -> int:
    size: int = request.site.settings["posts_per_page"]
    return size


def _years(request: Request, now: datetime) -> list[YearCount]:
    """Return the years with visible entries, newest first; years begin at midnight in the site's time zone."""
    counts = queries.count_years(request.dbsession, now, zone_of(request.site))
    return [YearCount(year, counts[year], request.urls.year(year)) for year in sorted(counts, reverse=True)]


def includeme(config: Configurator) -> None:
    """Add the routes and views of the pages, and the view for 405."""
    pages = (
        ("home", "/", home, "/home.mako"),
        ("entry", "/entries/{slug}", entry, "/entry.mako"),
        ("tag", "/tags/{slug}", tag, "/tag.mako"),
        ("archive", "/archive", archive, "/archive.mako"),
        ("archive_year", r"/archive/{year:[1-9]\d{0,3}}", archive_year, "/archive.mako"),
    )
    for name, pattern, view, template in pages:
        config.add_route(name, pattern)
        config.add_view(
            view,
            route_name=name,
            renderer=template,
            request_method=("GET", "HEAD"),
            decorator=weak_etag,
            page_cache=True,
        )
    config.add_exception_view(not_allowed, context=PredicateMismatch)
