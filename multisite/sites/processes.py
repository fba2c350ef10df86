"""The processes that serve requests: each writes once a minute what it has read from the directory, and its versions.

`multisite.web.traffic` calls this from the thread that writes its counts. A process is listed until it ends, or has not
written for an hour.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine

from multisite.directory import Directory
from multisite.directory.health_tables import processes_table
from multisite.directory.models import AS_MULTISITE

__all__ = ["SILENT_SECONDS", "Process", "leave", "list_processes", "machine_name", "report", "versions"]

SILENT_SECONDS = 180
"""After this time without a row, a process may have died, or cannot write to the database."""

KEPT = timedelta(hours=1)
"""For how long a process is listed that no longer writes."""

PACKAGES = {"multisite": "pyramid-multisite", "Pyramid": "pyramid", "SQLAlchemy": "sqlalchemy", "Mako": "mako"}

_process = processes_table.c


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its machine and its number, since when it counts requests, and when it wrote last.

    `directory_version`, `template_generation` and `directory_read` are as in `DirectoryState`. `versions` are those of
    multisite and what it is made of, by name.
    """

    host: str
    pid: int
    started: datetime
    seen: datetime
    directory_version: int
    template_generation: int
    directory_read: datetime | None
    versions: Mapping[str, str]

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


def report(directory: Directory, started: datetime) -> None:
    """Write the row of this process, and remove those of processes that have not written for an hour.

    Args:
        directory: The directory of the process.
        started: Since when the process serves requests.
    """
    state, now = directory.state(), datetime.now(UTC)
    insert = (postgresql if directory.engine.dialect.name == "postgresql" else sqlite).insert(processes_table)
    values = {
        "host": machine_name(), "pid": os.getpid(), "started": started, "seen": now, "directory_version": state.version,
        "template_generation": state.template_generation, "directory_read": state.read, "versions": versions(),
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


def list_processes(engine: Engine) -> list[Process]:
    """Return the processes, by machine and number."""
    since = _process.seen >= datetime.now(UTC) - KEPT
    statement = sa.select(processes_table).where(since).order_by(_process.host, _process.pid)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return [Process(**row._mapping) for row in connection.execute(statement)]
