"""Upgrade databases: multisite's own tables first, then those of the application.

Multisite's revisions are in `multisite/directory/migrations/versions` and have their own version table, so that they
never mix with the application's. `multisite migrate` calls `upgrade`. Code that creates databases, such as tests, calls
`upgrade_own`. A migration that assigns existing rows to a site calls `first_site`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.exc import DBAPIError

from multisite import hosts
from multisite.alembic.application_scripts import application_scripts
from multisite.alembic.sqlite_transaction import ddl_transaction, patch_ddl_transactions
from multisite.core import program
from multisite.core.dialects import dialect_error
from multisite.core.domains import folder_name
from multisite.core.settings import ALL_SITES_ROLE, ROW_SECURITY_FORM
from multisite.directory import models
from multisite.directory.schema_version import VERSION_TABLE
from multisite.errors import MultisiteError
from multisite.sites.ini import Ini, read_ini

__all__ = ["VERSION_TABLE", "first_site", "is_current", "upgrade", "upgrade_own"]

_OWN_SCRIPTS = Path(__file__).parents[1] / "directory" / "migrations"

_OWN_LOCK = 6_011_543_201
_COMMAND_LOCK = 6_011_543_202
"""Keys of PostgreSQL advisory locks. There are two, because the command holds its own while it upgrades our tables."""


def upgrade(ini_path: str | Path, *, show: Callable[[str], object] | None = None) -> list[str]:
    """Upgrade the databases of an ini file, and return one line for each revision that was applied.

    Multisite's own tables come first, then the application's, if the ini file has a section `[alembic]`. Safe to
    repeat, from any earlier state, and to run concurrently.

    Args:
        ini_path: The ini file of the application.
        show: Called with each line of progress of an operation of `multisite.alembic`; None leaves them to the log.

    Raises:
        MultisiteError: The ini file is unusable, the tables are not multisite's or newer than it, or the database
            refuses a revision.
        CommandError: Alembic cannot run the application's revisions.
        Exception: Whatever else an env.py or a revision of the application raises.
    """
    ini = read_ini(ini_path)
    # First, so that no tables are created if the application's revisions cannot be loaded.
    scripts = application_scripts(ini.path) if ini.has_alembic else None
    engine = ini.open_engine(as_owner=True)
    with _migration_lock(engine):
        done = upgrade_own(engine)
        if scripts is not None:
            with _forwarded_log(show):
                done += _upgrade_application(ini, *scripts)
    return done


def upgrade_own(bind: Engine | Connection) -> list[str]:
    """Upgrade multisite's own tables, and return one line for each revision that was applied.

    If a connection is in a transaction, the upgrade is part of it and the caller commits. Otherwise the upgrade is a
    transaction of its own.

    Raises:
        MultisiteError: The database has tables of the same names that are not multisite's, was upgraded by a newer
            multisite, or is neither SQLite nor PostgreSQL.
    """
    if fault := dialect_error(bind.dialect.name):
        raise MultisiteError(fault)
    if isinstance(bind, Engine):
        with bind.connect() as connection:
            return upgrade_own(connection)
    if bind.in_transaction():
        # A savepoint makes it atomic even if the sqlite3 driver has not really begun a transaction.
        with bind.begin_nested():
            return _upgrade_own_tables(bind)
    if is_current(bind):
        return []
    with ddl_transaction(bind):
        if bind.dialect.name == "postgresql":
            bind.execute(sa.select(sa.func.pg_advisory_xact_lock(_OWN_LOCK)))
        return _upgrade_own_tables(bind)


def first_site(connection: Connection | MockConnection, host: str, *, name: str | None = None) -> int:
    """Return the id of the site at `host`, added if it does not exist, for the existing rows of an application.

    `op.add_site_scope` calls it, and a migration written by hand can, with `op.get_bind()`. Multisite's own tables are
    upgraded first, and everything stays in the connection's transaction.

    Args:
        connection: The connection of the migration.
        host: The host of the site.
        name: The display name of a new site; None for the host.

    Raises:
        InvalidHost: `host` is not a host.
        MultisiteError: `upgrade_own` raises it, or alembic only prints SQL (`--sql`).
    """
    wanted = hosts.to_ascii(host, underscores=True)
    if isinstance(connection, MockConnection):
        raise MultisiteError(
            "first_site needs a connection to the database, which 'alembic upgrade --sql' does not have: run the "
            f"migration with '{program.command('migrate')}' or 'alembic upgrade head'"
        )
    upgrade_own(connection)
    sites, domains = models.metadata.tables["sites"], models.metadata.tables["domains"]
    there = sa.select(domains.c.site_id).where(domains.c.host == wanted, domains.c.port == 0, domains.c.path == "")
    with models.as_multisite(connection):
        found: int | None = connection.scalar(there)
        if found is not None:
            return found
        add = sa.insert(sites).values(name=name or wanted, folder=folder_name(wanted)).returning(sites.c.id)
        site_id: int = connection.execute(add).scalar_one()
        connection.execute(sa.insert(domains).values(site_id=site_id, host=wanted, kind="canonical"))
        models.raise_version(connection)
    return site_id


def _own_scripts() -> ScriptDirectory:
    return ScriptDirectory(_OWN_SCRIPTS)


def _own_context(connection: Connection, **options: Any) -> MigrationContext:
    opts = {"version_table": VERSION_TABLE, "transactional_ddl": True, **options}
    return MigrationContext.configure(connection, opts=opts)


def is_current(connection: Connection) -> bool:
    """Return whether multisite's own tables are up to date; it takes no lock that would block a running server.

    `connection` must not be in a transaction.
    """
    with connection.begin():
        return set(_own_context(connection).get_current_heads()) == set(_own_scripts().get_heads())


def _upgrade_own_tables(connection: Connection) -> list[str]:
    """Apply the missing revisions in the transaction of `connection`."""
    script = _own_scripts()
    log = _RevisionLog("multisite")

    def steps(heads: Any, _context: MigrationContext) -> Iterator[Any]:
        if not heads:
            _check_foreign_tables(connection)
        yield from log.record(script._upgrade_revs("head", heads))

    context = _own_context(connection, fn=steps, script=script)
    try:
        # The revisions get `op` as an argument: installing alembic's global one would replace that of an application's
        # revision that is calling us.
        with models.as_multisite(connection):
            context.run_migrations(op=Operations(context))
    except CommandError as error:
        raise MultisiteError(
            f"multisite's tables in this database were created by another version of multisite ({error}): install that "
            "version or a newer one"
        ) from error
    return log.done


def _check_foreign_tables(connection: Connection) -> None:
    there = set(sa.inspect(connection).get_table_names()) & set(models.metadata.tables)
    if there:
        raise MultisiteError(
            f"this database already has a table named {' and '.join(sorted(there))} that multisite did not "
            "create: rename it, or give multisite a database of its own with multisite.database_url"
        )


def _upgrade_application(ini: Ini, config: Config, script: ScriptDirectory) -> list[str]:
    """Run `alembic -c INI upgrade head`, but with real transactions on SQLite."""
    # For op.enable_row_security: from the section that the command was given, which alembic does not know.
    config.attributes[ALL_SITES_ROLE] = ini.settings.all_sites_role
    config.attributes[ROW_SECURITY_FORM] = ini.settings.row_security_form
    log = _RevisionLog("application")

    def steps(heads: Any, _context: MigrationContext) -> Iterator[Any]:
        _check_known_heads(script, heads)
        yield from log.record(script._upgrade_revs("head", heads))

    environment = EnvironmentContext(config, script, fn=steps, as_sql=False, destination_rev="head")
    try:
        with patch_ddl_transactions(), environment:
            script.run_env()
    except DBAPIError as error:
        if log.running is None:
            raise
        raise MultisiteError(
            f"the application's revision {log.running} failed and was rolled back: {error.orig}, at: {error.statement}"
        ) from error
    return log.done


def _check_known_heads(script: ScriptDirectory, heads: Any) -> None:
    for head in heads:
        try:
            script.get_revision(head)
        except CommandError:
            raise MultisiteError(
                f"the database is at the application's revision {head}, which is not in {script.dir}: run the code "
                "that has it, or restore its file"
            ) from None


class _RevisionLog:
    """Records the applied revisions, with a line for each, and the one that is running."""

    def __init__(self, whose: str) -> None:
        self.whose = whose
        self.done: list[str] = []
        self.running: str | None = None

    def record(self, steps: Iterable[Any]) -> Iterator[Any]:
        """Yield each step to alembic, which asks for the next one after running it."""
        for step in steps:
            self.running = step.revision.revision
            yield step
            self.done.append(f"{self.whose} {self.running}: {step.doc or 'a revision without a description'}")
            self.running = None


class _LineHandler(logging.Handler):
    """Passes log messages to a function."""

    def __init__(self, show: Callable[[str], object]) -> None:
        super().__init__(logging.INFO)
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())


@contextmanager
def _forwarded_log(show: Callable[[str], object] | None) -> Iterator[None]:
    """Pass what the operations log to `show` instead of the application's handlers; None changes nothing.

    Not every env.py configures handlers, and a migration that takes an hour should show its progress in any case.
    """
    if show is None:
        yield
        return
    log = logging.getLogger("multisite.alembic")
    before = log.level, log.propagate
    handler = _LineHandler(show)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """Make a second `multisite migrate` on the same PostgreSQL database wait; on SQLite its transaction waits."""
    if engine.dialect.name != "postgresql":
        yield
        return
    # Without a transaction: CREATE INDEX CONCURRENTLY would wait for an idle one. Closing the connection unlocks.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.select(sa.func.pg_advisory_lock(_COMMAND_LOCK)))
        yield
