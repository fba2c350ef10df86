"""Execute statements for a site: build their parameters for the scope of the connection.

`init_compiled`, `init_statement` and `init_ddl` replace the methods of the same name on `DefaultExecutionContext`,
through which every statement of every engine goes, and `exec_default` replaces the only method that bypasses them. This
costs a tenth of engine events, which slow each statement by about 4 % merely by being registered, and it includes
statements that a default or a bind executes in between.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.schema import DDL

from multisite.core.current_site import Scope
from multisite.core.dialects import dialect_error
from multisite.directory.tables import OWN_ACCESS
from multisite.scoping.catalog import (
    HAS_SITES,
    first_unplain_name,
    has_sites,
    is_own_schema,
    tables_changed,
    text_executed,
)
from multisite.scoping.column import executing
from multisite.scoping.connection_state import handle_connection_state, state_left_by
from multisite.scoping.errors import CrossSiteError, NoCurrentSite, UnscopedStatement
from multisite.scoping.pin import ALL_SITES, change_listeners, mark_changed, scope_of, scope_of_unscoped_statement
from multisite.scoping.recompile import recompile_scoped, recompile_unlimited
from multisite.scoping.row_security import (
    ROW_SECURITY,
    recheck_after,
    set_transaction_site,
    set_transaction_site_for_text,
)
from multisite.scoping.sql_scanner import scan_sql
from multisite.scoping.tables import tables, unknown_table_message
from multisite.scoping.written import Written

__all__ = ["install"]

_ADVICE = "use the model or its table, scoped_text() with :site_id, or all_sites(reason)"
_READS = re.compile(r"\s*(select|with|values|pragma|show|explain)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(insert|update|delete|merge|replace|truncate|copy)\b", re.IGNORECASE)
"""Finds anywhere in a text, such as after a WITH, that it may change rows."""

_SAVEPOINTS = frozenset({"savepoint", "rollback_to_savepoint", "release_savepoint"})
"""The kinds of statements that a failed transaction may still allow."""

_HOLDS_QUERY: tuple[type, ...] = tuple(
    getattr(sa.schema, name) for name in ("CreateTableAs", "CreateView") if hasattr(sa.schema, name)
)
"""SQLAlchemy's DDL constructs that contain a query; they were added in 2.1."""

_init_compiled = DefaultExecutionContext._init_compiled.__func__  # type: ignore[attr-defined]
_init_statement = DefaultExecutionContext._init_statement.__func__  # type: ignore[attr-defined]
_init_ddl = DefaultExecutionContext._init_ddl.__func__  # type: ignore[attr-defined]
_exec_default: Any = DefaultExecutionContext._exec_default_clause_element
_execute_scalar: Any = DefaultExecutionContext._execute_scalar


def init_compiled(  # noqa: C901, PLR0912  # Not split, because each call costs every statement.
    cls: type, dialect: Any, connection: Connection, dbapi: Any, options: Any, compiled: Any, *args: Any, **kw: Any
) -> Any:
    """Build the parameters of a compiled statement for the scope of `connection`."""
    try:
        concerned = compiled.is_scoped_statement
    except AttributeError:
        compiled = recompile_scoped(compiled, connection, options)
        concerned = compiled.is_scoped_statement
    try:
        state = compiled.multisite_state
    except AttributeError:
        state = compiled.multisite_state = state_left_by(compiled.string)
    writes = compiled.isinsert or compiled.isupdate or compiled.isdelete
    if writes or (compiled.isplaintext and _changes(compiled.string)):
        mark_changed(connection)
    if not concerned:
        if connection.dialect.__dict__.get(ROW_SECURITY) is not False:
            _set_site_for_unscoped(connection, dbapi, compiled)
        if state:
            handle_connection_state(state, connection, dbapi)
        return _init_compiled(cls, dialect, connection, dbapi, options, compiled, *args, **kw)
    scope = _scope_for(compiled, connection, options)
    if compiled.changes_rows:
        mark_changed(connection)  # Also for a change inside a SELECT.
    if change_listeners and (compiled.changes_rows or (compiled.isplaintext and _WRITES.search(compiled.string))):
        for listener in change_listeners:
            listener(connection, scope)
    if connection.dialect.__dict__.get(ROW_SECURITY) is not False and scope is not ALL_SITES:
        _set_site(connection, dbapi, scope, compiled, required=True)
    if state:
        handle_connection_state(state, connection, dbapi)
    if scope.site is None:
        compiled = recompile_unlimited(compiled)
    token = executing.set(scope)
    try:
        return _init_compiled(cls, dialect, connection, dbapi, options, compiled, *args, **kw)
    finally:
        executing.reset(token)


def init_statement(
    cls: type, dialect: Any, connection: Connection, dbapi: Any, options: Any, statement: str, *args: Any, **kw: Any
) -> Any:
    """Execute a string; raise `UnscopedStatement` if it names a scoped table and is not for all sites."""
    use = tables.table_use_of_string(statement, dialect.name)
    if (use.fault or use.unknown) and not _is_open(connection):
        _refuse(use.fault or _fault_in_names(connection, use.unknown))
    if _changes(statement):
        mark_changed(connection)
    if change_listeners and (use.fault or use.unknown) and _WRITES.search(statement):
        for listener in change_listeners:
            listener(connection, ALL_SITES)
    if connection.dialect.__dict__.get(ROW_SECURITY) is not False and not _is_migration(connection):
        set_transaction_site_for_text(connection, dbapi, scope_of_unscoped_statement(connection), statement)
    handle_connection_state(state_left_by(statement), connection, dbapi)
    return _init_statement(cls, dialect, connection, dbapi, options, statement, *args, **kw)


def init_ddl(
    cls: type, dialect: Any, connection: Connection, dbapi: Any, options: Any, compiled: Any, *args: Any, **kw: Any
) -> Any:
    """Execute DDL, which changes no rows; refuse it if it contains a query on a scoped table.

    Returns:
        The execution context.

    Raises:
        UnscopedStatement: it contains such a query, outside a migration and `all_sites`.
    """
    tables_changed()
    ddl = compiled.statement
    with_query = isinstance(ddl, _HOLDS_QUERY)
    # SQLAlchemy's other constructs contain no query; an application's own may.
    if with_query or isinstance(ddl, DDL) or not type(ddl).__module__.startswith("sqlalchemy."):
        text = str(compiled)
        use = tables.table_use_of(scan_sql(text, dialect.name), Written())
        if (use.fault or use.unknown) and (with_query or not _is_open(connection)):
            fault = use.fault or _fault_in_names(connection, use.unknown)
            if fault:
                raise UnscopedStatement(f"DDL with {fault}; execute it in a migration, or all_sites: {text[:99]}")
    if connection.dialect.__dict__.get(ROW_SECURITY) is not False:
        # The role for all sites owns no tables, so do not execute DDL as that role.
        set_transaction_site(connection, dbapi, None)
    handle_connection_state(state_left_by(str(compiled)), connection, dbapi)
    return _init_ddl(cls, dialect, connection, dbapi, options, compiled, *args, **kw)


def exec_default(self: Any, column: Any, default: Any, type_: Any) -> Any:
    """Execute a column's SQL default, for which SQLAlchemy does not call `init_compiled`, for the same scope."""
    connection, dbapi = self.root_connection, self._dbapi_connection
    compiled: Any = sa.select(default.arg).compile(dialect=self.dialect)
    is_secured = connection.dialect.__dict__.get(ROW_SECURITY) is not False
    if not compiled.is_scoped_statement:
        if is_secured:
            _set_site_for_unscoped(connection, dbapi, compiled)
        return _exec_default(self, column, default, type_)
    scope = _scope_for(compiled, connection, {})
    if is_secured and scope is not ALL_SITES:
        set_transaction_site(connection, dbapi, scope)  # It may be the first statement of its transaction.
    token = executing.set(scope)
    try:
        return _exec_default(self, column, default, type_)
    finally:
        executing.reset(token)


def execute_scalar(self: Any, stmt: str, type_: Any, parameters: Any = None) -> Any:
    """Check a string that SQLAlchemy executes before an INSERT, such as the `server_default` of a key."""
    # Statements from `exec_default` are limited already; they come with parameters, if only an empty list.
    if parameters is None:
        connection, use = self.root_connection, tables.table_use_of_string(stmt, self.dialect.name)
        if (use.fault or use.unknown) and not _is_open(connection):
            _refuse(use.fault or _fault_in_names(connection, use.unknown))
    return _execute_scalar(self, stmt, type_, parameters=parameters)


def handle_dbapi_exception(self: Any, error: BaseException) -> None:
    """Detect that row-level security was enabled in the meantime. SQLAlchemy's own method does nothing."""
    recheck_after(self.root_connection, error)


def _changes(sql: str) -> bool:
    """Return whether a textual statement may change something, and record it if it may create tables."""
    if _READS.match(sql):
        return False
    text_executed(sql)
    return True


def _set_site_for_unscoped(connection: Connection, dbapi: Any, compiled: Any) -> None:
    """Set the site for a statement without scoped tables too: functions or views in it may use some."""
    if compiled.statement.__visit_name__ not in _SAVEPOINTS and not _is_migration(connection):
        _set_site(connection, dbapi, scope_of_unscoped_statement(connection), compiled, required=False)


def _set_site(connection: Connection, dbapi: Any, scope: Scope | None, compiled: Any, *, required: bool) -> None:
    if compiled.isplaintext:
        set_transaction_site_for_text(connection, dbapi, scope, compiled.string, required=required)
    else:
        set_transaction_site(connection, dbapi, scope, required=required)


def _scope_for(compiled: Any, connection: Connection, options: Mapping[str, Any]) -> Scope:
    """Return the scope to execute `compiled` for.

    Raises:
        NoCurrentSite: it names a scoped table, and no site is known.
        UnscopedStatement: it cannot be limited to a site.
        CrossSiteError: it changes a table of multisite itself, or the session is pinned to another site.
    """
    if options.get(OWN_ACCESS) and not compiled.names_scoped:
        return ALL_SITES
    if (fault := dialect_error(connection.dialect.name)) and (compiled.names_scoped or has_sites(connection)):
        raise UnscopedStatement(fault)
    scope = scope_of(connection)
    if compiled.names_scoped:
        connection.dialect.__dict__[HAS_SITES] = True
    if scope is not None and scope.site is None:
        return scope
    if _is_migration(connection) or (not compiled.names_scoped and not has_sites(connection)):
        return ALL_SITES
    _refuse_unlimited(compiled, connection, options)
    if scope is None and not (compiled.names_scoped or compiled.names_lookalike):
        return ALL_SITES
    if scope is None:
        raise NoCurrentSite("a statement on scoped tables")
    if compiled.changes_own is not None:
        raise CrossSiteError(
            f"the table '{compiled.changes_own}' of multisite cannot be changed within a site: use its commands or "
            "functions, or all_sites(reason)"
        )
    return scope


def _refuse_unlimited(compiled: Any, connection: Connection, options: Mapping[str, Any]) -> None:
    """Refuse a statement that cannot be limited; changes of multisite's own tables have their own error."""
    if compiled.changes_own is None and (compiled.unsupported_reason is not None or compiled.unknown):
        _refuse(compiled.unsupported_reason or _fault_in_names(connection, compiled.unknown))
    if compiled.namesake_schemas:
        others = options.get("schema_translate_map") or {}
        if is_own_schema(connection, {others.get(schema, schema) for schema in compiled.namesake_schemas}):
            _refuse("a table of multisite named with its schema")


def _refuse(fault: str | None) -> None:
    if fault is not None:
        raise UnscopedStatement(f"{fault} cannot be limited to a site: {_ADVICE}")


def _fault_in_names(connection: Connection, names: frozenset[str]) -> str | None:
    """Return why text that names these undeclared tables is refused; None if they are plain tables."""
    name = first_unplain_name(connection, [name for name in names if not tables.is_known(name)])
    return None if name is None else unknown_table_message(name)


def _is_open(connection: Connection) -> bool:
    """Return whether a string may name scoped tables: for all sites, in a migration, or without tables of multisite."""
    if connection.get_execution_options().get(OWN_ACCESS):
        return True
    if fault := dialect_error(connection.dialect.name):
        if has_sites(connection):
            raise UnscopedStatement(fault)
        return True
    scope = scope_of(connection)
    if scope is not None and scope.site is None:
        return True
    return _is_migration(connection) or not has_sites(connection)


def _is_migration(connection: Connection) -> bool:
    """Return whether alembic runs a migration on `connection`: old migrations must replay unchanged."""
    operations = getattr(sys.modules.get("alembic.op"), "_proxy", None)
    return operations is not None and operations.migration_context.connection is connection


def install() -> None:
    """Replace SQLAlchemy's methods by the functions of this module. Safe to repeat."""
    DefaultExecutionContext._init_compiled = classmethod(init_compiled)  # type: ignore[method-assign, assignment]
    DefaultExecutionContext._init_statement = classmethod(init_statement)  # type: ignore[method-assign, assignment]
    DefaultExecutionContext._init_ddl = classmethod(init_ddl)  # type: ignore[method-assign, assignment]
    DefaultExecutionContext._exec_default_clause_element = exec_default  # type: ignore[method-assign]
    DefaultExecutionContext._execute_scalar = execute_scalar  # type: ignore[method-assign]
    DefaultExecutionContext.handle_dbapi_exception = handle_dbapi_exception  # type: ignore[method-assign]
