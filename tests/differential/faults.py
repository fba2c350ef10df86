"""Faults for the scoping layer: each is a context manager that breaks one part of `multisite.scoping`.

They represent mistakes that a change of the scoping layer, or of SQLAlchemy, could introduce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators
from sqlalchemy.sql.selectable import Alias, ScalarSelect

from differential.world import World
from multisite.core import current_site
from multisite.scoping import column, dml, execution, identity_map, pin, predicate
from multisite.scoping.column import SiteId
from multisite.scoping.compiler import ScopedCompiler
from multisite.scoping.tables import ScopedTables, tables

Fault = Callable[[], AbstractContextManager[Any]]

FAULTS: dict[str, Fault] = {}
"""The faults by what is wrong, in words."""


def forget(world: World) -> None:
    """Clear the compiled statements and the functions that check values, so that both are created again."""
    tables.changed()
    for engine in set(world.engines.values()):
        engine.dialect._type_memos.clear()


def fault(name: str) -> Callable[[Fault], Fault]:
    def add(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return add


def method(name: str, replacement: Callable[..., Any], owner: Any = ScopedCompiler) -> AbstractContextManager[Any]:
    """Replace a method by `replacement`, which receives the original method as its first argument."""
    original = vars(owner).get(name)

    def inherited(self: Any, *args: Any, **kw: Any) -> Any:
        return getattr(super(owner, self), name)(*args, **kw)

    def replaced(self: Any, *args: Any, **kw: Any) -> Any:
        return replacement(original or inherited, self, *args, **kw)

    return patch.object(owner, name, replaced, create=original is None)


@contextmanager
def down(self: ScopedCompiler) -> Iterator[None]:
    """Inside the block, have the compiler write tables without their limits."""
    with patch.object(self, "_is_scoped", lambda table: bool(self._written.add(table.name, limited=False))):
        yield


def in_part(name: str, is_part: Callable[..., bool]) -> AbstractContextManager[Any]:
    """Write no limits inside those elements of a visit method for which `is_part` returns true."""

    def visit(original: Any, self: Any, element: Any, *args: Any, **kw: Any) -> Any:
        if not is_part(element, **kw):
            return original(self, element, *args, **kw)
        self.names_scoped = True
        with down(self):
            return original(self, element, *args, **kw)

    return method(name, visit)


@fault("no limit on the right side of an outer join")
def _outer() -> Any:
    def visit_join(original: Any, self: Any, join: Any, *args: Any, **kw: Any) -> Any:
        self._limited_tables.on.pop(join, None)
        return original(self, join, *args, **kw)

    return method("visit_join", visit_join)


@fault("no limit in a full join")
def _full() -> Any:
    return in_part("visit_join", lambda join, **kw: bool(join.full))


@fault("no limit in WHERE")
def _where() -> Any:
    def compose(
        original: Any, self: Any, text: str, select: Any, state: Any, inner: Any, froms: Any, *args: Any
    ) -> Any:
        with patch.object(
            predicate.LimitedTables, "where", property(lambda self: [], lambda self, value: None), create=True
        ):
            return original(self, text, select, state, inner, froms, *args)

    return method("_compose_select_body", compose)


@fault("no limit on aliases")
def _aliases() -> Any:
    limit = predicate.site_predicate
    return patch.object(
        predicate, "site_predicate", lambda element: sa.true() if isinstance(element, Alias) else limit(element)
    )


@fault("no limit inside a CTE")
def _cte() -> Any:
    return in_part("visit_cte", lambda cte, **kw: True)


@fault("no limit inside EXISTS")
def _exists() -> Any:
    return in_part("visit_unary", lambda unary, **kw: unary.operator is operators.exists)


@fault("no limit inside a scalar subquery")
def _scalar() -> Any:
    return in_part("visit_grouping", lambda grouping, **kw: isinstance(grouping, ScalarSelect))


@fault("no limit inside a subquery in FROM")
def _subquery() -> Any:
    return in_part("visit_subquery", lambda subquery, **kw: True)


@fault("no limit in the second part of a union")
def _union() -> Any:
    return in_part("visit_select", lambda select, **kw: bool(kw.get("compound_index")))


@fault("no limit on association tables")
def _secondary() -> Any:
    return one_table("oracle_post_tags")


@fault("no limit on the table of a derived class")
def _child() -> Any:
    return one_table("oracle_articles")


def one_table(name: str) -> Any:
    def is_scoped(original: Any, self: Any, table: Any) -> bool:
        found: bool = original(self, table)
        if found and table.name == name:
            # Only the limit is missing; the table is still recorded as written.
            self._written.add(name, limited=False)
            return False
        return found

    return method("_is_scoped", is_scoped)


@fault("no limit on a table that is only called like a scoped one")
def _by_name() -> Any:
    return patch.object(ScopedTables, "is_scoped", lambda self, table: False)


def unlimited(kind: str) -> Any:
    """Omit the limit of the target of an update or delete."""

    def limit(original: Any, self: Any, statement: Any) -> Any:
        limited, limited_tables = original(self, statement)
        return (statement if getattr(statement, kind) else limited), limited_tables

    return method("_limit_dml", limit)


@fault("no limit on DELETE")
def _delete() -> Any:
    return unlimited("is_delete")


@fault("no limit on UPDATE")
def _update() -> Any:
    return unlimited("is_update")


@fault("no limit on a bulk UPDATE by primary key")
def _by_key() -> Any:
    def limit(original: Any, self: Any, statement: Any) -> Any:
        limited, limited_tables = original(self, statement)
        return (statement if statement.is_update and self.for_executemany else limited), limited_tables

    return method("_limit_dml", limit)


@fault("a limit on the table of the statement, not on the one that is changed")
def _target() -> Any:
    return patch.object(dml, "target_of", lambda statement: statement.table)


@fault("no limit on the second table of UPDATE … FROM")
def _from() -> Any:
    def clause(original: Any, self: Any, *args: Any, **kw: Any) -> Any:
        with down(self):
            return original(self, *args, **kw)

    return method("update_from_clause", clause)


@fault("no limit on the row that an upsert runs into")
def _upsert() -> Any:
    def visit(self: Any, on_conflict: Any, **kw: Any) -> Any:
        self._written.conflicts += 1
        return super(dml.ScopedDMLCompiler, self).visit_on_conflict_do_update(on_conflict, **kw)

    return patch.object(dml.ScopedDMLCompiler, "visit_on_conflict_do_update", visit)


@fault("no limit on the rows that INSERT … SELECT copies")
def _from_select() -> Any:
    return in_part("visit_select", lambda select, **kw: bool(kw.get("insert_into")))


@fault("no refusal of text")
def _text() -> Any:
    return patch.object(execution, "_refuse", lambda what: None)


@fault("the site is baked into the compiled statement")
def _baked() -> Any:
    original = execution._scope_for

    def scope_for(compiled: Any, connection: Any, options: Any) -> Any:
        scope = original(compiled, connection, options)
        return scope if scope.site is None else compiled.__dict__.setdefault("baked", scope)

    return patch.object(execution, "_scope_for", scope_for)


@fault("the statement for all sites is taken for one site too")
def _plain_twin() -> Any:
    def init_compiled(
        cls: Any, dialect: Any, connection: Any, dbapi: Any, options: Any, compiled: Any, *args: Any, **kw: Any
    ) -> Any:
        twin = compiled.__dict__.get("multisite_plain")
        if twin is not None:
            twin.is_scoped_statement, compiled = False, twin
        return execution.init_compiled(cls, dialect, connection, dbapi, options, compiled, *args, **kw)

    return patch.object(DefaultExecutionContext, "_init_compiled", classmethod(init_compiled))


@fault("the default of site_id is the first site there was")
def _default() -> Any:
    first: list[int] = []
    original = column._executing_site_id

    def executing_site_id(what: str) -> int:
        site = original(what)
        if what.startswith("an INSERT"):
            first.append(site)
            return first[0]
        return site

    return patch.object(column, "_executing_site_id", executing_site_id)


@fault("another site's site_id is accepted")
def _site_id() -> Any:
    return patch.object(SiteId, "process_bind_param", lambda self, value, dialect: value)


@fault("merge is not checked")
def _merge() -> Any:
    return patch.object(Session, "_merge", identity_map._merge)


@contextmanager
def _unattached() -> Iterator[None]:
    event.remove(Session, "before_attach", identity_map._check_attached)
    try:
        yield
    finally:
        event.listen(Session, "before_attach", identity_map._check_attached)


FAULTS["an object of another site may be added"] = _unattached


@fault("the pin outlives close()")
def _pin_kept() -> Any:
    # The check of blocks is disabled as well: it would raise an error for the outdated pin.
    return patch.multiple(
        pin.Pin, is_current=lambda self, session: True, checked=lambda self: self.scope or self.resolve()
    )


@fault("the identity map outlives close()")
def _identity_map() -> Any:
    original = Session.close

    def close(self: Any) -> None:
        states = self.identity_map.all_states()
        original(self)
        for state in states:
            self.identity_map.add(state)
            state.session_id = self.hash_key

    return patch.object(Session, "close", close)


@fault("the site of a block decides, not the pin")
def _no_pin() -> Any:
    def scope_of(connection: Any) -> Any:
        carried = connection.__dict__.get(pin.PINNED)
        return current_site.current_scope() or (carried.checked() if carried is not None else None)

    return patch.object(execution, "scope_of", scope_of)


@fault("a session may be used where another site is current")
def _blocks() -> Any:
    return patch.object(pin.Pin, "checked", lambda self: self.scope or self.resolve())


@contextmanager
def _stamped() -> Iterator[None]:
    event.remove(Session, "after_transaction_end", pin._detach_pin)
    try:
        yield
    finally:
        event.listen(Session, "after_transaction_end", pin._detach_pin)


FAULTS["a lent connection keeps the pin of the session it was lent to"] = _stamped


@fault("the site of a block is not reset after an error")
@contextmanager
def _not_reset() -> Iterator[None]:
    @contextmanager
    def using_site(site: Any) -> Iterator[Any]:
        token = current_site._scope.set(current_site.Scope(site))
        yield site
        current_site._scope.reset(token)

    from differential import shared

    before = current_site._scope.get()
    with patch.object(shared, "using_site", using_site):
        try:
            yield
        finally:
            # Restore the site, so that the fault does not affect the tests that follow.
            current_site._scope.set(before)


@fault("without a site all rows are shown")
def _no_site() -> Any:
    original = execution._scope_for

    def scope_for(compiled: Any, connection: Any, options: Any) -> Any:
        return original(compiled, connection, options) if pin.scope_of(connection) else pin.ALL_SITES

    return patch.object(execution, "_scope_for", scope_for)
