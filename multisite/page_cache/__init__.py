"""Page cache: a response that a view marks as public is rendered once and then served from memory.

`config.include("multisite.page_cache")` adds the view option `page_cache`, which states that the page is the same for
every anonymous visitor: `@view_config(route_name="home", page_cache=True)`, or a number of seconds instead of True.
Nothing is cached unless `multisite.page_cache_seconds` is set, or while `pyramid.reload_templates` is on.

The tween runs below multisite's own, which finds the site, and above pyramid_tm: serving a cached page needs no
transaction, no session and no route. A page belongs to one site, by its key and by the site stored with it, and becomes
stale as soon as a transaction that changes rows of its site commits (`multisite.page_cache.invalidation`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import IDefaultPermission
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.settings import asbool
from pyramid.tweens import EXCVIEW
from pyramid.viewderivers import INGRESS

from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.settings import Settings
from multisite.page_cache import startup_checks
from multisite.page_cache.cache import Handler, PageCache, render_once
from multisite.page_cache.invalidation import publish_changes, subscribe
from multisite.page_cache.versions import Versions
from multisite.web.includes import with_multisite
from multisite.web.startup import on_startup

__all__ = ["PAGE_CACHE", "PageCache", "includeme", "page_cache_tween_factory", "publish_changes"]

log = logging.getLogger(__name__)

PAGE_CACHE = "multisite.page_cache"
"""Registry key of the `PageCache`; missing if pages are not cached."""

View = Callable[[Any, Request], Response]


def page_cache_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that serves pages from the cache, or `handler` itself if pages are not cached."""
    cache: PageCache | None = registry.get(PAGE_CACHE)
    if cache is None:
        return handler
    answer = cache.answer

    def page_cache_tween(request: Request) -> Response:
        return answer(request, handler)

    return page_cache_tween


def page_cache_view(view: View, info: Any) -> View:
    """View deriver of the option `page_cache`: mark responses as cacheable and for how long."""
    option = info.options.get("page_cache")
    if option is None or option is False:
        return view
    if option is not True and not (isinstance(option, (int, float)) and option > 0):
        raise ConfigurationError(f"page_cache={option!r}: must be True, False or a number of seconds")
    settings: Settings = info.registry[SETTINGS]
    seconds = settings.page_cache_seconds if option is True else min(option, settings.page_cache_seconds)
    permission = info.options.get("permission") or info.registry.queryUtility(IDefaultPermission)
    if permission not in (None, NO_PERMISSION_REQUIRED):
        raise ConfigurationError(
            f"{info.original_view} has page_cache and the permission '{permission}', so it is not public: remove one "
            "of them, or set permission=NO_PERMISSION_REQUIRED"
        )
    if not _is_on(info.registry):
        return view

    def cacheable_view(context: Any, request: Request) -> Response:
        return render_once(lambda: view(context, request), request, seconds)

    return cacheable_view


page_cache_view.options = ("page_cache",)  # type: ignore[attr-defined]


def _is_on(registry: Registry) -> bool:
    settings: Settings = registry[SETTINGS]
    return bool(settings.page_cache_seconds) and not asbool(registry.settings.get("pyramid.reload_templates"))


def includeme(config: Configurator) -> None:
    """Add the view option `page_cache`, and cache pages if `multisite.page_cache_seconds` is set.

    Includes multisite.

    Raises:
        ConfigurationError: Pages are to be cached, and the Configurator was created with `introspection=False`.
    """
    config.add_view_deriver(page_cache_view, "page_cache", under=INGRESS, over="secured_view")
    with_multisite(config, _configure)


def _configure(config: Configurator) -> None:
    if not _is_on(config.registry):
        if config.registry[SETTINGS].page_cache_seconds:
            log.info("pages are not cached, because pyramid.reload_templates is on")
        return
    if not config.introspection:
        raise ConfigurationError(
            "multisite.page_cache inspects the application's views at startup: remove introspection=False, or set "
            "multisite.page_cache_seconds = 0"
        )
    # Otherwise pyramid_tm reads the user at every request, for a transaction note that only ZODB stores.
    config.registry.settings.setdefault("tm.annotate_user", "false")
    config.action(None, lambda: _connect(config.registry), order=PHASE3_CONFIG + 30)
    config.add_tween(
        "multisite.page_cache.page_cache_tween_factory",
        under=(
            "multisite.web.maintenance.maintenance_tween_factory",
            "multisite.web.error_pages.error_page_tween_factory",
            "multisite.web.tween.site_tween_factory",
        ),
        over=("pyramid_tm.tm_tween_factory", EXCVIEW),
    )
    on_startup(config.registry, _start)


def _connect(registry: Registry) -> None:
    """Create the cache over the directory's engine, which a directive may have replaced."""
    settings: Settings = registry[SETTINGS]
    versions = Versions(
        registry[DIRECTORY].engine, refresh_seconds=settings.refresh_seconds, size=settings.directory_size
    )
    subscribe(versions)
    registry[PAGE_CACHE] = PageCache(versions, settings)


def _start(registry: Registry) -> None:
    startup_checks.check_application(registry)
    registry[PAGE_CACHE].ambiguous_routes = startup_checks.ambiguous_routes(registry)
