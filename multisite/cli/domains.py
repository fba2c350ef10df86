"""`multisite add-domain`, `remove-domain`, `move-domain` and `set-canonical`."""

from __future__ import annotations

import click

from multisite.cli.arguments import HostCommand, allow_mixed_option, json_option
from multisite.cli.output import print_json, site_info_as_dict
from multisite.ini import read_ini

__all__ = ["add_domain", "move_domain", "remove_domain", "set_canonical"]


@click.command(cls=HostCommand)
@click.argument("site")
@click.argument("host")
@click.option("--redirect", is_flag=True, help="Send browsers to the site's canonical host instead of serving HOST.")
@allow_mixed_option
@json_option
@click.pass_obj
def add_domain(ini_uri: str, site: str, host: str, redirect: bool, allow_mixed: bool, as_json: bool) -> None:
    """Let another host lead to a site.

    SITE is any domain that the site has already, HOST the one to add: www.example.com, *.example.com for all names
    below example.com, www.example.com:8080 for a port, www.example.com/shop for a path.
    """
    from multisite.directory import changes

    ini = read_ini(ini_uri)
    info = changes.add_domain(
        ini.open_engine(),
        site,
        host,
        redirect=redirect,
        allow_mixed=allow_mixed,
        allow_underscores=ini.settings.allow_underscores,
    )
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"Added {host}: it {'redirects' if redirect else 'leads'} to {info.site} ({info.site.name}).")


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def remove_domain(ini_uri: str, host: str, as_json: bool) -> None:
    """Let a host lead nowhere.

    HOST is an alias or a redirect of a site, not its canonical domain.
    """
    from multisite.directory import changes

    ini = read_ini(ini_uri)
    info = changes.remove_domain(ini.open_engine(), host)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"Removed {host}: it led to {info.site} ({info.site.name}).")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("site")
@click.option("--redirect", is_flag=True, help="Send browsers to the canonical domain of SITE instead of serving HOST.")
@json_option
@click.pass_obj
def move_domain(ini_uri: str, host: str, site: str, redirect: bool, as_json: bool) -> None:
    """Let a host lead to another site.

    HOST is an alias or a redirect of a site, SITE any domain of the one that it shall lead to.
    """
    from multisite.directory import changes

    ini = read_ini(ini_uri)
    info = changes.move_domain(ini.open_engine(), host, site, redirect=redirect)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"Moved {host}: it {'redirects' if redirect else 'leads'} to {info.site} ({info.site.name}).")


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--redirect", is_flag=True, help="Send browsers that come to the former one to HOST.")
@json_option
@click.pass_obj
def set_canonical(ini_uri: str, host: str, redirect: bool, as_json: bool) -> None:
    """Let a site be known by another of its hosts.

    HOST is an alias or a redirect of the site. What it was known by becomes an alias.
    """
    from multisite.directory import changes

    ini = read_ini(ini_uri)
    info = changes.set_canonical(ini.open_engine(), host, redirect=redirect)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"{info.site} is what the site {info.site.name} is known by now.")
