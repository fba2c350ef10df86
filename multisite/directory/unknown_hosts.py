"""The negative filter for hosts: after enough misses, unknown hosts are recognized without a query.

Anybody can send any Host, a hundred thousand different ones in a minute. After some misses the names of all domains are
read into Bloom filters. For as long as the version of the directory is unchanged, a host that is not in them has no
site.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.core import domains
from multisite.directory.bloom_filter import BloomFilter
from multisite.directory.tables import AS_MULTISITE, domains_table, version_table

__all__ = ["NegativeHostFilter"]

MIN_MISSES = 64
"""Lower bound on misses before the filter is built."""

NAMES_PER_MISS = 500
"""With many names, the filter is built after one miss for each 500 names, because reading 500 names costs about as much
as one query. Building it thus never costs more than the misses before it, even if a change invalidates it at once."""

PAGE_NAMES = 1_000
PAUSE_SECONDS = 0.005
"""How many names are read at a time, which takes about two milliseconds, and how long other threads may run then."""

WILDCARD_CAPACITY_FACTOR = 4
"""How much more capacity a wildcard gets than a host. A false positive for a host costs one query, but one for `*.com`
costs a query for every host below it."""

_domain = domains_table
_COUNT = sa.select(sa.func.count(), sa.func.count(sa.case((_domain.c.host.startswith("*."), 1)))).select_from(_domain)


class _DomainNames(NamedTuple):
    """The names of all domains in a version; they expire, since people change tables by hand."""

    hosts: BloomFilter
    wildcards: BloomFilter
    version: int
    expires: float


class NegativeHostFilter:
    """Recognizes hosts that have no site. The arguments are those of the directory."""

    def __init__(self, engine: Engine, *, max_age_seconds: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._names: _DomainNames | None = None
        self._misses = 0
        self._threshold = MIN_MISSES
        self._reader: Thread | None = None

    def definitely_absent(self, host: str, version: int, now: float) -> bool:
        """Return whether `host`, a `hosts.Host.name`, certainly has no site in this version of the directory."""
        names = self._names
        if names is None or names.version != version or now >= names.expires:
            return False
        if host in names.hosts:
            return False
        # An explicit loop is faster than any(), and this is the whole cost of an unknown host.
        for name in domains.candidate_names(host)[1:]:  # noqa: SIM110
            if name in names.wildcards:
                return False
        return True

    def record_miss(self) -> None:
        """Count a query for a host without a site, and build the filter after enough of them.

        Only one thread at a time may call this.
        """
        self._misses += 1
        # In a forked child the copied thread object is not alive.
        if self._misses < self._threshold or (self._reader is not None and self._reader.is_alive()):
            return
        self._reader = Thread(target=self._read, name="multisite-directory-names", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            with self._engine.connect().execution_options(**AS_MULTISITE) as connection:
                count, wildcards = connection.execute(_COUNT).one()
            self._threshold = max(MIN_MISSES, count // NAMES_PER_MISS)
            if self._misses >= self._threshold:
                filters = BloomFilter(count), BloomFilter(wildcards * WILDCARD_CAPACITY_FACTOR)
                self._names = _read_names(self._engine, *filters, self._clock() + self._max_age_seconds)
                self._misses = 0
        except (SQLAlchemyError, OSError, RuntimeError):
            # Requests meet and log the same error; without a filter each host is queried, as before.
            self._misses = 0


def _read_names(engine: Engine, hosts: BloomFilter, wildcards: BloomFilter, expires: float) -> _DomainNames | None:
    """Add the names of all domains to `hosts` and `wildcards`.

    They are read in pages, because a long transaction would block writers on SQLite.

    Returns:
        The two filters, or None if a domain was changed while the names were read.
    """
    version = _version(engine)
    page = sa.select(_domain.c.id, _domain.c.host).order_by(_domain.c.id).limit(PAGE_NAMES)
    last = None
    while True:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            rows = connection.execute(page if last is None else page.where(_domain.c.id > last)).all()
        for _id, host in rows:
            (wildcards if host.startswith("*.") else hosts).add(host)
        if len(rows) < PAGE_NAMES:
            break
        last = rows[-1].id
        time.sleep(PAUSE_SECONDS)
    # Every change raises the version in its transaction: if the version is the same, all pages are of one state.
    return None if version is None or _version(engine) != version else _DomainNames(hosts, wildcards, version, expires)


def _version(engine: Engine) -> int | None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return connection.scalar(sa.select(version_table.c.version))
