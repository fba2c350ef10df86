"""`multisite health` and `measure-sites`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.core import program
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.check.health import Health

__all__ = ["health", "measure_sites"]


@click.command()
@json_option
@click.pass_obj
def health(ini_uri: str, as_json: bool) -> None:
    """Show the state of the whole: processes, versions, findings, errors.

    Shows what the page Health of the console shows: the versions, pending migrations of multisite's own tables, the
    processes that serve requests (with multisite.traffic) or do jobs, what 'check --keep' found last, the slowest sites
    and views, and the last errors. Exits with 1 if migrations are pending, or the last check found faults.
    """
    from multisite.check.health import read_health

    found = read_health(read_ini(ini_uri).open_engine())
    if as_json:
        print_json(_as_dict(found))
    else:
        _print(found)
    faults = () if found.last_check is None else found.last_check.findings
    if found.pending or any(finding.severity == "fault" for finding in faults):
        raise SystemExit(1)


def _as_dict(found: Health) -> dict[str, Any]:
    last = found.last_check
    return {
        **asdict(found),
        "processes": [_with_times(asdict(each)) for each in found.processes],
        "last_check": None if last is None else _with_times(asdict(last)),
        "slow_sites": [each._asdict() for each in found.slow_sites],
        "slow_views": [each._asdict() for each in found.slow_views],
        "errors": [{**_with_times(each.seen._asdict()), "site": each.site} for each in found.errors],
    }


def _with_times(values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with times as JSON can represent them."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _print(found: Health) -> None:
    click.echo("Versions: " + ", ".join(f"{name} {version}" for name, version in found.versions.items()))
    if found.pending:
        click.echo(f"\nPending migrations; run '{program.command('migrate')}':")
        for revision in found.pending:
            click.echo(f"  {revision}")
        return
    click.echo(f"\nProcesses (the directory is at version {found.directory_version}):")
    for each in found.processes:
        kind = "" if each.kind == "server" else f"  {each.kind}"
        silent = "  has not written for some minutes" if each.is_silent else ""
        click.echo(
            f"  {each.host}:{each.pid}{kind}  since {each.started:%Y-%m-%d %H:%M}  version {each.directory_version}"
            f"  seen {each.seen:%H:%M:%S}{silent}"
        )
    _print_check(found)
    for title, slow in (("Slowest sites", found.slow_sites), ("Slowest views", found.slow_views)):
        click.echo(f"\n{title}:")
        for line in slow:
            click.echo(f"  {line.seconds_each * 1000:8.0f} ms  {line.requests:8} requests  {line.name}")
    click.echo("\nLast errors:")
    for site, seen in found.errors:
        place = f"{site or '-'}{seen.path or ''}"
        click.echo(f"  {seen.at:%Y-%m-%d %H:%M:%S}  {seen.error}  {place}  {seen.request_id or ''}".rstrip())


def _print_check(found: Health) -> None:
    last = found.last_check
    if last is None:
        click.echo(f"\nNo check was kept; run '{program.command('check --keep')}'.")
        return
    click.echo(f"\nLast check, {last.made:%Y-%m-%d %H:%M} UTC by {last.who}: {last.number} findings")
    for finding in last.findings:
        click.echo(f"  {finding}")


@click.command()
@click.pass_obj
def measure_sites(ini_uri: str) -> None:
    """Measure the rows and files of all sites, and their last changes.

    The list of sites in the console shows them. 'work' does this once an hour.
    """
    from multisite.sites import measurements

    ini = read_ini(ini_uri)
    number = measurements.measure_sites(ini.open_engine(), ini.settings, progress=Progress(delay_seconds=None).show)
    click.echo(f"Measured {number} site{'s' * (number != 1)}.")
