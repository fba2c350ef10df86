"""`multisite add-site`, `show-site` and `rename-site`."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Unpack

import click

from multisite.cli.arguments import HostCommand, allow_mixed_option, json_option
from multisite.cli.output import (
    print_hidden_files,
    print_json,
    print_site,
    record_as_dict,
    site_as_dict,
)
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from multisite.sites.creation import CreatedSite, SiteDetails

__all__ = ["add_site", "rename_site", "show_site"]


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--name", help="Display name of the site.  [default: HOST]")
@click.option("--alias", "aliases", multiple=True, metavar="HOST", help="Another domain of the site; may be repeated.")
@click.option("--locale", default="en", show_default=True, metavar="TAG", help="Language of the site, such as de-AT.")
@click.option(
    "--timezone", default="UTC", show_default=True, metavar="ZONE", help="Time zone of the site, such as Europe/Berlin."
)
@click.option(
    "--theme", metavar="NAME", help="A theme created by new-theme; without one, the site gets its own layout."
)
@allow_mixed_option
@json_option
@click.pass_obj
def add_site(ini_uri: str, host: str, as_json: bool, **details: Unpack[SiteDetails]) -> None:
    """Add a site: its database rows and its template folder.

    HOST is the host in the URL of the site, such as www.example.com or bücher.example, without http://. With a path
    or a port, several sites can share a host: www.example.com/shop, www.example.com:8080.
    """
    from multisite.sites.creation import create_site

    ini = read_ini(ini_uri)
    new = create_site(ini.open_engine(), host, settings=ini.settings, **details)
    if as_json:
        print_json({**site_as_dict(new.site, ini), "adopted": new.folder_existed})
    else:
        _print_new_site(new, ini)


def _print_new_site(new: CreatedSite, ini: Ini) -> None:
    from multisite.sites.themes import hidden_files

    site, host = new.site, new.site.host
    click.echo(f"Added {site}.")
    what = "Edit its layout in" if (new.folder / "layout.mako").is_file() else "Put its own templates into"
    click.echo(f"{what} {new.folder}" + (" (it existed already and was not changed)" * new.folder_existed))
    print_hidden_files(hidden_files(ini.settings, site))
    click.echo(f"Open {ini.address(site)}")
    if _needs_dns(host):
        click.echo(
            f"Until {host} is in DNS: curl -H 'Host: {host}' http://{ini.server_host}:{ini.server_port}{site.path}/"
        )
    seconds = ini.settings.refresh_seconds
    click.echo(
        f"Running servers that use this database serve the site within {seconds:g} "
        + ("second." if seconds == 1 else "seconds.")
    )


def _needs_dns(host: str) -> bool:
    """Return whether `host` needs a DNS record: it is neither an IP address nor a name of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return True
    return False


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def show_site(ini_uri: str, host: str, as_json: bool) -> None:
    """Show a site and all its domains.

    HOST is any domain of the site.
    """
    from multisite.directory.records import get_site

    ini = read_ini(ini_uri)
    record = get_site(ini.open_engine(), host)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        print_site(record, ini)


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("name")
@json_option
@click.pass_obj
def rename_site(ini_uri: str, host: str, name: str, as_json: bool) -> None:
    """Change a site's display name.

    HOST is any domain of the site, NAME the new display name. Its domains and its folder do not change.
    """
    from multisite.sites import updates

    ini = read_ini(ini_uri)
    record = updates.rename_site(ini.open_engine(), host, name)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"{record.site} is now called {record.site.name}.")
