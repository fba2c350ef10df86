"""The parts of the scoping layer, each with a function that removes it: the negative control of the catalogue.

A part is removed by replacing it with something harmless or wrong; the attempts listed with it must then have another
outcome. `without_scoping` removes the whole layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pytest
import sqlalchemy as sa
from scoped_models import TWO
from sqlalchemy import event
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.sql.compiler import SQLCompiler

from attack_catalogue.tails import SYNTAX_ERRORS
from multisite.scoping import SiteScoped, column, compiler, dml, execution, identity_map, names, pin, tables, text
from multisite.scoping.compiler import ScopedCompiler
from multisite.scoping.fragment_compiler import ScopedFragmentCompiler
from multisite.scoping.predicate import LimitedTables, collect_limits

__all__ = ["PARTS", "UNAFFECTED", "Part", "without_scoping"]

tables_module: Any = import_module("multisite.scoping.tables")
"""The module; `multisite.scoping.tables` in the package is the object of that name."""

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Part:
    """A part of the scoping layer: `remove` removes it; `attempts` are some that need it, on at least one database."""

    remove: Callable[[Patch], None]
    attempts: tuple[str, ...]
    databases: tuple[str, ...] = ("sqlite",)


# -- the compiler -----------------------------------------------------------------------------------------------------


def _no_where(patch: Patch) -> None:
    def claimed(*args: Any) -> LimitedTables:
        limited_tables = collect_limits(*args)
        limited_tables.where = []
        return limited_tables

    patch.setattr(compiler, "collect_limits", claimed)


def _no_on(patch: Patch) -> None:
    patch.setattr(compiler, "collect_limits", lambda *args: _emptied(collect_limits(*args)))


def _emptied(limited_tables: LimitedTables) -> LimitedTables:
    limited_tables.on = {join: [sa.true()] for join in limited_tables.on}
    return limited_tables


class _Everything:
    """A set that contains every table."""

    def __contains__(self, table: Any) -> bool:
        return True


def _no_derived_table(patch: Patch) -> None:
    visit_table = ScopedCompiler.visit_table

    def visit(self: Any, *args: Any, **kw: Any) -> Any:
        outer, self._limited_tables = self._limited_tables, LimitedTables(tables=_Everything())  # type: ignore[arg-type]
        try:
            return visit_table(self, *args, **kw)
        finally:
            self._limited_tables = outer

    patch.setattr(ScopedCompiler, "visit_table", visit)


def _no_limit_of_changes(patch: Patch) -> None:
    def unlimited(self: Any, statement: Any) -> Any:
        limited_tables = LimitedTables()
        limited_tables.tables.add(statement.table)
        if (table := compiler.table_of(statement.table)) is not None:
            self._is_scoped(table)
        return statement, limited_tables

    patch.setattr(dml.ScopedDMLCompiler, "_limit_dml", unlimited)


def _method(owner: type, name: str, instead: Callable[..., Any]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, instead)


def _both(*offs: Callable[[Patch], None]) -> Callable[[Patch], None]:
    def remove(patch: Patch) -> None:
        for each in offs:
            each(patch)

    return remove


def _plain_conflict(patch: Patch) -> None:
    def unlimited(self: Any, on_conflict: Any, **kw: Any) -> str:
        self._written.conflicts += 1
        return super(dml.ScopedDMLCompiler, self).visit_on_conflict_do_update(on_conflict, **kw)

    patch.setattr(dml.ScopedDMLCompiler, "visit_on_conflict_do_update", unlimited)


def _no_parentheses(patch: Patch) -> None:
    for module in (compiler, dml):
        patch.setattr(module, "parenthesized", lambda criteria: tuple(criteria))


def _limit_not_read(patch: Patch) -> None:
    for module in (compiler, dml):
        patch.setattr(module, "is_limited", lambda *args, **kw: True)


def _read_with(**fields: Any) -> Callable[[Patch], None]:
    """Scan finished SQL as if the result had these fields."""
    scan_sql = compiler.scan_sql
    return lambda patch: patch.setattr(compiler, "scan_sql", lambda *args: replace(scan_sql(*args), **fields))


def _alias_keeps_limited_tables(patch: Patch) -> None:
    patch.setattr(compiler, "table_of", lambda element: element if element is not None else None)


# -- the value --------------------------------------------------------------------------------------------------------


def _value_as_given(patch: Patch) -> None:
    patch.setattr(column.SiteId, "process_bind_param", lambda self, value, dialect: value)


def _default_of_another(patch: Patch) -> None:
    executing_site_id = column._executing_site_id
    patch.setattr(
        column, "_executing_site_id", lambda what: TWO.id if what.startswith("an INSERT") else executing_site_id(what)
    )


def _parameter_as_given(patch: Patch) -> None:
    def processor(self: Any, dialect: Any) -> Any:
        return lambda value: column._executing_site_id("a statement on scoped tables") if value is None else value

    patch.setattr(column._SiteInScope, "bind_processor", processor)


class _Register:
    """The scope of the executing statement, without restoring the scope of the outer statement."""

    def __init__(self) -> None:
        self.scope: Any = None

    def get(self) -> Any:
        return self.scope

    def set(self, scope: Any) -> None:
        self.scope = scope

    def reset(self, token: Any) -> None:
        pass


def _register_not_restored(patch: Patch) -> None:
    register = _Register()
    for module in (column, execution):
        patch.setattr(module, "executing", register)


def _nothing_handed_over(patch: Patch) -> None:
    patch.setattr(execution, "_scope_for", lambda compiled, connection, options: execution.ALL_SITES)


# -- execution --------------------------------------------------------------------------------------------------------


def _gate(name: str) -> Callable[[Patch], None]:
    original = getattr(execution, f"_{name}")
    return lambda patch: patch.setattr(DefaultExecutionContext, f"_{name}", classmethod(original))


def _no_site_is_all_sites(patch: Patch) -> None:
    scope_of = execution.scope_of
    patch.setattr(execution, "scope_of", lambda connection: scope_of(connection) or execution.ALL_SITES)


def _plain_cached(patch: Patch) -> None:
    plain = execution.recompile_unlimited

    def caching(compiled: Any) -> Any:
        found = plain(compiled)
        compiled.string, compiled.is_scoped_statement = found.string, False
        return found

    patch.setattr(execution, "recompile_unlimited", caching)


def _nothing_cleared(patch: Patch) -> None:
    patch.setattr(tables, "changed", lambda: None)


# -- the pin ----------------------------------------------------------------------------------------------------------


def _no_pin(patch: Patch) -> None:
    patch.setattr(execution, "scope_of", lambda connection: pin.current_scope())


def _no_check_of_pin(patch: Patch) -> None:
    patch.setattr(pin.Pin, "checked", pin.Pin.resolve)


def _pin_for_ever(patch: Patch) -> None:
    patch.setattr(pin.Pin, "is_current", lambda self, session: True)


class _NoAttachCheck:
    """Lets `MonkeyPatch`, which only undoes `setattr`, remove a listener and add it again."""

    def __init__(self) -> None:
        object.__setattr__(self, "on", True)

    def __setattr__(self, name: str, on: Any) -> None:
        (event.listen if on else event.remove)(Session, "before_attach", identity_map._check_attached)
        object.__setattr__(self, name, on)


_attach_check = _NoAttachCheck()


def _no_attach_check(patch: Patch) -> None:
    patch.setattr(_attach_check, "on", False)


def _known_by_mixin(patch: Patch) -> None:
    patch.setattr(
        identity_map, "site_attribute", lambda mapper: "site_id" if issubclass(mapper.class_, SiteScoped) else None
    )


class _NoUnstamp(_NoAttachCheck):
    def __setattr__(self, name: str, on: Any) -> None:
        (event.listen if on else event.remove)(Session, "after_transaction_end", pin._detach_pin)
        object.__setattr__(self, name, on)


_detach_pin = _NoUnstamp()

# -- text --------------------------------------------------------------------------------------------------------------


def _catalogs_open(patch: Patch) -> None:
    for module in (compiler, tables_module):
        patch.setattr(module, "CATALOGS_WITH_ROWS", frozenset())


def _not_matched_by_name(patch: Patch) -> None:
    patch.setattr(tables_module.ScopedTables, "is_scoped", lambda self, table: False)


def _reach(name: str) -> Callable[[Patch], None]:
    return _method(tables_module.ScopedTables, name, lambda self, *args: tables_module.TableUse())


PARTS: dict[str, Part] = {
    "limit in WHERE": Part(
        _no_where,
        (
            "reads: entity",
            "reads: alias",
            "reads: inner join",
            "reads: cte",
            "reads: count",
            "objects: get",
            "objects: lazy of a reference",
            "cache: compiled for another site: entity",
            "execution: plain connection",
            "execution: request",
            "execution: forked worker",
        ),
    ),
    "limit in the ON of an outer join": Part(
        _no_on,
        (
            "reads: outer join",
            "reads: outer join on a cross-site reference",
            "objects: joinedload of a reference",
            "reads: outer join of a join",
        ),
    ),
    "derived table": Part(
        _no_derived_table,
        (
            "reads: full join",
            "reads: alias of an alias",
            "reads: full join of a join",
        ),
    ),
    "limit of UPDATE and DELETE": Part(
        _no_limit_of_changes,
        (
            "writes: update",
            "writes: delete of Core",
            "writes: legacy delete",
            "writes: update of an alias",
            "links: dynamic, updated",
        ),
    ),
    "limit of ON CONFLICT": Part(
        _plain_conflict,
        (
            "writes: upsert onto another site's row",
            "writes: upsert an expression as site_id",
        ),
    ),
    "parentheses around criteria": Part(
        _no_parentheses,
        (
            "writes: update with OR in text",
            "writes: delete with OR in text",
        ),
    ),
    "parentheses around values": Part(
        _method(dml, "_parenthesized", lambda value: value),
        (
            "writes: value that sets a second column: update",
            "writes: value that sets a second column: upsert",
        ),
    ),
    "check of an INSERT": Part(
        _method(dml.ScopedDMLCompiler, "_check_insert", lambda self, insert: None),
        (
            "writes: insert through a table without the default of site_id",
            "writes: insert from a select with site_id",
        ),
    ),
    "check of values": Part(
        _method(dml.ScopedDMLCompiler, "_check_value", lambda self, *args: None),
        (
            "writes: update site_id by an expression",
            "writes: insert a literal column as site_id",
            "writes: move by a parameter",
            "links: site_id changed to an expression",
        ),
    ),
    "check of OR REPLACE": Part(
        _read_with(replaces=False),
        (
            "writes: insert or replace",
            "writes: update or replace",
        ),
    ),
    "check of a bound site_id": Part(
        _value_as_given,
        (
            "writes: insert another site's site_id",
            "writes: update site_id",
            "reads: comparison with another site's site_id",
            "links: new object whose site_id is set later",
            "execution: plain connection, insert for another site",
        ),
    ),
    "default of site_id": Part(
        _default_of_another,
        (
            "writes: insert",
            "writes: insert many",
            "links: flush of a new object",
            "cache: compiled for another site: insert",
        ),
    ),
    "parameter that cannot be passed": Part(
        _parameter_as_given,
        (
            "reads: site overridden by a parameter",
            "reads: scoped text, site overridden",
            "execution: event that changes the parameters",
        ),
    ),
    "scope that is restored": Part(
        _register_not_restored,
        (
            "execution: default that runs a statement of another site",
            "execution: parameter that runs a statement of another site",
        ),
    ),
    "scope passed to the execution": Part(
        _nothing_handed_over, ("reads: entity", "writes: update", "execution: plain connection")
    ),
    "no site is an error": Part(
        _no_site_is_all_sites, ("reads: entity", "writes: delete", "execution: plain connection")
    ),
    "pin": Part(
        _no_pin,
        (
            "reads: entity",
            "execution: session pinned, within another site",
            "execution: session first used, after the block",
            "execution: request, streamed body",
        ),
    ),
    "check of the pin": Part(
        _no_check_of_pin,
        (
            "execution: session used within another site",
            "execution: session left open, used by the next request",
        ),
    ),
    "end of the pin": Part(_pin_for_ever, ("execution: session closed and used for another site",)),
    "pin removed from a connection": Part(
        lambda patch: patch.setattr(_detach_pin, "on", False), ("execution: connection after its session",)
    ),
    "one site per connection": Part(
        _method(pin, "_same", lambda one, other: True), ("execution: two sessions on one connection",)
    ),
    "check of attached objects": Part(
        _no_attach_check,
        (
            "links: another site's object added",
            "links: another site's object in a reference",
            "objects: another site's object read in a session",
            "execution: object of a class without SiteScoped, added",
        ),
    ),
    "check of merged objects": Part(
        _method(Session, "_merge", identity_map._merge),
        (
            "links: another site's object merged without a query",
            "objects: frozen result of another site",
            "execution: object of a class without SiteScoped, merged",
        ),
    ),
    "check of objects from the identity map": Part(
        _method(Session, "_identity_lookup", identity_map._identity_lookup),
        (
            "execution: identity map read by get in another block",
            "execution: identity map read by a lazy load in another block",
        ),
    ),
    "scoped classes found by their tables": Part(
        _known_by_mixin,
        (
            "execution: object of a class without SiteScoped, added",
            "execution: object of a class without SiteScoped, merged",
        ),
    ),
    "check of the session's info": Part(
        _method(pin.Pin, "_check_info", lambda self, scope: None),
        ("execution: session pinned, its information changed",),
    ),
    "pin while a session begins": Part(
        _method(SessionTransaction, "_connection_for_bind", pin._connection_for_bind),
        ("execution: listener of a session that begins",),
    ),
    "comparison of the finished SQL": Part(
        _method(ScopedCompiler, "_check_finished", lambda self: None),
        (
            "text: suffix in two parts",
            "text: operator and column",
            "text: text as FROM",
            "text: custom construct",
            "text: statement hint",
        ),
    ),
    "limit that is checked in the finished SQL": Part(
        _limit_not_read,
        (
            "text: suffix OR",
            "text: suffix OR of a scalar subquery",
            "text: statement hint OR",
            "text: extension behind WHERE",
            "text: update with an extension",
        ),
    ),
    "limits counted in the finished SQL": Part(
        _read_with(limits=99),
        (
            "text: construct that writes a table and another",
            "text: construct that writes a table and another, joined",
        ),
    ),
    "check that a fragment is self-contained": Part(
        _method(ScopedCompiler, "_check_self_contained", lambda self, text: text),
        (
            "text: text criterion that closes the parentheses",
            "text: parentheses within quotes",
        ),
    ),
    "check of names": Part(
        lambda patch: patch.delattr(names._CheckedNames, "quote"),
        ("writes: move by an unquoted column",),
    ),
    "check of whole strings": Part(
        _reach("table_use_of_string"),
        (
            "text: driver string",
            "execution: plain connection, driver string",
        ),
    ),
    "gate for strings of the driver": Part(
        _gate("init_statement"),
        (
            "text: driver string",
            "text: driver string update",
            "execution: plain connection, driver string",
        ),
    ),
    "gate for DDL": Part(
        _gate("init_ddl"),
        (
            "text: DDL with a query",
            "text: custom DDL",
            "text: construct of a table",
            "execution: plain connection, DDL",
        ),
    ),
    "gate for defaults": Part(
        lambda patch: patch.setattr(DefaultExecutionContext, "_exec_default_clause_element", execution._exec_default),
        ("writes: query as a default",),
    ),
    "gate for strings that SQLAlchemy executes by itself": Part(
        lambda patch: patch.setattr(DefaultExecutionContext, "_execute_scalar", execution._execute_scalar),
        ("text: server default that is executed first",),
        ("postgresql",),
    ),
    "functions that run SQL": Part(
        _method(tables_module, "_RUNS_SQL", lambda name: None),
        (
            "text: function that runs SQL",
            "text: statistics of words",
            "text: function that runs SQL, in text",
        ),
        ("postgresql",),
    ),
    "system tables with rows": Part(
        _catalogs_open,
        (
            "text: text on statistics",
            "text: statistics of columns",
        ),
        ("postgresql",),
    ),
    "views": Part(
        _method(execution, "first_unplain_name", lambda connection, names: None),
        (
            "text: text on a view",
            "text: text as FROM, view",
            "text: driver string on a view",
            "text: DDL on a view",
            "text: text on a table whose model is not imported",
        ),
    ),
    "undeclared tables": Part(
        # Views are recognized in the finished statement, too; other undeclared tables are not.
        _both(
            _method(tables_module.ScopedTables, "is_unknown", lambda self, table: False),
            _method(execution, "first_unplain_name", lambda connection, names: None),
        ),
        (
            "text: unknown view",
            "cache: allowed for all sites: unknown view",
        ),
    ),
    "tables by name": Part(
        _not_matched_by_name,
        (
            "reads: lightweight table",
            "reads: second MetaData",
            "reads: reflected table",
        ),
    ),
    "parameter of the reserved name": Part(
        lambda patch: patch.delattr(ScopedFragmentCompiler, "visit_bindparam"),
        ("text: parameter with the reserved name",),
    ),
    "parameter of scoped_text": Part(
        _method(text.ScopedText, "bindparams", sa.TextClause.bindparams),
        (
            "text: scoped text, bound to another site",
            "text: scoped text, reserved parameter bound",
        ),
    ),
    "statements for all sites outside the cache": Part(
        _plain_cached,
        (
            "cache: compiled for all sites: entity",
            "cache: compiled for all sites: lazily",
            "cache: compiled for all sites: update",
            "execution: plain connection, after all sites",
        ),
    ),
    "statements compiled before their table was scoped": Part(
        _nothing_cleared, ("cache: table that becomes scoped later",)
    ),
}


UNAFFECTED: dict[str, tuple[str, ...]] = {
    "it uses or adds own rows only, as in a database with one site": (
        "cache: compiled for another site: flush",
        "links: association cleared",
        "links: bulk_save_objects of changed ones",
        "links: commit and change again",
        "links: flush of a changed child",
        "links: flush of a changed object",
        "links: flush of a deleted child",
        "links: flush of a deleted object",
        "links: flush of an SQL expression",
        "links: flush of a cleared reference to another site",
        "links: flush with a version",
        "links: flush within a savepoint",
        "links: make_transient of an own object",
        "links: merge of an own object",
        "links: object with an association deleted",
        "links: orphans, by the database",
        "links: row with a reference to another site deleted",
        "links: reference set to None",
        "objects: contains",
        "objects: copied object",
        "objects: expired",
        "objects: expired after a rollback",
        "objects: expired attribute",
        "objects: refresh",
        "objects: refresh with a lock",
        "writes: bulk update by key",
        "writes: bulk_update_mappings",
        "writes: insert with the own site_id",
        "writes: upsert by a constraint",
        "writes: upsert of an own row",
    ),
    "the database refuses it by a foreign key or a primary key": (
        "links: another site's objects in a collection, by their key",
        "links: link to another site's object attached by its key",
        "links: new child with another site's primary key",
        "links: new object with another site's primary key",
        "links: own object given another site's primary key",
        "links: reference set to another site's key",
        "links: reference to another site's object attached by its key",
        "writes: insert from select with a reference to another site's row",
        "writes: insert into an association table with another site's key",
        "writes: insert or ignore onto another site's row",
        "writes: insert with another site's key",
        "writes: update of a key to another site's key",
        "writes: update to a reference to another site's row",
        "writes: upsert that does nothing",
        "writes: upsert to a reference to another site's row",
    ),
    "the database reports a syntax error": tuple(f"text: {name}" for name in sorted(SYNTAX_ERRORS)),
    "it is refused before a statement exists": (
        "execution: all sites for a blank reason",
        "execution: all sites without a reason",
        "execution: cached object of another site, loaded lazily",
        "execution: site of a session by its host",
        "execution: site of a session by its id",
        "text: scoped text with another parameter",
        "text: scoped text without its parameter",
    ),
}
"""The attempts with the same outcome without the scoping layer, by reason: they show that allowed operations work."""


def without_scoping(patch: Patch) -> None:
    """Remove the whole scoping layer. The default of `site_id` is then the other site."""
    patch.setattr(SQLCompiler, "__new__", lambda cls, *args, **kwargs: object.__new__(cls))
    for name in ("init_compiled", "init_statement", "init_ddl"):
        _gate(name)(patch)
    patch.setattr(DefaultExecutionContext, "_exec_default_clause_element", execution._exec_default)
    patch.setattr(Session, "_merge", identity_map._merge)
    patch.setattr(Session, "_identity_lookup", identity_map._identity_lookup)
    patch.setattr(SessionTransaction, "_connection_for_bind", pin._connection_for_bind)
    patch.setattr(DefaultExecutionContext, "_execute_scalar", execution._execute_scalar)
    patch.setattr(text.ScopedText, "bindparams", sa.TextClause.bindparams)
    _no_attach_check(patch)
    _no_check_of_pin(patch)
    patch.setattr(pin, "_same", lambda one, other: True)
    _value_as_given(patch)
    patch.setattr(column, "_executing_site_id", lambda what: TWO.id)
