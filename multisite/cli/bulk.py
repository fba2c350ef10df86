"""`multisite bulk`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.cli.site_archive import loaded_application
from multisite.cli.site_settings import assigned_texts
from multisite.errors import MultisiteError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

__all__ = ["bulk"]

ACTIONS = ("enable-site", "disable-site", "maintain-site", "set-theme", "set", "unset", "export-site")
"""The actions of the command, which are those of the console. A test compares them with `BULK_ACTIONS`."""


@click.command()
@click.argument("action", type=click.Choice(ACTIONS))
@click.argument("values", metavar="[VALUE]...", nargs=-1)
@click.option("--only", multiple=True, metavar="PATTERN", help="Matching sites, such as '*.example.com'.")
@click.option("--site", "hosts", multiple=True, metavar="HOST", help="A site, by any of its domains.")
@click.option("--all", "everywhere", is_flag=True, help="All sites.")
@click.option("--message", help="With maintain-site: the message that visitors see.")
@click.option(
    "--users", type=click.Choice(["keep", "none"]), default="keep", show_default=True,
    help="With export-site: whether to take the users of the sites.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Do it; otherwise the sites are listed.")
@json_option
@click.pass_obj
def bulk(  # noqa: PLR0913, PLR0917  # One argument for each option.
    ini_uri: str,
    action: str,
    values: tuple[str, ...],
    only: tuple[str, ...],
    hosts: tuple[str, ...],
    everywhere: bool,
    message: str | None,
    users: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Do one thing to several sites, with a result for each.

    VALUE is the name of the theme for set-theme (without one, none), KEY=VALUE for set, and KEY for unset. Exits with
    1 if it failed for a site.
    """
    if sum([bool(only), bool(hosts), everywhere]) != 1:
        raise click.UsageError("Pass --only, --site or --all.")
    arguments = _arguments(action, values) | {"message": message, "users": users}
    from multisite.sites.bulk import JobContext, run_bulk
    from multisite.web.site_archive import site_contents
    from multisite.web.site_settings import SITE_SETTINGS

    with loaded_application(ini_uri) as (ini, engine, registry):
        chosen = _chosen(engine, only, hosts)
        if not yes:
            _print_plan(chosen, as_json)
            return
        show = Progress(interval_seconds=1, delay_seconds=5).show
        label = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        context = JobContext(engine, ini.settings, site_contents(registry), show, label, registry[SITE_SETTINGS])
        result = run_bulk(context, action, chosen, arguments)
    if as_json:
        print_json(result)
    else:
        for each in result["sites"]:
            click.echo(f"{each['site']}: {each['error'] or 'done'}")
    if result["failed"]:
        raise MultisiteError(f"it failed for {result['failed']} of {len(chosen)} sites")


def _arguments(action: str, values: tuple[str, ...]) -> dict[str, Any]:
    if action == "set-theme":
        if len(values) > 1:
            raise click.UsageError("set-theme takes the name of one theme.")
        return {"theme": values[0] if values else None}
    if action in {"set", "unset"}:
        if not values:
            raise click.UsageError(f"{action} needs {'KEY=VALUE' if action == 'set' else 'KEY'}.")
        return {"settings": assigned_texts(values)} if action == "set" else {"names": list(values)}
    if values:
        raise click.UsageError(f"{action} takes no value.")
    return {}


def _chosen(engine: Engine, only: tuple[str, ...], hosts: tuple[str, ...]) -> list[str]:
    """Return the canonical domains of the chosen sites, each once."""
    from multisite.directory.records import get_site, list_sites
    from multisite.sites.each_site import select_sites

    if hosts:
        return list(dict.fromkeys(get_site(engine, host).site.domain for host in hosts))
    records = list(list_sites(engine))
    statuses = {record.status for record in records}
    found = select_sites(((record.site, record.status) for record in records), only=only, statuses=statuses)
    return [each.site.domain for each in found]


def _print_plan(chosen: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"sites": [{"site": host, "error": None} for host in chosen], "done": False})
        return
    for host in chosen:
        click.echo(host)
    click.echo(f"{len(chosen)} site{'s' * (len(chosen) != 1)}. Pass --yes to do it.")
