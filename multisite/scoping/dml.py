"""INSERT, UPDATE and DELETE in the scoped compiler: limit the target, and check the values.

The target of a change is limited like a table that is read. In addition, no row may move to another site: a value of
`site_id` must be a plain one, which the type of the column checks, and no other value may contain SQL that sets a
second column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnClause, ColumnElement, Grouping, and_
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.util import immutabledict

from multisite.scoping.column import SITE_COLUMN, has_site_id, is_site_id
from multisite.scoping.fragments import has_single_do, is_limited, is_single_value
from multisite.scoping.predicate import LimitedTables, parenthesized, site_predicate, table_of
from multisite.scoping.tables import is_own, tables
from multisite.scoping.target import is_element, target_of
from multisite.scoping.written import Written

_Compiler: Any = object
"""The base of the class below, which is mixed in before a dialect's compiler; that has no type annotations."""

__all__ = ["ScopedDMLCompiler"]


class ScopedDMLCompiler(_Compiler):
    """Limits changes to the site in scope. Its subclass `ScopedCompiler` defines the attributes it uses."""

    changes_rows: bool
    changes_own: str | None
    namesake_schemas: frozenset[str]
    unknown: frozenset[str]
    _limited_tables: LimitedTables
    _written: Written

    def _limit_dml(self, statement: Any) -> tuple[Any, LimitedTables]:
        """Return `statement` limited to the site, and the tables that are limited while it is rendered."""
        limited_tables = LimitedTables()
        target: FromClause = target_of(statement)
        table = table_of(target)
        if table is None:
            self._refuse("a statement that changes something other than a table")
        elif self._is_scoped(table):
            self._note_change(table)
            limited_tables.tables.add(target)
            limited = statement._generate()
            limited_tables.where.append(site_predicate(target))
            limited._where_criteria = (*limited_tables.where, *parenthesized(statement._where_criteria))
            if statement.is_update:
                limited._values = immutabledict(
                    (key, _parenthesized(value)) for key, value in (statement._values or {}).items()
                )
                if ordered := _values_in_order(statement):
                    limited._ordered_values = [(key, _parenthesized(value)) for key, value in ordered]
            statement = limited
        return statement, limited_tables

    def visit_update(self, update_stmt: Any, *args: Any, **kw: Any) -> str:
        """Render an UPDATE, limited to the site, after checking the values that it sets."""
        outer, unlimited = self._limited_tables, update_stmt
        update_stmt, self._limited_tables = self._limit_dml(update_stmt)
        if update_stmt is not unlimited:
            self._check_values(update_stmt)
            self._check_defaults(target_of(update_stmt), "onupdate")
            self._check_keys(table_of(target_of(update_stmt)))
        try:
            return self._check_limit(super().visit_update(update_stmt, *args, **kw))
        finally:
            self._limited_tables = outer

    def _check_limit(self, text: str) -> str:
        """Refuse an UPDATE or DELETE, rendered as `text`, if something else in it could widen its limit."""
        for predicate in self._limited_tables.where:
            if not is_limited(text, self.process(predicate), self.dialect.name):
                self._refuse("a change with text behind its criteria, or that ends their brackets,")
        return text

    def visit_delete(self, delete_stmt: Any, *args: Any, **kw: Any) -> str:
        """Render a DELETE, limited to the site."""
        outer = self._limited_tables
        delete_stmt, self._limited_tables = self._limit_dml(delete_stmt)
        try:
            return self._check_limit(super().visit_delete(delete_stmt, *args, **kw))
        finally:
            self._limited_tables = outer

    def visit_insert(self, insert_stmt: Any, *args: Any, **kw: Any) -> str:
        """Render an INSERT after checking its values."""
        outer, self._limited_tables = self._limited_tables, LimitedTables()
        table = target_of(insert_stmt)
        if self._is_scoped(table):
            self._note_change(table)
            self._written.add(table.name, limited=False)
            if not is_own(table):
                self._check_insert(insert_stmt, table)
            self._check_values(insert_stmt)
            self._check_defaults(table, "default")
            self._check_keys(table)
            insert_stmt = _with_parenthesized_values(insert_stmt)
        else:
            if tables.is_unknown(table):
                self.unknown |= {table.name.lower()}
            self._note_namesake(table)
        try:
            return super().visit_insert(insert_stmt, *args, **kw)
        finally:
            self._limited_tables = outer

    def _note_namesake(self, table: Any) -> None:
        """Record a table that has the name of a scoped one but is not limited, because it has a schema."""
        if table.name.lower() in tables.scoped:
            self._written.add(table.name, limited=False)
            self.namesake_schemas |= {table.schema}

    def _note_change(self, table: Any) -> None:
        if is_own(table):
            self.changes_own = table.name
        else:
            self.changes_rows = True

    def _check_insert(self, insert: Any, table: Any) -> None:
        name = table.name
        if not has_site_id(table) or not _fills_in(table.columns[SITE_COLUMN].default):
            self._refuse(f"an INSERT into '{name}' that does not go through its model")
        if insert.select is not None and SITE_COLUMN in {getattr(c, "name", c) for c in insert._select_names or ()}:
            self._refuse(f"an INSERT INTO '{name}' from a SELECT that gives site_id itself")
        clause = insert._post_values_clause
        if clause is not None and clause.__visit_name__ not in ("on_conflict_do_update", "on_conflict_do_nothing"):
            self._refuse(f"an INSERT INTO '{name}' with something other than ON CONFLICT")

    def _check_keys(self, table: Any) -> None:
        """Refuse to change a table whose own keys replace a row with the same key, possibly another site's."""
        if isinstance(table, sa.Table) and self.dialect.name == "sqlite" and _replaces(table):
            self._refuse(f"a change of '{table.name}', which has keys with ON CONFLICT REPLACE,")

    def _check_values(self, statement: Any) -> None:
        """Refuse an SQL expression as `site_id`; bound values are checked by the type of the column."""
        table = target_of(statement)
        many = [row for rows in statement._multi_values or () for row in rows]
        for column, value in _values_in_order(statement):
            self._check_value(table, column, _is_bound_site_id(value))
        for row in (dict.fromkeys(self.column_keys or ()), dict(statement._values or ()), *many):
            # A row may also be a tuple of values, in the order of the columns.
            pairs = row.items() if hasattr(row, "items") else zip(table.c, row, strict=False)
            for column, value in pairs:
                self._check_value(table, column, _is_bound_site_id(value))

    def _check_defaults(self, table: Any, kind: str) -> None:
        """Refuse a column's default if it could set site_id; `kind` is "default" or "onupdate"."""
        for column in getattr(table_of(table), "c", ()):
            default = getattr(column, kind, None)
            if default is None:
                continue
            self._check_value(table, column, _fills_in(default))
            if default.is_clause_element:
                text = str(default.arg.self_group().compile(dialect=self.dialect))
                if not is_single_value(text, self.dialect.name):
                    self._refuse(f"{kind} of the column '{column.name}', which is more than a value,")

    def _check_value(self, table: Any, column: Any, is_checked: bool) -> None:
        """Refuse to set `column` of `table` if it could be site_id and its type does not check the value."""
        while is_element(column):
            column = column.left
        if isinstance(column, ClauseElement) and not isinstance(column, ColumnClause):
            self._refuse("a change with SQL in place of the column that it sets")
            return
        given = getattr(column, "name", column)
        # A key may differ from the column's name: `Column("site_id", …, key="owner")`.
        keyed = getattr(table, "columns", {}).get(given)
        for name in (given, given if keyed is None else keyed.name):
            if name.lower() == SITE_COLUMN and not (is_checked and name == SITE_COLUMN and has_site_id(table)):
                self._refuse("a value of site_id that is not a plain one, given through the model,")

    def visit_on_conflict_do_nothing(self, on_conflict: Any, **kw: Any) -> str:
        """Render ON CONFLICT DO NOTHING."""
        return self._check_conflict(self._write_conflict(super(), on_conflict, **kw))

    def visit_on_conflict_do_update(self, on_conflict: Any, **kw: Any) -> str:
        """Render ON CONFLICT DO UPDATE, limited to the site, after checking the values that it sets."""
        target = self.stack[-1]["selectable"].table
        limits = []
        if self._is_scoped(target):
            values = dict(on_conflict.update_values_to_set)
            for column, value in values.items():
                self._check_value(target, column, _is_bound_site_id(value) or _is_excluded_site_id(value))
            limits = [site_predicate(target)]
            own = [on_conflict.update_whereclause] if on_conflict.update_whereclause is not None else []
            limited = on_conflict._clone()
            limited.update_values_to_set = [(column, _parenthesized(value)) for column, value in values.items()]
            limited.update_whereclause = and_(*limits, *parenthesized(own))
            on_conflict = limited
        return self._check_conflict(self._write_conflict(super(), on_conflict, **kw), limits)

    def _write_conflict(self, dialects_own: Any, on_conflict: Any, **kw: Any) -> str:
        write = getattr(dialects_own, f"visit_{on_conflict.__visit_name__}", None)
        if write is not None:
            return write(on_conflict, **kw)
        # The compiler for str() has no such method, and uses the compiler of the dialect that the construct is for.
        return self.visit_unsupported_compilation(on_conflict, AttributeError(on_conflict.__visit_name__), **kw)

    def _check_conflict(self, text: str, limits: Sequence[Any] = ()) -> str:
        """Refuse an ON CONFLICT, rendered as `text`, if something in it could widen its limits."""
        self._written.conflicts += 1
        where = {"include_table": True, "use_schema": False}
        if not has_single_do(text, self.dialect.name) or not all(
            is_limited(text, self.process(limit, **where), self.dialect.name, behind="DO") for limit in limits
        ):
            self._refuse("an ON CONFLICT with text that ends the clause it is in")
        return text


def _values_in_order(statement: Any) -> list[tuple[Any, Any]]:
    """Return the values of `update().ordered_values()`; SQLAlchemy 2.1 keeps them in `_values` with the others."""
    return getattr(statement, "_ordered_values", None) or []


def _parenthesized(value: Any) -> Any:
    """Return an SQL value in parentheses: `text("1, site_id = 2")` would set another column too."""
    if not isinstance(value, (ColumnElement, sa.TextClause)) or isinstance(value, BindParameter):
        return value
    is_default = isinstance(value, sa.TextClause) and value.text.strip().upper() == "DEFAULT"
    return value if is_default else Grouping(value)


def _with_parenthesized_values(insert: Any) -> Any:
    """Return `insert` with each SQL value in parentheses, so that none can end its row and begin another."""
    limited = insert._generate()
    limited._values = (
        immutabledict((key, _parenthesized(value)) for key, value in (insert._values or {}).items()) or None
    )
    limited._multi_values = tuple([_parenthesized_row(row) for row in rows] for rows in insert._multi_values or ())
    return limited


def _parenthesized_row(row: Any) -> Any:
    if hasattr(row, "items"):
        return {key: _parenthesized(value) for key, value in row.items()}
    return [_parenthesized(value) for value in row]


def _is_bound_site_id(value: Any) -> bool:
    if not isinstance(value, ClauseElement):
        return True
    # A plain value has no type yet; the compiler gives it the type of the column, which checks it.
    return isinstance(value, BindParameter) and (value.type._isnull or is_site_id(value.type))


def _is_excluded_site_id(value: Any) -> bool:
    """Return whether `value` is `excluded.site_id` of an upsert, the site of the row to be inserted."""
    if getattr(value, "name", None) != SITE_COLUMN:
        return False
    return getattr(getattr(value, "table", None), "name", None) == "excluded"


def _fills_in(default: Any) -> bool:
    """Return whether a column's default is a value from Python, which the type of the column checks."""
    return default is not None and (default.is_callable or default.is_scalar)


def _replaces(table: sa.Table) -> bool:
    """Return whether a key of `table` is declared with SQLite's ON CONFLICT REPLACE."""
    parts: list[Any] = [*table.columns, *table.constraints]
    return any("REPLACE" in str(value).upper() for part in parts for value in part.kwargs.values())
