"""Which tables are scoped, and how a name in SQL is recognised as one of them.

A table is scoped if it has a `site_id` column of the type `SiteId`; what happens to be called like a scoped table
(a second `Table`, `table("entries")`, a reflected one, text) counts as that table. Every `Table` that any MetaData
declares passes here once, by an event on the class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.expression import TableClause

from multisite.scoping.column import SITE_COLUMN, SiteId

__all__ = ["ScopedTables", "has_site_id", "tables"]

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})
SYSTEM_PREFIXES = ("sqlite_", "pg_", "pragma_")

_QUERY_WORDS = re.compile(
    r"\b(select|from|join|table|union|into|update|delete|insert|copy|merge|truncate|values)\b", re.IGNORECASE
)
_STRINGS = re.compile(r"'(?:[^']|'')*'")


def has_site_id(table: TableClause) -> bool:
    """Return whether `table` is declared as scoped: it has a `site_id` column of the type `SiteId`."""
    column = table.columns.get(SITE_COLUMN)
    return column is not None and isinstance(column.type, SiteId)


class ScopedTables:
    """The names of scoped and of declared tables, lower-cased and without schema.

    Names are compared without case and schema: a database that tells `Entries` from `entries` is rarer than a
    statement that spells a table otherwise, and taking one table too many for scoped fails closed.
    """

    def __init__(self) -> None:
        self.scoped: set[str] = set()
        self.declared: set[str] = set()
        self.global_tables: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def declare(self, table: sa.Table) -> None:
        """Take note of `table`; give a scoped one its UNIQUE (site_id, primary key)."""
        name = table.name.lower()
        self.declared.add(name)
        if not has_site_id(table):
            return
        _add_unique_key(table)
        if name not in self.scoped:
            self.scoped.add(name)
            self._pattern = None

    def is_scoped(self, table: TableClause) -> bool:
        """Return whether `table` is, or is called like, a scoped table."""
        return table.name.lower() in self.scoped

    def is_unknown(self, table: TableClause) -> bool:
        """Return whether nothing tells what `table` is: no MetaData declares it and no setting lists it."""
        if isinstance(table, sa.Table):
            return False
        name = table.name.lower()
        if name in self.declared or name in self.global_tables or name.startswith(SYSTEM_PREFIXES):
            return False
        return str(getattr(table, "schema", None) or "").lower() not in SYSTEM_SCHEMAS

    def named_in(self, text: str) -> str | None:
        """Return the first scoped table that `text` names, as spelt there, or None."""
        if not self.scoped:
            return None
        if self._pattern is None:
            names = "|".join(re.escape(name) for name in sorted(self.scoped, key=len, reverse=True))
            self._pattern = re.compile(rf"(?<![\w$])(?:{names})(?![\w$])", re.IGNORECASE)
        found = self._pattern.search(text)
        return found.group() if found else None

    def fault_in(self, fragment: str) -> str | None:
        """Return why `fragment`, a piece of SQL inside a statement, could reach past the limit to a site, or None.

        A qualified column (`entries.title`) is fine; a query on a scoped table is not, nor is what could end the
        brackets that the compiler puts around a criterion.
        """
        bare = _STRINGS.sub("''", fragment)
        if _QUERY_WORDS.search(bare) and (name := self.named_in(bare)):
            return f"a fragment of text that queries the scoped table '{name}'"
        if "--" in bare or "/*" in bare or ";" in bare or "'" in bare.replace("''", ""):
            return "a fragment of text with a comment, a semicolon or an open quote"
        depth = 0
        for character in bare:
            depth += (character == "(") - (character == ")")
            if depth < 0:
                break
        return "a fragment of text with unbalanced brackets" if depth else None


tables = ScopedTables()
"""The one register of the process; matching is by name, so it holds the tables of all MetaData."""


_ADDED = "multisite"
"""The key in `info` that marks a constraint as added here, and not by the application."""


def _add_unique_key(table: sa.Table) -> None:
    keys = [column.name for column in table.primary_key.columns]
    if not keys or SITE_COLUMN in keys or any(_same_columns(table, {SITE_COLUMN, *keys})):
        return
    # The name is spelt out: under the cookiecutter's naming convention, which uses the first column only, this
    # constraint and the application's own UNIQUE (site_id, slug) would get one and the same name.
    name = "_".join(["uq", table.name, SITE_COLUMN, *keys])
    table.append_constraint(sa.UniqueConstraint(SITE_COLUMN, *keys, name=name, info={_ADDED: True}))


def _same_columns(table: sa.Table, columns: set[str]) -> Iterator[sa.UniqueConstraint]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint) and {column.name for column in constraint.columns} == columns:
            yield constraint


@event.listens_for(sa.UniqueConstraint, "after_parent_attach")
def _give_way(constraint: sa.UniqueConstraint, parent: Any) -> None:
    """Let a constraint that is attached later replace the one that was added here.

    `Table.to_metadata` and alembic make a table of the columns alone and append copies of the constraints then.
    """
    if not isinstance(parent, sa.Table) or not has_site_id(parent):
        return
    for other in list(_same_columns(parent, {column.name for column in constraint.columns})):
        if other is not constraint and _ADDED in other.info:
            parent.constraints.discard(other)


@event.listens_for(sa.Table, "after_parent_attach")
def _declare(table: sa.Table, parent: Any) -> None:
    tables.declare(table)
