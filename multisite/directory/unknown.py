"""Unknown hosts: told from others without a query each, once so many are asked for that it pays.

Anybody can send any Host, a hundred thousand different ones in a minute. So after some queries for nothing the names of
all domains are read, into a few bits each, and hosts that are not among them have no site, for as long as the version
of the directory stays what it was when they were read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite import domains
from multisite.directory.bloom import BloomFilter
from multisite.models import AS_MULTISITE, DirectoryVersion, DomainRow

__all__ = ["NegativeHostFilter"]

MIN_QUERIES = 64
"""So many queries for nothing are made before names are read, however few there are."""

NAMES_PER_QUERY = 500
"""Where there are many names, a query for nothing for so many of them is made before they are read: that costs about as
much. What is read is never worth more than what was asked in vain, though a change came right after it."""

PAGE_NAMES = 1_000
PAUSE_SECONDS = 0.005
"""How many names are read at once, and how long others have the processor then: a page takes some two milliseconds."""

WILDCARD_ROOM = 4
"""How much more room a wildcard has than a host. A host that seems to be there costs a query for itself, but `*.com`
would for every host below it."""

_domain = DomainRow.__table__
_COUNT = sa.select(sa.func.count(), sa.func.count(sa.case((_domain.c.host.startswith("*."), 1)))).select_from(_domain)


class _Names(NamedTuple):
    """The names of all domains as of a version, to be used until `expires`: people change tables by hand."""

    hosts: BloomFilter
    wildcards: BloomFilter
    version: int
    expires: float


class NegativeHostFilter:
    """What tells hosts that have no site, if it can.

    `engine`, `max_age_seconds` and `clock` are those of the directory.
    """

    def __init__(self, engine: Engine, *, max_age_seconds: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._names: _Names | None = None
        self._asked = 0
        self._worth = MIN_QUERIES
        self._reader: Thread | None = None

    def definitely_absent(self, host: str, version: int, now: float) -> bool:
        """Return whether `host`, a `hosts.Host.name`, has certainly no site in this version of the directory."""
        found = self._names
        if found is None or found.version != version or now >= found.expires:
            return False
        if host in found.hosts:
            return False
        # A loop, since this is all that a host costs which nobody has.
        for name in domains.candidate_names(host)[1:]:  # noqa: SIM110
            if name in found.wildcards:
                return False
        return True

    def record_miss(self) -> None:
        """Note that the database was asked for a host that has no site. One thread at a time may call this."""
        self._asked += 1
        # The copy of a thread in a forked process is not alive.
        if self._asked < self._worth or (self._reader is not None and self._reader.is_alive()):
            return
        self._reader = Thread(target=self._read, name="multisite-directory-names", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            with self._engine.connect().execution_options(**AS_MULTISITE) as connection:
                count, wildcards = connection.execute(_COUNT).one()
            self._worth = max(MIN_QUERIES, count // NAMES_PER_QUERY)
            if self._asked >= self._worth:
                room = BloomFilter(count), BloomFilter(wildcards * WILDCARD_ROOM)
                self._names = _read_names(self._engine, *room, self._clock() + self._max_age_seconds)
                self._asked = 0
        except (SQLAlchemyError, OSError, RuntimeError):
            # Whoever asks for a host meets the same and says so; without names each is asked for, as before.
            self._asked = 0


def _read_names(engine: Engine, hosts: BloomFilter, wildcards: BloomFilter, expires: float) -> _Names | None:
    """Put the names of all domains into `hosts` and `wildcards`; return None if they were changed meanwhile.

    They are read in pages, since a long transaction would stop writers on SQLite.
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
    # Every change raises the version and commits with it: if that has not moved, all pages are of one state.
    return None if version is None or _version(engine) != version else _Names(hosts, wildcards, version, expires)


def _version(engine: Engine) -> int | None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return connection.scalar(sa.select(DirectoryVersion.version))
