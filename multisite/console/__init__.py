"""The operator's console: all sites in the browser, on a host of its own.

    config.include("multisite.console")

serves it at `multisite.console_host`, to `multisite.console_networks`. It is a Pyramid application of its own, with its
own routes, templates and cookies, which the tween of multisite calls: no page of it exists on a site's host, and none
of a site on its host. Requires `pyramid-multisite[console]`.
"""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from multisite.core.keys import SETTINGS
from multisite.web.console_host import CONSOLE
from multisite.web.includes import with_multisite
from multisite.web.startup import on_startup

__all__ = ["includeme"]


def includeme(config: Configurator) -> None:
    """Serve the console. Includes multisite.

    Raises:
        ConfigurationError: `multisite.console_host` is not set.
    """
    with_multisite(config, _configure)


def _configure(config: Configurator) -> None:
    if config.registry[SETTINGS].console_host is None:
        raise ConfigurationError(
            "multisite.console needs a host of its own: set multisite.console_host = console.example.com, or remove "
            "the include"
        )
    from multisite.console.application import make_console

    # At startup, when the application has declared its settings of sites and the class of its users.
    on_startup(config.registry, lambda registry: registry.__setitem__(CONSOLE, make_console(registry)))
