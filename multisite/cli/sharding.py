"""`multisite distribute`, `isolate-site` and `list-shards`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.core.finding import Finding

__all__ = ["distribute", "isolate_site", "list_shards"]


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Print the obstacles, and change nothing.")
@click.option("--undo", is_flag=True, help="Bring all rows back to the coordinator, with the keys of before.")
@click.option("--dry-run", is_flag=True, help="Print the statements, and change nothing.")
@click.option("--allow-triggers", is_flag=True, help="Run triggers on the workers: they stay within a row's site.")
@click.option("--concurrently", is_flag=True, help="Do not block writes; references are missing until the end.")
@click.option("--shards", type=click.IntRange(1, 1024), metavar="N", help="The number of shards of each table.")
@click.pass_obj
def distribute(
    ini_uri: str,
    only_check: bool,
    undo: bool,
    dry_run: bool,
    allow_triggers: bool,
    concurrently: bool,
    shards: int | None,
) -> None:
    """Distribute the database over several servers by site.

    Needs PostgreSQL with the extension citus. Tables that belong to sites are divided by site_id; 'sites' and the
    application's other tables are copied to each node. Safe to repeat: it finishes what was interrupted.
    """
    from multisite.sharding.obstacles import find_obstacles
    from multisite.sharding.plan import plan_distribution, plan_undo
    from multisite.sharding.run import catalog_of, find_shared_keys, run
    from multisite.sites.operator_log import record_now

    engine = read_ini(ini_uri).open_engine(as_owner=True)
    catalog = catalog_of(engine)
    if undo:
        found, plan = find_shared_keys(engine, catalog), plan_undo(catalog)
    else:
        found = find_obstacles(catalog, allow_triggers=allow_triggers, concurrently=concurrently)
        plan = plan_distribution(catalog, shards=shards, allow_triggers=allow_triggers, concurrently=concurrently)
    if only_check:
        _report(found)
        return
    if dry_run:
        click.echo("\n".join(plan.statements()))
        return
    _refuse(found)
    run(engine, plan, Progress().show)
    if plan.batches:
        record_now(engine, "distribute", after={"distributed": not undo})
    click.echo(_done(undo=undo) if plan.batches else "Nothing to do.")


def _done(*, undo: bool) -> str:
    return "All rows are on the coordinator." if undo else "The database is distributed by site_id."


def _report(found: list[Finding]) -> None:
    for finding in found:
        click.echo(str(finding))
    faults = sum(finding.severity == "fault" for finding in found)
    click.echo(
        "There are no obstacles." if not faults else f"\n{faults} {'obstacle' if faults == 1 else 'obstacles'} found."
    )
    if faults:
        raise SystemExit(1)


def _refuse(found: list[Finding]) -> None:
    faults = [finding for finding in found if finding.severity == "fault"]
    if faults:
        for finding in faults:
            click.echo(str(finding), err=True)
        raise click.ClickException(f"nothing was changed: {len(faults)} obstacles, see above")


@click.command(cls=HostCommand)
@click.argument("host")
@click.pass_obj
def isolate_site(ini_uri: str, host: str) -> None:
    """Give a site shards of its own in a distributed database.

    For a site that is much larger than others: its shards can then be moved to a node of their own.
    """
    from multisite.directory import records
    from multisite.sharding import shards
    from multisite.sites.operator_log import record_now

    ini = read_ini(ini_uri)
    record = records.get_site(ini.open_engine(), host)
    engine = ini.open_engine(as_owner=True)
    shard = shards.isolate_site(engine, record.site.id)
    record_now(engine, "isolate-site", record.site)
    click.echo(f"{record.site.host} has shards of its own; that of the first table is {shard}.")


@click.command()
@json_option
@click.pass_obj
def list_shards(ini_uri: str, as_json: bool) -> None:
    """List the nodes of a distributed database with their sites, rows and bytes."""
    from multisite.sharding import shards

    nodes = shards.list_shards(read_ini(ini_uri).open_engine(as_owner=True))
    if as_json:
        print_json([dataclasses.asdict(node) for node in nodes])
        return
    for node in nodes:
        click.echo(
            f"{node.node:<30} {node.shards:>5} shards {node.sites:>8} sites {node.rows:>10} rows {node.bytes:>13} bytes"
        )
        for host in node.isolated:
            click.echo(f"    {host} has a shard of its own")
