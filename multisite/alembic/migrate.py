"""Upgrade multisite's own tables.

Their revisions are in `multisite/directory/migrations/versions` and have their own version table, so that they never
mix with the application's. `multisite migrate`, and code that creates databases, such as tests, call `upgrade_own`. A
migration that assigns existing rows to a site calls `first_site`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.mock import MockConnection

from multisite import hosts
from multisite.alembic.revision_log import RevisionLog
from multisite.alembic.sqlite_transaction import ddl_transaction
from multisite.core import program
from multisite.core.dialects import dialect_error
from multisite.core.domains import folder_name
from multisite.directory.schema import metadata
from multisite.directory.schema_version import VERSION_TABLE
from multisite.directory.tables import as_multisite, raise_version
from multisite.directory.word_table import words_of, words_table
from multisite.errors import MultisiteError

__all__ = ["VERSION_TABLE", "first_site", "is_current", "pending_revisions", "upgrade_own"]

_OWN_SCRIPTS = Path(__file__).parents[1] / "directory" / "migrations"

_OWN_LOCK = 6_011_543_201
"""The key of a PostgreSQL advisory lock; `multisite.cli.upgrade` has another one."""


def upgrade_own(bind: Engine | Connection) -> list[str]:
    """Upgrade multisite's own tables.

    If a connection is in a transaction, the upgrade is part of it and the caller commits. Otherwise the upgrade is a
    transaction of its own.

    Returns:
        A line for each revision that was applied.

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
        if _has_heads(bind):  # As usual if a migration adds a site, once for each of its tables.
            return []
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
    sites, domains = metadata.tables["sites"], metadata.tables["domains"]
    there = sa.select(domains.c.site_id).where(domains.c.host == wanted, domains.c.port == 0, domains.c.path == "")
    with as_multisite(connection):
        found: int | None = connection.scalar(there)
        if found is not None:
            return found
        add = sa.insert(sites).values(name=name or wanted, folder=folder_name(wanted)).returning(sites.c.id)
        site_id: int = connection.execute(add).scalar_one()
        connection.execute(sa.insert(domains).values(site_id=site_id, host=wanted, kind="canonical"))
        words = [{"site_id": site_id, "word": word} for word in sorted(words_of(name or wanted, [wanted]))]
        connection.execute(sa.insert(words_table), words)
        raise_version(connection)
    return site_id


def _own_scripts() -> ScriptDirectory:
    return ScriptDirectory(_OWN_SCRIPTS)


@cache
def _own_heads() -> frozenset[str]:
    # Reading all revisions takes longer than the rest of a page.
    return frozenset(_own_scripts().get_heads())


def _own_context(connection: Connection, **options: Any) -> MigrationContext:
    opts = {"version_table": VERSION_TABLE, "transactional_ddl": True, **options}
    return MigrationContext.configure(connection, opts=opts)


def is_current(connection: Connection) -> bool:
    """Return whether multisite's own tables are up to date; it takes no lock that would block a running server.

    `connection` must not be in a transaction.
    """
    with connection.begin():
        return _has_heads(connection)


def _has_heads(connection: Connection) -> bool:
    return set(_own_context(connection).get_current_heads()) == _own_heads()


def pending_revisions(connection: Connection) -> list[str]:
    """Return the revisions of multisite's own tables that the database does not have, as lines, in their order.

    Takes no lock that would block a running server. `connection` must not be in a transaction.

    Raises:
        MultisiteError: The database was upgraded by a newer multisite.
    """
    with connection.begin():
        heads = set(_own_context(connection).get_current_heads())
    if heads == _own_heads():
        return []
    try:
        steps = list(_own_scripts().iterate_revisions("head", tuple(heads) or "base"))
    except CommandError as error:
        raise MultisiteError(_other_version(error)) from error
    return [f"{step.revision}: {step.doc}" for step in reversed(steps)]


def _other_version(error: CommandError) -> str:
    return (
        f"multisite's tables in this database were created by another version of multisite ({error}): install that "
        "version or a newer one"
    )


def _upgrade_own_tables(connection: Connection) -> list[str]:
    """Apply the missing revisions in the transaction of `connection`."""
    script = _own_scripts()
    log = RevisionLog("multisite")

    def steps(heads: Any, _context: MigrationContext) -> Iterator[Any]:
        if not heads:
            _check_foreign_tables(connection)
        yield from log.record(script._upgrade_revs("head", heads))

    context = _own_context(connection, fn=steps, script=script)
    try:
        # The revisions get `op` as an argument: installing alembic's global one would replace that of an application's
        # revision that is calling us.
        with as_multisite(connection):
            context.run_migrations(op=Operations(context))
    except CommandError as error:
        raise MultisiteError(_other_version(error)) from error
    return log.done


def _check_foreign_tables(connection: Connection) -> None:
    there = set(sa.inspect(connection).get_table_names()) & set(metadata.tables)
    if there:
        raise MultisiteError(
            f"this database already has a table named {' and '.join(sorted(there))} that multisite did not "
            "create: rename it, or give multisite a database of its own with multisite.database_url"
        )
