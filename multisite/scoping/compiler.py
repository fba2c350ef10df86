"""The compiler that writes `site_id = :site` beside every scoped table, wherever one is rendered.

`ScopedCompiler` is mixed in front of the compiler of whatever dialect is in use. It never raises while compiling, so
that a statement can always be printed: what it cannot limit it notes in `refusal`, and the wall raises that when the
statement is about to be executed. It runs when a statement is first compiled, never when a cached one is executed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement, and_
from sqlalchemy.sql.expression import FromClause, TableClause

from multisite.scoping.column import SITE_COLUMN, SiteId
from multisite.scoping.predicate import Claims, claim, in_brackets, site_predicate, table_of
from multisite.scoping.tables import has_site_id, tables
from multisite.scoping.text import ScopedText

_Compiler: Any = object
"""What the two classes below derive from: they are mixed in front of a dialect's compiler, which has no types."""

__all__ = ["PlainCompiler", "ScopedCompiler", "plain_class", "scoped_class"]


class PlainCompiler(_Compiler):
    """Marks a compiler class that writes what it is told: for `all_sites`, migrations and foreign databases."""


class ScopedCompiler(_Compiler):
    """Limits a statement to the site in scope. Mixed in front of a subclass of `SQLCompiler`."""

    names_scoped: bool
    """Whether the statement names a table that is declared as scoped."""
    names_alike: bool
    """Whether it names a table that is only called like a scoped one."""
    refusal: str | None
    """What cannot be limited, as the subject of a sentence; None if all can."""
    concerns_sites: bool
    """Whether any of the three above is so: a statement that is not concerned is executed as it is."""
    _claims: Claims

    def __init__(self, dialect: Any, statement: ClauseElement | None, *args: Any, **kwargs: Any) -> None:
        self.names_scoped = self.names_alike = False
        self.refusal = None
        self._claims = Claims()
        super().__init__(dialect, statement, *args, **kwargs)
        self.concerns_sites = self.names_scoped or self.names_alike or self.refusal is not None

    # -- what is scoped ------------------------------------------------------------------------------------------

    def _is_scoped(self, table: TableClause) -> bool:
        if has_site_id(table):
            self.names_scoped = True
            return True
        if tables.is_scoped(table):
            self.names_alike = True
            return True
        return False

    def _refuse(self, what: str) -> None:
        if self.refusal is None:
            self.refusal = what

    # -- reading -------------------------------------------------------------------------------------------------

    def visit_table(
        self, table: Any, asfrom: bool = False, iscrud: bool = False, ashint: bool = False, enclosing_alias: Any = None,
        within_tstring: bool = False, **kw: Any,
    ) -> str:  # fmt: skip
        text: str = super().visit_table(
            table, asfrom=asfrom, iscrud=iscrud, ashint=ashint, enclosing_alias=enclosing_alias,
            within_tstring=within_tstring, **kw,
        )  # fmt: skip
        if ashint or not (asfrom or within_tstring):
            return text
        if not self._is_scoped(table):
            if tables.is_unknown(table):
                self._refuse(f"'{table.name}', a table or view that no model declares,")
            return text
        aliased = enclosing_alias is not None and enclosing_alias.element is table
        if iscrud or (enclosing_alias if aliased else table) in self._claims.tables:
            return text
        column = self.preparer.quote(SITE_COLUMN)
        site = self.process(site_predicate(table).right)
        derived = f"(SELECT * FROM {text} WHERE {column} = {site})"  # noqa: S608  # Both are quoted names of tables.
        if aliased:
            return derived
        return derived + self.get_render_as_alias_suffix(self.preparer.quote(table.name))

    def _compose_select_body(
        self, text: str, select: Any, compile_state: Any, inner_columns: Any, froms: Any, *args: Any
    ) -> str:
        outer, self._claims = self._claims, claim(froms, self._is_scoped)
        try:
            if self._claims.where:
                limited = select._generate()
                limited._where_criteria = (*in_brackets(select._where_criteria), *self._claims.where)
                select = limited
            return super()._compose_select_body(text, select, compile_state, inner_columns, froms, *args)
        finally:
            self._claims = outer

    def visit_join(self, join: Any, *args: Any, **kw: Any) -> str:
        if criteria := self._claims.on.get(join):
            limited = join._clone()
            limited.onclause = and_(*in_brackets([join.onclause]), *criteria)
            join = limited
        return super().visit_join(join, *args, **kw)

    def visit_textclause(self, textclause: Any, **kw: Any) -> str:
        if not isinstance(textclause, ScopedText):
            if not self.stack:
                if name := tables.named_in(textclause.text):
                    self._refuse(f"text() that names the scoped table '{name}'")
            elif fault := tables.fault_in(textclause.text):
                self._refuse(fault)
        else:
            self.names_scoped = True
        return super().visit_textclause(textclause, **kw)

    def visit_tstring_text(self, element: Any, **kw: Any) -> str:
        if fault := tables.fault_in(element.text):
            self._refuse(fault)
        return super().visit_tstring_text(element, **kw)

    def escape_literal_column(self, text: str) -> str:
        if fault := tables.fault_in(text):
            self._refuse(fault)
        return super().escape_literal_column(text)

    # -- writing -------------------------------------------------------------------------------------------------

    def _limit_dml(self, statement: Any) -> tuple[Any, Claims]:
        """Return `statement` limited to the site, and the claims in force while it is rendered."""
        claims = Claims()
        target: FromClause = statement.table
        table = table_of(target)
        if table is None:
            self._refuse("a statement that changes something other than a table")
        elif self._is_scoped(table):
            claims.tables.add(target)
            limited = statement._generate()
            limited._where_criteria = (*in_brackets(statement._where_criteria), site_predicate(target))
            statement = limited
        return statement, claims

    def visit_update(self, update_stmt: Any, *args: Any, **kw: Any) -> str:
        outer = self._claims
        update_stmt, self._claims = self._limit_dml(update_stmt)
        self._check_values(update_stmt)
        try:
            return super().visit_update(update_stmt, *args, **kw)
        finally:
            self._claims = outer

    def visit_delete(self, delete_stmt: Any, *args: Any, **kw: Any) -> str:
        outer = self._claims
        delete_stmt, self._claims = self._limit_dml(delete_stmt)
        try:
            return super().visit_delete(delete_stmt, *args, **kw)
        finally:
            self._claims = outer

    def visit_insert(self, insert_stmt: Any, *args: Any, **kw: Any) -> str:
        outer, self._claims = self._claims, Claims()
        if self._is_scoped(insert_stmt.table):
            self._check_insert(insert_stmt)
            self._check_values(insert_stmt)
        try:
            return super().visit_insert(insert_stmt, *args, **kw)
        finally:
            self._claims = outer

    def _check_insert(self, insert: Any) -> None:
        name = insert.table.name
        if not has_site_id(insert.table):
            self._refuse(f"an INSERT into '{name}' that does not go through its model")
        if insert.select is not None and SITE_COLUMN in {getattr(c, "name", c) for c in insert._select_names or ()}:
            self._refuse(f"an INSERT INTO '{name}' from a SELECT that gives site_id itself")
        if insert._prefixes:
            self._refuse(f"an INSERT INTO '{name}' with a prefix such as OR REPLACE")

    def _check_values(self, statement: Any) -> None:
        """Refuse an expression as the value of `site_id`; a bound value is checked by the type of the column."""
        rows: list[Any] = [dict(statement._values or ())]
        for many in statement._multi_values or ():
            rows.extend(row for row in many if hasattr(row, "items"))
        for row in rows:
            for column, value in row.items():
                if getattr(column, "name", column) == SITE_COLUMN and not _is_bound_site_id(value):
                    self._refuse("an expression as the value of site_id")

    def visit_on_conflict_do_update(self, on_conflict: Any, **kw: Any) -> str:
        target = self.stack[-1]["selectable"].table
        if self._is_scoped(target):
            for column, value in dict(on_conflict.update_values_to_set).items():
                if getattr(column, "name", column) == SITE_COLUMN and not _is_bound_site_id(value):
                    self._refuse("an expression as the value of site_id")
            own = [on_conflict.update_whereclause] if on_conflict.update_whereclause is not None else []
            limited = on_conflict._clone()
            limited.update_whereclause = and_(*in_brackets(own), site_predicate(target))
            on_conflict = limited
        return super().visit_on_conflict_do_update(on_conflict, **kw)


def _is_bound_site_id(value: Any) -> bool:
    if not isinstance(value, ClauseElement):
        return True
    # A plain value arrives here without a type; the compiler then gives it the column's, which is what checks it.
    return isinstance(value, BindParameter) and (value.type._isnull or isinstance(value.type, SiteId))


def _subclass(mixin: type, compiler: Any) -> Any:
    if issubclass(compiler, (ScopedCompiler, PlainCompiler)):
        # The dialect's own is the base behind the mixin.
        compiler = compiler.__bases__[1]
    name = mixin.__name__.removesuffix("Compiler") + compiler.__name__
    # SQLCompiler has a metaclass, which is what has to make the class.
    return type(compiler)(name, (mixin, compiler), {})


@cache
def scoped_class(compiler: Any) -> Any:
    """Return `compiler`, the compiler class of a dialect, with the limit to a site."""
    return _subclass(ScopedCompiler, compiler)


@cache
def plain_class(compiler: Any) -> Any:
    """Return `compiler` in a form that the wall leaves alone."""
    return _subclass(PlainCompiler, compiler)
