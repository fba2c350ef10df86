"""Check that unique keys are unique within a site and not across sites."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.alembic.schema import Key
from multisite.check.application import Application
from multisite.check.schema import TableSchema
from multisite.core.finding import Finding
from multisite.scoping.column import SITE_COLUMN

__all__ = ["check_unique_keys"]


def check_unique_keys(application: Application) -> Iterator[Finding]:
    """Report unique keys of scoped tables without `site_id`, which let one site take values away from another.

    A primary key needs no `site_id` if its values are generated (numbers, UUIDs, defaults), or if one of its columns is
    part of a reference that holds the site.

    Yields:
        A fault for each key.
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
                    f"the {key}{where} does not include site_id: one site can detect and block the values of another",
                    f"make it unique on {', '.join((SITE_COLUMN, *(column or '…' for column in key.columns)))}",
                )


def _where(in_model: bool) -> str:
    return " of the model" if in_model else " in the database"


def _columns(key: Key) -> frozenset[str]:
    return frozenset(key.columns)


def _keys(table: TableSchema) -> list[Key]:
    primary = [Key("primary key", None, table.primary_key)] if table.primary_key else []
    return [*table.unique, *primary]


def _is_harmless(key: Key, table: TableSchema | None) -> bool:
    """Return whether `key` is a primary key with a generated column, or with one of a reference that holds the site."""
    if key.kind != "primary key" or table is None:
        return False
    holding = {column for each in table.references if each.holds_site for column in each.own_columns}
    return any(column in holding or column in table.generated for column in key.columns)
