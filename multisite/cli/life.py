"""`multisite enable-site`, `disable-site`, `maintain-site`, `remove-site` and `refresh`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click

from multisite import program
from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, site_info_as_dict
from multisite.errors import MultisiteError
from multisite.ini import Ini, read_ini

if TYPE_CHECKING:
    from multisite.directory.changes import SiteRecord
    from multisite.removal import RemovalPlan

__all__ = ["disable_site", "enable_site", "maintain_site", "refresh", "remove_site"]


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def enable_site(ini_uri: str, host: str, as_json: bool) -> None:
    """Open a site that was disabled or in maintenance.

    HOST is any domain of the site.
    """
    from multisite.directory import availability

    ini = read_ini(ini_uri)
    info = availability.enable_site(ini.open_engine(), host)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"{info.site} is open.")


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def disable_site(ini_uri: str, host: str, as_json: bool) -> None:
    """Let a site answer as if it were not there.

    HOST is any domain of the site. Its rows, its domains and its folder stay.
    """
    from multisite.directory import availability

    ini = read_ini(ini_uri)
    info = availability.disable_site(ini.open_engine(), host)
    if as_json:
        print_json(site_info_as_dict(info, ini))
    else:
        click.echo(f"{info.site} is disabled: it answers 404. Open it again: {_enable(info)}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--message", help="What visitors are told.")
@click.option("--until", metavar="TIME", help="When it will be over, such as 2030-01-31T18:00, by the site's clock.")
@json_option
@click.pass_obj
def maintain_site(ini_uri: str, host: str, message: str | None, until: str | None, as_json: bool) -> None:
    """Let a site tell its visitors to come back.

    HOST is any domain of the site.
    """
    from multisite.directory import availability

    ini = read_ini(ini_uri)
    info, bypass_token = availability.maintain_site(ini.open_engine(), host, message=message, until=_time(until))
    link = f"{ini.address(info.site)}?{urlencode({availability.PASS: bypass_token})}"
    if as_json:
        print_json({**site_info_as_dict(info, ini), "pass": link})
    else:
        click.echo(f"{info.site} is in maintenance: it answers 503. Open it again: {_enable(info)}")
        click.echo(f"Whoever opens this link sees the site meanwhile: {link}")


def _enable(info: SiteRecord) -> str:
    return program.command(f"enable-site {info.site}")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise MultisiteError(f"'{text}' is not a time: expected one such as 2030-01-31T18:00") from None


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--yes", is_flag=True, help="Really do it.")
@click.option("--dry-run", is_flag=True, help="Count what would be removed, and remove nothing.")
@json_option
@click.pass_obj
def remove_site(ini_uri: str, host: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove a site: its rows, its folder and its domains.

    HOST is any domain of the site. Its folder is moved into the folder .trash beside it.
    """
    from multisite import removal
    from multisite.scoping.security import all_sites_roles

    if yes == dry_run:
        raise click.UsageError("Say --yes to remove the site with all its rows, or --dry-run to count them.")
    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.all_sites_role is not None:
        all_sites_roles.add(ini.settings.all_sites_role)
    if dry_run:
        found = removal.plan_removal(engine, host, settings=ini.settings)
    else:
        found = removal.remove_site(
            engine, host, settings=ini.settings, progress=lambda line: click.echo(line, err=True)
        )
    _print_removal(found, ini, dry_run, as_json)


def _print_removal(found: RemovalPlan, ini: Ini, dry_run: bool, as_json: bool) -> None:
    folder = None if found.folder is None else str(found.folder)
    if as_json:
        print_json({**site_info_as_dict(found.info, ini), "rows": found.rows, "removed": not dry_run, "trash": folder})
        return
    for name, number in found.rows.items():
        click.echo(f"{number:>9} rows in {name}")
    site = found.info.site
    if dry_run:
        click.echo(f"{site} would be removed: {program.command(f'remove-site {site} --yes')}")
        if folder is not None:
            click.echo(f"Its folder would be moved away: {folder}")
        return
    click.echo(f"Removed {site}.")
    if folder is not None:
        click.echo(f"Its folder is now {folder}")


@click.command()
@click.pass_obj
def refresh(ini_uri: str) -> None:
    """Let running servers read the tables again, after they were changed by hand."""
    from multisite.directory.changes import refresh as refresh_directory

    ini = read_ini(ini_uri)
    refresh_directory(ini.open_engine())
    click.echo("Running servers read the tables again at the next request for each site.")
