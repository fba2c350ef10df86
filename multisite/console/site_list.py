"""A page of the list of sites: one query, whatever the number of sites, and no offsets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core.domains import Domain
from multisite.directory.health_tables import measurements_table
from multisite.directory.listing import HAS_CANONICAL, SiteSelection, canonical, site, status
from multisite.directory.tables import AS_MULTISITE, domains_table
from multisite.directory.word_table import is_common

__all__ = ["ORDERS", "ListedSite", "SitePage", "list_page"]

PAGE_SITES = 50
"""How many sites a page has."""

_domains = domains_table.alias("counted")
_measurements = measurements_table.c


def _measurement(column: sa.Column[int]) -> sa.ColumnElement[int]:
    """Return a measurement to sort by: sites that have not been measured come last."""
    return sa.func.coalesce(column, 0)


class _Order(NamedTuple):
    """The columns that sites are sorted by, which identify a site; `is_falling` if the greatest comes first.

    `first` is a key before all sites. With it, SQLite reads the first page by the index that sorts it, as it reads the
    others, and not all sites.
    """

    columns: tuple[sa.ColumnElement[Any], ...]
    is_falling: bool = False
    first: str | None = None


ORDERS = {
    "domain": _Order((canonical.c.host, canonical.c.port, canonical.c.path)),
    "name": _Order((site.c.name, site.c.id), first='["", 0]'),
    # Ids rise, so the newest site has the greatest one.
    "newest": _Order((site.c.id,), is_falling=True, first=f"[{2**63 - 1}]"),
    "rows": _Order((_measurement(_measurements.rows), site.c.id), is_falling=True),
    "bytes": _Order((_measurement(_measurements.bytes), site.c.id), is_falling=True),
    "changed": _Order((_measurement(_measurements.changed), site.c.id), is_falling=True),
}
"""By their names: how a list is sorted."""


@dataclass(frozen=True, slots=True)
class ListedSite:
    """A site in the list. `domain` is its canonical domain, `domains` the number of all; `created` is in UTC.

    `rows` and what follows are measurements (`multisite.sites.measurements`), None as long as the site has not been
    measured; times are Unix time, in seconds.
    """

    id: int
    domain: str
    name: str
    status: str
    theme: str | None
    domains: int
    created: datetime
    rows: int | None = None
    bytes: int | None = None
    changed: int | None = None
    measured: int | None = None


class SitePage(NamedTuple):
    """A page of sites. `before` and `after` are the keys of the pages around it, None if there is none."""

    sites: Sequence[ListedSite]
    before: str | None
    after: str | None


def list_page(
    engine: Engine, chosen: SiteSelection, order: str, *, before: str | None = None, after: str | None = None
) -> SitePage:
    """Return a page of the chosen sites: the first one, the one `after` a key, or the one `before` a key.

    Args:
        engine: The database of the directory.
        chosen: Which sites.
        order: A key of `ORDERS`.
        before: The `before` of another page, which was listed in this order.
        after: The `after` of another page, likewise.

    Raises:
        ValueError: A key is not valid.
    """
    columns, is_falling, first = ORDERS[order]
    is_back = before is not None
    key = before if before is not None else after
    begin = first if key is None else key
    # A page back is read from its end.
    is_reversed = is_falling != is_back
    statement = _SITES.add_columns(*columns)
    statement = statement.order_by(*(column.desc() if is_reversed else column for column in columns))
    if begin is not None:
        bound, own = sa.tuple_(*_parse_key(begin, columns)), sa.tuple_(*columns)
        statement = statement.where(own < bound if is_reversed else own > bound)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        asks_each = chosen.words is not None and is_common(connection, chosen.words)
        statement = statement.where(*chosen.conditions(is_common=asks_each))
        rows = list(connection.execute(statement.limit(PAGE_SITES + 1)))
    has_more, rows = len(rows) > PAGE_SITES, rows[:PAGE_SITES]
    if is_back:
        rows.reverse()
    has_before, has_after = (has_more, True) if is_back else (key is not None, has_more)
    keys = [json.dumps(list(row[-len(columns) :])) for row in (rows[:1] + rows[-1:])]
    return SitePage(
        [_listed(row) for row in rows],
        keys[0] if keys and has_before else None,
        keys[-1] if keys and has_after else None,
    )


_SITES = (
    sa.select(
        site.c.id.label("site_id"),
        canonical.c.host.label("host"),
        canonical.c.port.label("port"),
        canonical.c.path.label("path"),
        site.c.name.label("site_name"),
        status,
        site.c.theme.label("site_theme"),
        sa.select(sa.func.count()).where(_domains.c.site_id == site.c.id).scalar_subquery().label("domains"),
        site.c.created.label("site_created"),
        *(_measurements[name].label(f"site_{name}") for name in ("rows", "bytes", "changed", "measured")),
    )
    .join_from(site, canonical, HAS_CANONICAL)
    .outerjoin(measurements_table, _measurements.site_id == site.c.id)
)


def _parse_key(key: str, columns: Sequence[sa.ColumnElement[Any]]) -> list[Any]:
    try:
        values = json.loads(key)
    except RecursionError:
        values = None
    if not isinstance(values, list) or len(values) != len(columns):
        raise ValueError("a key of another list")
    for value, column in zip(values, columns, strict=True):
        kind = column.type.python_type
        if type(value) is not kind or (kind is int and not 0 <= value < 2**63) or (kind is str and "\0" in value):
            raise ValueError("a key of another list")
    return values


def _listed(row: Any) -> ListedSite:
    created = row.site_created
    return ListedSite(
        row.site_id,
        str(Domain(row.host, row.port or None, row.path)),
        row.site_name,
        row.status,
        row.site_theme,
        row.domains,
        created.replace(tzinfo=UTC) if created.tzinfo is None else created.astimezone(UTC),
        row.site_rows,
        row.site_bytes,
        row.site_changed,
        row.site_measured,
    )
