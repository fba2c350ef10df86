"""Conditions: what an application must be like, so that no page of its for somebody is kept for everybody.

They are looked at when it is complete; what does not meet them stops the start.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import IAuthenticationPolicy, IRoutesMapper, ISecurityPolicy
from pyramid.registry import Registry
from pyramid.settings import asbool

from multisite.page_cache.keeping import LOOKED_AT_USER

__all__ = ["check", "unsure_routes"]


def check(registry: Registry) -> None:
    """Note from now on who asks for the user. Raises `ConfigurationError` where a page for somebody might be kept."""
    for interface in (ISecurityPolicy, IAuthenticationPolicy):
        policy = registry.queryUtility(interface)
        if policy is None:
            continue
        if asbool(registry.settings["tm.annotate_user"]):
            raise ConfigurationError(
                "tm.annotate_user asks at every request who is logged in, so that no page could be kept: set it to "
                "false, or multisite.page_cache_seconds to 0"
            )
        _watch_policy(policy)
    _refuse_other_answers(registry)


def unsure_routes(registry: Registry) -> list[Any]:
    """Return the routes that fit or do not by what is not in the key of a page."""
    mapper = registry.queryUtility(IRoutesMapper)
    routes = mapper.get_routes() if mapper else ()
    return [route for route in routes if not all(map(_is_in_the_key, route.predicates))]


_ABOUT_THE_USER = (
    "identity", "authenticated_userid", "unauthenticated_userid", "effective_principals", "permits",
)  # fmt: skip


def _watch_policy(policy: Any) -> None:
    """Note each request for which `policy` is asked who is logged in."""
    for name in _ABOUT_THE_USER:
        method = getattr(policy, name, None)
        if method is None:
            continue
        try:
            setattr(policy, name, _noting(method))
        except (AttributeError, TypeError):
            raise ConfigurationError(
                f"multisite.page_cache cannot see when {type(policy).__qualname__}.{name} is asked, so that a page for "
                "somebody might be kept: let the policy have attributes, or set multisite.page_cache_seconds = 0"
            ) from None


def _noting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def noting(request: Any, *args: Any, **options: Any) -> Any:
        environ = getattr(request, "environ", None)
        if environ is not None:
            environ[LOOKED_AT_USER] = True
        return method(request, *args, **options)

    return noting


_IN_THE_KEY = frozenset(
    {"RequestMethod", "RequestParam", "MatchParam", "PathInfo", "PhysicalPath", "Containment", "Traverse"}
)
"""Pyramid's predicates that look at nothing but what is in the key of a page, and at the context that this leads to."""


def _refuse_other_answers(registry: Registry) -> None:
    """Raise `ConfigurationError` where the views of one route are told apart by what is not in the key of a page."""
    views = [entry["introspectable"] for entry in registry.introspector.get_category("views") or ()]
    kept = {(view["route_name"], view["name"]): view for view in views if view.get("page_cache")}
    for view in views:
        other = kept.get((view["route_name"], view["name"]))
        found = [] if other is None else [each.text() for each in view["predicates"] if not _is_in_the_key(each)]
        if other is not None and found:
            raise ConfigurationError(
                f"{other['callable']} has page_cache, and at the same address {view['callable']} answers only where "
                f"'{found[0]}', which is not in the key of a page: leave out page_cache"
            )


def _is_in_the_key(predicate: Any) -> bool:
    kind = type(getattr(predicate, "predicate", predicate))  # not_("…") holds another one.
    if kind.__module__.startswith("multisite."):
        return True
    return kind.__module__ == "pyramid.predicates" and kind.__name__.removesuffix("Predicate") in _IN_THE_KEY
