"""`multisite add-domain` and `remove-domain`."""

from __future__ import annotations

import click

from multisite.cli.arguments import HOST_COMMAND, allow_mixed_option, host_argument, json_option
from multisite.cli.output import print_json, site_info_as_dict
from multisite.ini import read_ini

__all__ = ["add_domain", "remove_domain"]


@click.command(context_settings=HOST_COMMAND)
@host_argument("site")
@host_argument("host")
@click.option("--redirect", is_flag=True, help="Send browsers to the site's canonical host instead of serving HOST.")
@allow_mixed_option
@json_option
@click.pass_obj
def add_domain(ini_uri: str, site: str, host: str, redirect: bool, allow_mixed: bool, as_json: bool) -> None:
    """Let another host lead to a site.

    SITE is any host that the site has already, HOST the one to add.
    """
    from multisite.directory import changes

    ini = read_ini(ini_uri)
    info = changes.add_domain(ini.open_engine(), site, host, redirect=redirect, allow_mixed=allow_mixed)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"Added {host}: it {'redirects' if redirect else 'leads'} to {info.site.host} ({info.site.name}).")


@click.command(context_settings=HOST_COMMAND)
@host_argument("host")
@json_option
@click.pass_obj
def remove_domain(ini_uri: str, host: str, as_json: bool) -> None:
    """Let a host lead nowhere.

    HOST is an alias or a redirect of a site, not its canonical host.
    """
    from multisite.directory import changes

    ini = read_ini(ini_uri)
    info = changes.remove_domain(ini.open_engine(), host)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"Removed {host}: it led to {info.site.host} ({info.site.name}).")
