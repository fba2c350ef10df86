"""Tables whose rows need each other: references that cannot be NULL lead from each of them to itself or to the others.

PostgreSQL checks a reference at the end of the statement, unless the constraint can be deferred. So the rows of such
tables are inserted, and deleted, by one statement for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy.engine import Dialect

from multisite.sites.archive.plan import SiteTable

__all__ = ["cyclic_groups", "is_cyclic", "one_statement", "quoted_for_text", "quoted_table_for_text"]


def cyclic_groups(tables: Sequence[SiteTable]) -> Iterator[list[SiteTable]]:
    """Yield the tables in their order, each together with the later ones that its rows need; most are alone."""
    place = {each.name: number for number, each in enumerate(tables)}
    start = 0
    while start < len(tables):
        number = end = start
        while number <= end:
            needed = (each.target for each in tables[number].references if not each.is_optional)
            end = max([end, *(place[target] for target in needed if target in place)])
            number += 1
        yield list(tables[start:number])
        start = number


def is_cyclic(group: list[SiteTable]) -> bool:
    """Return whether a row may need one that no order of insertion puts before it."""
    table = group[0]
    return len(group) > 1 or any(each.target == table.name and not each.is_optional for each in table.references)


def one_statement(statements: list[str]) -> str:
    """Return PostgreSQL's SQL that executes several INSERT as one statement."""
    *others, last = statements
    parts = ", ".join(f"multisite_part_{number} AS ({other})" for number, other in enumerate(others))
    return f"WITH {parts} {last}" if parts else last


def quoted_for_text(name: str, dialect: Dialect) -> str:
    """Return the quoted name of a column for `sqlalchemy.text`, which binds what follows a colon."""
    return _in_text(dialect.identifier_preparer.quote(name))


def quoted_table_for_text(table: SiteTable, dialect: Dialect) -> str:
    """Return the quoted name of a table, with its schema, for `sqlalchemy.text`."""
    return _in_text(dialect.identifier_preparer.format_table(table.table))


def _in_text(quoted: str) -> str:
    # The driver's dialect doubles percent signs, and the text does so again.
    return quoted.replace("%%", "%").replace(":", "\\:")
