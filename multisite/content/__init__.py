"""The reference application: small content sites of identical structure, one layout each.

`main` is the `paste.app_factory` behind `use = egg:pyramid-multisite`. Read it as an example of an application that
includes multisite; its models, pages and importer are plain modules that know nothing of hosts and domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line imports this package for `import-entries`, and must not load Pyramid for it
    from pyramid.router import Router

__all__ = ["main"]


def main(global_config: Mapping[str, str], **settings: Any) -> Router:
    """Return the WSGI application; `settings` are the keys of `[app:main]` as PasteDeploy gives them."""
    from pyramid.config import Configurator

    # One transaction manager a request, which raises where code uses it before the transaction or after it. multisite
    # leaves the choice to the application: a session of its own may be registered with the manager of the thread.
    settings.setdefault("tm.manager_hook", "pyramid_tm.explicit_manager")
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("multisite.static")
        config.include("multisite.page_cache")
        config.include("multisite.logs")
        config.include("multisite.content.settings")
        config.include("multisite.content.language")
        config.include("multisite.content.variables")
        config.include("multisite.content.pages")
        config.include("multisite.content.feeds")
        return config.make_wsgi_app()
