"""The view of pages, such as `/about/` and `/about/team/`.

    config.include("multisite.content.page_view")

Its route matches every path. It is added when `config` is committed, so that all others come before it.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import PHASE2_CONFIG, Configurator
from pyramid.httpexceptions import HTTPMovedPermanently, HTTPNotFound
from pyramid.request import Request

from multisite.content import queries
from multisite.content.etag import weak_etag
from multisite.content.page_paths import join_page_slug, parents_of
from multisite.content.site_paths import add_path
from multisite.core.keys import OPEN_PATH

__all__ = ["ROUTE", "includeme", "page"]

ROUTE = "page"
"""The name of the route."""


def page(request: Request) -> dict[str, Any]:
    """A page. Without the slash at its end, its address redirects. A path that no page can have costs no query."""
    slug = f"/{request.matchdict['path'].rstrip('/')}"
    if slug != join_page_slug(slug) or OPEN_PATH in request.environ:  # An open path has no site.
        raise HTTPNotFound
    found = queries.find_page(request.dbsession, slug)
    if found is None:
        raise HTTPNotFound
    url = request.urls.entry(found)
    if request.path_info != f"{slug}/":
        raise HTTPMovedPermanently(location=f"{url}?{request.query_string}" if request.query_string else url)
    above = parents_of(slug)
    add_path(request, found)
    return {
        "page_kind": "page",
        "title": found.title,
        "canonical_url": url,
        "page": found,
        "parents": queries.list_pages(request.dbsession, above) if above else [],
    }


def includeme(config: Configurator) -> None:
    """Add the route and the view after all others: some includes add theirs when `config` is committed."""
    config.action(None, lambda: _add_view(config), order=PHASE2_CONFIG - 1)  # Pyramid adds routes in phase 2.


def _add_view(config: Configurator) -> None:
    methods = ("GET", "HEAD")
    # On the route as well: a POST to any other address remains a 404.
    config.add_route(ROUTE, "/{path:.+}", request_method=methods)
    config.add_view(
        page, route_name=ROUTE, renderer="/page.mako", request_method=methods, decorator=weak_etag, page_cache=True
    )
