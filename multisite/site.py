"""A site, and which one is current.

`Site` is a small frozen value: it can be kept, compared and handed to any thread. The current site is held in a
context variable, so threads start without one and asyncio tasks inherit their parent's.

The current site decides for logs, formats and for sessions that nobody pinned. What rows a session sees rests on
the session's pin (`multisite.scoping`), never on what is current later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field

from multisite.errors import MultisiteError, UnknownSite

__all__ = ["Scope", "Site", "all_sites", "current_scope", "current_site", "enter_request", "using_site"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """One website, as a value.

    `id` is its key in the table `sites`; `host` its canonical domain (an A-label, without port); `folder` the name
    of its folder below `multisite.sites_dir`; `locale` a BCP 47 tag; `timezone` a name of the IANA database; `theme`
    the name of the theme below its own templates, None for none. `template_generation` is another number after
    `multisite reload-templates`.
    """

    id: int
    host: str
    name: str
    folder: str
    locale: str = "en"
    timezone: str = "UTC"
    theme: str | None = None
    template_generation: int = field(default=0, repr=False)

    def __str__(self) -> str:
        return self.host


@dataclass(frozen=True, slots=True)
class Scope:
    """What the running code works for: one site, or all of them where `site` is None.

    `reason` is the one given to `all_sites`, None for a single site. `block` is true where `using_site` or
    `all_sites` said so in the code, false where a request merely arrived for the site.
    """

    site: Site | None
    reason: str | None = None
    block: bool = True


_scope: ContextVar[Scope | None] = ContextVar("multisite_scope", default=None)

current_scope: Callable[[], Scope | None] = _scope.get
"""The scope of the running code; None where neither a request nor a block has set one."""

resolvers: list[Callable[[int | str], Site | None]] = []
"""Called by `using_site` with an id or a host; a directory adds itself when an application includes multisite."""


def current_site() -> Site | None:
    """Return the site that is current here, or None: outside of any, under `all_sites`, on open paths."""
    scope = _scope.get()
    return scope.site if scope is not None else None


def enter_request(site: Site | None) -> Token[Scope | None]:
    """Make `site` (None: no site) current for a request; the caller resets the returned token with `leave_request`."""
    return _scope.set(Scope(site, block=False) if site is not None else None)


def leave_request(token: Token[Scope | None]) -> None:
    """Restore what was current before the `enter_request` that returned `token`."""
    _scope.reset(token)


@contextmanager
def using_site(site: Site | int | str) -> Iterator[Site]:
    """Work for one site inside the block (or the decorated function).

    `site` is a `Site`, or an id or host that the directory of the application knows. Sessions first used inside
    are pinned to it. Raises `UnknownSite` if no directory knows it, `InvalidHost` if it is a text but not a host,
    `MultisiteError` if two applications of this process know different sites by that id or host.
    """
    found = site if isinstance(site, Site) else _resolve(site)
    token = _scope.set(Scope(found))
    try:
        yield found
    finally:
        _scope.reset(token)


@contextmanager
def all_sites(reason: str) -> Iterator[None]:
    """Work across all sites inside the block (or the decorated function); sessions first used inside see every row.

    `reason` is required and logged. Raises `ValueError` if it is empty.
    """
    if not str(reason or "").strip():
        raise ValueError('all_sites needs a reason, such as all_sites("nightly report")')
    log.info("all sites: %s", reason)
    token = _scope.set(Scope(None, reason))
    try:
        yield
    finally:
        _scope.reset(token)


def _resolve(name: int | str) -> Site:
    if type(name) not in (int, str):
        raise TypeError(f"using_site takes a Site, an id or a host, not {type(name).__name__}")
    found = {site for resolve in list(resolvers) if (site := resolve(name)) is not None}
    if not found:
        hint = "" if resolvers else " (no application has included multisite in this process yet)"
        raise UnknownSite(name, f"no site is known as '{name}'{hint}" if hint else None)
    if len(found) > 1:
        raise MultisiteError(
            f"'{name}' means different sites in the applications of this process: give using_site the Site itself"
        )
    return found.pop()
