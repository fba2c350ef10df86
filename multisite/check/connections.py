"""Check that the databases answer, enforce foreign keys, and apply their row-level security."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.check.application import Application
from multisite.core.finding import Finding
from multisite.scoping.row_security_audit import audit_row_security

__all__ = ["check_connections", "check_foreign_keys", "check_row_security"]


def check_connections(application: Application) -> Iterator[Finding]:
    """Report databases that do not answer, or that do not support scoped tables; other checks skip them."""
    for name, fault in application.unsupported.items():
        yield Finding("database-unsupported", name, fault, "move the scoped tables to one of those databases")
    for name, reason in application.unreachable.items():
        yield Finding("database", name, f"does not answer ({reason})", "check that it is running and its URL")


def check_foreign_keys(application: Application) -> Iterator[Finding]:
    """Report SQLite engines that do not enforce foreign keys.

    Yields:
        A fault for each; a notice if no scoped table refers to another, since then only the references to `sites` are
        affected.
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
            "SQLite does not enforce foreign keys on its connections, so it accepts references to another site's rows",
            "create it with multisite.directory.engine_from_settings, or execute PRAGMA foreign_keys=ON on connect",
            "fault" if referring[engine.url] else "notice",
        )


def check_row_security(application: Application) -> Iterator[Finding]:
    """Report why the application's role bypasses PostgreSQL's row-level security, if that is in use."""
    for database in application.databases:
        with database.engine.connect() as connection:
            yield from audit_row_security(connection)
