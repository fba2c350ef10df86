"""Upgrade the databases of an ini file: multisite's own tables first, then those of the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from multisite.alembic.application_scripts import application_scripts
from multisite.alembic.migrate import upgrade_own
from multisite.alembic.revision_log import RevisionLog
from multisite.alembic.sqlite_transaction import patch_ddl_transactions
from multisite.core.settings import ALL_SITES_ROLE, ROW_SECURITY_FORM
from multisite.errors import MultisiteError
from multisite.sharding.session import distributed_migrations
from multisite.sites.ini import Ini, read_ini

__all__ = ["upgrade", "upgrade_application"]

_COMMAND_LOCK = 6_011_543_202
"""The key of a PostgreSQL advisory lock: not that of `upgrade_own`, which is called while this one is held."""


def upgrade(ini_path: str | Path, *, show: Callable[[str], object] | None = None) -> list[str]:
    """Upgrade the databases of an ini file.

    Multisite's own tables come first, then the application's, if the ini file has a section `[alembic]`. Safe to
    repeat, from any earlier state, and to run concurrently.

    Args:
        ini_path: The ini file of the application.
        show: Called with each line of progress of an operation of `multisite.alembic`; None leaves them to the log.

    Returns:
        A line for each revision that was applied.

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
    with _migration_lock(engine), distributed_migrations(engine):
        done = upgrade_own(engine)
        if scripts is not None:
            with _forwarded_log(show):
                done += upgrade_application(ini, *scripts)
    return done


def upgrade_application(
    ini: Ini, config: Config, script: ScriptDirectory, revisions: str | tuple[str, ...] = "head"
) -> list[str]:
    """Run `alembic -c INI upgrade REVISIONS`, but with real transactions on SQLite.

    Returns:
        A line for each revision that was applied.

    Raises:
        MultisiteError: A revision is unknown, or the database refuses it.
    """
    # For op.enable_row_security: from the section that the command was given, which alembic does not know.
    config.attributes[ALL_SITES_ROLE] = ini.settings.all_sites_role
    config.attributes[ROW_SECURITY_FORM] = ini.settings.row_security_form
    log = RevisionLog("application")

    def steps(heads: Any, _context: MigrationContext) -> Iterator[Any]:
        _check_known_heads(script, heads)
        yield from log.record(script._upgrade_revs(revisions, heads))  # type: ignore[arg-type]

    environment = EnvironmentContext(config, script, fn=steps, as_sql=False, destination_rev=revisions)
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
