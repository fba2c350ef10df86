"""`/theme.css`: the settings of a site's theme as CSS variables, such as `--theme-accent`.

A layout links to it by `theme_css_url`, whose query changes with the values, so that browsers cache it for a year.
"""

from __future__ import annotations

from hashlib import sha256

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from multisite.sites.settings.setting import THEME_PREFIX
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["includeme", "theme_css_url"]

_DIGEST_CHARACTERS = 12


def theme_css_url(request: Request) -> str | None:
    """Return the path of the CSS of the site's theme, None if the site has no theme, or its theme no settings."""
    css = _css(request)
    return None if css is None else request.route_path("theme_css", _query={"v": _digest(css)})


def _css(request: Request) -> str | None:
    site = request.site
    declared = request.registry[SITE_SETTINGS].of_theme(site.theme)
    if not declared:
        return None
    from multisite.sites.settings.theme_file import css_value

    values = site.settings
    lines = []
    for name, setting in declared.items():
        variable = name.removeprefix(THEME_PREFIX).replace("_", "-")
        lines.append(f"  --theme-{variable}: {css_value(setting, values.get(name, setting.default))};\n")
    return f":root {{\n{''.join(lines)}}}\n"


def _digest(css: str) -> str:
    return sha256(css.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def theme_css(request: Request) -> Response:
    """Return the CSS; 404 for a site whose theme declares no settings."""
    css = _css(request)
    if css is None:
        raise HTTPNotFound
    is_current = request.GET.get("v") == _digest(css)
    response = Response(css, content_type="text/css", charset="utf-8")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
    return response


def includeme(config: Configurator) -> None:
    """Add the view."""
    config.add_route("theme_css", "/theme.css")
    config.add_view(theme_css, route_name="theme_css")
