"""Overrides: sites that only one `Directory` object knows, for tests that roll back their changes."""

from __future__ import annotations

from collections.abc import Iterable

from multisite.core import fork_safety
from multisite.core.domains import Domain
from multisite.core.site import Site
from multisite.directory.matching import HostMatches, Match

__all__ = ["SiteOverrides"]


class SiteOverrides:
    """The overrides of a directory. `by_key` maps hosts and site ids to matches; it is replaced, never mutated."""

    def __init__(self) -> None:
        self.by_key: dict[str | int, HostMatches] = {}
        self._lock = fork_safety.fork_safe_lock()

    def add(self, site: Site, hosts: Iterable[str]) -> None:
        """Map `hosts` (in canonical form), the site's own host and its id to `site`."""
        added: dict[str | int, HostMatches] = {host: _any_request(host, Match(site, "alias")) for host in hosts}
        added[site.host] = added[site.id] = _any_request(site.host, Match(site, "canonical"))
        with self._lock:
            self.by_key = {**self.by_key, **added}

    def remove(self, site: Site) -> None:
        """Undo `add` for `site`."""
        with self._lock:
            self.by_key = {
                key: matches
                for key, matches in self.by_key.items()
                if (match := matches.find(None, "")) is None or match.site != site
            }


def _any_request(host: str, match: Match) -> HostMatches:
    return HostMatches([(Domain(host), match)])
