"""Matching: the domains of one host, which site a request to it leads to, and who may pass a site's maintenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from multisite.core.domains import Domain, longest_prefix
from multisite.core.site import Site

__all__ = ["BYPASS_NAME", "UNUSABLE", "CachedEntry", "HostMatches", "Match", "SiteClosure", "bypass_digest"]

BYPASS_NAME = "multisite_pass"
"""The name of the query parameter, and the start of the cookie's, with the token that lets operators bypass
maintenance."""


def bypass_digest(bypass_token: str) -> str:
    """Return the digest of a bypass token. Only this is stored, so that reading the table is not enough to bypass."""
    return hashlib.sha256(bypass_token.encode("utf-8", "surrogateescape")).hexdigest()


class SiteClosure(NamedTuple):
    """Why a site is not open: `availability` is `maintenance`, `disabled` or `removing`.

    The other fields concern maintenance: the message for visitors, its announced end, and the SHA-256 (hexadecimal) of
    the token with which operators bypass it. Each is None if it is not set.
    """

    availability: str
    message: str | None = None
    until: datetime | None = None
    pass_digest: str | None = None

    @property
    def is_maintenance(self) -> bool:
        """Whether visitors get a 503 instead of a 404."""
        return self.availability == "maintenance"


class Match(NamedTuple):
    """The site that a request leads to, and the domain by which it does.

    `kind` is `canonical`, `alias` or `redirect`. `path` is the path of the domain, which becomes SCRIPT_NAME; it is
    empty if the domain has none. `closed` is None for an open site.
    """

    site: Site
    kind: str
    path: str = ""
    closed: SiteClosure | None = None

    @property
    def is_served(self) -> bool:
        """Whether visitors see the site: it is open, or in maintenance."""
        return self.closed is None or self.closed.is_maintenance


UNUSABLE = Match(Site(0, "", "", ""), "unusable", closed=SiteClosure("unusable"))
"""The match of a domain whose row is invalid, or whose site's row is: it leads nowhere. Without it, requests for the
domain would go to a wildcard or a shorter path, and so to somebody else's site."""


class HostMatches:
    """The matches of one host, built from the domains among `domains.candidate_names` of the host.

    Nearly every host has one domain without port and path, which costs one attribute access. Otherwise the groups are
    tried in the order of precedence, by port and name, and within each the path is shortened by one segment at a time;
    so a host can have any number of paths.
    """

    __slots__ = ("_groups", "_only")

    def __init__(self, matches: Iterable[tuple[Domain, Match]]) -> None:
        self._only: Match | None = None
        self._groups: tuple[tuple[int | None, dict[str, Match]], ...] = ()
        groups: dict[tuple[int | None, str], dict[str, Match]] = {}
        # If an invalid row may have meant the same domain as a valid one, the valid one comes last and wins.
        ordered = sorted(matches, key=lambda item: (item[0].precedence, item[1].kind == UNUSABLE.kind), reverse=True)
        if len(ordered) == 1 and ordered[0][0].port is None and not ordered[0][0].path:
            self._only = ordered[0][1]
            return
        for domain, match in ordered:
            groups.setdefault((domain.port, domain.name), {})[domain.path] = match
        self._groups = tuple((port, paths) for (port, _name), paths in groups.items())

    @property
    def is_served(self) -> bool:
        """Whether the host leads to a site that is served, at some port and path."""
        for port, paths in self.groups:
            if any(match.is_served for match in paths.values()):
                return True
            if port is None and "" in paths:
                return False  # It matches everything that is left, so no later wildcard is reached.
        return False

    @property
    def groups(self) -> tuple[tuple[int | None, dict[str, Match]], ...]:
        """Pairs of a port (None: any) and the matches by path, in the order in which they are tried."""
        return self._groups if self._only is None else ((None, {"": self._only}),)

    @classmethod
    def of_groups(cls, groups: Iterable[tuple[int | None, dict[str, Match]]]) -> HostMatches:
        """Return an object that has these `groups`."""
        matches = cls(())
        matches._groups = tuple(groups)
        return matches

    def find(self, port: int | None, path: str) -> Match | None:
        """Return the match of a request for `path`, or None; without a `port`, only domains without one match."""
        if self._only is not None:
            return self._only
        for wanted, paths in self._groups:
            if wanted is None or wanted == port:
                match = longest_prefix(paths, path)
                if match is not None:
                    return None if match.kind == UNUSABLE.kind else match
        return None


class CachedEntry(NamedTuple):
    """What the directory caches for a host or a site id.

    `matches` is None for a host or id without a site. `version` is the directory's version at the time of the query;
    `expires` is when the entry has to be queried again even if the version is unchanged.
    """

    matches: HostMatches | None
    version: int
    expires: float
