"""`multisite migrate`."""

from __future__ import annotations

from functools import partial

import click

__all__ = ["migrate"]


@click.command()
@click.pass_obj
def migrate(ini: str) -> None:
    """Bring the tables of multisite and of the application up to date.

    The tables of multisite come first. Then, if the ini file has an [alembic] section, the application's own revisions
    are applied to the head, as 'alembic upgrade head' does. Safe to repeat, and to interrupt: on SQLite and PostgreSQL
    a migration that does not reach its end leaves nothing behind.
    """
    from multisite.migrate import upgrade

    done = upgrade(ini, show=partial(click.echo, err=True))
    for line in done or ["Nothing to do: everything is up to date."]:
        click.echo(line)
