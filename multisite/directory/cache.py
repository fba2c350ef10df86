"""The directory as a running application asks it: in memory, and never further from the tables than it promises."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

from multisite import domains, resolving
from multisite.directory.memory import Memory
from multisite.directory.places import HostMatches, Match
from multisite.site import Site

__all__ = ["Directory"]


class Directory(Memory):
    """The sites and their hosts, in memory.

    `engine` is where the tables `sites` and `domains` are; the directory takes short connections of its own from it.
    A host that is remembered costs a dictionary look-up: no query, and in the ordinary case no lock. Once every
    `refresh_seconds`, at most, one thread reads its entry again and with it the version of the directory, by which
    changes made in any process are seen; meanwhile the others go on with what they have. After `max_age_seconds` an
    entry is read again although no version changed. At most `directory_size` keys with a site are remembered, and as
    many without, apart from them, so that asking for unknown hosts evicts no site. Once many are asked for, the names
    of all domains are kept in a few bits each, so that a host that is new to the directory costs no query either.

    While the database is down or hangs, entries with a site go on being served. Raises `MultisiteError` for an
    in-memory SQLite engine. With `notify`, PostgreSQL tells of changes at once; raises `SettingError` where it cannot.
    `snapshot` is the file from which sites are served where the database has been down since the start.
    `clock` gives seconds that never go back. `declared` are the settings of sites that the
    application has declared.
    """

    _forget: Callable[[], object] | None = None

    def find(self, host: str, port: int | None = None, path: str = "") -> Match | None:
        """Return the `Match` of a request to `host` at `port` for `path`, or None: no site.

        `host` is a `Host.name` as `multisite.hosts.parse` gives it, `path` a PATH_INFO. With None as port only domains
        without one fit. Raises `DirectoryUnavailable` if the host is not in memory and the database does not answer.
        """
        places = self._find(host)
        match = None if places is None else places.find(port, path)
        # A site that is disabled is none to a visitor. Scripts find it all the same, by `resolve`.
        return match if match is None or match.is_served else None

    def matches_of(self, host: str) -> HostMatches | None:
        """Return all that `host`, a `Host.name`, leads to, or None: no site. Raises as `find` does."""
        return self._find(host)

    def has_host(self, host: str) -> bool:
        """Return whether `host`, a `Host.name`, leads to a site that answers visitors. Raises as `find` does."""
        places = self._find(host)
        return places is not None and places.is_served

    def by_id(self, site_id: int) -> Site | None:
        """Return the site with this id, or None. Raises `DirectoryUnavailable` as `find` does."""
        places = self._find(site_id)
        match = None if places is None else places.find(None, "")
        return None if match is None else match.site

    def resolve(self, name: int | str) -> Site | None:
        """Return the site with this id, or that this domain in any spelling leads to, or None.

        Raises `InvalidHost` for a text that is not a domain, `DirectoryUnavailable` as `find` does.
        """
        if isinstance(name, int):
            return self.by_id(name)
        host, port, path = domains.parse(name, underscores=True)
        places = self._find(host)
        match = None if places is None else places.find(port, path)
        return None if match is None else match.site

    def activate(self) -> None:
        """Let `using_site` find sites by this directory, for as long as something else keeps the directory alive."""
        if self._forget is not None:
            return
        reference = weakref.ref(self)

        def resolve(name: int | str) -> Site | None:
            directory = reference()
            return None if directory is None else directory.resolve(name)

        resolver = resolving.Resolver(resolve)
        resolving.resolvers.append(resolver)
        finalizer = weakref.finalize(self, _forget, resolver)
        finalizer.atexit = False
        self._forget = finalizer

    def deactivate(self) -> None:
        """Take back `activate`: for tests and reloads, where an application ends before its process does."""
        if self._listener is not None:
            self._listener.stop()
        if self._forget is not None:
            self._forget()
            self._forget = None

    def add_override(self, site: Site, hosts: Iterable[str]) -> None:
        """Let `hosts` (canonical forms) lead to `site` in this directory only; no table is touched, nothing expires."""
        self._planted.add(site, hosts)

    def remove_override(self, site: Site) -> None:
        """Take back what `add_override` did for `site`; what the tables say about its hosts holds again."""
        self._planted.remove(site)


def _forget(resolver: resolving.Resolver) -> None:
    if resolver in resolving.resolvers:
        resolving.resolvers.remove(resolver)
