"""The directory of a running application: which site a host leads to."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.core.site import Resolver, SettingsProvider, Site, add_resolver, remove_resolver
from multisite.directory.cache import DirectoryCache
from multisite.directory.matching import HostMatches, Match
from multisite.directory.overrides import SiteOverrides

__all__ = ["Directory", "DirectoryState"]


class DirectoryState(NamedTuple):
    """What a process has read: -1 and None before the first query was answered. `read` is when that was, in UTC."""

    version: int
    template_generation: int
    read: datetime | None


class Directory:
    """Maps hosts to sites, from a cache of the tables `sites` and `domains`. Thread-safe.

    A cached host costs a dictionary look-up: no query, and usually no lock. At most once per `refresh_seconds`, one
    thread queries an entry again, and with it the version of the directory, which every change in any process raises;
    meanwhile the other threads are served from the cache. An entry older than `max_age_seconds` is queried again even
    if the version is unchanged. Hosts without a site are cached separately, so that requests for unknown hosts evict no
    site. Once there are many of them, a Bloom filter of all domain names answers for hosts that were never seen before.

    While the database is down or hangs, the cached sites continue to be served.

    Args:
        engine: The database of the tables. The directory takes connections of its own from it, for a moment each.
        refresh_seconds: How often, at most, to check for changes.
        max_age_seconds: The greatest age of a cached entry.
        directory_size: How many hosts and ids with a site to cache, and as many without one.
        notify: Whether to listen for notifications of PostgreSQL, by which changes are seen immediately.
        snapshot: A file from which sites are served if the database has not answered since the process started.
        clock: Returns monotonic seconds.
        settings_provider: Resolves the settings of the sites; None if the application declares none.

    Raises:
        MultisiteError: If the database is not supported, or is an in-memory SQLite database.
        SettingError: If `notify` or `snapshot` cannot work.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        refresh_seconds: float = 1.0,
        max_age_seconds: float = 300.0,
        directory_size: int = 10_000,
        notify: bool = False,
        snapshot: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        settings_provider: SettingsProvider | None = None,
    ) -> None:
        self.engine = engine
        self._cache = DirectoryCache(
            engine,
            refresh_seconds=refresh_seconds,
            max_age_seconds=max_age_seconds,
            directory_size=directory_size,
            notify=notify,
            snapshot=snapshot,
            clock=clock,
            settings_provider=settings_provider,
        )
        self._overrides = SiteOverrides()
        self._remove_resolver: Callable[[], object] | None = None

    @property
    def reads(self) -> int:
        """How many queries the directory has sent."""
        return self._cache.reads

    def state(self) -> DirectoryState:
        """Return what this process has read, without a query."""
        read_at = self._cache.read_at
        read = None if read_at is None else datetime.fromtimestamp(read_at, UTC)
        return DirectoryState(*self._cache.known_versions, read)

    def template_generation(self) -> int:
        """Return the generation of the shared templates: when it changes, the files are looked up again.

        While the database does not answer, the last known value is returned.
        """
        return self._cache.template_generation()

    def refresh_soon(self) -> None:
        """Let the next request check for changes. Only one thread at a time may call this."""
        self._cache.refresh_soon()

    def find(self, host: str, port: int | None = None, path: str = "") -> Match | None:
        """Return the match of a request, or None if it leads to no site that is served.

        Args:
            host: A `Host.name`, as `multisite.hosts.parse` returns it.
            port: The port of the request. None matches only domains without a port.
            path: The PATH_INFO of the request.

        Raises:
            DirectoryUnavailable: If the host is not cached and the database does not answer.
        """
        matches = self.matches_of(host)
        match = None if matches is None else matches.find(port, path)
        # Visitors do not see disabled sites; scripts do, by `resolve`. Nearly all sites are open.
        return match if match is None or match.closed is None or match.is_served else None

    def matches_of(self, host: str | int) -> HostMatches | None:
        """Return the matches of `host`, a `Host.name` or a site id; None if it has no site. Raises as `find` does."""
        overrides = self._overrides.by_key
        if overrides and host in overrides:
            return overrides[host]
        return self._cache.get(host)

    def has_host(self, host: str) -> bool:
        """Return whether `host`, a `Host.name`, leads to a site that is served. Raises as `find` does."""
        matches = self.matches_of(host)
        return matches is not None and matches.is_served

    def by_id(self, site_id: int) -> Site | None:
        """Return the site with this id, or None. Raises as `find` does."""
        matches = self.matches_of(site_id)
        match = None if matches is None else matches.find(None, "")
        return None if match is None else match.site

    def resolve(self, name: int | str) -> Site | None:
        """Return the site with this id or domain, in any spelling, or None.

        Raises:
            InvalidHost: If `name` is a string but not a domain.
            DirectoryUnavailable: As `find` does.
        """
        if isinstance(name, int):
            return self.by_id(name)
        host, port, path = domains.parse(name, underscores=True)
        matches = self.matches_of(host)
        match = None if matches is None else matches.find(port, path)
        return None if match is None else match.site

    def activate(self) -> None:
        """Let `using_site` find sites in this directory, for as long as other references keep the directory alive."""
        if self._remove_resolver is not None:
            return
        reference = weakref.ref(self)

        def resolve(name: int | str) -> Site | None:
            directory = reference()
            return None if directory is None else directory.resolve(name)

        resolver = Resolver(resolve)
        add_resolver(resolver)
        finalizer = weakref.finalize(self, remove_resolver, resolver)
        finalizer.atexit = False
        self._remove_resolver = finalizer

    def deactivate(self) -> None:
        """Undo `activate` and stop listening, for tests and reloads, where an application ends before its process."""
        self._cache.stop_listening()
        if self._remove_resolver is not None:
            self._remove_resolver()
            self._remove_resolver = None

    def add_override(self, site: Site, hosts: Iterable[str]) -> None:
        """Map `hosts` (in canonical form) to `site` in this object only. No table changes, and nothing expires."""
        self._overrides.add(site, hosts)

    def remove_override(self, site: Site) -> None:
        """Undo `add_override` for `site`; its hosts lead again where the tables say."""
        self._overrides.remove(site)
