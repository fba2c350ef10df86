"""The commands `enable-site`, `disable-site`, `maintain-site`, `remove-site` and `refresh`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, record_as_dict
from multisite.cli.progress import Progress
from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from multisite.directory.records import SiteRecord
    from multisite.sites.removal import RemovalPlan

__all__ = ["disable_site", "enable_site", "maintain_site", "refresh", "remove_site"]


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def enable_site(ini_uri: str, host: str, as_json: bool) -> None:
    """Bring a disabled site, or one in maintenance, back online.

    HOST is any domain of the site.
    """
    from multisite.sites import availability

    ini = read_ini(ini_uri)
    record = availability.enable_site(ini.open_engine(), host)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"{record.site} is online.")


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def disable_site(ini_uri: str, host: str, as_json: bool) -> None:
    """Take a site offline (404).

    HOST is any domain of the site. Its rows, domains and folder are kept.
    """
    from multisite.sites import availability

    ini = read_ini(ini_uri)
    record = availability.disable_site(ini.open_engine(), host)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        click.echo(f"{record.site} is disabled: it answers 404. Bring it back online: {_enable(record)}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--message", help="The message that visitors see.")
@click.option("--until", metavar="TIME", help="Expected end, such as 2030-01-31T18:00, in the site's time zone.")
@json_option
@click.pass_obj
def maintain_site(ini_uri: str, host: str, message: str | None, until: str | None, as_json: bool) -> None:
    """Put a site into maintenance (503).

    HOST is any domain of the site. Running enable-site ends the maintenance.
    """
    from multisite.directory.matching import BYPASS_NAME
    from multisite.sites import availability

    ini = read_ini(ini_uri)
    record, bypass_token = availability.maintain_site(ini.open_engine(), host, message=message, until=_time(until))
    link = f"{ini.address(record.site)}?{urlencode({BYPASS_NAME: bypass_token})}"
    if as_json:
        print_json({**record_as_dict(record, ini), "pass": link})
    else:
        click.echo(f"{record.site} is in maintenance: it answers 503. Bring it back online: {_enable(record)}")
        click.echo(f"This link bypasses the maintenance page: {link}")


def _enable(record: SiteRecord) -> str:
    return program.command(f"enable-site {record.site}")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise MultisiteError(f"'{text}' is not a time: expected one such as 2030-01-31T18:00") from None


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--yes", is_flag=True, help="Confirm the removal.")
@click.option("--dry-run", is_flag=True, help="Count what would be removed, without removing it.")
@json_option
@click.pass_obj
def remove_site(ini_uri: str, host: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove a site: its rows, its folder and its domains.

    HOST is any domain of the site. Its folder is moved into .trash, beside the folders of the other sites.
    """
    from multisite.scoping.row_security import all_sites_roles
    from multisite.sites import removal

    if yes == dry_run:
        raise click.UsageError("Pass --yes to remove the site with all its rows, or --dry-run to count them.")
    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.all_sites_role is not None:
        all_sites_roles.add(ini.settings.all_sites_role)
    if dry_run:
        found = removal.plan_removal(engine, host, settings=ini.settings)
    else:
        found = removal.remove_site(engine, host, settings=ini.settings, progress=Progress().show)
    _print_removal(found, ini, dry_run, as_json)


def _print_removal(found: RemovalPlan, ini: Ini, dry_run: bool, as_json: bool) -> None:
    folder = None if found.folder is None else str(found.folder)
    if as_json:
        print_json({**record_as_dict(found.record, ini), "rows": found.rows, "removed": not dry_run, "trash": folder})
        return
    for name, number in found.rows.items():
        click.echo(f"{number:>9} rows in {name}")
    site = found.record.site
    if dry_run:
        click.echo(f"{site} would be removed: {program.command(f'remove-site {site} --yes')}")
        if folder is not None:
            click.echo(f"Its folder would be moved to the trash: {folder}")
        return
    click.echo(f"Removed {site}.")
    if folder is not None:
        click.echo(f"Its folder is now {folder}")


@click.command()
@click.pass_obj
def refresh(ini_uri: str) -> None:
    """Tell running servers to reload the directory."""
    from multisite.sites.updates import refresh as refresh_directory

    ini = read_ini(ini_uri)
    refresh_directory(ini.open_engine())
    click.echo("Running servers reload the directory at the next request for each site.")
