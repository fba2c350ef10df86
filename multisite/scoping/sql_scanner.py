"""Scan finished SQL for the tables that it reads or writes, by the lexical rules of SQLite and PostgreSQL.

SQL gets into a statement as text by many means: `text()`, hints, prefixes, operators, unquoted names, constructs with a
compiler of their own. Instead of handling each, the compiler compares the tables in the finished text with those that
it rendered itself. This is one pass over the text when a statement is first compiled. If the grammar is ambiguous, the
scanner reports a table too many, never one too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from multisite.scoping.column import SITE_PARAMETER
from multisite.scoping.fragments import has_nested_comment
from multisite.scoping.lexical import NUL, keyword, tokens

__all__ = ["SqlScan", "scan_sql"]

_BEFORE_A_NAME = frozenset({"LATERAL", "ONLY", "OR", "NOT", "EXISTS"})
_AFTER_OR = frozenset({"IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK"})
_END_OF_FROM = frozenset(
    {
        "WHERE", "SET", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "FETCH", "UNION", "EXCEPT", "INTERSECT",
        "WINDOW", "RETURNING", "FOR", "SELECT", "VALUES", "DEFAULT",
    }
)  # fmt: skip
_NAMES_IN_SQLITE = frozenset({"FOR", "FETCH", "OFFSET", "WINDOW"})
"""Those that may name a column in SQLite; OFFSET follows LIMIT, which has already ended FROM."""
_COMBINES = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_QUERIES = frozenset({"SELECT", "DELETE", "UPDATE", "MERGE"})
_FUNCTIONS_OF_SQLITE = frozenset({"json_each", "json_tree"})
"""The functions that return rows. Any other name in their place may be a virtual table."""
_DDL = frozenset({"CREATE", "ALTER", "DROP"})
_KINDS_OF_TABLES = frozenset({"TEMP", "TEMPORARY", "UNLOGGED", "FOREIGN", "VIRTUAL"})
_NOT_A_TARGET = frozenset({"FOR", "KEY", "DO", "ON"})
"""Before UPDATE: a lock, an upsert or a referential action, none of which is followed by a table."""


@dataclass
class SqlScan:
    """What a statement contains.

    `tables` are the tables that it reads or writes, lower-cased and without schema, once per mention. `calls` are the
    functions that it calls, lower-cased. `fault` is what cannot be scanned, None if everything can.
    """

    tables: list[str] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    unions: set[str] = field(default_factory=set)
    """The tables into which an INSERT writes the rows of several SELECTs, such as of a UNION."""
    conflicts: int = 0
    """How often it has ON CONFLICT."""
    replaces: bool = False
    """Whether it has OR REPLACE or REPLACE INTO, which delete rows with the same key."""
    limits: int = 0
    """How often it has the site parameter."""
    first_keywords: set[str] = field(default_factory=set)
    """The first keyword of each statement in it, "" for one that begins with anything else."""
    has_line_comment: bool = False
    """Whether it has a comment that extends to the end of its line."""
    fault: str | None = None


@dataclass
class _ParenState:
    """The state of the scanner inside one pair of parentheses."""

    query: bool = False
    deletes: bool = False
    in_from: bool = False
    expects: str | None = None
    """The keyword after which a table is expected, None elsewhere."""
    into: str | None = None
    """The target of an INSERT at this level."""


def scan_sql(sql: str, dialect: str) -> SqlScan:
    """Return what the statement `sql` contains, by the lexical rules of the dialect with that name."""
    found = tokens(sql, dialect)
    scan = _Scanner(found, dialect).scan
    if any(kind == "comment" and has_nested_comment(text, dialect) for kind, text in found):
        scan.fault = "a comment within a comment"
    elif NUL in sql:
        # libpq reads a C string: what follows, such as a limit, would be cut off.
        scan.fault = "SQL with a NUL, at which a driver may end it,"
    elif any(kind == "odd" for kind, text in found):
        scan.fault = "a string or a parameter of which the end is not clear"
    scan.first_keywords = set(_first_keywords(found))
    scan.has_line_comment = any(kind == "comment" and text.startswith("--") for kind, text in found)
    return scan


def _first_keywords(found: Sequence[tuple[str, str]]) -> Iterator[str]:
    begins = True
    for kind, text in found:
        if text == ";":
            begins = True
        elif begins and kind != "comment" and text != "(":
            yield keyword(text) if kind == "word" else ""
            begins = False


class _Scanner:
    """Goes through the tokens once, with a stack of states for the parentheses."""

    def __init__(self, tokens: Sequence[tuple[str, str]], dialect: str) -> None:
        # Only SQLite allows a table after IN; in position('a' IN title) of PostgreSQL it is a column.
        self.is_sqlite = dialect == "sqlite"
        self.before_tables = {"INTO", "COPY", "IN"} if self.is_sqlite else {"INTO", "COPY"}
        self.end_of_from = _END_OF_FROM - _NAMES_IN_SQLITE if self.is_sqlite else _END_OF_FROM
        self.tokens = [each for each in tokens if each[0] != "comment"]
        self.scan = SqlScan()
        self.levels = [_ParenState()]
        self.words = ["", ""]
        self.position = 0
        self.truncates = False
        while self.position < len(self.tokens):
            kind, text = self.tokens[self.position]
            self.position += 1
            if kind in ("word", "quoted", "string"):
                self._name_or_keyword(kind, text)
            else:
                self._mark(text)

    def _previous(self) -> str:
        """Return the token before the current one, "" at the beginning."""
        return self.tokens[self.position - 2][1] if self.position > 1 else ""

    def _peek(self, offset: int = 0) -> str:
        position = self.position + offset
        return self.tokens[position][1] if position < len(self.tokens) else ""

    def _mark(self, mark: str) -> None:
        level = self.levels[-1]
        if mark == "(":
            # After FROM or JOIN, parentheses contain a query or more tables; after IN, a query or a list.
            group = level.expects not in (None, "IN")
            self.levels.append(_ParenState(in_from=group, expects="FROM" if group else None))
            level.expects = None
        elif mark == ")":
            if len(self.levels) > 1:
                self.levels.pop()
        elif mark == ";":
            self.levels[-1] = _ParenState()
        elif mark == ",":
            level.expects = "FROM" if level.in_from else None
        elif mark == "&" and self._previous().upper() == "U" and self._peek().startswith('"'):
            self.scan.fault = "a name written with unicode escapes"
        else:
            level.expects = None
        # Keywords that belong together are adjacent: in (SELECT 1 AS key) UPDATE, KEY is the name of a column.
        self.words = ["", ""]

    def _name_or_keyword(self, kind: str, text: str) -> None:
        # After a point comes a column, whatever its name is.
        is_column = self._previous() == "."
        word = keyword(text) if kind == "word" and not is_column else ""
        if word == "DO" and self._previous() in ("", ";"):
            self.scan.fault = "a block of code"
        self._note_insert(word)
        self.scan.limits += text == SITE_PARAMETER.key
        if not (word and self._keyword(word)):
            if kind != "string" and self._peek() == "(":
                self.scan.calls.add(_bare(text))
            if self.levels[-1].expects:
                self._table(text)
        self.words = [self.words[-1], word]

    def _keyword(self, word: str) -> bool:
        """Handle a keyword; return False if `word` may be a name here."""
        level = self.levels[-1]
        before, last = self.words
        if level.expects and self._is_skipped(word, last):
            return True
        if word in _QUERIES:
            # This is never reset: UPDATE may be an alias after DELETE FROM.
            level.query, level.deletes = True, level.deletes or word in ("DELETE", "MERGE")
        if word == "FROM":
            # Not IS DISTINCT FROM, and not EXTRACT(year FROM created), whose parentheses contain no query.
            if level.query and not (last == "DISTINCT" and before in ("IS", "NOT")):
                level.in_from, level.expects = True, word
        elif word == "JOIN" or (word == "USING" and level.deletes) or self._truncates(word):
            level.in_from, level.expects = True, word
            self.truncates = self.truncates or word == "TRUNCATE"
        elif word in self.before_tables or (word == "UPDATE" and last not in _NOT_A_TARGET):
            # Not the end of FROM: ON title IN (…) may be followed by a comma and another table.
            level.expects = word
        elif word == "CASCADE" and self.truncates:
            self.scan.fault = "a TRUNCATE that empties also what refers to a table"
        elif word == "TABLE":
            level.expects = None if last in _DDL or (before in _DDL and last in _KINDS_OF_TABLES) else word
        elif word in self.end_of_from and not (level.in_from and self._is_alias(word, last)):
            level.in_from, level.expects = False, None
        else:
            return False
        return True

    def _truncates(self, word: str) -> bool:
        """Return whether a TRUNCATE begins here; anywhere else it is a name."""
        return word == "TRUNCATE" and self._previous() in ("", ";")

    def _note_insert(self, word: str) -> None:
        """Record what could add rows to those of an INSERT's one SELECT, or change existing rows."""
        into = self.levels[-1].into
        if into and word in _COMBINES:
            self.scan.unions.add(into)
        self.scan.conflicts += word == "CONFLICT" and self.words[-1] == "ON"
        if word == "REPLACE" and self._peek() != "(":
            self.scan.replaces |= self.words[-1] == "OR" or keyword(self._peek()) == "INTO"

    def _is_alias(self, word: str, last: str) -> bool:
        """Return whether a keyword that usually ends FROM is a name here: each database allows some as names."""
        if word == "SET":
            return last != "UPDATE"
        if word == "VALUES":
            return self._previous() != "("
        indexed = "INDEXED" in (keyword(self._peek()), keyword(self._peek(1)))
        return word != "SELECT" and (last == "AS" or self._peek() == "," or indexed)

    def _is_skipped(self, word: str, last: str) -> bool:
        """Return whether `word` comes between a keyword and the table: UPDATE OR IGNORE, FROM ONLY, TABLE IF EXISTS."""
        if word in _BEFORE_A_NAME or (word in _AFTER_OR and last == "OR"):
            return True
        following = keyword(self._peek())
        return (word == "IF" and following in ("NOT", "EXISTS")) or (word == "ROWS" and following == "FROM")

    def _table(self, text: str) -> None:
        """Record the table that comes here; it may be schema.table, or turn out to be a function.

        In SQLite, a virtual table may be called like a function.
        """
        keyword, self.levels[-1].expects = self.levels[-1].expects, None
        schema = ""
        while self._peek() == "." and self._peek(1):
            schema, text = text.lower(), self._peek(1)
            self.position += 2
        if schema == "information_schema":
            return
        name = _bare(text)
        is_call = self._peek() == "(" and keyword not in ("INTO", "COPY")
        if is_call:
            self.scan.calls.add(name)
        if not is_call or (self.is_sqlite and name not in _FUNCTIONS_OF_SQLITE):
            self.scan.tables.append(name)
        if keyword == "INTO":
            self.levels[-1].into = name


def _bare(name: str) -> str:
    """Return a name without its quotes, lower-cased."""
    quote = name[0]
    if quote in "'\"`":
        name = name[1:-1].replace(quote * 2, quote)
    elif quote == "[":
        name = name[1:-1]
    return name.lower()
