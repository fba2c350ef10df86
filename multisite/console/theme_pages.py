"""The theme of a site: each with its picture, a preview of the site in it, and the change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from multisite.console.pages import add_page, done
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_url, site_variables
from multisite.console.user_pages import site_session
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.settings.theme_file import THEME_FILE, read_theme_file
from multisite.sites.themes import check_theme, hidden_files, list_themes
from multisite.sites.updates import set_theme
from multisite.web.theme_preview import THEME_PREVIEW, ThemePreview

__all__ = ["includeme"]

PICTURES = {"screenshot.png": "image/png", "screenshot.jpg": "image/jpeg", "screenshot.webp": "image/webp"}
"""The names of the picture in the folder of a theme, and their media types: none that can contain a script."""

MAX_PICTURE_BYTES = 2_000_000


class ListedTheme(NamedTuple):
    """A theme: its name, its label, whether it has a picture, and which files of the site hide files of it."""

    name: str
    label: str
    has_picture: bool
    hidden: Sequence[str]


def theme(request: Request) -> Any:
    """The themes; a POST sets one, or makes a link to a preview."""
    record, console, error, link, shown = find_record(request), request.console, None, None, None
    preview: ThemePreview | None = console.registry.get(THEME_PREVIEW)
    if request.method == "POST":
        wanted = field(request, "theme") or None
        try:
            if field(request, "action") == "preview":
                if preview is None:
                    raise HTTPNotFound
                link, shown = _link(request, record.site, wanted, preview), wanted
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
        themes=list(_themes(console.settings, record.site)),
        link=None if link is None else site_url(request, record).rstrip("/") + link,
        shown=shown,
        can_preview=preview is not None,
        error=error,
    )


def _link(request: Request, site: Site, wanted: str | None, preview: ThemePreview) -> str:
    """Return the path of a new link to the site in a theme. Raises `MultisiteError` if there is no such theme."""
    console = request.console
    if wanted is not None:
        check_theme(console.settings, wanted)
    with site_session(request, site, preview.model) as session:
        return preview.make_link(session, session.info["site"], wanted, console.settings, console.declared)


def _themes(settings: Settings, site: Site) -> Iterator[ListedTheme]:
    for name in list_themes(settings):
        folder = settings.themes_dir / name
        try:
            label = read_theme_file(folder / THEME_FILE).label
        except MultisiteError:  # `multisite check` reports it.
            label = name
        own = settings.sites_dir / site.folder
        hidden = [str(path.relative_to(own)) for path in hidden_files(settings, dataclasses.replace(site, theme=name))]
        yield ListedTheme(name, label, _picture(settings, name) is not None, hidden)


def _picture(settings: Settings, name: str) -> Path | None:
    """Return the path of the picture of a theme; None if it has none, or too large a one."""
    for file in PICTURES:
        path = settings.themes_dir / name / file
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_PICTURE_BYTES:
            return path
    return None


def picture(request: Request) -> Response:
    """The picture of a theme."""
    settings, name = request.console.settings, request.matchdict["name"]
    path = _picture(settings, name) if name in list_themes(settings) else None
    if path is None:
        raise HTTPNotFound
    return Response(path.read_bytes(), content_type=PICTURES[path.name], cache_control="private, max-age=300")


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "theme", SITE_PATTERN + "/theme", theme, "theme", role="look", change_role="run")
    add_page(config, "theme_picture", "/themes/{name}/picture", picture, role="look")
