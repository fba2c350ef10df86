"""Where a statement meets the site: its parameters are built for the scope of the connection that executes it.

These three functions stand in front of the ones of the same name on `DefaultExecutionContext`, through which every
statement of every engine passes. That costs a tenth of engine events, whose mere presence slows each statement by
about 4 %, and it cannot be got round by a statement that a default or a bind executes in between.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.schema import DDL, CreateTableAs, CreateView

from multisite.models import DirectoryVersion
from multisite.scoping.column import executing
from multisite.scoping.compiler import plain_class, scoped_class
from multisite.scoping.pin import ALL_SITES, mark_changed, scope_of
from multisite.scoping.refusal import NoCurrentSite, UnscopedStatement
from multisite.scoping.tables import tables
from multisite.site import Scope

__all__ = ["put_in_front"]

_ADVICE = "use the model or its table, scoped_text() with :site_id, or all_sites(reason)"
_HARMLESS = re.compile(r"\s*pragma\b", re.IGNORECASE)
_READS = re.compile(r"\s*(select|with|values|pragma|show|explain)\b", re.IGNORECASE)

_init_compiled = DefaultExecutionContext._init_compiled.__func__  # type: ignore[attr-defined]
_init_statement = DefaultExecutionContext._init_statement.__func__  # type: ignore[attr-defined]
_init_ddl = DefaultExecutionContext._init_ddl.__func__  # type: ignore[attr-defined]


def init_compiled(
    cls: type, dialect: Any, connection: Connection, dbapi: Any, options: Any, compiled: Any, *args: Any, **kw: Any
) -> Any:
    """Build the parameters of a compiled statement for the scope of `connection`."""
    try:
        concerned = compiled.concerns_sites
    except AttributeError:
        compiled = _recompiled(compiled, connection, options)
        concerned = compiled.concerns_sites
    if (
        compiled.isinsert
        or compiled.isupdate
        or compiled.isdelete
        or (compiled.isplaintext and not _READS.match(compiled.string))
    ):
        mark_changed(connection)
    if not concerned:
        return _init_compiled(cls, dialect, connection, dbapi, options, compiled, *args, **kw)
    scope = _scope_for(compiled, connection)
    if scope.site is None:
        compiled = _plain(compiled)
    token = executing.set(scope)
    try:
        return _init_compiled(cls, dialect, connection, dbapi, options, compiled, *args, **kw)
    finally:
        executing.reset(token)


def init_statement(
    cls: type, dialect: Any, connection: Connection, dbapi: Any, options: Any, statement: str, *args: Any, **kw: Any
) -> Any:
    """Refuse a string that names a scoped table, unless it is for all sites."""
    name = tables.named_in(statement)
    # A pragma describes tables, it does not read them, and reflection is made of it.
    if name is not None and not _HARMLESS.match(statement) and not _is_open(connection):
        raise UnscopedStatement(f"a string of SQL names the scoped table '{name}': {_ADVICE}")
    if not _READS.match(statement):
        mark_changed(connection)
    return _init_statement(cls, dialect, connection, dbapi, options, statement, *args, **kw)


def init_ddl(
    cls: type, dialect: Any, connection: Connection, dbapi: Any, options: Any, compiled: Any, *args: Any, **kw: Any
) -> Any:
    """Refuse DDL that holds a query on a scoped table; any other changes tables, not rows, and passes."""
    ddl = compiled.statement
    if isinstance(ddl, (CreateTableAs, CreateView, DDL)):
        text = str(compiled)
        fault = tables.named_in(text) and (not isinstance(ddl, DDL) or tables.fault_in(text))
        if fault and (not isinstance(ddl, DDL) or not _is_open(connection)):
            raise UnscopedStatement(f"DDL with a query on a scoped table; write it as text in a migration: {text[:99]}")
    return _init_ddl(cls, dialect, connection, dbapi, options, compiled, *args, **kw)


def _scope_for(compiled: Any, connection: Connection) -> Scope:
    """Return the scope to execute `compiled` for; raise if there is none or it cannot be limited."""
    scope = scope_of(connection)
    if compiled.names_scoped:
        connection.dialect.__dict__["_multisite_has_sites"] = True
    if scope is not None and scope.site is None:
        return scope
    if _is_migration(connection) or (not compiled.names_scoped and not _has_sites(connection)):
        return ALL_SITES
    if compiled.refusal is not None:
        raise UnscopedStatement(f"{compiled.refusal} cannot be limited to a site: {_ADVICE}")
    if scope is None:
        raise NoCurrentSite("a statement on scoped tables")
    return scope


def _is_open(connection: Connection) -> bool:
    """Return whether a string that names a scoped table may be executed: all sites, a migration, a foreign database."""
    scope = scope_of(connection)
    if scope is not None and scope.site is None:
        return True
    return _is_migration(connection) or not _has_sites(connection)


def _has_sites(connection: Connection) -> bool:
    """Return whether the database behind `connection` is one that has scoped tables.

    What is only called like a scoped table is left alone elsewhere: another application of this process, with a
    database of its own. A yes is remembered; a no is asked again, since a migration may run at any time.
    """
    known = connection.dialect.__dict__
    if not known.get("_multisite_has_sites"):
        known["_multisite_has_sites"] = connection.dialect.has_table(connection, DirectoryVersion.__tablename__)
    return bool(known["_multisite_has_sites"])


def _is_migration(connection: Connection) -> bool:
    """Return whether alembic is running a migration on `connection`: old data migrations must replay as they are."""
    operations = getattr(sys.modules.get("alembic.op"), "_proxy", None)
    return operations is not None and operations.migration_context.connection is connection


def _compile(compiled: Any, into: Any) -> Any:
    return into(
        compiled.dialect,
        compiled.statement,
        cache_key=compiled.cache_key,
        column_keys=compiled.column_keys,
        for_executemany=compiled.for_executemany,
        linting=compiled.linting,
        schema_translate_map=compiled.schema_translate_map,
    )


def _plain(compiled: Any) -> Any:
    """Return the statement of `compiled` without limits; kept with it, so both are in the cache once."""
    try:
        return compiled.multisite_plain
    except AttributeError:
        compiled.multisite_plain = plain = _compile(compiled, plain_class(compiled.__class__))
        return plain


def _recompiled(compiled: Any, connection: Connection, options: Any) -> Any:
    """Return a statement that was compiled before the wall was put up in its scoped form.

    The cache it was found in holds others of its time, so it is emptied.
    """
    compiled_cache = options.get("compiled_cache", connection.engine._compiled_cache)
    if compiled_cache is not None:
        compiled_cache.clear()
    return _compile(compiled, scoped_class(compiled.__class__))


def put_in_front() -> None:
    """Put the functions of this module in front of SQLAlchemy's. Safe to repeat."""
    DefaultExecutionContext._init_compiled = classmethod(init_compiled)  # type: ignore[method-assign, assignment]
    DefaultExecutionContext._init_statement = classmethod(init_statement)  # type: ignore[method-assign, assignment]
    DefaultExecutionContext._init_ddl = classmethod(init_ddl)  # type: ignore[method-assign, assignment]
