"""The register of scoped tables, and the check of table names in SQL against it.

A table is scoped if it has a `site_id` column of the type `SiteId`; multisite's own tables with rows of sites are too.
Anything with the name of a scoped table (a second `Table`, `table("entries")`, a reflected table, a name in text) is
treated as that table. An event on the class `Table` registers every table of every MetaData.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.expression import TableClause

from multisite.core.dialects import SUPPORTED
from multisite.directory.tables import metadata
from multisite.errors import escape_for_message
from multisite.scoping.column import SITE_COLUMN, has_site_id, is_site_id
from multisite.scoping.site_key import add_site_key
from multisite.scoping.sql_scanner import SqlScan, scan_sql
from multisite.scoping.written import Written

__all__ = ["CATALOGS_WITH_ROWS", "ScopedTables", "TableUse", "tables", "unknown_table_message"]

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})
SYSTEM_PREFIXES = ("sqlite_", "pg_", "pragma_")
"""Prefixes of the names of system tables. These are not looked up in the catalogue, because the lookup itself uses
some."""

CATALOGS_WITH_ROWS = frozenset(
    {
        "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs", "pg_statistic", "pg_statistic_ext_data", "pg_largeobject",
        "sqlite_stat1", "sqlite_stat2", "sqlite_stat3", "sqlite_stat4", "sqlite_dbpage",
    }
)  # fmt: skip
"""System tables that show values from the rows of all sites."""

_RUNS_SQL = re.compile(
    r"(query|table|schema|database|cursor)_to_xml(schema|_and_xmlschema)?|ts_stat|ts_rewrite|dblink(_\w+)?"
    r"|crosstab(\d|_hash)?|connectby|xpath_table"
    r"|get_raw_page|(heap|bt|brin|gin|gist|hash)_\w*page\w*|tuple_data_split|pg_logical_slot_\w+|pg_get_wal_\w+"
    r"|st_(estimated|find)_?extent|run_command_on_\w+|master_run_on_worker|pg_background_launch"
    r"|pg_read_(binary_)?file|load_extension|eval"
).fullmatch
"""Matches functions that execute SQL from a string, or read tables without SQL."""

_HARMLESS = re.compile(r"\s*pragma\b", re.IGNORECASE)
"""Matches a PRAGMA: it describes tables and does not read them, and reflection uses it."""

_READ_BY_SCANNER = frozenset(
    {
        "SELECT", "WITH", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "EXPLAIN", "ANALYZE", "VACUUM", "REINDEX",
        "LISTEN", "UNLISTEN", "NOTIFY", "SET", "RESET", "SHOW", "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT",
    }
)  # fmt: skip
"""The first keywords of statements that the scanner can handle. Others (CREATE FUNCTION, PREPARE, DO, COPY) may contain
SQL in a string or affect a whole table, and must not mention a scoped table at all."""

_LEXICAL_SETTING = "standard_conforming_strings"
"""If it is off, strings in PostgreSQL end elsewhere than the scanner assumes."""

_ALWAYS_KNOWN = frozenset({"alembic_version", "multisite_alembic_version"})


OWN_TABLES = {
    "sites": "id",
    "domains": "site_id",
    "multisite_settings": "site_id",
    "multisite_changes": "site_id",
    "multisite_removed": "site_id",
}
"""multisite's own tables with rows of sites, and the column that holds the site's id.

A site may read its own rows; only `all_sites` and multisite itself may change them.
"""


PRIVATE_TABLES = frozenset(
    {
        "multisite_checks", "multisite_domain_checks", "multisite_errors", "multisite_jobs", "multisite_log",
        "multisite_operator_attempts", "multisite_operator_challenges", "multisite_operator_log_ins",
        "multisite_operator_passkeys", "multisite_operators", "multisite_processes",
        "multisite_sign_ins", "multisite_measurements", "multisite_site_words", "multisite_traffic",
        "multisite_view_traffic",
    }
)  # fmt: skip
"""multisite's own tables for its operators, which no statement within a site may name."""


def private_table_message(name: str) -> str:
    """Return the error message for a table of `PRIVATE_TABLES`, as the subject of a sentence."""
    return f"the table '{name}' of the operators"


def limit_column(table: TableClause | None) -> str:
    """Return the name of the column that holds the site's id in `table`, which is scoped or one of multisite's own."""
    return OWN_TABLES.get(table.name.lower(), SITE_COLUMN) if table is not None and is_own(table) else SITE_COLUMN


def is_own(table: TableClause) -> bool:
    """Return whether `table` is, or has the name of, one of multisite's own tables in either list above.

    A table that the application declares as scoped is not, nor is a `Table` with a schema: whether that is the schema
    of multisite's tables is looked up when a statement is executed.
    """
    name = table.name.lower()
    if not (name in OWN_TABLES or name in PRIVATE_TABLES) or has_site_id(table):
        return False
    return not isinstance(table, sa.Table) or table.metadata is metadata or table.schema is None


@dataclass(frozen=True, slots=True)
class TableUse:
    """How a statement uses tables that the compiler has not limited.

    `fault` is why it could use scoped tables without a limit, None if there is no reason. `unknown` are the lower-cased
    names of tables or views that no MetaData declares.
    """

    fault: str | None = None
    unknown: frozenset[str] = frozenset()


def unknown_table_message(name: str) -> str:
    """Return the error message for an undeclared table or view, as the subject of a sentence."""
    shown = escape_for_message(name)
    return f"'{shown}', a table or view that no model declares and multisite.global_tables does not list,"


class ScopedTables:
    """The names of scoped and of declared tables, lower-cased and without schema.

    Names are compared without case and schema. Databases that distinguish `Entries` from `entries` are rarer than
    statements that write a name differently, and treating one table too many as scoped fails closed.
    """

    def __init__(self) -> None:
        self.scoped: set[str] = {*OWN_TABLES, *PRIVATE_TABLES}
        self.declared: set[str] = {*OWN_TABLES, *PRIVATE_TABLES}
        self.global_tables: set[str] = set()
        self.parents: set[str] = set()
        """The names of tables that scoped ones inherit from in PostgreSQL, and whose rows they therefore show."""
        self.metadata: WeakSet[sa.MetaData] = WeakSet()
        """Every MetaData that has declared a table."""
        self.changed: Callable[[], None] = lambda: None
        """Called after a table has become scoped: statements that were compiled earlier do not limit it."""
        self._pattern: re.Pattern[str] | None = None

    def declare(self, table: sa.Table) -> None:
        """Register `table`; add UNIQUE (site_id, primary key) if it is scoped."""
        name = table.name.lower()
        self.declared.add(name)
        self.metadata.add(table.metadata)
        if not has_site_id(table):
            return
        add_site_key(table)
        # Copied, because a look-up in SQLAlchemy's mapping imports the dialect.
        parents = dict(table.kwargs).get("postgresql_inherits") or ()
        self.parents.update(parent.lower() for parent in ((parents,) if isinstance(parents, str) else parents))
        self.add(name)

    def add(self, name: str) -> None:
        """Register `name` as the name of a scoped table."""
        if name.lower() not in self.scoped:
            self.scoped.add(name.lower())
            self._pattern = None
            self.changed()

    def forget(self, metadata: sa.MetaData) -> None:
        """Remove the tables of `metadata` from the register; no other MetaData may have the same names."""
        names = {table.name.lower() for table in metadata.tables.values()}
        self.scoped -= names
        self.declared -= names
        self.metadata.discard(metadata)
        self._pattern = None

    def is_scoped(self, table: TableClause) -> bool:
        """Return whether `table` is, or has the name of, a scoped table."""
        name = table.name.lower()
        return name in self.scoped and (
            not (name in OWN_TABLES or name in PRIVATE_TABLES) or is_own(table) or has_site_id(table)
        )

    def is_unknown(self, table: TableClause) -> bool:
        """Return whether no MetaData declares `table` and no setting lists it."""
        if isinstance(table, sa.Table):
            return False
        schema = str(getattr(table, "schema", None) or "").lower()
        return schema not in SYSTEM_SCHEMAS and not self.is_known(table.name.lower())

    def is_known(self, name: str) -> bool:
        """Return whether the lower-cased `name` is of a declared, a listed or a system table."""
        return (
            name in self.declared
            or name in self.global_tables
            or name in _ALWAYS_KNOWN
            or name.startswith(SYSTEM_PREFIXES)
        )

    def named_in(self, text: str) -> str | None:
        """Return the first scoped table of an application that `text` names, as written there; None without any."""
        if self.scoped == OWN_TABLES.keys() | PRIVATE_TABLES:
            return None
        found = self._mentions().search(text)
        return found.group() if found else None

    def _mentions(self) -> re.Pattern[str]:
        if self._pattern is None:
            # Without multisite's own: "sites" and "domains" are common words, so only `scan_sql` looks for them.
            names = "|".join(
                re.escape(name)
                for name in sorted(self.scoped - OWN_TABLES.keys() - PRIVATE_TABLES, key=len, reverse=True)
            )
            self._pattern = re.compile(rf"(?<![\w$])(?:{names})(?![\w$])", re.IGNORECASE)
        return self._pattern

    def table_use_of_string(self, sql: str, dialect: str) -> TableUse:
        """Return the table use of `sql`, a whole statement as a string, in which no scoped table is limited."""
        return _table_use_of_string(sql, dialect, len(self.scoped))

    def table_use_of(self, scan: SqlScan, written: Written) -> TableUse:
        """Return the table use of a scanned statement beyond the tables that the compiler has `written` and limited."""
        if fault := scan.fault or self._fault_in(scan, written):
            return TableUse(fault)
        unknown, mentions = set(), Counter(scan.tables)
        known = written.known
        for name, times in mentions.items():
            if name in self.scoped and times > written.tables[name]:
                return TableUse(f"text that queries the scoped table '{name}'")
            if name in CATALOGS_WITH_ROWS:
                return TableUse(f"the system table {name}")
            if name in self.parents - self.scoped:
                return TableUse(f"'{name}', from which scoped tables inherit, and which has no site_id,")
            # A CTE defined in text is unknown too; the lookup then finds no view with its name.
            if times > written.tables[name] and not self.is_known(name) and name not in known:
                unknown.add(name)
        limited = sum((mentions & written.tables - written.unlimited)[name] for name in self.scoped & mentions.keys())
        if limited > scan.limits:
            # A construct rendered a table and dropped the text, or a comment or string in text hides a limit.
            return TableUse("a scoped table without its limit")
        return TableUse(unknown=frozenset(unknown))

    def _fault_in(self, scan: SqlScan, written: Written) -> str | None:
        """Return why a statement is unsafe, apart from the tables in it; None if it is not."""
        for call in scan.calls:
            if _RUNS_SQL(call):
                return f"the function {call}()"
        for name in scan.unions & self.scoped:
            if name not in written.known:
                # SQLAlchemy adds site_id to one SELECT; another SELECT in text would provide its own.
                return f"an INSERT INTO '{name}' of several queries"
        if scan.conflicts > written.conflicts and self.scoped.intersection(scan.tables):
            return "text that holds an ON CONFLICT"
        if scan.replaces and self.scoped.intersection(scan.tables) - written.known:
            return "a change with OR REPLACE, which may delete a row of another site,"
        return None


@lru_cache(maxsize=1024)
def _table_use_of_string(sql: str, dialect: str, _scoped_tables: int) -> TableUse:
    if _HARMLESS.match(sql):
        return TableUse()
    scan = scan_sql(sql, dialect)
    # The scanner does not know how other dialects write comments and strings.
    is_read = dialect in SUPPORTED and scan.first_keywords <= _READ_BY_SCANNER
    if not is_read and (name := tables.named_in(sql)):
        return TableUse(f"a string of SQL that names the scoped table '{name}'")
    if _LEXICAL_SETTING in sql.lower() and scan.first_keywords != {"SHOW"}:
        return TableUse(f"a string of SQL on {_LEXICAL_SETTING}, which decides where strings end,")
    return tables.table_use_of(scan, Written())


tables = ScopedTables()
"""The register of the process, with the tables of every MetaData; tables are matched by name."""


@event.listens_for(sa.Table, "after_parent_attach")
def _declare(table: sa.Table, parent: Any) -> None:
    tables.declare(table)


for _own in metadata.tables.values():
    tables.declare(_own)


@event.listens_for(sa.Column, "after_parent_attach")
def _declare_late(column: sa.Column[Any], parent: Any) -> None:
    """Register a table that becomes scoped after its declaration, by `extend_existing` or `append_column`."""
    if column.name == SITE_COLUMN and is_site_id(column.type) and isinstance(parent, sa.Table):
        tables.add(parent.name)
