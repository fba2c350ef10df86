"""Whether the databases answer, whether they keep references, and whether their row-level security holds."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.check.application import Application
from multisite.finding import Finding
from multisite.scoping.faults import row_security_faults

__all__ = ["check_connections", "check_foreign_keys", "check_row_security"]


def check_connections(application: Application) -> Iterator[Finding]:
    """Report databases that cannot be looked at, or hold no scoped tables; the other checks do without them."""
    for name, fault in application.unsupported.items():
        yield Finding("database-unsupported", name, fault, "keep scoped tables on one of those, or unscoped ones there")
    for name, reason in application.unreachable.items():
        yield Finding("database", name, f"cannot be looked at ({reason})", "is it there, and is the URL right")


def check_foreign_keys(application: Application) -> Iterator[Finding]:
    """Report engines of SQLite that let references to nothing, or to another site, pass.

    A notice where no scoped table refers to another: then only the references to `sites` are not kept.
    """
    referring = {
        database.engine.url: any(
            reference.target in database.scoped
            for table, _ in database.scoped_tables()
            for reference in table.references
        )
        for database in application.databases
    }
    for purpose, engine in application.engines.items():
        if engine.dialect.name != "sqlite" or engine.url not in referring:
            continue
        with engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
                continue
        yield Finding(
            "foreign-keys-off",
            purpose,
            "SQLite does not enforce foreign keys on its connections, so it takes references to another site's rows",
            "make it by multisite.directory.engine_from_settings, or execute PRAGMA foreign_keys=ON on connect",
            "fault" if referring[engine.url] else "notice",
        )


def check_row_security(application: Application) -> Iterator[Finding]:
    """Report what lets the role of the application past PostgreSQL's row-level security, where that is in use."""
    for database in application.databases:
        with database.engine.connect() as connection:
            yield from row_security_faults(connection)
