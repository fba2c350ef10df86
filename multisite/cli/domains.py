"""`multisite add-domain`, `remove-domain`, `move-domain` and `set-canonical`."""

from __future__ import annotations

import click

from multisite.cli.arguments import HostCommand, allow_mixed_option, json_option
from multisite.cli.output import print_json, record_as_dict
from multisite.sites.ini import read_ini

__all__ = ["add_domain", "move_domain", "remove_domain", "set_canonical"]


@click.command(cls=HostCommand)
@click.argument("site")
@click.argument("host")
@click.option("--redirect", is_flag=True, help="Redirect browsers to the canonical domain instead of serving HOST.")
@allow_mixed_option
@json_option
@click.pass_obj
def add_domain(ini_uri: str, site: str, host: str, redirect: bool, allow_mixed: bool, as_json: bool) -> None:
    """Add a domain to a site.

    SITE is any domain that the site has already, HOST the domain to add: www.example.com, *.example.com for all
    subdomains of example.com, www.example.com:8080 for a port, www.example.com/shop for a path.
    """
    from multisite.sites import domains

    ini = read_ini(ini_uri)
    record = domains.add_domain(
        ini.open_engine(),
        site,
        host,
        redirect=redirect,
        allow_mixed=allow_mixed,
        allow_underscores=ini.settings.allow_underscores,
    )
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"Added {host}: {_kind(redirect)} {record.site} ({record.site.name}).")


def _kind(redirect: bool) -> str:
    return "a redirect to" if redirect else "an alias of"


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def remove_domain(ini_uri: str, host: str, as_json: bool) -> None:
    """Remove a domain from its site.

    HOST is an alias or a redirect of a site, not its canonical domain.
    """
    from multisite.sites import domains

    ini = read_ini(ini_uri)
    record = domains.remove_domain(ini.open_engine(), host)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"Removed {host} from {record.site} ({record.site.name}).")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("site")
@click.option(
    "--redirect", is_flag=True, help="Redirect browsers to the canonical domain of SITE instead of serving HOST."
)
@json_option
@click.pass_obj
def move_domain(ini_uri: str, host: str, site: str, redirect: bool, as_json: bool) -> None:
    """Move a domain to another site.

    HOST is an alias or a redirect of a site, SITE any domain of the site that gets it.
    """
    from multisite.sites import domains

    ini = read_ini(ini_uri)
    record = domains.move_domain(ini.open_engine(), host, site, redirect=redirect)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"Moved {host}: {_kind(redirect)} {record.site} ({record.site.name}).")


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--redirect", is_flag=True, help="Redirect the former canonical domain to HOST.")
@json_option
@click.pass_obj
def set_canonical(ini_uri: str, host: str, redirect: bool, as_json: bool) -> None:
    """Make a domain the canonical one.

    HOST is an alias or a redirect of the site. The former canonical domain becomes an alias.
    """
    from multisite.sites import domains

    ini = read_ini(ini_uri)
    record = domains.set_canonical(ini.open_engine(), host, redirect=redirect)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"{record.site} is now the canonical domain of {record.site.name}.")
