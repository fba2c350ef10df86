"""Serve the remembered files of known hosts above the transaction, the routes and the view.

The response is the one of the view. So any code of the application that would take part in the view's response turns
this off, for the whole application (`_is_applicable`) or for a path that an earlier route matches as well (`remember`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.events import BeforeTraversal, ContextFound, NewRequest
from pyramid.interfaces import IRootFactory, IRoutesMapper, ITweens
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.traversal import DefaultRootFactory, decode_path_info
from pyramid.tweens import EXCVIEW, MAIN
from zope.interface import implementedBy

from multisite.static.files import StaticFile, respond_again
from multisite.static.memory import VIEWS, Memory, is_development
from multisite.web.derivers import has_own_derivers

__all__ = ["MEMORY", "NAME", "names_of_tweens", "remember", "static_tween_factory"]

NAME = "multisite.static.tween.static_tween_factory"
MEMORY = "multisite.static_memory"
"""Registry key of the `Memory` of files by PATH_INFO; missing if the tween is off."""

_HARMLESS_TWEENS = frozenset({
    "multisite.page_cache.page_cache_tween_factory", "pyramid_tm.tm_tween_factory", EXCVIEW, MAIN,
})  # fmt: skip
"""Tweens below this one that do not change the response of the static view."""

Handler = Callable[[Request], Response]


def static_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that serves remembered files, or `handler` itself if it must not."""
    if is_development(registry) or not _is_applicable(registry):
        registry.pop(MEMORY, None)
        return handler
    memory: Memory[tuple[StaticFile, Any, dict[str, Any]]] = Memory()
    registry[MEMORY] = memory

    def static_tween(request: Request) -> Response:
        environ = request.environ
        site = request.__dict__.get("site")
        if site is None or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return handler(request)
        found = memory.find((site.folder, site.theme, environ.get("PATH_INFO", "")))
        if found is None:
            return handler(request)
        file, route, matchdict = found
        try:
            response = respond_again(request, file)
        except OSError:
            return handler(request)
        # Tweens above this one may read them, for logs and metrics.
        request.matched_route, request.matchdict = route, dict(matchdict)
        return response

    return static_tween


def remember(request: Request, file: StaticFile) -> None:
    """Let the tween serve `file` for the URL of `request` from now on, if the view is sure to get it."""
    memory: Memory[tuple[StaticFile, Any, dict[str, Any]]] | None = request.registry.get(MEMORY)
    site = request.__dict__.get("site")
    if memory is None or site is None:
        return
    path_info = request.environ.get("PATH_INFO", "")
    if _is_first_match(request, path_info):
        memory.remember((site.folder, site.theme, path_info), (file, request.matched_route, request.matchdict))


def _is_first_match(request: Request, path_info: str) -> bool:
    """Return whether no earlier route has a pattern for this path: its predicates may accept another request."""
    path = decode_path_info(path_info or "/")
    for route in request.registry.getUtility(IRoutesMapper).get_routes():
        if route is request.matched_route:
            return not route.predicates
        if route.match(path) is not None:
            return False
    return False


def names_of_tweens(registry: Registry) -> list[str]:
    """Return the names of the application's tweens, the outermost first."""
    tweens = registry.getUtility(ITweens)
    return [name for name, _factory in (tweens.explicit or tweens.implicit())]


def _is_applicable(registry: Registry) -> bool:
    """Return whether nothing of the application takes part in the response of the static view."""
    names = names_of_tweens(registry)
    if NAME not in names or not _HARMLESS_TWEENS.issuperset(names[names.index(NAME) + 1 :]):
        return False
    events = (NewRequest, BeforeTraversal, ContextFound)
    if any(registry.adapters.subscriptions((implementedBy(event),), None) for event in events):
        return False
    root_factory = registry.queryUtility(IRootFactory)
    if root_factory is not None and root_factory is not DefaultRootFactory:
        return False
    if has_own_derivers(registry):
        return False
    views = registry.introspector.get_category("views") or ()
    routes = [each["introspectable"]["route_name"] for each in views]
    return all(routes.count(name) <= 1 for name in registry[VIEWS])
