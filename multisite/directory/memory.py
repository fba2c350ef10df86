"""Memory: what a directory remembers of the tables, and how it reads them again: in turn, and in an outage.

One thread reads at a time. Nobody waits for it who has something to show: while the database is asked, and while it
does not answer, what is remembered has to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite import forks
from multisite.directory.engines import check_engine, dispose_after_fork
from multisite.directory.entry import CachedEntry
from multisite.directory.errand import run_with_timeout
from multisite.directory.lookup import QueryResult, UnreadableRows, query_host
from multisite.directory.outage import CircuitBreaker
from multisite.directory.places import HostMatches
from multisite.directory.planted import SiteOverrides
from multisite.directory.shelf import LRUCache
from multisite.directory.unknown import NegativeHostFilter
from multisite.errors import DirectoryUnavailable
from multisite.site import SettingsProvider

if TYPE_CHECKING:
    from multisite.directory.listening import Listener
    from multisite.directory.snapshot import Snapshot

__all__ = ["Memory"]

PATIENCE_SECONDS = 5.0
"""How long a request waits for an answer of the database."""

HANG_PAUSE_SECONDS = 10.0
"""For how long a database that did not answer in time is left alone: each try costs a thread and a connection."""

NO_SITE = 0
"""An id that no site has: asking for it brings the version and nothing else."""


class Memory:
    """The entries of hosts and ids, and the version of the directory that they are of.

    The arguments are those of `multisite.directory.Directory`, which asks this and is its only user.
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
        declared: SettingsProvider | None = None,
    ) -> None:
        check_engine(engine)
        self.engine = engine
        self._refresh_seconds = refresh_seconds
        self._max_age_seconds = max_age_seconds
        self._patience_seconds = PATIENCE_SECONDS
        # After an error at once. Who is told of changes asks seldom for their sake, and must not wait as long for this.
        self._pause_seconds = min(refresh_seconds, HANG_PAUSE_SECONDS)
        self._clock = clock
        self._declared = declared
        self._known: LRUCache[str | int, CachedEntry] = LRUCache(directory_size)
        self._unknown: LRUCache[str | int, CachedEntry] = LRUCache(directory_size)
        self._unknown_hosts = NegativeHostFilter(engine, max_age_seconds=max_age_seconds, clock=clock)
        self._planted = SiteOverrides()
        # Only who has the turn reads from the database and writes the five below: answers are stored in the order in
        # which they were asked for, and a hundred threads that want one cold host send one query.
        self._turn = forks.fork_safe_lock()
        self._version = -1
        self.reads = 0
        """How often the database was asked: for figures, which then need not count what is found in memory."""
        self._template_generation = 0
        self._check_at = clock()
        self._refresh_requests = 0
        self._outage = CircuitBreaker(clock)
        self._listener = _listener(engine, self.refresh_soon) if notify else None
        self._snapshot = _snapshot(snapshot, directory_size, engine, declared, clock) if snapshot else None
        dispose_after_fork(engine)
        # In a process that was forked there is no thread that listens, until the database is asked.
        forks.run_in_forked_child(self, Memory.refresh_soon)

    def template_generation(self) -> int:
        """Return the generation of the templates that all sites share: another number, another look at the files.

        For pages without a site, which ask for no host: reads it from the database if the version is due to be read
        and nobody else is at it. While the database does not answer, the last one known has to do.
        """
        now = self._clock()
        if now >= self._check_at:
            with suppress(DirectoryUnavailable):
                self._read_in_turn(NO_SITE, None, now, wait_seconds=0)
        return self._template_generation

    def refresh_soon(self) -> None:
        """Let the next request look whether something has changed. One thread at a time may call this."""
        self._refresh_requests += 1
        self._check_at = self._clock()

    def _find(self, key: str | int) -> HostMatches | None:
        planted = self._planted.by_key
        if planted and key in planted:
            return planted[key]
        now = self._clock()
        entry = self._remembered(key)
        if entry is None or not self._is_fresh(entry, now):
            if self._is_ruled_out(key, now):
                return None
            return self._read_in_turn(key, entry, now, wait_seconds=self._patience_seconds).places
        if now >= self._check_at:
            # Who has the turn is bringing the version already.
            return self._read_in_turn(key, entry, now, wait_seconds=0).places
        return entry.places

    def _remembered(self, key: str | int) -> CachedEntry | None:
        return self._known.get(key) or self._unknown.get(key)

    def _is_fresh(self, entry: CachedEntry, now: float) -> bool:
        return entry.version == self._version and now < entry.expires

    def _is_ruled_out(self, key: str | int, now: float) -> bool:
        """Return whether `key` is a host that has no site for certain, which nothing needs to be remembered of."""
        if now >= self._check_at or self._outage.is_on or not isinstance(key, str):
            return False  # Whether the version is still the one that is known here is to be asked first.
        return self._unknown_hosts.definitely_absent(key, self._version, now)

    def _read_in_turn(
        self, key: str | int, entry: CachedEntry | None, now: float, *, wait_seconds: float
    ) -> CachedEntry:
        """Return the entry of `key` as the database has it, or as good as can be had.

        `entry` is what is remembered and `now` when that was looked up. If the turn does not come within
        `wait_seconds`, or the database does not answer, `entry` has to do.
        """
        if self._outage.is_on:
            return self._read_in_outage(key, entry, now)
        if not self._turn.acquire(timeout=wait_seconds):
            if entry is not None and wait_seconds == 0:
                return entry  # It was fresh a moment ago, whatever who has the turn may have found out since.
            return self._make_do(key, entry, now, self._slow())
        try:
            is_ruled_out = self._is_ruled_out(key, now)
            newer = CachedEntry(None, self._version, math.inf) if is_ruled_out else self._remembered(key)
            if newer is not None and self._is_fresh(newer, now) and now < self._check_at:
                return newer  # Another thread has read it while this one waited for its turn.
            return self._read(key, now)
        except DirectoryUnavailable as error:
            return self._make_do(key, entry, now, error)
        finally:
            self._turn.release()

    def _read_in_outage(self, key: str | int, entry: CachedEntry | None, now: float) -> CachedEntry:
        """Do the same while the database did not answer the last time: nobody waits but one who has nothing to show."""
        error = self._outage.error("the database did not answer a moment ago")
        entry = self._last_known(key, entry)
        if now < self._outage.retry_at or not self._turn.acquire(blocking=False):
            return self._make_do(key, entry, now, error)
        if key == NO_SITE or (entry is not None and entry.places is not None):
            self._read_aside(key, now)
            return self._make_do(key, entry, now, error)
        try:
            return self._read(key, now)
        except DirectoryUnavailable as latest:
            return self._make_do(key, entry, now, latest)
        finally:
            self._turn.release()

    def _read_aside(self, key: str | int, now: float) -> None:
        """Read `key` in another thread, which gives back the turn that this one has."""

        def read() -> None:
            try:
                with suppress(DirectoryUnavailable):
                    self._read(key, now)
            finally:
                self._turn.release()

        try:
            Thread(target=read, name="multisite-directory-aside", daemon=True).start()
        except RuntimeError:  # There are too many threads.
            self._turn.release()

    def _make_do(
        self, key: str | int, entry: CachedEntry | None, now: float, error: DirectoryUnavailable
    ) -> CachedEntry:
        entry = self._last_known(key, entry)
        # That a host had no site some time ago is no reason to say so now; that it had one is a reason to serve it.
        if entry is not None and (entry.places is not None or self._is_fresh(entry, now)):
            return entry
        raise error

    def _last_known(self, key: str | int, entry: CachedEntry | None) -> CachedEntry | None:
        """Return `entry`, or what the snapshot has if the database has not answered since the start."""
        if entry is None and self._version < 0 and self._snapshot is not None:
            return self._snapshot.find(key)
        return entry

    def _read(self, key: str | int, now: float) -> CachedEntry:
        """Read the entry of `key` and remember it. Only for who has the turn; `now` is before the turn was awaited."""
        if now < self._outage.retry_at:
            raise self._outage.error("the database did not answer a moment ago")
        if self._listener is not None:
            self._listener.start()
        self.reads += 1
        asked_at, refresh_requests = self._clock(), self._refresh_requests
        try:
            answer = run_with_timeout(lambda: query_host(self.engine, key, self._declared), self._patience_seconds)
        except TimeoutError:
            raise self._failed("the database does not answer", HANG_PAUSE_SECONDS) from None
        except UnreadableRows:
            raise
        except DirectoryUnavailable as error:
            raise self._failed(error.reason, self._pause_seconds) from None
        except (SQLAlchemyError, OSError, RuntimeError) as error:
            raise self._failed(str(error).partition("\n")[0], self._pause_seconds) from error
        entry = self._store(key, answer, asked_at)
        # A change made after the question was asked may not be in the answer, so the time runs from the question; and
        # the refresh_requests are looked at last, or one could be lost.
        self._check_at = asked_at + self._refresh_seconds
        if self._refresh_requests != refresh_requests:
            self._check_at = asked_at
        return entry

    def _failed(self, reason: str, pause_seconds: float) -> DirectoryUnavailable:
        error = self._outage.fail(reason, pause_seconds)
        # Threads that were waiting for their turn have looked before this, and will not try again one by one.
        self._check_at = self._outage.retry_at
        return error

    def _slow(self) -> DirectoryUnavailable:
        # Who has the turn may get no answer either, and then the database is left alone.
        return DirectoryUnavailable(
            "the database is slow to answer", math.ceil(self._patience_seconds + HANG_PAUSE_SECONDS)
        )

    def _store(self, key: str | int, answer: QueryResult, asked_at: float) -> CachedEntry:
        entry = CachedEntry(answer.places, answer.version, asked_at + self._max_age_seconds)
        is_new = self._version != answer.version or self._known.get(key) is None
        shelf, other = (self._unknown, self._known) if answer.places is None else (self._known, self._unknown)
        other.drop(key)
        shelf.put(key, entry)
        if answer.places is None and isinstance(key, str):
            self._unknown_hosts.record_miss()
        self._template_generation = answer.template_generation
        # The version last: until then others take the new entry for a stale one, and wait for their turn.
        self._version = answer.version
        self._outage.end()
        if self._snapshot is not None:
            self._snapshot.note(is_new=is_new, version=answer.version, known=self._known.items)
        return entry


def _listener(engine: Engine, refresh_soon: Callable[[], None]) -> Listener:
    # Only where it is asked for: who does not use it need not load it.
    from multisite.directory.listening import Listener

    return Listener(engine, refresh_soon)


def _snapshot(
    path: Path, size: int, engine: Engine, declared: SettingsProvider | None, clock: Callable[[], float]
) -> Snapshot:
    from multisite.directory.snapshot import Snapshot

    return Snapshot(path, size, database=engine.url, declared=declared, clock=clock)
