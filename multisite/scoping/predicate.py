"""Where the limit to a site goes in a FROM clause: into WHERE, into an ON, or into a derived table.

The derived table, `(SELECT * FROM entries WHERE site_id = :site) AS entries`, is right wherever a table can stand,
so it is what the compiler writes unless a place is *claimed* here. A claim puts the predicate where a person would
have written it, which PostgreSQL needs for some statements (`GROUP BY` the primary key) and everybody reads better.
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
    """The tables of one FROM clause that are limited elsewhere: by `where`, or by the ON of a join in `on`."""

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
    """Return `element.site_id = :site`, rendered with the name or alias of `element`, a table or what is made of one.

    The column is made here rather than looked up, so that it exists for `table("entries")` too and never carries
    another type than the parameter's.
    """
    column: ColumnClause[int] = ColumnClause(limit_column(table_of(element)), sa.BigInteger(), _selectable=element)
    return column == SITE_PARAMETER


def parenthesized(criteria: Iterable[ColumnElement[bool]]) -> tuple[ColumnElement[bool], ...]:
    """Return `criteria` as one in brackets, or none: `text("a OR b")` next to ours would read `a OR (b AND ours)`.

    All of them together, so that they mean among themselves what they mean without the limit.
    """
    together = tuple(criteria)
    return (Grouping(sa.and_(*together)),) if together else ()


def collect_limits(froms: Iterable[FromClause], is_scoped: Callable[[TableClause], bool]) -> LimitedTables:
    """Return the claims for the elements of one FROM clause."""
    limited_tables = LimitedTables()
    for element in froms:
        _collect_limits(element, limited_tables.where, limited_tables, is_scoped)
    return limited_tables


def _collect_limits(
    element: FromClause, place: list[Predicate], limited_tables: LimitedTables, is_scoped: Callable[[TableClause], bool]
) -> None:
    """Claim what is in `element`, whose rows are limited by the predicates in `place`."""
    if isinstance(element, FromGrouping):
        _collect_limits(element.element, place, limited_tables, is_scoped)
    elif isinstance(element, Join):
        if element.full:
            # Both sides keep rows without a partner, so neither ON nor WHERE can limit them: derived tables.
            return
        _collect_limits(element.left, place, limited_tables, is_scoped)
        # The ON of an outer join limits its right side and keeps it outer; of an inner join both sides go together.
        right = limited_tables.on.setdefault(element, []) if element.isouter else place
        _collect_limits(element.right, right, limited_tables, is_scoped)
    elif (table := table_of(element)) is not None and is_scoped(table):
        limited_tables.tables.add(element)
        place.append(site_predicate(element))
