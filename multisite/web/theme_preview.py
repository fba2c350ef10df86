"""`config.set_theme_preview`: how the application shows a site in another theme to those who have a link."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pyramid.config import Configurator

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.sites.settings.registry import SettingsRegistry

__all__ = ["THEME_PREVIEW", "ListedPreview", "ThemePreview", "includeme", "set_theme_preview"]

THEME_PREVIEW = "multisite.theme_preview"
"""Registry key of the `ThemePreview`; missing if the application has none."""

MakeLink = Callable[[Any, Site, str | None, Settings, SettingsRegistry], str]


class ListedPreview(NamedTuple):
    """A link that works, without its address: until `expires` (Unix time, in seconds), with what it shows otherwise.

    `login` is the user of the site who made it, None for an operator.
    """

    id: int
    expires: int
    login: str | None
    changes: str


ListLinks = Callable[[Any], Iterable[ListedPreview]]

WithdrawLink = Callable[[Any, Site, int], bool]


class ThemePreview(NamedTuple):
    """How links to previews are made, listed and withdrawn: each is called with a session for the database of `model`.

    An application that does not list its links has None for the last two.
    """

    make_link: MakeLink
    model: Any
    list_links: ListLinks | None = None
    withdraw_link: WithdrawLink | None = None


def set_theme_preview(
    config: Configurator,
    make_link: MakeLink,
    *,
    model: type,
    list_links: ListLinks | None = None,
    withdraw_link: WithdrawLink | None = None,
) -> None:
    """Name the functions that make, list and withdraw links to previews of a site. A directive of the Configurator.

    Args:
        config: The Configurator.
        make_link: Called with a session that is pinned to the site and commits afterwards, the site, the name of a
            theme or None, the settings of multisite and the registry of settings; returns the path of the link, which
            begins with the path of no page that visitors get.
        model: A mapped class of the database that the session is for.
        list_links: Called with such a session; returns the links of its site that work, the newest first.
        withdraw_link: Called with such a session, the site and the id of a link; ends the link, and returns whether the
            site has it.
    """
    preview = ThemePreview(make_link, model, list_links, withdraw_link)
    config.action(THEME_PREVIEW, lambda: config.registry.__setitem__(THEME_PREVIEW, preview))


def includeme(config: Configurator) -> None:
    """Add the directive."""
    config.add_directive("set_theme_preview", set_theme_preview)
