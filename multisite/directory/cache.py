"""The directory's cache: what this process has read from the tables, and when it reads them again.

One thread refreshes at a time. Callers with a cached entry never wait: they are served the stale entry during a refresh
or an outage.
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

from multisite.core import fork_safety
from multisite.core.lru_cache import LRUCache
from multisite.core.site import SettingsProvider
from multisite.directory.circuit_breaker import CircuitBreaker
from multisite.directory.deadline import run_with_timeout
from multisite.directory.engines import check_engine, dispose_after_fork
from multisite.directory.matching import CachedEntry, HostMatches
from multisite.directory.query import QueryResult, UnreadableRows, query_host
from multisite.directory.unknown_hosts import NegativeHostFilter
from multisite.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from multisite.directory.notifications import Listener
    from multisite.directory.snapshot import Snapshot

__all__ = ["DirectoryCache"]

QUERY_TIMEOUT_SECONDS = 5.0
"""How long a request waits for the database to answer."""

HANG_PAUSE_SECONDS = 10.0
"""How long the database is left alone after a timeout: each attempt costs a thread and a connection."""

NO_SITE = 0
"""An id that no site has. A query for it returns only the versions."""


class DirectoryCache:
    """The cached entries of hosts and site ids, and the version of the directory that they belong to.

    The arguments are those of `Directory`, which owns the cache.
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
        check_engine(engine)
        self._engine = engine
        self._refresh_seconds = refresh_seconds
        self._max_age_seconds = max_age_seconds
        self._query_timeout_seconds = QUERY_TIMEOUT_SECONDS
        # After an immediate error. With notifications `refresh_seconds` may be long, which this pause must not be.
        self._pause_seconds = min(refresh_seconds, HANG_PAUSE_SECONDS)
        self._clock = clock
        self._settings_provider = settings_provider
        self._known: LRUCache[str | int, CachedEntry] = LRUCache(directory_size)
        self._unknown: LRUCache[str | int, CachedEntry] = LRUCache(directory_size)
        self._host_filter = NegativeHostFilter(engine, max_age_seconds=max_age_seconds, clock=clock)
        # Only the holder of the lock queries the database and writes the attributes below. Results are therefore stored
        # in the order of their queries, and a hundred threads that miss the same host send one query.
        self._refresh_lock = fork_safety.fork_safe_lock()
        self._version = -1
        self.reads = 0
        """The number of queries sent, for metrics: the cache does not count its hits."""
        self.read_at: float | None = None
        """When the last query was answered, in Unix time; None if none was."""
        self._template_generation = 0
        self._check_at = clock()
        self._refresh_requests = 0
        self._circuit = CircuitBreaker(clock)
        self._listener = _listener(engine, self.refresh_soon) if notify else None
        self._snapshot = _snapshot(snapshot, directory_size, engine, settings_provider, clock) if snapshot else None
        dispose_after_fork(engine)
        # A forked child has no listener thread until it queries the database.
        fork_safety.run_in_forked_child(self, DirectoryCache.refresh_soon)

    @property
    def known_versions(self) -> tuple[int, int]:
        """The version of the directory and the generation of the shared templates that were read last."""
        return self._version, self._template_generation

    def template_generation(self) -> int:
        """Return the generation of the shared templates: when it changes, the files are looked up again.

        This is for pages without a site, since `get` refreshes the generation too. It is read from the database if a
        refresh is due and no other thread is refreshing. While the database does not answer, the last known value is
        returned.
        """
        now = self._clock()
        if now >= self._check_at:
            with suppress(DirectoryUnavailable):
                self._refresh(NO_SITE, None, now, wait_seconds=0)
        return self._template_generation

    def refresh_soon(self) -> None:
        """Let the next request check for changes. Only one thread at a time may call this."""
        self._refresh_requests += 1
        self._check_at = self._clock()

    def stop_listening(self) -> None:
        """Stop the listener for notifications, if there is one."""
        if self._listener is not None:
            self._listener.stop()

    def get(self, key: str | int) -> HostMatches | None:
        """Return the matches of `key`, a host or a site id, or None if it has no site.

        Raises:
            DirectoryUnavailable: If `key` is not cached and the database does not answer.
        """
        now = self._clock()
        # `_cached` and `_is_fresh`, written out because every request needs them.
        entry = self._known.get(key) or self._unknown.get(key)
        if entry is None or entry.version != self._version or now >= entry.expires:
            if self._is_ruled_out(key, now):
                return None
            return self._refresh(key, entry, now, wait_seconds=self._query_timeout_seconds).matches
        if now >= self._check_at:
            # If another thread holds the lock, it is reading the version already.
            return self._refresh(key, entry, now, wait_seconds=0).matches
        return entry.matches

    def _cached(self, key: str | int) -> CachedEntry | None:
        return self._known.get(key) or self._unknown.get(key)

    def _is_fresh(self, entry: CachedEntry, now: float) -> bool:
        return entry.version == self._version and now < entry.expires

    def _is_ruled_out(self, key: str | int, now: float) -> bool:
        """Return whether `key` is a host that certainly has no site; it then needs neither a query nor an entry."""
        if now >= self._check_at or self._circuit.is_open or not isinstance(key, str):
            return False  # The version has to be checked first.
        return self._host_filter.definitely_absent(key, self._version, now)

    def _refresh(self, key: str | int, entry: CachedEntry | None, now: float, *, wait_seconds: float) -> CachedEntry:
        """Return the entry of `key` from the database, or a stale one if the database does not answer.

        `entry` is the cached one, looked up at `now`. It is also returned if another thread holds the lock for longer
        than `wait_seconds`.
        """
        if self._circuit.is_open:
            return self._refresh_in_outage(key, entry, now)
        if not self._refresh_lock.acquire(timeout=wait_seconds):
            if entry is not None and wait_seconds == 0:
                return entry  # It was fresh a moment ago; a change that the other thread finds may come a moment later.
            return self._serve_stale(key, entry, now, self._slow())
        try:
            is_ruled_out = self._is_ruled_out(key, now)
            newer = CachedEntry(None, self._version, math.inf) if is_ruled_out else self._cached(key)
            if newer is not None and self._is_fresh(newer, now) and now < self._check_at:
                return newer  # Another thread has read it while this one waited for the lock.
            return self._read(key, now)
        except DirectoryUnavailable as error:
            return self._serve_stale(key, entry, now, error)
        finally:
            self._refresh_lock.release()

    def _refresh_in_outage(self, key: str | int, entry: CachedEntry | None, now: float) -> CachedEntry:
        """Do what `_refresh` does, but while the circuit is open: only a caller without a cached entry waits."""
        error = self._circuit.error("the database did not answer a moment ago")
        entry = self._fallback_entry(key, entry)
        if now < self._circuit.retry_at or not self._refresh_lock.acquire(blocking=False):
            return self._serve_stale(key, entry, now, error)
        if key == NO_SITE or (entry is not None and entry.matches is not None):
            self._refresh_in_background(key, now)
            return self._serve_stale(key, entry, now, error)
        try:
            return self._read(key, now)
        except DirectoryUnavailable as latest:
            return self._serve_stale(key, entry, now, latest)
        finally:
            self._refresh_lock.release()

    def _refresh_in_background(self, key: str | int, now: float) -> None:
        """Read `key` in another thread, which releases the lock that this thread holds."""

        def read() -> None:
            try:
                with suppress(DirectoryUnavailable):
                    self._read(key, now)
            finally:
                self._refresh_lock.release()

        try:
            Thread(target=read, name="multisite-directory-refresh", daemon=True).start()
        except RuntimeError:  # No more threads can be started.
            self._refresh_lock.release()

    def _serve_stale(
        self, key: str | int, entry: CachedEntry | None, now: float, error: DirectoryUnavailable
    ) -> CachedEntry:
        entry = self._fallback_entry(key, entry)
        # Only an entry with a site is served stale: a host that had no site then may have one now.
        if entry is not None and (entry.matches is not None or self._is_fresh(entry, now)):
            return entry
        raise error

    def _fallback_entry(self, key: str | int, entry: CachedEntry | None) -> CachedEntry | None:
        """Return `entry`, or that of the snapshot if the database has not answered since the start."""
        if entry is None and self._version < 0 and self._snapshot is not None:
            return self._snapshot.find(key)
        return entry

    def _read(self, key: str | int, now: float) -> CachedEntry:
        """Query the entry of `key` and cache it. The caller holds the lock; `now` is the time before it waited."""
        if now < self._circuit.retry_at:
            raise self._circuit.error("the database did not answer a moment ago")
        if self._listener is not None:
            self._listener.start()
        self.reads += 1
        queried_at, requests = self._clock(), self._refresh_requests
        try:
            result = run_with_timeout(
                lambda: query_host(self._engine, key, self._settings_provider), self._query_timeout_seconds
            )
        except TimeoutError:
            raise self._failed("the database does not answer", HANG_PAUSE_SECONDS) from None
        except UnreadableRows:
            raise
        except DirectoryUnavailable as error:
            raise self._failed(error.reason, self._pause_seconds) from None
        except (SQLAlchemyError, OSError, RuntimeError) as error:
            raise self._failed(str(error).partition("\n")[0], self._pause_seconds) from error
        entry = self._store(key, result, queried_at)
        # The result may miss a change made after the query was sent, so the time counts from then; and the requests
        # are compared last, or one could be lost.
        self._check_at = queried_at + self._refresh_seconds
        if self._refresh_requests != requests:
            self._check_at = queried_at
        return entry

    def _failed(self, reason: str, pause_seconds: float) -> DirectoryUnavailable:
        error = self._circuit.record_failure(reason, pause_seconds)
        # Threads waiting for the lock took `now` before this time, so they will not each try again.
        self._check_at = self._circuit.retry_at
        return error

    def _slow(self) -> DirectoryUnavailable:
        # The thread that holds the lock may time out as well, and then the database is left alone.
        return DirectoryUnavailable(
            "the database is slow to answer", math.ceil(self._query_timeout_seconds + HANG_PAUSE_SECONDS)
        )

    def _store(self, key: str | int, result: QueryResult, queried_at: float) -> CachedEntry:
        entry = CachedEntry(result.matches, result.version, queried_at + self._max_age_seconds)
        is_new = self._version != result.version or self._known.get(key) is None
        cache, other = (self._unknown, self._known) if result.matches is None else (self._known, self._unknown)
        other.discard(key)
        cache.set(key, entry)
        if result.matches is None and isinstance(key, str):
            self._host_filter.record_miss()
        self._template_generation = result.template_generation
        # Set last: until then, other threads treat the new entry as stale and wait for the lock.
        self._version = result.version
        self.read_at = time.time()
        self._circuit.record_success()
        if self._snapshot is not None:
            self._snapshot.schedule_write(is_new=is_new, version=result.version, known=self._known.items)
        return entry


def _listener(engine: Engine, refresh_soon: Callable[[], None]) -> Listener:
    # Imported only if the setting asks for it.
    from multisite.directory.notifications import Listener

    return Listener(engine, refresh_soon)


def _snapshot(
    path: Path, size: int, engine: Engine, settings_provider: SettingsProvider | None, clock: Callable[[], float]
) -> Snapshot:
    from multisite.directory.snapshot import Snapshot

    return Snapshot(path, size, database=engine.url, settings_provider=settings_provider, clock=clock)
