"""Statements that a run saves in the database: how a key was before, and references that must be put back.

They are in a schema of their own, which the first run creates and `--undo` drops, so that databases that are never
distributed have no table for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

__all__ = ["SCHEMA", "SavedStatement", "create_statements", "forget_sql", "save_sql", "saved_statements"]

SCHEMA = "multisite_sharding"
_TABLE = f"{SCHEMA}.saved"


class SavedStatement(NamedTuple):
    """A statement on `table`, saved under the name of a constraint or trigger.

    `kind` is "key", which is executed when the distribution is undone, or "later", which the run itself executes at its
    end: a reference or a trigger.
    """

    kind: str
    table: str
    name: str
    sql: str


def create_statements() -> tuple[str, ...]:
    """Return the statements that create the schema. They can be executed again."""
    columns = "kind text NOT NULL, table_name text NOT NULL, name text NOT NULL, sql text NOT NULL"
    return (
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        f"CREATE TABLE IF NOT EXISTS {_TABLE} ({columns}, PRIMARY KEY (kind, table_name, name))",
    )


def save_sql(saved: SavedStatement) -> str:
    """Return the statement that saves another one."""
    values = ", ".join(map(_literal, saved))
    return f"INSERT INTO {_TABLE} (kind, table_name, name, sql) VALUES ({values}) ON CONFLICT DO NOTHING"


def forget_sql(saved: SavedStatement) -> str:
    """Return the statement that deletes a saved one."""
    kind, table, name, _sql = map(_literal, saved)
    return f"DELETE FROM {_TABLE} WHERE kind = {kind} AND table_name = {table} AND name = {name}"


def saved_statements(connection: Connection) -> Sequence[SavedStatement]:
    """Return the saved statements; none if there is no such table."""
    if connection.scalar(sa.text(f"SELECT to_regclass('{_TABLE}')")) is None:
        return ()
    # The order in which they were saved does not matter: keys and references are restored in separate steps.
    query = f"SELECT kind, table_name, name, sql FROM {_TABLE} ORDER BY 1, 2, 3"
    rows = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).fetchall()
    return [SavedStatement(*row) for row in rows]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
