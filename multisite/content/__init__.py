"""The reference application: small content sites with the same structure, each with its own layout.

`main` is the `paste.app_factory` behind `use = egg:pyramid-multisite`. It is an example of an application that includes
multisite; its models, pages and importer are plain modules without any code about hosts and domains.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # The command line imports this package for `import-entries`, and must not import Pyramid for it.
    from pyramid.router import Router

__all__ = ["main"]

log = logging.getLogger(__name__)


def main(global_config: Mapping[str, str], **settings: Any) -> Router:
    """Return the WSGI application; `settings` are the keys of `[app:main]` as passed by PasteDeploy."""
    from pyramid.config import Configurator

    # One transaction manager per request, which raises an error if it is used outside of the transaction. multisite
    # leaves this to the application, which may have registered its own session with the thread's manager.
    settings.setdefault("tm.manager_hook", "pyramid_tm.explicit_manager")
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("multisite.static")
        config.include("multisite.page_cache")
        config.include("multisite.logs")
        config.include("multisite.content.settings")
        config.include("multisite.content.security_headers")
        config.include("multisite.content.addresses")
        config.include("multisite.content.users")
        config.include("multisite.content.messages")
        config.include("multisite.content.theme_css")
        config.include("multisite.content.variables")
        config.include("multisite.content.pages")
        config.include("multisite.content.search_page")
        config.include("multisite.content.feeds")
        config.include("multisite.content.not_found")
        config.include("multisite.content.editor")
        if _has_media_packages():
            config.include("multisite.content.media")
        config.include("multisite.content.page_view")
        if settings.get("multisite.console_host"):
            config.include("multisite.console")
        return config.make_wsgi_app()


def _has_media_packages() -> bool:
    """Return whether the packages of the extra `media` are installed; the application also starts without them."""
    try:
        import_module("fsspec")
        import_module("PIL")
    except ModuleNotFoundError as error:
        log.info("no media: %s is not installed: pip install 'pyramid-multisite[media]'", error.name)
        return False
    return True
