"""Find statements that a distributed database refuses, while a database that is not distributed still executes them.

There the key of each scoped table is (site_id, id) instead of (id). ON CONFLICT (id) then names no unique key, and
GROUP BY id no longer tells which row the other selected columns are from. Both are found in the statement itself, on
any database.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ColumnElement, FunctionFilter, WithinGroup
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Select
from sqlalchemy.sql.visitors import ExternallyTraversible

from multisite.scoping.column import SITE_COLUMN, has_site_id
from multisite.scoping.predicate import table_of

__all__ = ["find_undistributable"]

_AGGREGATES = frozenset(
    {
        "aggregate_strings", "any_value", "array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or",
        "corr", "count", "covar_pop", "covar_samp", "every", "group_concat", "json_agg", "json_group_array",
        "json_group_object", "json_object_agg", "jsonb_agg", "jsonb_object_agg", "max", "min", "range_agg",
        "range_intersect_agg", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope",
        "regr_sxx", "regr_sxy", "regr_syy", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "total",
        "var_pop", "var_samp", "variance", "xmlagg",
    }
)  # fmt: skip
"""The aggregate functions of PostgreSQL 17 and SQLite, within which a column need not be grouped by."""


def find_undistributable(statement: ExternallyTraversible) -> str | None:
    """Return why a distributed database would refuse a statement, and what to write instead; None if it would not.

    Subqueries and CTEs are searched too, SQL in strings is not.
    """
    for element in visitors.iterate(statement):
        fault = None
        if isinstance(element, Insert):
            fault = _conflict_fault(element)
        elif isinstance(element, Select):
            fault = _group_fault(element)
        if fault is not None:
            return fault
    return None


def _conflict_fault(insert: Insert) -> str | None:
    clause: Any = insert._post_values_clause
    names = [str(getattr(each, "name", each)) for each in getattr(clause, "inferred_target_elements", None) or ()]
    if not names or SITE_COLUMN in names or not has_site_id(insert.table):
        return None
    told = ", ".join(names)
    return f"ON CONFLICT ({told}) on '{insert.table.name}': name site_id as well, ON CONFLICT (site_id, {told})"


def _group_fault(select: Select[Any]) -> str | None:
    grouped = set(select._group_by_clauses)
    if not grouped:
        return None
    others = (*select.selected_columns, *select._having_criteria, *select._order_by_clauses)
    for column in (found for each in others for found in _ungrouped(each, grouped)):
        # The table, or an alias of it whose columns are its own.
        table: Any = column.table
        base = table_of(table) if table is not None else None
        if base is None or not has_site_id(base) or table.c[SITE_COLUMN] in grouped:
            continue
        key = list(table.primary_key)
        if key and all(each in grouped for each in key):
            told = ", ".join(each.name for each in key)
            return (
                f"GROUP BY {told} of '{base.name}', with its column '{column.name}' selected: group by "
                f"'{column.name}' as well, or by site_id and {told}"
            )
    return None


def _ungrouped(element: Any, grouped: set[Any]) -> Iterator[Any]:
    """Yield the columns in `element` that are neither grouped by nor within an aggregate function or a subquery."""
    if element in grouped or isinstance(element, (FunctionFilter, WithinGroup, Select)):
        return
    if isinstance(element, FunctionElement) and getattr(element, "name", "").lower() in _AGGREGATES:
        return
    if isinstance(element, ColumnElement) and getattr(element, "table", None) is not None:
        yield element
        return
    for child in element.get_children():
        yield from _ungrouped(child, grouped)
