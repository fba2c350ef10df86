"""Changing rows by statements: INSERT, UPDATE and DELETE in every form."""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Base, Book, Country, Shelf, shelf_books
from sqlalchemy import column, func, literal, literal_column, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import aliased, column_property, synonym
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql.elements import quoted_name

from attack_catalogue import Place, add, exactly, gone, nothing, own, refused, way
from attack_catalogue.models import Disc, Medium, Note, Poster, Room, Slip, note_authors
from multisite import CrossSiteError, UnscopedStatement
from multisite.scoping import SiteId, site_id_column

books, shelves, notes = Book.__table__, Shelf.__table__, Note.__table__
other = books.alias("other")
more_text = text("'x', site_id = 2")
TWO_LITERAL = literal_column("2")
NEW = {"id": 98, "slug": "new", "secret": "new", "stock": 1, "author_id": None}
HOW = {"auto": "auto", "evaluate": "evaluate", "fetch": "fetch", "no synchronizing": False}


class Renamed(Base):
    """Books once more, whose site_id goes by other names."""

    __table__ = books
    __mapper_args__ = {"include_properties": ["id", "slug", "secret", "site_id"]}

    same = synonym("site_id")

    @hybrid_property
    def moved(self) -> Any:
        return self.site_id

    @moved.update_expression
    def moved(cls, value: Any) -> Any:  # noqa: N805
        return [(cls.site_id, literal_column(str(value)))]


class Spelt(sa.types.UserDefinedType[str]):
    """A type whose name in SQL is whatever is given, and which is written behind each value."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **kw: Any) -> str:
        return self.spelling


class Construct(sa.sql.expression.ColumnElement[str]):
    """A construct with a compiler of its own."""

    inherit_cache = False
    type = sa.String()

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(Construct)
def _write(element: Construct, compiler: Any, **kw: Any) -> str:
    return element.sql


def _slips(*columns: sa.Column[Any]) -> sa.Table:
    """Return the table of slips once more, with columns of its own."""
    return sa.Table("slips", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), *columns)


def _copied(*columns: Any) -> Any:
    """Return an INSERT of slips FROM a SELECT of `columns`, or of nothing much."""
    return lambda change: sa.insert(Slip).from_select(["secret"], change(select(*(columns or [literal("x")]))))


class Columned(Base):
    __table__ = books
    __mapper_args__ = {"include_properties": ["id", "slug", "secret"]}

    ident = column_property(books.c.site_id)


class Equal(int):
    """A number that says it is equal to any other."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def unquoted(sql: str) -> quoted_name:
    return quoted_name(sql, False)


def unchecked(p: Place, statement: Any) -> None:
    p.do(statement, execution_options={"synchronize_session": False})


def _update(how: Any, p: Place) -> None:
    p.all(select(Book))
    p.do(sa.update(Book).where(Book.stock == 1).values(stock=9), execution_options={"synchronize_session": how})


def _delete(how: Any, p: Place) -> None:
    p.all(select(Slip))
    p.do(sa.delete(Slip).where(Slip.id > 0), execution_options={"synchronize_session": how})


def lightweight(name: str, *columns: str) -> Any:
    return sa.table(name, *(column(each) for each in columns))


add(
    "writes",
    nothing,
    {
        # -- UPDATE
        "update": lambda p: p.do(sa.update(Book).values(stock=9)),
        **{f"update, {name}": partial(_update, how) for name, how in HOW.items()},
        "update of Core": lambda p: p.do(books.update().values(stock=9)),
        "update by the connection": lambda p: p.s.connection().execute(books.update().values(stock=9)) and None,
        "update with OR in text": lambda p: p.do(sa.update(Book).where(text("1 = 1 OR 1 = 1")).values(stock=9)),
        "update with a text criterion": lambda p: unchecked(p, sa.update(Book).where(text("id > 0")).values(stock=9)),
        "update in order": lambda p: p.do(sa.update(Book).ordered_values((Book.stock, 9), (Book.secret, "x"))),
        "update by an expression": lambda p: p.do(sa.update(Book).values(stock=Book.stock + 8)),
        "update of an alias": lambda p: p.do(sa.update(other).values(stock=7)),
        "update of an aliased entity": lambda p: unchecked(p, sa.update(aliased(Book)).values(stock=7)),
        "update with a subquery in the criterion": lambda p: unchecked(
            p, sa.update(Book).where(Book.id.in_(select(Author.id))).values(stock=9)
        ),
        "update to a subquery": lambda p: unchecked(
            p, sa.update(Book).values(slug=select(func.max(Author.secret)).scalar_subquery() + Book.slug)
        ),
        "update to a subquery of what belongs to no site": lambda p: unchecked(
            p, sa.update(Book).values(slug=select(func.max(Country.name)).scalar_subquery() + Book.slug)
        ),
        "update from": lambda p: unchecked(
            p,
            sa.update(Book)
            .where(Book.author_id <= Author.id, Author.id > 0)
            .values(stock=9, slug=Author.secret + Book.slug),
        ),
        "update from an alias": lambda p: unchecked(
            p, sa.update(Book).where(Book.id <= (a := aliased(Author)).id).values(slug=a.secret + Book.slug)
        ),
        "update from a subquery": lambda p: unchecked(
            p,
            sa.update(Book)
            .where(Book.id <= (sub := select(Author.id, Author.secret).subquery()).c.id)
            .values(slug=sub.c.secret + Book.slug),
        ),
        "update from what belongs to no site": lambda p: unchecked(
            p, sa.update(Book).where(Country.id > 0).values(slug=Country.name + Book.slug)
        ),
        "update through a lightweight table": lambda p: p.do(lightweight("books", "stock").update().values(stock=9)),
        "update through a second table": lambda p: p.do(
            sa.Table("books", sa.MetaData(), sa.Column("stock", sa.Integer)).update().values(stock=9)
        ),
        "update through a reflected table": lambda p: p.do(
            sa.Table("books", sa.MetaData(), autoload_with=p.engine).update().values(stock=9)
        ),
        "update of many by Core": lambda p: (
            p.s.connection().execute(
                books.update().where(books.c.id == sa.bindparam("key")).values(stock=sa.bindparam("n")),
                [{"key": key, "n": 9} for key in (p.own(), p.their())],
            )
            and None
        ),
        "update with no criterion that holds": lambda p: p.do(sa.update(Book).where(Book.id > 0).values(stock=9)),
        "legacy update": lambda p: p.s.query(Book).filter(Book.id > 0).update({"stock": 9}) and None,
        "update of a parent by inheritance": lambda p: unchecked(p, sa.update(Medium).values(kind="medium")),
        "update of a child by inheritance": lambda p: unchecked(p, sa.update(Disc).values(label="x")),
        "update of a single child by inheritance": lambda p: unchecked(p, sa.update(Poster).values(size="x")),
        "postgresql: update in a cte that is not used": lambda p: (
            p.rows(select(Country.id).add_cte(sa.update(Book).values(stock=5).cte("changes"))) and None
        ),
        # -- DELETE
        "delete": lambda p: unchecked(p, sa.delete(Slip)),
        **{f"delete, {name}": partial(_delete, how) for name, how in HOW.items()},
        "delete of Core": lambda p: p.do(Slip.__table__.delete()),
        "delete with OR in text": lambda p: p.do(sa.delete(shelf_books).where(text("1 = 1 OR 1 = 1"))),
        "delete with a subquery": lambda p: p.do(
            sa.delete(shelf_books).where(shelf_books.c.book_id.in_(select(Book.id)))
        ),
        "delete by a poisoned subquery": lambda p: p.do(
            sa.delete(note_authors).where(note_authors.c.author_id.in_(select(Author.id)))
        ),
        "delete of an alias": lambda p: p.do(sa.delete(shelf_books.alias("links"))),
        "delete of an association table": lambda p: p.do(sa.delete(note_authors)),
        "delete of many by Core": lambda p: (
            p.s.connection().execute(
                shelf_books.delete().where(shelf_books.c.book_id == sa.bindparam("key")),
                [{"key": key} for key in (p.own(), p.their())],
            )
            and None
        ),
        "delete through a lightweight table": lambda p: p.do(lightweight("slips", "id").delete()),
        "legacy delete": lambda p: p.s.query(Slip).filter(Slip.id > 0).delete() and None,
        "delete that cascades in the database": lambda p: unchecked(p, sa.delete(Room).where(Room.id.in_([11, 21]))),
        "delete of everything, in order": lambda p: (
            [unchecked(p, sa.delete(table)) for table in (shelf_books, books, shelves, Author.__table__)] and None
        ),
        "postgresql: delete using": lambda p: unchecked(p, sa.delete(Slip).where(Slip.id <= Author.id)),
        "postgresql: delete using an alias": lambda p: unchecked(p, sa.delete(Slip).where(Slip.id <= aliased(Slip).id)),
        "postgresql: delete of a child by inheritance": lambda p: unchecked(p, sa.delete(Disc)),
        # -- INSERT
        "insert": lambda p: p.do(sa.insert(Shelf).values(slug="new", secret="new")),
        "insert of Core": lambda p: p.do(shelves.insert().values(slug="new", secret="new")),
        "insert with parameters": lambda p: p.do(sa.insert(Shelf), {"slug": "new", "secret": "new"}),
        "insert many": lambda p: p.do(sa.insert(Shelf), [{"slug": f"new-{n}", "secret": "new"} for n in range(3)]),
        "insert many of Core": lambda p: p.do(
            shelves.insert(), [{"slug": f"new-{n}", "secret": "new"} for n in range(3)]
        ),
        "insert many values": lambda p: p.do(
            sa.insert(Shelf).values([{"slug": f"new-{n}", "secret": "new"} for n in range(3)])
        ),
        "insert with the own site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="new", secret="new", site_id=p.own() // 10)
        ),
        "insert from select": lambda p: p.do(
            sa.insert(Shelf).from_select(["slug", "secret"], select(Book.slug, Book.secret))
        ),
        "insert from select of Core": lambda p: p.do(
            shelves.insert().from_select(["slug", "secret"], select(books.c.slug, books.c.secret))
        ),
        "insert from a select over poison": lambda p: p.do(
            sa.insert(Shelf).from_select(["slug", "secret"], select(Note.body, Book.secret).join(Note.book))
        ),
        "insert from a union": lambda p: p.do(
            sa.insert(Shelf).from_select(
                ["slug", "secret"],
                select(sa.union_all(select(Book.slug, Book.secret), select(Author.slug, Author.secret)).subquery()),
            )
        ),
        "insert with a subquery as value": lambda p: p.do(
            sa.insert(Shelf).values(slug="new", secret=select(func.max(Book.secret)).scalar_subquery())
        ),
        "insert into an association table": lambda p: p.do(
            note_authors.insert().values(note_id=p.own(3), author_id=p.own(3))
        ),
        "bulk_insert_mappings": lambda p: p.s.bulk_insert_mappings(Shelf, [{"slug": "new", "secret": "new"}]),
        "bulk_save_objects": lambda p: p.s.bulk_save_objects([Shelf(slug="new", secret="new")]),
        "bulk_update_mappings": lambda p: p.s.bulk_update_mappings(Book, [{"id": p.own(), "stock": 9}]),
        "bulk update by key": lambda p: p.do(
            sa.update(Book), [{"id": p.own(), "stock": 9}, {"id": p.own(2), "stock": 8}]
        ),
        "sqlite: insert or ignore": lambda p: p.do(
            sa.insert(Shelf).prefix_with("OR IGNORE").values([NEW_SHELF, {**NEW_SHELF, "id": p.their()}])
        ),
        # -- upserts
        "upsert of an own row": lambda p: p.do(
            _upsert(p, Book, id=p.own(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": "changed"}
            )
        ),
        "upsert of all that was to be inserted": lambda p: p.do(
            (insert := p.insert(Book).values(id=p.own(), slug="x", secret="x", stock=4)).on_conflict_do_update(
                index_elements=["id"], set_=dict(insert.excluded)
            )
        ),
        "upsert by a key of the site": lambda p: p.do(
            _upsert(p, Book, slug="book-1", secret="x").on_conflict_do_update(
                index_elements=["site_id", "slug"], set_={"stock": 4}
            )
        ),
        "upsert of many rows": lambda p: p.do(
            (
                insert := p.insert(Book).values(
                    [{"id": key, "slug": f"x{key}", "secret": "x"} for key in (p.own(), p.their())]
                )
            ).on_conflict_do_update(index_elements=["id"], set_={"stock": insert.excluded.stock + 7})
        ),
        "postgresql: upsert by a constraint": lambda p: p.do(
            _upsert(p, Book, id=p.own(), slug="x", secret="x").on_conflict_do_update(
                constraint="books_pkey", set_={"stock": 4}
            )
        ),
    },
    changes=True,
)

NEW_SHELF = {"id": 98, "slug": "new", "secret": "new"}

add(
    "writes",
    nothing,
    {
        "update of a key of the other site": lambda p: p.do(
            sa.update(Book).where(Book.id == p.their()).values(stock=9)
        ),
        "update of a secret of the other site": lambda p: p.do(
            sa.update(Book).where(Book.secret == p.foreign).values(stock=9)
        ),
        "update where a foreign row exists": lambda p: unchecked(
            p, sa.update(Book).where(sa.exists().where(Author.secret == p.foreign)).values(stock=9, secret=p.foreign)
        ),
        "legacy delete of foreign keys": lambda p: p.s.query(Shelf).filter(Shelf.id == p.their()).delete() or None,
        "upsert onto a foreign row": lambda p: p.do(
            _upsert(p, Book, id=p.their(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": "mine"}
            )
        ),
        "upsert onto a foreign row, with a criterion": lambda p: p.do(
            _upsert(p, Book, id=p.their(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": "mine"}, where=text("1 = 1 OR 1 = 1")
            )
        ),
        "upsert onto a foreign row, all that was to be inserted": lambda p: p.do(
            (insert := p.insert(Book).values(id=p.their(), slug="x", secret="x", stock=4)).on_conflict_do_update(
                index_elements=["id"], set_=dict(insert.excluded)
            )
        ),
        "upsert onto a foreign row, of Core": lambda p: p.do(
            p.insert(books)
            .values(id=p.their(), slug="x", secret="x", stock=4)
            .on_conflict_do_update(index_elements=[books.c.id], set_={books.c.secret: "mine"})
        ),
        "upsert onto a foreign row, from select": lambda p: p.do(
            (
                insert := p.insert(Shelf).from_select(
                    ["id", "slug", "secret"],
                    select(literal(p.their()), Book.slug, Book.secret).where(Book.id == p.own()),
                )
            ).on_conflict_do_update(index_elements=["id"], set_={"secret": insert.excluded.secret})
        ),
        "upsert that does nothing": lambda p: p.do(
            _upsert(p, Book, id=p.their(), slug="x", secret="x").on_conflict_do_nothing()
        ),
        "postgresql: upsert onto a foreign row, by a constraint": lambda p: p.do(
            _upsert(p, Book, id=p.their(), slug="x", secret="x").on_conflict_do_update(
                constraint="books_pkey", set_={"secret": "mine"}
            )
        ),
        "sqlite: insert or ignore onto a foreign row": lambda p: p.do(
            sa.insert(Shelf).prefix_with("OR IGNORE").values(id=p.their(), slug="x", secret="x")
        ),
        "update to what a foreign row holds": lambda p: unchecked(
            p,
            sa.update(Book).values(
                slug=func.coalesce(
                    select(func.max(Author.secret)).where(Author.secret == p.foreign).scalar_subquery(), Book.slug
                )
            ),
        ),
        "update from a poisoned reference": lambda p: unchecked(
            p, sa.update(Note).where(Note.book_id == Book.id).values(body=Book.secret)
        ),
    },
    changes=False,
)

add(
    "writes",
    own,
    {
        "update that returns": lambda p: p.rows(sa.update(Book).values(stock=9).returning(Book.secret)),
        "update that returns entities": lambda p: [
            b.secret for b in p.all(sa.update(Book).values(stock=9).returning(Book))
        ],
        "delete that returns": lambda p: p.rows(sa.delete(Slip).returning(Slip.secret)),
        "insert that returns": lambda p: [
            f"secret-{p.s.scalar(sa.insert(Shelf).values(slug='new', secret='new').returning(Shelf.site_id))}"
        ],
        "insert many that returns": lambda p: [
            f"secret-{site_id}"
            for site_id in p.s.scalars(
                sa.insert(Shelf).returning(Shelf.site_id), [{"slug": f"new-{n}", "secret": "new"} for n in range(1500)]
            )
        ],
        "insert many that returns, sorted": lambda p: [
            f"secret-{site_id}"
            for site_id in p.s.scalars(
                sa.insert(Shelf).returning(Shelf.site_id, sort_by_parameter_order=True),
                [{"slug": f"new-{n}", "secret": "new"} for n in range(5)],
            )
        ],
        "insert from select that returns": lambda p: p.rows(
            sa.insert(Shelf).from_select(["slug", "secret"], select(Book.slug, Book.secret)).returning(Shelf.secret)
        ),
        "insert of entities that returns": lambda p: [
            f"secret-{shelf.site_id}"
            for shelf in p.s.scalars(sa.insert(Shelf).returning(Shelf), [{"slug": "a", "secret": "b"}])
        ],
        "upsert that returns": lambda p: p.rows(
            (
                insert := p.insert(Book).values(
                    [
                        {"id": key, "slug": f"x{key}", "secret": f"secret-{p.own() // 10}"}
                        for key in (p.own(), p.their(), 98)
                    ]
                )
            )
            .on_conflict_do_update(index_elements=["id"], set_={"stock": insert.excluded.stock})
            .returning(Book.secret)
        ),
        "update returns what it is from": lambda p: p.rows(
            sa.update(Book).where(Book.id <= Author.id).values(stock=9).returning(Book.secret)
        ),
    },
)

add(
    "writes",
    exactly(0),
    {
        "rows counted by an update of foreign rows": lambda p: (
            p.s.execute(sa.update(Book).where(Book.secret == p.foreign).values(stock=9)).rowcount
        ),
        "rows counted by an update of all": lambda p: p.s.execute(books.update().values(stock=9)).rowcount - 3,
        "rows counted by a delete of all": lambda p: p.s.execute(Slip.__table__.delete()).rowcount - 2,
        "rows counted by an update from a foreign row": lambda p: (
            p.s.execute(
                sa.update(Country).where(Book.secret == p.foreign).values(name="x"),
                execution_options={"synchronize_session": False},
            ).rowcount
        ),
        "postgresql: rows counted by a delete using a foreign row": lambda p: (
            p.s.execute(
                sa.delete(Country).where(Book.secret == p.foreign), execution_options={"synchronize_session": False}
            ).rowcount
        ),
        "rows counted by a legacy update": lambda p: p.s.query(Book).filter_by(secret=p.foreign).update({"stock": 2}),
        "rows counted by an upsert onto a foreign row": lambda p: (
            p.s.execute(
                _upsert(p, Book, id=p.their(), slug="x", secret="x").on_conflict_do_update(
                    index_elements=["id"], set_={"secret": "mine"}
                )
            ).rowcount
            > 0
        ),  # psycopg does not count them.
    },
)


def _upsert(p: Place, model: Any, **values: Any) -> Any:
    return p.insert(model).values(**values)


@way("writes", own)
def insert_from_select_into_what_belongs_to_no_site(p: Place) -> Any:
    p.do(sa.insert(Country).from_select(["id", "name"], select(Book.id + 100, Book.secret)))
    return p.all(select(Country.name))


@way("writes", own)
def update_of_what_belongs_to_no_site_from_scoped_rows(p: Place) -> Any:
    for key in (p.own(), p.their()):
        unchecked(p, sa.update(Country).where(Book.id == key).values(name=Book.secret))
    return p.all(select(Country.name))


@way("writes", own)
def update_of_what_belongs_to_no_site_to_a_subquery(p: Place) -> Any:
    unchecked(p, sa.update(Country).values(name=select(func.max(Book.secret)).scalar_subquery()))
    return p.all(select(Country.name))


@way("writes", exactly([1]))
def parameter_that_says_it_is_the_own_site(p: Place) -> Any:
    return p.all(sa.insert(Book).values(**NEW, site_id=Equal(2)).returning(Book.site_id))


REFUSED_SITE_ID = (CrossSiteError, UnscopedStatement)

add(
    "writes",
    refused(*REFUSED_SITE_ID),
    {
        # -- INSERT
        "insert a foreign site_id": lambda p: p.do(sa.insert(Shelf).values(slug="x", secret="x", site_id=p.other.id)),
        "insert a foreign site_id by a parameter": lambda p: p.do(
            sa.insert(Shelf), {"slug": "x", "secret": "x", "site_id": p.other.id}
        ),
        "insert many, one with a foreign site_id": lambda p: p.do(
            sa.insert(Shelf), [{"slug": "x", "secret": "x", "site_id": n} for n in (1, 2)]
        ),
        "insert many values, one with a foreign site_id": lambda p: p.do(
            sa.insert(Shelf).values([{"slug": "x", "secret": "x", "site_id": n} for n in (1, 2)])
        ),
        "insert an expression as site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.literal(1) + 1)
        ),
        "insert a literal as site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.literal(2))
        ),
        "insert a literal column as site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=TWO_LITERAL)
        ),
        "insert a subquery as site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=select(literal(2)).scalar_subquery())
        ),
        "insert a cast as site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.cast(2, sa.BigInteger))
        ),
        "insert a type_coerce as site_id": lambda p: p.do(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.type_coerce(2, sa.BigInteger))
        ),
        "insert from a select with site_id": lambda p: p.do(
            sa.insert(Shelf).from_select(["slug", "secret", "site_id"], select(Book.slug, Book.secret, sa.literal(2)))
        ),
        "insert rows of expressions": lambda p: p.do(
            sa.insert(books).values([tuple({**NEW, "site_id": TWO_LITERAL}[c.name] for c in books.c)])
        ),
        "insert a second row of an expression": lambda p: p.do(
            sa.insert(books).values([{**NEW, "site_id": 1}, {**NEW, "id": 99, "site_id": TWO_LITERAL}])
        ),
        "insert a variant of our type": lambda p: p.do(
            sa.insert(Book).values(
                **NEW, site_id=sa.bindparam("x", 2, SiteId().with_variant(sa.Integer(), "sqlite", "postgresql"))
            )
        ),
        "insert a parameter of another type": lambda p: p.do(
            sa.insert(Book).values(**NEW, site_id=sa.bindparam("x", 2, sa.BigInteger()))
        ),
        "insert past the model": lambda p: p.do(
            lightweight("shelves", "slug", "secret", "site_id").insert(),
            {"slug": "x", "secret": "x", "site_id": p.other.id},
        ),
        "insert through a reflected table": lambda p: p.do(
            sa.Table("shelves", sa.MetaData(), autoload_with=p.engine).insert(),
            {"slug": "x", "secret": "x", "site_id": p.other.id},
        ),
        "insert through a second table": lambda p: p.do(
            sa.Table(
                "shelves",
                sa.MetaData(),
                sa.Column("slug", sa.String),
                sa.Column("secret", sa.String),
                sa.Column("site_id", sa.Integer),
            ).insert(),
            {"slug": "x", "secret": "x", "site_id": p.other.id},
        ),
        "insert through a table without our default": lambda p: p.do(
            sa.Table(
                "shelves",
                sa.MetaData(),
                sa.Column("site_id", SiteId(), server_default="2"),
                sa.Column("slug", sa.String),
                sa.Column("secret", sa.String),
            ).insert(),
            {"slug": "x", "secret": "x"},
        ),
        "insert through a column property": lambda p: p.do(
            sa.insert(Columned).values(id=98, slug="x", secret="x", ident=TWO_LITERAL)
        ),
        "insert through a synonym": lambda p: p.do(
            sa.insert(Renamed).values(id=98, slug="x", secret="x", same=p.other.id)
        ),
        "insert by a column in other letters": lambda p: p.do(
            lightweight("shelves", "slug", "secret", "Site_Id").insert(),
            {"slug": "x", "secret": "x", "Site_Id": p.other.id},
        ),
        "sqlite: insert or replace": lambda p: p.do(
            sa.insert(Shelf).prefix_with("OR REPLACE").values(id=p.their(), slug="x", secret="x")
        ),
        "bulk_insert_mappings of a foreign site": lambda p: p.s.bulk_insert_mappings(
            Shelf, [{"slug": "x", "secret": "x", "site_id": p.other.id}]
        ),
        "bulk_save_objects of a foreign site": lambda p: p.s.bulk_save_objects(
            [Shelf(slug="x", secret="x", site_id=p.other.id)]
        ),
        "insert into an association table of a foreign site": lambda p: p.do(
            note_authors.insert().values(note_id=p.their(3), author_id=p.their(3), site_id=p.other.id)
        ),
        "postgresql: insert in a cte, foreign": lambda p: p.rows(
            select(sa.insert(Shelf).values(slug="x", secret="x", site_id=p.other.id).returning(Shelf.id).cte().c.id)
        ),
        # -- changing site_id
        "update site_id": lambda p: p.do(sa.update(Slip).values(site_id=p.other.id)),
        "update site_id of Core": lambda p: p.do(Slip.__table__.update().values(site_id=p.other.id)),
        "update site_id by an expression": lambda p: p.do(sa.update(Slip).values(site_id=Slip.site_id + 1)),
        "update site_id by a literal column": lambda p: p.do(sa.update(Slip).values(site_id=TWO_LITERAL)),
        "update site_id by a subquery": lambda p: unchecked(
            p, sa.update(Slip).values(site_id=select(sa.literal(2)).scalar_subquery())
        ),
        "update site_id by text": lambda p: unchecked(p, sa.update(Slip).values(site_id=text("2"))),
        "update site_id by CASE": lambda p: unchecked(p, sa.update(Slip).values(site_id=sa.case((Slip.id > 0, 2)))),
        "update site_id in order": lambda p: p.do(sa.update(Book).ordered_values((Book.site_id, TWO_LITERAL))),
        "update site_id of many": lambda p: p.s.connection().execute(
            Slip.__table__.update().where(Slip.id == sa.bindparam("key")).values(site_id=sa.bindparam("n")),
            [{"key": p.own(), "n": p.other.id}],
        ),
        "bulk update of site_id": lambda p: p.do(sa.update(Slip), [{"id": p.own(), "site_id": p.other.id}]),
        "bulk_update_mappings of site_id": lambda p: p.s.bulk_update_mappings(
            Slip, [{"id": p.own(), "site_id": p.other.id}]
        ),
        "legacy update of site_id": lambda p: p.s.query(Slip).update({"site_id": p.other.id}),
        "update through a synonym": lambda p: p.do(sa.update(Renamed).values({"same": TWO_LITERAL})),
        "update through a synonym's attribute": lambda p: p.do(sa.update(Renamed).values({Renamed.same: TWO_LITERAL})),
        "update through a hybrid": lambda p: unchecked(
            p, sa.update(Renamed).where(Renamed.id == p.own(3)).values({Renamed.moved: 2})
        ),
        "update through a hybrid's name": lambda p: unchecked(
            p, sa.update(Renamed).where(Renamed.id == p.own(3)).values({"moved": 2})
        ),
        "update through a column property": lambda p: p.do(sa.update(Columned).values({"ident": TWO_LITERAL})),
        "move by a table of the same name": lambda p: p.do(
            lightweight("slips", "id", "site_id").update().values(site_id=2)
        ),
        "move by a parameter": lambda p: p.do(lightweight("slips", "id", "site_id").update(), {"site_id": 2}),
        "move by a column in other letters": lambda p: p.do(
            lightweight("slips", "id", "Site_Id").update(), {"Site_Id": 2}
        ),
        "move by a reflected table": lambda p: p.do(
            sa.Table("slips", sa.MetaData(), autoload_with=p.engine).update().values(site_id=2)
        ),
        "move by an unquoted column": lambda p: p.do(
            sa.update(sa.table("slips", column(unquoted("secret = 'x', site_id")))), {"secret = 'x', site_id": 2}
        ),
        "sqlite: update or replace": lambda p: unchecked(
            p, sa.update(Book).prefix_with("OR REPLACE").where(Book.id == p.own(3)).values(id=p.their(3))
        ),
        # -- upserts
        "upsert a foreign site_id": lambda p: p.do(
            _upsert(p, Slip, id=p.own(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"site_id": p.other.id}
            )
        ),
        "upsert an expression as site_id": lambda p: p.do(
            _upsert(p, Slip, id=p.own(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"site_id": TWO_LITERAL}
            )
        ),
        "upsert site_id by a column in other letters": lambda p: p.do(
            _upsert(p, Slip, id=p.own(), secret="x").on_conflict_do_update(index_elements=["id"], set_={"SITE_ID": 2})
        ),
        "upsert that inserts a foreign site_id": lambda p: p.do(
            _upsert(p, Slip, id=98, secret="x", site_id=p.other.id).on_conflict_do_nothing()
        ),
        # -- SQL in values and defaults
        **{
            f"insert from a select that text adds a row to: {name}": lambda p, made=made: unchecked(p, made)
            for name, made in {
                "criterion": _copied()(lambda query: query.where(text("1=1 UNION ALL SELECT 'y', 2"))),
                "suffix": _copied()(lambda query: query.suffix_with("UNION ALL SELECT 'y', 2")),
                "prefix": _copied()(lambda query: query.prefix_with("'y', 2 UNION ALL SELECT")),
                "hint": _copied()(lambda query: query.with_statement_hint("UNION ALL SELECT 'y', 2")),
                "FROM": _copied()(lambda query: query.select_from(text("sites UNION ALL SELECT 'y', 2"))),
                "column": _copied(literal_column("'y', 2 UNION ALL SELECT 'x'"))(lambda query: query),
                "construct": _copied(Construct("'y', 2 UNION ALL SELECT 'x'"))(lambda query: query),
            }.items()
        },
        "insert from a select that text gives an ON CONFLICT": lambda p: unchecked(
            p,
            sa.insert(Slip).from_select(
                ["id", "secret"],
                select(literal(p.their()), literal("x")).where(
                    text("1=1 ON CONFLICT (id) DO UPDATE SET secret = 'changed'")
                ),
            ),
        ),
        "insert a construct that adds a row": lambda p: unchecked(
            p, sa.insert(Slip).values(secret=Construct("'x', 2), ('y'"))
        ),
        "insert a second row of a construct that adds one": lambda p: unchecked(
            p, sa.insert(Slip).values([{"secret": "x"}, {"secret": Construct("'x', 2), ('y'")}])
        ),
        "insert a construct as a default that adds a row": lambda p: unchecked(
            p,
            _slips(
                sa.Column("secret", sa.String, default=Construct("'x', 2), ('y'")),
                site_id_column(),
            )
            .insert()
            .values(),
        ),
        "postgresql: insert a value whose type adds a row": lambda p: unchecked(
            p, sa.insert(Slip).values(secret=literal("x", Spelt("text, 2), ('y'::text")))
        ),
        "postgresql: update to a value whose type sets a second column": lambda p: unchecked(
            p, sa.update(Slip).values(secret=literal("x", Spelt("text, site_id = 2")))
        ),
        "update by an onupdate that sets a second column": lambda p: unchecked(
            p,
            _slips(sa.Column("secret", sa.String, onupdate=more_text), sa.Column("room_id", sa.Integer))
            .update()
            .values(room_id=7),
        ),
        "update by the onupdate of a site_id": lambda p: unchecked(
            p,
            _slips(sa.Column("secret", sa.String), sa.Column("site_id", sa.BigInteger, onupdate=2))
            .update()
            .values(secret="x"),
        ),
        "update by the onupdate of our type that is SQL": lambda p: unchecked(
            p,
            _slips(sa.Column("secret", sa.String), sa.Column("site_id", SiteId, onupdate=TWO_LITERAL))
            .update()
            .values(secret="x"),
        ),
        "query as a default": lambda p: (
            (
                p.do(
                    sa.Table(
                        "countries",
                        sa.MetaData(),
                        sa.Column(
                            "id", sa.Integer, primary_key=True, default=text("(select max(id) + 100 from books)")
                        ),
                        sa.Column("name", sa.String),
                        implicit_returning=False,
                    )
                    .insert()
                    .values(name="x")
                ),
                p.all(select(Country.id + 0)),
            )[1][-1]
            - 100
        ),
    },
)


def _more(statement: Any) -> Any:
    def act(p: Place) -> Any:
        try:
            unchecked(p, statement(p))
        except sa.exc.DBAPIError:
            p.s.rollback()
        return p.s.scalar(select(func.count()).select_from(Slip))

    return act


add(
    "writes",
    exactly(2),
    {
        f"value that sets a second column: {name}": _more(statement)
        for name, statement in {
            "update": lambda p: sa.update(Slip).values(secret=more_text),
            "literal column": lambda p: sa.update(Slip).values(secret=literal_column("'x', site_id = 2")),
            "operator": lambda p: sa.update(Slip).values(secret=literal("x").op(", site_id =")(2)),
            "in order": lambda p: sa.update(Slip).ordered_values(("secret", more_text)),
            "upsert": lambda p: _upsert(p, Slip, id=p.own(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": more_text}
            ),
        }.items()
    },
)

add(
    "writes",
    gone(StaleDataError),
    {
        "bulk update by a foreign key": lambda p: p.do(sa.update(Book), [{"id": p.their(), "stock": 9}]),
        "bulk_update_mappings by a foreign key": lambda p: p.s.bulk_update_mappings(
            Book, [{"id": p.their(), "stock": 9}]
        ),
    },
)

add(
    "writes",
    gone(sa.exc.IntegrityError),
    {
        "insert with a foreign key": lambda p: p.do(sa.insert(Shelf).values(id=p.their(), slug="x", secret="x")),
        "insert a reference to a foreign row": lambda p: p.do(
            sa.insert(Book).values(slug="x", secret="x", author_id=p.their())
        ),
        "update to a reference to a foreign row": lambda p: p.do(
            sa.update(Book).where(Book.id == p.own()).values(author_id=p.their())
        ),
        "upsert to a reference to a foreign row": lambda p: p.do(
            _upsert(p, Book, id=p.own(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"author_id": p.their()}
            )
        ),
        "insert into an association table with a foreign key": lambda p: p.do(
            shelf_books.insert().values(shelf_id=p.own(), book_id=p.their())
        ),
        "insert from select with a foreign reference": lambda p: p.do(
            sa.insert(Book).from_select(
                ["slug", "secret", "author_id"], select(Shelf.slug, Shelf.secret, literal(p.their()))
            )
        ),
        "update of a key to a foreign one": lambda p: unchecked(
            p, sa.update(Shelf).where(Shelf.id == p.own()).values(id=p.their())
        ),
    },
)
