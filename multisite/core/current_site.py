"""The current site: which site the running code works for.

It is stored in a context variable, so that threads start without one and asyncio tasks inherit their parent's. It
determines logs, formats and the sites of sessions that are not pinned yet. The rows that a session sees depend on its
pin (`multisite.scoping`), whatever becomes current later.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from contextlib import ContextDecorator, suppress
from contextvars import ContextVar, Token
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from multisite.core.application import current_application
from multisite.core.site import Site, resolve

__all__ = [
    "Scope",
    "ScopeContext",
    "all_sites",
    "carry",
    "current_scope",
    "current_site",
    "log_all_sites",
    "pop_scope",
    "push_scope",
    "request_id",
    "using_site",
]

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
Given = TypeVar("Given")
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

_FRAMES_TO_SKIP = re.compile(
    r"(multisite\.(core\.current_site|web\.dbsession|scoping)|sqlalchemy|zope\.sqlalchemy|contextlib)(\.|$)"
).match
"""Matches the modules between the application's line that asks for all sites and `log_all_sites`."""


class Scope(NamedTuple):
    """What the running code works for: one site, or all of them if `site` is None.

    `reason` is the one passed to `all_sites`, None for a single site. `explicit` is True if `using_site` or `all_sites`
    set the scope, False if a request for the site did.
    """

    site: Site | None
    reason: str | None = None
    explicit: bool = True


_scope: ContextVar[Scope | None] = ContextVar("multisite_scope", default=None)

current_scope: Callable[[], Scope | None] = _scope.get
"""Return the scope of the running code; None if neither a request nor a block has set one."""

request_id: ContextVar[str | None] = ContextVar("multisite_request_id", default=None)
"""The id of the request that the running code works for, for logs; `multisite.logs` sets it."""


def current_site() -> Site | None:
    """Return the current site, or None: outside of any request and block, inside `all_sites`, and on open paths."""
    scope = _scope.get()
    return scope.site if scope is not None else None


def push_scope(site: Site | None) -> Token[Scope | None]:
    """Make `site` (None: no site) current for a request; pass the returned token to `pop_scope` afterwards."""
    return _scope.set(Scope(site, explicit=False) if site is not None else None)


def pop_scope(token: Token[Scope | None]) -> None:
    """Restore the scope from before the `push_scope` that returned `token`."""
    _scope.reset(token)


class ScopeContext(ContextDecorator, Generic[Given]):
    """A context manager and decorator that makes a scope current; `enter` returns the scope on entering."""

    def __init__(self, enter: Callable[[], Scope]) -> None:
        self._enter = enter
        self._tokens: list[Token[Scope | None]] = []

    def __enter__(self) -> Given:
        scope = self._enter()
        self._tokens.append(_scope.set(scope))
        return scope.site  # type: ignore[return-value]  # The functions below declare which one it is.

    def __exit__(self, *error: object) -> None:
        # The latest token of this context: other threads and tasks may have entered the same object.
        for token in reversed(self._tokens):
            with suppress(ValueError):  # The token belongs to another context.
                _scope.reset(token)
                self._tokens.remove(token)
                return
        raise ValueError("a block of using_site or all_sites ends in another context than it began in")

    def __call__(self, function: Function) -> Function:
        """Decorate `function`.

        Returns:
            A function whose calls run inside the block.

        Raises:
            TypeError: If the body of `function` runs only after the call, outside of the block.
        """
        _reject_deferred(function)
        return super().__call__(function)

    def _recreate_cm(self) -> ScopeContext[Given]:
        # ContextDecorator calls this for each call of the decorated function, since several threads may run it at once.
        return ScopeContext(self._enter)


def using_site(site: Site | int | str) -> ScopeContext[Site]:
    """Work for one site inside the block, or in the decorated function.

    Sessions that are first used inside are pinned to the site.

    Args:
        site: A `Site`, or the id or domain of one. In a process with several applications (`multisite.vhosts`), only
            the directory of the current application is searched, or all of them if none is current.

    Returns:
        A context manager, whose `with` statement gives the `Site`, and a decorator.

    Raises:
        UnknownSite: If no directory knows the site.
        InvalidHost: If `site` is a string but not a domain.
        MultisiteError: If it means different sites in several applications, and none is current.
    """
    return ScopeContext(lambda: Scope(site if isinstance(site, Site) else resolve(site)))


def all_sites(reason: str) -> ScopeContext[None]:
    """Work across all sites inside the block, or in the decorated function.

    Sessions that are first used inside see the rows of every site.

    Args:
        reason: Why. It is logged together with the line that begins the block or calls the function.

    Returns:
        A context manager, whose `with` statement gives None, and a decorator.

    Raises:
        ValueError: If `reason` is empty.
    """
    return ScopeContext(lambda: log_all_sites(reason))


def carry(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Wrap `function` so that it runs with the present context in any thread.

    The context consists of one site, all sites with their reason, or none; the request id; and the application
    (`multisite.vhosts`). After each call the context of the calling thread is restored.

    Returns:
        A function that several threads may call at once, any number of times, and that can be pickled if `function`
        can.

    Raises:
        TypeError: If the body of `function` runs only after the call.
    """
    _reject_deferred(function)
    scope = current_scope()
    # The caller asked for this scope, so it counts as explicit, also for a session that an earlier job of the thread
    # has left open.
    explicit = None if scope is None else Scope(scope.site, scope.reason)
    return partial(_carried, explicit, current_application.get(), request_id.get(), function)


def _carried(
    scope: Scope | None,
    application: str | None,
    carried_id: str | None,
    function: Callable[Parameters, Returned],
    /,
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Returned:
    token, request_token = _scope.set(scope), request_id.set(carried_id)
    application_token = current_application.set(application)
    try:
        return function(*args, **kwargs)
    finally:
        current_application.reset(application_token)
        request_id.reset(request_token)
        _scope.reset(token)


def _reject_deferred(function: Callable[..., Any]) -> None:
    if any(is_deferred(function) for is_deferred in (iscoroutinefunction, isgeneratorfunction, isasyncgenfunction)):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"the body of {name} runs only after the call: put it into a with block instead")


def log_all_sites(reason: str) -> Scope:
    """Log that the calling code works across all sites, and why.

    The log record has the file and line of the application.

    Returns:
        The scope of all sites, with `reason`.

    Raises:
        ValueError: If `reason` is empty.
    """
    if not str(reason or "").strip():
        raise ValueError('all_sites needs a reason, such as all_sites("nightly report")')
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _FRAMES_TO_SKIP(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    code = frame.f_code
    log.info(
        "all sites: %s (%s:%s in %s)", reason, code.co_filename, frame.f_lineno, code.co_qualname, stacklevel=level
    )
    return Scope(None, str(reason))
