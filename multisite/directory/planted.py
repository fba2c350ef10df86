"""SiteOverrides sites: those of one directory only, for tests that roll back what they write."""

from __future__ import annotations

from collections.abc import Iterable

from multisite import forks
from multisite.directory.places import HostMatches, Match
from multisite.domains import Domain
from multisite.site import Site

__all__ = ["SiteOverrides"]


class SiteOverrides:
    """The planted sites of a directory. `by_key` has their places by host and by id; it is replaced, never changed."""

    def __init__(self) -> None:
        self.by_key: dict[str | int, HostMatches] = {}
        self._lock = forks.fork_safe_lock()

    def add(self, site: Site, hosts: Iterable[str]) -> None:
        """Let `hosts` (canonical forms), and the site's own, lead to `site`."""
        planted: dict[str | int, HostMatches] = {host: _everywhere(host, Match(site, "alias")) for host in hosts}
        planted[site.host] = planted[site.id] = _everywhere(site.host, Match(site, "canonical"))
        with self._lock:
            self.by_key = {**self.by_key, **planted}

    def remove(self, site: Site) -> None:
        """Take back what `add` did for `site`."""
        with self._lock:
            self.by_key = {
                key: places
                for key, places in self.by_key.items()
                if (match := places.find(None, "")) is None or match.site != site
            }


def _everywhere(host: str, match: Match) -> HostMatches:
    return HostMatches([(Domain(host), match)])
