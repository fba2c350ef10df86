"""The site with another layout, for those who have a link, and the page on which an owner withdraws links.

The site is served below the path of the link, as a site with a path is: so all links of its pages lead to pages that
are shown in the same way. A visitor of the link gets what a visitor without cookies would get, and nothing is cached.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPError, HTTPException, HTTPNotFound, HTTPSeeOther
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.addressed import number_of
from multisite.content.editor.pages import TEMPLATES, add_page, logged_in, translate, variables
from multisite.content.layout_links import (
    LINK_DAYS,
    LINK_PATH,
    LayoutChanges,
    LayoutLink,
    changed_site,
    find_changes,
    is_folder_of_another_site,
    list_links,
    make_link,
    make_theme_link,
    remove_link,
    shown_links,
    withdraw_link,
)
from multisite.core.keys import DIRECTORY, SHIFTED_PATH
from multisite.core.site import Site
from multisite.private_pages import field, protect
from multisite.web.error_pages import add_error_page

__all__ = ["includeme", "new_link"]

_PERSONAL = ("HTTP_COOKIE", "HTTP_AUTHORIZATION", "REMOTE_USER", "webob._parsed_cookies")
"""Environ keys of who is logged in."""

_CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE", "HTTP_IF_RANGE")

_CLOSED = frozenset({"edit", "login", "logout", "preview"})
"""First segments of addresses that no link shows."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "no-referrer",  # The token is in the address.
}


def linked(request: Request) -> Response:
    """A page, or another file, of the site with the layout of a link."""
    changes = find_changes(request.dbsession, request.site, request.matchdict["token"])
    path = request.matchdict["path"] or "/"
    if changes is None or path.split("/")[1] in _CLOSED:
        return protect(HTTPNotFound())  # Not raised: the address would be counted as missing, with the token in it.
    folder = changes.columns.get("folder")
    engine = request.registry[DIRECTORY].engine
    if folder is not None and is_folder_of_another_site(engine, request.site, folder):  # Since the link was made.
        return protect(HTTPNotFound())
    below = LINK_PATH.replace("{token}", request.matchdict["token"])
    shown = changed_site(request.site, changes, f"{request.site.path}{below}")
    return _private(_response_of(request, _subrequest(request, shown, below, path)))


def _subrequest(request: Request, shown: Site, below: str, path: str) -> Request:
    """Return the request for `path` of the site `shown`, which is served below `below`."""
    inner = request.copy_get()
    for key in (*_PERSONAL, *_CONDITIONS):
        inner.environ.pop(key, None)
    inner.environ["SCRIPT_NAME"] = request.environ.get("SCRIPT_NAME", "") + below
    inner.environ["PATH_INFO"] = path.encode("utf-8").decode("latin-1")  # As PEP 3333 wants it.
    inner.environ[SHIFTED_PATH] = shown.path
    inner.environ["REQUEST_METHOD"] = request.method
    inner.site = shown
    inner.tm = request.tm
    return inner


def _response_of(request: Request, inner: Request) -> Response:
    try:
        return request.invoke_subrequest(inner)
    except HTTPException as error:
        if isinstance(error, HTTPError):
            add_error_page(error, inner, inner.site)
        return error


def _private(response: Response) -> Response:
    for name in ("Set-Cookie", "ETag", "Last-Modified", "Expires"):
        response.headers.pop(name, None)
    response.headers.update(_HEADERS)
    return response


def links(request: Request) -> Any:
    """The links that work; a POST withdraws one."""
    if request.method == "POST":
        if not withdraw_link(request.dbsession, number_of(field(request, "link")) or 0):
            raise HTTPNotFound
        return HTTPSeeOther(request.route_path("editor_layout_links", _query={"done": 1}))
    return _variables(request)


def new_link(request: Request, changes: LayoutChanges) -> Response:
    """Make a link to the site with `changes`, which are not saved, and show it on the page of links."""
    token = make_link(request.dbsession, request.site, logged_in(request).user, changes)
    link = request.site_url(request.site, LINK_PATH.replace("{token}", token) + "/")
    return render_to_response(f"{TEMPLATES}layout_links.mako", _variables(request, link), request=request)


def _variables(request: Request, link: str | None = None) -> dict[str, Any]:
    """Return the variables of the page of links; `link` is a new one, which is shown once."""
    return variables(
        request,
        link=link,
        links=list_links(request.dbsession),
        days=LINK_DAYS,
        when=lambda seconds: request.format.datetime(datetime.fromtimestamp(seconds, UTC)),
        done=translate(request, "The link is withdrawn.") if request.GET.get("done") else None,
    )


def includeme(config: Configurator) -> None:
    """Add the pages."""
    config.set_theme_preview(make_theme_link, model=LayoutLink, list_links=shown_links, withdraw_link=remove_link)
    add_page(config, "layout_links", "/edit/settings/links", links, "layout_links", role="owner")
    config.add_route("layout_preview", LINK_PATH.replace("{token}", r"{token:[\w-]{30}[^/]*}") + "{path:(?:/.*)?}")
    config.add_view(
        lambda _context, request: linked(request), route_name="layout_preview", request_method=("GET", "HEAD")
    )
