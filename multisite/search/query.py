"""The statement of a search, and its hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from multisite.search.words import Segment, marked, passage, query_terms

if TYPE_CHECKING:
    from multisite.search.index import SearchIndex

__all__ = ["Hit", "Hits", "find"]


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
    found = session.scalars(_statement(index, terms, where, limit=size + 1, offset=(page - 1) * size)).all()
    title = index.title
    hits = [
        Hit(row, marked(getattr(row, title) or "", terms, language), passage(index.text_of(row), terms, language))
        for row in found[:size]
    ]
    return Hits(hits, len(found) > size)


def _statement(
    index: SearchIndex, terms: Sequence[str], where: Sequence[ColumnElement[bool]], *, limit: int, offset: int
) -> sa.Select[Any]:
    model, tables = index.model, [index.table.alias(f"term_{number}") for number in range(len(terms))]
    first = tables[0].c
    rank: Any = first.in_title
    keys = sa.select(first.row_id, first.date)
    for table, term in zip(tables, terms, strict=True):
        keys = keys.where(table.c.term == term)
        if table is not tables[0]:
            keys = keys.where(table.c.row_id == first.row_id)
            rank = rank + table.c.in_title
    order = (rank.desc(), first.date.desc(), first.row_id.desc())
    if where:
        # EXISTS and not a join, which SQLite would begin with the rows of the model, and read all of them.
        keys = keys.where(sa.exists().where(model.id == first.row_id, *where))
    # The texts are read for the hits of the page only.
    chosen = keys.add_columns(rank.label("rank")).order_by(*order).limit(limit).offset(offset).subquery()
    statement = sa.select(model).join(chosen, chosen.c.row_id == model.id)
    return statement.order_by(chosen.c.rank.desc(), chosen.c.date.desc(), chosen.c.row_id.desc())
