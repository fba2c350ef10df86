"""The compiler that writes `site_id = :site` beside every scoped table, wherever one is rendered.

`ScopedCompiler` is mixed in front of the compiler of whatever dialect is in use. It never raises while compiling, so
that a statement can always be printed: what it cannot limit it notes in `refusal`, and the wall raises that when the
statement is about to be executed. It runs when a statement is first compiled, never when a cached one is executed.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any
from weakref import WeakSet

from sqlalchemy.sql.elements import ClauseElement, _truncated_label, and_
from sqlalchemy.sql.expression import TableClause, TextualSelect

from multisite import forks
from multisite.dialects import SUPPORTED
from multisite.scoping.changes import ScopedChanges
from multisite.scoping.column import SITE_COLUMN, SITE_PARAMETER
from multisite.scoping.predicate import Claims, claim, in_brackets, site_predicate, table_of
from multisite.scoping.reading import is_value, is_whole, read
from multisite.scoping.refusal import UnscopedStatement
from multisite.scoping.tables import CATALOGS_WITH_ROWS, has_site_id, tables, unknown
from multisite.scoping.text import ScopedText

_Compiler: Any = object
"""What the class below derives from: it is mixed in front of a dialect's compiler, which has no types."""

_compiled: WeakSet[ScopedCompiler] = WeakSet()
_compiled_lock = forks.new_lock()

__all__ = ["PlainCompiler", "ScopedCompiler", "plain_class", "scoped_class"]


class PlainCompiler(_Compiler):
    """Marks a compiler class that writes what it is told: for `all_sites`, migrations and foreign databases."""


class ScopedCompiler(ScopedChanges):
    """Limits a statement to the site in scope. Mixed in front of a subclass of `SQLCompiler`."""

    names_scoped: bool
    """Whether the statement names a table that is declared as scoped."""
    names_alike: bool
    """Whether it names a table that is only called like a scoped one."""
    refusal: str | None
    """What cannot be limited, as the subject of a sentence; None if all can."""
    changes_rows: bool
    """Whether rows of such a table are inserted, updated or deleted, also where it only reads what that returns."""
    unknown: frozenset[str]
    """The tables that only text in it names, and that nobody declares: the database has to say what they are."""
    concerns_sites: bool
    """Whether any of these but the change is so: a statement that is not concerned is executed as it is."""
    _claims: Claims
    _written: Counter[str]
    """How often a scoped table was written, and limited, by name."""
    _conflicts: int
    """How often an ON CONFLICT was written, and limited."""
    _known: set[str]
    """The names that a `scoped_text()` uses, whose author vouches for them."""

    def __init__(self, dialect: Any, statement: ClauseElement | None, *args: Any, **kwargs: Any) -> None:
        self.names_scoped = self.names_alike = self.changes_rows = False
        self.refusal = None
        self.unknown = frozenset()
        self._claims = Claims()
        self._written = Counter()
        self._known = set()
        self._conflicts = 0
        super().__init__(dialect, statement, *args, **kwargs)
        if statement is not None:
            self._check_finished(self.string)
            if self.dialect.name not in SUPPORTED and tables.named_in(self.string):
                # Whether what names it is a comment or a string there, nobody here knows.
                self.names_alike = True
        self.concerns_sites = any((self.names_scoped, self.names_alike, self.refusal, self.unknown))
        with _compiled_lock:
            _compiled.add(self)

    def _check_finished(self, sql: str) -> None:
        """Refuse a statement that reads more than what has been limited, whichever way that came into it."""
        # Each is read, also without text in it: constructs and types of the application's own write what they like.
        reach = tables.reach_of(sql, self.dialect.name, self._written, self._known, self._conflicts)
        self.unknown |= reach.unknown
        if reach.fault:
            self._refuse(reach.fault)

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
        text = super().visit_table(
            table, asfrom=asfrom, iscrud=iscrud, ashint=ashint, enclosing_alias=enclosing_alias,
            within_tstring=within_tstring, **kw,
        )  # fmt: skip
        text = self._named(table.name, self._named(getattr(table, "schema", "") or "", text))
        if ashint or not (asfrom or within_tstring):
            return text
        if not self._is_scoped(table):
            if tables.is_unknown(table):
                self._refuse(unknown(table.name))
            if table.name.lower() in CATALOGS_WITH_ROWS:
                self._refuse(f"the system table {table.name}")
            return text
        self._written[table.name.lower()] += 1
        aliased = enclosing_alias is not None and enclosing_alias.element is table
        claimed = (enclosing_alias if aliased else table) in self._claims.tables
        if iscrud and not claimed:
            # It would be changed without a limit, which a derived table cannot give it.
            self._refuse(f"a change of '{table.name}' by a statement on another table")
        if iscrud or claimed:
            return text
        column = self.preparer.quote(SITE_COLUMN)
        site = self.process(site_predicate(table).right)
        derived = f"(SELECT * FROM {text} WHERE {column} = {site})"  # noqa: S608  # Both are quoted names of tables.
        if aliased:
            return derived
        return derived + self.get_render_as_alias_suffix(self.preparer.quote(table.name))

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> str:
        text = super().visit_column(column, *args, **kw)
        table = column.table
        if not isinstance(table, TableClause) or not (has_site_id(table) or tables.is_scoped(table)):
            return text
        # A derived table cannot have a schema in its name, and columns may be written before it is.
        schema = self.preparer.schema_for_object(table)
        return text.removeprefix(self.preparer.quote_schema(schema) + ".") if schema else text

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

    def visit_alias(self, alias: Any, *args: Any, **kw: Any) -> str:
        outer = self._claims
        if table_of(alias) is None:
            # What is claimed is a place in this FROM clause; an alias of a claimed alias is another place.
            self._claims = Claims()
        try:
            return self._named(alias.name, super().visit_alias(alias, *args, **kw))
        finally:
            self._claims = outer

    def visit_cte(self, cte: Any, asfrom: bool = False, **kw: Any) -> str:
        for each in (cte, cte._cte_alias):
            if asfrom and each is not None:
                # It hides a table of that name, so it is one mention that needs no limit.
                anonymous = isinstance(each.name, _truncated_label)
                name = self._truncated_identifier("alias", each.name) if anonymous else each.name
                self._written[str(name).lower()] += 1
        return super().visit_cte(cte, asfrom=asfrom, **kw)

    # -- text ----------------------------------------------------------------------------------------------------

    def _whole(self, text: str) -> str:
        """Refuse `text` if it could end the brackets around it, or turn what follows it into a comment."""
        if not is_whole(text, self.dialect.name):
            self._refuse("a fragment of text with unbalanced brackets, an open comment or quote, or a semicolon")
        return text

    def _named(self, name: str, text: str) -> str:
        """Return `text`; refuse it if it holds SQL in place of a name, by `quoted_name(…, quote=False)`."""
        if getattr(name, "quote", None) is False and not name.isidentifier():
            self._refuse("SQL in place of a name")
        return text

    def visit_grouping(self, grouping: Any, *args: Any, **kw: Any) -> str:
        # Every criterion next to a limit is in brackets.
        text = super().visit_grouping(grouping, *args, **kw)
        self._whole(text[1:-1])
        return text

    def visit_textclause(self, textclause: Any, **kw: Any) -> str:
        if isinstance(textclause, ScopedText):
            self.names_scoped = True
            reading = read(textclause.text, self.dialect.name)
            self._written.update(reading.tables)
            self._known.update(reading.tables)
            self._conflicts += reading.conflicts
        elif not self.stack:
            reach = tables.reach_of_string(textclause.text, self.dialect.name)
            self.unknown |= reach.unknown
            if reach.fault:
                self._refuse(reach.fault)
        elif len(self.stack) > 1 or not isinstance(self.stack[0]["selectable"], TextualSelect):
            self._whole(textclause.text)
        return super().visit_textclause(textclause, **kw)

    def escape_literal_column(self, text: str) -> str:
        return super().escape_literal_column(self._whole(text))

    def get_statement_hint_text(self, hint_texts: Any) -> str:
        return self._whole(super().get_statement_hint_text(hint_texts))

    def format_from_hint_text(self, *args: Any) -> str:
        return self._whole(super().format_from_hint_text(*args))

    def visit_extract(self, extract: Any, **kw: Any) -> str:
        if not str(extract.field).isidentifier():
            self._refuse("an extract() of something other than a field")
        return super().visit_extract(extract, **kw)

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> str:
        if fault := tables.fault_in_call(func.name):
            self._refuse(fault)
        return self._named(func.name, super().visit_function(func, *args, **kw))

    def visit_label(self, label: Any, *args: Any, **kw: Any) -> str:
        return self._named(label.name, super().visit_label(label, *args, **kw))

    def visit_collation(self, element: Any, **kw: Any) -> str:
        return self._named(element.collation, super().visit_collation(element, **kw))

    def render_bind_cast(self, type_: Any, *args: Any, **kw: Any) -> str:
        text = super().render_bind_cast(type_, *args, **kw)
        if not is_value(text, self.dialect.name):
            self._refuse(f"a value of the type {type(type_).__name__}, which writes more than its name,")
        return text

    def _is_plain(self, text: str) -> bool:
        return is_value(text, self.dialect.name) and not read(text, self.dialect.name).tables

    def render_literal_value(self, value: Any, type_: Any, *args: Any, **kw: Any) -> str:
        text = super().render_literal_value(value, type_, *args, **kw)
        if not (type(type_).__module__.startswith("sqlalchemy.") or self._is_plain(text)):
            fault = f"a literal of the type {type(type_).__name__}, which writes more than a value,"
            if hasattr(self, "string"):
                # It is written into a statement that has been compiled, and read, before.
                raise UnscopedStatement(f"{fault} cannot be limited to a site: leave it a parameter")
            self._refuse(fault)
        return text

    def visit_bindparam(self, bindparam: Any, *args: Any, **kw: Any) -> str:
        if bindparam.key == SITE_PARAMETER.key:
            if type(bindparam.type) is not type(SITE_PARAMETER.type):
                self._refuse(f"a parameter of the reserved name {bindparam.key}")
            # Without a value before it is executed, it stays a parameter when values are printed in place.
            kw["literal_binds"] = False
        return super().visit_bindparam(bindparam, *args, **kw)


def _forget_compiled() -> None:
    """Have all statements compiled again: a name in them has become that of a scoped table."""
    with _compiled_lock:
        for compiled in list(_compiled):
            # Without this attribute it counts as compiled before the wall was put up.
            compiled.__dict__.pop("concerns_sites", None)
        _compiled.clear()


tables.changed = _forget_compiled


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
