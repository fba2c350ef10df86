"""Count the addresses without a page that are requested most, by site, in memory and then in the database.

Any client can request any number of addresses, so everything is bounded: in memory the addresses of one site and of all
together, in the database the rows of a site and how often they are written. Where there are more, the rare ones are
dropped: https://en.wikipedia.org/wiki/Misra%E2%80%93Gries_heavy_hitters_problem. Counts are therefore lower limits, and
those of the last seconds are lost when a process ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.limits import PATH_LENGTH
from multisite.content.models import MissingAddress
from multisite.content.redirects import find_redirect
from multisite.core.site import Site

__all__ = ["MAX_ROWS", "MissingCounter", "forget_missing", "list_missing", "save_counts"]

WRITE_SECONDS = 10
"""A process writes at most once in this time."""

PAUSE_SECONDS = 300
"""How long a process does not write after the database could not be written."""

SITES_AT_ONCE = 10
"""The sites whose counts are written at once, so that no visitor waits for thousands."""

SITE_ADDRESSES = 100
"""Addresses of one site in memory."""

ALL_ADDRESSES = 10_000
"""Addresses of all sites in memory."""

MAX_ROWS = 500
"""Rows of one site: the most requested addresses are kept."""

_table = MissingAddress


class MissingCounter:
    """Counts missing addresses in memory, for all threads of a process. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._sites: dict[int, tuple[Site, dict[str, int]]] = {}
        self._size = 0
        self._next_write = clock()

    def count(self, site: Site, path: str) -> None:
        """Count one request for `path`, unescaped; too long ones and those with control characters are not counted."""
        if len(path) > PATH_LENGTH or not path.isprintable():
            return
        with self._lock:
            _, counts = self._sites.setdefault(site.id, (site, {}))
            before = len(counts)
            if path in counts:
                counts[path] += 1
            elif before < SITE_ADDRESSES and self._size < ALL_ADDRESSES:
                counts[path] = 1
            else:
                # Decrement each count: an address with many requests stays, however many others are requested.
                for each in list(counts):
                    counts[each] -= 1
                    if not counts[each]:
                        del counts[each]
            self._size += len(counts) - before
            if not counts:
                del self._sites[site.id]

    def take(self) -> Sequence[tuple[Site, Mapping[str, int]]]:
        """Return the counts of some sites, longest waiting first, and forget them; nothing if it is not yet time."""
        with self._lock:
            if self._clock() < self._next_write or not self._sites:
                return ()
            self._next_write = self._clock() + WRITE_SECONDS
            taken = [self._sites.pop(site_id) for site_id in list(self._sites)[:SITES_AT_ONCE]]
            self._size -= sum(len(counts) for _, counts in taken)
            return taken

    def pause(self) -> None:
        """Return nothing from `take` for a while, since the database cannot be written."""
        with self._lock:
            self._next_write = self._clock() + PAUSE_SECONDS


def save_counts(engine: Engine, site: Site, counts: Mapping[str, int]) -> None:
    """Add `counts` to the rows of `site` in a transaction of its own, and delete the rarest beyond `MAX_ROWS`."""
    now = datetime.now(UTC)
    # In the order of the paths, so that two processes cannot wait for each other.
    rows = [{"path": path, "requests": counts[path], "seen": now} for path in sorted(counts)]
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(_table)
    upsert = insert.on_conflict_do_update(
        index_elements=["site_id", "path"],
        set_={"requests": _table.requests + insert.excluded.requests, "seen": insert.excluded.seen},
    )
    beyond = sa.select(_table.id).order_by(_table.requests.desc(), _table.seen.desc(), _table.id).offset(MAX_ROWS)
    # No page shows these rows.
    quiet = engine.execution_options(multisite_page_cache=False)
    with Session(quiet, info={"site": site}) as session:
        session.execute(upsert, rows)
        rarest = session.scalars(beyond).all()
        if rarest:
            session.execute(sa.delete(_table).where(_table.id.in_(rarest)))
        session.commit()


def list_missing(session: Session, limit: int) -> list[MissingAddress]:
    """Return the most requested addresses of the session's site that have no redirect, at most `limit`."""
    found = session.scalars(sa.select(_table).order_by(_table.requests.desc(), _table.path))
    missing = (row for row in found.all() if find_redirect(session, row.path) is None)
    return [row for row, _ in zip(missing, range(limit), strict=False)]


def forget_missing(session: Session) -> None:
    """Delete the counts of the session's site."""
    session.execute(sa.delete(_table))
