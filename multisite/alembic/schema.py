"""What a table has that a site changes: its keys and its references, on SQLite and PostgreSQL alike.

Read from the database itself, in its own words, since reflection does not know all that it would have to write back.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.alembic.definition import SITE_COLUMN, tokens_of
from multisite.errors import MultisiteError

__all__ = ["Key", "Reference", "Schema", "Table", "TableName", "missing_table_error", "sql_name"]

_COLON = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""What SQLAlchemy takes for a parameter."""

OWN_TABLES = ("sites", "domains", "multisite_settings")


class TableName(NamedTuple):
    """The name of a table; `schema` is None where the database finds the table by its name alone."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True)
class Key:
    """A unique constraint, or an index, which may be unique or not.

    `columns` holds an empty string for an expression; `definition` is `UNIQUE (...)`, or the whole CREATE INDEX;
    `name` is None only for a constraint on SQLite; `place` is where SQLite has it in its CREATE TABLE.
    """

    name: str | None
    columns: tuple[str, ...]
    unique: bool
    is_index: bool
    definition: str
    place: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name or f"UNIQUE ({', '.join(self.columns)})"

    @property
    def is_whole(self) -> bool:
        """Whether it holds for all rows and by the columns alone, so that references may be to it."""
        partial = self.is_index and any(token.is_word("WHERE") for token in tokens_of(self.definition))
        return self.unique and "" not in self.columns and not partial


@dataclass(frozen=True)
class Reference:
    """A foreign key; `definition` begins with FOREIGN KEY, and `on_delete` is None for NO ACTION."""

    name: str | None
    table: TableName
    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...]
    on_delete: str | None
    on_update: str | None
    definition: str
    place: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.table}.{', '.join(self.columns)}"


@dataclass(frozen=True)
class Table:
    """A table of the application. `columns` says of each whether it may be NULL.

    `site_type` is what the database calls the type of a column `site_id`, None where there is none; `exclusions` are
    the definitions of its EXCLUDE constraints, by name.
    """

    name: TableName
    columns: dict[str, bool]
    primary_key: tuple[str, ...]
    keys: tuple[Key, ...]
    references: tuple[Reference, ...]
    place: Any = field(default=None, compare=False, repr=False)
    site_type: str | None = None
    exclusions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_scoped(self) -> bool:
        """Whether it has sites already: a `site_id` that refers to `sites`, and the key that others refer to."""
        return (
            self.site_reference is not None
            and not self.columns[SITE_COLUMN]
            and (not self.primary_key or self.is_unique({SITE_COLUMN, *self.primary_key}))
            # A table of that name in a schema of its own is somebody else's.
            and not (self.name.schema is None and self.name.name in OWN_TABLES)
        )

    @property
    def site_reference(self) -> Reference | None:
        """The foreign key of `site_id` to `sites`, None if there is none."""
        for reference in self.references:
            if reference.columns == (SITE_COLUMN,) and reference.target.name == "sites":
                return reference
        return None

    def is_unique(self, columns: set[str]) -> bool:
        """Return whether a key is on exactly these columns."""
        return columns == set(self.primary_key) or any(
            key.is_whole and set(key.columns) == columns for key in self.keys
        )


class Schema(ABC):
    """The tables of the database that `connection` is to."""

    has_match_full = False
    """Whether MATCH FULL of a reference means something: SQLite reads it and does as without."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @abstractmethod
    def table(self, name: TableName) -> Table:
        """Return a table as it is now. Raises `MultisiteError` for one that is not there, and for what is no table."""

    @abstractmethod
    def references_to(self, name: TableName) -> list[Reference]:
        """Return the references of other tables to that table."""

    def quote(self, *names: str) -> str:
        """Return column names as SQL, with commas between them."""
        return ", ".join(sql_name(self.connection.dialect, name) for name in names)

    def sql_name(self, table: TableName) -> str:
        """Return the name of a table as SQL."""
        return sql_name(self.connection.dialect, table.name, table.schema)

    def constraint_sql(self, item: Key | Reference) -> str:
        """Return a constraint as SQL, with its name if it has one."""
        return item.definition if item.name is None else f"CONSTRAINT {self.quote(item.name)} {item.definition}"

    def execute(self, sql: str) -> Sequence[Any]:
        """Execute SQL as it stands and return its rows, if it has any.

        Nothing in it is a parameter: neither a colon nor a percent sign of a CHECK is to be taken for one.
        """
        result = self.connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
        return result.fetchall() if result.returns_rows else []

    def query(self, sql: str, **parameters: Any) -> Sequence[Any]:
        """Return the rows of a query with parameters, as `:name`."""
        return self.connection.execute(_text(sql, parameters), parameters).fetchall()

    def change(self, sql: str, **parameters: Any) -> None:
        """Execute a statement with parameters, as `:name`, that returns no rows."""
        self.connection.execute(_text(sql, parameters), parameters)


def sql_name(dialect: sa.Dialect, name: str, schema: str | None = None) -> str:
    """Return a name as SQL, with its schema before it, quoted where it has to be."""
    preparer = dialect.identifier_preparer
    parts = [preparer.quote(part) for part in (schema, name) if part]
    # Some drivers want each percent sign twice, which SQLAlchemy sees to once more where it has parameters.
    return ".".join(part.replace("%%", "%") if preparer._double_percents else part for part in parts)


def _text(sql: str, parameters: Mapping[str, Any]) -> sa.TextClause:
    """Return `sql` with parameters, and no others: a name may hold a colon, too."""
    return sa.text(_COLON.sub(lambda found: found[0] if found[1] in parameters else f"\\{found[0]}", sql))


def missing_table_error(name: TableName) -> MultisiteError:
    """Return the error for a table that is not there."""
    return MultisiteError(f"there is no table '{name}' here: it has to be created first, by an earlier revision")
