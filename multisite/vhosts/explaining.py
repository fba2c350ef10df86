"""The table of domains for people: what the ini file describes, read without serving it, and who answers a URL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from paste.deploy.loadwsgi import APP, ConfigLoader

import multisite.vhosts
from multisite import domains, hosts
from multisite.errors import InvalidHost, MultisiteError, escape_for_message
from multisite.host_header import DEFAULT_PORTS
from multisite.vhosts.composite import Vhosts
from multisite.vhosts.making import make, run_once
from multisite.vhosts.table import Route, Table

__all__ = ["Answer", "find", "read_vhosts"]


_EXPECTED = "expected a URL such as http://example.com/foo"


def read_vhosts(file: Path, name: str | None = None) -> tuple[Vhosts, Callable[[], None]]:
    """Return the composite that `file` describes under `name` (None: `main`), and what runs the hooks of `vhosts.init`.

    No application is loaded yet. A pipeline or a filter in front of it is looked through. Raises `VhostError` for what
    cannot be meant, and `MultisiteError` if there is no such composite.
    """
    try:
        loader = ConfigLoader(str(file))
        context = loader.get_context(APP, name)
    except (LookupError, OSError, ValueError, ImportError) as error:
        raise MultisiteError(f"{file} cannot be read: {' '.join(str(error.args[-1]).split())}") from error
    while (inner := _inner(context)) is not None:
        context = inner
    if context.object is not multisite.vhosts.main:
        raise MultisiteError(
            f"{file}: '{name or 'main'}' is no table of domains: "
            "expected a section such as [composite:main] with 'use = egg:pyramid-multisite#vhosts'"
        )
    vhosts, options, places = make(context.loader, context.global_conf, context.local_conf)
    return vhosts, partial(run_once, options.init, context.global_conf, places)


def _inner(context: Any) -> Any:
    """Return the context of what `context` puts something in front of, None if that is nothing."""
    return getattr(context, "app_context", None) or getattr(context, "next_context", None)


class Answer(NamedTuple):
    """Who answers a URL: `route` (None: nobody), with what SCRIPT_NAME and PATH_INFO, and why it and not another.

    `others` are the routes that fit as well, each with the reason why it does not come first.
    """

    route: Route | None
    script_name: str
    path_info: str
    others: tuple[tuple[Route, str], ...]


def find(table: Table, url: str, *, underscores: bool = False) -> Answer:
    """Return who answers `url`, as `http://example.com/foo/x`; `underscores` is as for `hosts.parse`.

    Raises `MultisiteError` for what is no URL.
    """
    try:
        parts = urlsplit(url)
        host, port = (
            hosts.parse(domains.to_ascii(parts.netloc, underscores=underscores).name, underscores=underscores),
            parts.port,
        )
    except (InvalidHost, ValueError) as error:
        raise MultisiteError(f"'{escape_for_message(url)}' names no host: {_EXPECTED}") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise MultisiteError(f"'{escape_for_message(url)}' has no scheme: {_EXPECTED}")
    # As text, where WSGI has bytes in Latin-1: the paths of routes are ASCII, so that they fit either of them.
    path = unquote(parts.path or "/", errors="replace")
    fitting = table.fitting(host.name, port or DEFAULT_PORTS[parts.scheme], path)
    if not fitting:
        return Answer(None, "", path, ())
    route, *others = fitting
    reasons = tuple((other, _why(route, other)) for other in others)
    return Answer(route, route.path, path.removeprefix(route.path), reasons)


def _why(first: Route, other: Route) -> str:
    """Return why `first` comes before `other`, where both fit."""
    if first.domain is None or other.domain is None:
        return "a longer path" if other.domain is first.domain else "a line with a domain before one without"
    if first.domain.port != other.domain.port:
        return "a port before none"
    if first.domain.is_wildcard != other.domain.is_wildcard:
        return "an exact name before a wildcard"
    if first.domain.name != other.domain.name:
        return "a longer wildcard before a shorter one"
    return "a longer path"
