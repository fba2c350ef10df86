"""The statements of a search, and its hits.

The rows of segments are found by the numbers in their postings, in Python: a database joins two words that all of
100,000 rows have in a tenth of a second, Python intersects sets of their numbers in a hundredth.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from multisite.search.postings import Posting, bucket_of, read_posting, sort_key, unpack_dates
from multisite.search.tables import SEGMENT_SIZE, SearchTables
from multisite.search.words import Segment, marked, passage, query_terms

if TYPE_CHECKING:
    from multisite.search.index import SearchIndex

__all__ = ["Hit", "Hits", "find", "matching"]

_AT_A_TIME = 200
"""Found rows that one statement checks."""

_LISTED = 1000
"""Found rows that are listed in a condition."""

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
    terms = query_terms(text, language)
    if not terms:
        return Hits([], has_more=False)
    candidates = heapq.merge(_in_no_segment(index, session, terms), *_in_segments(index.tables, session, terms))
    start = (page - 1) * size
    keys = list(islice(_existing(index, session, candidates, where, first=start + size + 1), start, start + size + 1))
    rows = {row.id: row for row in session.scalars(sa.select(index.model).where(index.model.id.in_(keys[:size])))}
    hits = [
        Hit(
            rows[key],
            marked(getattr(rows[key], index.title) or "", terms, language),
            passage(index.text_of(rows[key]), terms, language),
        )
        for key in keys[:size]
        if key in rows  # Another transaction may have deleted it since.
    ]
    return Hits(hits, len(keys) > size)


def matching(index: SearchIndex, session: Session, text: str, language: str) -> ColumnElement[bool]:
    """Return the condition on the model that a row has all words of `text`; `SearchIndex.matches` describes it."""
    terms, words, model = query_terms(text, language), index.tables.words.c, index.model
    if not terms:
        return sa.false()
    has_terms = [_contains(session.get_bind(model).dialect.name, words.terms, term) for term in terms]
    found = chain.from_iterable(_in_segments(index.tables, session, terms))
    places = [place for *_, place in islice(found, _LISTED + 1)]
    if len(places) > _LISTED:
        # Most rows have words as common as these: a page of them is complete after a few.
        return sa.exists().where(words.row_id == model.id, *has_terms)
    near = sa.or_(words.position == 0, words.position.in_(places))
    key: ColumnElement[int] = model.id
    return key.in_(sa.select(words.row_id).where(near, *has_terms))


def _in_no_segment(index: SearchIndex, session: Session, terms: Sequence[str]) -> list[_Candidate]:
    """Return the rows in no segment that have all terms, in the order of the hits."""
    words, model = index.tables.words.c, index.model
    date = sa.select(getattr(model, index.date)).where(model.id == words.row_id).scalar_subquery()
    contains = partial(_contains, session.get_bind(index.model).dialect.name)
    rank = sum((sa.case((contains(words.titles, term), 1), else_=0) for term in terms), sa.literal(0))
    statement = sa.select(words.row_id, date, rank).where(words.position == 0)
    statement = statement.where(*(contains(words.terms, term) for term in terms))
    return sorted((-found, -sort_key(when), _NEWEST, -key) for key, when, found in session.execute(statement))


def _contains(dialect: str, column: sa.Column[str], term: str) -> ColumnElement[bool]:
    # LIKE takes several times as long.
    name = "strpos" if dialect == "postgresql" else "instr"
    contains: ColumnElement[bool] = getattr(sa.func, name)(column, f" {term} ", type_=sa.Integer) > 0
    return contains


def _in_segments(tables: SearchTables, session: Session, terms: Sequence[str]) -> Iterator[Iterator[_Candidate]]:
    """Yield the rows of each segment that have all terms, in the order of the hits."""
    segments, buckets = tables.segments.c, [tables.postings.alias(f"bucket_{n}") for n in range(len(terms))]
    statement = sa.select(segments.segment, segments.dates, *(bucket.c.postings for bucket in buckets))
    for bucket, term in zip(buckets, terms, strict=True):
        statement = statement.where(bucket.c.segment == segments.segment, bucket.c.bucket == bucket_of(term))
    for segment, dates, *texts in session.execute(statement):
        yield _of_segment(segment, dates, [*map(read_posting, texts, terms)])


def _of_segment(segment: int, dates: bytes, postings: Sequence[Posting]) -> Iterator[_Candidate]:
    first, *others = sorted((numbers for numbers, _ in postings), key=len)
    # Rows by how many of the terms are in their title.
    by_rank = [set(first).intersection(*others)]
    for _, in_title in postings:
        if in_title:
            found = [each.intersection(in_title) for each in by_rank]
            by_rank = [a | (b - c) for a, b, c in zip([set(), *found], [*by_rank, set()], [*found, set()], strict=True)]
    days = unpack_dates(dates)
    for rank, every in reversed(list(enumerate(by_rank))):
        # Numbers are in the order of the dates.
        for number in sorted(every):
            yield -rank, -days[number], -segment, segment * SEGMENT_SIZE + number


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
