"""Check that multisite's own tables and the application's are at their head revisions."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from multisite.alembic.migrate import is_current
from multisite.check.application import Application
from multisite.core import program
from multisite.core.finding import Finding

__all__ = ["check_migrations"]


def _remedy() -> str:
    return f"run '{program.command('migrate')}'"


def check_migrations(application: Application) -> Iterator[Finding]:
    """Report tables that are behind or ahead of their head revisions."""
    if application.directory is not None:
        with application.directory.connect() as connection:
            if not is_current(connection):
                yield Finding(
                    "own-tables", "sites, domains", "the tables do not match this version of multisite", _remedy()
                )
    environment = application.environment
    if environment is not None and environment.heads != environment.wanted:
        message = f"the database is at {_revisions_text(environment.heads)}, the application's revisions are at "
        yield Finding("migrations", _ini_path(application), message + _revisions_text(environment.wanted), _remedy())


def _ini_path(application: Application) -> str:
    return "" if application.ini is None else str(application.ini.path)


def _revisions_text(revisions: Collection[str]) -> str:
    return ", ".join(sorted(revisions)) or "none"
