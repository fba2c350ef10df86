"""The initial rows of a program, as SQL, and the current rows of a database, as plain data.

The SQL is executed by the driver, bypassing SQLAlchemy, so that nothing limits it. Each row of site N contains a
canary, "canary-N-…". Some rows are poison: their foreign keys refer to a row of another site, as raw SQL or a bug might
leave them. In the site's own database, they refer to a row that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from differential.program import SITES, STRIDE

COLUMNS = {
    "oracle_authors": ("id", "note", "n", "ref", "slug", "bio"),
    "oracle_posts": ("id", "note", "n", "ref", "slug"),
    "oracle_tags": ("id", "note", "n", "ref", "slug"),
    "oracle_comments": ("id", "note", "n", "ref", "slug"),
    "oracle_post_tags": ("post_id", "tag_id"),
    "oracle_docs": ("id", "note", "n", "ref", "slug", "type"),
    "oracle_articles": ("id", "body", "pages"),
    "oracle_films": ("id", "title"),
}
"""The scoped tables and their columns but `site_id`."""

_WIDTH = max(map(len, COLUMNS.values()))

_AROUND = {
    "sqlite": (["PRAGMA foreign_keys = OFF", "BEGIN"], ["COMMIT", "PRAGMA foreign_keys = ON"]),
    # LOCAL, which Citus passes on to the workers.
    "postgresql": (["BEGIN", "SET LOCAL session_replication_role = replica"], ["COMMIT"]),
}
"""A transaction in which foreign keys are not enforced; SQLite switches them only outside of one."""

Rows = dict[str, list[tuple[str | None, ...]]]
"""The rows of one site by table, every value as text, sorted."""


def key(site: int, number: int) -> int:
    """Return the id of a row of `site`."""
    return site * STRIDE + number


def following(site: int) -> int:
    """Return the next site; poison rows of `site` refer to its rows."""
    return site % len(SITES) + 1


def preceding(site: int) -> int:
    """Return the previous site; poison rows of `site` refer to its rows, too."""
    return (site - 2) % len(SITES) + 1


def planted(site: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the rows of `site` as (table, values in the order of `COLUMNS`)."""
    after, before = following(site), preceding(site)

    def row(table: str, number: int, ref: int | None, *more: Any) -> tuple[str, tuple[Any, ...]]:
        note = f"canary-{site}-{table}-{number}"
        slug = f"slug-{number}"
        return f"oracle_{table}", (key(site, number), note, (number * site + number) % 5, ref, slug, *more)

    for number, ref in enumerate((key(site, 1), key(after, 1), None), 1):
        yield row("authors", number, ref, f"canary-{site}-bio-{number}")
    for number, ref in enumerate((key(site, 1), key(site, 1), key(after, 1), None, key(before, 2))[: 3 + site % 3], 1):
        yield row("posts", number, ref)
    for number, ref in enumerate((key(site, 1), key(site, 1), key(after, 1), key(before, 2), key(site, 2)), 1):
        yield row("comments", number, ref)
    for number, ref in enumerate((None, key(site, 1), key(after, 1)), 1):
        yield row("tags", number, ref)
    links = [(key(site, 1), key(site, 1)), (key(site, 1), key(site, 2)), (key(site, 2), key(site, 2))]
    poison = [(key(site, 2), key(after, 1)), (key(after, 1), key(site, 3)), (key(before, 1), key(before, 1))]
    for link in links + poison:
        yield "oracle_post_tags", link
    types = ("article", "film", "memo", "article", "article", "doc")
    refs = (None, key(site, 1), key(after, 1), key(before, 4), key(site, 2), key(site, 3))
    for number, (type_, ref) in enumerate(zip(types, refs, strict=True), 1):
        yield row("docs", number, ref, type_)
    yield "oracle_films", (key(site, 2), f"canary-{site}-film-2")
    # Document 5 of each site is an article whose row in the table of the derived class belongs to another site.
    for owner, number in ((site, 1), (site, 4), (before, 5)):
        yield "oracle_articles", (key(owner, number), f"canary-{site}-article-{number}", site)


def planting(sites: tuple[int, ...], *, dialect: str, with_site: bool) -> str:
    """Return SQL that empties the tables and inserts the rows of `sites`, without enforcing foreign keys."""
    begin, end = _AROUND[dialect]
    lines = [*begin, *(f"DELETE FROM {table}" for table in (*COLUMNS, "oracle_countries"))]
    for site in sites:
        for table, values in planted(site):
            columns = (*(("site_id",) if with_site else ()), *COLUMNS[table])
            given = (*((site,) if with_site else ()), *values)
            lines.append(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(map(_literal, given))})")
    lines += [
        f"INSERT INTO oracle_countries (id, note, n, ref) VALUES ({i}, 'country', {i}, {key(i, 1)})" for i in SITES
    ]
    return ";\n".join([*lines, *end])


def _literal(value: Any) -> str:
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def reading(*, with_site: bool) -> str:
    """Return SQL that reads all scoped tables: table, site (0 without sites), and the values as text."""
    selects = []
    for table, columns in COLUMNS.items():
        values = [f"CAST({column} AS TEXT)" for column in columns] + ["CAST(NULL AS TEXT)"] * (_WIDTH - len(columns))
        site = "site_id" if with_site else "0"
        selects.append(f"SELECT '{table}' AS table_name, {site} AS site, {', '.join(values)} FROM {table}")
    return " UNION ALL ".join(selects)


def grouped(found: list[tuple[Any, ...]]) -> dict[int, Rows]:
    """Return the rows that the SQL of `reading` returned, by site and table."""
    by_site: dict[int, Rows] = {}
    for table, site, *values in found:
        by_site.setdefault(site, {}).setdefault(table, []).append(tuple(values))
    for rows in by_site.values():
        for each in rows.values():
            each.sort(key=repr)
    return by_site
