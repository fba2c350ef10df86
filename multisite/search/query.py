"""The statements of a search, and its hits.

The rows of segments are found by the numbers in their postings, in Python: a database joins two words that all of
100,000 rows have in a tenth of a second, Python intersects sets of their numbers in a hundredth.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from multisite.search.parsing import Prefix, Query, parse_query
from multisite.search.postings import Posting, bucket_of, read_posting, read_prefix, sort_key, unpack_dates
from multisite.search.tables import SEGMENT_SIZE
from multisite.search.words import Segment, marked, passage

if TYPE_CHECKING:
    from multisite.search.index import SearchIndex

__all__ = ["Hit", "Hits", "find", "matching"]

_AT_A_TIME = 200
"""Found rows that one statement checks."""

_LISTED = 1000
"""Found rows that are listed in a condition."""

_CHECKED_ROWS = 500
_CHECKED_CHARACTERS = 1_000_000
"""What is looked through for a phrase or the beginning of a word: a few tenths of a second."""

_FIRST_SEGMENTS = 8
"""Segments that are read at first. If more are needed, nearly always all are: of a word that few titles have."""

_NEWEST = -(2**62)
"""The age of rows in no segment, before that of all segments."""

_Candidate = tuple[int, int, int, int]
"""A row that was found: sort keys of rank, date and age, each smaller for an earlier place, and its position.

Of a row in no segment, the last is the negative primary key.
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found; `title` and `passage` are segments of text, of which the words of the query are marked."""

    row: Any
    title: list[Segment]
    passage: list[Segment]


@dataclass(frozen=True, slots=True)
class Hits:
    """A page of hits, and whether there are more. They are not counted."""

    hits: list[Hit]
    has_more: bool


def find(
    index: SearchIndex,
    session: Session,
    text: str,
    language: str,
    *,
    where: Sequence[ColumnElement[bool]],
    size: int,
    page: int,
) -> Hits:
    """Return a page of the rows with all words of `text`; `SearchIndex.search` describes it."""
    query = parse_query(text, language)
    if not query.wanted:
        return Hits([], has_more=False)
    candidates = _merged(_in_no_segment(index, session, query), _Segments(index, session, query))
    start = (page - 1) * size
    existing = _existing(index, session, candidates, where, first=start + size + 1)
    if query.needs_texts:
        rows = list(
            islice(_meeting(index, session, existing, query, language, first=start + size + 1), start + size + 1)
        )
        return Hits([_hit(index, row, query, language) for row in rows[start : start + size]], len(rows) > start + size)
    keys = list(islice(existing, start, start + size + 1))
    by_key = _rows(index, session, keys[:size])
    # Another transaction may have deleted some of them since.
    return Hits([_hit(index, by_key[key], query, language) for key in keys[:size] if key in by_key], len(keys) > size)


def _rows(index: SearchIndex, session: Session, keys: Sequence[int]) -> dict[int, Any]:
    return {row.id: row for row in session.scalars(sa.select(index.model).where(index.model.id.in_(keys)))}


def _hit(index: SearchIndex, row: Any, query: Query, language: str) -> Hit:
    title, text = getattr(row, index.title) or "", index.text_of(row)
    terms = query.terms_to_mark((title, text), language)
    return Hit(row, marked(title, terms, language), passage(text, terms, language))


def _meeting(
    index: SearchIndex, session: Session, keys: Iterator[int], query: Query, language: str, *, first: int
) -> Iterator[Any]:
    """Yield the rows of `keys` whose text meets the query, until enough texts have been looked through."""
    rows_left, characters_left = _CHECKED_ROWS, _CHECKED_CHARACTERS
    while some := list(islice(keys, min(first, rows_left))):
        rows = _rows(index, session, some)
        for key in some:
            if key not in rows:
                continue
            texts = getattr(rows[key], index.title) or "", index.text_of(rows[key])
            if query.is_met_by(texts, language):
                yield rows[key]
            characters_left -= sum(map(len, texts))
            if characters_left < 0:
                return
        rows_left -= len(some)


def matching(index: SearchIndex, session: Session, text: str, language: str) -> ColumnElement[bool]:
    """Return the condition on the model that a row has all words of `text`; `SearchIndex.matches` describes it."""
    query, words, model = parse_query(text, language), index.tables.words.c, index.model
    if not query.wanted:
        return sa.false()
    has_terms = [_contains(session.get_bind(model).dialect.name, words.terms, each) for each in query.wanted]
    found = chain.from_iterable(_Segments(index, session, query).all())
    places = [place for *_, place in islice(found, _LISTED + 1)]
    if len(places) > _LISTED:
        # Most rows have words as common as these: a page of them is complete after a few.
        return sa.exists().where(words.row_id == model.id, *has_terms)
    near = sa.or_(words.position == 0, words.position.in_(places))
    key: ColumnElement[int] = model.id
    return key.in_(sa.select(words.row_id).where(near, *has_terms))


def _in_no_segment(index: SearchIndex, session: Session, query: Query) -> list[_Candidate]:
    """Return the rows in no segment that have all that is wanted, in the order of the hits."""
    words, model = index.tables.words.c, index.model
    date = sa.select(getattr(model, index.date)).where(model.id == words.row_id).scalar_subquery()
    contains = partial(_contains, session.get_bind(index.model).dialect.name)
    rank = sum((sa.case((contains(words.titles, each), 1), else_=0) for each in query.wanted), sa.literal(0))
    statement = sa.select(words.row_id, date, rank).where(words.position == 0)
    statement = statement.where(*(contains(words.terms, each) for each in query.wanted))
    return sorted((-found, -sort_key(when), _NEWEST, -key) for key, when, found in session.execute(statement))


def _contains(dialect: str, column: ColumnElement[str], wanted: str | Prefix, end: str = " ") -> ColumnElement[bool]:
    """Return the condition that `column`, terms that begin with a space and end with `end`, has what is wanted."""
    # LIKE takes several times as long.
    name = "strpos" if dialect == "postgresql" else "instr"
    terms = (
        [f" {wanted}{end}"]
        if isinstance(wanted, str)
        else [f" {wanted.text}", *(f" {each}{end}" for each in wanted.shorter)]
    )
    return sa.or_(*(getattr(sa.func, name)(column, term, type_=sa.Integer) > 0 for term in terms))


class _Segments:
    """The segments of a site with rows that may have all that is wanted, newest first; they are read when needed."""

    def __init__(self, index: SearchIndex, session: Session, query: Query) -> None:
        self._session, self._wanted, tables = session, query.wanted, index.tables
        self._segments = segments = tables.segments.c
        self._buckets = [tables.postings.alias(f"bucket_{n}") for n in range(len(query.wanted))]
        contains = partial(_contains, session.get_bind(index.model).dialect.name, end=":")
        statement = self._select(segments.segment, sa.func.substr(segments.dates, 1, 8, type_=sa.LargeBinary))
        statement = statement.where(
            *(contains(bucket.c.postings, each) for bucket, each in zip(self._buckets, query.wanted, strict=True))
        )
        # Any of their rows may have all words in its title.
        rank = -len(query.wanted)
        found = session.execute(statement)
        self._bounds = deque(sorted((rank, -unpack_dates(newest)[0], -segment, 0) for segment, newest in found))
        self._at_a_time = _FIRST_SEGMENTS

    @property
    def bound(self) -> _Candidate | None:
        """What no row of the segments that are not read yet is before; None if all are read."""
        return self._bounds[0] if self._bounds else None

    def read(self) -> Iterator[Iterator[_Candidate]]:
        """Read some of the newest segments, and yield the rows of each that have all that is wanted, in order."""
        numbers = [-self._bounds.popleft()[2] for _ in range(min(self._at_a_time, len(self._bounds)))]
        self._at_a_time = _LISTED
        texts = (bucket.c.postings for bucket in self._buckets)
        statement = self._select(self._segments.segment, self._segments.dates, *texts)
        for segment, dates, *found in self._session.execute(statement.where(self._segments.segment.in_(numbers))):
            yield _of_segment(segment, dates, [*map(_posting, found, self._wanted)])

    def all(self) -> Iterator[Iterator[_Candidate]]:
        """Yield the rows of each segment."""
        while self._bounds:
            yield from self.read()

    def _select(self, *columns: Any) -> sa.Select[Any]:
        statement = sa.select(*columns)
        for bucket, each in zip(self._buckets, self._wanted, strict=True):
            number = bucket_of(each if isinstance(each, str) else each.text)
            statement = statement.where(bucket.c.segment == self._segments.segment, bucket.c.bucket == number)
        return statement


def _merged(in_no_segment: Iterable[_Candidate], segments: _Segments) -> Iterator[_Candidate]:
    """Yield all candidates in the order of the hits; a segment is read when one of its rows may be the next."""
    heap: list[tuple[_Candidate, Iterator[_Candidate]]] = []

    def push(rows: Iterator[_Candidate]) -> None:
        if (first := next(rows, None)) is not None:
            heapq.heappush(heap, (first, rows))

    push(iter(in_no_segment))
    while heap or segments.bound is not None:
        while segments.bound is not None and (not heap or segments.bound <= heap[0][0]):
            for rows in segments.read():
                push(rows)
        if heap:
            candidate, rows = heapq.heappop(heap)
            yield candidate
            push(rows)


def _posting(bucket: str, wanted: str | Prefix) -> Posting:
    if isinstance(wanted, str):
        return read_posting(bucket, wanted)
    return read_prefix(bucket, wanted.text, wanted.shorter)


def _of_segment(segment: int, dates: bytes, postings: Sequence[Posting]) -> Iterator[_Candidate]:
    # Numbers are in the order of the dates.
    days, first = unpack_dates(dates), segment * SEGMENT_SIZE
    for rank, numbers in _by_rank(postings):
        for number in numbers:
            yield -rank, -days[number], -segment, first + number


def _by_rank(postings: Sequence[Posting]) -> Iterator[tuple[int, Iterable[int]]]:
    """Yield the numbers that are in all postings, in their order, by how many of these have them in the title."""
    if len(postings) == 1:
        # Nearly always only the first numbers are needed, so the others are not put into sets.
        numbers, in_title = postings[0]
        yield 1, in_title
        if len(in_title) < len(numbers):
            yield 0, sorted(set(numbers).difference(in_title))
        return
    first, *others = sorted((numbers for numbers, _ in postings), key=len)
    by_rank = [set(first).intersection(*others)]
    for _, in_title in postings:
        if in_title:
            found = [each.intersection(in_title) for each in by_rank]
            by_rank = [a | (b - c) for a, b, c in zip([set(), *found], [*by_rank, set()], [*found, set()], strict=True)]
    for rank, every in reversed(list(enumerate(by_rank))):
        yield rank, sorted(every)


def _existing(
    index: SearchIndex,
    session: Session,
    candidates: Iterable[_Candidate],
    where: Sequence[ColumnElement[bool]],
    *,
    first: int,
) -> Iterator[int]:
    """Yield the primary keys of the candidates that are not outdated and meet the conditions.

    Args:
        index: The index.
        session: A session for a site.
        candidates: The candidates in the order of the hits.
        where: The conditions.
        first: How many are probably needed.
    """
    words, model = index.tables.words.c, index.model
    iterator = iter(candidates)
    # EXISTS and not a join, which SQLite would begin with the rows of the model, and read all of them.
    statement = sa.select(words.row_id, words.position).where(sa.exists().where(model.id == words.row_id, *where))
    while some := [place for *_, place in islice(iterator, min(first, _AT_A_TIME))]:
        positions, rows = [place for place in some if place > 0], [-place for place in some if place < 0]
        ways = [words.position.in_(positions)] if positions else []
        ways += [words.row_id.in_(rows)] if rows else []
        found = {position or -key: key for key, position in session.execute(statement.where(sa.or_(*ways)))}
        yield from (found[place] for place in some if place in found)
