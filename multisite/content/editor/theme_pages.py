"""The page on which an owner chooses the theme of the site, after a preview of the site in it."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.layout_pages import new_link
from multisite.content.editor.pages import add_page, translate, variables
from multisite.content.layout_links import LayoutChanges
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.theme_list import find_picture, offered_themes
from multisite.sites.themes import check_theme, list_themes
from multisite.sites.updates import set_theme

__all__ = ["includeme"]

log = logging.getLogger(__name__)


def theme(request: Request) -> Any:
    """The themes; a POST chooses one, or makes a link to the site in it."""
    directory, settings, error = request.registry[DIRECTORY], request.registry[SETTINGS], None
    if request.method == "POST":
        error = _refusal(request)
        if error is None:
            wanted = field(request, "theme") or None
            if field(request, "action") == "preview":
                return new_link(request, LayoutChanges({"theme": wanted}))
            set_theme(directory.engine, request.site.domain, wanted, settings=settings)
            directory.refresh_soon()
            return HTTPSeeOther(request.route_path("editor_theme", _query={"done": "1"}))
        request.response.status_int = 400
    done = translate(request, "The theme is changed.") if request.GET.get("done") else None
    return variables(
        request,
        themes=list(offered_themes(settings, request.site)),
        # Not that of the request: another process may have changed it just now.
        current=get_site(directory.engine, request.site.domain).site.theme,
        error=error,
        done=None if error else done,
    )


def _refusal(request: Request) -> str | None:
    """Return why the form is refused, for an owner: without paths and commands; None if it is not."""
    settings, wanted = request.registry[SETTINGS], field(request, "theme")
    if field(request, "action") not in {"use", "preview"} or "theme" not in request.POST:
        return translate(request, "Nothing was changed: the form is not complete.")
    if not wanted:
        return None
    if wanted not in list_themes(settings):
        return translate(request, "There is no theme of this name. Choose one of these.")
    try:
        check_theme(settings, wanted)
    except MultisiteError as invalid:
        log.warning("an owner of %s could not choose a theme: %s", request.site.host, invalid)
        return translate(request, "The theme {name} cannot be used, because its theme.toml is not valid.", name=wanted)
    return None


def picture(request: Request) -> Response:
    """The picture of a theme."""
    found = find_picture(request.registry[SETTINGS], request.matchdict["theme"])
    if found is None:
        raise HTTPNotFound
    return Response(found[0], content_type=found[1], cache_control="private, max-age=300")


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "theme", "/edit/settings/theme", theme, "theme", role="owner")
    add_page(config, "theme_picture", "/edit/settings/theme/{theme}/picture", picture, role="owner")
