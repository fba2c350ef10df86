"""`multisite row-security`."""

from __future__ import annotations

import click

from multisite.ini import read_ini

__all__ = ["row_security"]


@click.command()
@click.argument("what", metavar="enable|disable", type=click.Choice(["enable", "disable"]))
@click.pass_obj
def row_security(ini_uri: str, what: str) -> None:
    """Let PostgreSQL itself keep the sites apart, or no longer.

    'enable' switches row-level security on for every table that belongs to sites, 'disable' switches it off. Both may
    be repeated: after tables have been added, or after multisite.all_sites_role or multisite.row_security_form was set.
    """
    from multisite.row_security import disable, enable

    ini = read_ini(ini_uri)
    engine = ini.open_engine(as_owner=True)
    role = ini.settings.all_sites_role
    form = ini.settings.row_security_form
    tables = enable(engine, all_sites_role=role, form=form) if what == "enable" else disable(engine)
    for table in tables:
        click.echo(f"{table}: row-level security is {'on' if what == 'enable' else 'off'}")
    if not tables:
        click.echo(
            "Nothing to do: no table of this database belongs to sites" if what == "enable" else "Nothing to do."
        )
    elif what == "enable" and role is None:
        click.echo("Nobody sees the rows of all sites: set multisite.all_sites_role, and repeat this, for all_sites.")
