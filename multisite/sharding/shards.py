"""Where the sites of a distributed database are, and a shard for one of them alone."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sharding.catalog import has_citus
from multisite.sharding.run import unlimited

__all__ = ["NodeShards", "isolate_site", "list_shards"]


@dataclass(frozen=True)
class NodeShards:
    """What a node has: shards of each table, sites, rows and bytes of all distributed tables with their indexes.

    `isolated` are the hosts of the sites that have a shard alone.
    """

    node: str
    shards: int
    sites: int
    rows: int
    bytes: int
    isolated: tuple[str, ...]


_FIRST = """
    SELECT CAST(logicalrelid AS text) FROM pg_dist_partition WHERE partmethod = 'h'
    ORDER BY colocationid, CAST(logicalrelid AS text) LIMIT 1
"""

_SITES = """
    SELECT p.nodename || ':' || p.nodeport AS node, count(DISTINCT p.shardid) AS shards, count(pg_s.id) AS sites,
           array_remove(array_agg(CASE WHEN s.shardminvalue = s.shardmaxvalue THEN d.host END ORDER BY d.host), NULL)
    FROM pg_dist_shard s JOIN pg_dist_shard_placement p USING (shardid)
    LEFT JOIN (SELECT id, get_shard_id_for_distribution_column(CAST(CAST(:first AS text) AS regclass), id) AS shardid
               FROM sites WHERE availability <> 'removed') AS pg_s USING (shardid)
    LEFT JOIN domains d ON d.site_id = pg_s.id AND d.kind = 'canonical'
    WHERE s.logicalrelid = CAST(CAST(:first AS text) AS regclass)
    GROUP BY 1 ORDER BY 1
"""

_BYTES = """
    SELECT nodename || ':' || nodeport, CAST(sum(shard_size) AS bigint) FROM citus_shards
    WHERE citus_table_type = 'distributed' GROUP BY 1
"""

_ROWS = """
    SELECT p.nodename || ':' || p.nodeport, CAST(sum(CAST(r.result AS bigint)) AS bigint)
    FROM pg_dist_partition t,
         LATERAL run_command_on_shards(t.logicalrelid, 'SELECT count(*) FROM %s') r
         JOIN pg_dist_shard_placement p USING (shardid)
    WHERE t.partmethod = 'h' GROUP BY 1
"""


def list_shards(engine: Engine) -> list[NodeShards]:
    """Return what each node has, by its address.

    Raises:
        MultisiteError: The database is not distributed.
    """
    with unlimited(engine) as connection:
        first = _first_distributed(connection)
        sites = connection.execute(sa.text(_SITES), {"first": first}).all()
        sizes: dict[str, int] = {row[0]: row[1] for row in connection.execute(sa.text(_BYTES))}
        rows: dict[str, int] = {row[0]: row[1] for row in connection.execute(sa.text(_ROWS))}
    return [
        NodeShards(node, shards, count, rows.get(node, 0), sizes.get(node, 0), tuple(isolated))
        for node, shards, count, isolated in sites
    ]


def isolate_site(engine: Engine, site_id: int) -> int:
    """Give a site a shard of its own in each distributed table, without blocking writes.

    Returns:
        The id of the shard of the first table.

    Raises:
        MultisiteError: The database is not distributed, or the site has its own shard already.
    """
    with unlimited(engine, isolation_level="AUTOCOMMIT") as connection:
        first = _first_distributed(connection)
        shard = sa.text(
            "SELECT shardminvalue = shardmaxvalue FROM pg_dist_shard WHERE shardid = "
            "get_shard_id_for_distribution_column(CAST(CAST(:first AS text) AS regclass), CAST(:site AS bigint))"
        )
        if connection.scalar(shard, {"first": first, "site": site_id}):
            raise MultisiteError(f"site {site_id} has a shard of its own already")
        isolate = sa.text(
            "SELECT isolate_tenant_to_new_shard(CAST(CAST(:first AS text) AS regclass), CAST(:site AS bigint), "
            "'CASCADE')"
        )
        # For the triggers of the new shards, which are created again.
        connection.exec_driver_sql("SET citus.enable_unsafe_triggers TO on")
        found: int = connection.execute(isolate, {"first": first, "site": site_id}).scalar_one()
    return found


def _first_distributed(connection: Connection) -> str:
    """Return a distributed table; all others have their shards together with it."""
    name: str | None = connection.scalar(sa.text(_FIRST)) if has_citus(connection) else None
    if name is None:
        raise MultisiteError(f"this database is not distributed: see '{program.command('distribute --check')}'")
    return name
