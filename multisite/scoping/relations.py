"""Look up tables and views in the catalogue of a database, for those that no model declares."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import NoSuchTableError

from multisite.scoping.column import SITE_COLUMN

__all__ = ["Relation", "relations"]


class Relation(NamedTuple):
    """A table or view.

    `is_table` is whether it is an ordinary or partitioned table. `has_site` is whether it has a `site_id`, or, on
    PostgreSQL, a table with one inherits from it.
    """

    name: str
    is_table: bool
    has_site: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is a table that shows no rows of a site."""
        return self.is_table and not self.has_site


def relations(connection: Connection, names: Collection[str]) -> Iterator[Relation]:
    """Return the tables and views with one of the lower-cased `names`, in any schema or attached file.

    PostgreSQL truncates names to 63 bytes, so a returned name may be shorter than the given one.
    """
    find = {"postgresql": _of_postgresql, "sqlite": _of_sqlite}.get(connection.dialect.name, _of_others)
    return find(connection, names)


# The names in WITH begin with pg_, so that they are not looked up themselves.
_RELATIONS = sa.text(
    """
    WITH RECURSIVE pg_found (oid, relname, relkind, part) AS (
        SELECT oid, relname, relkind, oid FROM pg_catalog.pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND (lower(relname) = ANY (:names) OR relname ~ '[^ -~]')
        UNION SELECT pg_found.oid, pg_found.relname, pg_found.relkind, i.inhrelid
        FROM pg_found JOIN pg_catalog.pg_inherits i ON i.inhparent = pg_found.part
    )
    SELECT relname, relkind IN ('r', 'p'), bool_or(EXISTS (
        SELECT FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = pg_found.part AND lower(a.attname) = :site AND NOT a.attisdropped
    )) FROM pg_found GROUP BY oid, relname, relkind
    """
)


def _of_postgresql(connection: Connection, names: Collection[str]) -> Iterator[Relation]:
    # lower() of non-ASCII letters depends on the database's locale, so names are compared here.
    wanted = {*names, *(name.encode()[:63].decode(errors="ignore") for name in names)}
    found = connection.execute(_RELATIONS, {"names": sorted(wanted), "site": SITE_COLUMN}).all()
    for name, is_table, has_site in found:
        if name.lower() in wanted:
            yield Relation(name, is_table, has_site)


def _of_sqlite(connection: Connection, names: Collection[str]) -> Iterator[Relation]:
    dialect = connection.dialect
    # The temporary schema's catalogue has another name, and SQLAlchemy does not list the schema.
    for schema in [*dialect.get_schema_names(connection), "temp"]:
        quoted = dialect.identifier_preparer.quote_identifier(schema)
        catalogue = "sqlite_temp_master" if schema == "temp" else f"{quoted}.sqlite_master"
        query = f"SELECT name, type, sql FROM {catalogue} WHERE type IN ('table', 'view')"  # noqa: S608  # It is quoted.
        found = connection.exec_driver_sql(query).all()
        virtual = [name.lower() for name, _, sql in found if sql and sql.lower().startswith("create virtual")]
        for name, kind, _ in found:
            if name.lower() in names:
                # An FTS5 index keeps words or rows in tables whose names begin with its own.
                is_part = any(name.lower() == each or name.lower().startswith(f"{each}_") for each in virtual)
                is_table = kind == "table" and not is_part
                yield Relation(name, is_table, is_table and _has_site_column(connection, name, schema))


def _of_others(connection: Connection, names: Collection[str]) -> Iterator[Relation]:
    """Find them by the methods that every dialect has, in the default schema: other catalogues are not tested."""
    for name in connection.dialect.get_view_names(connection):
        if name.lower() in names:
            yield Relation(name, False, False)
    for name in connection.dialect.get_table_names(connection):
        if name.lower() in names:
            yield Relation(name, True, _has_site_column(connection, name, None))


def _has_site_column(connection: Connection, name: str, schema: str | None) -> bool:
    try:
        columns = connection.dialect.get_columns(connection, name, schema)
    except NoSuchTableError:
        return False
    return any(column["name"].lower() == SITE_COLUMN for column in columns)
