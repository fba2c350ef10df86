"""The page cache: what a view lets everybody have is made once, and then answered from memory.

`config.include("multisite.page_cache")` gives views the option `page_cache`, which says that a page is the same for
every anonymous reader: `@view_config(route_name="home", page_cache=True)`, or a number of seconds in the place of True.
Nothing is kept unless `multisite.page_cache_seconds` is set, and nothing while `pyramid.reload_templates` is on.

The tween stands under that which finds the site, and over pyramid_tm: a page that is kept costs no transaction, no
session and no route. It is of one site by its key and by what is kept with it, and it is old as soon as a transaction
that changes rows of its site has committed (`multisite.page_cache.changes`).
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

from multisite.includes import with_multisite
from multisite.keys import DIRECTORY, SETTINGS
from multisite.page_cache import conditions
from multisite.page_cache.cache import Handler, PageCache, made_by
from multisite.page_cache.versions import Versions
from multisite.settings import Settings
from multisite.start import at_start

__all__ = ["PAGE_CACHE", "PageCache", "includeme", "page_cache_tween_factory"]

log = logging.getLogger(__name__)

PAGE_CACHE = "multisite.page_cache"
"""The key of the `PageCache` in the registry; it is not there where nothing is kept."""

View = Callable[[Any, Request], Response]


def page_cache_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that answers from the page cache; `handler` itself where nothing is kept."""
    cache: PageCache | None = registry.get(PAGE_CACHE)
    if cache is None:
        return handler
    answer = cache.answer

    def page_cache_tween(request: Request) -> Response:
        return answer(request, handler)

    return page_cache_tween


def page_cache_view(view: View, info: Any) -> View:
    """Derive a view with the option `page_cache`: note that its answers may be kept, and for how long."""
    option = info.options.get("page_cache")
    if option is None or option is False:
        return view
    if option is not True and not (isinstance(option, (int, float)) and option > 0):
        raise ConfigurationError(f"page_cache={option!r}: True, False or a number of seconds")
    settings: Settings = info.registry[SETTINGS]
    seconds = settings.page_cache_seconds if option is True else min(option, settings.page_cache_seconds)
    permission = info.options.get("permission") or info.registry.queryUtility(IDefaultPermission)
    if permission not in (None, NO_PERMISSION_REQUIRED):
        raise ConfigurationError(
            f"{info.original_view} has page_cache and the permission '{permission}', so it is not for everybody: leave "
            "out one of them, or say permission=NO_PERMISSION_REQUIRED"
        )
    if not _is_on(info.registry):
        return view

    def view_for_everybody(context: Any, request: Request) -> Response:
        return made_by(lambda: view(context, request), request, seconds)

    return view_for_everybody


page_cache_view.options = ("page_cache",)  # type: ignore[attr-defined]


def _is_on(registry: Registry) -> bool:
    settings: Settings = registry[SETTINGS]
    return bool(settings.page_cache_seconds) and not asbool(registry.settings.get("pyramid.reload_templates"))


def includeme(config: Configurator) -> None:
    """Let views have the option `page_cache`; keep pages if `multisite.page_cache_seconds` is set.

    Includes multisite. Raises `ConfigurationError` where pages are to be kept and the application has no introspection.
    """
    config.add_view_deriver(page_cache_view, "page_cache", under=INGRESS, over="secured_view")
    with_multisite(config, _configure)


def _configure(config: Configurator) -> None:
    if not _is_on(config.registry):
        if config.registry[SETTINGS].page_cache_seconds:
            log.info("no pages are kept, since pyramid.reload_templates is on")
        return
    if not config.introspection:
        raise ConfigurationError(
            "multisite.page_cache looks through the views of the application at the start: leave out "
            "introspection=False, or set multisite.page_cache_seconds = 0"
        )
    # What pyramid_tm asks at every request, for a note on the transaction that nobody reads outside of ZODB.
    config.registry.settings.setdefault("tm.annotate_user", "false")
    config.action(None, lambda: _connect(config.registry), order=PHASE3_CONFIG + 30)
    config.add_tween(
        "multisite.page_cache.page_cache_tween_factory",
        under=(
            "multisite.maintenance.maintenance_tween_factory",
            "multisite.error_pages.error_page_tween_factory",
            "multisite.tween.site_tween_factory",
        ),
        over=("pyramid_tm.tm_tween_factory", EXCVIEW),
    )
    at_start(config.registry, _start)


def _connect(registry: Registry) -> None:
    """Make the cache, over the directory's engine, which a directive may have replaced."""
    from multisite.page_cache import changes  # Listens to the sessions of the whole process, so only where it is used.

    settings: Settings = registry[SETTINGS]
    versions = Versions(
        registry[DIRECTORY].engine, refresh_seconds=settings.refresh_seconds, size=settings.directory_size
    )
    changes.watch(versions)
    registry[PAGE_CACHE] = PageCache(versions, settings)


def _start(registry: Registry) -> None:
    conditions.check(registry)
    registry[PAGE_CACHE].unsure_routes = conditions.unsure_routes(registry)
