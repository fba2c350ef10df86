"""Check for rows that refer to another site's rows, or have no site, as raw SQL or a restored dump may leave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.alembic.schema import Reference
from multisite.check.application import Application, Database
from multisite.check.references import references_of
from multisite.check.schema import TableSchema
from multisite.core.finding import Finding
from multisite.core.keys import DIRECTORY
from multisite.core.site import Site
from multisite.scoping.column import SITE_COLUMN
from multisite.sharding.catalog import has_citus

__all__ = ["check_rows_across_sites", "check_rows_without_site"]


def check_rows_across_sites(application: Application) -> Iterator[Finding]:
    """Report, for each reference among scoped tables, how many rows refer to another site's row.

    Each takes one query. If a site is given, only its own rows and those that refer to them are counted.

    Yields:
        A fault for each reference that such rows have.
    """
    for database in application.databases:
        for declared, found in database.scoped_tables():
            for reference in references_of(database, declared, found):
                target = database.found.get(reference.target)
                if found is None or target is None or not _has_columns(reference, found, target):
                    continue
                application.progress(f"the rows of {found.name} that refer to {target.name}")
                with database.engine.connect() as connection:
                    check = _unmatched_rows if has_citus(connection) else _rows_across_sites
                    yield from check(connection, reference, found, target, application.site)


def _has_columns(reference: Reference, table: TableSchema, target: TableSchema) -> bool:
    return {SITE_COLUMN, *reference.columns} <= set(table.nullable) and {SITE_COLUMN, *reference.target_columns} <= set(
        target.nullable
    )


def _rows_across_sites(
    connection: Connection, reference: Reference, table: TableSchema, target: TableSchema, site: Site | None
) -> Iterator[Finding]:
    row = table.clause().alias("one")
    own, foreign = target.clause().alias("own"), target.clause().alias("foreign_row")
    leads_to = [sa.and_(*(row.c[column] == each.c[key] for column, key in reference.pairs)) for each in (own, foreign)]
    # A row of the same site takes precedence: two sites may use equal keys.
    key_columns = [column for column in table.primary_key if column != SITE_COLUMN]
    crossing = (
        sa.select(*(row.c[column].label(f"key_{column}") for column in key_columns))
        .add_columns(row.c[SITE_COLUMN].label("of"), foreign.c[SITE_COLUMN].label("to"))
        .select_from(row.join(foreign, leads_to[1] & (foreign.c[SITE_COLUMN] != row.c[SITE_COLUMN])))
        .where(~sa.exists().where(leads_to[0], own.c[SITE_COLUMN] == row.c[SITE_COLUMN]))
    )
    if site is not None:
        crossing = crossing.where((row.c[SITE_COLUMN] == site.id) | (foreign.c[SITE_COLUMN] == site.id))
    count = connection.scalar(sa.select(sa.func.count()).select_from(crossing.subquery()))
    if not count:
        return
    *key, of, to = connection.execute(crossing.limit(1)).one()
    rows = "1 row refers" if count == 1 else f"{count:,} rows refer"
    example = f"{_key_text(key_columns, key)} of site {of} to site {to}"
    yield Finding(
        "rows-across-sites",
        str(reference),
        f"{rows} to a row of {target.name} of another site ({example})",
        "correct or delete them within all_sites(reason)",
    )


def _unmatched_rows(
    connection: Connection, reference: Reference, table: TableSchema, target: TableSchema, site: Site | None
) -> Iterator[Finding]:
    """Report the rows of a distributed table that refer to no row of their own site.

    Each node answers for its own sites. To find out which other site has such a row would compare all nodes.

    Yields:
        A fault if there are such rows.
    """
    row, own = table.clause().alias("one"), target.clause().alias("own")
    leads_to = sa.and_(*(row.c[column] == own.c[key] for column, key in reference.pairs))
    unmatched = (
        sa.select(sa.func.count(), sa.func.min(row.c[SITE_COLUMN]))
        .where(*(row.c[column].is_not(None) for column, _ in reference.pairs))
        .where(~sa.exists().where(own.c[SITE_COLUMN] == row.c[SITE_COLUMN], leads_to))
    )
    if site is not None:
        unmatched = unmatched.where(row.c[SITE_COLUMN] == site.id)
    count, of = connection.execute(unmatched).one()
    if count:
        rows = "1 row refers" if count == 1 else f"{count:,} rows refer"
        yield Finding(
            "rows-across-sites",
            str(reference),
            f"{rows} to no row of {target.name} of the own site (one of site {of})",
            "correct or delete them within all_sites(reason)",
        )


def _key_text(columns: Sequence[str], key: Sequence[object]) -> str:
    return ", ".join(f"{column} {value}" for column, value in zip(columns, key, strict=True)) or "a row"


def check_rows_without_site(application: Application) -> Iterator[Finding]:
    """Report rows whose `site_id` is NULL or is not the id of a site."""
    for database in application.databases:
        for _, found in database.scoped_tables():
            if found is None or SITE_COLUMN not in found.nullable:
                continue
            application.progress(f"the sites of {found.name}")
            with database.engine.connect() as connection:
                count, example = _orphan_rows(connection, application, database, found)
            if count:
                rows = "1 row belongs" if count == 1 else f"{count:,} rows belong"
                yield Finding(
                    "rows-without-site",
                    str(found.name),
                    f"{rows} to no site (site_id {'NULL' if example is None else example})",
                    "assign them to a site, or delete them, within all_sites(reason)",
                )


def _orphan_rows(
    connection: Connection, application: Application, database: Database, found: TableSchema
) -> tuple[int, int | None]:
    """Return how many rows of a table have no site, and the smallest `site_id` among them; None if all are NULL."""
    table, sites = found.clause(), database.sites()
    of_site = table.c[SITE_COLUMN]
    if sites is not None:
        listed = sites.clause()
        is_orphan = ~sa.exists().where(listed.c.id == of_site)
        count, example = connection.execute(sa.select(sa.func.count(), sa.func.min(of_site)).where(is_orphan)).one()
        return count, example
    # The table `sites` is in another database, so each id is looked up there.
    directory = application.registry[DIRECTORY]
    used = connection.execute(sa.select(of_site, sa.func.count()).group_by(of_site)).all()
    orphans = {site_id: count for site_id, count in used if site_id is None or directory.by_id(site_id) is None}
    return sum(orphans.values()), min((each for each in orphans if each is not None), default=None)
