"""The wall, by the ways in which an application touches rows: each is tried with rows of another site in reach."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations.ops import CreateTableOp
from conftest import closing_engine, fresh_database
from scoped_models import (
    ONE,
    TWO,
    Author,
    Book,
    Country,
    Library,
    Shelf,
    build_library,
    clear_rows,
    plant_rows,
    shelf_books,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import (
    Session,
    aliased,
    contains_eager,
    immediateload,
    joinedload,
    make_transient,
    raiseload,
    selectinload,
    subqueryload,
)
from sqlalchemy.sql.compiler import SQLCompiler

from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, all_sites, scoped_text, using_site
from multisite.scoping import execution, wall


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def untouched_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for all tests that leave its rows as they are."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        yield build_library(engine)


@pytest.fixture
def library(untouched_library: Library) -> Iterator[Library]:
    """The library for a test that changes rows, which are planted again after it."""
    yield untouched_library
    clear_rows(untouched_library.engine)
    plant_rows(untouched_library.engine)


Read = Callable[[Session], list[Any]]
books, authors = Book.__table__, Author.__table__
other = books.alias("other")
A2 = aliased(Author)
tree = sa.select(Book.id, Book.secret).where(Book.stock > 0).cte("tree", recursive=True)
tree = tree.union(sa.select(Book.id, Book.secret).join(tree, tree.c.id == Book.id))

READS: dict[str, Read] = {
    "entity": lambda s: [b.secret for b in s.scalars(sa.select(Book))],
    "columns": lambda s: s.scalars(sa.select(Book.secret)).all(),
    "legacy query": lambda s: [b.secret for b in s.query(Book)],
    "legacy count": lambda s: ["count", s.query(Book).count()],
    "function": lambda s: ["max", s.scalar(sa.select(sa.func.max(Book.secret)))],
    "function hidden in case": lambda s: s.scalars(sa.select(sa.case((sa.true(), sa.func.max(Book.secret))))).all(),
    "count": lambda s: ["count", s.scalar(sa.select(sa.func.count()).select_from(Book))],
    "exists": lambda s: ["count", s.scalar(sa.select(sa.exists().where(Book.secret == f"secret-{other_of(s)}")))],
    "core table": lambda s: s.scalars(sa.select(books.c.secret)).all(),
    "core alias": lambda s: s.scalars(sa.select(other.c.secret)).all(),
    "alias of an alias": lambda s: s.scalars(sa.select(other.alias("again").c.secret)).all(),
    "lightweight table": lambda s: s.scalars(sa.select(sa.column("secret")).select_from(sa.table("books"))).all(),
    "second metadata": lambda s: s.scalars(
        sa.select(sa.Table("books", sa.MetaData(), sa.Column("secret", sa.String)).c.secret)
    ).all(),
    "reflected": lambda s: s.scalars(sa.select(sa.Table("books", sa.MetaData(), autoload_with=s.bind).c.secret)).all(),
    "connection of the session": lambda s: s.connection().scalars(sa.select(Book.secret)).all(),
    "inner join": lambda s: s.scalars(sa.select(Author.secret).join(Book.author)).all(),
    "join on a condition": lambda s: s.scalars(sa.select(Author.secret).join(Book, Book.id > 0)).all(),
    "outer join": lambda s: s.scalars(sa.select(A2.secret).select_from(Book).outerjoin(A2, A2.id > 0)).all(),
    "outer join of a join": lambda s: s.scalars(
        sa.select(A2.secret).select_from(books.outerjoin(sa.join(A2, shelf_books, sa.true()), sa.true()))
    ).all(),
    "full join": lambda s: [
        value
        for row in s.execute(
            sa.select(books.c.secret, other.c.secret).select_from(
                books.outerjoin(other, books.c.id == other.c.id, full=True)
            )
        )
        for value in row
    ],
    "cross join": lambda s: s.scalars(sa.select(Author.secret).select_from(Book).join(Author, sa.true())).all(),
    "unscoped joined to scoped": lambda s: [
        "count",
        s.scalar(sa.select(sa.func.count()).select_from(Country).join(Book, Book.secret == f"secret-{other_of(s)}")),
    ],
    "subquery": lambda s: s.scalars(sa.select(sa.select(Book.secret).subquery().c.secret)).all(),
    "aliased subquery": lambda s: [b.secret for b in s.scalars(sa.select(aliased(Book, sa.select(Book).subquery())))],
    "scalar subquery": lambda s: s.scalars(
        sa.select(sa.select(sa.func.max(Book.secret)).scalar_subquery()).select_from(Country)
    ).all(),
    "correlated": lambda s: s.scalars(
        sa.select(sa.select(sa.func.max(Author.secret)).where(Author.id >= Book.id).scalar_subquery()).select_from(Book)
    ).all(),
    "in a subquery": lambda s: s.scalars(sa.select(Book.secret).where(Book.id.in_(sa.select(Author.id)))).all(),
    "cte": lambda s: s.scalars(sa.select(sa.select(Book.secret).cte().c.secret)).all(),
    "recursive cte": lambda s: s.scalars(sa.select(tree.c.secret)).all(),
    "union": lambda s: s.scalars(sa.union_all(sa.select(Book.secret), sa.select(Author.secret))).all(),
    "union of entities": lambda s: [
        b.secret for b in s.scalars(sa.select(Book).from_statement(sa.union(sa.select(Book), sa.select(Book))))
    ],
    "window": lambda s: s.scalars(sa.select(sa.func.first_value(Book.secret).over(order_by=Book.id.desc()))).all(),
    "group by key": lambda s: s.scalars(sa.select(Book.secret).group_by(Book.id)).all(),
    "text criterion with or": lambda s: s.scalars(sa.select(Book.secret).where(sa.text("1 = 1 OR 1 = 1"))).all(),
    "literal criterion with or": lambda s: s.scalars(
        sa.select(Book.secret).where(sa.literal_column("1 = 1 OR 1 = 1", sa.Boolean))
    ).all(),
    "operator with or": lambda s: s.scalars(sa.select(Book.secret).where(Book.id.op("> 0 OR 0 <")(1))).all(),
    "order by text": lambda s: s.scalars(sa.select(Book.secret).order_by(sa.text("books.slug DESC"))).all(),
    "yield per": lambda s: [b.secret for b in s.scalars(sa.select(Book).execution_options(yield_per=1))],
    "lambda": lambda s: s.scalars(sa.lambda_stmt(lambda: sa.select(Book.secret))).all(),
    "get": lambda s: [b.secret for b in [s.get(Book, other_of(s) * 10 + 1)] if b],
    "get after warming": lambda s: [b.secret for b in [s.get(Book, 11), s.get(Book, 21)] if b],
    "joinedload": lambda s: walk(s, joinedload),
    "selectinload": lambda s: walk(s, selectinload),
    "subqueryload": lambda s: walk(s, subqueryload),
    "immediateload": lambda s: walk(s, immediateload),
    "lazy": lambda s: walk(s, None),
    "contains_eager": lambda s: [
        b.author.secret
        for b in s.scalars(sa.select(Book).join(Book.author).options(contains_eager(Book.author)))
        if b.author
    ],
    "any": lambda s: s.scalars(sa.select(Author.secret).where(Author.books.any())).all(),
    "has": lambda s: s.scalars(sa.select(Book.secret).where(Book.author.has())).all(),
    "many to many any": lambda s: s.scalars(sa.select(Shelf.secret).where(Shelf.books.any())).all(),
    "scoped text": lambda s: s.scalars(scoped_text("SELECT secret FROM books WHERE site_id = :site_id")).all(),
    "scoped text, overridden": lambda s: s.scalars(
        scoped_text("SELECT secret FROM books WHERE site_id = :site_id"), {"multisite_site": 2, "site_id": 2}
    ).all(),
    "parameter overridden": lambda s: s.scalars(sa.select(Book.secret), {"multisite_site": other_of(s)}).all(),
    "association table": lambda s: ["count", s.scalar(sa.select(sa.func.count()).select_from(shelf_books))],
}


def other_of(session: Session) -> int:
    """Return the id of the site that `session` is not pinned to; where it has none, any."""
    site = session.info.get("site")
    return 1 if site == TWO else 2


def walk(session: Session, loader: Any) -> list[Any]:
    """Return the secrets of all books, and of what their relationships lead to, loaded by `loader`."""
    statement = sa.select(Shelf)
    if loader is not None:
        statement = statement.options(loader(Shelf.books).options(loader(Book.author), loader(Book.shelves)))
    found = []
    for shelf in session.scalars(statement).unique():
        found.append(shelf.secret)
        for book in shelf.books:
            found += [book.secret, book.author.secret, *(each.secret for each in book.shelves)]
    return found


def counts_of(rows: list[Any]) -> list[Any]:
    return rows[1:] if rows and rows[0] in ("count", "max") else rows


@pytest.mark.parametrize("site", [ONE, TWO], ids=str)
@pytest.mark.parametrize("way", READS)
def test_reads_only_own_rows(untouched_library: Library, way: str, site: Any) -> None:
    with untouched_library.session(site) as session:
        found = READS[way](session)
    foreign = f"secret-{2 if site == ONE else 1}"
    assert foreign not in found
    if found and found[0] == "count":
        # Of six books, and of six links, three are the site's own; what looks for foreign rows finds none.
        assert found[1] in (0, False, 3)
    elif way not in ("get",):
        assert f"secret-{site.id}" in found


@pytest.mark.parametrize("way", READS)
def test_reads_nothing_without_a_site(untouched_library: Library, way: str) -> None:
    with untouched_library.session(None) as session, pytest.raises(NoCurrentSite):
        READS[way](session)


def test_negative_control_without_the_wall_every_read_leaks(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the wall away and see that the reads above do notice: a test that cannot fail proves nothing."""
    monkeypatch.setattr(SQLCompiler, "__new__", lambda cls, *args, **kwargs: object.__new__(cls))
    monkeypatch.setattr(DefaultExecutionContext, "_init_compiled", classmethod(execution._init_compiled))
    monkeypatch.setattr(DefaultExecutionContext, "_init_statement", classmethod(execution._init_statement))
    library.engine.clear_compiled_cache()
    tight = []
    for way, read in READS.items():
        if way.startswith("scoped text"):
            continue
        with library.session(ONE) as session:
            found = read(session)
        leaks = found[1] in (6, 3, True, 1) if found[:1] == ["count"] else "secret-2" in found
        if not leaks:
            tight.append(way)
    # Rows that only a foreign key or a criterion leads to are the site's own on clean data, wall or no wall.
    assert set(tight) <= {"correlated"}


WRITES: dict[str, Callable[[Session], Any]] = {
    "update": lambda s: s.execute(sa.update(Book).values(stock=9)),
    "update core": lambda s: s.execute(books.update().values(stock=9)),
    "update by foreign key": lambda s: s.execute(sa.update(Book).where(Book.id == 21).values(stock=9)),
    "update with or": lambda s: s.execute(sa.update(Book).where(sa.text("1 = 1 OR 1 = 1")).values(stock=9)),
    "update from": lambda s: s.execute(
        sa.update(Book).where(Book.id > 0, Author.id == Book.author_id).values(stock=9, secret=Author.secret)
    ),
    "update by a subquery": lambda s: s.execute(
        sa.update(Book).values(secret=sa.select(sa.func.max(Author.secret)).scalar_subquery())
    ),
    "update fetch": lambda s: s.execute(
        sa.update(Book).values(stock=9), execution_options={"synchronize_session": "fetch"}
    ),
    "delete": lambda s: (s.execute(sa.delete(shelf_books)), s.execute(sa.delete(Book))),
    "delete core": lambda s: (s.execute(shelf_books.delete()), s.execute(books.delete())),
    "delete with or": lambda s: s.execute(sa.delete(shelf_books).where(sa.text("1 = 1 OR 1 = 1"))),
    "delete by a subquery": lambda s: s.execute(
        sa.delete(shelf_books).where(shelf_books.c.book_id.in_(sa.select(Book.id)))
    ),
    "legacy delete": lambda s: s.query(Shelf).filter(Shelf.id > 100).delete(),
    "insert from select": lambda s: s.execute(
        sa.insert(Shelf).from_select(["slug", "secret"], sa.select(Book.slug, Book.secret))
    ),
    "flush": lambda s: (setattr(s.scalars(sa.select(Book)).first(), "stock", 9), s.flush()),
}


def rows_of(library: Library, site_id: int) -> list[Any]:
    """Return all rows of a site as the database holds them, past the wall."""
    found = []
    with library.engine.connect() as connection:
        cursor = connection.connection.cursor()
        for table in ("authors", "books", "shelves", "shelf_books"):
            cursor.execute(f"SELECT * FROM {table} WHERE site_id = {site_id} ORDER BY 1, 2, 3")
            found.append(cursor.fetchall())
        cursor.close()
    return found


@pytest.mark.parametrize("way", WRITES)
def test_writes_only_own_rows(library: Library, way: str) -> None:
    theirs, ours = rows_of(library, 2), rows_of(library, 1)
    with library.session(ONE) as session:
        WRITES[way](session)
        session.commit()
    assert rows_of(library, 2) == theirs
    assert "secret-2" not in str(rows_of(library, 1))
    if way not in ("update by foreign key", "legacy delete", "update by a subquery"):
        assert rows_of(library, 1) != ours


@pytest.mark.parametrize("way", WRITES)
def test_writes_nothing_without_a_site(untouched_library: Library, way: str) -> None:
    before = rows_of(untouched_library, 1), rows_of(untouched_library, 2)
    with untouched_library.session(None) as session, pytest.raises(NoCurrentSite):
        WRITES[way](session)
    assert (rows_of(untouched_library, 1), rows_of(untouched_library, 2)) == before


def insert_for(session: Session) -> Any:
    return (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert(Book)


def detached(session: Session, key: int) -> Book:
    """Return a book of site TWO as an application may hold one: loaded in another session, which is closed."""
    with Session(session.get_bind(), info={"site": TWO}) as foreign:
        book = foreign.get_one(Book, key)
        foreign.expunge(book)
        return book


def link(author: Author, book: Book) -> None:
    author.books.append(book)


def transient(session: Session) -> Book:
    book = detached(session, 21)
    make_transient(book)
    return book


FOREIGN_WRITES: dict[str, Callable[[Session], Any]] = {
    "insert with a foreign site_id": lambda s: s.execute(sa.insert(Book).values(slug="x", secret="x", site_id=2)),
    "insert many with a foreign site_id": lambda s: s.execute(
        sa.insert(Book), [{"slug": "x", "secret": "x"} | {"site_id": n} for n in (1, 2)]
    ),
    "insert values with a foreign site_id": lambda s: s.execute(
        sa.insert(Book).values([{"slug": "x", "secret": "x", "site_id": 2}])
    ),
    "insert an expression as site_id": lambda s: s.execute(
        sa.insert(Book).values(slug="x", secret="x", site_id=sa.literal(1) + 1)
    ),
    "insert a literal as site_id": lambda s: s.execute(
        sa.insert(Book).values(slug="x", secret="x", site_id=sa.literal(2))
    ),
    "insert from a select with site_id": lambda s: s.execute(
        sa.insert(Book).from_select(["slug", "secret", "site_id"], sa.select(Book.slug, Book.secret, sa.literal(2)))
    ),
    "insert past the model": lambda s: s.execute(
        sa.table("books", sa.column("slug"), sa.column("secret"), sa.column("site_id")).insert(),
        {"slug": "x", "secret": "x", "site_id": 2},
    ),
    "insert or replace": lambda s: s.execute(
        sa.insert(Book).prefix_with("OR REPLACE").values(id=21, slug="x", secret="x")
    ),
    "update site_id": lambda s: s.execute(sa.update(Book).values(site_id=2)),
    "update site_id by an expression": lambda s: s.execute(sa.update(Book).values(site_id=Book.site_id + 1)),
    "ask for a foreign site_id": lambda s: s.scalars(sa.select(Book).where(Book.site_id == 2)).all(),
    "new object of a foreign site": lambda s: (s.add(Book(slug="x", secret="x", site_id=2)), s.flush()),
    "change the site of an object": lambda s: (setattr(s.get(Book, 11), "site_id", 2), s.flush()),
    "add a foreign object": lambda s: s.add(detached(s, 21)),
    "add a foreign object made transient": lambda s: s.add(transient(s)),
    "delete a foreign object": lambda s: s.delete(detached(s, 21)),
    "merge a foreign object": lambda s: (s.merge(detached(s, 21)), s.flush()),
    "link a foreign object": lambda s: link(s.get(Author, 11), detached(s, 21)),
    "bulk insert": lambda s: s.bulk_insert_mappings(Book, [{"slug": "x", "secret": "x", "site_id": 2}]),
    "upsert site_id": lambda s: s.execute(
        insert_for(s)
        .values(id=11, slug="x", secret="x")
        .on_conflict_do_update(index_elements=["id"], set_={"site_id": 2})
    ),
}


@pytest.mark.parametrize("way", FOREIGN_WRITES)
def test_refuses_to_write_for_another_site(untouched_library: Library, way: str) -> None:
    before = rows_of(untouched_library, 1), rows_of(untouched_library, 2)
    with untouched_library.session(ONE) as session, pytest.raises((CrossSiteError, UnscopedStatement)):
        FOREIGN_WRITES[way](session)
        session.commit()
    assert (rows_of(untouched_library, 1), rows_of(untouched_library, 2)) == before


@pytest.mark.parametrize("make", [sa.insert, None], ids=["update", "upsert"])
def test_upsert_leaves_a_foreign_row_alone(library: Library, make: Any) -> None:
    theirs = rows_of(library, 2)
    with library.session(ONE) as session:
        statement = insert_for(session).values(id=21, slug="mine", secret="mine")
        session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"secret": "mine"}))
        session.commit()
    assert rows_of(library, 2) == theirs


def test_bulk_update_by_key_does_not_reach_a_foreign_row(library: Library) -> None:
    theirs = rows_of(library, 2)
    with library.session(ONE) as session, pytest.raises(sa.orm.exc.StaleDataError):
        session.execute(sa.update(Book), [{"id": 21, "stock": 9}])
    assert rows_of(library, 2) == theirs


def test_a_foreign_key_to_another_site_is_refused_by_the_database(library: Library) -> None:
    with library.session(ONE) as session:
        session.get_one(Book, 11).author_id = 21
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()


RAW: dict[str, Callable[[Session], Any]] = {
    "text": lambda s: s.execute(sa.text("SELECT * FROM books")),
    "text in other letters": lambda s: s.execute(sa.text('SELECT * FROM "BOOKS"')),
    "text as entity": lambda s: s.scalars(sa.select(Book).from_statement(sa.text("SELECT * FROM books"))).all(),
    "text columns": lambda s: s.execute(sa.text("SELECT secret FROM books").columns(sa.column("secret"))),
    "text update": lambda s: s.execute(sa.text("UPDATE books SET stock = 0")),
    "text subquery": lambda s: s.execute(sa.select(sa.text("(SELECT max(secret) FROM books)"))),
    "literal subquery": lambda s: s.execute(sa.select(sa.literal_column("(SELECT max(secret) FROM books)"))),
    "text criterion with a query": lambda s: s.execute(
        sa.select(Country).where(sa.text("EXISTS (SELECT 1 FROM books)"))
    ),
    "text criterion that ends the brackets": lambda s: s.execute(sa.select(Book).where(sa.text("1=1) OR (1=1"))),
    "text criterion with a comment": lambda s: s.execute(sa.select(Book).where(sa.text("1=1) --"))),
    "driver string": lambda s: s.connection().exec_driver_sql("SELECT * FROM books"),
    "unknown view": lambda s: s.execute(sa.select(sa.column("secret")).select_from(sa.table("books_view"))),
    "ddl with a query": lambda s: s.execute(sa.DDL("CREATE TABLE copied AS SELECT * FROM books")),
}


@pytest.mark.parametrize("way", RAW)
def test_refuses_what_it_cannot_limit(untouched_library: Library, way: str) -> None:
    before = rows_of(untouched_library, 1), rows_of(untouched_library, 2)
    with untouched_library.session(ONE) as session, pytest.raises(UnscopedStatement):
        RAW[way](session)
    assert (rows_of(untouched_library, 1), rows_of(untouched_library, 2)) == before


def test_tables_that_belong_to_no_site_need_none(untouched_library: Library) -> None:
    with untouched_library.session(None) as session:
        assert session.scalars(sa.select(Country.name)).all() == ["Utopia"]
        assert session.scalars(sa.text("SELECT name FROM countries")).all() == ["Utopia"]


def test_an_outer_join_stays_outer(library: Library) -> None:
    with library.session(ONE) as session:
        session.add(Book(id=14, slug="book-4", secret="secret-1"))
        session.commit()
        pairs = session.execute(sa.select(Book.id, Author.id).outerjoin(Book.author).order_by(Book.id)).all()
    assert [tuple(pair) for pair in pairs] == [(11, 11), (12, 12), (13, 13), (14, None)]


def test_fills_in_the_site_of_new_rows(library: Library) -> None:
    with library.session(TWO) as session:
        book = Book(slug="new", secret="new")
        session.add(book)
        session.flush()
        assert book.site_id == 2
        session.execute(sa.insert(Book), [{"slug": f"many-{n}", "secret": "new"} for n in range(3)])
        ids = session.scalars(sa.insert(Book).values(slug="back", secret="new").returning(Book.site_id)).all()
        assert ids == [2]
        assert session.scalar(sa.select(sa.func.count()).where(Book.secret == "new")) == 5


def test_one_compiled_statement_serves_all_sites(untouched_library: Library) -> None:
    statement = sa.select(Book.secret).distinct()
    untouched_library.engine.clear_compiled_cache()
    for site in (ONE, TWO, ONE, TWO):
        with untouched_library.session(site) as session:
            assert session.scalars(statement).all() == [f"secret-{site.id}"]
            assert session.scalars(sa.select(Book.secret).distinct()).all() == [f"secret-{site.id}"]
    assert len(untouched_library.engine._compiled_cache) == 1


def test_all_sites_sees_every_row_and_leaves_the_cache_clean(untouched_library: Library) -> None:
    statement = sa.select(sa.func.count()).select_from(Book)
    for _ in range(2):
        with untouched_library.session(ONE) as session:
            assert session.scalar(statement) == 3
        with all_sites("test"), Session(untouched_library.engine) as session:
            assert session.scalar(statement) == 6
            assert session.scalar(sa.text("SELECT count(*) FROM books")) == 6
            assert session.get_one(Book, 21).secret == "secret-2"


def test_all_sites_needs_a_site_for_new_rows(library: Library) -> None:
    with all_sites("test"), Session(library.engine) as session:
        session.add(Book(slug="x", secret="x"))
        with pytest.raises(NoCurrentSite):
            session.flush()
        session.rollback()
        session.add(Book(slug="x", secret="x", site_id=2))
        session.commit()
    assert "'x'" in str(rows_of(library, 2))


def test_all_sites_needs_a_reason() -> None:
    with pytest.raises(ValueError), all_sites(""):
        pass


def test_interleaved_sites_in_eight_threads(untouched_library: Library) -> None:
    """Statements of two sites and of all sites, on one engine and its one cache, are never mixed."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        for turn in range(40):
            site = (ONE, TWO, None)[(number + turn) % 3]
            info = {"site": site} if site else {"all_sites": "test"}
            with Session(untouched_library.engine, info=info) as session:
                found = set(session.scalars(sa.select(Book.secret)))
            if found != ({f"secret-{site.id}"} if site else {"secret-1", "secret-2"}):
                wrong.append((site, found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- pinning ----------------------------------------------------------------------------------------------------------


def test_a_session_keeps_the_site_it_was_first_used_for(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(ONE):
            assert session.get(Book, 11) is not None
        session.commit()
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


def test_a_session_pinned_outside_raises_inside_a_block_for_another(library: Library) -> None:
    with using_site(ONE), Session(library.engine) as session:
        book = session.get_one(Book, 11)
        with using_site(TWO), pytest.raises(CrossSiteError, match="one.example.*two.example"):
            session.scalars(sa.select(Book)).all()
        with all_sites("test"), pytest.raises(CrossSiteError):
            session.scalars(sa.select(Book)).all()
        with using_site(TWO):
            # What is in memory stays readable, and is the session's own: no statement, so nothing to refuse.
            assert book.secret == "secret-1"
            assert session.get(Book, 11) is book
            with pytest.raises(CrossSiteError):
                session.get(Book, 12)
            with Session(library.engine) as inner:
                assert inner.get(Book, 11) is None
        assert len(session.scalars(sa.select(Book)).all()) == 3


def test_an_explicitly_pinned_session_obeys_its_pin(library: Library) -> None:
    with library.session(ONE) as session, using_site(TWO):
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}
    with library.session(ONE) as session, all_sites("test"):
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


@pytest.mark.parametrize("end", [Session.close, Session.reset], ids=["close", "reset"])
def test_close_and_reset_unpin(library: Library, end: Callable[[Session], None]) -> None:
    session = Session(library.engine)
    for site in (ONE, TWO):
        with using_site(site):
            assert set(session.scalars(sa.select(Book.secret))) == {f"secret-{site.id}"}
        end(session)


@pytest.mark.parametrize("end", [Session.commit, Session.rollback, Session.expunge_all], ids=lambda f: f.__name__)
def test_commit_rollback_and_expunge_all_do_not_unpin(library: Library, end: Callable[[Session], None]) -> None:
    with Session(library.engine) as session:
        with using_site(ONE):
            session.add(Author(id=99, slug="x", secret="x"))
            session.scalars(sa.select(Book)).all()
        end(session)
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


def test_the_first_attached_object_pins(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(ONE):
            session.add(Book(slug="x", secret="x"))
        with using_site(TWO), session.no_autoflush, pytest.raises(CrossSiteError):
            session.scalars(sa.select(Book)).all()
        session.commit()
    assert "'x'" in str(rows_of(library, 1))


def test_a_plain_connection_takes_the_current_site_at_each_statement(library: Library) -> None:
    with library.engine.connect() as connection:
        with using_site(ONE):
            assert set(connection.scalars(sa.select(Book.secret))) == {"secret-1"}
        with using_site(TWO):
            assert set(connection.scalars(sa.select(Book.secret))) == {"secret-2"}
        with all_sites("test"):
            assert set(connection.scalars(sa.select(Book.secret))) == {"secret-1", "secret-2"}
        with pytest.raises(NoCurrentSite):
            connection.scalars(sa.select(Book.secret))


def test_a_session_leaves_no_pin_on_a_connection_that_goes_on(library: Library) -> None:
    with library.engine.connect() as connection:
        with Session(connection, info={"site": ONE}) as session:
            assert len(session.scalars(sa.select(Book)).all()) == 3
        with pytest.raises(NoCurrentSite):
            connection.scalars(sa.select(Book.secret))
        with Session(connection, info={"site": TWO}) as session:
            assert set(session.scalars(sa.select(Book.secret))) == {"secret-2"}


def test_two_sites_on_one_connection_at_once_are_refused(library: Library) -> None:
    with library.engine.connect() as connection, Session(connection, info={"site": ONE}) as session:
        session.scalars(sa.select(Book)).all()
        with Session(connection, info={"site": TWO}) as second, pytest.raises(CrossSiteError, match="share"):
            second.scalars(sa.select(Book)).all()
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


def test_statements_run_by_a_default_do_not_change_the_outer_site(library: Library) -> None:
    """A bind whose value is computed by another session's statement, of another site, while parameters are built."""

    def from_the_other_site() -> str:
        with library.session(TWO) as inner:
            return str(inner.scalar(sa.select(sa.func.min(Book.secret))))

    with library.session(ONE) as session:
        value = sa.bindparam("value", callable_=from_the_other_site)
        assert set(session.scalars(sa.select(Book.secret).where(Book.secret != value))) == {"secret-1"}


def test_streaming_goes_on_after_the_block(library: Library) -> None:
    session = Session(library.engine)
    with using_site(ONE):
        rows = session.scalars(sa.select(Book.secret).execution_options(yield_per=1))
    assert set(rows) == {"secret-1"}
    assert session.scalars(sa.select(Book.secret)).first() == "secret-1"
    session.close()


@pytest.mark.parametrize("end", [Session.close, Session.commit, Session.rollback], ids=lambda f: f.__name__)
def test_a_session_goes_with_its_last_reference(library: Library, end: Callable[[Session], None]) -> None:
    """The pin makes no circle, which would keep the session of every request until the garbage collector runs."""
    gc.disable()
    try:
        session = library.session(ONE)
        session.scalars(sa.select(Book.id)).all()
        end(session)
        left = weakref.ref(session)
        del session
        assert left() is None
    finally:
        gc.enable()


def test_threads_start_without_a_site(library: Library) -> None:
    caught: list[Any] = []

    def work() -> None:
        try:
            with Session(library.engine) as session:
                session.scalars(sa.select(Book)).all()
        except NoCurrentSite as error:
            caught.append(error)

    with using_site(ONE):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(caught) == 1


# -- the wall itself --------------------------------------------------------------------------------------------------


def test_reflection_and_create_all_are_not_refused(library: Library) -> None:
    found = sa.MetaData()
    found.reflect(library.engine)
    assert "books" in found.tables
    Book.metadata.create_all(library.engine)
    with library.session(None) as session:
        assert sa.inspect(session.connection()).has_table("books")


def test_the_wall_refuses_a_sqlalchemy_that_it_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SQLCompiler, "__new__", lambda cls, *args, **kwargs: object.__new__(cls))
    with pytest.raises(Exception, match="does not let multisite limit"):
        wall.check()


def test_a_copy_of_a_scoped_table_has_its_unique_key_once() -> None:
    for table in (Author.__table__, Book.__table__):
        copy = table.to_metadata(sa.MetaData())
        # What alembic does with a table that `--autogenerate` has found, before it writes it into a revision.
        written = CreateTableOp.from_table(table).to_table()
        for each in (table, copy, written):
            uniques = [u for u in each.constraints if isinstance(u, sa.UniqueConstraint)]
            keys = [u for u in uniques if {c.name for c in u.columns} == {"site_id", "id"}]
            assert [u.name for u in keys] == [f"uq_{table.name}_site_id_id"]
            assert len(uniques) == 2


def test_a_scoped_table_has_its_unique_key_also_beside_table_args_of_its_own() -> None:
    for table in (Author.__table__, Book.__table__, Shelf.__table__):
        keys = [tuple(c.name for c in u.columns) for u in table.constraints if isinstance(u, sa.UniqueConstraint)]
        assert ("site_id", "id") in keys


def test_raiseload_and_other_options_go_on_working(library: Library) -> None:
    with library.session(ONE) as session:
        book = session.scalars(sa.select(Book).options(raiseload("*"))).first()
        with pytest.raises(sa.exc.InvalidRequestError):
            _ = book.author
