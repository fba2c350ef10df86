"""Check for tables and views that are not scoped, and whether that is declared."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.alembic.schema import TableName
from multisite.autogenerate import own_tables
from multisite.check.application import Application, Database
from multisite.core.finding import Finding
from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.sql_scanner import scan_sql

__all__ = ["check_tables", "check_undeclared_tables", "check_views"]


def check_tables(application: Application) -> Iterator[Finding]:
    """Report declared tables that are not scoped; it is a fault if they have a column `site_id`."""
    for database in application.databases:
        for name, table in sorted(database.declared.items(), key=str):
            if name in database.scoped or name in database.views or application.is_global(name):
                continue
            found = database.found.get(name)
            if SITE_COLUMN in table.nullable or (found is not None and SITE_COLUMN in found.nullable):
                yield Finding(
                    "unscoped-site-id",
                    str(name),
                    "has a column site_id, but the model is not SiteScoped: every site sees all of its rows",
                    "derive the model from SiteScoped, or use site_id_column() in a plain Table",
                )
            else:
                yield Finding(
                    "unscoped-table",
                    str(name),
                    "is not scoped: every site sees and changes all of its rows",
                    "add SiteScoped if its rows should belong to sites, or list it in multisite.global_tables",
                    "notice",
                )


def check_undeclared_tables(application: Application) -> Iterator[Finding]:
    """Report tables of the database that have a `site_id` but no model."""
    for database in application.databases:
        for name, table in sorted(database.found.items(), key=str):
            if name in database.declared or application.is_global(name) or _is_own(name):
                continue
            if SITE_COLUMN in table.nullable:
                yield Finding(
                    "undeclared-table",
                    str(name),
                    "has a column site_id, but no model declares it, so its rows are not checked",
                    "declare it, drop it, or list it in multisite.global_tables",
                )


def _is_own(name: TableName) -> bool:
    return name.schema is None and name.name in own_tables()


def check_views(application: Application) -> Iterator[Finding]:
    """Report views of scoped tables that are not declared with a `site_id` and therefore not limited to a site."""
    for database in application.databases:
        for name, of in _views_of_scoped_tables(database):
            if name in database.scoped:
                continue
            if name in database.declared and not application.is_global(name):
                yield Finding(
                    "view",
                    str(name),
                    f"reads the scoped table {of}, but is declared without site_id: it shows every site's rows",
                    "select site_id in it, and declare that with site_id_column()",
                )
            elif application.is_global(name):
                message = (
                    f"reads the scoped table {of}, and multisite.global_tables lists it: it shows every site's rows"
                )
                yield Finding("view", str(name), message, "keep it there only if all sites may see them", "notice")
            else:
                yield Finding(
                    "view",
                    str(name),
                    f"reads the scoped table {of}, and no model declares it: statements that name it are refused",
                    "select site_id in it and declare that with site_id_column(), or drop it",
                    "notice",
                )


def _views_of_scoped_tables(database: Database) -> Iterator[tuple[TableName, str]]:
    """Yield each view that reads a scoped table, directly or through another view, and the name of what it reads."""
    reading = {
        name: set(scan_sql(definition, database.engine.dialect.name).tables)
        for name, definition in database.views.items()
    }
    showing = {name.name for name in database.scoped}
    left = sorted(set(reading) - database.scoped, key=str)
    while found := {name: names & showing for name, names in reading.items() if name in left and names & showing}:
        for name, of in sorted(found.items(), key=str):
            yield name, min(of)
            showing.add(name.name)
            left.remove(name)
