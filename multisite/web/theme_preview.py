"""`config.set_theme_preview`: how the application shows a site in another theme to those who have a link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pyramid.config import Configurator

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.sites.settings.registry import SettingsRegistry

__all__ = ["THEME_PREVIEW", "ThemePreview", "includeme", "set_theme_preview"]

THEME_PREVIEW = "multisite.theme_preview"
"""Registry key of the `ThemePreview`; missing if the application has none."""

MakeLink = Callable[[Any, Site, str | None, Settings, SettingsRegistry], str]


class ThemePreview(NamedTuple):
    """How links to previews are made: `make_link` is called with a session for the database of `model`."""

    make_link: MakeLink
    model: Any


def set_theme_preview(config: Configurator, make_link: MakeLink, *, model: type) -> None:
    """Name the function that makes a link to a preview of a site in another theme. A directive of the Configurator.

    Args:
        config: The Configurator.
        make_link: Called with a session that is pinned to the site and commits afterwards, the site, the name of a
            theme or None, the settings of multisite and the registry of settings; returns the path of the link, which
            begins with the path of no page that visitors get.
        model: A mapped class of the database that the session is for.
    """
    config.action(THEME_PREVIEW, lambda: config.registry.__setitem__(THEME_PREVIEW, ThemePreview(make_link, model)))


def includeme(config: Configurator) -> None:
    """Add the directive."""
    config.add_directive("set_theme_preview", set_theme_preview)
