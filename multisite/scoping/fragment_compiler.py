"""Text inside statements: the part of the scoped compiler that checks fragments while they are rendered.

`fragments` decides whether a fragment is self-contained. If it is not, the statement is refused, or each of its scoped
tables is written as a derived table, whose limit nothing outside it can widen.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.sql.expression import TextualSelect

from multisite.scoping.column import SITE_PARAMETER
from multisite.scoping.dml import ScopedDMLCompiler
from multisite.scoping.errors import UnscopedStatement
from multisite.scoping.fragments import is_self_contained, is_single_value
from multisite.scoping.names import checked_names
from multisite.scoping.sql_scanner import scan_sql
from multisite.scoping.tables import PRIVATE_TABLES, private_table_message, tables
from multisite.scoping.text import ScopedText

__all__ = ["UNBALANCED_TEXT", "ScopedFragmentCompiler"]

UNBALANCED_TEXT = "a fragment of text with unbalanced brackets, an open comment or quote, or a semicolon"
_KNOWN_HINT = re.compile(r"only|not indexed|indexed by \"?\w+\"?", re.IGNORECASE).fullmatch
"""Matches the hints of PostgreSQL and SQLite that may follow or precede a table."""


class ScopedFragmentCompiler(ScopedDMLCompiler):
    """Checks text within statements. Its subclass `ScopedCompiler` defines the attributes it uses."""

    names_scoped: bool
    unknown: frozenset[str]
    _widening_text: str | None

    @property
    def preparer(self) -> Any:
        """The dialect's preparer of names, with checks."""
        return self.__dict__["preparer"]

    @preparer.setter
    def preparer(self, preparer: Any) -> None:
        self.__dict__["preparer"] = checked_names(preparer)

    def _note_widening_text(self, what: str = UNBALANCED_TEXT) -> None:
        """Record that text could widen a limit: a SELECT is then written with derived tables, a change is refused."""
        self._widening_text = self._widening_text or what

    def _check_self_contained(self, text: str) -> str:
        if not is_self_contained(text, self.dialect.name):
            if is_self_contained(text, self.dialect.name, with_comments=True):
                self._note_widening_text()
            else:
                self._refuse(UNBALANCED_TEXT)
        return text

    def visit_grouping(self, grouping: Any, *args: Any, **kw: Any) -> str:
        """Render a grouping and check its content; every criterion next to a limit is in one."""
        text = super().visit_grouping(grouping, *args, **kw)
        self._check_self_contained(text[1:-1])
        return text

    def visit_textclause(self, textclause: Any, **kw: Any) -> str:
        """Render a text() and check it: a whole statement, a fragment of one, or a `scoped_text()`."""
        if isinstance(textclause, ScopedText):
            self.names_scoped = True
            scan = scan_sql(textclause.text, self.dialect.name)
            for name in scan.tables:
                self._written.add(name, limited=False)
                if name in PRIVATE_TABLES:
                    self._refuse(private_table_message(name))
            self._written.known.update(scan.tables)
            self._written.conflicts += scan.conflicts
        elif not self.stack:
            use = tables.table_use_of_string(textclause.text, self.dialect.name)
            self.unknown |= use.unknown
            if use.fault:
                self._refuse(use.fault)
        elif len(self.stack) > 1 or not isinstance(self.stack[0]["selectable"], TextualSelect):
            self._check_self_contained(textclause.text)
        return super().visit_textclause(textclause, **kw)

    def escape_literal_column(self, text: str) -> str:
        """Check and escape the text of a literal_column()."""
        return super().escape_literal_column(self._check_self_contained(text))

    def format_from_hint_text(self, sqltext: str, table: Any, hint: Any, iscrud: bool) -> str:
        """Render a hint, and record one that neither database has."""
        if not _KNOWN_HINT(str(hint).strip()):
            # It comes between a table and its limit, in ON too.
            self._note_widening_text("a hint behind the name of a table")
        return super().format_from_hint_text(sqltext, table, hint, iscrud)

    def render_bind_cast(self, type_: Any, *args: Any, **kw: Any) -> str:
        """Render the cast of a parameter and check the name of the type."""
        text = super().render_bind_cast(type_, *args, **kw)
        if not is_single_value(self._check_self_contained(text), self.dialect.name):
            self._note_widening_text(f"a value of the type {type(type_).__name__}, which writes more than its name,")
        return text

    def render_literal_value(self, value: Any, type_: Any, *args: Any, **kw: Any) -> str:
        """Render a literal value and check that it is a single value.

        Returns:
            The text of the value.

        Raises:
            UnscopedStatement: the value is inserted into a compiled statement and is not a single value.
        """
        text = super().render_literal_value(value, type_, *args, **kw)
        if not is_single_value(text, self.dialect.name) or scan_sql(text, self.dialect.name).tables:
            fault = f"a literal of the type {type(type_).__name__}, which writes more than a value,"
            if self.string:
                # The statement has already been compiled and scanned, and the literal is inserted now.
                raise UnscopedStatement(f"{fault} cannot be limited to a site: leave it a parameter")
            self._note_widening_text(fault)
        return text

    def visit_bindparam(self, bindparam: Any, *args: Any, **kw: Any) -> str:
        """Render a parameter; refuse one with the reserved name of the site parameter."""
        if bindparam.key == SITE_PARAMETER.key:
            if type(bindparam.type) is not type(SITE_PARAMETER.type):
                self._refuse(f"a parameter of the reserved name {bindparam.key}")
            # It has no value before the execution, so it remains a parameter with literal_binds too.
            kw["literal_binds"] = False
        return super().visit_bindparam(bindparam, *args, **kw)
