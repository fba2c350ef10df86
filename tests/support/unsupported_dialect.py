"""A dialect that multisite does not support: SQLite under another name, so that statements can be executed.

Importing this module registers it: `unsupported:////path/to/file.db`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

__all__ = ["UnsupportedDialect"]


class UnsupportedDialect(SQLiteDialect_pysqlite):
    """SQLAlchemy's dialect of SQLite under another name."""

    name = "unsupported"
    supports_statement_cache = True

    def get_schema_names(self, connection: Any, **kw: Any) -> list[str]:
        raise NotImplementedError("some dialects do not implement this")


registry.register("unsupported", __name__, "UnsupportedDialect")
