"""The databases: SQLite files with entries, and a given number of sites and domains."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.page import ROWS, VISITED, host_of, values_of
from benchmarks.served import Base
from multisite.alembic.migrate import upgrade_own
from multisite.directory import engine_from_url

__all__ = ["make_database"]


def make_database(path: Path, sites: int, *, domains_per_site: int = 1) -> None:
    """Create the file `path` with `sites` sites, of which the first thousand share the entries evenly."""
    engine = engine_from_url(f"sqlite:///{path}")
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        # Inserting each row separately through SQLAlchemy would take minutes for a million.
        connection.execute("PRAGMA synchronous = OFF")
        numbers = range(1, sites + 1)
        connection.executemany(
            "INSERT INTO sites (id, name, folder) VALUES (?, ?, ?)", ((n, f"Site {n}", host_of(n)) for n in numbers)
        )
        connection.executemany(
            "INSERT INTO domains (site_id, host, kind) VALUES (?, ?, 'canonical')", ((n, host_of(n)) for n in numbers)
        )
        connection.executemany(
            "INSERT INTO domains (site_id, host, kind) VALUES (?, ?, 'alias')",
            ((n, f"alias{alias}.{host_of(n)}") for n in numbers for alias in range(1, domains_per_site)),
        )
        owners = min(sites, VISITED)
        connection.executemany(
            "INSERT INTO entries (site_id, slug, title, summary, published) VALUES (?, ?, ?, ?, ?)",
            ((number * owners // ROWS + 1, *_row(number)) for number in range(ROWS)),
        )
        connection.commit()


def _row(number: int) -> tuple[str, str, str, str]:
    values = values_of(number)
    return values["slug"], values["title"], values["summary"], values["published"].isoformat(" ", "microseconds")
