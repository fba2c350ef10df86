"""Explain the routing table without serving it: read an ini file, and find the application of a URL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from paste.deploy.loadwsgi import APP, ConfigLoader

import multisite.vhosts
from multisite import hosts
from multisite.core import domains
from multisite.core.host_header import DEFAULT_PORTS
from multisite.errors import InvalidHost, MultisiteError, escape_for_message
from multisite.vhosts.build import build, run_once
from multisite.vhosts.dispatcher import Vhosts
from multisite.vhosts.routes import Route, RouteTable

__all__ = ["Explanation", "explain", "read_vhosts"]

_EXPECTED = "expected a URL such as http://example.com/foo"


def read_vhosts(file: Path, name: str | None = None) -> tuple[Vhosts, Callable[[], None]]:
    """Return the composite that `file` defines under `name`, and a function that runs the hooks of `vhosts.init`.

    Loads no application, and looks through pipelines and filters in front of the composite.

    Args:
        file: The ini file.
        name: The name of the section; None means `main`.

    Raises:
        VhostError: A line of the section is not valid.
        MultisiteError: There is no such composite.
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
            f"{file}: '{name or 'main'}' is not a vhosts composite: "
            "expected a section such as [composite:main] with 'use = egg:pyramid-multisite#vhosts'"
        )
    vhosts, options, positions = build(context.loader, context.global_conf, context.local_conf)
    return vhosts, partial(run_once, options.init, context.global_conf, positions)


def _inner(context: Any) -> Any:
    """Return the context that `context` wraps, or None if it wraps none."""
    return getattr(context, "app_context", None) or getattr(context, "next_context", None)


class Explanation(NamedTuple):
    """The application of a URL, and why it is chosen.

    `route` is None if no route matches. `script_name` and `path_info` are what its application receives. `others` are
    the other matching routes, each with the reason why it has lower precedence.
    """

    route: Route | None
    script_name: str
    path_info: str
    others: tuple[tuple[Route, str], ...]


def explain(table: RouteTable, url: str, *, underscores: bool = False) -> Explanation:
    """Return the application of `url` (`http://example.com/foo/x`); `underscores` is that of `hosts.parse`.

    Raises:
        MultisiteError: `url` is not an absolute URL.
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
    # Text, where WSGI has bytes decoded as Latin-1: routes' paths are ASCII, so both match alike.
    path = unquote(parts.path or "/", errors="replace")
    fitting = table.fitting(host.name, port or DEFAULT_PORTS[parts.scheme], path)
    if not fitting:
        return Explanation(None, "", path, ())
    route, *others = fitting
    reasons = tuple((other, _why(route, other)) for other in others)
    return Explanation(route, route.path, path.removeprefix(route.path), reasons)


def _why(first: Route, other: Route) -> str:
    """Return why `first` takes precedence over `other`, if both match."""
    if first.domain is None or other.domain is None:
        return "a longer path" if other.domain is first.domain else "a line with a domain before one without"
    if first.domain.port != other.domain.port:
        return "a port before none"
    if first.domain.is_wildcard != other.domain.is_wildcard:
        return "an exact name before a wildcard"
    if first.domain.name != other.domain.name:
        return "a longer wildcard before a shorter one"
    return "a longer path"
