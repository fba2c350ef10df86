"""Whether what has to be unique is unique within a site."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.check.application import Application
from multisite.check.shape import Key, TableSchema
from multisite.finding import Finding
from multisite.scoping.column import SITE_COLUMN

__all__ = ["check_unique_keys"]


def check_unique_keys(application: Application) -> Iterator[Finding]:
    """Report unique keys of scoped tables without `site_id`: by these one site takes values from another.

    A primary key may do without where its values are made (numbers, UUIDs, defaults), or where one of its columns is a
    reference that holds the site.
    """
    for database in application.databases:
        for declared, found in database.scoped_tables():
            in_model = {_columns(key): key for key in _keys(declared)}
            in_database = {_columns(key): key for key in _keys(found)} if found is not None else in_model
            for columns, key in sorted((in_database | in_model).items(), key=lambda item: str(item[1])):
                if SITE_COLUMN in columns or _is_harmless(key, declared if columns in in_model else found):
                    continue
                where = "" if columns in in_model and columns in in_database else _where(columns in in_model)
                yield Finding(
                    "unique-without-site",
                    str(declared.name),
                    f"the {key}{where} does not hold site_id: one site finds out, and takes, the values of another",
                    f"make it unique by {', '.join((SITE_COLUMN, *(column or '…' for column in key.columns)))}",
                )


def _where(in_model: bool) -> str:
    return " of the model" if in_model else " in the database"


def _columns(key: Key) -> frozenset[str | None]:
    return frozenset(key.columns)


def _keys(table: TableSchema) -> list[Key]:
    primary = [Key("primary key", None, table.primary_key)] if table.primary_key else []
    return [*table.unique, *primary]


def _is_harmless(key: Key, table: TableSchema | None) -> bool:
    """Return whether a primary key is one of made values, or holds the site by what it refers to."""
    if key.kind != "primary key" or table is None:
        return False
    holding = {column for each in table.references if each.holds_site for column in each.own_columns}
    return any(column in holding or column in table.generated for column in key.columns)
