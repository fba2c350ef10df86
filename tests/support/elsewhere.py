"""A database of a dialect that multisite does not support: SQLite under another name, so that statements do run.

Importing this module registers it: `elsewhere:////path/to/file.db`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

__all__ = ["Elsewhere"]


class Elsewhere(SQLiteDialect_pysqlite):
    """SQLite as SQLAlchemy knows it, but for its name."""

    name = "elsewhere"
    supports_statement_cache = True

    def get_schema_names(self, connection: Any, **kw: Any) -> list[str]:
        raise NotImplementedError("not every dialect has this")


registry.register("elsewhere", __name__, "Elsewhere")
