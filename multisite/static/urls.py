"""Cache the URLs of static files, in `request.static_path` and `request.static_url`.

The URL that Pyramid would return is cached without the part that depends on the request: its host and its SCRIPT_NAME.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IRequestExtensions, IRequestFactory, IStaticURLInfo
from pyramid.path import caller_package
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.url import URLMethodsMixin

from multisite.core.site import site_or_none
from multisite.static.memory import VIEWS, Memory, is_development
from multisite.static.view import SiteStatic

__all__ = ["remember_urls"]

Method = Callable[..., str]


def remember_urls(registry: Registry) -> None:
    """Add the two methods to the application's requests, unless it has its own, or is in development."""
    extensions: Any = registry.queryUtility(IRequestExtensions)
    factory = registry.queryUtility(IRequestFactory) or Request
    if extensions is None or is_development(registry):
        return
    memory: Memory[str] = Memory()
    for name in ("static_path", "static_url"):
        plain: Method = getattr(URLMethodsMixin, name)
        is_ours = name not in extensions.methods and name not in extensions.descriptors
        if is_ours and getattr(factory, name, None) is plain:
            extensions.methods[name] = _method(name, plain, memory)


def _method(name: str, plain: Method, memory: Memory[str]) -> Method:
    is_path, find = name == "static_path", memory.find

    def static_method(request: Request, path: str, **kw: Any) -> str:
        if ":" not in path and not path.startswith("/"):
            # Here, because it looks at the caller of this function.
            path = f"{caller_package().__name__}:{path}"
        site = request.__dict__.get("site") or site_or_none(request)
        if kw or site is None:
            return plain(request, path, **kw)
        key = (site.folder, site.theme, path)
        tail = find(key)
        if tail is None:
            whole = URLMethodsMixin.static_path(request, path)
            tail = whole.removeprefix(request.script_name)
            if not _depends_only_on_site(request, path, tail):
                return plain(request, path)
            memory.remember(key, tail)
        if is_path:
            return request.script_name + tail if request.environ.get("SCRIPT_NAME") else tail
        return f"{request.application_url}{tail}"

    static_method.__name__ = name
    static_method.__doc__ = plain.__doc__
    return static_method


def _depends_only_on_site(request: Request, path: str, tail: str) -> bool:
    """Return whether `tail` is a URL with a hash of ours, to which no code of the application has contributed."""
    info = request.registry.getUtility(IStaticURLInfo)
    views: dict[str, SiteStatic] = request.registry[VIEWS]
    route_name = next((name for _url, spec, name in info.registrations if path.startswith(spec)), None)
    if route_name not in views:
        return False
    ours = [view.add_content_hash for view in views.values()]
    busters = [buster for spec, buster, explicit in info.cache_busters if explicit or path.startswith(spec)]
    return "?v=" in tail and all(buster in ours for buster in busters)
