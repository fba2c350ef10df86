"""Read the application's alembic environment: the database's revisions, and the tables that alembic compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext

from multisite.alembic.application_scripts import application_scripts
from multisite.alembic.schema import TableName

__all__ = ["Environment", "read_environment"]


@dataclass(frozen=True)
class Environment:
    """The state of the application's migrations.

    Attributes:
        heads: The revisions of the database.
        wanted: The head revisions of the application.
        tables: The tables of `target_metadata`, which `alembic revision --autogenerate` compares with the database.
    """

    heads: frozenset[str]
    wanted: frozenset[str]
    tables: frozenset[TableName]


def read_environment(ini_path: Path) -> Environment:
    """Return the state of the application's migrations; runs its env.py, but no revision.

    Raises:
        MultisiteError: `application_scripts` raises it.
        Exception: Whatever the env.py raises.
    """
    config, script = application_scripts(ini_path)
    heads: set[str] = set()
    tables: set[TableName] = set()

    def record(revisions: Any, context: Any) -> list[Any]:
        heads.update(revisions)
        tables.update(_metadata_tables(context.opts.get("target_metadata")))
        return []

    with EnvironmentContext(config, script, fn=record, dont_mutate=True):
        script.run_env()
    return Environment(frozenset(heads), frozenset(script.get_heads()), frozenset(tables))


def _metadata_tables(target_metadata: Any) -> Iterator[TableName]:
    """Yield the tables of the `target_metadata` of an env.py: one MetaData, several, or None."""
    given = [target_metadata] if isinstance(target_metadata, sa.MetaData) else target_metadata or ()
    for metadata in given:
        for table in metadata.tables.values():
            yield TableName(table.schema, table.name)
