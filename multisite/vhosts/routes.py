"""Routing table: the lines of the ini file as routes, and which of them matches a request.

    domain example.com / = mainapp
    domain example.com port 8080 /admin = adminapp
    domain *.shops.example / = shopapp
    /health = healthapp

The rules are those of `multisite.core.domains`: a port before none, an exact name before a wildcard, a longer wildcard
before a shorter one, then the longest path. Lines without a domain come last, again the longest path first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from multisite.core import domains
from multisite.core.domains import Domain
from multisite.errors import InvalidHost, escape_for_message
from multisite.vhosts.ini import IniPosition, IniPositions, VhostError, quoted_line

__all__ = ["Route", "RouteTable", "read_routes"]

_FORM = "expected 'domain HOST [port N] PATH = APPLICATION' or '/PATH = APPLICATION'"


class Route(NamedTuple):
    """One line: requests for `domain` below `path` go to `application`.

    `domain` is None for any host. `path` starts with a slash and does not end in one; it is empty for all paths.
    `application` is the application's name as written, `key` the part of the line before the equals sign.
    """

    domain: Domain | None
    path: str
    application: str
    key: str
    position: IniPosition

    def __str__(self) -> str:
        return f"{self.key} = {self.application}"

    @property
    def line(self) -> str:
        """The line in quotes, with its line number."""
        return f"'{self}'" + ("" if self.position.line is None else f" (line {self.position.line})")


class RouteTable:
    """All routes. A lookup costs one dictionary access for each label of the host and each segment of the path.

    The cost does not depend on the number of routes, and nothing is cached by requested host.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_name: dict[int | None, dict[str, dict[str, Route]]] = {}
        self._fallback: dict[str, Route] = {}
        self._has_wildcards = False
        for route in self.routes:
            if route.domain is None:
                self._fallback[route.path] = route
                continue
            names = self._by_name.setdefault(route.domain.port, {})
            names.setdefault(route.domain.name, {})[route.path] = route
            self._has_wildcards |= route.domain.is_wildcard
        self._any_port = self._by_name.get(None, {})
        self._has_ports = len(self._by_name) > (None in self._by_name)

    def find(self, name: str, port: int | None, path: str) -> Route | None:
        """Return the route of a request, or None.

        Args:
            name: A `hosts.Host.name`.
            port: The requested port, that of the scheme if Host has none, or None if unknown.
            path: A PATH_INFO.
        """
        for paths in self._paths_of(name, port):
            route = domains.longest_prefix(paths, path)
            if route is not None:
                return route
        return domains.longest_prefix(self._fallback, path)

    def fitting(self, name: str, port: int | None, path: str) -> list[Route]:
        """Return every route that matches a request, starting with the one that `find` returns."""
        return [
            paths[prefix]
            for paths in (*self._paths_of(name, port), self._fallback)
            for prefix in sorted(paths, key=len, reverse=True)
            if not prefix or path == prefix or path.startswith(prefix + "/")
        ]

    def _paths_of(self, name: str, port: int | None) -> Iterator[dict[str, Route]]:
        names = domains.candidate_names(name) if self._has_wildcards else (name,)
        by_port = [self._by_name.get(port, {}), self._any_port] if self._has_ports and port else [self._any_port]
        for by_name in by_port:
            for each in names:
                if each in by_name:
                    yield by_name[each]


def read_routes(
    lines: Mapping[str, str], positions: IniPositions, *, allow_mixed: bool = False, allow_underscores: bool = False
) -> list[Route]:
    """Return the routes of `lines`, keys and values of a section; the other options are those of `domains.to_ascii`.

    Raises:
        VhostError: A line is not valid; this is the first such line, with its position and what to change.
    """
    routes: dict[tuple[Domain | None, str], Route] = {}
    parse = partial(domains.to_ascii, allow_mixed=allow_mixed, underscores=allow_underscores)
    for key, value in lines.items():
        route = _read_route(key, value, positions.of(key), parse)
        earlier = routes.setdefault((route.domain, route.path), route)
        if earlier is not route:
            raise VhostError(
                route.position, f"'{route}' means the same domain and path as {earlier.line}: remove one of them"
            )
    return list(routes.values())


def _read_route(key: str, value: str, position: IniPosition, parse: Callable[[str], Domain]) -> Route:
    words = key.split()
    written = quoted_line(key, value)
    if not words or (words[0] != "domain" and not key.startswith("/")):
        raise VhostError(position, f"{written} is not understood: {_FORM}{_hint_of_key(words)}")
    # An equals sign in a URI such as config:other.ini?key=value#name does not mean that the key was cut.
    if "=" in value and not value.startswith(("config:", "egg:", "call:")):
        raise VhostError(position, f"{written}: a key ends at its first colon. {_hint_of_colon(key, value)}")
    if len(value.split()) != 1:
        raise VhostError(position, f"{written} must name one application after its equals sign")
    try:
        domain, path = _domain(words, parse) if words[0] == "domain" else (None, _path(words))
    except InvalidHost as error:
        raise VhostError(position, f"{written}: {error}") from None
    except ValueError as error:
        raise VhostError(position, f"{written}: {error}") from None
    return Route(domain, path, value, key, position)


def _domain(words: list[str], parse: Callable[[str], Domain]) -> tuple[Domain, str]:
    _, *rest = words
    if not rest:
        raise ValueError(_FORM)
    host, *rest = rest
    port = ""
    if rest and rest[0] == "port":
        if len(rest) < 2:
            raise ValueError("no number follows the word port")
        if not rest[1].isdigit():
            raise ValueError(f"'{escape_for_message(rest[1])}' is not a port")
        port, rest = f":{rest[1]}", rest[2:]
    path = _path(rest or ["/"])
    if "/" in host:
        raise ValueError(f"a space is missing between the host and its path: {_FORM}")
    return parse(f"{host}{port}{path}"), path


def _path(words: list[str]) -> str:
    if len(words) > 1 or not words[0].startswith("/"):
        raise ValueError(f"a path begins with a slash, and nothing follows it: {_FORM}")
    try:
        return domains.parse(f"any.invalid{words[0]}").path
    except InvalidHost as error:
        raise ValueError(f"'{words[0]}' cannot be a path here: {error.reason}") from None


def _hint_of_key(words: list[str]) -> str:
    if words and words[0] in {"http", "https"}:
        return f"; a domain is written without {words[0]}://"
    if words and words[0] == "port":
        return "; a port needs a domain"
    if words == ["not_found_app"]:  # of Paste's urlmap
        return "; write '/ = APPLICATION' for everything that no other line matches"

    return ""


def _hint_of_colon(key: str, value: str) -> str:
    if "[" in key:
        return "An IPv6 address cannot be written here; a line without a domain, '/ = APPLICATION', answers for it"
    port, _, rest = value.partition(" ")
    if port.isdigit():
        meant = " ".join([key, "port", port, *rest.split()])
        return f"A port is a word: '{meant}'"
    return f"Ports are a word: {_FORM}"
