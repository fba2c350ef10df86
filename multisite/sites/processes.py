"""The processes that serve requests or do jobs: each writes once a minute what it has read from the directory.

`multisite.web.traffic` calls this from the thread that writes its counts, and `multisite work` from one of its own. A
process is listed until it ends, or has not written for an hour.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from threading import Event, Thread

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.directory import Directory
from multisite.directory.health_tables import processes_table
from multisite.directory.tables import AS_MULTISITE

__all__ = ["SILENT_SECONDS", "Process", "leave", "list_processes", "machine_name", "report", "reporting", "versions"]

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""How often `reporting` writes."""

SILENT_SECONDS = 180
"""After this time without a row, a process may have died, or cannot write to the database."""

KEPT = timedelta(hours=1)
"""For how long a process is listed that no longer writes."""

PACKAGES = {"multisite": "pyramid-multisite", "Pyramid": "pyramid", "SQLAlchemy": "sqlalchemy", "Mako": "mako"}

_process = processes_table.c


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its machine and its number, since when it counts requests or does jobs, and when it wrote last.

    `directory_version`, `template_generation` and `directory_read` are as in `DirectoryState`. `versions` are those of
    multisite and what it is made of, by name. `kind` is `server` for one that serves requests, `worker` for one that
    does jobs.
    """

    host: str
    pid: int
    started: datetime
    seen: datetime
    directory_version: int
    template_generation: int
    directory_read: datetime | None
    versions: Mapping[str, str]
    kind: str = "server"

    @property
    def is_silent(self) -> bool:
        """Whether it has not written for some minutes."""
        return self.seen < datetime.now(UTC) - timedelta(seconds=SILENT_SECONDS)


@cache
def versions() -> dict[str, str]:
    """Return the versions of multisite, of what it is made of, and of Python, by name."""
    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:  # Code that was copied into place.
            found[name] = "unknown"
    return {**found, "Python": platform.python_version()}


def machine_name() -> str:
    """Return the name of this machine, as far as the table has room for it."""
    return socket.gethostname()[:150]


def report(directory: Directory, started: datetime, *, kind: str = "server") -> None:
    """Write the row of this process, and remove those of processes that have not written for an hour.

    Args:
        directory: The directory of the process.
        started: Since when the process serves requests, or does jobs.
        kind: As in `Process`.
    """
    state, now = directory.state(), datetime.now(UTC)
    insert = (postgresql if directory.engine.dialect.name == "postgresql" else sqlite).insert(processes_table)
    values = {
        "host": machine_name(), "pid": os.getpid(), "started": started, "seen": now, "directory_version": state.version,
        "template_generation": state.template_generation, "directory_read": state.read, "versions": versions(),
        "kind": kind,
    }  # fmt: skip
    with directory.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(processes_table).where(_process.seen < now - KEPT))
        connection.execute(
            insert.values(**values).on_conflict_do_update(index_elements=["host", "pid"], set_=dict(insert.excluded))
        )


def leave(directory: Directory) -> None:
    """Remove the row of this process, which ends."""
    own = _process.host == machine_name(), _process.pid == os.getpid()
    with directory.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(processes_table).where(*own))


@contextmanager
def reporting(engine: Engine) -> Iterator[None]:
    """Report this process as a worker inside the block: at once, then each minute, from a thread.

    Args:
        engine: The database of the directory.
    """
    directory, started, stopped = Directory(engine), datetime.now(UTC), Event()

    def run() -> None:
        while True:
            try:
                # This reads the version of the directory, as a request does; no site is looked up here.
                directory.template_generation()
                report(directory, started, kind="worker")
            except SQLAlchemyError as error:
                # On SQLite a job may be writing. If the database cannot be written at all, the jobs say so.
                log.debug("the state of this process cannot be written: %s", error)
            if stopped.wait(REPORT_SECONDS):
                return

    thread = Thread(target=run, name="multisite-process", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        try:
            leave(directory)
        except SQLAlchemyError as error:  # Its row is removed by another process, an hour later.
            log.debug("the state of this process cannot be removed: %s", error)


def list_processes(engine: Engine) -> list[Process]:
    """Return the processes, by machine and number."""
    since = _process.seen >= datetime.now(UTC) - KEPT
    statement = sa.select(processes_table).where(since).order_by(_process.host, _process.pid)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return [Process(**row._mapping) for row in connection.execute(statement)]
