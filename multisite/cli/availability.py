"""The commands `enable-site`, `disable-site`, `maintain-site` and `refresh`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, record_as_dict
from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.directory.records import SiteRecord

__all__ = ["disable_site", "enable_site", "maintain_site", "refresh"]


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


@click.command()
@click.pass_obj
def refresh(ini_uri: str) -> None:
    """Tell running servers to reload the directory."""
    from multisite.sites.updates import refresh as refresh_directory

    ini = read_ini(ini_uri)
    refresh_directory(ini.open_engine())
    click.echo("Running servers reload the directory at the next request for each site.")
