"""Operations that make an existing table scoped in a revision, and that undo it.

    import multisite.alembic  # noqa: F401  # Adds the operations to `op`.

    def upgrade() -> None:
        op.add_site_scope("posts", site="www.example.com")
        op.add_site_scope("comments", parent="posts")

    def downgrade() -> None:
        op.drop_site_scope("comments")
        op.drop_site_scope("posts")

Each is atomic, and refuses what it cannot do before it changes anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from multisite.alembic import postgresql_alter
from multisite.alembic.backfill import SiteSource, check_one_site, check_rows, reference_via
from multisite.alembic.migrate import first_site, upgrade_own
from multisite.alembic.naming import Naming
from multisite.alembic.plan import Plan, ScopeOptions
from multisite.alembic.planner import plan_drop, plan_scope
from multisite.alembic.postgresql_schema import PostgresqlSchema
from multisite.alembic.schema import Schema, Table, TableName
from multisite.alembic.sqlite_rebuild import Rebuild, broken_dependents
from multisite.alembic.sqlite_schema import SqliteSchema
from multisite.alembic.sqlite_transaction import ddl_operation
from multisite.core import program
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN

__all__ = ["TODO", "AddSiteScope", "DropSiteScope"]

log = logging.getLogger(__name__)

BATCH_SIZE = 10_000
"""How many rows are converted at a time, with one line in the log each time."""

TODO = "TODO: the host of the site that these rows belong to"
"""What `alembic revision --autogenerate` writes for a site that it cannot know."""


@Operations.register_operation("add_site_scope")
class AddSiteScope(MigrateOperation):
    """Make an existing table scoped; the attributes are the arguments of `add_site_scope`."""

    def __init__(  # noqa: PLR0913  # One argument for each decision about a table.
        self,
        table_name: str,
        *,
        site: int | str | None = None,
        parent: str | None = None,
        through: str | Sequence[str] | None = None,
        schema: str | None = None,
        batch_size: int = BATCH_SIZE,
        keep: Collection[str] = (),
        ondelete: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.table_name = table_name
        self.site = site
        self.parent = parent
        self.through = through
        self.schema = schema
        self.batch_size = batch_size
        self.keep = [keep] if isinstance(keep, str) else list(keep)
        self.ondelete = dict(ondelete or {})
        self.names = dict(names or {})
        self.undone: DropSiteScope | None = None
        """The reverse operation, if autogenerate knows what it has to restore; else None."""

    @classmethod
    def add_site_scope(cls, operations: Operations, table_name: str, **arguments: Any) -> None:
        """Assign the rows of an existing table to a site and add `site_id` to its keys and references.

        Unique constraints, unique indexes, and references from and to scoped tables get `site_id` as their first
        column. A column `site_id` that exists is used, and its values are kept.

        Args:
            operations: Passed by alembic.
            table_name: The table to convert.
            arguments: Keyword arguments:

                * `site`: the host of a site, which is added if it does not exist and the table has rows, or its id.
                * `parent`: a scoped table that `table_name` refers to; each row gets the site of the row it refers
                  to. `site` is then for the rows that refer to none.
                * `through`: the column, or columns, of the reference to `parent`, if there are several references.
                * `keep`: keys and references to leave unchanged. A key goes by its name, or by `UNIQUE (slug)` if it
                  has none; a reference by its column, as in `author_id`, or `comments.post_id` from another table.
                * `ondelete`: new ON DELETE actions of references, by the same names. A scoped reference cannot have
                  ON DELETE SET NULL.
                * `names`: new names of keys and references, by their old ones. Without it, names that follow the
                  naming convention are updated and others are kept.
                * `schema`: the schema of the table; None for the default one.
                * `batch_size`: how many rows are converted at a time.

        Raises:
            MultisiteError: The table cannot be converted; nothing has been changed.
        """
        operations.invoke(cls(table_name, **arguments))

    def reverse(self) -> DropSiteScope:
        """Return the reverse operation."""
        return self.undone or DropSiteScope(self.table_name, schema=self.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the form in which `alembic check` shows it."""
        return ("add_site_scope", self.schema, self.table_name)


@Operations.register_operation("drop_site_scope")
class DropSiteScope(MigrateOperation):
    """Remove the scope of a table; the attributes are the arguments of `drop_site_scope`."""

    def __init__(
        self,
        table_name: str,
        *,
        schema: str | None = None,
        batch_size: int = BATCH_SIZE,
        mix_sites: bool = False,
        ondelete: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.table_name = table_name
        self.schema = schema
        self.batch_size = batch_size
        self.mix_sites = mix_sites
        self.ondelete = dict(ondelete or {})
        self.names = dict(names or {})
        self.undone: AddSiteScope | None = None
        """As in `AddSiteScope`."""

    @classmethod
    def drop_site_scope(cls, operations: Operations, table_name: str, **arguments: Any) -> None:
        """Remove `site_id` from a table, its keys, and the references from and to it.

        Args:
            operations: Passed by alembic.
            table_name: The table to convert.
            arguments: `schema`, `batch_size`, `ondelete` and `names` as for `add_site_scope`, and `mix_sites`: whether
                a table with rows of several sites is converted too.

        Raises:
            MultisiteError: The table has rows of several sites, or more than keys and references depends on `site_id`;
                nothing has been changed.
        """
        operations.invoke(cls(table_name, **arguments))

    def reverse(self) -> AddSiteScope:
        """Return the reverse operation."""
        return self.undone or AddSiteScope(self.table_name, site=TODO, schema=self.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the form in which `alembic check` shows it."""
        return ("drop_site_scope", self.schema, self.table_name)


@Operations.implementation_for(AddSiteScope)
def _add_site_scope(operations: Operations, operation: AddSiteScope) -> None:
    if isinstance(operation.site, str) and operation.site.startswith("TODO"):
        raise MultisiteError(
            f"the revision still says op.add_site_scope('{operation.table_name}', site='{operation.site}'): write the "
            "host of the site that these rows belong to, as in site='www.example.com'"
        )
    with _schema_of(operations, operation) as (schema, name):
        upgrade_own(schema.connection)
        table = schema.table(name)
        if table.is_scoped:
            log.info("%s: is scoped already", table.name)
            return
        options = ScopeOptions(frozenset(operation.keep), operation.ondelete)
        plan = plan_scope(schema, table, Naming(operations.get_context(), operation.names), options)
        site = _site_source(schema, table, operation)
        check_rows(schema, plan, site)
        _apply(schema, plan, site, operation.batch_size)


@Operations.implementation_for(DropSiteScope)
def _drop_site_scope(operations: Operations, operation: DropSiteScope) -> None:
    with _schema_of(operations, operation) as (schema, name):
        table = schema.table(name)
        if SITE_COLUMN not in table.columns:
            log.info("%s: is not scoped", table.name)
            return
        naming = Naming(operations.get_context(), operation.names)
        plan = plan_drop(schema, table, naming, ScopeOptions(on_delete=operation.ondelete))
        if not operation.mix_sites:
            check_one_site(schema, table)
        _apply(schema, plan, None, operation.batch_size)


@contextmanager
def _schema_of(operations: Operations, operation: AddSiteScope | DropSiteScope) -> Iterator[tuple[Schema, TableName]]:
    """Yield the database, prepared for DDL, and the name of the operation's table."""
    context = operations.get_context()
    connection = _connection(context, operation)
    name = TableName(operation.schema, operation.table_name)
    if operation.batch_size < 1:
        raise MultisiteError(f"batch_size={operation.batch_size}: expected a number of rows, 1 or more")
    if connection.dialect.name == "postgresql":
        postgresql = PostgresqlSchema(connection)
        with postgresql_alter.exclusive_unenforced(postgresql, name):
            yield postgresql, name
    elif connection.dialect.name == "sqlite":
        with ddl_operation(connection, f"rebuilding '{name}'"):
            yield SqliteSchema(connection), name
    else:
        raise MultisiteError(f"op.add_site_scope supports SQLite and PostgreSQL, not {connection.dialect.name}")


def _connection(context: MigrationContext, operation: AddSiteScope | DropSiteScope) -> Connection:
    connection = context.connection
    if context.as_sql or connection is None:
        raise MultisiteError(
            f"changing '{operation.table_name}' needs a connection to the database, which 'alembic upgrade --sql' does "
            f"not have: run the migration with '{program.command('migrate')}' or 'alembic upgrade head'"
        )
    return connection


def _site_source(schema: Schema, table: Table, operation: AddSiteScope) -> SiteSource:
    """Return the source of each row's site; add the site if it is needed and does not exist."""
    if operation.site is None and operation.parent is None and SITE_COLUMN not in table.columns:
        raise MultisiteError(
            f"which site do the rows of '{table.name}' belong to? Pass site='www.example.com', or parent= with a table "
            "that they refer to"
        )
    parent = None
    if operation.parent is not None:
        columns = [operation.through] if isinstance(operation.through, str) else operation.through or ()
        parent = reference_via(schema, table, operation.parent, columns)
    without = SiteSource(table, parent, None)
    if operation.site is None:
        return without
    name = schema.sql_name(table.name)
    # Without rows no site is added, as on the empty database of a new installation.
    if not schema.execute(f"SELECT 1 FROM {name} AS r WHERE {without.sql(schema, 'r')} IS NULL LIMIT 1"):
        return without
    return SiteSource(table, parent, _site_id(schema, operation.site))


def _site_id(schema: Schema, site: int | str) -> int:
    if isinstance(site, str):
        return first_site(schema.connection, site)
    if not schema.execute(f"SELECT 1 FROM sites WHERE id = {int(site)}"):
        sites = program.command("list-sites")
        raise MultisiteError(f"no site has the id {site}: see '{sites}', or pass the site's host")
    return site


def _apply(schema: Schema, plan: Plan, site: SiteSource | None, batch_size: int) -> None:
    """Carry out `plan`: add `site_id`, or drop it if `site` is None."""
    progress = _progress(schema, plan.table.name, "have their site" if site else "no longer have a site")
    if isinstance(schema, PostgresqlSchema):
        if site is None:
            postgresql_alter.drop_site(schema, plan)
        else:
            postgresql_alter.add_site(schema, plan, site, batch_size, progress)
    elif isinstance(schema, SqliteSchema):
        _rebuild(schema, plan, site, batch_size, progress)


def _progress(schema: Schema, table: TableName, what: str) -> Callable[[int], None]:
    ((total,),) = schema.execute(f"SELECT count(*) FROM {schema.sql_name(table)}")

    def progress(done: int) -> None:
        log.info("%s: %d of %d rows %s", table, min(done, total), total, what)

    return progress


def _rebuild(
    schema: SqliteSchema, plan: Plan, site: SiteSource | None, batch_size: int, progress: Callable[[int], None]
) -> None:
    """Rebuild the table of `plan` and those that refer to it, and check that views and triggers still work."""
    broken = broken_dependents(schema)
    Rebuild(
        schema,
        plan.table,
        (*plan.keys, *plan.references),
        added=plan.added,
        site=None if site is None else site.sql(schema, "r"),
        without_site=site is None,
    ).run(batch_size, progress)
    for name in dict.fromkeys(change.old.table for change in plan.incoming):
        changes = [change for change in plan.incoming if change.old.table == name]
        Rebuild(schema, schema.table(name), changes).run(
            batch_size, _progress(schema, name, "copied with their references")
        )
    for what, why in broken_dependents(schema).items():
        if what not in broken:
            raise MultisiteError(f"{what} would no longer work ({why}): drop it first, and recreate it afterwards")
