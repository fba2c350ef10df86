"""Read tables, keys and references from the catalogs of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multisite.alembic.schema import Key, Reference, Schema, Table, TableName, missing_table_message
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN

__all__ = ["PostgresqlSchema"]

_ACTIONS = {"a": None, "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def _column_names_sql(numbers: str, relation: str) -> str:
    """Return SQL for the names of the columns with these numbers, in order; an expression has number 0."""
    return (
        f"ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest({numbers}) WITH ORDINALITY AS k (number, place) "
        f"LEFT JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.number ORDER BY k.place)"
    )


_CONSTRAINTS = f"""
    SELECT c.contype::text AS kind, c.conname::text AS name, {_column_names_sql("c.conkey", "c.conrelid")} AS columns,
           pg_get_constraintdef(c.oid) AS definition, c.conrelid AS relation, c.confrelid AS target,
           {_column_names_sql("c.confkey", "c.confrelid")} AS target_columns,
           c.confdeltype::text AS on_delete, c.confupdtype::text AS on_update
    FROM pg_constraint c
    WHERE c.conparentid = 0 AND c.contype IN ('p', 'u', 'f', 'x')
"""

_INDEXES = f"""
    SELECT r.relname::text AS name, i.indisunique AS is_unique, pg_get_indexdef(i.indexrelid) AS definition,
           {_column_names_sql("i.indkey[0:i.indnkeyatts - 1]::smallint[]", "i.indrelid")} AS columns
    FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid
    WHERE i.indrelid = :oid AND NOT EXISTS
        (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
    ORDER BY r.relname
"""


class PostgresqlSchema(Schema):
    """The tables of a PostgreSQL database, in any schema."""

    has_match_full = True

    def oid(self, name: TableName) -> int | None:
        """Return the OID of the table; None if it does not exist."""
        (row,) = self.query("SELECT to_regclass(:name)::oid", name=self.sql_name(name))
        return None if row[0] is None else int(row[0])

    def table(self, name: TableName) -> Table:
        """Return a table as the catalogs describe it.

        Raises:
            MultisiteError: It does not exist, or is a view.
        """
        oid = self.oid(name)
        if oid is None:
            raise MultisiteError(missing_table_message(name))
        real_name, kind = self._name_and_kind(oid)
        if kind not in ("r", "p"):
            raise MultisiteError(f"'{name}' is not a table: convert the tables that it reads instead")
        columns = self.query(
            "SELECT attname::text, NOT attnotnull, format_type(CASE WHEN t.typbasetype = 0 THEN t.oid "
            "ELSE t.typbasetype END, NULL) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
            "WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            oid=oid,
        )
        constraints = self.query(f"{_CONSTRAINTS} AND c.conrelid = :oid ORDER BY c.conname", oid=oid)
        primary_key = [tuple(row.columns) for row in constraints if row.kind == "p"]
        unique = [row for row in constraints if row.kind == "u"]
        keys = [Key("unique constraint", row.name, tuple(row.columns), row.definition) for row in unique]
        keys += [
            Key("unique index" if row.is_unique else "index", row.name, tuple(row.columns), row.definition)
            for row in self.query(_INDEXES, oid=oid)
        ]
        return Table(
            real_name,
            {name: nullable for name, nullable, _ in columns},
            primary_key[0] if primary_key else (),
            tuple(keys),
            tuple(self._reference(row) for row in constraints if row.kind == "f"),
            oid,
            next((type_ for name, _, type_ in columns if name == SITE_COLUMN), None),
            {row.name: row.definition for row in constraints if row.kind == "x"},
        )

    def types(self, table: Table, columns: Sequence[str]) -> list[str]:
        """Return the types of `columns` as SQL."""
        rows = self.query(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = :oid",
            oid=table.handle,
        )
        types = dict(map(tuple, rows))
        return [types[column] for column in columns]

    def replaceable_primary_key(self, table: Table) -> Key | None:
        """Return the primary key of `table`; None without one."""
        for row in self.query(f"{_CONSTRAINTS} AND c.contype = 'p' AND c.conrelid = :oid", oid=table.handle):
            return Key("primary key", row.name, tuple(row.columns), row.definition)
        return None

    def references_to(self, name: TableName) -> list[Reference]:
        """Return the references from other tables to this one."""
        rows = self.query(
            f"{_CONSTRAINTS} AND c.confrelid = :oid AND c.conrelid <> :oid "
            "ORDER BY c.conrelid::regclass::text, c.conname",
            oid=self.oid(name),
        )
        return [self._reference(row) for row in rows]

    def _reference(self, row: Any) -> Reference:
        return Reference(
            self._name_and_kind(row.relation)[0],
            tuple(row.columns),
            self._name_and_kind(row.target)[0],
            tuple(row.target_columns),
            row.name,
            _ACTIONS[row.on_delete],
            _ACTIONS[row.on_update],
            row.definition,
        )

    def _name_and_kind(self, oid: int) -> tuple[TableName, str]:
        """Return the name and `relkind` of a table; without a schema if the search path finds it."""
        (row,) = self.query(
            "SELECT CASE WHEN NOT pg_table_is_visible(c.oid) THEN n.nspname::text END, c.relname::text, "
            "c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = :oid",
            oid=oid,
        )
        return TableName(row[0], row[1]), row[2]
