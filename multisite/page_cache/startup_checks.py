"""Startup checks that keep personal pages out of the shared cache.

They run once the application is complete, and stop the start if they fail.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import IAuthenticationPolicy, IRoutesMapper, ISecurityPolicy
from pyramid.registry import Registry
from pyramid.settings import asbool

from multisite.page_cache.cacheability import USER_WAS_READ

__all__ = ["ambiguous_routes", "check_application"]


def check_application(registry: Registry) -> None:
    """Check the application, and record from now on which requests read the user.

    Raises:
        ConfigurationError: A personal page could be cached.
    """
    for interface in (ISecurityPolicy, IAuthenticationPolicy):
        policy = registry.queryUtility(interface)
        if policy is None:
            continue
        if asbool(registry.settings["tm.annotate_user"]):
            raise ConfigurationError(
                "tm.annotate_user reads the user at every request, so no page would be cacheable: set it to false, or "
                "multisite.page_cache_seconds to 0"
            )
        _watch_policy(policy)
    _check_competing_views(registry)


def ambiguous_routes(registry: Registry) -> list[Any]:
    """Return the routes whose predicates depend on something that the cache key does not contain."""
    mapper = registry.queryUtility(IRoutesMapper)
    routes = mapper.get_routes() if mapper else ()
    return [route for route in routes if not all(map(_depends_on_key_only, route.predicates))]


_ABOUT_THE_USER = (
    "identity", "authenticated_userid", "unauthenticated_userid", "effective_principals", "permits",
)  # fmt: skip


def _watch_policy(policy: Any) -> None:
    """Record each request for which `policy` is asked for the user."""
    for name in _ABOUT_THE_USER:
        method = getattr(policy, name, None)
        if method is None:
            continue
        try:
            setattr(policy, name, _recording(method))
        except (AttributeError, TypeError):
            raise ConfigurationError(
                f"multisite.page_cache cannot observe calls of {type(policy).__qualname__}.{name}, so a personal page "
                "could be cached: let the policy accept attributes, or set multisite.page_cache_seconds = 0"
            ) from None


def _recording(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def recording(request: Any, *args: Any, **options: Any) -> Any:
        environ = getattr(request, "environ", None)
        if environ is not None:
            environ[USER_WAS_READ] = True
        return method(request, *args, **options)

    return recording


_KEY_PREDICATES = frozenset(
    {"RequestMethod", "RequestParam", "MatchParam", "PathInfo", "PhysicalPath", "Containment", "Traverse"}
)
"""Pyramid's predicates that depend only on what the cache key contains, and on the context found from it."""


def _check_competing_views(registry: Registry) -> None:
    """Raise `ConfigurationError` if views of one route are selected by what the cache key does not contain."""
    views = [entry["introspectable"] for entry in registry.introspector.get_category("views") or ()]
    kept = {(view["route_name"], view["name"]): view for view in views if view.get("page_cache")}
    for view in views:
        other = kept.get((view["route_name"], view["name"]))
        if other is None:
            continue
        found = [each.text() for each in view["predicates"] if not _depends_on_key_only(each)]
        if found:
            raise ConfigurationError(
                f"{other['callable']} has page_cache, and at the same URL {view['callable']} responds only if "
                f"'{found[0]}', which the cache key does not contain: remove page_cache"
            )


def _depends_on_key_only(predicate: Any) -> bool:
    """Return whether `predicate` depends only on what the cache key contains.

    The predicates of `multisite.web` depend only on the site. Those of multisite's other packages are not trusted, like
    those of the application.
    """
    kind = type(getattr(predicate, "predicate", predicate))  # not_("…") wraps another predicate.
    if kind.__module__.startswith("multisite.web."):
        return True
    return kind.__module__ == "pyramid.predicates" and kind.__name__.removesuffix("Predicate") in _KEY_PREDICATES
