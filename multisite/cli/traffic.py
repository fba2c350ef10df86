"""`multisite show-traffic`."""

from __future__ import annotations

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json
from multisite.sites.ini import read_ini

__all__ = ["show_traffic"]


@click.command(cls=HostCommand)
@click.argument("site")
@click.option("--day", "period", flag_value="day", default=True, help="The last 24 hours, by hour.  [default]")
@click.option("--week", "period", flag_value="week", help="The last 7 days, by day.")
@click.option("--month", "period", flag_value="month", help="The last 30 days, by day.")
@json_option
@click.pass_obj
def show_traffic(ini_uri: str, site: str, *, period: str, as_json: bool) -> None:
    """Show the requests of a site, its errors, their duration and size.

    SITE is any domain of the site. Hours and days are in UTC. Needs multisite.traffic.
    """
    from multisite.directory.records import get_site
    from multisite.sites.traffic import PERIODS, read_traffic

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    found = get_site(engine, site).site
    (chosen,) = (each for each in PERIODS if each == period)
    spans = read_traffic(engine, found.id, chosen)
    if as_json:
        print_json([{**each._asdict(), "start": each.start.isoformat()} for each in spans])
        return
    click.echo(f"{'from':16} {'requests':>10} {'errors':>8} {'ms each':>8} {'kB':>10}")
    for each in spans:
        average = each.seconds / each.requests * 1000 if each.requests else 0
        line = f"{each.start:%Y-%m-%d %H:%M} {each.requests:>10} {each.errors:>8} {average:>8.0f}"
        click.echo(f"{line} {each.bytes / 1000:>10.1f}")
    if not any(each.requests for each in spans) and not ini.settings.traffic:
        click.echo("Requests are not counted: set multisite.traffic = true in the ini file.")
