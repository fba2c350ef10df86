"""The Pyramid application of the console, and what it takes from the application of the sites."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPException, HTTPInternalServerError, HTTPNotFound
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.router import Router
from sqlalchemy.engine import Engine

from multisite.console.pages import error_page
from multisite.console.renderer import TemplateRenderers
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.setting_parsers import Network
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Directory
from multisite.errors import MultisiteError
from multisite.language.negotiation import MAX_HEADER_CHARACTERS, best_language
from multisite.sites.settings import SettingsRegistry
from multisite.web.on_demand_tls import FORWARDED
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["Console", "is_allowed", "make_console"]

log = logging.getLogger(__name__)

LANGUAGES = ("en", "de")
"""The languages of the console; the browser's is used."""

PAGES = (
    "login_pages", "account_pages", "site_list_pages", "bulk_pages", "import_pages", "site_pages", "domain_pages",
    "settings_pages", "state_pages", "removal_pages", "copy_pages", "user_pages", "operator_pages", "log_pages",
    "job_pages", "traffic_pages", "health_pages", "passkey_pages", "theme_pages",
)  # fmt: skip
"""The modules with the pages, each with an `includeme`."""


class Console(NamedTuple):
    """What the pages of the console take from the application of the sites, as `request.console`."""

    registry: Registry
    settings: Settings
    directory: Directory
    declared: SettingsRegistry

    @property
    def engine(self) -> Engine:
        """The database of the directory."""
        return self.directory.engine

    def refresh_templates(self, site: Site | None = None) -> None:
        """Copy what has changed in `multisite.templates_store`: the shared templates, and those of `site`.

        If the store cannot be reached, the page shows what was copied last; the log says so.
        """
        if self.settings.templates_store is None:
            return
        # Imported here, because only applications with a store of templates need the module.
        from multisite.web.template_store import KEEPER

        keeper = self.registry[KEEPER]
        if site is None:
            keeper.generation()
        else:
            with suppress(MultisiteError):
                keeper.keep(site)


def make_console(registry: Registry) -> Router:
    """Return the console of the application with this registry, as a WSGI application."""
    found = Console(registry, registry[SETTINGS], registry[DIRECTORY], registry[SITE_SETTINGS])
    config = Configurator(settings={"pyramid.reload_templates": registry.settings.get("pyramid.reload_templates")})
    config.add_request_method(lambda _request: found, "console", reify=True)
    config.add_renderer(".mako", TemplateRenderers())
    config.add_translation_dirs("multisite.console:locale")
    config.set_locale_negotiator(negotiate_language)
    config.add_static_view("static", "multisite.console:static", cache_max_age=3600)
    if found.settings.console_worker:
        config.add_tween("multisite.console.worker_thread.worker_tween_factory")
    if found.settings.templates_store is not None:
        config.add_tween("multisite.console.application.templates_tween_factory")
    # The last one that is added is asked first.
    config.add_tween("multisite.console.application.network_tween_factory")
    config.add_notfound_view(lambda request: error_page(request, HTTPNotFound()))
    config.add_exception_view(lambda error, request: error_page(request, error), context=HTTPException)
    config.add_exception_view(_failed, context=Exception)
    for name in PAGES:
        config.include(f"multisite.console.{name}")
    config.commit()
    # Not `make_wsgi_app`, which lists the registry among the applications of the process.
    return Router(config.registry)


def negotiate_language(request: Request) -> str:
    """Return the language of the browser, if the console has it. A Pyramid locale negotiator."""
    header = request.environ.get("HTTP_ACCEPT_LANGUAGE", "")
    if not header or len(header) > MAX_HEADER_CHARACTERS:
        return LANGUAGES[0]
    return best_language(LANGUAGES, request.accept_language.parsed or ())


def network_tween_factory(handler: Any, _registry: Registry) -> Any:
    """Return a tween that refuses requests from outside of `multisite.console_networks`."""

    def network_tween(request: Request) -> Response:
        if not is_allowed(request.environ, request.console.settings.console_networks):
            # Not a warning: anybody can send them in any number.
            log.info("refused a request for the console from %s", request.environ.get("REMOTE_ADDR"))
            return Response("Forbidden\n", status=403, content_type="text/plain", cache_control="no-store")
        return handler(request)

    return network_tween


def templates_tween_factory(handler: Any, _registry: Registry) -> Any:
    """Return a tween that copies the themes of other machines before a page lists them."""

    def templates_tween(request: Request) -> Response:
        request.console.refresh_templates()
        return handler(request)

    return templates_tween


def is_allowed(environ: Mapping[str, Any], networks: tuple[Network, ...]) -> bool:
    """Return whether the request comes from one of `networks`, according to REMOTE_ADDR.

    A loopback address with a header that proxies add is the address of the proxy, and not of the browser: the server
    does not know that it may trust the proxy, and without this check anybody could pass.
    """
    try:
        address = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    # A dual-stack socket reports 127.0.0.1 as ::ffff:127.0.0.1.
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_loopback and any(header in environ for header in FORWARDED):
        return False
    return any(plain in network for network in networks)


def _failed(error: Exception, request: Request) -> Response:
    log.error("a page of the console failed: %s %s", request.method, request.path, exc_info=error)
    return error_page(request, HTTPInternalServerError())
