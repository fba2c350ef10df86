"""`multisite list-sites`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json, print_json_list, record_as_dict
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.directory.listing import SiteSummary

__all__ = ["list_sites"]

STATUSES = ("active", "maintenance", "disabled", "removing", "pending")


@click.command()
@click.option("--search", metavar="TEXT", help="Only sites with this text in their name or in one of their domains.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(STATUSES),
    multiple=True,
    help="Only sites with this status; may be repeated.",
)
@click.option("--theme", metavar="NAME", help="Only sites with this theme; '' for sites without one.")
@click.option("--after", metavar="HOST", help="Begin after the site with this canonical domain.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N sites.")
@click.option("--count", is_flag=True, help="Print the number of sites instead.")
@json_option
@click.pass_obj
def list_sites(
    ini_uri: str,
    search: str | None,
    statuses: tuple[str, ...],
    theme: str | None,
    after: str | None,
    limit: int | None,
    count: bool,
    as_json: bool,
) -> None:
    """List the sites."""
    from multisite.core import domains
    from multisite.directory import listing, records

    if count and (after is not None or limit is not None):
        raise click.UsageError("--count cannot be combined with --after or --limit.")
    ini = read_ini(ini_uri)
    chosen = listing.SiteSelection(search, statuses, theme)
    begin = None if after is None else domains.existing(after)
    engine = ini.open_engine()
    if count:
        _print_counts(listing.count_sites(engine, chosen), as_json=as_json)
    elif as_json:
        found = records.list_sites(engine, chosen, after=begin, limit=limit)
        print_json_list(record_as_dict(record, ini) for record in found)
    else:
        for page in listing.summarize_sites(engine, chosen, after=begin, limit=limit):
            if page:
                # One write for a page: there may be a million sites.
                click.echo("\n".join(map(_line, page)))


def _line(summary: SiteSummary) -> str:
    status = "" if summary.status == "active" else f" ({summary.status})"
    return f"{summary.domain:<30} {summary.name}{status}"


def _print_counts(counts: dict[str, int], *, as_json: bool) -> None:
    total = sum(counts.values())
    if as_json:
        print_json({"sites": total, "statuses": counts})
        return
    by_status = ", ".join(f"{number} {status}" for status, number in counts.items())
    click.echo(f"{total} site{'s' * (total != 1)}" + (f": {by_status}" if counts else ""))
