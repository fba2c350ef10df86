"""The theme of a site: each with its picture, a preview of the site in it, and the change."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from multisite.console.pages import add_page, done
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_url, site_variables
from multisite.console.user_pages import site_session
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.theme_list import find_picture, offered_themes
from multisite.sites.themes import check_theme
from multisite.sites.updates import set_theme
from multisite.web.theme_preview import THEME_PREVIEW, ListedPreview, ThemePreview

__all__ = ["includeme"]


def theme(request: Request) -> Any:
    """The themes, and the links to previews; a POST sets a theme, or makes or withdraws a link."""
    record, console, error, link, shown = find_record(request), request.console, None, None, None
    preview: ThemePreview | None = console.registry.get(THEME_PREVIEW)
    if request.method == "POST":
        wanted = field(request, "theme") or None
        try:
            if field(request, "action") == "preview":
                if preview is None:
                    raise HTTPNotFound
                link, shown = _link(request, record.site, wanted, preview), wanted
            elif field(request, "action") == "withdraw":
                _withdraw(request, record.site, preview)
                return done(request, "link_withdrawn", "theme", id=record.site.id)
            else:
                set_theme(console.engine, record.site.domain, wanted, settings=console.settings)
                console.directory.refresh_soon()
                return done(request, "saved", "theme", id=record.site.id)
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    return site_variables(
        request,
        record,
        themes=list(offered_themes(console.settings, record.site)),
        link=None if link is None else site_url(request, record).rstrip("/") + link,
        shown=shown,
        can_preview=preview is not None,
        links=_links(request, record.site, preview),
        error=error,
    )


def _link(request: Request, site: Site, wanted: str | None, preview: ThemePreview) -> str:
    """Return the path of a new link to the site in a theme. Raises `MultisiteError` if there is no such theme."""
    console = request.console
    if wanted is not None:
        check_theme(console.settings, wanted)
    with site_session(request, site, preview.model) as session:
        return preview.make_link(session, session.info["site"], wanted, console.settings, console.declared)


def _links(request: Request, site: Site, preview: ThemePreview | None) -> list[ListedPreview]:
    """Return the links to previews of the site that work."""
    if preview is None or preview.list_links is None:
        return []
    with site_session(request, site, preview.model) as session:
        return list(preview.list_links(session))


def _withdraw(request: Request, site: Site, preview: ThemePreview | None) -> None:
    """End the link whose number the request has. Raises `HTTPNotFound` if the site has no such link."""
    text = field(request, "link")
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    if preview is None or preview.withdraw_link is None or not is_number:
        raise HTTPNotFound
    with site_session(request, site, preview.model) as session:
        if not preview.withdraw_link(session, session.info["site"], int(text)):
            raise HTTPNotFound


def picture(request: Request) -> Response:
    """The picture of a theme."""
    found = find_picture(request.console.settings, request.matchdict["name"])
    if found is None:
        raise HTTPNotFound
    return Response(found[0], content_type=found[1], cache_control="private, max-age=300")


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "theme", SITE_PATTERN + "/theme", theme, "theme", role="look", change_role="run")
    add_page(config, "theme_picture", "/themes/{name}/picture", picture, role="look")
