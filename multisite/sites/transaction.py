"""The transaction in which the directory is changed, and checks inside it.

Its first statement raises the directory's version, which serializes changes until the commit: SQLite has one writer,
and PostgreSQL locks the row with the version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, IntegrityError

from multisite.core import program
from multisite.core.domains import Domain
from multisite.directory.records import SiteRecord, canonical_domain_of_owner, read_site
from multisite.directory.tables import AS_MULTISITE, domains_table, raise_version, version_table
from multisite.errors import DomainTaken, MultisiteError

__all__ = ["check_domain_free", "directory_transaction", "insert_domain", "read_ready_site"]


@contextmanager
def directory_transaction(engine: Engine, *wanted: Domain) -> Iterator[Connection]:
    """Yield a connection that may change the directory, and commit at the end.

    Args:
        engine: The database of the directory.
        wanted: The domains that the block inserts.

    Raises:
        DomainTaken: A unique constraint found one of `wanted` in use, because another program changed the tables
            without raising the version first.
        MultisiteError: The tables do not exist, or a constraint rejected the change.
        DatabaseError: Any other error of the database.
    """
    try:
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            raise_version(connection)
            if connection.scalar(sa.select(version_table.c.version)) is None:
                raise MultisiteError(_no_tables())
            yield connection
    except IntegrityError as error:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            check_domain_free(connection, *wanted)
        raise MultisiteError(f"the database rejected the change of the directory: {error.orig}") from error
    except DatabaseError:
        if sa.inspect(engine).has_table(version_table.name):
            raise
        raise MultisiteError(_no_tables()) from None


def _no_tables() -> str:
    return f"the tables of multisite do not exist yet; create them: {program.command('migrate')}"


def check_domain_free(connection: Connection, *wanted: Domain) -> None:
    """Raise `DomainTaken` if one of `wanted` belongs to a site."""
    for domain in wanted:
        owner = canonical_domain_of_owner(connection, domain)
        if owner is not None:
            raise DomainTaken(str(domain), owner)


def read_ready_site(connection: Connection, domain: Domain) -> SiteRecord:
    """Return the record of the site that has `domain`, if the site may be changed.

    Raises:
        UnknownSite: No site has the domain.
        MultisiteError: The site is not complete or is being removed.
    """
    record = read_site(connection, domain)
    if record.status == "pending":
        command = program.command(f"add-site {record.site}")
        raise MultisiteError(f"the site {record.site} is not complete; complete it: {command}")
    if record.status == "removing":
        command = program.command(f"remove-site {record.site} --yes")
        raise MultisiteError(f"the site {record.site} is being removed; complete the removal: {command}")
    return record


def insert_domain(connection: Connection, site_id: int, domain: Domain, kind: str) -> None:
    """Insert `domain` for the site with this id, as `kind`."""
    values = {"host": domain.name, "port": domain.port or 0, "path": domain.path}
    connection.execute(sa.insert(domains_table).values(site_id=site_id, kind=kind, **values))
