"""Domains: the patterns that lead to a site, and which of them a request matches.

`example.com`, `*.example.com`, `example.com:8080` and `example.com/shop` are domains. Like `hosts`, this module is
pure and serves both storing and looking up. Domains match by whole labels and whole path segments, never by a regular
expression or a suffix, with which `badexample.com` would match `example.com`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from multisite import hosts
from multisite.errors import InvalidHost

__all__ = [
    "MAX_PATH_CHARACTERS",
    "Domain",
    "best_match",
    "candidate_names",
    "existing",
    "folder_name",
    "longest_prefix",
    "parse",
    "to_ascii",
]

Value = TypeVar("Value")

MAX_PATH_CHARACTERS = 200
"""The longest path of a domain, including the slash: longer than anyone types, and short enough for an index."""

MAX_FOLDER_CHARACTERS = 253
"""The longest name of a site's folder: the size of the column. File systems allow 255."""

_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
"""A path segment of unreserved characters (RFC 3986 section 2.3), which no client and no proxy writes in two ways."""

_LAST_CHARACTERS_OF_ADDRESSES = frozenset("0123456789]")

_STAR = "a * may only stand for whole labels at the start: *.example.com"


class Domain(NamedTuple):
    """A domain in its canonical form. `str()` returns a text that parses to the same value.

    `name` is a `hosts.Host.name`, after `*.` for a wildcard, which stands for one or more labels. `port` is None for
    any port. `path` starts with a slash and does not end with one; it is empty for any path.
    """

    name: str
    port: int | None = None
    path: str = ""

    @property
    def is_wildcard(self) -> bool:
        """Whether the name is a wildcard."""
        return self.name.startswith("*.")

    @property
    def precedence(self) -> tuple[bool, bool, int, int]:
        """The sort key of domains that match the same request: the greatest wins.

        A domain with a port precedes one without, an exact name a wildcard, a longer wildcard a shorter one, and then a
        longer path a shorter one. No two domains that match the same request have the same key, so the order in which
        they were added does not matter.
        """
        return self.port is not None, not self.is_wildcard, len(self.name), len(self.path)

    def matches(self, port: int, path: str) -> bool:
        """Return whether a request for `path` at `port` matches; the name is not compared, see `candidate_names`.

        Args:
            port: The port of the request; the default port of its scheme if Host has none.
            path: The PATH_INFO of the request.
        """
        if self.port is not None and self.port != port:
            return False
        return not self.path or path == self.path or path.startswith(self.path + "/")

    def __str__(self) -> str:
        return f"{self.name}{'' if self.port is None else f':{self.port}'}{self.path}"


def parse(text: str, *, underscores: bool = False) -> Domain:
    """Parse a domain; `underscores` is as for `hosts.parse`.

    Returns:
        The domain in its canonical form.

    Raises:
        InvalidHost: If `text` is not a domain. No other error is raised, for any argument.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a string")
    host_text, _, path_text = text.partition("/")
    path = _parse_path(text, path_text)
    wildcard = host_text.startswith("*.")
    if "*" in host_text[2 * wildcard :]:
        raise InvalidHost(text, _STAR)
    try:
        host = hosts.parse(host_text[2:] if wildcard else host_text, underscores=underscores)
    except InvalidHost as error:
        raise InvalidHost(text, error.reason) from None
    if not wildcard:
        return Domain(host.name, host.port, path)
    if _is_address(host.name):
        raise InvalidHost(text, "an IP address has no subdomains that a * could stand for")
    if len(host.name) + 2 > hosts.MAX_NAME_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {hosts.MAX_NAME_CHARACTERS} characters")
    return Domain(f"*.{host.name}", host.port, path)


def to_ascii(text: str, *, allow_mixed: bool = False, underscores: bool = False) -> Domain:
    """Convert a domain as people type it: `*.Bücher.example/laden` becomes `*.xn--bcher-kva.example/laden`.

    Args:
        text: A host name, optionally followed by a port and a path.
        allow_mixed: As for `hosts.to_ascii`.
        underscores: As for `hosts.to_ascii`.

    Returns:
        The domain in its canonical form.

    Raises:
        InvalidHost: With a reason that says what to change.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a string")
    if "://" in text:
        hosts.to_ascii(text, underscores=underscores)  # Raises an error that says what to leave out.
    host_text, slash, path = text.partition("/")
    wildcard = "*." if host_text.startswith("*.") else ""
    if "*" in host_text[len(wildcard) :]:
        raise InvalidHost(text, _STAR)
    name, port = _split_port(host_text[len(wildcard) :])
    try:
        ascii_name = hosts.to_ascii(name, allow_mixed=allow_mixed, underscores=underscores)
    except InvalidHost as error:
        raise InvalidHost(text, error.reason) from None
    return parse(f"{wildcard}{ascii_name}{port}{slash}{path}", underscores=underscores)


def existing(text: str) -> Domain:
    """Convert a domain as people type it, to look up one that was added before.

    It is not checked as strictly as `to_ascii` checks by default, since that was done when the domain was added.

    Returns:
        The domain in its canonical form.
    """
    return to_ascii(text, allow_mixed=True, underscores=True)


def candidate_names(name: str) -> tuple[str, ...]:
    """Return the names of all domains that match the host `name`, a `hosts.Host.name`: itself, then its wildcards.

    The wildcards of `shop.example.com` are `*.example.com` and `*.com`. A host has at most 127 labels, and so as many
    candidates.
    """
    names = [name]
    if not _is_address(name):
        dot = name.find(".")
        while dot >= 0:
            names.append("*" + name[dot:])
            dot = name.find(".", dot + 1)
    return tuple(names)


def best_match(domains: Iterable[Domain], port: int, path: str) -> Domain | None:
    """Return the domain with the highest precedence that matches a request, or None.

    The names of `domains` must be among the `candidate_names` of the host. `port` and `path` are as for
    `Domain.matches`.
    """
    return max((domain for domain in domains if domain.matches(port, path)), key=_precedence, default=None)


def longest_prefix(paths: Mapping[str, Value], path: str) -> Value | None:
    """Return the value of the longest key that is a prefix of `path`, by whole segments; None if there is none.

    Args:
        paths: Values by the paths of domains, of which none is longer than `MAX_PATH_CHARACTERS`.
        path: A PATH_INFO.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        # Truncated at a slash after the longest possible key, or a path of 100,000 slashes would take as many steps.
        path = path[: MAX_PATH_CHARACTERS + 1].rpartition("/")[0]
    while True:
        value = paths.get(path)
        if value is not None or not path:
            return value
        path = path.rpartition("/")[0]


def folder_name(domain: str) -> str:
    """Return the name of the folder of a new site: its canonical `domain`, in characters that a folder name can have.

    Colons and slashes are replaced, because Windows and template names do not allow them: `[::1]` becomes `[--1]`,
    `example.com:8080/shop` becomes `example.com-8080,shop`. Hosts and paths of domains contain no comma, so that `/a/b`
    and `/a-b` do not collide. A name that is too long is truncated and gets a hash.
    """
    name = domain.replace(":", "-").replace("/", ",")
    if len(name) <= MAX_FOLDER_CHARACTERS:
        return name
    return f"{name[: MAX_FOLDER_CHARACTERS - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _precedence(domain: Domain) -> tuple[bool, bool, int, int]:
    return domain.precedence


def _is_address(name: str) -> bool:
    # No other host has a number as its last label. Nearly all names end with a letter, which decides it.
    return name[-1:] in _LAST_CHARACTERS_OF_ADDRESSES and (name[0] == "[" or name.rpartition(".")[2].isdigit())


def _split_port(text: str) -> tuple[str, str]:
    """Split `text` into the part before the port, and the port with its colon (empty if there is none)."""
    head, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in head and not head.endswith("]")):
        return text, ""
    return head, colon + port


def _parse_path(text: str, path: str) -> str:
    if len(path) >= MAX_PATH_CHARACTERS:
        raise InvalidHost(text, f"its path is longer than {MAX_PATH_CHARACTERS} characters")
    if not path:
        return ""
    stripped = path.removesuffix("/")
    for segment in stripped.split("/"):
        if not segment:
            raise InvalidHost(text, "its path has an empty segment")
        if not _SEGMENT.fullmatch(segment):
            raise InvalidHost(text, "its path may only have letters, digits and -._~ between the slashes")
    return "/" + stripped
