"""The parts of the wall, each with a switch that takes it away: the negative control of the catalogue.

A part is switched off by putting something harmless, or something wrong, in its place; the ways named with it must
then end otherwise. `without_wall` takes all of it away.
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

from attack_catalogue.tails import TOLD
from multisite.scoping import SiteScoped, column, compiler, dml, execution, identity_map, names, pin, tables, text
from multisite.scoping.compiler import ScopedCompiler
from multisite.scoping.fragment_compiler import ScopedFragmentCompiler
from multisite.scoping.predicate import LimitedTables, collect_limits

__all__ = ["HARMLESS", "PARTS", "Part", "without_wall"]

tables_module: Any = import_module("multisite.scoping.tables")
"""The module: the package has the register of that name."""

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Part:
    """One part of the wall: `off` takes it away; `ways` are some of those that need it, on one database at least."""

    off: Callable[[Patch], None]
    ways: tuple[str, ...]
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
    """A set of claimed tables that holds all."""

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
    def off(patch: Patch) -> None:
        for each in offs:
            each(patch)

    return off


def _plain_conflict(patch: Patch) -> None:
    def unlimited(self: Any, on_conflict: Any, **kw: Any) -> str:
        self._written.conflicts += 1
        return super(dml.ScopedDMLCompiler, self).visit_on_conflict_do_update(on_conflict, **kw)

    patch.setattr(dml.ScopedDMLCompiler, "visit_on_conflict_do_update", unlimited)


def _no_brackets(patch: Patch) -> None:
    for module in (compiler, dml):
        patch.setattr(module, "parenthesized", lambda criteria: tuple(criteria))


def _limit_not_read(patch: Patch) -> None:
    for module in (compiler, dml):
        patch.setattr(module, "is_limited", lambda *args, **kw: True)


def _read_with(**fields: Any) -> Callable[[Patch], None]:
    """Have finished SQL read as if it had these."""
    scan_sql = compiler.scan_sql
    return lambda patch: patch.setattr(compiler, "scan_sql", lambda *args: replace(scan_sql(*args), **fields))


def _alias_keeps_claims(patch: Patch) -> None:
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
    """The scope of the statement in the making, without a way back to the one outside."""

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


def _plain_poisons(patch: Patch) -> None:
    plain = execution.recompile_unlimited

    def poisoning(compiled: Any) -> Any:
        found = plain(compiled)
        compiled.string, compiled.is_scoped_statement = found.string, False
        return found

    patch.setattr(execution, "recompile_unlimited", poisoning)


def _nothing_forgotten(patch: Patch) -> None:
    patch.setattr(tables, "changed", lambda: None)


# -- the pin ----------------------------------------------------------------------------------------------------------


def _no_pin(patch: Patch) -> None:
    patch.setattr(execution, "scope_of", lambda connection: pin.current_scope())


def _no_check_of_pin(patch: Patch) -> None:
    patch.setattr(pin.Pin, "checked", pin.Pin.resolve)


def _pin_for_ever(patch: Patch) -> None:
    patch.setattr(pin.Pin, "is_current", lambda self, session: True)


class _NoAttachCheck:
    """`MonkeyPatch` has no word for listeners: it undoes `setattr`, and this listens to that."""

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

# -- what is text -----------------------------------------------------------------------------------------------------


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
            "side: plain connection",
            "side: request",
            "side: forked worker",
        ),
    ),
    "limit in the ON of an outer join": Part(
        _no_on,
        (
            "reads: outer join",
            "reads: outer join on a poisoned reference",
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
            "writes: upsert onto a foreign row",
            "writes: upsert an expression as site_id",
        ),
    ),
    "brackets around criteria": Part(
        _no_brackets,
        (
            "writes: update with OR in text",
            "writes: delete with OR in text",
        ),
    ),
    "brackets around values": Part(
        _method(dml, "_parenthesized", lambda value: value),
        (
            "writes: value that sets a second column: update",
            "writes: value that sets a second column: upsert",
        ),
    ),
    "check of an INSERT": Part(
        _method(dml.ScopedDMLCompiler, "_check_insert", lambda self, insert: None),
        (
            "writes: insert through a table without our default",
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
            "writes: insert a foreign site_id",
            "writes: update site_id",
            "reads: comparison with a foreign site_id",
            "links: new object whose site_id is set later",
            "side: plain connection, insert for another site",
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
    "parameter that cannot be given": Part(
        _parameter_as_given,
        (
            "reads: site overridden by a parameter",
            "reads: scoped text, site overridden",
            "side: event that changes the parameters",
        ),
    ),
    "register that is restored": Part(
        _register_not_restored,
        (
            "side: default that runs a statement of another site",
            "side: parameter that runs a statement of another site",
        ),
    ),
    "scope handed over": Part(_nothing_handed_over, ("reads: entity", "writes: update", "side: plain connection")),
    "no site is an error": Part(_no_site_is_all_sites, ("reads: entity", "writes: delete", "side: plain connection")),
    "pin": Part(
        _no_pin,
        (
            "reads: entity",
            "side: session pinned, within another site",
            "side: session first used, after the block",
            "side: request, streamed body",
        ),
    ),
    "check of the pin": Part(
        _no_check_of_pin,
        (
            "side: session used within another site",
            "side: session left open, used by the next request",
        ),
    ),
    "end of the pin": Part(_pin_for_ever, ("side: session closed and used for another site",)),
    "pin taken off a connection": Part(
        lambda patch: patch.setattr(_detach_pin, "on", False), ("side: connection after its session",)
    ),
    "one site to a connection": Part(
        _method(pin, "_same", lambda one, other: True), ("side: two sessions on one connection",)
    ),
    "check of what is attached": Part(
        _no_attach_check,
        (
            "links: foreign object added",
            "links: foreign object in a reference",
            "objects: foreign object read in a session",
            "side: object of a class without SiteScoped, added",
        ),
    ),
    "check of what is merged": Part(
        _method(Session, "_merge", identity_map._merge),
        (
            "links: foreign object merged without a query",
            "objects: frozen result of another site",
            "side: object of a class without SiteScoped, merged",
        ),
    ),
    "check of what the identity map gives": Part(
        _method(Session, "_identity_lookup", identity_map._identity_lookup),
        (
            "side: identity map asked by get in another block",
            "side: identity map asked by a lazy load in another block",
        ),
    ),
    "classes are known by their tables": Part(
        _known_by_mixin,
        (
            "side: object of a class without SiteScoped, added",
            "side: object of a class without SiteScoped, merged",
        ),
    ),
    "check of the session's information": Part(
        _method(pin.Pin, "_check_info", lambda self, scope: None), ("side: session pinned, its information changed",)
    ),
    "pin while a session begins": Part(
        _method(SessionTransaction, "_connection_for_bind", pin._connection_for_bind),
        ("side: listener of a session that begins",),
    ),
    "comparison of the finished text": Part(
        _method(ScopedCompiler, "_check_finished", lambda self: None),
        (
            "text: suffix in two parts",
            "text: operator and column",
            "text: text as FROM",
            "text: construct of its own",
            "text: statement hint",
        ),
    ),
    "limit that is read once more": Part(
        _limit_not_read,
        (
            "text: suffix OR",
            "text: suffix OR of a scalar subquery",
            "text: statement hint OR",
            "text: extension behind WHERE",
            "text: update with an extension",
        ),
    ),
    "limits that are counted": Part(
        _read_with(limits=99),
        (
            "text: construct that writes a table and another",
            "text: construct that writes a table and another, joined",
        ),
    ),
    "check that a fragment is whole": Part(
        _method(ScopedCompiler, "_check_self_contained", lambda self, text: text),
        (
            "text: text criterion that ends the brackets",
            "text: brackets within quotes",
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
            "side: plain connection, driver string",
        ),
    ),
    "gate for strings of the driver": Part(
        _gate("init_statement"),
        (
            "text: driver string",
            "text: driver string update",
            "side: plain connection, driver string",
        ),
    ),
    "gate for DDL": Part(
        _gate("init_ddl"),
        (
            "text: DDL with a query",
            "text: DDL of its own",
            "text: construct of a table",
            "side: plain connection, DDL",
        ),
    ),
    "gate for defaults": Part(
        lambda patch: patch.setattr(DefaultExecutionContext, "_exec_default_clause_element", execution._exec_default),
        ("writes: query as a default",),
    ),
    "gate for strings that SQLAlchemy executes by itself": Part(
        lambda patch: patch.setattr(DefaultExecutionContext, "_execute_scalar", execution._execute_scalar),
        ("text: default of the server that is executed first",),
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
    "tables that nobody declares": Part(
        # A view is also recognised in the finished statement; what is not found there may pass.
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
        lambda patch: patch.delattr(ScopedFragmentCompiler, "visit_bindparam"), ("text: parameter of our name",)
    ),
    "parameter of scoped_text": Part(
        _method(text.ScopedText, "bindparams", sa.TextClause.bindparams),
        (
            "text: scoped text, bound to another site",
            "text: scoped text, our name bound",
        ),
    ),
    "all sites beside the cache": Part(
        _plain_poisons,
        (
            "cache: compiled for all sites: entity",
            "cache: compiled for all sites: lazily",
            "cache: compiled for all sites: update",
            "side: plain connection, after all sites",
        ),
    ),
    "statements compiled before their table was scoped": Part(
        _nothing_forgotten, ("cache: table that becomes scoped",)
    ),
}


HARMLESS: dict[str, tuple[str, ...]] = {
    "it names an own row, or makes one, as on a database of one site": (
        "cache: compiled for another site: flush",
        "links: association cleared",
        "links: bulk_save_objects of changed ones",
        "links: commit and change again",
        "links: flush of a changed child",
        "links: flush of a changed object",
        "links: flush of a deleted child",
        "links: flush of a deleted object",
        "links: flush of an SQL expression",
        "links: flush of what a foreign key leads to",
        "links: flush with a version",
        "links: flush within a savepoint",
        "links: make_transient of an own object",
        "links: merge of an own object",
        "links: object with an association deleted",
        "links: orphans, by the database",
        "links: poisoned row deleted",
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
    "the database refuses it by the reference or the key": (
        "links: foreign objects in a collection, by their key",
        "links: link to a foreign object attached by its key",
        "links: new child with a foreign primary key",
        "links: new object with a foreign primary key",
        "links: own object given a foreign primary key",
        "links: reference set to a foreign key",
        "links: reference to a foreign object attached by its key",
        "writes: insert from select with a foreign reference",
        "writes: insert into an association table with a foreign key",
        "writes: insert or ignore onto a foreign row",
        "writes: insert with a foreign key",
        "writes: update of a key to a foreign one",
        "writes: update to a reference to a foreign row",
        "writes: upsert that does nothing",
        "writes: upsert to a reference to a foreign row",
    ),
    "the database calls it a syntax error": tuple(f"text: {name}" for name in sorted(TOLD)),
    "it is refused before there is a statement": (
        "side: all sites for a blank reason",
        "side: all sites without a reason",
        "side: cached object of another site, loaded on",
        "side: site of a session by its host",
        "side: site of a session by its id",
        "text: scoped text with another parameter",
        "text: scoped text without its parameter",
    ),
}
"""The ways that end the same without the wall, and why: they show that what has to work does."""


def without_wall(patch: Patch) -> None:
    """Take the whole wall away. What fills in `site_id` is then any site's, here the other's."""
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
