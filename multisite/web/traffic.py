"""Count the requests of each site in memory, and add the counts to the database at most once a minute.

`multisite.traffic = true` switches this on. The thread that writes starts with the first request of a process, and the
rest is written when the process ends; one that is killed loses at most the last minute.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS
from sqlalchemy.engine import Engine

from multisite.core.fork_safety import fork_safe_lock, run_in_forked_child
from multisite.core.keys import CLOSED, DIRECTORY, OPEN_PATH
from multisite.directory import Directory
from multisite.sites import processes
from multisite.sites.traffic import (
    HOUR,
    MINUTE,
    NO_SITE,
    ErrorSeen,
    TrafficCounts,
    prune_traffic,
    safe_path,
    write_counts,
)

__all__ = ["TRAFFIC", "TrafficRecorder", "includeme", "traffic_tween_factory"]

log = logging.getLogger(__name__)

TRAFFIC = "multisite.traffic"
"""Registry key of the `TrafficRecorder`."""

MAX_KEYS = 100_000
"""How many counts are kept while the database cannot be written: then further ones are dropped."""

MAX_ERRORS = 200

FIRST_REPORT_SECONDS = 5
"""How long after its first request a process writes that it is there."""

Handler = Callable[[Request], Response]


class _State:
    """The counts of a process that have not been written. The thread keeps this alive, and not the recorder."""

    def __init__(self, engine: Callable[[], Engine], directory: Callable[[], Directory] | None) -> None:
        self.engine = engine
        self.directory = directory
        self.started = datetime.now(UTC)
        self.has_reported = False
        self.lock = fork_safe_lock()
        self.writing = fork_safe_lock()
        self.counts = TrafficCounts()
        self.stopped = Event()
        self.pruned_hour = 0

    def flush(self) -> None:
        """Write the counts; keep them for the next time if that fails."""
        with self.writing:
            with self.lock:
                counts, self.counts = self.counts, TrafficCounts()
            if not counts:
                return
            try:
                engine = self.engine()
                write_counts(engine, counts)
                hour = int(time.time()) // HOUR
                if hour != self.pruned_hour:
                    prune_traffic(engine)
                    self.pruned_hour = hour
            except Exception as error:
                log.warning("the traffic of the last minute cannot be written: %s", str(error).partition("\n")[0])
                self._put_back(counts)

    def _put_back(self, counts: TrafficCounts) -> None:
        with self.lock:
            mine = self.counts.requests
            for key, values in counts.requests.items():
                if key in mine or len(mine) < MAX_KEYS:
                    found = mine.get(key, [0] * len(values))
                    mine[key] = [old + more for old, more in zip(found, values, strict=True)]
            self.counts.errors[:0] = counts.errors[-MAX_ERRORS:]

    def run(self) -> None:
        # Soon, so that a new process is seen, and later than the first requests, which have enough to do.
        if not self.stopped.wait(FIRST_REPORT_SECONDS):
            self.report()
        # Spread over the minute, so that the processes of a server do not write at the same time.
        offset = os.getpid() % MINUTE
        while not self.stopped.wait(MINUTE - (time.time() - offset) % MINUTE):
            self.flush()
            self.report()

    def report(self) -> None:
        """Write what this process has read from the directory, for the page Health of the console."""
        if self.directory is None:
            return
        try:
            processes.report(self.directory(), self.started)
            self.has_reported = True
        except Exception as error:
            log.warning("the state of this process cannot be written: %s", str(error).partition("\n")[0])

    def end(self) -> None:
        self.stopped.set()
        self.flush()
        if self.directory is not None and self.has_reported:
            try:
                processes.leave(self.directory())
            except Exception as error:  # Its row is removed by another process, an hour later.
                log.debug("the state of this process cannot be removed: %s", error)


class TrafficRecorder:
    """Counts requests, and writes the counts from a thread of its own until it is collected or the process ends.

    With `directory`, it also writes what the process has read from it.
    """

    def __init__(self, engine: Callable[[], Engine], directory: Callable[[], Directory] | None = None) -> None:
        self._state = _State(engine, directory)
        self._thread: Thread | None = None
        self._finalize = weakref.finalize(self, self._state.end)
        run_in_forked_child(self, TrafficRecorder._forget)

    def _forget(self) -> None:
        """Forget what the parent has counted, which it writes itself, and its thread."""
        self._state.counts = TrafficCounts()
        self._state.started, self._state.has_reported = datetime.now(UTC), False
        self._thread = None

    def count(self, site_id: int, view: str, seconds: float, *, failed: bool, size: int) -> None:
        """Count one request, with the duration in seconds and the size of its response in bytes."""
        if self._thread is None:
            self._start()
        state, key = self._state, (site_id, view, int(time.time()) // MINUTE)
        with state.lock:
            requests = state.counts.requests
            counts = requests.get(key)
            if counts is None:
                counts = requests[key] = [0, 0, 0.0, 0]
            counts[0] += 1
            counts[1] += failed
            counts[2] += seconds
            counts[3] += size

    def note_error(self, error: ErrorSeen) -> None:
        """Keep an error for the next time that the counts are written."""
        with self._state.lock:
            if len(self._state.counts.errors) < MAX_ERRORS:
                self._state.counts.errors.append(error)

    def flush(self) -> None:
        """Write the counts now."""
        self._state.flush()

    def _start(self) -> None:
        with self._state.lock:
            if self._thread is None:
                self._thread = Thread(target=self._state.run, name="multisite-traffic", daemon=True)
                self._thread.start()


def traffic_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween, above the one that finds the site, that counts all requests."""
    recorder: TrafficRecorder = registry[TRAFFIC]

    def traffic_tween(request: Request) -> Response:
        started = time.perf_counter()
        response = error = None
        try:
            response = handler(request)
        except BaseException as raised:
            error = raised
            raise
        finally:
            # This is part of every request, so it looks at attributes, whose getters cost more than the counting.
            found, environ = request.__dict__, request.environ
            site, route = found.get("site"), found.get("matched_route")
            site_id = NO_SITE if site is None or OPEN_PATH in environ else site.id
            view = "-" if route is None else route.name
            failed, size = response is None, 0
            if response is not None:
                # A site in maintenance responds with 503, and means it.
                failed = response.status[0] == "5" and not environ.get(CLOSED)
                body = response.app_iter
                size = len(body[0]) if type(body) is list and len(body) == 1 else response.content_length or 0
            recorder.count(site_id, view, time.perf_counter() - started, failed=failed, size=size)
            if failed:
                error = error or getattr(request, "exception", None)
                what = "500" if response is None else str(response.status_code)
                name = f"{what} {type(error).__name__}" if error is not None else what
                # The key of multisite.logs, which need not be included.
                request_id = environ.get("multisite.request_id")
                path = safe_path(environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace"))
                recorder.note_error(ErrorSeen(datetime.now(UTC), site_id, view[:200], name[:200], request_id, path))
        return response

    return traffic_tween


def includeme(config: Configurator) -> None:
    """Count all requests."""
    registry = config.registry
    registry[TRAFFIC] = TrafficRecorder(lambda: registry[DIRECTORY].engine, lambda: registry[DIRECTORY])
    config.add_tween(
        "multisite.web.traffic.traffic_tween_factory", under=INGRESS, over="multisite.web.tween.site_tween_factory"
    )
