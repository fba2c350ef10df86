"""`multisite rotate-secret`."""

from __future__ import annotations

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, site_info_as_dict
from multisite.ini import read_ini

__all__ = ["rotate_secret"]


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def rotate_secret(ini_uri: str, host: str, as_json: bool) -> None:
    """Void the sessions, log-ins and tokens of a site.

    HOST is any domain of the site. Those of other sites go on.
    """
    from multisite.directory import secret_generation

    ini = read_ini(ini_uri)
    info = secret_generation.rotate_secret(ini.open_engine(), host)
    generation = info.site.secret_generation
    if as_json:
        print_json({**site_info_as_dict(info, ini), "secret_generation": generation})
    else:
        click.echo(f"{info.site} has new secrets: what was signed for it before is void (generation {generation}).")
