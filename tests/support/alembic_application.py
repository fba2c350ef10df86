"""An application on disk with its own migrations, for the tests of alembic's autogenerate."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from multisite.alembic.site_scope import TODO
from multisite.scoping import SiteId

HOST = "www.example.com"


def render_item(kind: str, item: Any, _context: object) -> Any:
    """Render an item for `render_python_code` like the plugin for `alembic revision`."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, SiteId) else False


class Application:
    """A database, with revisions that alembic generates for it and that run as under alembic."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.written: list[tuple[str, str]] = []
        self.plugins = ["alembic.autogenerate.*"]

    def proposed(self, metadata: sa.MetaData) -> tuple[str, str]:
        """Return the bodies of `upgrade` and `downgrade` that bring the database to `metadata`, empty if none."""
        with self.engine.connect() as connection:
            opts = {"target_metadata": metadata, "autogenerate_plugins": self.plugins}
            context = MigrationContext.configure(connection, opts=opts)
            script = produce_migrations(context, metadata)
            assert script.upgrade_ops is not None
            assert script.downgrade_ops is not None
            if script.upgrade_ops.is_empty():
                return "", ""
            # `alembic check` must be able to print the operations, too.
            assert script.upgrade_ops.as_diffs()
            up, down = (
                render_python_code(part, migration_context=context, render_item=render_item)
                for part in (script.upgrade_ops, script.downgrade_ops)
            )
        return up, down

    def revise(self, metadata: sa.MetaData, host: str = HOST) -> str:
        """Generate a revision and run it with the host filled in; return it as generated."""
        up, down = self.proposed(metadata)
        self.written.append((up, down))
        self.run(up.replace(TODO, host), metadata)
        return up

    def undo(self, metadata: sa.MetaData) -> None:
        """Run the downgrade of the last revision."""
        self.run(self.written.pop()[1].replace(TODO, HOST), metadata)

    def run(self, body: str, metadata: sa.MetaData) -> None:
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
            with (
                Operations.context(context) as op,
                context.begin_transaction(),
                context.begin_transaction(_per_migration=True),
            ):
                exec(f"if True:\n    {body}", {"op": op, "sa": sa})

    def execute(self, *statements: str) -> None:
        with self.engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()
