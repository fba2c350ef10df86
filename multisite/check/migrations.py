"""Whether the tables are those of the code: multisite's own revisions, and the application's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from multisite import program
from multisite.application_scripts import application_scripts
from multisite.check.application import Application
from multisite.finding import Finding
from multisite.migrate import is_current

__all__ = ["check_migrations"]


def _remedy() -> str:
    return f"run '{program.command('migrate')}'"


def check_migrations(application: Application) -> Iterator[Finding]:
    """Report multisite's own tables, and the application's, if they are behind their revisions, or ahead of them."""
    if application.directory is not None:
        with application.directory.connect() as connection:
            if not is_current(connection):
                yield Finding(
                    "own-tables", "sites, domains", "the tables are not of this version of multisite", _remedy()
                )
    if application.ini is not None and application.ini.has_alembic and not application.unreachable:
        config, script = application_scripts(application.ini.path)
        there, wanted = _current_heads(config, script), set(script.get_heads())
        if there != wanted:
            message = f"the database is at {_spell(there)}, the application's revisions are at {_spell(wanted)}"
            yield Finding("migrations", str(application.ini.path), message, _remedy())


def _current_heads(config: Config, script: ScriptDirectory) -> set[str]:
    """Return the revisions that the application's database has: its env.py knows where they are noted."""
    heads: set[str] = set()

    def note(revisions: Any, _context: Any) -> list[Any]:
        heads.update(revisions)
        return []

    with EnvironmentContext(config, script, fn=note, dont_mutate=True):
        script.run_env()
    return heads


def _spell(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "none"
