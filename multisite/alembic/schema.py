"""Tables with their keys and references, in one form for SQLite and PostgreSQL.

Definitions are the database's own text, since reflection does not know everything that would have to be written back.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.alembic.ddl_text import clears_listed, tokens_of
from multisite.directory.schema import metadata
from multisite.scoping.column import SITE_COLUMN

__all__ = ["Key", "Link", "Reference", "Schema", "Table", "TableName", "missing_table_message", "sql_name"]

_COLON = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""Matches what SQLAlchemy would treat as a parameter."""


class TableName(NamedTuple):
    """The name of a table; `schema` is None if the database finds the table by its name alone."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True)
class Key:
    """A primary key, a unique constraint, or an index.

    An expression of an index is an empty string in `columns`. `name` is None where the database or the model gives
    none. `definition` is `UNIQUE (...)` or the whole CREATE INDEX, empty where only the columns are known. `clause` is
    the part of SQLite's CREATE TABLE that defines the constraint, None for anything else.
    """

    kind: Literal["primary key", "unique constraint", "unique index", "index"]
    name: str | None
    columns: tuple[str, ...]
    definition: str = ""
    clause: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        columns = ", ".join(column or "…" for column in self.columns)
        return f"{self.kind} {self.name} ({columns})" if self.name else f"{self.kind} ({columns})"

    @property
    def is_index(self) -> bool:
        """Whether this is an index and not a constraint."""
        return self.kind in ("unique index", "index")

    @property
    def is_unique(self) -> bool:
        """Whether no two rows may have the same values."""
        return self.kind != "index"

    @property
    def can_be_referenced(self) -> bool:
        """Whether a foreign key may refer to it: it covers all rows, and its columns alone make it unique."""
        is_partial = self.is_index and any(token.is_word("WHERE") for token in tokens_of(self.definition))
        return self.is_unique and "" not in self.columns and not is_partial


Link = tuple[TableName, TableName, tuple[tuple[str, str], ...]]
"""The referring table, the table it refers to, and the pairs of columns that match, without `site_id`."""


@dataclass(frozen=True)
class Reference:
    """A foreign key, or a relationship without one: `columns` of `table` hold the `target_columns` of `target`.

    `on_delete` and `on_update` are None for NO ACTION. `definition` begins with FOREIGN KEY; it is empty where only the
    columns are known. `clause` is the part of SQLite's CREATE TABLE that defines the foreign key, None for others.
    """

    table: TableName
    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...]
    name: str | None = None
    on_delete: str | None = None
    on_update: str | None = None
    definition: str = ""
    clause: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.table}.{'+'.join(self.own_columns)}"

    @property
    def holds_site(self) -> bool:
        """Whether it includes the `site_id` of both rows."""
        return (SITE_COLUMN, SITE_COLUMN) in zip(self.columns, self.target_columns, strict=False)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of columns that match, without `site_id`, sorted."""
        pairs = zip(self.columns, self.target_columns, strict=False)
        return tuple(sorted(pair for pair in pairs if pair != (SITE_COLUMN, SITE_COLUMN)))

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns of `table` without `site_id`, sorted."""
        return tuple(column for column, _ in self.pairs)

    @property
    def link(self) -> Link:
        """Equal for two references that connect the same rows, whether or not they include `site_id`."""
        return (self.table, self.target, self.pairs)

    @property
    def clears(self) -> str | None:
        """The action that sets all columns to NULL or their defaults, as in "ON DELETE SET NULL"; None without one."""
        for event, action in (("DELETE", self.on_delete), ("UPDATE", self.on_update)):
            # PostgreSQL 15 can name the columns, as in SET NULL (author_id), which leaves site_id unchanged.
            is_clearing = (action or "").strip().upper() in {"SET NULL", "SET DEFAULT"}
            if is_clearing and not (event == "DELETE" and clears_listed(self.definition)):
                return f"ON {event} {action}"
        return None


@dataclass(frozen=True)
class Table:
    """A table of the application.

    `columns` maps each column to whether it may be NULL. `handle` is the `CreateTable` on SQLite and the OID on
    PostgreSQL. `site_type` is PostgreSQL's name for the type of the column `site_id`, None without one. `exclusions`
    maps the names of EXCLUDE constraints to their definitions.
    """

    name: TableName
    columns: dict[str, bool]
    primary_key: tuple[str, ...]
    keys: tuple[Key, ...]
    references: tuple[Reference, ...]
    handle: Any = field(default=None, compare=False, repr=False)
    site_type: str | None = None
    exclusions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_scoped(self) -> bool:
        """Whether it has a NOT NULL `site_id` that refers to `sites`, and a key of `site_id` and the primary key."""
        return (
            self.site_reference is not None
            and not self.columns[SITE_COLUMN]
            and (not self.primary_key or self.is_unique({SITE_COLUMN, *self.primary_key}))
            # A table of the same name in a named schema is not multisite's.
            and not (self.name.schema is None and self.name.name in metadata.tables)
        )

    @property
    def site_reference(self) -> Reference | None:
        """The foreign key from `site_id` to `sites`; None without one."""
        for reference in self.references:
            if reference.columns == (SITE_COLUMN,) and reference.target.name == "sites":
                return reference
        return None

    def is_unique(self, columns: set[str]) -> bool:
        """Return whether the table has a key on exactly these columns."""
        return columns == set(self.primary_key) or any(
            key.can_be_referenced and set(key.columns) == columns for key in self.keys
        )


class Schema(ABC):
    """The tables of the database behind `connection`."""

    has_match_full = False
    """Whether MATCH FULL has an effect; SQLite parses and ignores it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @abstractmethod
    def table(self, name: TableName) -> Table:
        """Return a table in its present state.

        Raises:
            MultisiteError: It does not exist, or is not a table that can be scoped.
        """

    @abstractmethod
    def references_to(self, name: TableName) -> list[Reference]:
        """Return the references from other tables to this one."""

    def replaceable_primary_key(self, table: Table) -> Key | None:
        """Return the primary key as a constraint, if the database can replace it in place; None if it cannot."""
        return None

    def quote(self, *names: str) -> str:
        """Return quoted column names, separated by commas."""
        return ", ".join(sql_name(self.connection.dialect, name) for name in names)

    def sql_name(self, table: TableName) -> str:
        """Return the quoted name of a table."""
        return sql_name(self.connection.dialect, table.name, table.schema)

    def constraint_sql(self, item: Key | Reference) -> str:
        """Return the DDL of a constraint, with its name if it has one."""
        return item.definition if item.name is None else f"CONSTRAINT {self.quote(item.name)} {item.definition}"

    def execute(self, sql: str) -> Sequence[Any]:
        """Return the rows of a statement without parameters; an empty list if it returns none.

        A colon or percent sign in it, as in a CHECK constraint, does not begin a parameter.
        """
        result = self.connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
        return result.fetchall() if result.returns_rows else []

    def query(self, sql: str, **parameters: Any) -> Sequence[Any]:
        """Return the rows of a query with parameters in the form `:name`."""
        return self.connection.execute(_text_clause(sql, parameters), parameters).fetchall()

    def change(self, sql: str, **parameters: Any) -> None:
        """Execute a statement that returns no rows, with parameters in the form `:name`."""
        self.connection.execute(_text_clause(sql, parameters), parameters)


def sql_name(dialect: sa.Dialect, name: str, schema: str | None = None) -> str:
    """Return a name with its schema, quoted if necessary."""
    preparer = dialect.identifier_preparer
    parts = [preparer.quote(part) for part in (schema, name) if part]
    # For some drivers the preparer doubles percent signs, which SQLAlchemy does again for statements with parameters.
    return ".".join(part.replace("%%", "%") if preparer._double_percents else part for part in parts)


def _text_clause(sql: str, parameters: Mapping[str, Any]) -> sa.TextClause:
    """Return `sql` with only `parameters` as its parameters: a name may contain a colon too."""
    return sa.text(_COLON.sub(lambda found: found[0] if found[1] in parameters else f"\\{found[0]}", sql))


def missing_table_message(name: TableName) -> str:
    """Return the message of the error for a table that does not exist."""
    return f"there is no table '{name}': an earlier revision has to create it"
