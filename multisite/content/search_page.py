"""The search page: a form, and the entries and pages with all of its words. It needs no script."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request

from multisite.content.etag import weak_etag
from multisite.content.listing import readable
from multisite.content.models import entry_search
from multisite.content.pager import Pager, page_number
from multisite.search import Hits
from multisite.search.parsing import MAX_QUERY

__all__ = ["includeme"]

_MAX_PAGE = 10


def search(request: Request) -> dict[str, Any]:
    """The visible entries and pages with all words of the query."""
    query, number = request.GET.get("q", "")[:MAX_QUERY].strip(), page_number(request, _MAX_PAGE)
    size = request.site.settings["posts_per_page"]
    where = (readable(request.now()),)
    found = Hits([], has_more=False)
    if query:
        found = entry_search.search(request.dbsession, query, where=where, size=size, page=number)
    if number > 1 and not found.hits:
        raise HTTPNotFound
    request.response.headers["X-Robots-Tag"] = "noindex"
    address = request.urls.search
    return {
        "page_kind": "search",
        "title": request.phrase("search_for", query=query) if query else request.phrase("search"),
        "canonical_url": None,
        "query": query,
        "hits": found.hits,
        "pager": Pager(
            number,
            address(query, number - 1) if number > 1 else None,
            address(query, number + 1) if found.has_more and number < _MAX_PAGE else None,
        ),
    }


def includeme(config: Configurator) -> None:
    """Add the route and the view."""
    config.add_route("search", "/search")
    config.add_view(
        search,
        route_name="search",
        renderer="/search.mako",
        request_method=("GET", "HEAD"),
        decorator=weak_etag,
        page_cache=True,
    )
