"""Versions: what a process knows of how often the rows of each site were changed, by itself and by others.

The version is asked for before a page is made, and kept with it. A change that commits later, in whatever process,
makes it another one; so a page that was made from rows as they were before can never be taken for a new one, no matter
how long it took to make.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite import program
from multisite.application import current_application
from multisite.directory.errand import cancellable, run_with_timeout
from multisite.forks import fork_safe_lock
from multisite.models import ChangeRow

__all__ = ["Version", "Versions"]

log = logging.getLogger(__name__)

ALL = 0
"""Stands in the place of a site's id for a change across all sites: nobody here knows whose rows it was."""

ASKED_AT_ONCE = 500
"""Of more sites than this the whole table is read: so many parameters are no less work, and SQLite has a limit."""

PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 10.0
"""How long a database is waited for, and for how long one that does not answer is left alone."""


class Version(NamedTuple):
    """The version of a site's rows: that of the table, those of all sites, and the changes made in this process."""

    own: int
    all: int
    here: int
    all_here: int


_table: Any = ChangeRow.__table__
_SOME = sa.select(_table).where(_table.c.site_id.in_(sa.bindparam("ids", expanding=True)))
_EVERY = sa.select(_table)


class Versions:
    """The versions of the sites whose pages a process keeps, read from the tables of multisite at `engine`.

    They are read together, by one statement every `refresh_seconds` at most, and only while somebody asks. A site that
    is new here, or whose rows were changed in this process, is read at once. While the database does not answer, what
    is known has to do. `clock` gives seconds that never go back.
    """

    def __init__(
        self, engine: Engine, *, refresh_seconds: float, size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """At most `size` sites are known at a time."""
        self.engine = engine
        self.application = current_application.get()
        """The name of the application that asks, None in a process with only one."""
        self._refresh_seconds = refresh_seconds
        self._size = size
        self._clock = clock
        self._turn = fork_safe_lock()
        self._known: dict[int, Version] = {}
        self._here: dict[int, int] = {}
        self._here_lock = fork_safe_lock()
        self._check_at = self._retry_at = clock()
        self._is_there = False

    def of(self, site_id: int) -> Version | None:
        """Return the version of a site's rows, at most `refresh_seconds` old; None if nobody can say."""
        version = self._known.get(site_id)
        now = self._clock()
        if version is not None and now < self._check_at:
            return version
        # Who has the turn is reading them already; only who knows nothing of this site has to wait for that.
        if not self._turn.acquire(timeout=PATIENCE_SECONDS if version is None else 0):
            return version
        try:
            if now >= self._check_at or site_id not in self._known:
                self._read(site_id, now)
            return self._known.get(site_id)
        finally:
            self._turn.release()

    def changed(self, site_id: int) -> None:
        """Let no page made until now be taken for a new one: rows of this site (0: of all) were changed here."""
        with self._here_lock:
            # First the count, which is read before the table is: whoever is at that stores it with the old one.
            if len(self._here) > self._size and site_id not in self._here:
                # Counted as one across all sites, of which no version is another one's.
                self._here, site_id = {ALL: self._here.get(ALL, 0)}, ALL
            self._here[site_id] = self._here.get(site_id, 0) + 1
            if site_id == ALL:
                self._known.clear()
            else:
                self._known.pop(site_id, None)

    def is_there(self, connection: Connection) -> bool:
        """Return whether the table is there at all; what is missing is said in the log."""
        if not self._is_there:
            self._is_there = sa.inspect(connection).has_table(_table.name)
            if not self._is_there:
                migrate = program.command("migrate")
                log.error("the table %s is missing, so pages outlive the rows they show: %s", _table, migrate)
        return self._is_there

    def _read(self, site_id: int, now: float) -> None:
        """Read the versions of all sites that are known, and of this one. Only for who has the turn."""
        if now < self._retry_at:
            return
        known = [each for each in list(self._known) if each != site_id]
        if len(known) >= self._size:
            known = []
        with self._here_lock:
            here = dict(self._here)
        ids = [ALL, site_id, *known]
        asked_at = self._clock()
        try:
            found = run_with_timeout(lambda: self._fetch(ids), PATIENCE_SECONDS)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._check_at = self._retry_at = self._clock() + PAUSE_SECONDS
            log.error(
                "versions of sites cannot be read, and kept pages stay as they are: %s", str(error).partition("\n")[0]
            )
            return
        versions = {
            each: Version(found.get(each, 0), found.get(ALL, 0), here.get(each, 0), here.get(ALL, 0))
            for each in ids
            if each != ALL
        }
        with self._here_lock:
            # What was changed here while the table was being read is left to be read again.
            self._known = {each: version for each, version in versions.items() if self._is_latest(each, here)}
            self._check_at = asked_at + self._refresh_seconds

    def _is_latest(self, site_id: int, here: dict[int, int]) -> bool:
        return all(self._here.get(each, 0) == here.get(each, 0) for each in (site_id, ALL))

    def _fetch(self, ids: list[int]) -> dict[int, int]:
        with self.engine.connect() as connection, cancellable(connection):
            asked = (_EVERY, {}) if len(ids) > ASKED_AT_ONCE else (_SOME, {"ids": ids})
            return {site_id: version for site_id, version in connection.execute(*asked)}  # noqa: C416 - mypy knows more.
