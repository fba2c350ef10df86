"""What planning needs to know about a database, as plain values.

`read_catalog` reads them from PostgreSQL. A catalogue can also be recorded (`dataclasses.asdict`) and planned again
without a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.policies import OUR_POLICIES
from multisite.sharding.saved import SavedStatement, saved_statements

__all__ = [
    "Catalog",
    "KeyInfo",
    "Placement",
    "ReferenceInfo",
    "Server",
    "TableInfo",
    "TriggerInfo",
    "has_citus",
    "read_catalog",
]

Placement = Literal["local", "reference", "distributed"]
"""Where the rows of a table are: on the coordinator, complete on each node, or divided by `site_id`."""


@dataclass(frozen=True)
class Server:
    """The settings of the coordinator. `citus` is the version of the extension in this database, None without it."""

    citus: str | None
    workers: int
    has_coordinator: bool
    wal_level: str
    max_prepared_transactions: int


@dataclass(frozen=True)
class KeyInfo:
    """A primary key ("p"), a unique ("u") or exclusion ("x") constraint, or a unique index without one ("i").

    `dependents` are the views that need it, because they group by a primary key.
    """

    kind: str
    name: str
    columns: tuple[str, ...]
    definition: str
    dependents: tuple[str, ...] = ()


@dataclass(frozen=True)
class TriggerInfo:
    """A trigger; `definition` is the CREATE TRIGGER of the database, which does not tell whether it is enabled."""

    name: str
    definition: str
    is_enabled: bool = True


@dataclass(frozen=True)
class TableInfo:
    """A table; `name` is quoted and has a schema, `bare_name` is neither.

    `site_type` is the type of `site_id`, None without that column. `policies` are the names of row-level policies with
    a subselect, `other_policies` those that are not multisite's, where one of the table is restrictive. `parent` is the
    table that it is a partition of, or from which it INHERITS. `leftover` is whether a table that is distributed has
    local rows left, which `truncate_local_data_after_distributing_table` removes.
    """

    name: str
    bare_name: str
    is_own_schema: bool
    owner: str
    columns: tuple[str, ...]
    site_type: str | None
    site_nullable: bool
    placement: Placement
    keys: tuple[KeyInfo, ...] = ()
    triggers: tuple[TriggerInfo, ...] = ()
    policies: tuple[str, ...] = ()
    parent: str | None = None
    is_partition: bool = False
    leftover: bool = False
    other_policies: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReferenceInfo:
    """A foreign key. `on_delete` and `on_update` are the letters of `pg_constraint`: a, r, c, n, d."""

    name: str
    table: str
    target: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    on_delete: str
    on_update: str
    definition: str

    @property
    def holds_site(self) -> bool:
        """Whether it compares the `site_id` of both rows."""
        return (SITE_COLUMN, SITE_COLUMN) in zip(self.columns, self.target_columns, strict=True)


@dataclass(frozen=True)
class Catalog:
    """A database: server, tables by name, references, and the statements that earlier runs have saved.

    `functions` are the signatures of the application's functions in SQL and PL/pgSQL, which triggers may call.
    """

    server: Server
    tables: dict[str, TableInfo]
    references: tuple[ReferenceInfo, ...]
    functions: tuple[str, ...] = ()
    saved: tuple[SavedStatement, ...] = ()


def has_citus(connection: Connection) -> bool:
    """Return whether the database has the extension citus."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.scalar(sa.text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")))


_SERVER = """
    SELECT (SELECT extversion::text FROM pg_extension WHERE extname = 'citus'),
           current_setting('wal_level'), CAST(current_setting('max_prepared_transactions') AS integer)
"""

_NODES = """
    SELECT count(*) FILTER (WHERE groupid > 0 AND isactive AND shouldhaveshards), count(*) FILTER (WHERE groupid = 0)
    FROM pg_dist_node WHERE noderole = 'primary'
"""

_NAMES = (
    "ARRAY(SELECT a.attname::text FROM unnest({numbers}) WITH ORDINALITY AS k (number, place) "
    "JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number ORDER BY k.place)"
)

_OURS = ", ".join(f"'{name}'" for name in OUR_POLICIES)

_TABLES = f"""
    SELECT t.oid::bigint, format('%I.%I', n.nspname, t.relname) AS name, t.relname::text AS bare_name,
           n.oid = (SELECT v.relnamespace FROM pg_class v WHERE v.oid = to_regclass('multisite_version'))
               AS is_own_schema,
           pg_get_userbyid(t.relowner)::text AS owner,
           ARRAY(SELECT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
           format_type(s.atttypid, s.atttypmod) AS site_type, coalesce(NOT s.attnotnull, false) AS site_nullable,
           ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = t.oid
                 AND coalesce(p.polqual::text, '') || coalesce(p.polwithcheck::text, '') LIKE '%{{SUBLINK %'
                 ORDER BY 1) AS policies,
           ARRAY(SELECT p.polname::text FROM pg_policy p
                 WHERE p.polrelid = t.oid AND t.relrowsecurity AND p.polname NOT IN ({_OURS})
                   AND EXISTS (SELECT FROM pg_policy r WHERE r.polrelid = t.oid AND NOT r.polpermissive)
                 ORDER BY 1) AS other_policies,
           (SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = t.oid LIMIT 1) AS parent,
           t.relispartition AS is_partition, pg_relation_size(t.oid) > 0 AS leftover
    FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
    LEFT JOIN pg_attribute s ON s.attrelid = t.oid AND s.attname = 'site_id' AND NOT s.attisdropped
    WHERE t.relkind IN ('r', 'p') AND t.relpersistence <> 't'
      AND n.nspname !~ '^(pg_|information_schema$|citus|columnar|multisite_sharding$)'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
    ORDER BY 2
"""

_PLACEMENTS = """
    SELECT CAST(logicalrelid AS oid)::bigint, CASE WHEN partmethod = 'h' THEN 'distributed' ELSE 'reference' END
    FROM pg_dist_partition WHERE partmethod = 'h' OR repmodel = 't'
"""

_KEYS = f"""
    SELECT conrelid::bigint, contype::text, quote_ident(conname), {_NAMES.format(numbers="conkey", table="conrelid")},
           pg_get_constraintdef(oid),
           ARRAY(SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                 WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = c.oid
                   AND d.classid = 'pg_rewrite'::regclass ORDER BY 1)
    FROM pg_constraint c WHERE contype IN ('p', 'u', 'x')
    UNION ALL
    SELECT indrelid::bigint, 'i', quote_ident(r.relname),
           {_NAMES.format(numbers="indkey::smallint[]", table="indrelid")},
           pg_get_indexdef(indexrelid), '{{}}'
    FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid
    WHERE indisunique AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                                      AND k.contype IN ('p', 'u', 'x'))
    ORDER BY 1, 2, 3
"""

_TRIGGERS = """
    SELECT g.tgrelid::bigint, quote_ident(g.tgname), pg_get_triggerdef(g.oid), g.tgenabled = 'O'
    FROM pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid
    WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND f.proname <> 'citus_truncate_trigger' ORDER BY 1, 2
"""

_FUNCTIONS = """
    SELECT f.oid::regprocedure::text FROM pg_proc f
    JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang
    WHERE f.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql') AND f.oid >= 16384
      AND n.nspname !~ '^(pg_|information_schema$|citus|columnar)'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = f.oid AND d.deptype = 'e')
    ORDER BY 1
"""

_REFERENCES = f"""
    SELECT quote_ident(conname), conrelid::bigint, confrelid::bigint,
           {_NAMES.format(numbers="conkey", table="conrelid")},
           {_NAMES.format(numbers="confkey", table="confrelid")}, confdeltype::text, confupdtype::text,
           pg_get_constraintdef(oid)
    FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 ORDER BY conrelid::regclass::text, conname
"""


def read_catalog(connection: Connection) -> Catalog:
    """Read the catalogue of the PostgreSQL database behind `connection`, which is for all sites or a migration."""
    citus, wal_level, prepared = _rows(connection, _SERVER)[0]
    workers, coordinators = _rows(connection, _NODES)[0] if citus else (0, 0)
    placements: dict[int, Placement] = dict(_rows(connection, _PLACEMENTS)) if citus else {}
    keys: dict[int, list[KeyInfo]] = {}
    for table, kind, name, columns, definition, dependents in _rows(connection, _KEYS):
        keys.setdefault(table, []).append(KeyInfo(kind, name, tuple(columns), definition, tuple(dependents)))
    triggers: dict[int, list[TriggerInfo]] = {}
    for table, *trigger in _rows(connection, _TRIGGERS):
        triggers.setdefault(table, []).append(TriggerInfo(*trigger))
    tables: dict[str, TableInfo] = {}
    names: dict[int, str] = {}
    for row in _rows(connection, _TABLES):
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row._mapping.items()
        }
        oid = values.pop("oid")
        placement = placements.get(oid, "local")
        values["leftover"] = values["leftover"] and placement != "local"
        names[oid] = values["name"]
        tables[values["name"]] = TableInfo(
            **values, placement=placement, keys=tuple(keys.get(oid, ())), triggers=tuple(triggers.get(oid, ()))
        )
    references = tuple(
        ReferenceInfo(name, names[table], names[target], tuple(columns), tuple(target_columns), *rest)
        for name, table, target, columns, target_columns, *rest in _rows(connection, _REFERENCES)
        if table in names and target in names
    )
    server = Server(citus, workers, coordinators > 0, wal_level, prepared)
    functions = tuple(signature for (signature,) in _rows(connection, _FUNCTIONS))
    return Catalog(server, tables, references, functions, tuple(saved_statements(connection)))


def _rows(connection: Connection, query: str) -> Sequence[Any]:
    """Return the rows of a query on the system catalogue, in which a colon or percent sign begins no parameter."""
    return connection.exec_driver_sql(query, execution_options={"no_parameters": True}).fetchall()
