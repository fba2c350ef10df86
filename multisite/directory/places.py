"""HostMatches: all domains of one host, and which site each request to it means."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from multisite.domains import Domain, longest_prefix
from multisite.site import Site

__all__ = ["UNUSABLE", "HostMatches", "Match", "SiteClosure"]


class SiteClosure(NamedTuple):
    """Why a site is not open: `availability` is `maintenance`, `disabled` or `removing`.

    The rest is of maintenance: what visitors are told, until when it is announced, and the SHA-256 (hexadecimal) of the
    word by which operators pass; each None if there is none.
    """

    availability: str
    message: str | None = None
    until: datetime | None = None
    pass_digest: str | None = None

    @property
    def is_maintenance(self) -> bool:
        """Whether visitors are told to come back, instead of that there is nothing."""
        return self.availability == "maintenance"


class Match(NamedTuple):
    """The site that a request is for, and as what it was found.

    `kind` is `canonical`, `alias` or `redirect`; `path` that of the domain, which goes to SCRIPT_NAME, empty for none.
    `closed` is None for a site that is open.
    """

    site: Site
    kind: str
    path: str = ""
    closed: SiteClosure | None = None

    @property
    def is_served(self) -> bool:
        """Whether the site has anything to say to visitors: it is open, or in maintenance."""
        return self.closed is None or self.closed.is_maintenance


UNUSABLE = Match(Site(0, "", "", ""), "faulty", closed=SiteClosure("faulty"))
"""The match of a domain whose row, or that of its site, is not as it has to be: it leads nowhere. Left out, it would
leave its requests to a wildcard or a shorter path, and so to the site of somebody else."""


class HostMatches:
    """The matches of one host, made from the domains whose names fit it (`domains.candidate_names`).

    Nearly every host has one domain, without port and path: that costs nothing but an attribute. Others are looked for
    by port and name in the order of precedence, and there by path, a step shorter each time; so a host may have any
    number of paths.
    """

    __slots__ = ("_groups", "_only")

    def __init__(self, matches: Iterable[tuple[Domain, Match]]) -> None:
        self._only: Match | None = None
        self._groups: tuple[tuple[int | None, dict[str, Match]], ...] = ()
        groups: dict[tuple[int | None, str], dict[str, Match]] = {}
        # Where a sound domain is the same as what a faulty row may have meant, it comes last and holds.
        ordered = sorted(matches, key=lambda item: (item[0].precedence, item[1].kind == UNUSABLE.kind), reverse=True)
        if len(ordered) == 1 and ordered[0][0].port is None and not ordered[0][0].path:
            self._only = ordered[0][1]
            return
        for domain, match in ordered:
            groups.setdefault((domain.port, domain.name), {})[domain.path] = match
        self._groups = tuple((port, paths) for (port, _name), paths in groups.items())

    @property
    def is_served(self) -> bool:
        """Whether the host leads to a site that answers visitors, at some port and path."""
        for port, paths in self.groups:
            if any(match.is_served for match in paths.values()):
                return True
            if port is None and "" in paths:
                return False  # That has all that is left; a wildcard behind it is never asked.
        return False

    @property
    def groups(self) -> tuple[tuple[int | None, dict[str, Match]], ...]:
        """The matches by path, for a port (None: any) each, in the order in which they are looked for."""
        return self._groups if self._only is None else ((None, {"": self._only}),)

    @classmethod
    def of_groups(cls, groups: Iterable[tuple[int | None, dict[str, Match]]]) -> HostMatches:
        """Return places that have these `groups`."""
        places = cls(())
        places._groups = tuple(groups)
        return places

    def find(self, port: int | None, path: str) -> Match | None:
        """Return the match for a request at `port` (None: only domains of any port fit) for `path`, or None."""
        if self._only is not None:
            return self._only
        for wanted, paths in self._groups:
            if wanted is None or wanted == port:
                match = longest_prefix(paths, path)
                if match is not None:
                    return None if match.kind == UNUSABLE.kind else match
        return None
