"""Reading finished SQL: which tables it takes rows from, by a small scanner that knows both databases' lexical rules.

SQL reaches a statement in many ways that are text and not structure: `text()`, hints, prefixes, operators, unquoted
names, constructs with a compiler of their own. Rather than watch each of these ways, the compiler compares what the
finished text reads with the tables that it wrote itself. It takes one pass over the text, when a statement is first
compiled. Where the grammar is not clear the scanner sees a table too many, never one too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from multisite.scoping.column import SITE_PARAMETER
from multisite.scoping.fragments import has_nested_comment
from multisite.scoping.lexical import keyword, tokens

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
"""Those of these that may be the name of a column there; OFFSET comes behind LIMIT, which has ended FROM already."""
_COMBINES = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_QUERIES = frozenset({"SELECT", "DELETE", "UPDATE", "MERGE"})
_FUNCTIONS_OF_SQLITE = frozenset({"json_each", "json_tree"})
"""Those that give rows. Any other name in their place may be that of a virtual table."""
_DDL = frozenset({"CREATE", "ALTER", "DROP"})
_KINDS_OF_TABLES = frozenset({"TEMP", "TEMPORARY", "UNLOGGED", "FOREIGN", "VIRTUAL"})
_NOT_A_TARGET = frozenset({"FOR", "KEY", "DO", "ON"})
"""Before UPDATE: a lock, an upsert or a referential action, none of which is followed by a table."""


@dataclass
class SqlScan:
    """What a statement holds. `tables` are the names, lower-cased and without schema, that rows are taken from or
    written to, one for each mention; `calls` the functions called, lower-cased too; `fault` says what cannot be read at
    all, None if nothing."""

    tables: list[str] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    unions: set[str] = field(default_factory=set)
    """The tables into which an INSERT writes what more than one SELECT gives, such as by a UNION."""
    conflicts: int = 0
    """How often ON CONFLICT is written."""
    replaces: bool = False
    """Whether it has OR REPLACE, or REPLACE INTO, which deletes rows that hold the same key."""
    limits: int = 0
    """How often the parameter is named that limits to a site."""
    first_keywords: set[str] = field(default_factory=set)
    """The keyword that each statement in it begins with, "" for one that begins with something else."""
    has_line_comment: bool = False
    """Whether a comment goes on to the end of its line, over whatever comes there."""
    fault: str | None = None


@dataclass
class _ParenState:
    """What is known inside one pair of brackets."""

    query: bool = False
    deletes: bool = False
    in_from: bool = False
    expects: str | None = None
    """The keyword after which a table comes next, None elsewhere."""
    into: str | None = None
    """The table that an INSERT here writes to."""


def scan_sql(sql: str, dialect: str) -> SqlScan:
    """Return what the statement `sql` reads, by the lexical rules of the dialect of that name."""
    found = tokens(sql, dialect)
    scan = _Scanner(found, dialect).scan
    if any(kind == "comment" and has_nested_comment(text, dialect) for kind, text in found):
        scan.fault = "a comment within a comment"
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
    """Goes through the tokens once, with a stack of levels for the brackets."""

    def __init__(self, tokens: Sequence[tuple[str, str]], dialect: str) -> None:
        # Only SQLite takes a table behind IN; position('a' IN title) of the others has a column there.
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
        """Return the token before the one that is looked at, "" at the beginning."""
        return self.tokens[self.position - 2][1] if self.position > 1 else ""

    def _peek(self, offset: int = 0) -> str:
        position = self.position + offset
        return self.tokens[position][1] if position < len(self.tokens) else ""

    def _mark(self, mark: str) -> None:
        level = self.levels[-1]
        if mark == "(":
            # Behind FROM or JOIN a bracket holds a query or more tables, behind IN a query or a list.
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
        # What means something together stands together: in (SELECT 1 AS key) UPDATE, KEY is the name of a column.
        self.words = ["", ""]

    def _name_or_keyword(self, kind: str, text: str) -> None:
        # Behind a point comes a column, whatever it is called.
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
        """Take note of a keyword; return False if `word` may be a name here."""
        level = self.levels[-1]
        before, last = self.words
        if level.expects and self._is_skipped(word, last):
            return True
        if word in _QUERIES:
            # What has been so stays so: UPDATE may be an alias behind DELETE FROM.
            level.query, level.deletes = True, level.deletes or word in ("DELETE", "MERGE")
        if word == "FROM":
            # Not IS DISTINCT FROM, and not EXTRACT(year FROM created), whose brackets hold no query.
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
        """Take note of what could give an INSERT more rows than its one SELECT, or what happens to others."""
        into = self.levels[-1].into
        if into and word in _COMBINES:
            self.scan.unions.add(into)
        self.scan.conflicts += word == "CONFLICT" and self.words[-1] == "ON"
        if word == "REPLACE" and self._peek() != "(":
            self.scan.replaces |= self.words[-1] == "OR" or keyword(self._peek()) == "INTO"

    def _is_alias(self, word: str, last: str) -> bool:
        """Return whether a keyword that ends FROM elsewhere is a name in it: each database lets some of them be one."""
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
        """Take note of the table that comes here; it may be written schema.table, and may turn out a function.

        In SQLite a virtual table may be called as one.
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
    """Return a name as the database knows it, lower-cased."""
    quote = name[0]
    if quote in "'\"`":
        name = name[1:-1].replace(quote * 2, quote)
    elif quote == "[":
        name = name[1:-1]
    return name.lower()
