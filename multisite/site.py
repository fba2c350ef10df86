"""A site, and which one is current.

`Site` is a small frozen value: it can be kept, compared and handed to any thread. The current site is held in a
context variable, so threads start without one and asyncio tasks inherit their parent's.

The current site decides for logs, formats and for sessions that nobody pinned. What rows a session sees rests on
the session's pin (`multisite.scoping`), never on what is current later.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ContextDecorator, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, fields
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from multisite.application import current_application
from multisite.errors import MultisiteError
from multisite.resolving import resolve

__all__ = ["Scope", "Site", "all_sites", "carry", "current_scope", "current_site", "push_scope", "using_site"]

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
Given = TypeVar("Given")
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

_FRAMES_TO_SKIP = re.compile(
    r"(multisite\.(site|dbsession|scoping)|sqlalchemy|zope\.sqlalchemy|contextlib)(\.|$)"
).match
"""Matches the modules through which an application's own line comes to work across all sites."""


class SettingsProvider(Protocol):
    """What an application has declared as settings of sites.

    `database` tells the database of its directory apart from others, by whose sites have the same ids. `application` is
    its name, None in a process with only one.
    """

    database: str
    application: str | None

    def settings_of(self, site: Site, /) -> Mapping[str, Any]:
        """Return the settings of `site`, by name."""


@dataclass(frozen=True, slots=True)
class Site:
    """One website, as a value.

    `id` is its key in the table `sites`. Its canonical domain is `host` (a name of A-labels), with `port` (None: any)
    and `path` (`/shop`, empty for all paths); `domain` and `str()` give that as one text. `folder` is the name of its
    folder below `multisite.sites_dir`; `locale` a BCP 47 tag; `timezone` a name of the IANA database; `theme`
    the name of the theme below its own templates, None for none. `template_generation` is another number after
    `multisite reload-templates`, `secret_generation` after `multisite rotate-secret`. `own_settings` are the texts of
    the settings that it has for itself, as JSON sorted by name, empty for none; `settings` gives what they mean.

    `settings_provider` resolves `settings`; the directory that found the site sets it. It is not part of the value:
    equality ignores it, and a pickled copy has none.
    """

    id: int
    host: str
    name: str
    folder: str
    locale: str = "en"
    timezone: str = "UTC"
    theme: str | None = None
    template_generation: int = field(default=0, repr=False)
    port: int | None = field(default=None, repr=False)
    path: str = field(default="", repr=False)
    secret_generation: int = field(default=0, repr=False)
    own_settings: str = field(default="", repr=False)
    settings_provider: SettingsProvider | None = field(default=None, repr=False, compare=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the application has declared, by name, with their values for this site.

        Asking for a name that is not declared raises `UndeclaredSetting`, a `KeyError`. Raises `SiteSettingError` if
        the site has a bad value for one, and `MultisiteError` for a site that no application of this process knows, or
        that several know, outside of their requests.
        """
        declared = settings_provider_for(self)
        if declared is None:
            raise MultisiteError(
                f"nobody knows what settings the site {self} has: take it from request.site, or from using_site() in a "
                "process with one application"
            )
        return declared.settings_of(self)

    @property
    def domain(self) -> str:
        """The canonical domain with its port and path, if it has them, such as `example.com/shop`."""
        return f"{self.host}{'' if self.port is None else f':{self.port}'}{self.path}"

    def __str__(self) -> str:
        return self.domain

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, tuple(getattr(self, item.name) for item in fields(self) if item.compare)


def settings_provider_for(site: Site) -> SettingsProvider | None:
    """Return what the application of `site` has declared; for a copy without, what the one that knows it has.

    None if there is no such one.
    """
    if site.settings_provider is not None:
        return site.settings_provider
    try:
        return resolve(site.id).settings_provider
    except MultisiteError:
        return None


def _unpickle(*values: Any) -> Site:
    return Site(**dict(zip((item.name for item in fields(Site) if item.compare), values, strict=True)))


@dataclass(frozen=True, slots=True)
class Scope:
    """What the running code works for: one site, or all of them where `site` is None.

    `reason` is the one given to `all_sites`, None for a single site. `explicit` is True if `using_site` or `all_sites`
    set the scope, False if a request for the site did.
    """

    site: Site | None
    reason: str | None = None
    explicit: bool = True


_scope: ContextVar[Scope | None] = ContextVar("multisite_scope", default=None)

current_scope: Callable[[], Scope | None] = _scope.get
"""The scope of the running code; None where neither a request nor a block has set one."""


request_id: ContextVar[str | None] = ContextVar("multisite_request_id", default=None)
"""The id of the request that the running code works for, for logs; `multisite.logs` sets it."""


def current_site() -> Site | None:
    """Return the site that is current here, or None: outside of any, under `all_sites`, on open paths."""
    scope = _scope.get()
    return scope.site if scope is not None else None


def push_scope(site: Site | None) -> Token[Scope | None]:
    """Make `site` (None: no site) current for a request; the caller resets the returned token with `pop_scope`."""
    return _scope.set(Scope(site, explicit=False) if site is not None else None)


def pop_scope(token: Token[Scope | None]) -> None:
    """Restore what was current before the `push_scope` that returned `token`."""
    _scope.reset(token)


class ScopeContext(ContextDecorator, Generic[Given]):
    """A `with` block, or a decorated function, in which a scope is current; `enter` says which when it begins."""

    def __init__(self, enter: Callable[[], Scope]) -> None:
        self._enter = enter
        self._tokens: list[Token[Scope | None]] = []

    def __enter__(self) -> Given:
        scope = self._enter()
        self._tokens.append(_scope.set(scope))
        return scope.site  # type: ignore[return-value]  # Each of the functions below knows which it gives.

    def __exit__(self, *error: object) -> None:
        # The last one that was entered here: other threads and tasks may be inside of the same block.
        for token in reversed(self._tokens):
            with suppress(ValueError):  # Of another context.
                _scope.reset(token)
                self._tokens.remove(token)
                return
        raise ValueError("a block of using_site or all_sites ends where it has not begun")

    def __call__(self, function: Function) -> Function:
        """Decorate `function`. Raises `TypeError` for one whose body runs only after the call, outside of the block."""
        _reject_deferred(function)
        return super().__call__(function)

    def _recreate_cm(self) -> ScopeContext[Given]:
        # Called by ContextDecorator for each call of a decorated function, which may run in several threads at once.
        return ScopeContext(self._enter)


def using_site(site: Site | int | str) -> ScopeContext[Site]:
    """Work for one site inside the block (or the decorated function), which gives the `Site`.

    `site` is a `Site`, or an id or host that the directory of the application knows. Sessions first used inside
    are pinned to it. Raises `UnknownSite` if no directory knows it, `InvalidHost` if it is a text but not a host,
    `MultisiteError` if two applications of this process know different sites by that id or host, and none is running
    (`multisite.vhosts`): one that is running has its own directory asked, and no other.
    """
    return ScopeContext(lambda: Scope(site if isinstance(site, Site) else resolve(site)))


def all_sites(reason: str) -> ScopeContext[None]:
    """Work across all sites inside the block (or the decorated function); sessions first used inside see every row.

    `reason` is required and logged, with the line that begins the block or calls the function. Raises `ValueError` if
    it is empty.
    """
    return ScopeContext(lambda: log_all_sites(reason))


def carry(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Return `function` as it is to be called in another thread: there it works for what is current here and now.

    That is one site, all sites with their reason, or none, in the application that is running (`multisite.vhosts`):
    what is current where it runs does not matter, and is so again afterwards. The result can be called any number of
    times, in several threads at once, and pickled if `function` can. Raises `TypeError` for one whose body runs only
    after the call.
    """
    _reject_deferred(function)
    scope = current_scope()
    # Carried on purpose, it counts as a block does, also against a session that an earlier job of a thread left open.
    block = None if scope is None else Scope(scope.site, scope.reason)
    return partial(_carried, block, current_application.get(), request_id.get(), function)


def _carried(
    scope: Scope | None,
    application: str | None,
    asked_by: str | None,
    function: Callable[Parameters, Returned],
    /,
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Returned:
    token, request_token = _scope.set(scope), request_id.set(asked_by)
    application_token = current_application.set(application)
    try:
        return function(*args, **kwargs)
    finally:
        current_application.reset(application_token)
        request_id.reset(request_token)
        _scope.reset(token)


def _reject_deferred(function: Callable[..., Any]) -> None:
    if any(later(function) for later in (iscoroutinefunction, isgeneratorfunction, isasyncgenfunction)):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"{name} runs after it was called: put its body into a with block instead")


def log_all_sites(reason: str) -> Scope:
    """Log that the calling code is about to work across all sites, and why, as one record; return the scope for it.

    The record is that of the application's own line. Raises `ValueError` if `reason` is empty.
    """
    if not str(reason or "").strip():
        raise ValueError('all sites need a reason, such as all_sites("nightly report")')
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _FRAMES_TO_SKIP(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    code = frame.f_code
    log.info(
        "all sites: %s (%s:%s in %s)", reason, code.co_filename, frame.f_lineno, code.co_qualname, stacklevel=level
    )
    return Scope(None, str(reason))
