"""What the env.py of the application's migrations says: where the database is, and which tables alembic compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext

from multisite.application_scripts import application_scripts
from multisite.check.shape import TableName

__all__ = ["Environment", "read_environment"]


@dataclass(frozen=True)
class Environment:
    """`heads` are the revisions that the database has, `wanted` those that the application's revisions end with.

    `tables` are those of `target_metadata`, which `alembic revision --autogenerate` compares with the database.
    """

    heads: frozenset[str]
    wanted: frozenset[str]
    tables: frozenset[TableName]


def read_environment(ini_path: Path) -> Environment:
    """Run the env.py that `[alembic]` in the ini leads to, without a revision, and return what it says.

    Raises what `application_scripts` raises, and whatever the env.py raises.
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
    """Yield the tables of what an env.py gives alembic: a MetaData, several of them, or None."""
    given = [target_metadata] if isinstance(target_metadata, sa.MetaData) else target_metadata or ()
    for metadata in given:
        for table in metadata.tables.values():
            yield TableName(table.schema, table.name)
