"""To which site each row of a table belongs, found by the database itself, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from multisite.alembic.definition import SITE_COLUMN
from multisite.alembic.plan import Plan
from multisite.alembic.schema import Reference, Schema, Table
from multisite.errors import MultisiteError, escape_for_message

__all__ = ["SiteSource", "check_one_site", "check_rows", "reference_via"]

_MAX_SHOWN = 5
"""How many rows an error names."""


@dataclass(frozen=True)
class SiteSource:
    """Where the site of a row comes from: its own `site_id` if it has one, else its row in another table (`parent`),
    else `site_id`; the last two may be None."""

    table: Table
    parent: Reference | None
    site_id: int | None

    @property
    def is_constant(self) -> bool:
        """Whether all rows get the same site."""
        return self.parent is None and SITE_COLUMN not in self.table.columns

    def sql(self, schema: Schema, row: str) -> str:
        """Return the SQL of the site of the row whose table is called `row`; NULL where there is none."""
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
    """Return the condition that the row called `row` refers to the one called `target`."""
    pairs = zip(reference.columns, reference.target_columns, strict=True)
    return " AND ".join(f"{row}.{schema.quote(mine)} = {target}.{schema.quote(theirs)}" for mine, theirs in pairs)


def reference_via(schema: Schema, table: Table, parent: str, columns: Sequence[str]) -> Reference:
    """Return the reference of `table` to the table `parent`, by `columns` where there are several."""
    found = [
        reference
        for reference in table.references
        if reference.target.name == parent != table.name.name and (not columns or reference.columns == tuple(columns))
    ]
    # The same reference may be there twice; to whom it leads is no question then.
    if len({(reference.columns, reference.target_columns) for reference in found}) != 1:
        by = f" by {', '.join(columns)}" if columns else ""
        several = ", ".join(f"through='{', '.join(each.columns)}'" for each in found)
        raise MultisiteError(
            f"'{table.name}' has {'several references' if found else 'no reference'}{by} to another table '{parent}'"
            + (f": say which, {several}" if several else "")
        )
    if not schema.table(found[0].target).is_scoped:
        raise MultisiteError(f"'{parent}' belongs to no sites yet: op.add_site_scope('{parent}', ...) comes first")
    return found[0]


def check_rows(schema: Schema, plan: Plan, site: SiteSource) -> None:
    """Raise `MultisiteError` naming the rows that have no site, or refer to a row of another one."""
    table, rows = plan.table, f"{schema.sql_name(plan.table.name)} AS r"
    mine = site.sql(schema, "r")
    if SITE_COLUMN in table.columns:
        known = f"EXISTS (SELECT 1 FROM sites AS s WHERE s.id = r.{SITE_COLUMN})"
        _check_none(
            schema, table, rows, f"r.{SITE_COLUMN} IS NOT NULL AND NOT {known}", "have a site_id that no site has"
        )
    if site.parent is not None:
        _check_parent(schema, table, site.parent)
    if site.site_id is None:
        lost = "have no site" if site.parent is None else f"have no row in '{site.parent.target}' whose site they take"
        _check_none(
            schema, table, rows, f"{mine} IS NULL", f"{lost}: delete them, or say with site= which site they get"
        )
    for reference in (change.old for change in plan.references):
        columns = ", ".join(reference.columns)
        to_itself = reference.target == table.name
        if to_itself and site.is_constant:
            continue
        theirs = site.sql(schema, "t") if to_itself else f"t.{SITE_COLUMN}"
        what = f"would be of another site than the row of '{reference.target}' that they refer to by {columns}"
        _check_none(schema, table, _join_sql(schema, reference), f"{mine} <> {theirs}", what)
    for reference in (change.old for change in plan.incoming):
        columns = ", ".join(reference.columns)
        what = f"are of another site than the row of '{table.name}' would be that they refer to by {columns}"
        condition = f"r.{SITE_COLUMN} <> {site.sql(schema, 't')}"
        _check_none(schema, schema.table(reference.table), _join_sql(schema, reference), condition, what)


def _check_parent(schema: Schema, table: Table, parent: Reference) -> None:
    """Refuse rows whose reference points at nothing: nobody could say that `site` is meant for those too."""
    rows = f"{schema.sql_name(table.name)} AS r"
    filled = " AND ".join(f"r.{schema.quote(column)} IS NOT NULL" for column in parent.columns)
    there = f"SELECT 1 FROM {schema.sql_name(parent.target)} AS t WHERE {join_condition(schema, parent, 'r', 't')}"
    what = f"refer by {', '.join(parent.columns)} to a row of '{parent.target}' that is not there: delete them first"
    _check_none(schema, table, rows, f"{filled} AND NOT EXISTS ({there})", what)


def check_one_site(schema: Schema, table: Table) -> None:
    """Raise `MultisiteError` if the rows of `table` are of several sites."""
    rows = schema.execute(f"SELECT DISTINCT {SITE_COLUMN} FROM {schema.sql_name(table.name)} LIMIT 2")
    if len(rows) > 1:
        raise MultisiteError(
            f"'{table.name}' has rows of several sites, which nothing would tell apart afterwards: delete those of all "
            "but one, or say op.drop_site_scope(..., mix_sites=True)"
        )


def _join_sql(schema: Schema, reference: Reference) -> str:
    """Return the SQL of the rows `r` that refer, each beside the row `t` that it refers to."""
    return (
        f"{schema.sql_name(reference.table)} AS r JOIN {schema.sql_name(reference.target)} AS t "
        f"ON {join_condition(schema, reference, 'r', 't')}"
    )


def _check_none(schema: Schema, table: Table, rows: str, condition: str, what: str) -> None:
    """Raise `MultisiteError` if `condition` is true of any of `rows`, the rows `r` of `table`, and name some."""
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
