"""The SQL compiler that adds `site_id = :site` for every scoped table that it renders.

`ScopedCompiler` is mixed in before the compiler class of the dialect in use. It does not raise while compiling, so that
a statement can always be printed: if a statement cannot be limited, the reason is stored in `unsupported_reason`, and
`UnscopedStatement` is raised when the statement is about to be executed. The compiler runs when a statement is first
compiled, not when a cached one is executed.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from weakref import WeakSet

from sqlalchemy.sql.elements import ClauseElement, _truncated_label, and_
from sqlalchemy.sql.expression import TableClause

from multisite.core import fork_safety
from multisite.core.dialects import SUPPORTED
from multisite.scoping.column import has_site_id
from multisite.scoping.fragment_compiler import UNBALANCED_TEXT, ScopedFragmentCompiler
from multisite.scoping.fragments import is_limited, is_limited_on
from multisite.scoping.names import SQL_IN_PLACE_OF_A_NAME
from multisite.scoping.predicate import LimitedTables, collect_limits, parenthesized, site_predicate, table_of
from multisite.scoping.sql_scanner import scan_sql
from multisite.scoping.tables import (
    CATALOGS_WITH_ROWS,
    PRIVATE_TABLES,
    limit_column,
    private_table_message,
    tables,
)
from multisite.scoping.written import Written

_Compiler: Any = object
"""The base of the class below, which is mixed in before a dialect's compiler; that has no type annotations."""

_compiled: WeakSet[ScopedCompiler] = WeakSet()
_compiled_lock = fork_safety.fork_safe_lock()

__all__ = ["PlainCompiler", "ScopedCompiler", "plain_class", "scoped_class"]


class PlainCompiler(_Compiler):
    """Marks a compiler class that adds no limits: for `all_sites`, migrations and databases without multisite."""


class ScopedCompiler(ScopedFragmentCompiler):
    """Limits a statement to the site in scope. Mixed in before a subclass of `SQLCompiler`."""

    names_scoped: bool
    """Whether the statement names a table that is declared as scoped."""
    names_lookalike: bool
    """Whether it names a table that only has the name of a scoped one."""
    unsupported_reason: str | None
    """What cannot be limited, as the subject of a sentence; None if everything can."""
    changes_own: str | None
    """The table of multisite itself whose rows it changes; None if it changes none."""
    changes_rows: bool
    """Whether it inserts, updates or deletes rows of a scoped table, even if it is a SELECT from such a change."""
    unknown: frozenset[str]
    """The undeclared tables that text in it names: the database is asked what they are."""
    namesake_schemas: frozenset[str]
    """The schemas of tables with the name of one of multisite's: the database is asked whether they are multisite's."""
    is_scoped_statement: bool
    """Whether any of these except the changes holds; if not, the statement is executed unchanged."""
    _limited_tables: LimitedTables
    _limits: list[tuple[str | None, list[str]]]
    """For each SELECT that is being written, innermost last: the limit in WHERE (None if there is none), and those in
    ON."""
    _written: Written
    _widening_text: str | None
    """Why text in the statement could widen a limit; None if no text could."""
    _as_written: str | None
    """The statement with named parameters, if the driver takes them by position; else None."""
    _uses_derived_tables: bool
    """Whether each scoped table is written as a derived table, whose limit nothing outside it can widen."""

    def __init__(self, dialect: Any, statement: ClauseElement | None, *args: Any, **kwargs: Any) -> None:
        self._begin(uses_derived_tables=False)
        super().__init__(dialect, statement, *args, **kwargs)
        if self.preparer.has_sql:
            self._note_widening_text(SQL_IN_PLACE_OF_A_NAME)
        if self._widening_text and not self.changes_rows:
            self.__dict__.clear()
            self._begin(uses_derived_tables=True)
            super().__init__(dialect, statement, *args, **kwargs)
        if statement is not None:
            self._check_finished()
            if self.dialect.name not in SUPPORTED and tables.named_in(self.string):
                # The scanner cannot tell comments and strings of that dialect from names.
                self.names_lookalike = True
        self.is_scoped_statement = any(
            (self.names_scoped, self.names_lookalike, self.unsupported_reason, self.unknown, self.namesake_schemas)
        )
        with _compiled_lock:
            _compiled.add(self)

    def _begin(self, *, uses_derived_tables: bool) -> None:
        self.names_scoped = self.names_lookalike = self.changes_rows = False
        self.unsupported_reason = self.changes_own = self._widening_text = self._as_written = None
        self._limits = []
        self.unknown = self.namesake_schemas = frozenset()
        self._limited_tables = LimitedTables()
        self._written = Written()
        self._uses_derived_tables = uses_derived_tables

    def _check_finished(self) -> None:
        """Refuse a statement whose finished SQL uses more scoped tables than have been limited."""
        # Statements without text are scanned too: the application's own constructs and types may write any SQL.
        scan = scan_sql(self._as_written or self.string, self.dialect.name)
        use = tables.table_use_of(scan, self._written)
        self.unknown |= use.unknown
        if self.changes_rows and not self._uses_derived_tables:
            if self._widening_text:
                self._refuse(self._widening_text)
            elif scan.has_line_comment and not self._written.known:
                self._refuse(UNBALANCED_TEXT)
        if use.fault:
            self._refuse(use.fault)
        self.preparer.is_finished = True
        self._as_written = None

    def _process_positional(self) -> None:
        self._as_written = self.string
        super()._process_positional()

    def _process_numeric(self) -> None:
        self._as_written = self.string
        super()._process_numeric()

    # -- which tables are scoped ---------------------------------------------------------------------------------

    def _is_scoped(self, table: TableClause) -> bool:
        if has_site_id(table):
            self.names_scoped = True
            return True
        if tables.is_scoped(table):
            self.names_lookalike = True
            if table.name.lower() in PRIVATE_TABLES:
                self._refuse(private_table_message(table.name))
            return True
        return False

    def _refuse(self, what: str) -> None:
        if self.unsupported_reason is None:
            self.unsupported_reason = what

    # -- reading -------------------------------------------------------------------------------------------------

    def visit_table(
        self, table: Any, asfrom: bool = False, iscrud: bool = False, ashint: bool = False, enclosing_alias: Any = None,
        within_tstring: bool = False, **kw: Any,
    ) -> str:  # fmt: skip
        """Render a scoped table in FROM as a derived table, unless its limit is elsewhere."""
        text = super().visit_table(
            table, asfrom=asfrom, iscrud=iscrud, ashint=ashint, enclosing_alias=enclosing_alias,
            within_tstring=within_tstring, **kw,
        )  # fmt: skip
        if ashint or not (asfrom or within_tstring):
            return text
        if not self._is_scoped(table):
            if tables.is_unknown(table):
                self.unknown |= {table.name.lower()}
            if table.name.lower() in CATALOGS_WITH_ROWS:
                self._refuse(f"the system table {table.name}")
            self._note_namesake(table)
            return text
        self._written.add(table.name)
        aliased = enclosing_alias is not None and enclosing_alias.element is table
        limited_elsewhere = (enclosing_alias if aliased else table) in self._limited_tables.tables
        if iscrud and not limited_elsewhere:
            # It would be changed without a limit: the target of a change cannot be a derived table.
            self._refuse(f"a change of '{table.name}' by a statement on another table")
        if iscrud or limited_elsewhere:
            return text
        column = self.preparer.quote(limit_column(table))
        site = self.process(site_predicate(table).right)
        derived = f"SELECT * FROM {text} WHERE {column} = {site}"  # noqa: S608  # Both are quoted names of tables.
        if not is_limited(derived, f"{column} = {site}", self.dialect.name):
            self._refuse(f"a hint on the table '{table.name}'")
        derived = f"({derived})"
        if aliased:
            return derived
        return derived + self.get_render_as_alias_suffix(self.preparer.quote(table.name))

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> str:
        """Render a column of a scoped table without its schema."""
        text = super().visit_column(column, *args, **kw)
        table = column.table
        if not isinstance(table, TableClause) or not (has_site_id(table) or tables.is_scoped(table)):
            return text
        # A derived table's name has no schema, and columns may be written before their table.
        schema = self.preparer.schema_for_object(table)
        return text.removeprefix(self.preparer.quote_schema(schema) + ".") if schema else text

    def visit_select(self, select: Any, *args: Any, **kw: Any) -> str:
        """Render a SELECT and check that its limits hold in the finished text."""
        self._limits.append((None, []))
        text = super().visit_select(select, *args, **kw)
        limit, on = self._limits.pop()
        if (limit and not is_limited(text, limit, self.dialect.name)) or (
            on and not is_limited_on(text, on, self.dialect.name)
        ):
            self._note_widening_text("a query with text behind its criteria, or that ends their brackets,")
        return text

    def _compose_select_body(
        self, text: str, select: Any, compile_state: Any, inner_columns: Any, froms: Any, byfrom: Any, toplevel: Any,
        kwargs: Any,
    ) -> str:  # fmt: skip
        outer, self._limited_tables = (
            self._limited_tables,
            LimitedTables() if self._uses_derived_tables else collect_limits(froms, self._is_scoped),
        )
        limit = None
        on = [self._generate_delimited_and_list(each, **kwargs) for each in self._limited_tables.on.values() if each]
        try:
            if self._limited_tables.where:
                limited = select._generate()
                # The limit comes first, so that the database checks it before it reads other values of a row.
                limited._where_criteria = (*self._limited_tables.where, *parenthesized(select._where_criteria))
                limit = self._generate_delimited_and_list(self._limited_tables.where, **kwargs)
                select = limited
            return super()._compose_select_body(
                text, select, compile_state, inner_columns, froms, byfrom, toplevel, kwargs
            )
        finally:
            self._limited_tables, self._limits[-1] = outer, (limit, on)

    def visit_join(self, join: Any, *args: Any, **kw: Any) -> str:
        """Render a join with the limits of its tables in ON."""
        if criteria := self._limited_tables.on.get(join):
            limited = join._clone()
            limited.onclause = and_(*criteria, *parenthesized([join.onclause]))
            join = limited
        return super().visit_join(join, *args, **kw)

    def visit_alias(self, alias: Any, *args: Any, **kw: Any) -> str:
        """Render an alias; inside one that is not of a table, no table is limited elsewhere."""
        outer = self._limited_tables
        if table_of(alias) is None:
            # Only elements of this FROM clause are limited elsewhere; the alias of an alias is not one of them.
            self._limited_tables = LimitedTables()
        try:
            return super().visit_alias(alias, *args, **kw)
        finally:
            self._limited_tables = outer

    def visit_cte(self, cte: Any, asfrom: bool = False, **kw: Any) -> str:
        """Render a CTE and record its name, which hides a table of the same name."""
        for each in (cte, cte._cte_alias):
            if asfrom and each is not None:
                # A CTE hides a table of the same name, so this mention needs no limit.
                anonymous = isinstance(each.name, _truncated_label)
                name = self._truncated_identifier("alias", each.name) if anonymous else each.name
                self._written.add(str(name), limited=False)
        return super().visit_cte(cte, asfrom=asfrom, **kw)


def _forget_compiled() -> None:
    """Mark all compiled statements for recompilation, because a table has become scoped."""
    with _compiled_lock:
        for compiled in list(_compiled):
            # Without this attribute it counts as compiled before scoping was installed.
            compiled.__dict__.pop("is_scoped_statement", None)
        _compiled.clear()


tables.changed = _forget_compiled


def _subclass(mixin: type, compiler: Any) -> Any:
    if issubclass(compiler, (ScopedCompiler, PlainCompiler)):
        # Its second base is the dialect's own compiler.
        compiler = compiler.__bases__[1]
    # The class has the name of the dialect's own, which SQLAlchemy's messages show. SQLCompiler has a metaclass, which
    # must create the class.
    attributes = {"__module__": compiler.__module__, "__qualname__": compiler.__qualname__}
    return type(compiler)(compiler.__name__, (mixin, compiler), attributes)


@cache
def scoped_class(compiler: Any) -> Any:
    """Return a subclass of `compiler`, the compiler class of a dialect, that limits statements to a site."""
    return _subclass(ScopedCompiler, compiler)


@cache
def plain_class(compiler: Any) -> Any:
    """Return a subclass of `compiler` that adds no limits."""
    return _subclass(PlainCompiler, compiler)
