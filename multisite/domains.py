"""Domains: the patterns that lead to a site, and which of them a request means.

`example.com`, `*.example.com`, `example.com:8080` and `example.com/shop` are domains. Like `hosts` this is pure, and is
used for storing and for asking alike. Matching is by whole labels and whole steps of a path: no regular expression and
no test of a suffix, by which `badexample.com` would be taken for a part of `example.com`.
"""

from __future__ import annotations

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
    "longest_prefix",
    "parse",
    "to_ascii",
]

Found = TypeVar("Found")

MAX_PATH_CHARACTERS = 200
"""The longest path of a domain, with its slash: more than anyone types, and short enough to be part of an index."""

_STEP = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
"""A step of a path: what RFC 3986 section 2.3 calls unreserved, which no client and no proxy writes in two ways."""

_ENDS_OF_ADDRESSES = frozenset("0123456789]")

_STAR = "a * stands for whole parts of a name, and only in front: *.example.com"


class Domain(NamedTuple):
    """A domain in its one canonical form. `str()` gives a text that parses to the same value.

    `name` is a `hosts.Host.name`, or one behind `*.`, which stands for one or more labels. `port` is None for any
    port. `path` begins with a slash and has none at its end; it is empty for all paths.
    """

    name: str
    port: int | None = None
    path: str = ""

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for many names."""
        return self.name.startswith("*.")

    @property
    def precedence(self) -> tuple[bool, bool, int, int]:
        """What decides between domains that fit the same request: the greatest wins.

        A port before none, an exact name before a wildcard, a longer wildcard before a shorter one, then the longest
        path. Two domains that fit the same request are never equal in it, so the order of insertion does not matter.
        """
        return self.port is not None, not self.is_wildcard, len(self.name), len(self.path)

    def matches(self, port: int, path: str) -> bool:
        """Return whether a request to this name at `port` (the scheme's own one, where Host has none) for `path` fits.

        `path` is the PATH_INFO of the request. That the name fits is not looked at: see `candidate_names`.
        """
        if self.port is not None and self.port != port:
            return False
        return not self.path or path == self.path or path.startswith(self.path + "/")

    def __str__(self) -> str:
        return f"{self.name}{'' if self.port is None else f':{self.port}'}{self.path}"


def parse(text: str, *, underscores: bool = False) -> Domain:
    """Return the `Domain` that `text` spells; `underscores` is as for `hosts.parse`.

    Raises `InvalidHost`, and nothing else, if it is none.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a text")
    host_text, _, path_text = text.partition("/")
    path = _path(text, path_text)
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
        raise InvalidHost(text, "an address has no subdomains that a * could stand for")
    if len(host.name) + 2 > hosts.MAX_NAME_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {hosts.MAX_NAME_CHARACTERS} characters")
    return Domain(f"*.{host.name}", host.port, path)


def to_ascii(text: str, *, allow_mixed: bool = False, underscores: bool = False) -> Domain:
    """Return the `Domain` that a person means by `text`: `*.Bücher.example/laden` is `*.xn--bcher-kva.example/laden`.

    The host is taken as by `hosts.to_ascii`, and may have a port and a path behind it. Raises `InvalidHost` with a
    reason that says what to change.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a text")
    if "://" in text:
        hosts.to_ascii(text, underscores=underscores)  # Raises, and says what to leave out.
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
    """Return the `Domain` that a person means by `text`, to look up what was added before.

    What `to_ascii` refuses unless it is told otherwise is taken here: the question was answered when it was added.
    """
    return to_ascii(text, allow_mixed=True, underscores=True)


def candidate_names(name: str) -> tuple[str, ...]:
    """Return the names of all domains that fit the host `name`, a `hosts.Host.name`: itself, then its wildcards.

    `shop.example.com` has `*.example.com` and `*.com`. There are at most 127, since a host has no more labels.
    """
    names = [name]
    if not _is_address(name):
        dot = name.find(".")
        while dot >= 0:
            names.append("*" + name[dot:])
            dot = name.find(".", dot + 1)
    return tuple(names)


def best_match(domains: Iterable[Domain], port: int, path: str) -> Domain | None:
    """Return the one of `domains` that a request means, or None if none fits.

    The names of `domains` must be out of `candidate_names` the host. `port` and `path` are those of
    `Domain.matches`.
    """
    return max((domain for domain in domains if domain.matches(port, path)), key=_precedence, default=None)


def longest_prefix(paths: Mapping[str, Found], path: str) -> Found | None:
    """Return what is behind the longest of `paths` that `path`, a PATH_INFO, begins with, step by step; None if none.

    `paths` are those of domains, so that there is none longer than `MAX_PATH_CHARACTERS`.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        # Cut at a slash behind the longest path there can be, lest a path of 100 kB of slashes takes 100 kB of steps.
        path = path[: MAX_PATH_CHARACTERS + 1].rpartition("/")[0]
    while True:
        found = paths.get(path)
        if found is not None or not path:
            return found
        path = path.rpartition("/")[0]


def _precedence(domain: Domain) -> tuple[bool, bool, int, int]:
    return domain.precedence


def _is_address(name: str) -> bool:
    # Other names whose last label is a number are no hosts. Nearly every name ends with a letter, and needs no more.
    return name[-1:] in _ENDS_OF_ADDRESSES and (name[0] == "[" or name.rpartition(".")[2].isdigit())


def _split_port(text: str) -> tuple[str, str]:
    """Split `text` into what stands before a port, and the port with its colon, empty if there is none."""
    head, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in head and not head.endswith("]")):
        return text, ""
    return head, colon + port


def _path(text: str, path: str) -> str:
    if len(path) >= MAX_PATH_CHARACTERS:
        raise InvalidHost(text, f"its path is longer than {MAX_PATH_CHARACTERS} characters")
    if not path:
        return ""
    stripped = path.removesuffix("/")
    for step in stripped.split("/"):
        if not step:
            raise InvalidHost(text, "its path has an empty step")
        if not _STEP.fullmatch(step):
            raise InvalidHost(text, "a path in it has letters, digits and -._~ between its slashes")
    return "/" + stripped
