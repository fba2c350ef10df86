"""Record what happens during a request: statements, templates and cache lookups.

The recording functions are installed once, when the toolbar is first shown; without a toolbar nothing is patched.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from multisite.core.current_site import Scope
from multisite.core.site import Site
from multisite.scoping.pin import scope_of_unscoped_statement
from multisite.scoping.recompile import recompile_unlimited
from multisite.templates import names
from multisite.templates.lookup import SiteLookup

__all__ = ["Lookup", "Recording", "Statement", "UsedTemplate", "mark_added", "recording"]

MAX_RECORDED = 500
"""Limit for each kind of event."""

_GENERATIONS = (":hard", ":soft")
"""Suffixes of the keys in which multisite.caching stores the generations of a site."""

_TOKENS = re.compile(r"\s+|[\w.%\"]+|.")


class Statement(NamedTuple):
    """An executed statement, and what it was limited to.

    `parts` is its text in pieces, each with whether the scoping layer added it. `limit` describes the site whose
    rows it can access; None for a statement without scoped tables.
    """

    parts: tuple[tuple[str, bool], ...]
    limit: str | None


class UsedTemplate(NamedTuple):
    """A template that was requested: its name in the overlay, the site, and the file that was used."""

    name: str
    site: Site | None
    file: str


class Lookup(NamedTuple):
    """A cache lookup; `hit` is whether the value was cached."""

    cache: str
    key: str
    hit: bool


@dataclass
class Recording:
    """The recorded events of one request."""

    statements: list[Statement] = field(default_factory=list)
    templates: list[UsedTemplate] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)


_current: ContextVar[Recording | None] = ContextVar("multisite_recording", default=None)


@contextmanager
def recording(found: Recording) -> Iterator[None]:
    """Record what happens inside the block in `found`."""
    _install()
    token = _current.set(found)
    try:
        yield
    finally:
        _current.reset(token)


def _record(kind: str, make: Callable[[], Any]) -> None:
    found = _current.get()
    if found is not None and len(getattr(found, kind)) < MAX_RECORDED:
        getattr(found, kind).append(make())


@cache
def _install() -> None:
    """Install the recording functions, once for the process."""
    event.listen(Engine, "before_cursor_execute", _executed)
    _call_after(SiteLookup, "get_template", _got_template)
    try:
        from dogpile.cache.region import CacheRegion
    except ModuleNotFoundError:
        pass
    else:
        _call_after(CacheRegion, "_get_from_backend", _got_value)
        _call_after(CacheRegion, "_get_multi_from_backend", _got_values)
    from multisite.page_cache import PageCache

    _call_after(PageCache, "_find", _got_page)


def _call_after(owner: Any, name: str, record: Callable[..., None]) -> None:
    plain = getattr(owner, name)

    def call(self: Any, *args: Any, **options: Any) -> Any:
        found = plain(self, *args, **options)
        if _current.get() is not None:
            record(found, self, *args, **options)
        return found

    setattr(owner, name, call)


def _executed(
    connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
) -> None:
    _record("statements", lambda: _statement(connection, statement, getattr(context, "compiled", None)))


def _statement(connection: Connection, statement: str, compiled: Any) -> Statement:
    if not getattr(compiled, "is_scoped_statement", False):
        return Statement(((statement, False),), None)
    scope = scope_of_unscoped_statement(connection)
    return Statement(mark_added(str(recompile_unlimited(compiled)), str(compiled)), _describe_scope(scope))


def _describe_scope(scope: Scope | None) -> str:
    if scope is None:
        return "no site"
    return f"all sites: {scope.reason}" if scope.site is None else str(scope.site)


def mark_added(plain: str, text: str) -> tuple[tuple[str, bool], ...]:
    """Return `text` in pieces, each with whether it was added to `plain`; the pieces not added make up `plain`."""
    missing = deque(_TOKENS.findall(plain))
    pieces: list[tuple[str, bool]] = []
    for token in _TOKENS.findall(text):
        # The scoping layer only adds tokens: one that does not come next in the plain text was inserted.
        is_own = bool(missing) and missing[0] == token
        if is_own:
            missing.popleft()
        if pieces and pieces[-1][1] is not is_own:
            pieces[-1] = (pieces[-1][0] + token, pieces[-1][1])
        else:
            pieces.append((token, not is_own))
    return tuple(pieces) if not missing else ((text, False),)


def _got_template(view: Any, lookup: SiteLookup, uri: str, relativeto: str | None = None) -> None:
    _record("templates", lambda: UsedTemplate(names.canonical(uri, relativeto), lookup.site, str(view.filename)))


def _got_value(value: Any, region: Any, key: Any) -> None:
    _record("lookups", lambda: Lookup(_region_name(region), str(key), _is_hit(value)))


def _got_values(values: Any, region: Any, keys: Any) -> None:
    for key, value in zip(keys, values, strict=False):
        if not str(key).endswith(_GENERATIONS):
            _got_value(value, region, key)


def _is_hit(value: Any) -> bool:
    from dogpile.cache.api import NO_VALUE

    return value is not NO_VALUE


def _region_name(region: Any) -> str:
    return f"region {region.name}" if getattr(region, "name", None) else "a region of dogpile.cache"


def _got_page(page: Any, _pages: Any, request: Any, *_args: Any) -> None:
    _record("lookups", lambda: Lookup("page cache", request.environ.get("PATH_INFO", ""), page is not None))
