"""A database for tests of `op.add_site_scope`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

import multisite.alembic  # noqa: F401 - Registers the operations, even if one test file runs alone.
from multisite.alembic import migrate
from multisite.alembic.sqlite_transaction import ddl_transaction
from multisite.directory import schema

HOST = "www.example.com"


Revision = Callable[[Any], None]


class Database:
    """A database on which revisions run as under alembic, each on its own connection."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name

    @contextmanager
    def operations(self, **opts: Any) -> Iterator[Operations]:
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=opts)
            with Operations.context(context) as op:
                yield op

    def run(self, revision: Revision, **opts: Any) -> None:
        with self.operations(**opts) as op:
            context = op.get_context()
            with context.begin_transaction(), context.begin_transaction(_per_migration=True):
                revision(op)

    def run_whole(self, revision: Revision) -> None:
        """Run a revision as `multisite migrate` does."""
        with (
            self.engine.connect() as connection,
            ddl_transaction(connection),
            Operations.context(MigrationContext.configure(connection)) as op,
        ):
            revision(op)

    def execute(self, *statements: str) -> None:
        """Execute SQL, as earlier migrations of the application did, without statements for other databases."""

        def revision(op: Any) -> None:
            for statement in statements:
                sql = statement
                database, colon, rest = statement.partition(": ")
                if colon and database in ("sqlite", "postgresql"):
                    sql = rest if database == self.dialect else "SELECT 1"
                op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})

        self.run(revision)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.operations() as op:
            rows = op.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})
            return [tuple(row) for row in rows]

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the sorted rows of every table of the application."""
        own = schema.metadata.tables
        names = [
            name for name in sa.inspect(self.engine).get_table_names() if name not in own and "version" not in name
        ]
        return {name: sorted(self.query(f"SELECT * FROM {quoted(name)}"), key=repr) for name in names}

    def schema(self) -> dict[str, Any]:
        """Return the schema of each table of the application, by reflection and as the database's own DDL."""
        inspector = sa.inspect(self.engine)
        own = schema.metadata.tables
        found: dict[str, Any] = {}
        for name in inspector.get_table_names():
            if name in own or "version" in name:
                continue
            found[name] = {
                "columns": [{**column, "type": repr(column["type"])} for column in inspector.get_columns(name)],
                "primary key": inspector.get_pk_constraint(name),
                "uniques": self.uniques(name),
                "indexes": sorted(
                    (index["name"] or "", index["column_names"], index["unique"])
                    for index in inspector.get_indexes(name)
                ),
                "references": self.references(name),
                "checks": sorted(map(repr, inspector.get_check_constraints(name))),
            }
        found["own words"] = self.own_ddl()
        return found

    def uniques(self, table: str) -> list[str]:
        if self.dialect == "sqlite":
            # SQLAlchemy does not reflect all column constraints of SQLite.
            names = [row[1] for row in self.query(f"PRAGMA index_list({table})") if row[3] == "u"]
            return sorted(repr([row[2] for row in self.query(f"PRAGMA index_info({name})")]) for name in names)
        return sorted(map(repr, sa.inspect(self.engine).get_unique_constraints(table)))

    def references(self, table: str) -> list[str]:
        if self.dialect == "sqlite":
            # SQLAlchemy does not reflect the actions of column references, either.
            rows = self.query(f"PRAGMA foreign_key_list({table})")
            return sorted(repr((*row[2:4], row[4] or "id", *row[5:])) for row in rows)
        return sorted(map(repr, sa.inspect(self.engine).get_foreign_keys(table)))

    def own_ddl(self) -> list[tuple[Any, ...]]:
        versions = ("multisite_alembic_version", "alembic_version")
        theirs = f"NOT IN ({', '.join(map(repr, (*schema.metadata.tables, *versions)))})"
        if self.dialect == "sqlite":
            return sorted(
                self.query(
                    "SELECT type, name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL "
                    f"AND tbl_name {theirs}"
                )
            )
        # PostgreSQL 18 lists NOT NULL among the constraints, with names in the order of creation.
        constraints = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE "
        constraints += f"contype <> 'n' AND conrelid::regclass::text {theirs} AND connamespace = 'public'::regnamespace"
        indexes = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE "
        indexes += f"tablename {theirs} AND schemaname = 'public'"
        triggers = "SELECT tgrelid::regclass::text, tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger "
        triggers += f"WHERE NOT tgisinternal AND tgrelid::regclass::text {theirs}"
        return sorted(row for statement in (constraints, indexes, triggers) for row in self.query(statement))

    def site_id(self, host: str) -> int:
        with self.operations() as op:
            found = migrate.first_site(op.get_bind(), host)
            op.get_bind().commit()
            return found


def quoted(name: str) -> str:
    """Return a quoted name, with colons escaped."""
    return '"' + name.replace('"', '""') + '"'


def enforcing(engine: sa.Engine) -> sa.Engine:
    """Make SQLite enforce foreign keys on each connection of `engine`, as multisite's own engines do."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda dbapi, _record: dbapi.execute("PRAGMA foreign_keys = 1"))
    return engine
