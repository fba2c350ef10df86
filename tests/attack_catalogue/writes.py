"""Attempts to change rows by statements: INSERT, UPDATE and DELETE in every form."""

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

from attack_catalogue import Context, add, attempt, exactly, no_result, not_found, own_rows, refused
from attack_catalogue.models import Disc, Medium, Note, Poster, Room, Slip, note_authors
from multisite import CrossSiteError, UnscopedStatement
from multisite.scoping import SiteId, site_id_column

books, shelves, notes = Book.__table__, Shelf.__table__, Note.__table__
other = books.alias("other")
more_text = text("'x', site_id = 2")
TWO_LITERAL = literal_column("2")
NEW = {"id": 98, "slug": "new", "secret": "new", "stock": 1, "author_id": None}
HOW = {"auto": "auto", "evaluate": "evaluate", "fetch": "fetch", "no synchronization": False}


class Renamed(Base):
    """A second class on the table of `Book`, with other names for site_id."""

    __table__ = books
    __mapper_args__ = {"include_properties": ["id", "slug", "secret", "site_id"]}

    same = synonym("site_id")

    @hybrid_property
    def moved(self) -> Any:
        return self.site_id

    @moved.update_expression
    def moved(cls, value: Any) -> Any:  # noqa: N805
        return [(cls.site_id, literal_column(str(value)))]


class NamedType(sa.types.UserDefinedType[str]):
    """A custom type whose name in SQL is the given text, rendered as a cast of each value."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, name_in_sql: str) -> None:
        self.name_in_sql = name_in_sql

    def get_col_spec(self, **kw: Any) -> str:
        return self.name_in_sql


class Construct(sa.sql.expression.ColumnElement[str]):
    """A custom construct that renders the given SQL."""

    inherit_cache = False
    type = sa.String()

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(Construct)
def _write(element: Construct, compiler: Any, **kw: Any) -> str:
    return element.sql


def _slips(*columns: sa.Column[Any]) -> sa.Table:
    """Return a second Table object for slips, with these columns."""
    return sa.Table("slips", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), *columns)


def _copied(*columns: Any) -> Any:
    """Return a function that makes an INSERT of slips from a changed SELECT of `columns`, by default of a literal."""
    return lambda change: sa.insert(Slip).from_select(["secret"], change(select(*(columns or [literal("x")]))))


class Columned(Base):
    __table__ = books
    __mapper_args__ = {"include_properties": ["id", "slug", "secret"]}

    ident = column_property(books.c.site_id)


class Equal(int):
    """A number that compares equal to any other."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def unquoted(sql: str) -> quoted_name:
    return quoted_name(sql, False)


def unchecked(ctx: Context, statement: Any) -> None:
    ctx.execute(statement, execution_options={"synchronize_session": False})


def _update(how: Any, ctx: Context) -> None:
    ctx.scalars(select(Book))
    ctx.execute(sa.update(Book).where(Book.stock == 1).values(stock=9), execution_options={"synchronize_session": how})


def _delete(how: Any, ctx: Context) -> None:
    ctx.scalars(select(Slip))
    ctx.execute(sa.delete(Slip).where(Slip.id > 0), execution_options={"synchronize_session": how})


def lightweight(name: str, *columns: str) -> Any:
    return sa.table(name, *(column(each) for each in columns))


add(
    "writes",
    no_result,
    {
        # -- UPDATE
        "update": lambda ctx: ctx.execute(sa.update(Book).values(stock=9)),
        **{f"update, {name}": partial(_update, how) for name, how in HOW.items()},
        "update of Core": lambda ctx: ctx.execute(books.update().values(stock=9)),
        "update by the connection": lambda ctx: (
            ctx.session.connection().execute(books.update().values(stock=9)) and None
        ),
        "update with OR in text": lambda ctx: ctx.execute(
            sa.update(Book).where(text("1 = 1 OR 1 = 1")).values(stock=9)
        ),
        "update with a text criterion": lambda ctx: unchecked(
            ctx, sa.update(Book).where(text("id > 0")).values(stock=9)
        ),
        "update with ordered values": lambda ctx: ctx.execute(
            sa.update(Book).ordered_values((Book.stock, 9), (Book.secret, "x"))
        ),
        "update by an expression": lambda ctx: ctx.execute(sa.update(Book).values(stock=Book.stock + 8)),
        "update of an alias": lambda ctx: ctx.execute(sa.update(other).values(stock=7)),
        "update of an aliased entity": lambda ctx: unchecked(ctx, sa.update(aliased(Book)).values(stock=7)),
        "update with a subquery in the criterion": lambda ctx: unchecked(
            ctx, sa.update(Book).where(Book.id.in_(select(Author.id))).values(stock=9)
        ),
        "update to a subquery": lambda ctx: unchecked(
            ctx, sa.update(Book).values(slug=select(func.max(Author.secret)).scalar_subquery() + Book.slug)
        ),
        "update to a subquery of an unscoped table": lambda ctx: unchecked(
            ctx, sa.update(Book).values(slug=select(func.max(Country.name)).scalar_subquery() + Book.slug)
        ),
        "update from": lambda ctx: unchecked(
            ctx,
            sa.update(Book)
            .where(Book.author_id <= Author.id, Author.id > 0)
            .values(stock=9, slug=Author.secret + Book.slug),
        ),
        "update from an alias": lambda ctx: unchecked(
            ctx, sa.update(Book).where(Book.id <= (a := aliased(Author)).id).values(slug=a.secret + Book.slug)
        ),
        "update from a subquery": lambda ctx: unchecked(
            ctx,
            sa.update(Book)
            .where(Book.id <= (sub := select(Author.id, Author.secret).subquery()).c.id)
            .values(slug=sub.c.secret + Book.slug),
        ),
        "update from an unscoped table": lambda ctx: unchecked(
            ctx, sa.update(Book).where(Country.id > 0).values(slug=Country.name + Book.slug)
        ),
        "update through a lightweight table": lambda ctx: ctx.execute(
            lightweight("books", "stock").update().values(stock=9)
        ),
        "update through a second table": lambda ctx: ctx.execute(
            sa.Table("books", sa.MetaData(), sa.Column("stock", sa.Integer)).update().values(stock=9)
        ),
        "update through a reflected table": lambda ctx: ctx.execute(
            sa.Table("books", sa.MetaData(), autoload_with=ctx.engine).update().values(stock=9)
        ),
        "update of many by Core": lambda ctx: (
            ctx.session.connection().execute(
                books.update().where(books.c.id == sa.bindparam("key")).values(stock=sa.bindparam("n")),
                [{"key": key, "n": 9} for key in (ctx.own_key(), ctx.other_key())],
            )
            and None
        ),
        "update with a criterion that is always true": lambda ctx: ctx.execute(
            sa.update(Book).where(Book.id > 0).values(stock=9)
        ),
        "legacy update": lambda ctx: ctx.session.query(Book).filter(Book.id > 0).update({"stock": 9}) and None,
        "update of a parent by inheritance": lambda ctx: unchecked(ctx, sa.update(Medium).values(kind="medium")),
        "update of a child by inheritance": lambda ctx: unchecked(ctx, sa.update(Disc).values(label="x")),
        "update of a single child by inheritance": lambda ctx: unchecked(ctx, sa.update(Poster).values(size="x")),
        "postgresql: update in a cte that is not used": lambda ctx: (
            ctx.rows(select(Country.id).add_cte(sa.update(Book).values(stock=5).cte("changes"))) and None
        ),
        # -- DELETE
        "delete": lambda ctx: unchecked(ctx, sa.delete(Slip)),
        **{f"delete, {name}": partial(_delete, how) for name, how in HOW.items()},
        "delete of Core": lambda ctx: ctx.execute(Slip.__table__.delete()),
        "delete with OR in text": lambda ctx: ctx.execute(sa.delete(shelf_books).where(text("1 = 1 OR 1 = 1"))),
        "delete with a subquery": lambda ctx: ctx.execute(
            sa.delete(shelf_books).where(shelf_books.c.book_id.in_(select(Book.id)))
        ),
        "delete by a subquery that matches cross-site rows": lambda ctx: ctx.execute(
            sa.delete(note_authors).where(note_authors.c.author_id.in_(select(Author.id)))
        ),
        "delete of an alias": lambda ctx: ctx.execute(sa.delete(shelf_books.alias("links"))),
        "delete of an association table": lambda ctx: ctx.execute(sa.delete(note_authors)),
        "delete of many by Core": lambda ctx: (
            ctx.session.connection().execute(
                shelf_books.delete().where(shelf_books.c.book_id == sa.bindparam("key")),
                [{"key": key} for key in (ctx.own_key(), ctx.other_key())],
            )
            and None
        ),
        "delete through a lightweight table": lambda ctx: ctx.execute(lightweight("slips", "id").delete()),
        "legacy delete": lambda ctx: ctx.session.query(Slip).filter(Slip.id > 0).delete() and None,
        "delete that cascades in the database": lambda ctx: unchecked(
            ctx, sa.delete(Room).where(Room.id.in_([11, 21]))
        ),
        "delete of everything, in order": lambda ctx: (
            [unchecked(ctx, sa.delete(table)) for table in (shelf_books, books, shelves, Author.__table__)] and None
        ),
        "postgresql: delete using": lambda ctx: unchecked(ctx, sa.delete(Slip).where(Slip.id <= Author.id)),
        "postgresql: delete using an alias": lambda ctx: unchecked(
            ctx, sa.delete(Slip).where(Slip.id <= aliased(Slip).id)
        ),
        "postgresql: delete of a child by inheritance": lambda ctx: unchecked(ctx, sa.delete(Disc)),
        # -- INSERT
        "insert": lambda ctx: ctx.execute(sa.insert(Shelf).values(slug="new", secret="new")),
        "insert of Core": lambda ctx: ctx.execute(shelves.insert().values(slug="new", secret="new")),
        "insert with parameters": lambda ctx: ctx.execute(sa.insert(Shelf), {"slug": "new", "secret": "new"}),
        "insert many": lambda ctx: ctx.execute(
            sa.insert(Shelf), [{"slug": f"new-{n}", "secret": "new"} for n in range(3)]
        ),
        "insert many of Core": lambda ctx: ctx.execute(
            shelves.insert(), [{"slug": f"new-{n}", "secret": "new"} for n in range(3)]
        ),
        "insert many values": lambda ctx: ctx.execute(
            sa.insert(Shelf).values([{"slug": f"new-{n}", "secret": "new"} for n in range(3)])
        ),
        "insert with the own site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="new", secret="new", site_id=ctx.own_key() // 10)
        ),
        "insert from select": lambda ctx: ctx.execute(
            sa.insert(Shelf).from_select(["slug", "secret"], select(Book.slug, Book.secret))
        ),
        "insert from select of Core": lambda ctx: ctx.execute(
            shelves.insert().from_select(["slug", "secret"], select(books.c.slug, books.c.secret))
        ),
        "insert from a select along cross-site references": lambda ctx: ctx.execute(
            sa.insert(Shelf).from_select(["slug", "secret"], select(Note.body, Book.secret).join(Note.book))
        ),
        "insert from a union": lambda ctx: ctx.execute(
            sa.insert(Shelf).from_select(
                ["slug", "secret"],
                select(sa.union_all(select(Book.slug, Book.secret), select(Author.slug, Author.secret)).subquery()),
            )
        ),
        "insert with a subquery as value": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="new", secret=select(func.max(Book.secret)).scalar_subquery())
        ),
        "insert into an association table": lambda ctx: ctx.execute(
            note_authors.insert().values(note_id=ctx.own_key(3), author_id=ctx.own_key(3))
        ),
        "bulk_insert_mappings": lambda ctx: ctx.session.bulk_insert_mappings(Shelf, [{"slug": "new", "secret": "new"}]),
        "bulk_save_objects": lambda ctx: ctx.session.bulk_save_objects([Shelf(slug="new", secret="new")]),
        "bulk_update_mappings": lambda ctx: ctx.session.bulk_update_mappings(Book, [{"id": ctx.own_key(), "stock": 9}]),
        "bulk update by key": lambda ctx: ctx.execute(
            sa.update(Book), [{"id": ctx.own_key(), "stock": 9}, {"id": ctx.own_key(2), "stock": 8}]
        ),
        "sqlite: insert or ignore": lambda ctx: ctx.execute(
            sa.insert(Shelf).prefix_with("OR IGNORE").values([NEW_SHELF, {**NEW_SHELF, "id": ctx.other_key()}])
        ),
        # -- upserts
        "upsert of an own row": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.own_key(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": "changed"}
            )
        ),
        "upsert of all excluded columns": lambda ctx: ctx.execute(
            (insert := ctx.insert(Book).values(id=ctx.own_key(), slug="x", secret="x", stock=4)).on_conflict_do_update(
                index_elements=["id"], set_=dict(insert.excluded)
            )
        ),
        "upsert by a key of the site": lambda ctx: ctx.execute(
            _upsert(ctx, Book, slug="book-1", secret="x").on_conflict_do_update(
                index_elements=["site_id", "slug"], set_={"stock": 4}
            )
        ),
        "upsert of many rows": lambda ctx: ctx.execute(
            (
                insert := ctx.insert(Book).values(
                    [{"id": key, "slug": f"x{key}", "secret": "x"} for key in (ctx.own_key(), ctx.other_key())]
                )
            ).on_conflict_do_update(index_elements=["id"], set_={"stock": insert.excluded.stock + 7})
        ),
        "postgresql: upsert by a constraint": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.own_key(), slug="x", secret="x").on_conflict_do_update(
                constraint="books_pkey", set_={"stock": 4}
            )
        ),
    },
    changes=True,
)

NEW_SHELF = {"id": 98, "slug": "new", "secret": "new"}

add(
    "writes",
    no_result,
    {
        "update by another site's key": lambda ctx: ctx.execute(
            sa.update(Book).where(Book.id == ctx.other_key()).values(stock=9)
        ),
        "update by another site's secret": lambda ctx: ctx.execute(
            sa.update(Book).where(Book.secret == ctx.other_secret).values(stock=9)
        ),
        "update if another site's row exists": lambda ctx: unchecked(
            ctx,
            sa.update(Book)
            .where(sa.exists().where(Author.secret == ctx.other_secret))
            .values(stock=9, secret=ctx.other_secret),
        ),
        "legacy delete by another site's key": lambda ctx: (
            ctx.session.query(Shelf).filter(Shelf.id == ctx.other_key()).delete() or None
        ),
        "upsert onto another site's row": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.other_key(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": "mine"}
            )
        ),
        "upsert onto another site's row, with a criterion": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.other_key(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": "mine"}, where=text("1 = 1 OR 1 = 1")
            )
        ),
        "upsert onto another site's row, all excluded columns": lambda ctx: ctx.execute(
            (
                insert := ctx.insert(Book).values(id=ctx.other_key(), slug="x", secret="x", stock=4)
            ).on_conflict_do_update(index_elements=["id"], set_=dict(insert.excluded))
        ),
        "upsert onto another site's row, of Core": lambda ctx: ctx.execute(
            ctx.insert(books)
            .values(id=ctx.other_key(), slug="x", secret="x", stock=4)
            .on_conflict_do_update(index_elements=[books.c.id], set_={books.c.secret: "mine"})
        ),
        "upsert onto another site's row, from select": lambda ctx: ctx.execute(
            (
                insert := ctx.insert(Shelf).from_select(
                    ["id", "slug", "secret"],
                    select(literal(ctx.other_key()), Book.slug, Book.secret).where(Book.id == ctx.own_key()),
                )
            ).on_conflict_do_update(index_elements=["id"], set_={"secret": insert.excluded.secret})
        ),
        "upsert that does nothing": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.other_key(), slug="x", secret="x").on_conflict_do_nothing()
        ),
        "postgresql: upsert onto another site's row, by a constraint": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.other_key(), slug="x", secret="x").on_conflict_do_update(
                constraint="books_pkey", set_={"secret": "mine"}
            )
        ),
        "sqlite: insert or ignore onto another site's row": lambda ctx: ctx.execute(
            sa.insert(Shelf).prefix_with("OR IGNORE").values(id=ctx.other_key(), slug="x", secret="x")
        ),
        "update to a value of another site's row": lambda ctx: unchecked(
            ctx,
            sa.update(Book).values(
                slug=func.coalesce(
                    select(func.max(Author.secret)).where(Author.secret == ctx.other_secret).scalar_subquery(),
                    Book.slug,
                )
            ),
        ),
        "update from a cross-site reference": lambda ctx: unchecked(
            ctx, sa.update(Note).where(Note.book_id == Book.id).values(body=Book.secret)
        ),
    },
    changes=False,
)

add(
    "writes",
    own_rows,
    {
        "update that returns": lambda ctx: ctx.rows(sa.update(Book).values(stock=9).returning(Book.secret)),
        "update that returns entities": lambda ctx: [
            b.secret for b in ctx.scalars(sa.update(Book).values(stock=9).returning(Book))
        ],
        "delete that returns": lambda ctx: ctx.rows(sa.delete(Slip).returning(Slip.secret)),
        "insert that returns": lambda ctx: [
            f"secret-{ctx.session.scalar(sa.insert(Shelf).values(slug='new', secret='new').returning(Shelf.site_id))}"
        ],
        "insert many that returns": lambda ctx: [
            f"secret-{site_id}"
            for site_id in ctx.session.scalars(
                sa.insert(Shelf).returning(Shelf.site_id), [{"slug": f"new-{n}", "secret": "new"} for n in range(1500)]
            )
        ],
        "insert many that returns, sorted": lambda ctx: [
            f"secret-{site_id}"
            for site_id in ctx.session.scalars(
                sa.insert(Shelf).returning(Shelf.site_id, sort_by_parameter_order=True),
                [{"slug": f"new-{n}", "secret": "new"} for n in range(5)],
            )
        ],
        "insert from select that returns": lambda ctx: ctx.rows(
            sa.insert(Shelf).from_select(["slug", "secret"], select(Book.slug, Book.secret)).returning(Shelf.secret)
        ),
        "insert of entities that returns": lambda ctx: [
            f"secret-{shelf.site_id}"
            for shelf in ctx.session.scalars(sa.insert(Shelf).returning(Shelf), [{"slug": "a", "secret": "b"}])
        ],
        "upsert that returns": lambda ctx: ctx.rows(
            (
                insert := ctx.insert(Book).values(
                    [
                        {"id": key, "slug": f"x{key}", "secret": f"secret-{ctx.own_key() // 10}"}
                        for key in (ctx.own_key(), ctx.other_key(), 98)
                    ]
                )
            )
            .on_conflict_do_update(index_elements=["id"], set_={"stock": insert.excluded.stock})
            .returning(Book.secret)
        ),
        "update from a second table that returns": lambda ctx: ctx.rows(
            sa.update(Book).where(Book.id <= Author.id).values(stock=9).returning(Book.secret)
        ),
    },
)

add(
    "writes",
    exactly(0),
    {
        "rows counted by an update of another site's rows": lambda ctx: (
            ctx.session.execute(sa.update(Book).where(Book.secret == ctx.other_secret).values(stock=9)).rowcount
        ),
        "rows counted by an update of all": lambda ctx: (
            ctx.session.execute(books.update().values(stock=9)).rowcount - 3
        ),
        "rows counted by a delete of all": lambda ctx: ctx.session.execute(Slip.__table__.delete()).rowcount - 2,
        "rows counted by an update from another site's row": lambda ctx: (
            ctx.session.execute(
                sa.update(Country).where(Book.secret == ctx.other_secret).values(name="x"),
                execution_options={"synchronize_session": False},
            ).rowcount
        ),
        "postgresql: rows counted by a delete using another site's row": lambda ctx: (
            ctx.session.execute(
                sa.delete(Country).where(Book.secret == ctx.other_secret),
                execution_options={"synchronize_session": False},
            ).rowcount
        ),
        "rows counted by a legacy update": lambda ctx: (
            ctx.session.query(Book).filter_by(secret=ctx.other_secret).update({"stock": 2})
        ),
        "rows counted by an upsert onto another site's row": lambda ctx: (
            ctx.session.execute(
                _upsert(ctx, Book, id=ctx.other_key(), slug="x", secret="x").on_conflict_do_update(
                    index_elements=["id"], set_={"secret": "mine"}
                )
            ).rowcount
            > 0
        ),  # psycopg does not count the rows.
    },
)


def _upsert(ctx: Context, model: Any, **values: Any) -> Any:
    return ctx.insert(model).values(**values)


@attempt("writes", own_rows)
def insert_from_select_into_an_unscoped_table(ctx: Context) -> Any:
    ctx.execute(sa.insert(Country).from_select(["id", "name"], select(Book.id + 100, Book.secret)))
    return ctx.scalars(select(Country.name))


@attempt("writes", own_rows)
def update_of_an_unscoped_table_from_scoped_rows(ctx: Context) -> Any:
    for key in (ctx.own_key(), ctx.other_key()):
        unchecked(ctx, sa.update(Country).where(Book.id == key).values(name=Book.secret))
    return ctx.scalars(select(Country.name))


@attempt("writes", own_rows)
def update_of_an_unscoped_table_to_a_subquery(ctx: Context) -> Any:
    unchecked(ctx, sa.update(Country).values(name=select(func.max(Book.secret)).scalar_subquery()))
    return ctx.scalars(select(Country.name))


@attempt("writes", exactly([1]))
def parameter_that_compares_equal_to_any_site_id(ctx: Context) -> Any:
    return ctx.scalars(sa.insert(Book).values(**NEW, site_id=Equal(2)).returning(Book.site_id))


REFUSED_SITE_ID = (CrossSiteError, UnscopedStatement)

add(
    "writes",
    refused(*REFUSED_SITE_ID),
    {
        # -- INSERT
        "insert another site's site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=ctx.other.id)
        ),
        "insert another site's site_id by a parameter": lambda ctx: ctx.execute(
            sa.insert(Shelf), {"slug": "x", "secret": "x", "site_id": ctx.other.id}
        ),
        "insert many, one with another site's site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf), [{"slug": "x", "secret": "x", "site_id": n} for n in (1, 2)]
        ),
        "insert many values, one with another site's site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values([{"slug": "x", "secret": "x", "site_id": n} for n in (1, 2)])
        ),
        "insert an expression as site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.literal(1) + 1)
        ),
        "insert a literal as site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.literal(2))
        ),
        "insert a literal column as site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=TWO_LITERAL)
        ),
        "insert a subquery as site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=select(literal(2)).scalar_subquery())
        ),
        "insert a cast as site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.cast(2, sa.BigInteger))
        ),
        "insert a type_coerce as site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(slug="x", secret="x", site_id=sa.type_coerce(2, sa.BigInteger))
        ),
        "insert from a select with site_id": lambda ctx: ctx.execute(
            sa.insert(Shelf).from_select(["slug", "secret", "site_id"], select(Book.slug, Book.secret, sa.literal(2)))
        ),
        "insert rows of expressions": lambda ctx: ctx.execute(
            sa.insert(books).values([tuple({**NEW, "site_id": TWO_LITERAL}[c.name] for c in books.c)])
        ),
        "insert a second row of an expression": lambda ctx: ctx.execute(
            sa.insert(books).values([{**NEW, "site_id": 1}, {**NEW, "id": 99, "site_id": TWO_LITERAL}])
        ),
        "insert a variant of SiteId": lambda ctx: ctx.execute(
            sa.insert(Book).values(
                **NEW, site_id=sa.bindparam("x", 2, SiteId().with_variant(sa.Integer(), "sqlite", "postgresql"))
            )
        ),
        "insert a parameter of another type": lambda ctx: ctx.execute(
            sa.insert(Book).values(**NEW, site_id=sa.bindparam("x", 2, sa.BigInteger()))
        ),
        "insert without the model": lambda ctx: ctx.execute(
            lightweight("shelves", "slug", "secret", "site_id").insert(),
            {"slug": "x", "secret": "x", "site_id": ctx.other.id},
        ),
        "insert through a reflected table": lambda ctx: ctx.execute(
            sa.Table("shelves", sa.MetaData(), autoload_with=ctx.engine).insert(),
            {"slug": "x", "secret": "x", "site_id": ctx.other.id},
        ),
        "insert through a second table": lambda ctx: ctx.execute(
            sa.Table(
                "shelves",
                sa.MetaData(),
                sa.Column("slug", sa.String),
                sa.Column("secret", sa.String),
                sa.Column("site_id", sa.Integer),
            ).insert(),
            {"slug": "x", "secret": "x", "site_id": ctx.other.id},
        ),
        "insert through a table without the default of site_id": lambda ctx: ctx.execute(
            sa.Table(
                "shelves",
                sa.MetaData(),
                sa.Column("site_id", SiteId(), server_default="2"),
                sa.Column("slug", sa.String),
                sa.Column("secret", sa.String),
            ).insert(),
            {"slug": "x", "secret": "x"},
        ),
        "insert through a column property": lambda ctx: ctx.execute(
            sa.insert(Columned).values(id=98, slug="x", secret="x", ident=TWO_LITERAL)
        ),
        "insert through a synonym": lambda ctx: ctx.execute(
            sa.insert(Renamed).values(id=98, slug="x", secret="x", same=ctx.other.id)
        ),
        "insert by a column in another letter case": lambda ctx: ctx.execute(
            lightweight("shelves", "slug", "secret", "Site_Id").insert(),
            {"slug": "x", "secret": "x", "Site_Id": ctx.other.id},
        ),
        "sqlite: insert or replace": lambda ctx: ctx.execute(
            sa.insert(Shelf).prefix_with("OR REPLACE").values(id=ctx.other_key(), slug="x", secret="x")
        ),
        "bulk_insert_mappings of another site": lambda ctx: ctx.session.bulk_insert_mappings(
            Shelf, [{"slug": "x", "secret": "x", "site_id": ctx.other.id}]
        ),
        "bulk_save_objects of another site": lambda ctx: ctx.session.bulk_save_objects(
            [Shelf(slug="x", secret="x", site_id=ctx.other.id)]
        ),
        "insert into an association table of another site": lambda ctx: ctx.execute(
            note_authors.insert().values(note_id=ctx.other_key(3), author_id=ctx.other_key(3), site_id=ctx.other.id)
        ),
        "postgresql: insert into another site in a cte": lambda ctx: ctx.rows(
            select(sa.insert(Shelf).values(slug="x", secret="x", site_id=ctx.other.id).returning(Shelf.id).cte().c.id)
        ),
        # -- changing site_id
        "update site_id": lambda ctx: ctx.execute(sa.update(Slip).values(site_id=ctx.other.id)),
        "update site_id of Core": lambda ctx: ctx.execute(Slip.__table__.update().values(site_id=ctx.other.id)),
        "update site_id by an expression": lambda ctx: ctx.execute(sa.update(Slip).values(site_id=Slip.site_id + 1)),
        "update site_id by a literal column": lambda ctx: ctx.execute(sa.update(Slip).values(site_id=TWO_LITERAL)),
        "update site_id by a subquery": lambda ctx: unchecked(
            ctx, sa.update(Slip).values(site_id=select(sa.literal(2)).scalar_subquery())
        ),
        "update site_id by text": lambda ctx: unchecked(ctx, sa.update(Slip).values(site_id=text("2"))),
        "update site_id by CASE": lambda ctx: unchecked(ctx, sa.update(Slip).values(site_id=sa.case((Slip.id > 0, 2)))),
        "update site_id with ordered values": lambda ctx: ctx.execute(
            sa.update(Book).ordered_values((Book.site_id, TWO_LITERAL))
        ),
        "update site_id of many": lambda ctx: ctx.session.connection().execute(
            Slip.__table__.update().where(Slip.id == sa.bindparam("key")).values(site_id=sa.bindparam("n")),
            [{"key": ctx.own_key(), "n": ctx.other.id}],
        ),
        "bulk update of site_id": lambda ctx: ctx.execute(
            sa.update(Slip), [{"id": ctx.own_key(), "site_id": ctx.other.id}]
        ),
        "bulk_update_mappings of site_id": lambda ctx: ctx.session.bulk_update_mappings(
            Slip, [{"id": ctx.own_key(), "site_id": ctx.other.id}]
        ),
        "legacy update of site_id": lambda ctx: ctx.session.query(Slip).update({"site_id": ctx.other.id}),
        "update through a synonym": lambda ctx: ctx.execute(sa.update(Renamed).values({"same": TWO_LITERAL})),
        "update through a synonym's attribute": lambda ctx: ctx.execute(
            sa.update(Renamed).values({Renamed.same: TWO_LITERAL})
        ),
        "update through a hybrid": lambda ctx: unchecked(
            ctx, sa.update(Renamed).where(Renamed.id == ctx.own_key(3)).values({Renamed.moved: 2})
        ),
        "update through a hybrid's name": lambda ctx: unchecked(
            ctx, sa.update(Renamed).where(Renamed.id == ctx.own_key(3)).values({"moved": 2})
        ),
        "update through a column property": lambda ctx: ctx.execute(sa.update(Columned).values({"ident": TWO_LITERAL})),
        "move by a table of the same name": lambda ctx: ctx.execute(
            lightweight("slips", "id", "site_id").update().values(site_id=2)
        ),
        "move by a parameter": lambda ctx: ctx.execute(lightweight("slips", "id", "site_id").update(), {"site_id": 2}),
        "move by a column in another letter case": lambda ctx: ctx.execute(
            lightweight("slips", "id", "Site_Id").update(), {"Site_Id": 2}
        ),
        "move by a reflected table": lambda ctx: ctx.execute(
            sa.Table("slips", sa.MetaData(), autoload_with=ctx.engine).update().values(site_id=2)
        ),
        "move by an unquoted column": lambda ctx: ctx.execute(
            sa.update(sa.table("slips", column(unquoted("secret = 'x', site_id")))), {"secret = 'x', site_id": 2}
        ),
        "sqlite: update or replace": lambda ctx: unchecked(
            ctx, sa.update(Book).prefix_with("OR REPLACE").where(Book.id == ctx.own_key(3)).values(id=ctx.other_key(3))
        ),
        # -- upserts
        "upsert another site's site_id": lambda ctx: ctx.execute(
            _upsert(ctx, Slip, id=ctx.own_key(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"site_id": ctx.other.id}
            )
        ),
        "upsert an expression as site_id": lambda ctx: ctx.execute(
            _upsert(ctx, Slip, id=ctx.own_key(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"site_id": TWO_LITERAL}
            )
        ),
        "upsert site_id by a column in another letter case": lambda ctx: ctx.execute(
            _upsert(ctx, Slip, id=ctx.own_key(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"SITE_ID": 2}
            )
        ),
        "upsert that inserts another site's site_id": lambda ctx: ctx.execute(
            _upsert(ctx, Slip, id=98, secret="x", site_id=ctx.other.id).on_conflict_do_nothing()
        ),
        # -- SQL in values and defaults
        **{
            f"insert from a select that text adds a row to: {name}": lambda ctx, made=made: unchecked(ctx, made)
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
        "insert from a select that text gives an ON CONFLICT": lambda ctx: unchecked(
            ctx,
            sa.insert(Slip).from_select(
                ["id", "secret"],
                select(literal(ctx.other_key()), literal("x")).where(
                    text("1=1 ON CONFLICT (id) DO UPDATE SET secret = 'changed'")
                ),
            ),
        ),
        "insert a construct that adds a row": lambda ctx: unchecked(
            ctx, sa.insert(Slip).values(secret=Construct("'x', 2), ('y'"))
        ),
        "insert a second row with a construct that adds a row": lambda ctx: unchecked(
            ctx, sa.insert(Slip).values([{"secret": "x"}, {"secret": Construct("'x', 2), ('y'")}])
        ),
        "insert a construct as a default that adds a row": lambda ctx: unchecked(
            ctx,
            _slips(
                sa.Column("secret", sa.String, default=Construct("'x', 2), ('y'")),
                site_id_column(),
            )
            .insert()
            .values(),
        ),
        "postgresql: insert a value whose type adds a row": lambda ctx: unchecked(
            ctx, sa.insert(Slip).values(secret=literal("x", NamedType("text, 2), ('y'::text")))
        ),
        "postgresql: update to a value whose type sets a second column": lambda ctx: unchecked(
            ctx, sa.update(Slip).values(secret=literal("x", NamedType("text, site_id = 2")))
        ),
        "update by an onupdate that sets a second column": lambda ctx: unchecked(
            ctx,
            _slips(sa.Column("secret", sa.String, onupdate=more_text), sa.Column("room_id", sa.Integer))
            .update()
            .values(room_id=7),
        ),
        "update by the onupdate of a site_id": lambda ctx: unchecked(
            ctx,
            _slips(sa.Column("secret", sa.String), sa.Column("site_id", sa.BigInteger, onupdate=2))
            .update()
            .values(secret="x"),
        ),
        "update by the onupdate of a SiteId column that is SQL": lambda ctx: unchecked(
            ctx,
            _slips(sa.Column("secret", sa.String), sa.Column("site_id", SiteId, onupdate=TWO_LITERAL))
            .update()
            .values(secret="x"),
        ),
        "query as a default": lambda ctx: (
            (
                ctx.execute(
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
                ctx.scalars(select(Country.id + 0)),
            )[1][-1]
            - 100
        ),
    },
)


def _more(statement: Any) -> Any:
    def act(ctx: Context) -> Any:
        try:
            unchecked(ctx, statement(ctx))
        except sa.exc.DBAPIError:
            ctx.session.rollback()
        return ctx.session.scalar(select(func.count()).select_from(Slip))

    return act


add(
    "writes",
    exactly(2),
    {
        f"value that sets a second column: {name}": _more(statement)
        for name, statement in {
            "update": lambda ctx: sa.update(Slip).values(secret=more_text),
            "literal column": lambda ctx: sa.update(Slip).values(secret=literal_column("'x', site_id = 2")),
            "operator": lambda ctx: sa.update(Slip).values(secret=literal("x").op(", site_id =")(2)),
            "ordered values": lambda ctx: sa.update(Slip).ordered_values(("secret", more_text)),
            "upsert": lambda ctx: _upsert(ctx, Slip, id=ctx.own_key(), secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"secret": more_text}
            ),
        }.items()
    },
)

add(
    "writes",
    not_found(StaleDataError),
    {
        "bulk update by another site's key": lambda ctx: ctx.execute(
            sa.update(Book), [{"id": ctx.other_key(), "stock": 9}]
        ),
        "bulk_update_mappings by another site's key": lambda ctx: ctx.session.bulk_update_mappings(
            Book, [{"id": ctx.other_key(), "stock": 9}]
        ),
    },
)

add(
    "writes",
    not_found(sa.exc.IntegrityError),
    {
        "insert with another site's key": lambda ctx: ctx.execute(
            sa.insert(Shelf).values(id=ctx.other_key(), slug="x", secret="x")
        ),
        "insert a reference to another site's row": lambda ctx: ctx.execute(
            sa.insert(Book).values(slug="x", secret="x", author_id=ctx.other_key())
        ),
        "update to a reference to another site's row": lambda ctx: ctx.execute(
            sa.update(Book).where(Book.id == ctx.own_key()).values(author_id=ctx.other_key())
        ),
        "upsert to a reference to another site's row": lambda ctx: ctx.execute(
            _upsert(ctx, Book, id=ctx.own_key(), slug="x", secret="x").on_conflict_do_update(
                index_elements=["id"], set_={"author_id": ctx.other_key()}
            )
        ),
        "insert into an association table with another site's key": lambda ctx: ctx.execute(
            shelf_books.insert().values(shelf_id=ctx.own_key(), book_id=ctx.other_key())
        ),
        "insert from select with a reference to another site's row": lambda ctx: ctx.execute(
            sa.insert(Book).from_select(
                ["slug", "secret", "author_id"], select(Shelf.slug, Shelf.secret, literal(ctx.other_key()))
            )
        ),
        "update of a key to another site's key": lambda ctx: unchecked(
            ctx, sa.update(Shelf).where(Shelf.id == ctx.own_key()).values(id=ctx.other_key())
        ),
    },
)
