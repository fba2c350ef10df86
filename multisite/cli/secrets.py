"""`multisite rotate-secret`."""

from __future__ import annotations

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, record_as_dict
from multisite.sites.ini import read_ini

__all__ = ["rotate_secret"]


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def rotate_secret(ini_uri: str, host: str, as_json: bool) -> None:
    """Rotate a site's secret; signs everybody out.

    HOST is any domain of the site. Its sessions, logins and signed tokens become invalid; other sites are not affected.
    """
    from multisite.sites import rotate_secret

    ini = read_ini(ini_uri)
    record = rotate_secret.rotate_secret(ini.open_engine(), host)
    generation = record.site.secret_generation
    if as_json:
        print_json({**record_as_dict(record, ini), "secret_generation": generation})
    else:
        click.echo(
            f"Rotated the secret of {record.site}: its sessions, logins and tokens are invalid "
            f"(generation {generation})."
        )
