"""Serve several WSGI applications by domain from one process.

    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain example.com / = mainapp
    domain *.shops.example / = shopapp

This is independent of the extension: the same hosts and rules, but no database, no Pyramid and no sites. An application
behind it may include multisite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multisite.core.application import using_application

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multisite.vhosts.dispatcher import Vhosts

__all__ = ["main", "using_application"]


def main(loader: Any, global_conf: Mapping[str, str], **settings: str) -> Vhosts:
    """Return the WSGI application; the `paste.composite_factory` behind `use = egg:pyramid-multisite#vhosts`.

    Runs the hooks of `vhosts.init` and loads the applications, unless `vhosts.lazy` is set. If loading an application
    fails, the error is logged, and its domains respond with 503.

    Raises:
        VhostError: A line of the section is not valid.
    """
    # Imported here so that using `multisite.vhosts.logs` in an ini file imports nothing else.
    from multisite.vhosts.build import build, run_once

    vhosts, options, positions = build(loader, global_conf, settings)
    run_once(options.init, global_conf, positions)
    if not options.lazy:
        vhosts.load_all()
    return vhosts
