"""The tables of an older revision of the application: as a database has them, with the values that an archive has.

The models describe the current revision only. SQLite does not keep the types that they declare, so that the types come
from the archive there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Inspector

from multisite.directory.tables import sites_table
from multisite.scoping.column import SITE_COLUMN, site_id_column
from multisite.sites.archive.manifest import TableEntry

__all__ = ["former_tables", "table_named"]


def former_tables(
    connection: Connection, entries: dict[str, TableEntry], current: Iterable[sa.Table], metadata: sa.MetaData
) -> None:
    """Add the tables of an archive to `metadata`, and those that they refer to.

    Args:
        connection: A connection to a database of the revision of the archive.
        entries: The tables of the archive.
        current: The application's tables of the current revision, whose `info` is taken.
        metadata: An empty MetaData.
    """
    declared = {table.fullname: table for table in current}
    wanted = list(entries)
    while wanted:
        name = wanted.pop()
        if name in metadata.tables or name not in {*entries, *declared} or not _exists(connection, name):
            continue
        columns = entries[name].columns if name in entries else None
        table = _former_table(connection, name, columns, metadata)
        if name in declared:
            table.info.update(declared[name].info)
        for constraint in table.foreign_key_constraints:
            target = constraint.elements[0].target_fullname.rpartition(".")[0]
            wanted.append(target)


def table_named(name: str) -> tuple[str | None, str]:
    """Return the schema, or None, and the name in the full name of a table."""
    schema, _, plain = name.rpartition(".")
    return schema or None, plain


def _exists(connection: Connection, name: str) -> bool:
    schema, plain = table_named(name)
    return sa.inspect(connection).has_table(plain, schema=schema)


def _former_table(connection: Connection, name: str, kinds: dict[str, str] | None, metadata: sa.MetaData) -> sa.Table:
    """Return a table with the columns in `kinds`, by name; None for all of them."""
    inspector = sa.inspect(connection)
    schema, plain = table_named(name)
    key = inspector.get_pk_constraint(plain, schema=schema)["constrained_columns"]
    items: list[Any] = []
    for column in inspector.get_columns(plain, schema=schema):
        if column["name"] == SITE_COLUMN:
            items.append(site_id_column())
        elif kinds is None or column["name"] in kinds:
            items.append(_former_column(column, None if kinds is None else kinds[column["name"]], connection))
    present = {item.name for item in items if isinstance(item, sa.Column)}
    items += [sa.PrimaryKeyConstraint(*key)] if key else []
    items += _constraints(inspector, schema, plain, present)
    return sa.Table(plain, metadata, *items, schema=schema)


def _former_column(found: Any, kind: str | None, connection: Connection) -> sa.Column[Any]:
    identity = [sa.Identity(always=found["identity"]["always"])] if found.get("identity") else []
    computed = [sa.Computed(found["computed"]["sqltext"])] if found.get("computed") else []
    type_ = found["type"]
    if connection.dialect.name == "sqlite" and kind is not None:
        type_ = _type_of(kind, type_)
    return sa.Column(found["name"], type_, *identity, *computed, nullable=found["nullable"])


def _constraints(inspector: Inspector, schema: str | None, plain: str, present: set[str]) -> Iterator[Any]:
    for each in inspector.get_foreign_keys(plain, schema=schema):
        columns = each["constrained_columns"]
        if not present.issuperset(columns) or columns == [SITE_COLUMN]:
            continue
        if each["referred_table"] == sites_table.name and each["referred_schema"] in (None, schema):
            yield sa.ForeignKeyConstraint(columns, [sites_table.c[name] for name in each["referred_columns"]])
            continue
        prefix = f"{each['referred_schema']}." if each["referred_schema"] else ""
        targets = [f"{prefix}{each['referred_table']}.{name}" for name in each["referred_columns"]]
        yield sa.ForeignKeyConstraint(columns, targets, ondelete=each["options"].get("ondelete"))
    for unique in inspector.get_unique_constraints(plain, schema=schema):
        if present.issuperset(unique["column_names"]):
            yield sa.UniqueConstraint(*unique["column_names"])


_TYPES: dict[str, Callable[[], Any]] = {
    "boolean": lambda: sa.Boolean(create_constraint=False),
    "integer": sa.BigInteger,
    "float": sa.Double,
    "numeric": sa.Numeric,
    "text": sa.Text,
    "json": sa.JSON,
    "binary": sa.LargeBinary,
    "uuid": sa.Uuid,
    "date": sa.Date,
    "time": sa.Time,
    "time in a zone": lambda: sa.Time(timezone=True),
    "datetime": sa.DateTime,
    "datetime in UTC": lambda: sa.DateTime(timezone=True),
    "interval": sa.Interval,
}


def _type_of(kind: str, found: Any) -> Any:
    """Return the type of a column of SQLite with values of some kind; `found` is what SQLite says."""
    if kind == "uuid" and isinstance(found, sa.String) and found.length != 32:
        return found  # The application stores a UUID as text there.
    if kind.startswith("array of "):
        return sa.JSON()
    make = _TYPES.get(kind)
    return found if make is None else make()
