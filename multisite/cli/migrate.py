"""`multisite migrate`."""

from __future__ import annotations

import click

from multisite.cli.progress import Progress

__all__ = ["migrate"]


@click.command()
@click.pass_obj
def migrate(ini: str) -> None:
    """Upgrade the tables of multisite and of the application.

    Upgrades the tables of multisite first. Then, if the ini file has an [alembic] section, applies the application's
    own revisions as 'alembic upgrade head' does. Safe to repeat and to interrupt: on SQLite and PostgreSQL, a
    migration that does not complete leaves nothing behind.
    """
    from multisite.cli.upgrade import upgrade

    done = upgrade(ini, show=Progress().show)
    for line in done or ["Nothing to do: everything is up to date."]:
        click.echo(line)
