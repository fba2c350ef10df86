"""Decide where the limits of a FROM clause go: into WHERE, into an ON, or into derived tables.

A derived table, `(SELECT * FROM entries WHERE site_id = :site) AS entries`, is correct wherever a table is allowed, so
the compiler writes one by default. Tables that are collected here are limited in WHERE or ON, as a person would write
it: this is easier to read, and PostgreSQL needs it for some statements, such as `GROUP BY` the primary key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnClause, ColumnElement, Grouping
from sqlalchemy.sql.expression import FromClause, TableClause
from sqlalchemy.sql.selectable import Alias, FromGrouping, Join, TableSample

from multisite.scoping.column import SITE_PARAMETER
from multisite.scoping.tables import limit_column

__all__ = ["LimitedTables", "collect_limits", "parenthesized", "site_predicate", "table_of"]

Predicate = ColumnElement[bool]


@dataclass
class LimitedTables:
    """The tables of one FROM clause that need no derived table: `where` or the ON of a join in `on` limits them."""

    tables: set[FromClause] = field(default_factory=set)
    where: list[Predicate] = field(default_factory=list)
    on: dict[Join, list[Predicate]] = field(default_factory=dict)


def table_of(element: FromClause) -> TableClause | None:
    """Return the table that `element` is, or is an alias or sample of; None for anything else."""
    # A Lateral is an alias too, but not of a table.
    if isinstance(element, (Alias, TableSample)):
        element = element.element
    return element if isinstance(element, TableClause) else None


def site_predicate(element: FromClause) -> Predicate:
    """Return `element.site_id = :site`, rendered with the name or alias of `element`.

    The column is created rather than looked up, so that it exists for `table("entries")` too, and always has the type
    of the parameter.
    """
    column: ColumnClause[int] = ColumnClause(limit_column(table_of(element)), sa.BigInteger(), _selectable=element)
    return column == SITE_PARAMETER


def parenthesized(criteria: Iterable[ColumnElement[bool]]) -> tuple[ColumnElement[bool], ...]:
    """Return `criteria` as one criterion in parentheses, or none.

    Without them, `text("a OR b")` next to a limit would mean `a OR (b AND limit)`. They are grouped together so that
    they keep their meaning among themselves.
    """
    together = tuple(criteria)
    return (Grouping(sa.and_(*together)),) if together else ()


def collect_limits(froms: Iterable[FromClause], is_scoped: Callable[[TableClause], bool]) -> LimitedTables:
    """Return the tables of one FROM clause that can be limited in WHERE or ON, with their limits."""
    limited_tables = LimitedTables()
    for element in froms:
        _collect_limits(element, limited_tables.where, limited_tables, is_scoped)
    return limited_tables


def _collect_limits(
    element: FromClause, place: list[Predicate], limited_tables: LimitedTables, is_scoped: Callable[[TableClause], bool]
) -> None:
    """Add the tables in `element` to `limited_tables`, and their limits to `place`."""
    if isinstance(element, FromGrouping):
        _collect_limits(element.element, place, limited_tables, is_scoped)
    elif isinstance(element, Join):
        if element.full:
            # Both sides keep rows without a match, so neither ON nor WHERE can limit them: they become derived tables.
            return
        _collect_limits(element.left, place, limited_tables, is_scoped)
        # The ON of an outer join limits its right side and keeps the join outer; an inner join needs no ON of its own.
        right = limited_tables.on.setdefault(element, []) if element.isouter else place
        _collect_limits(element.right, right, limited_tables, is_scoped)
    elif (table := table_of(element)) is not None and is_scoped(table):
        limited_tables.tables.add(element)
        place.append(site_predicate(element))
