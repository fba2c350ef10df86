"""A search index: the table with the words of a scoped model, and the flush that keeps it up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from multisite.core import program
from multisite.core.site import Site
from multisite.errors import NoCurrentSite
from multisite.scoping import scoped_reference, site_id_column
from multisite.scoping.pin import pin_of
from multisite.search.query import Hits, find
from multisite.search.words import plain_text, query_terms, terms_of

__all__ = ["SearchIndex", "indexes"]

log = logging.getLogger(__name__)

indexes: list[SearchIndex] = []
"""All indexes of the process, in the order of their declaration."""

_NO_DATE = datetime(1000, 1, 1, tzinfo=UTC)
"""Stored for rows without a date, which come last: PostgreSQL sorts NULL as if it were later than any date."""

_BATCH = 200
"""Rows that are indexed again at a time, and keys in one statement."""


class SearchIndex:
    """The index of a scoped model, in the table `<table of the model>_terms` of its MetaData.

    It is up to date after each flush. Statements that change rows without a flush (`sa.update(Model)`, `psql`) leave
    the old words in it until `reindex`; rows that are deleted are removed from it by the database.

    Args:
        model: A model with `SiteScoped` and an integer primary key `id`.
        title: The attribute whose words count most.
        texts: Attributes with plain text.
        html: Attributes with sanitized HTML.
        date: An attribute; rows with a later one come first among hits of the same rank, those without one last.
    """

    def __init__(
        self, model: type[Any], *, title: str, texts: Sequence[str] = (), html: Sequence[str] = (), date: str
    ) -> None:
        self.model, self.title, self.texts, self.html, self.date = model, title, tuple(texts), tuple(html), date
        table: sa.Table = model.__table__
        reference = scoped_reference(f"{table.name}.id", ondelete="CASCADE")
        self.table = sa.Table(
            f"{table.name}_terms",
            table.metadata,
            site_id_column(),
            sa.Column("term", sa.String(64), nullable=False),
            sa.Column("row_id", sa.BigInteger, reference, nullable=False),
            sa.Column("in_title", sa.SmallInteger, nullable=False),
            sa.Column("date", table.c[date].type),
            sa.PrimaryKeyConstraint("site_id", "row_id", "term"),
            # Returns the rows with a word in the order of the hits.
            sa.Index(
                f"ix_{table.name}_terms_site_id_term_in_title_date_row_id",
                "site_id", "term", "in_title", "date", "row_id",
            ),
        )  # fmt: skip
        indexes.append(self)

    def search(
        self, session: Session, text: str, *, where: Sequence[ColumnElement[bool]] = (), size: int = 10, page: int = 1
    ) -> Hits:
        """Return page `page` (from 1) of the rows with all words of `text`, by one statement.

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
        terms = query_terms(text, _site(session).locale)
        having = (sa.select(self.table.c.row_id).where(self.table.c.term == term) for term in terms)
        return sa.and_(*(self.model.id.in_(each) for each in having)) if terms else sa.false()

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
            self.write(session, rows)
            session.commit()
            session.expunge_all()
            number += len(rows)
            done(number)

    def write(self, session: Session, rows: Sequence[Any], *, new: bool = False) -> None:
        """Replace the words of `rows`, which are of the session's site; `new` rows have none yet."""
        if not new:
            self.remove(session, [row.id for row in rows])
        language = _site(session).locale
        terms = [each for row in rows for each in self._terms(row, language)]
        if terms:
            self._connection(session).execute(sa.insert(self.table), terms)

    def remove(self, session: Session, keys: Sequence[int]) -> None:
        """Remove the words of the rows with these keys."""
        for start in range(0, len(keys), _BATCH):
            some = self.table.c.row_id.in_(keys[start : start + _BATCH])
            self._connection(session).execute(sa.delete(self.table).where(some))

    def has_changed(self, row: Any) -> bool:
        """Return whether the flush changes something of `row` that is in the index."""
        state = sa.inspect(row)
        return any(state.attrs[name].history.has_changes() for name in (self.title, *self.texts, *self.html, self.date))

    def text_of(self, row: Any) -> str:
        """Return the plain text of `row` without its title, and without a text that the HTML repeats."""
        parts = [" ".join(plain_text(getattr(row, name) or "").split()) for name in self.html]
        texts = [" ".join((getattr(row, name) or "").split()) for name in self.texts]
        return "\n".join([*(text for text in texts if text.rstrip("…") not in "\n".join(parts)), *parts])

    def _terms(self, row: Any, language: str) -> Iterator[dict[str, Any]]:
        title = terms_of(getattr(row, self.title) or "", language)
        date = getattr(row, self.date)
        kind = self.table.c.date.type
        if date is None and isinstance(getattr(kind, "impl", kind), sa.DateTime):
            date = _NO_DATE
        for term in title | terms_of(self.text_of(row), language):
            yield {"term": term, "row_id": row.id, "in_title": int(term in title), "date": date}

    def _connection(self, session: Session) -> sa.Connection:
        return session.connection(bind_arguments={"mapper": sa.inspect(self.model)})


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
    deleted = _rows_of(index, session.deleted)
    if not (new or changed or deleted):
        return
    scope = pin_of(session).resolve()
    if scope is None or scope.site is None:
        log.warning(
            "a session of all sites changes rows of %s: index their words again with: %s",
            index.model.__tablename__,
            program.command("reindex-search --all"),
        )
        return
    if deleted:
        index.remove(session, [row.id for row in deleted])
    if new:
        index.write(session, new, new=True)
    if changed:
        index.write(session, changed)


def _rows_of(index: SearchIndex, objects: Collection[Any]) -> list[Any]:
    return [each for each in objects if isinstance(each, index.model)]
