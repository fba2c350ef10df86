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
import time
from collections.abc import Callable, Hashable
from functools import wraps
from hashlib import sha256
from typing import Any

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.events import ApplicationCreated
from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import (
    IAuthenticationPolicy,
    IDefaultPermission,
    ILocaleNegotiator,
    IRoutesMapper,
    ISecurityPolicy,
)
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.settings import asbool
from pyramid.traversal import decode_path_info
from pyramid.tweens import EXCVIEW
from pyramid.viewderivers import INGRESS

from multisite.language import negotiate_locale
from multisite.negotiation import MAX_HEADER_CHARACTERS
from multisite.page_cache.keeping import LOOKED_AT_USER, ignoring, is_for_anybody, reason_against, says_language
from multisite.page_cache.pages import Page, Pages
from multisite.page_cache.versions import Version, Versions
from multisite.request import DIRECTORY, OPEN_PATH, SETTINGS
from multisite.settings import Settings
from multisite.site import Site

__all__ = ["PAGE_CACHE", "PageCache", "includeme", "page_cache_tween_factory"]

log = logging.getLogger(__name__)

PAGE_CACHE = "multisite.page_cache"
"""The key of the `PageCache` in the registry; it is not there where nothing is kept."""

MADE = "multisite.page_cache.made"
"""The key in the WSGI environ of the seconds for which a view's answer may be kept, and of that answer."""

MAX_KEY_CHARACTERS = 2_000
"""The longest address of a page that is kept, in characters of the key: what a page is taken to need besides itself."""

Handler = Callable[[Request], Response]
Key = tuple[int, str, str, str, str, str]
View = Callable[[Any, Request], Response]


class PageCache:
    """The pages of one application, in this process."""

    def __init__(self, versions: Versions, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.versions = versions
        self.pages = Pages(settings.page_cache_size * 1_000_000)
        self.hits = self.misses = 0
        self.unsure_routes: list[Any] = []
        """Routes that fit or do not by what is not in the key of a page."""
        self._ignores = ignoring(settings.page_cache_ignored_cookies)
        self._clock = clock

    def answer(self, request: Request, handler: Handler) -> Response:
        """Return the kept page for `request`, else what `handler` answers, and keep that if it may be."""
        environ = request.environ
        environ.pop(MADE, None)
        if OPEN_PATH in environ or not is_for_anybody(environ, self._ignores):
            return handler(request)
        site: Site = request.site
        version = self.versions.of(site.id)
        if version is None:
            return handler(request)
        key = _key_of(environ, site)  # Now: what handles the request may change its environ.
        page = self._find(request, key, site, version)
        if page is not None:
            self.hits += 1
            return _response_of(page)
        response = handler(request)
        made = environ.pop(MADE, None)
        # The very answer of the view, which no other view and no tween has put into another one.
        if made is not None and made[1] is response:
            self.misses += 1
            self._keep(request, response, key, site, version, made[0])
        return response

    def _find(self, request: Request, key: Hashable, site: Site, version: Version) -> Page | None:
        page = self.pages.get(key)
        if page is not None and page.body is None:
            page = self.pages.get((key, _language_of(request, page.by_header)))
        # The site is in the key as well. What is compared here is all of it: its settings, templates and secrets.
        if page is None or page.version != version or self._clock() >= page.expires:
            return None
        return page if page.site is site or page.site == site else None

    def _keep(
        self, request: Request, response: Response, key: Key, site: Site, version: Version, seconds: float
    ) -> None:
        reason = reason_against(request, response) or self._reason_in(key)
        if reason is None and self.versions.of(site.id) != version:
            reason = "rows of the site were changed meanwhile"
        expires = self._clock() + seconds
        if reason is None:
            headers = tuple(response.headerlist)
            page = Page(site, version, expires, headers, b"".join(response.app_iter), response.conditional_response)
            by_header = "accept-language" in {each.lower() for each in response.vary or ()}
            if by_header or _differs_by_language(request):
                # For a little longer than any of the pages: who finds this looks for the page of their language.
                self.pages.put(key, page._replace(body=None, headers=(), by_header=by_header))
                kept = self.pages.put((key, _language_of(request, by_header)), page)
            else:
                kept = self.pages.put(key, page)
            if not kept:
                reason = "it is too large"
        if reason is not None:
            log.debug("not kept: %s%s: %s", site, request.environ.get("PATH_INFO", ""), reason)

    def _reason_in(self, key: Key) -> str | None:
        """Return why nothing is kept under `key`, None if something is."""
        if sum(map(len, key[1:])) > MAX_KEY_CHARACTERS:
            return "its address is too long"
        if self.unsure_routes:
            path = decode_path_info(key[4] or "/")
            for route in self.unsure_routes:
                if route.match(path) is not None:
                    return f"the route '{route.name}' fits its address, by what is not in the key"
        return None


def _key_of(environ: dict[str, Any], site: Site) -> Key:
    """Return what a page is kept under: its site, and all that its address is made of, as it came."""
    return (
        site.id,
        environ["wsgi.url_scheme"],
        environ.get("HTTP_HOST", ""),
        environ.get("SCRIPT_NAME", ""),
        environ.get("PATH_INFO", ""),
        environ.get("QUERY_STRING", ""),
    )


def _language_of(request: Request, by_header: bool) -> Hashable:
    """Return what the pages of an address that differ by language are told apart by."""
    name: str = request.locale_name
    if not by_header:
        return name
    header = request.environ.get("HTTP_ACCEPT_LANGUAGE", "")
    # A long one is no browser's, and would take more memory than the page.
    return name, header if len(header) <= MAX_HEADER_CHARACTERS else sha256(header.encode()).digest()


def _differs_by_language(request: Request) -> bool:
    if says_language(request):
        return True
    # Another negotiator than ours need not say that it has looked at what the visitor wants.
    ours = request.registry.queryUtility(ILocaleNegotiator) is negotiate_locale
    return "locale_name" in request.__dict__ and not ours


def _response_of(page: Page) -> Response:
    return Response(headerlist=list(page.headers), app_iter=[page.body], conditional_response=page.is_conditional)


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
        response = view(context, request)
        request.environ[MADE] = (seconds, response)
        return response

    return view_for_everybody


page_cache_view.options = ("page_cache",)  # type: ignore[attr-defined]


def _is_on(registry: Registry) -> bool:
    settings: Settings = registry[SETTINGS]
    return bool(settings.page_cache_seconds) and not asbool(registry.settings.get("pyramid.reload_templates"))


def includeme(config: Configurator) -> None:
    """Let views have the option `page_cache`; keep pages if `multisite.page_cache_seconds` is set. Needs multisite."""
    config.add_view_deriver(page_cache_view, "page_cache", under=INGRESS, over="secured_view")
    if not _is_on(config.registry):
        if config.registry[SETTINGS].page_cache_seconds:
            log.info("no pages are kept, since pyramid.reload_templates is on")
        return
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
    config.add_subscriber(_complete, ApplicationCreated)


def _connect(registry: Registry) -> None:
    """Make the cache, over the directory's engine, which a directive may have replaced."""
    from multisite.page_cache import changes  # Listens to the sessions of the whole process, so only where it is used.

    settings: Settings = registry[SETTINGS]
    versions = Versions(
        registry[DIRECTORY].engine, refresh_seconds=settings.refresh_seconds, size=settings.directory_size
    )
    changes.watch(versions)
    registry[PAGE_CACHE] = PageCache(versions, settings)


def _complete(event: ApplicationCreated) -> None:
    registry = event.app.registry
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
    mapper = registry.queryUtility(IRoutesMapper)
    registry[PAGE_CACHE].unsure_routes += [
        route for route in (mapper.get_routes() if mapper else ()) if not all(map(_is_in_the_key, route.predicates))
    ]
    _refuse_other_answers(registry)


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
