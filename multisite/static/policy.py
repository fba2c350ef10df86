"""Serve remembered files in the execution policy, before Pyramid makes a request.

The response is that of `multisite.static.tween`, which remembers the files. Making a request and passing it through the
tweens costs more than half of such a response. It is left out only if nobody could tell: above the tween there are only
tweens of multisite's that pass such a request on unchanged, and the application has no execution policy, request
factory and subscribers of its own. Everything else (HEAD, ranges, a site in maintenance, a redirect, an unknown host)
takes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pyramid.interfaces import IRequestFactory, IRoutesMapper
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.router import default_execution_policy

from multisite.core.keys import OPEN_PATH, SETTINGS, SHIFTED_PATH
from multisite.core.settings import Settings
from multisite.errors import MultisiteError, UnknownSite
from multisite.static.files import Sendable, StaticFile, sendable
from multisite.static.memory import VIEWS, Memory
from multisite.static.tween import MEMORY, NAME, names_of_tweens
from multisite.web.request import find_match

__all__ = ["serve_early"]

_PASSING_TWEENS = frozenset({
    "multisite.web.tween.site_tween_factory", "multisite.web.error_pages.error_page_tween_factory",
    "multisite.web.maintenance.maintenance_tween_factory",
})  # fmt: skip
"""Tweens above that of static files that pass a request of an open site on, and its response back, unchanged."""

Environ = dict[str, Any]
Answer = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def serve_early(router: Any) -> None:
    """Wrap the execution policy of `router`, if nothing but multisite takes part in requests for static files."""
    registry: Registry = router.registry
    memory: Memory[tuple[StaticFile, Any, dict[str, Any]]] | None = registry.get(MEMORY)
    if memory is None or not _is_applicable(router):
        return
    policy, prefixes = router.execution_policy, _prefixes(registry)

    def static_policy(environ: Environ, router: Any) -> Answer:
        answer: Answer | None = None
        if environ.get("PATH_INFO", "").startswith(prefixes) and not registry.has_listeners:
            answer = _find(environ, registry, memory)
        if answer is None:
            answer = policy(environ, router)
        return answer

    router.execution_policy = static_policy


def _is_applicable(router: Any) -> bool:
    registry = router.registry
    settings: Settings = registry[SETTINGS]
    names = names_of_tweens(registry)
    above = names[: names.index(NAME)]
    return (
        "multisite.web.tween.site_tween_factory" in above
        and _PASSING_TWEENS.issuperset(above)
        # These two make the site tween do more than find the site.
        and settings.console_host is None
        and not settings.max_requests_per_site
        and router.execution_policy is default_execution_policy
        and registry.queryUtility(IRequestFactory) in (None, Request)
    )


def _prefixes(registry: Registry) -> tuple[str, ...]:
    """Return what the paths of the static views begin with: `("/static/",)`."""
    mapper = registry.getUtility(IRoutesMapper)
    patterns = [mapper.get_route(name).pattern for name in registry[VIEWS]]
    # The prefix of a route may have placeholders of its own.
    return tuple("/" + pattern.lstrip("/").partition("*")[0].partition("{")[0] for pattern in patterns)


def _find(environ: Environ, registry: Registry, memory: Memory[tuple[StaticFile, Any, Any]]) -> Answer | None:
    if environ["REQUEST_METHOD"] != "GET" or SHIFTED_PATH in environ or OPEN_PATH in environ:
        return None
    try:
        match = find_match(environ, registry)
    except MultisiteError:
        return None
    if isinstance(match, UnknownSite) or match.kind == "redirect" or match.path or match.closed is not None:
        return None
    site = match.site
    found = memory.find((site.folder, site.theme, environ.get("PATH_INFO", "")))
    response = None if found is None else sendable(environ, found[0])
    return None if response is None else partial(_send, response)


def _send(response: Sendable, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, headers, body = response
    start_response(status, headers)
    return body
