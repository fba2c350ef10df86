"""Statements that a distributed database refuses are found in any database: PostgreSQL with its keys is the judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_postgresql
from scoped_models import ONE, Author, Book, Country, Library, Shelf, build_library, shelf_books
from site_keys import swap_keys
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import aliased

from multisite import MultisiteError
from multisite.sharding.statements import find_undistributable
from multisite.testing.distributable import refuse_undistributable

OTHER = aliased(Book)


def insert(**conflict: Any) -> Any:
    values = {"id": 19, "slug": "new", "secret": "secret-1"}
    return postgresql.insert(Book).values(values).on_conflict_do_update(set_={"stock": 2}, **conflict)


def nothing(table: Any, values: dict[str, Any], *columns: Any) -> Any:
    return postgresql.insert(table).values(values).on_conflict_do_nothing(index_elements=columns or None)


REFUSED: dict[str, Any] = {
    "conflict: by name": insert(index_elements=["id"]),
    "conflict: by column": insert(index_elements=[Book.id]),
    "conflict: the key without a name": insert(constraint=Book.__table__.primary_key),
    "conflict: nothing": nothing(Book, {"slug": "new", "secret": "secret-1"}, "id"),
    "conflict: in a CTE": select(
        insert(index_elements=["id"]).returning(Book.id).cte("inserted").c.id,
    ),
    "group: the entity": select(Book).group_by(Book.id),
    "group: a column": select(Book.id, Book.slug).group_by(Book.id),
    "group: of an alias": select(OTHER).group_by(OTHER.id),
    "group: in a function": select(Book.id, func.lower(Book.slug)).group_by(Book.id),
    "group: in an expression": select(Book.stock + 1).group_by(Book.id),
    "group: in HAVING": select(Book.id).group_by(Book.id).having(Book.slug > "a"),
    "group: in ORDER BY": select(Book.id).group_by(Book.id).order_by(Book.slug.desc()),
    "group: with another table": select(Author.slug, func.count(Book.id)).join(Book).group_by(Author.id),
    "group: in a subquery": select(select(Book).group_by(Book.id).subquery()),
    "group: in a CTE": select(select(Book).group_by(Book.id).cte("books_of")),
    "group: in IN": select(Author).where(Author.id.in_(select(Book.author_id).group_by(Book.id))),
    "group: in UNION": sa.union_all(select(Book.slug).group_by(Book.id), select(Author.slug)),
    "group: in an UPDATE": sa.update(Author).values(
        secret=select(Book.slug).where(Book.id == 11).group_by(Book.id).scalar_subquery()
    ),
    "group: SQL of a model": sa.select(Book.__table__).group_by(Book.__table__.c.id),
}
"""What PostgreSQL executes with the key (id), and refuses with the key (site_id, id)."""

ACCEPTED: dict[str, Any] = {
    "conflict: site_id and id": insert(index_elements=["site_id", "id"]),
    "conflict: a unique key": insert(index_elements=["site_id", "slug"]),
    "conflict: any": nothing(Book, {"slug": "new", "secret": "secret-1"}),
    "conflict: another table": nothing(Country, {"id": 1, "name": "Utopia"}, "id"),
    "conflict: a key that has the site": nothing(
        shelf_books, {"shelf_id": 11, "book_id": 11}, "site_id", "shelf_id", "book_id"
    ),
    "insert: without conflict": sa.insert(Shelf).values(slug="new", secret="secret-1"),
    "group: site_id and id": select(Book).group_by(Book.site_id, Book.id),
    "group: all that is selected": select(Book.id, Book.slug).group_by(Book.id, Book.slug),
    "group: only the key": select(Book.id, func.count()).group_by(Book.id).order_by(Book.id),
    "group: aggregates": select(Book.id, func.max(Book.slug), func.lower(func.min(Book.slug))).group_by(Book.id),
    "group: an aggregate in HAVING": select(Book.id).group_by(Book.id).having(func.max(Book.stock) > 0),
    "group: a filtered aggregate": select(Book.id, func.count().filter(Book.stock > 0)).group_by(Book.id),
    "group: an ordered aggregate": select(
        Book.id, func.percentile_cont(0.5).within_group(Book.stock)
    ).group_by(Book.id),
    "group: another column": select(Book.slug, func.count(Book.id)).group_by(Book.slug),
    "group: an expression": select(func.lower(Book.slug), func.count()).group_by(func.lower(Book.slug)),
    "group: another table": select(Country).group_by(Country.id),
    "group: a subquery's own columns": select(
        Author.id, select(func.max(Book.slug)).where(Book.author_id == Author.id).scalar_subquery()
    ).group_by(Author.id),
    "no group": select(Book).order_by(Book.slug),
}  # fmt: skip
"""What PostgreSQL executes with either key."""

EVERY = {**dict.fromkeys(REFUSED, True), **dict.fromkeys(ACCEPTED, False)}


@pytest.fixture(scope="module", params=["(id)", "(site_id, id)"])
def library(request: pytest.FixtureRequest, postgresql_url: str) -> Iterator[tuple[Library, bool]]:
    """Tables with keys of either kind, and whether they are those of a distributed database."""
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as engine:
        made = build_library(engine)
        is_distributed = request.param == "(site_id, id)"
        if is_distributed:
            with engine.begin() as connection:
                swap_keys(connection)
        yield made, is_distributed


@pytest.mark.parametrize("name", EVERY)
def test_postgresql_and_the_lint_agree(library: tuple[Library, bool], name: str) -> None:
    made, is_distributed = library
    statement = (REFUSED | ACCEPTED)[name]
    with made.session(ONE) as session:
        if EVERY[name] and is_distributed:
            with pytest.raises(
                ProgrammingError, match=r"must appear in the GROUP BY|no unique or exclusion constraint"
            ):
                session.execute(statement)
        else:
            session.execute(statement)
        session.rollback()
    assert (find_undistributable(statement) is not None) is EVERY[name]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Library]:
    with closing_engine(f"sqlite:///{tmp_path}/test.db") as engine:
        yield build_library(engine)


def test_a_refused_statement_says_what_to_write_and_changes_nothing(on_sqlite: Library) -> None:
    upsert = sqlite.insert(Book).values(id=11, slug="new", secret="").on_conflict_do_update(
        index_elements=["id"], set_={"slug": "new"}
    )  # fmt: skip
    with on_sqlite.session(ONE) as session:
        with refuse_undistributable():
            with pytest.raises(MultisiteError, match=r"ON CONFLICT \(id\) on 'books': .* ON CONFLICT \(site_id, id\)"):
                session.execute(upsert)
            with pytest.raises(MultisiteError, match=r"GROUP BY id of 'books', with its column 'slug' selected: "):
                session.execute(select(Book).group_by(Book.id))
            assert session.scalars(select(Book.slug).order_by(Book.id)).all() == ["book-1", "book-2", "book-3"]
        session.execute(upsert)
        assert session.scalars(select(Book.slug).order_by(Book.id)).all() == ["new", "book-2", "book-3"]
        session.rollback()


def test_strings_and_ddl_are_executed(on_sqlite: Library) -> None:
    with refuse_undistributable(), on_sqlite.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.execute(sa.text("SELECT 1"))
        connection.execute(sa.schema.CreateTable(sa.Table("plain", sa.MetaData(), sa.Column("id", sa.Integer))))
        connection.execute(func.random())
