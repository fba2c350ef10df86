"""`multisite row-security`."""

from __future__ import annotations

import click

from multisite.sites.ini import read_ini

__all__ = ["row_security"]


@click.command()
@click.argument("what", metavar="enable|disable", type=click.Choice(["enable", "disable"]))
@click.pass_obj
def row_security(ini_uri: str, what: str) -> None:
    """Enable or disable row-level security.

    'enable' turns on PostgreSQL's row-level security for every table that belongs to sites, 'disable' turns it off.
    Run it again after adding tables, or after setting multisite.all_sites_role or multisite.row_security_form.
    """
    from multisite.alembic.row_security_everywhere import disable, enable
    from multisite.sites.operator_log import record_now

    ini = read_ini(ini_uri)
    engine = ini.open_engine(as_owner=True)
    role = ini.settings.all_sites_role
    form = ini.settings.row_security_form
    tables = enable(engine, all_sites_role=role, form=form) if what == "enable" else disable(engine)
    if tables:
        record_now(engine, "row-security", after={"row_security": what, "tables": [str(table) for table in tables]})
    for table in tables:
        click.echo(f"{table}: row-level security is {'on' if what == 'enable' else 'off'}")
    if not tables:
        click.echo(
            "Nothing to do: no table of this database belongs to sites" if what == "enable" else "Nothing to do."
        )
    elif what == "enable" and role is None:
        click.echo("No role can read the rows of all sites: set multisite.all_sites_role for that, and run this again.")
