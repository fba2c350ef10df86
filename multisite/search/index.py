"""A search index: the words of a scoped model, and the flush that keeps them up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from multisite.core import program
from multisite.core.site import Site
from multisite.errors import NoCurrentSite
from multisite.scoping.pin import pin_of
from multisite.search.query import Hits, find, matching
from multisite.search.segments import MAX_IN_FLUSH, write_segments
from multisite.search.tables import make_tables
from multisite.search.words import plain_text, terms_of

__all__ = ["SearchIndex", "indexes"]

log = logging.getLogger(__name__)

indexes: list[SearchIndex] = []
"""All indexes of the process, in the order of their declaration."""

_BATCH = 200
"""Rows that are indexed again at a time, and keys in one statement."""


class SearchIndex:
    """The index of a scoped model, in three tables of its MetaData (`multisite.search.tables`).

    It is up to date after each flush. Statements that change rows without a flush (`sa.update(Model)`, `psql`) leave
    the old words in it until `reindex`; rows that are deleted are removed from it by the database.

    Args:
        model: A model with `SiteScoped` and an integer primary key `id`.
        title: The attribute whose words count most.
        texts: Attributes with plain text.
        html: Attributes with sanitized HTML.
        date: An attribute with a date, a time or an integer; rows with a later one come first among hits of the same
            rank, those without one last.
    """

    def __init__(
        self, model: type[Any], *, title: str, texts: Sequence[str] = (), html: Sequence[str] = (), date: str
    ) -> None:
        self.model, self.title, self.texts, self.html, self.date = model, title, tuple(texts), tuple(html), date
        self.tables = make_tables(model.__table__)
        indexes.append(self)

    def search(
        self, session: Session, text: str, *, where: Sequence[ColumnElement[bool]] = (), size: int = 10, page: int = 1
    ) -> Hits:
        """Return page `page` (from 1) of the rows with all words of `text`.

        Rows with more of the words in the title come first; among these, the newer ones. The order depends on these
        rows alone: statistics of all sites would tell what other sites contain.

        Args:
            session: A session for a site.
            text: The query. Any text is valid; without a word, nothing is found.
            where: Conditions on the model, such as that a row is published.
            size: Hits on a page.
            page: The number of the page.
        """
        return find(self, session, text, _site(session).locale, where=where, size=size, page=page)

    def matches(self, session: Session, text: str) -> ColumnElement[bool]:
        """Return the condition on the model that a row has all words of `text`; without a word, no row has.

        Args:
            session: A session for a site.
            text: The query, as for `search`.
        """
        return matching(self, session, text, _site(session).locale)

    def reindex(self, session: Session, done: Callable[[int], object] = lambda number: None) -> int:
        """Index all rows of the session's site again, and commit after each batch.

        Args:
            session: A session for a site.
            done: Called with the number of rows after each batch.

        Returns:
            The number of rows.
        """
        number, last = 0, 0
        while True:
            statement = sa.select(self.model).where(self.model.id > last).order_by(self.model.id).limit(_BATCH)
            rows = session.scalars(statement).all()
            if not rows:
                return number
            last = rows[-1].id
            self.write(session, rows, segments=None)
            session.commit()
            session.expunge_all()
            number += len(rows)
            done(number)

    def write(
        self, session: Session, rows: Sequence[Any], *, new: bool = False, segments: int | None = MAX_IN_FLUSH
    ) -> None:
        """Replace the words of `rows`, which are of the session's site.

        Args:
            session: A session for a site.
            rows: Rows of the model.
            new: Whether the rows have no words yet.
            segments: Segments to write at most; None for no limit.
        """
        language, words = _site(session).locale, self.tables.words
        connection = session.connection(bind_arguments={"mapper": sa.inspect(self.model)})
        for start in range(0, 0 if new else len(rows), _BATCH):
            keys = [row.id for row in rows[start : start + _BATCH]]
            connection.execute(sa.delete(words).where(words.c.row_id.in_(keys)))
        connection.execute(sa.insert(words), [self._words(row, language) for row in rows])
        write_segments(self.tables, self.model, self.date, connection, at_most=segments)

    def has_changed(self, row: Any) -> bool:
        """Return whether the flush changes something of `row` that is in the index."""
        state = sa.inspect(row)
        return any(state.attrs[name].history.has_changes() for name in (self.title, *self.texts, *self.html, self.date))

    def text_of(self, row: Any) -> str:
        """Return the plain text of `row` without its title, and without a text that the HTML repeats."""
        parts = [" ".join(plain_text(getattr(row, name) or "").split()) for name in self.html]
        texts = [" ".join((getattr(row, name) or "").split()) for name in self.texts]
        return "\n".join([*(text for text in texts if text.rstrip("…") not in "\n".join(parts)), *parts])

    def _words(self, row: Any, language: str) -> dict[str, Any]:
        title = terms_of(getattr(row, self.title) or "", language)
        terms = title | terms_of(self.text_of(row), language)
        return {"row_id": row.id, "titles": f" {' '.join(title)} ", "terms": f" {' '.join(terms)} ", "position": 0}


def _site(session: Session) -> Site:
    scope = pin_of(session).resolve()
    if scope is None or scope.site is None:
        raise NoCurrentSite("a search needs a session for one site: make it with info={'site': site}")
    return scope.site


@event.listens_for(Session, "after_flush")
def _after_flush(session: Session, _context: object) -> None:
    for index in indexes:
        _update(index, session)


def _update(index: SearchIndex, session: Session) -> None:
    new = _rows_of(index, session.new)
    changed = [row for row in _rows_of(index, session.dirty) if index.has_changed(row)]
    if not (new or changed):
        return
    scope = pin_of(session).resolve()
    if scope is None or scope.site is None:
        log.warning(
            "a session of all sites changes rows of %s: index their words again with: %s",
            index.model.__tablename__,
            program.command("reindex-search --all"),
        )
        return
    if new:
        index.write(session, new, new=True)
    if changed:
        index.write(session, changed)


def _rows_of(index: SearchIndex, objects: Collection[Any]) -> list[Any]:
    return [each for each in objects if isinstance(each, index.model)]
