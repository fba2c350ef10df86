"""Several WSGI applications in one process, by domain.

    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain example.com / = mainapp
    domain *.shops.example / = shopapp

It stands beside the extension: the same hosts and rules, but no database, no Pyramid, and no site. An application in
it may be one that includes multisite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multisite.vhosts.composite import Vhosts

__all__ = ["main"]


def main(loader: Any, global_conf: Mapping[str, str], **settings: str) -> Vhosts:
    """Return the WSGI application: the `paste.composite_factory` behind `use = egg:pyramid-multisite#vhosts`.

    Runs what `vhosts.init` names, and loads the applications, unless `vhosts.lazy` is set. Raises `VhostError` for a
    line that cannot be meant; an application that cannot be loaded is logged, and answers 503.
    """
    # Imported here, so that `multisite.vhosts.logs` in an ini file costs nothing else.
    from multisite.vhosts.making import make, run_once

    vhosts, options, places = make(loader, global_conf, settings)
    run_once(options.init, global_conf, places)
    if not options.lazy:
        vhosts.load_all()
    return vhosts
