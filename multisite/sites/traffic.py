"""The traffic of sites: requests, errors, seconds and bytes by minute, hour and day.

Servers count in memory (`multisite.web.traffic`) and add their counts here at most once a minute. Each count is added
to a minute, to an hour and to a day at once, so that thinning out is nothing but deleting the minutes and hours that
are no longer needed. Several processes add up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from multisite.directory.operator_tables import errors_table, traffic_table, view_traffic_table
from multisite.directory.tables import AS_MULTISITE

__all__ = [
    "KEPT",
    "NO_SITE",
    "PERIODS",
    "ErrorSeen",
    "Period",
    "Traffic",
    "TrafficCounts",
    "ViewTraffic",
    "last_errors",
    "prune_traffic",
    "read_traffic",
    "safe_path",
    "slowest_sites",
    "slowest_views",
    "traffic_of_sites",
    "write_counts",
]

MINUTE, HOUR, DAY = 60, 3_600, 86_400

KEPT = {MINUTE: timedelta(days=2), HOUR: timedelta(days=62), DAY: timedelta(days=800)}
"""For how long the counts of a span, in seconds, are kept."""

NO_SITE = 0
"""The site of requests without one, such as those for unknown hosts."""

MAX_ERRORS = 20
"""How many errors of a site are kept."""

STATEMENT_ROWS = 500

Period = Literal["day", "week", "month"]

PERIODS: dict[Period, tuple[int, int]] = {"day": (HOUR, 24), "week": (DAY, 7), "month": (DAY, 30)}
"""The spans, in seconds, of which a period consists, and their number. The last one is not over yet."""


class ErrorSeen(NamedTuple):
    """A request that failed: the name of its route, the status with the type of the exception, and `safe_path`."""

    at: datetime
    site_id: int
    view: str
    error: str
    request_id: str | None
    path: str | None = None


_TOKEN = re.compile(r"(?=.*[a-z])(?=.*[0-9A-Z])[\w=.~-]{20,}", re.ASCII)


def safe_path(path: str) -> str:
    """Return the path of a request as it may be shown to operators: links to log in have their token in it.

    Parts of 20 or more characters, with small letters and digits or capitals, become `…`; the rest is truncated.
    """
    parts = ("…" if _TOKEN.fullmatch(part) else part for part in path[:2_000].split("/"))
    return "".join(c if c.isprintable() else "?" for c in "/".join(parts))[:200]


@dataclass
class TrafficCounts:
    """What a server has counted, by site, view and minute (the number of the minute since 1970).

    The values are lists of requests, errors, seconds and bytes.
    """

    requests: dict[tuple[int, str, int], list[Any]] = field(default_factory=dict)
    errors: list[ErrorSeen] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.requests or self.errors)


def write_counts(engine: Engine, counts: TrafficCounts) -> None:
    """Add `counts` to the tables, in one transaction."""
    rows: dict[tuple[int, int, int], list[Any]] = {}
    views: dict[tuple[str, int], list[Any]] = {}
    for (site_id, view, minute), values in counts.requests.items():
        for span in KEPT:
            sums = rows.setdefault((site_id, span, minute * MINUTE // span * span), [0, 0, 0.0, 0])
            for index, value in enumerate(values):
                sums[index] += value
        of_view = views.setdefault((view, minute * MINUTE // HOUR * HOUR), [0, 0.0])
        of_view[0] += values[0]
        of_view[1] += values[2]
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        # In one order, so that two processes never wait for each other.
        _add(
            connection,
            traffic_table,
            [
                {
                    "site_id": site_id, "span": span, "start": _time(start), "requests": sums[0], "errors": sums[1],
                    "seconds": sums[2], "bytes": sums[3],
                }
                for (site_id, span, start), sums in sorted(rows.items())
            ],
        )  # fmt: skip
        _add(
            connection,
            view_traffic_table,
            [
                {"view": view, "start": _time(start), "requests": requests, "seconds": seconds}
                for (view, start), (requests, seconds) in sorted(views.items())
            ],
        )
        if counts.errors:
            connection.execute(sa.insert(errors_table), [each._asdict() for each in counts.errors])


def _add(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    counted = [column.name for column in table.columns if column.name not in keys]
    sums = {name: table.c[name] + insert.excluded[name] for name in counted}
    statement = insert.on_conflict_do_update(index_elements=keys, set_=sums)
    for start in range(0, len(rows), STATEMENT_ROWS):
        connection.execute(statement, rows[start : start + STATEMENT_ROWS])


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def prune_traffic(engine: Engine, *, now: datetime | None = None) -> None:
    """Delete minutes, hours and days that are no longer needed, and all but the last errors of each site."""
    now = now or datetime.now(UTC)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for span, age in KEPT.items():
            old = traffic_table.c.span == span, traffic_table.c.start < now - age
            connection.execute(sa.delete(traffic_table).where(*old))
        connection.execute(sa.delete(view_traffic_table).where(view_traffic_table.c.start < now - KEPT[HOUR]))
        newer = errors_table.alias()
        number = (
            sa.select(sa.func.count())
            .where(newer.c.site_id == errors_table.c.site_id, newer.c.id > errors_table.c.id)
            .scalar_subquery()
        )
        connection.execute(sa.delete(errors_table).where(number >= MAX_ERRORS))


class Traffic(NamedTuple):
    """The requests of one span that begins at `start`, in UTC. `seconds` is the sum of their durations."""

    start: datetime
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    bytes: int = 0


def read_traffic(engine: Engine, site_id: int, period: Period, *, now: datetime | None = None) -> list[Traffic]:
    """Return the traffic of a site in a period until `now`, in order, with the spans in which there was none."""
    return traffic_of_sites(engine, [site_id], period, now=now)[site_id]


def traffic_of_sites(
    engine: Engine, site_ids: Iterable[int], period: Period = "day", *, now: datetime | None = None
) -> dict[int, list[Traffic]]:
    """Return the traffic of several sites by their ids, in one query: such as those of a page of a list."""
    wanted = list(site_ids)
    span, number = PERIODS[period]
    last = int((now or datetime.now(UTC)).timestamp()) // span
    starts = [_time(index * span) for index in range(last - number + 1, last + 1)]
    columns = traffic_table.c
    statement = sa.select(traffic_table).where(
        columns.site_id.in_(wanted), columns.span == span, columns.start.between(starts[0], starts[-1])
    )
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        found = {
            (row.site_id, row.start): Traffic(row.start, row.requests, row.errors, row.seconds, row.bytes)
            for row in connection.execute(statement)
        }
    return {site_id: [found.get((site_id, start), Traffic(start)) for start in starts] for site_id in wanted}


class ViewTraffic(NamedTuple):
    """The requests for a view, or for a site, of the last day: `name` is a route, or the id of the site."""

    name: str
    requests: int
    seconds: float


def slowest_views(engine: Engine, *, limit: int = 10, now: datetime | None = None) -> list[ViewTraffic]:
    """Return the views with the longest average duration in the last day, over all sites."""
    columns = view_traffic_table.c
    return list(_slowest(engine, columns.view, columns, limit, columns.start >= _yesterday(now)))


def slowest_sites(engine: Engine, *, limit: int = 10, now: datetime | None = None) -> list[ViewTraffic]:
    """Return the sites with the longest average duration today and yesterday, in UTC.

    `name` is the id of the site, as text. By days, since the hours of ten thousand sites are too many for a page.
    """
    columns = traffic_table.c
    since = _yesterday(now).replace(hour=0, minute=0, second=0, microsecond=0)
    of_days = columns.span == DAY, columns.start >= since, columns.site_id != NO_SITE
    return list(_slowest(engine, columns.site_id, columns, limit, *of_days))


def _yesterday(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)) - timedelta(days=1)


def _slowest(engine: Engine, name: Any, columns: Any, limit: int, *conditions: Any) -> Iterator[ViewTraffic]:
    requests, seconds = sa.func.sum(columns.requests), sa.func.sum(columns.seconds)
    statement = (
        sa.select(name, requests, seconds)
        .where(*conditions)
        .group_by(name)
        .order_by((seconds / requests).desc(), name)
        .limit(limit)
    )
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        rows = connection.execute(statement).all()
    return (ViewTraffic(str(found), int(number), float(total)) for found, number, total in rows)


def last_errors(engine: Engine, *, site_id: int | None = None, limit: int = MAX_ERRORS) -> list[ErrorSeen]:
    """Return the last errors of a site, or of all, beginning with the newest."""
    statement = sa.select(errors_table).order_by(errors_table.c.id.desc()).limit(limit)
    if site_id is not None:
        statement = statement.where(errors_table.c.site_id == site_id)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return [
            ErrorSeen(row.at, row.site_id, row.view, row.error, row.request_id, row.path)
            for row in connection.execute(statement)
        ]
