"""Changing: the transaction in which the directory is changed.

Each change raises the directory's version in its own transaction, as the first thing that this does: whoever has raised
it has the only right to change anything until commit, on SQLite (which has one writer) and on PostgreSQL (where it
locks the one row) alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, IntegrityError

from multisite import program
from multisite.directory.info import SiteRecord, canonical_domain_of_owner
from multisite.domains import Domain
from multisite.errors import DomainTaken, MultisiteError
from multisite.models import AS_MULTISITE, DirectoryVersion, DomainRow, raise_version

__all__ = ["check_domain_free", "check_site_ready", "directory_transaction", "insert_domain"]


@contextmanager
def directory_transaction(engine: Engine, *wanted: Domain) -> Iterator[Connection]:
    """Give a connection that may change the directory, and commit at the end.

    `wanted` are the domains that the block inserts. Raises `DomainTaken` if the database finds one taken, by somebody
    who changed the tables without raising the version first, and `MultisiteError` if the tables are not there.
    """
    try:
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            raise_version(connection)
            if connection.scalar(sa.select(DirectoryVersion.version)) is None:
                raise MultisiteError(_no_tables())
            yield connection
    except IntegrityError as error:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            check_domain_free(connection, *wanted)
        raise MultisiteError(f"the directory cannot be changed so: {error.orig}") from error
    except DatabaseError:
        if sa.inspect(engine).has_table(DirectoryVersion.__tablename__):
            raise
        raise MultisiteError(_no_tables()) from None


def _no_tables() -> str:
    return f"the tables of multisite are not there yet; make them: {program.command('migrate')}"


def check_domain_free(connection: Connection, *wanted: Domain) -> None:
    """Raise `DomainTaken` if one of `wanted` leads to a site."""
    for domain in wanted:
        owner = canonical_domain_of_owner(connection, domain)
        if owner is not None:
            raise DomainTaken(str(domain), owner)


def check_site_ready(info: SiteRecord) -> None:
    """Raise `MultisiteError` for a site that is not complete, or is being removed with all its domains."""
    if info.status == "pending":
        command = program.command(f"add-site {info.site}")
        raise MultisiteError(f"the site {info.site} is not complete; complete it: {command}")
    if info.status == "removing":
        command = program.command(f"remove-site {info.site} --yes")
        raise MultisiteError(f"the site {info.site} is being removed; complete that: {command}")


def insert_domain(connection: Connection, site_id: int, domain: Domain, kind: str) -> None:
    """Let `domain` lead to the site with this id, as `kind`."""
    values = {"host": domain.name, "port": domain.port or 0, "path": domain.path}
    connection.execute(sa.insert(DomainRow).values(site_id=site_id, kind=kind, **values))
