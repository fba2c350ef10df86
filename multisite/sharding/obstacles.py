"""The obstacles to distributing a database, and what to do about each.

Each rule is one that Citus states when a table is distributed, or that would cost rows later. They are checked before
anything is changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from multisite.core import program
from multisite.core.finding import Finding
from multisite.scoping.column import SITE_COLUMN
from multisite.sharding.catalog import Catalog, Placement, ReferenceInfo, TableInfo, TriggerInfo
from multisite.sharding.placement import wanted_placements

__all__ = ["find_obstacles"]

_OLDEST = 12
"""The oldest release of Citus whose functions the plan uses; 13.2 is the one that was tried."""


def find_obstacles(catalog: Catalog, *, allow_triggers: bool = False, concurrently: bool = False) -> list[Finding]:
    """Return what prevents the distribution (faults), and what will be missed later (notices).

    Args:
        catalog: The database.
        allow_triggers: The triggers of scoped tables read and write only rows of the site whose row they fire for.
        concurrently: Whether tables are to be distributed while they are written to.
    """
    placements = wanted_placements(catalog)
    found = list(_server(catalog, concurrently=concurrently))
    for name, placement in placements.items():
        table = catalog.tables[name]
        if placement == "distributed":
            found += _scoped_table(table)
        if placement != "local" and table.triggers and (concurrently or not allow_triggers):
            found.append(_triggers(table, concurrently=concurrently))
        if placement != "local":
            found += [_disabled(table, trigger) for trigger in table.triggers if not trigger.is_enabled]
    found += [_inherits(table) for table in catalog.tables.values() if table.parent and not table.is_partition]
    found += _owners(catalog, placements)
    for reference in catalog.references:
        found += _reference(reference, placements)
    return found


def _server(catalog: Catalog, *, concurrently: bool) -> Iterator[Finding]:
    server = catalog.server
    if server.citus is None:
        yield Finding(
            "extension",
            "citus",
            "the extension is not in this database",
            "add citus to shared_preload_libraries on every node, and run CREATE EXTENSION citus in this database on "
            "each of them",
        )
        return
    if int(server.citus.partition(".")[0].partition("-")[0]) < _OLDEST:
        yield Finding("extension", "citus", f"version {server.citus} is too old", f"install version {_OLDEST} or newer")
    if not server.has_coordinator:
        yield Finding(
            "coordinator",
            "pg_dist_node",
            "the coordinator does not know its own address, so local tables cannot refer to 'sites'",
            "run SELECT citus_set_coordinator_host('HOST', PORT)",
        )
    if server.workers == 0:
        yield Finding(
            "workers",
            "pg_dist_node",
            "there is no worker that takes shards",
            "run SELECT citus_add_node('HOST', PORT) for each",
        )
    if server.max_prepared_transactions == 0:
        yield Finding(
            "prepared-transactions",
            "max_prepared_transactions",
            "is 0, so a transaction on two nodes cannot commit",
            "set it to max_connections or more on every node, and restart them",
        )
    if server.wal_level != "logical":
        yield Finding(
            "wal-level",
            "wal_level",
            f"is '{server.wal_level}', so shards cannot move while they are written to",
            "set wal_level = logical on every node, and restart them",
            "fault" if concurrently else "notice",
        )


def _scoped_table(table: TableInfo) -> Iterator[Finding]:
    if table.site_type != "bigint":
        yield Finding(
            "site-type",
            f"{table.name}.{SITE_COLUMN}",
            f"is {table.site_type}, and only columns of one type are kept together",
            f"change it in a revision: op.alter_column('{table.bare_name}', '{SITE_COLUMN}', type_=sa.BigInteger())",
        )
    if table.site_nullable:
        yield Finding(
            "nullable-site",
            f"{table.name}.{SITE_COLUMN}",
            "may be NULL, and such a row has no shard",
            "assign those rows to a site, and make the column NOT NULL",
        )
    for key in table.keys:
        if SITE_COLUMN not in key.columns and key.kind != "p":
            what = {"u": "unique constraint", "x": "exclusion constraint", "i": "unique index"}[key.kind]
            yield Finding(
                "global-key",
                f"{table.name} {key.name}",
                f"is a {what} without {SITE_COLUMN}, which no node can enforce for the others",
                f"recreate it with {SITE_COLUMN} as its first column",
            )
        elif key.kind == "p" and SITE_COLUMN not in key.columns and key.dependents:
            yield Finding(
                "key-of-view",
                f"{table.name} {key.name}",
                f"{' and '.join(key.dependents)} groups by this primary key, which has to change",
                "name all selected columns in its GROUP BY, or drop the view and recreate it afterwards",
            )
    for policy in table.policies:
        yield Finding(
            "policy",
            f"{table.name} {policy}",
            "is a policy with a subselect, which Citus does not support",
            "set multisite.row_security_form = setting in the ini and run "
            f"'{program.command('row-security enable')}'; rewrite a policy of your own",
        )
    for policy in table.other_policies:
        yield Finding(
            "restrictive-policy",
            f"{table.name} {policy}",
            "is a policy beside a restrictive one, which Citus creates as permissive on the workers: a row is shown if "
            "either allows it",
            "drop it, and write its condition in queries",
        )


def _triggers(table: TableInfo, *, concurrently: bool) -> Finding:
    if concurrently:
        return Finding(
            "trigger",
            table.name,
            f"has the trigger {_names(table)}, which would not fire for rows that are written meanwhile",
            "drop it, or run the command without --concurrently",
        )
    return Finding(
        "trigger",
        table.name,
        f"has the trigger {_names(table)}, which would run on the workers",
        "drop it; or, if its function reads and writes only rows with the site_id of the row that it fires for, "
        "pass --allow-triggers",
    )


def _disabled(table: TableInfo, trigger: TriggerInfo) -> Finding:
    return Finding(
        "disabled-trigger",
        f"{table.name} {trigger.name}",
        "is disabled, or fires for replication, and would come back enabled",
        "drop it, or enable it",
    )


def _names(table: TableInfo) -> str:
    return " and ".join(trigger.name for trigger in table.triggers)


def _inherits(table: TableInfo) -> Finding:
    return Finding(
        "inheritance",
        table.name,
        f"inherits from {table.parent}, which is not partitioned",
        "make it a partition, or a table of its own",
    )


def _owners(catalog: Catalog, placements: dict[str, Placement]) -> Iterator[Finding]:
    owners = {name: catalog.tables[name].owner for name, placement in placements.items() if placement != "local"}
    expected = next((owner for name, owner in owners.items() if catalog.tables[name].bare_name == "sites"), None)
    for name, owner in owners.items():
        if expected is not None and owner != expected:
            yield Finding(
                "owner",
                name,
                f"belongs to {owner}, but 'sites' to {expected}: moving a shard would fail",
                f"run ALTER TABLE {name} OWNER TO {expected}",
            )


def _reference(reference: ReferenceInfo, placements: dict[str, Placement]) -> Iterator[Finding]:
    subject = f"{reference.table} {reference.name}"
    source, target = (placements.get(name) for name in (reference.table, reference.target))
    if target == "distributed" and source != "distributed":
        yield Finding(
            "reference-from-unscoped",
            subject,
            f"a table without {SITE_COLUMN} refers to {reference.target}, whose rows are on several nodes",
            f"give {reference.table} a {SITE_COLUMN} (op.add_site_scope), or drop the reference",
        )
    elif target == "distributed" and not reference.holds_site:
        yield Finding(
            "reference-without-site",
            subject,
            f"does not compare {SITE_COLUMN}",
            f"use scoped_reference() in the model; its target is ({SITE_COLUMN}, id)",
        )
    if source == "distributed" and SITE_COLUMN in reference.columns:
        yield from _actions(reference, subject)


def _actions(reference: ReferenceInfo, subject: str) -> Iterator[Finding]:
    if reference.on_delete in "nd":
        yield Finding(
            "reference-action",
            subject,
            "ON DELETE SET NULL or SET DEFAULT is not supported in a reference with the distribution column",
            "clear the column in code, and use RESTRICT, CASCADE or no action",
        )
    if reference.on_update in "ndc":
        yield Finding(
            "reference-action",
            subject,
            "ON UPDATE CASCADE, SET NULL or SET DEFAULT is not supported in a reference with the distribution column",
            "use no action: ids do not change",
        )
