"""A panel for pyramid_debugtoolbar that shows what multisite did for a request.

    config.include("multisite.debugtoolbar")            # or in the ini: pyramid.includes = multisite.debugtoolbar

Includes pyramid_debugtoolbar; like that, it is for development only.
"""

from __future__ import annotations

from pyramid.config import Configurator

from multisite.errors import MultisiteError
from multisite.web.includes import with_multisite

__all__ = ["includeme"]

PANEL = "multisite.debugtoolbar.panel.SitePanel"


def includeme(config: Configurator) -> None:
    """Include pyramid_debugtoolbar and multisite, and add the panel.

    Raises:
        MultisiteError: pyramid_debugtoolbar is not installed.
        ModuleNotFoundError: Another module that pyramid_debugtoolbar imports is not installed.
    """
    try:
        config.include("pyramid_debugtoolbar")
    except ModuleNotFoundError as error:
        if error.name != "pyramid_debugtoolbar":
            raise
        raise MultisiteError(
            "multisite.debugtoolbar needs pyramid_debugtoolbar: pip install 'pyramid_debugtoolbar>=4.12'"
        ) from error
    with_multisite(config)
    # The toolbar has converted its settings to lists, and reads them when the application is complete.
    panels = config.registry.settings.setdefault("debugtoolbar.extra_panels", [])
    if PANEL not in panels:
        config.registry.settings["debugtoolbar.extra_panels"] = [*panels, PANEL]
