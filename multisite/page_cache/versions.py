"""Versions: for each site, counters of the changes to its rows, by this process and by others.

The version is read before a page is rendered, and stored with it. A change that commits later, in any process, makes
it a different version, so a page rendered from outdated rows is never served as a fresh one, however long it took.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.core import program
from multisite.core.application import current_application
from multisite.core.fork_safety import fork_safe_lock
from multisite.directory.deadline import cancellable, run_with_timeout
from multisite.directory.tables import AS_MULTISITE, changes_table

__all__ = ["Version", "Versions"]

log = logging.getLogger(__name__)

ALL_SITES = 0
"""Used instead of a site id for a change across all sites, which may concern the rows of any site."""

MAX_IDS_PER_QUERY = 500
"""For more sites than this the whole table is read: that many parameters cost as much, and SQLite limits them."""

READ_TIMEOUT_SECONDS = 5.0
"""How long a query may take."""
RETRY_SECONDS = 10.0
"""How long the database is left alone after a failed query."""


class Version(NamedTuple):
    """The version of a site's rows: how often they changed.

    `own` and `all` are read from the table: changes of this site, and changes across all sites. `here` and `all_here`
    count the same for changes by this process, which are known before the table is read again.
    """

    own: int
    all: int
    here: int
    all_here: int


_table: Any = changes_table
_SOME = sa.select(_table).where(_table.c.site_id.in_(sa.bindparam("ids", expanding=True)))
_EVERY = sa.select(_table)


class Versions:
    """The versions of the sites whose pages this process caches, read from multisite's tables at `engine`.

    One statement reads them together, at most every `refresh_seconds` and only on demand. A site that is new to this
    process, or whose rows this process changed, is read at once. While the database does not respond, the last known
    versions are used.

    Args:
        refresh_seconds: The age up to which a version is used without a query.
        size: Maximum number of sites whose versions are kept.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self, engine: Engine, *, refresh_seconds: float, size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.engine = engine
        self.application = current_application.get()
        """Name of the application, or None in a process with only one."""
        self._refresh_seconds = refresh_seconds
        self._size = size
        self._clock = clock
        self._refresh_lock = fork_safe_lock()
        self._known: dict[int, Version] = {}
        self._here: dict[int, int] = {}
        self._here_lock = fork_safe_lock()
        self._check_at = self._retry_at = clock()
        self._table_exists = False

    def of(self, site_id: int) -> Version | None:
        """Return the version of a site's rows, at most `refresh_seconds` old, or None if it cannot be read."""
        version = self._known.get(site_id)
        now = self._clock()
        if version is not None and now < self._check_at:
            return version
        # If another thread is refreshing, only a caller without any version waits for it.
        if not self._refresh_lock.acquire(timeout=READ_TIMEOUT_SECONDS if version is None else 0):
            return version
        try:
            if now >= self._check_at or site_id not in self._known:
                self._read(site_id, now)
            return self._known.get(site_id)
        finally:
            self._refresh_lock.release()

    def invalidate(self, site_id: int) -> None:
        """Invalidate the pages of this site (0: of all sites) after a local change."""
        with self._here_lock:
            # Increment before the table is read: a read in progress stores its result with the old count.
            if len(self._here) > self._size and site_id not in self._here:
                # Too many sites: count it as a change across all sites, which changes every version.
                self._here, site_id = {ALL_SITES: self._here.get(ALL_SITES, 0)}, ALL_SITES
            self._here[site_id] = self._here.get(site_id, 0) + 1
            if site_id == ALL_SITES:
                self._known.clear()
            else:
                self._known.pop(site_id, None)

    def table_exists(self, connection: Connection) -> bool:
        """Return whether the table exists, and log an error if it does not."""
        if not self._table_exists:
            self._table_exists = sa.inspect(connection).has_table(_table.name)
            if not self._table_exists:
                migrate = program.command("migrate")
                log.error("the table %s is missing; cached pages may show outdated rows: %s", _table, migrate)
        return self._table_exists

    def _read(self, site_id: int, now: float) -> None:
        """Read the versions of all known sites and of this one. The caller holds the lock."""
        if now < self._retry_at:
            return
        known = [each for each in list(self._known) if each != site_id]
        if len(known) >= self._size:
            known = []
        with self._here_lock:
            here = dict(self._here)
        ids = [ALL_SITES, site_id, *known]
        asked_at = self._clock()
        try:
            found = run_with_timeout(lambda: self._fetch(ids), READ_TIMEOUT_SECONDS)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._check_at = self._retry_at = self._clock() + RETRY_SECONDS
            log.error(
                "cannot read the versions of sites; the last known ones are used: %s", str(error).partition("\n")[0]
            )
            return
        versions = {
            each: Version(found.get(each, 0), found.get(ALL_SITES, 0), here.get(each, 0), here.get(ALL_SITES, 0))
            for each in ids
            if each != ALL_SITES
        }
        with self._here_lock:
            # Sites that changed locally during the query are left out, and read again on demand.
            self._known = {each: version for each, version in versions.items() if self._is_latest(each, here)}
            self._check_at = asked_at + self._refresh_seconds

    def _is_latest(self, site_id: int, here: dict[int, int]) -> bool:
        return all(self._here.get(each, 0) == here.get(each, 0) for each in (site_id, ALL_SITES))

    def _fetch(self, ids: list[int]) -> dict[int, int]:
        with self.engine.connect().execution_options(**AS_MULTISITE) as connection, cancellable(connection):
            asked = (_EVERY, {}) if len(ids) > MAX_IDS_PER_QUERY else (_SOME, {"ids": _padded(ids)})
            return {site_id: version for site_id, version in connection.execute(*asked)}  # noqa: C416 - for mypy.


def _padded(ids: list[int]) -> list[int]:
    """Return `ids`, with `ALL_SITES` repeated up to the next power of two.

    Drivers keep prepared statements by their text, which contains a parameter for each id: a process that learns of
    its sites one by one would fill their caches with a hundred statements of hundreds of parameters.
    """
    return ids + [ALL_SITES] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
