"""Determine the site of each row in SQL, and check that the rows are consistent with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from multisite.alembic.plan import Plan
from multisite.alembic.schema import Reference, Schema, Table
from multisite.errors import MultisiteError, escape_for_message
from multisite.scoping.column import SITE_COLUMN

__all__ = ["SiteSource", "check_one_site", "check_rows", "reference_via"]

_MAX_SHOWN = 5
"""At most this many rows are named in an error."""


@dataclass(frozen=True)
class SiteSource:
    """Determines the site of a row: its own `site_id`, else that of the row it refers to by `parent`, else `site_id`.

    `parent` and `site_id` may be None.
    """

    table: Table
    parent: Reference | None
    site_id: int | None

    @property
    def is_constant(self) -> bool:
        """Whether every row gets the same site."""
        return self.parent is None and SITE_COLUMN not in self.table.columns

    def sql(self, schema: Schema, row: str) -> str:
        """Return a SQL expression for the site of a row, NULL if it has none; `row` is the alias of its table."""
        sources = []
        if SITE_COLUMN in self.table.columns:
            sources.append(f"{row}.{SITE_COLUMN}")
        if self.parent is not None:
            parent = f"{row}_parent"
            join = join_condition(schema, self.parent, row, parent)
            sources.append(
                f"(SELECT {parent}.{SITE_COLUMN} FROM {schema.sql_name(self.parent.target)} AS {parent} WHERE {join})"
            )
        if self.site_id is not None:
            sources.append(str(int(self.site_id)))
        sources = sources or ["NULL"]
        return sources[0] if len(sources) == 1 else f"coalesce({', '.join(sources)})"


def join_condition(schema: Schema, reference: Reference, row: str, target: str) -> str:
    """Return the SQL condition that `row` refers to `target`, both aliases."""
    pairs = zip(reference.columns, reference.target_columns, strict=True)
    return " AND ".join(f"{row}.{schema.quote(mine)} = {target}.{schema.quote(theirs)}" for mine, theirs in pairs)


def reference_via(schema: Schema, table: Table, parent: str, columns: Sequence[str]) -> Reference:
    """Return the reference from `table` to the table `parent`; `columns` choose one of several.

    Raises:
        MultisiteError: There is no such reference, there are several, or `parent` is not scoped.
    """
    found = [
        reference
        for reference in table.references
        if reference.target.name == parent != table.name.name and (not columns or reference.columns == tuple(columns))
    ]
    # The same reference may exist twice, which is not ambiguous.
    if len({(reference.columns, reference.target_columns) for reference in found}) != 1:
        by = f" by {', '.join(columns)}" if columns else ""
        several = ", ".join(f"through='{', '.join(each.columns)}'" for each in found)
        raise MultisiteError(
            f"'{table.name}' has {'several references' if found else 'no reference'}{by} to another table '{parent}'"
            + (f": choose one with {several}" if several else "")
        )
    if not schema.table(found[0].target).is_scoped:
        raise MultisiteError(f"'{parent}' is not scoped yet: run op.add_site_scope('{parent}', ...) first")
    return found[0]


def check_rows(schema: Schema, plan: Plan, site: SiteSource) -> None:
    """Raise `MultisiteError` if any row would have no site, or would refer to a row of another site."""
    table, rows = plan.table, f"{schema.sql_name(plan.table.name)} AS r"
    mine = site.sql(schema, "r")
    if SITE_COLUMN in table.columns:
        known = f"EXISTS (SELECT 1 FROM sites AS s WHERE s.id = r.{SITE_COLUMN})"
        _check_none(
            schema,
            table,
            rows,
            f"r.{SITE_COLUMN} IS NOT NULL AND NOT {known}",
            "have a site_id that is not the id of any site",
        )
    if site.parent is not None:
        _check_parent(schema, table, site.parent)
    if site.site_id is None:
        lost = "have no site" if site.parent is None else f"have no row in '{site.parent.target}' to take the site from"
        _check_none(schema, table, rows, f"{mine} IS NULL", f"{lost}: delete them, or pass site= for them")
    for reference in (change.old for change in plan.references):
        columns = ", ".join(reference.columns)
        to_itself = reference.target == table.name
        if to_itself and site.is_constant:
            continue
        theirs = site.sql(schema, "t") if to_itself else f"t.{SITE_COLUMN}"
        what = f"would belong to a different site than the row of '{reference.target}' that they refer to by {columns}"
        _check_none(schema, table, _join_sql(schema, reference), f"{mine} <> {theirs}", what)
    for reference in (change.old for change in plan.incoming):
        columns = ", ".join(reference.columns)
        what = f"belong to a different site than the row of '{table.name}' that they refer to by {columns} would"
        condition = f"r.{SITE_COLUMN} <> {site.sql(schema, 't')}"
        _check_none(schema, schema.table(reference.table), _join_sql(schema, reference), condition, what)


def _check_parent(schema: Schema, table: Table, parent: Reference) -> None:
    """Raise if a row refers to a missing row of `parent`: the argument `site` may not be meant for such rows."""
    rows = f"{schema.sql_name(table.name)} AS r"
    filled = " AND ".join(f"r.{schema.quote(column)} IS NOT NULL" for column in parent.columns)
    there = f"SELECT 1 FROM {schema.sql_name(parent.target)} AS t WHERE {join_condition(schema, parent, 'r', 't')}"
    what = f"refer by {', '.join(parent.columns)} to a row of '{parent.target}' that does not exist: delete them first"
    _check_none(schema, table, rows, f"{filled} AND NOT EXISTS ({there})", what)


def check_one_site(schema: Schema, table: Table) -> None:
    """Raise `MultisiteError` if `table` has rows of several sites."""
    rows = schema.execute(f"SELECT DISTINCT {SITE_COLUMN} FROM {schema.sql_name(table.name)} LIMIT 2")
    if len(rows) > 1:
        raise MultisiteError(
            f"'{table.name}' has rows of several sites, which could not be told apart afterwards: delete those of all "
            "but one site, or pass mix_sites=True to op.drop_site_scope"
        )


def _join_sql(schema: Schema, reference: Reference) -> str:
    """Return SQL that joins each referring row (alias `r`) with the row it refers to (alias `t`)."""
    return (
        f"{schema.sql_name(reference.table)} AS r JOIN {schema.sql_name(reference.target)} AS t "
        f"ON {join_condition(schema, reference, 'r', 't')}"
    )


def _check_none(schema: Schema, table: Table, rows: str, condition: str, what: str) -> None:
    """Raise `MultisiteError`, naming some rows, if `condition` is true of any of `rows`, SQL with alias `r`."""
    ((count,),) = schema.execute(f"SELECT count(*) FROM {rows} WHERE {condition}")
    if not count:
        return
    named = ""
    if table.primary_key:
        keys = ", ".join(f"r.{schema.quote(column)}" for column in table.primary_key)
        found = schema.execute(f"SELECT {keys} FROM {rows} WHERE {condition} ORDER BY {keys} LIMIT {_MAX_SHOWN}")
        values = [escape_for_message(row[0] if len(row) == 1 else tuple(row)) for row in found]
        named = f" ({_key_text(table.primary_key)} {', '.join(values)}{', ...' if count > _MAX_SHOWN else ''})"
    raise MultisiteError(f"{count} rows of '{table.name}'{named} {what}")


def _key_text(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
