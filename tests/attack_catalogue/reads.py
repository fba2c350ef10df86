"""Attempts to read by statements, ORM and Core: a table in each position of a statement."""

from __future__ import annotations

import pickle
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Country, Shelf, shelf_books
from sqlalchemy import Integer, String, column, func, literal, literal_column, select, text, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Bundle, Session, aliased, join, outerjoin, with_polymorphic
from sqlalchemy.sql.elements import quoted_name

from attack_catalogue import Context, add, attempt, exactly, own_rows, refused, secrets
from attack_catalogue.models import Disc, Letter, Medium, Note, Paper, Poster, Room, Topic
from multisite import CrossSiteError, scoped_text

books, authors, shelves, countries = (model.__table__ for model in (Book, Author, Shelf, Country))
other = books.alias("other")
A2, B2 = aliased(Author), aliased(Book)


def _tree(to_parents: bool) -> Any:
    """Return the tree of notes, from own notes to their parents or to their replies."""
    tree = select(Note.id, Note.parent_id, Note.secret).where(Note.topic_id == 1).cte("tree", recursive=True)
    on = Note.id == tree.c.parent_id if to_parents else Note.parent_id == tree.c.id
    return tree.union(select(Note.id, Note.parent_id, Note.secret).join(tree, on))


parents, replies = _tree(True), _tree(False)
values = sa.values(column("a", Integer), name="v").data([(11,), (21,)])
every_book = func.count().select().select_from(Book)


def second_table(name: str = "books", schema: str | None = None) -> sa.Table:
    """Return another Table object of that name, of a second MetaData."""
    columns = [sa.Column("id", Integer), sa.Column("secret", String)]
    return sa.Table(name, sa.MetaData(), *columns, schema=schema)


def reflected(ctx: Context, name: str = "books", **kw: Any) -> sa.Table:
    return sa.Table(name, sa.MetaData(), autoload_with=ctx.engine, **kw)


def schema_of(ctx: Context) -> str:
    return "main" if ctx.is_sqlite else "public"


add(
    "reads",
    own_rows,
    {
        # -- entities and columns
        "entity": lambda ctx: secrets(ctx.scalars(select(Book))),
        "two entities": lambda ctx: [(a.secret, b.secret) for a, b in ctx.rows(select(Book, Author))],
        "columns": lambda ctx: ctx.rows(select(Book.id, Book.secret)),
        "literal column": lambda ctx: ctx.rows(select(literal_column("books.secret")).select_from(Book)),
        "text column": lambda ctx: ctx.rows(select(text("secret")).select_from(Book)),
        "all columns of the table": lambda ctx: ctx.rows(select(books)),
        "star": lambda ctx: ctx.rows(select(text("*")).select_from(Book)),
        "bundle": lambda ctx: [bundle.secret for bundle in ctx.scalars(select(Bundle("one", Book.id, Book.secret)))],
        "label": lambda ctx: ctx.rows(select(Book.secret.label("x")).order_by("x")),
        "distinct": lambda ctx: ctx.rows(select(Book.secret).distinct()),
        "cast": lambda ctx: ctx.rows(select(sa.cast(Book.secret, String))),
        "case": lambda ctx: ctx.rows(select(sa.case((Book.id > 0, Book.secret)))),
        "limit": lambda ctx: ctx.rows(select(Book.secret).order_by(Book.id.desc()).limit(1)),
        "offset": lambda ctx: ctx.rows(select(Book.secret).order_by(Book.id).limit(5).offset(1)),
        "slice from the end": lambda ctx: ctx.rows(select(Book.secret).order_by(Book.id.desc()).slice(0, 5)),
        "fetch": lambda ctx: ctx.rows(select(Book.secret).order_by(Book.id.desc()).limit(2)),
        "order by another table": lambda ctx: ctx.rows(select(Book.secret, Author.secret).order_by(Author.id)),
        "order by text": lambda ctx: ctx.rows(select(Book.secret).order_by(text("books.slug DESC"))),
        "with only columns": lambda ctx: ctx.rows(select(Country).with_only_columns(Book.secret)),
        "with only columns, from kept": lambda ctx: ctx.rows(
            select(Book).with_only_columns(literal_column("secret"), maintain_column_froms=True)
        ),
        "add columns": lambda ctx: ctx.rows(select(Country.name).add_columns(Book.secret)),
        "select from": lambda ctx: ctx.rows(select(literal_column("secret")).select_from(books)),
        "select from an alias": lambda ctx: ctx.rows(select(literal_column("other.secret")).select_from(other)),
        "filter by": lambda ctx: secrets(ctx.scalars(select(Book).filter_by(slug="book-1"))),
        "where on a key of either site": lambda ctx: ctx.rows(select(Book.secret).where(Book.id.in_([11, 12, 21, 22]))),
        "expanding parameter": lambda ctx: ctx.rows(
            select(Book.secret).where(Book.id.in_(sa.bindparam("ids", expanding=True))), {"ids": [11, 12, 21, 22]}
        ),
        "lock": lambda ctx: secrets(ctx.scalars(select(Book).with_for_update())),
        "comment as prefix": lambda ctx: ctx.rows(select(Book.secret).prefix_with("/*+ hint */")),
        "execution options": lambda ctx: ctx.rows(select(Book.secret).execution_options(stream_results=True)),
        # -- functions
        "function": lambda ctx: [
            ctx.session.scalar(select(func.min(Book.secret))),
            ctx.session.scalar(select(func.max(Book.secret))),
        ],
        "function hidden in case": lambda ctx: ctx.rows(select(sa.case((true(), func.max(Book.secret))))),
        "function hidden in a function": lambda ctx: ctx.rows(
            select(func.coalesce(func.max(Book.secret), literal("x")))
        ),
        "aggregate with filter": lambda ctx: ctx.rows(select(func.max(Book.secret).filter(Book.id > 0))),
        "aggregate with order": lambda ctx: ctx.rows(select(func.aggregate_strings(Book.secret, ","))),
        "group by a column": lambda ctx: ctx.rows(select(Book.secret, func.count() + 100).group_by(Book.secret)),
        "group by the key": lambda ctx: ctx.rows(select(Book.secret).group_by(Book.id)),
        "having": lambda ctx: ctx.rows(select(Book.secret).group_by(Book.secret).having(func.count() > 0)),
        "window": lambda ctx: ctx.rows(select(func.first_value(Book.secret).over(order_by=Book.id.desc()))),
        "window of a partition": lambda ctx: ctx.rows(
            select(func.max(Book.secret).over(partition_by=Book.stock, order_by=Book.id))
        ),
        "window over rows": lambda ctx: ctx.rows(
            select(func.lead(Book.secret).over(order_by=Book.id, rows=(None, None)))
        ),
        "rows as JSON": lambda ctx: ctx.rows(
            select((func.json_group_array if ctx.is_sqlite else func.json_agg)(Book.secret))
        ),
        "postgresql: table as JSON": lambda ctx: str(ctx.rows(select(func.json_agg(books.table_valued())))),
        "postgresql: text row as JSON": lambda ctx: str(
            ctx.rows(select(text("row_to_json(books)")).select_from(books))
        ),
        "postgresql: array of values": lambda ctx: str(ctx.rows(select(func.array_agg(Book.secret)))),
        "postgresql: aggregate within group": lambda ctx: ctx.rows(
            select(func.percentile_disc(1.0).within_group(Book.secret))
        ),
        "postgresql: distinct on": lambda ctx: ctx.rows(
            select(Book.secret).ext(postgresql.distinct_on(Book.slug)).order_by(Book.slug, Book.id.desc())
        ),
        "postgresql: grouping sets": lambda ctx: ctx.rows(select(Book.secret).group_by(func.rollup(Book.secret))),
        # -- aliases
        "alias": lambda ctx: ctx.rows(select(other.c.secret)),
        "alias without a name": lambda ctx: ctx.rows(select(books.alias().c.secret)),
        "alias of an alias": lambda ctx: ctx.rows(select(other.alias("again").c.secret)),
        "alias of an alias beside it": lambda ctx: ctx.rows(select(other.alias("again").c.secret).select_from(other)),
        "alias like another table": lambda ctx: ctx.rows(select(aliased(Book, name="authors").secret)),
        "alias like itself": lambda ctx: ctx.rows(select(books.alias("books").c.secret)),
        "aliased entity": lambda ctx: secrets(ctx.scalars(select(B2))),
        "entity beside its alias": lambda ctx: [(a.secret, b.secret) for a, b in ctx.rows(select(Book, B2))],
        "flat alias": lambda ctx: secrets(ctx.scalars(select(aliased(Disc, flat=True)))),
        # -- joins
        "inner join": lambda ctx: ctx.rows(select(Author.secret).join(Book.author)),
        "join the other way": lambda ctx: ctx.rows(select(Book.secret).join(Author.books)),
        "join on a condition": lambda ctx: ctx.rows(select(Author.secret).join(Book, Book.id > 0)),
        "join on text": lambda ctx: ctx.rows(select(Book.secret, Author.secret).join(Author, text("1 = 1 OR 1 = 1"))),
        "join along a cross-site reference": lambda ctx: ctx.rows(select(Note.secret, Book.secret).join(Note.book)),
        "join to a collection with cross-site rows": lambda ctx: ctx.rows(
            select(Room.secret, Note.secret).join(Room.notes)
        ),
        "join through an association with cross-site rows": lambda ctx: ctx.rows(
            select(Note.secret, Author.secret).join(Note.authors)
        ),
        "join to itself": lambda ctx: ctx.rows(select(Note.secret, aliased(Note).secret)),
        "join with of_type": lambda ctx: ctx.rows(select(Note.secret, A2.secret).join(Note.authors.of_type(A2))),
        "join with a condition of its own": lambda ctx: ctx.rows(
            select(Note.secret, Book.secret).join(Note.book.and_(Book.id > 0))
        ),
        "join of Core": lambda ctx: ctx.rows(select(authors.c.secret).select_from(books.join(authors, true()))),
        "join of Core in an ORM statement": lambda ctx: ctx.rows(
            select(Book.secret, authors.c.secret).select_from(books.join(authors, authors.c.id > 0))
        ),
        "orm.join": lambda ctx: ctx.rows(select(Author.secret).select_from(join(Book, Author, Author.id > 0))),
        "outer join": lambda ctx: ctx.rows(select(A2.secret).select_from(Book).outerjoin(A2, A2.id > 0)),
        "outer join on a cross-site reference": lambda ctx: ctx.rows(
            select(Note.secret, Book.secret).outerjoin(Note.book)
        ),
        "outer join with OR in text": lambda ctx: ctx.rows(
            select(Book.secret, Author.secret).outerjoin(Author, text("1 = 0 OR 1 = 1"))
        ),
        "outer join of a join": lambda ctx: ctx.rows(
            select(countries.c.name, books.c.secret, authors.c.secret).select_from(
                countries.outerjoin(books.join(authors, true()), true())
            )
        ),
        "outer join of an outer join": lambda ctx: ctx.rows(
            select(countries.c.name, books.c.secret, authors.c.secret).select_from(
                countries.outerjoin(books.outerjoin(authors, true()), true())
            )
        ),
        "join of an outer join": lambda ctx: ctx.rows(
            select(countries.c.name, books.c.secret, authors.c.secret).select_from(
                countries.outerjoin(books, true()).join(authors, true())
            )
        ),
        "orm.outerjoin": lambda ctx: ctx.rows(select(Author.secret).select_from(outerjoin(Book, Author, true()))),
        "outer join of an alias": lambda ctx: ctx.rows(
            select(books.c.secret, other.c.secret).select_from(books.outerjoin(other, true()))
        ),
        "full join": lambda ctx: ctx.rows(
            select(books.c.secret, other.c.secret).select_from(
                books.outerjoin(other, books.c.id == other.c.id, full=True)
            )
        ),
        "full join of entities": lambda ctx: ctx.rows(
            select(Book.secret, Author.secret).join(Author, Author.id == Book.author_id, full=True)
        ),
        "full join of a join": lambda ctx: ctx.rows(
            select(books.c.secret, authors.c.secret, shelves.c.secret).select_from(
                books.join(authors, authors.c.id == books.c.author_id).outerjoin(
                    shelves, shelves.c.id == books.c.id, full=True
                )
            )
        ),
        "full join within an outer join": lambda ctx: ctx.rows(
            select(countries.c.name, books.c.secret, authors.c.secret).select_from(
                countries.outerjoin(books.outerjoin(authors, books.c.id == authors.c.id, full=True), true())
            )
        ),
        "cross join": lambda ctx: ctx.rows(select(Author.secret).select_from(Book).join(Author, true())),
        "implicit cross join": lambda ctx: ctx.rows(select(Book.secret, Author.secret, Shelf.secret)),
        "implicit cross join with an unscoped table": lambda ctx: ctx.rows(select(Country.name, Book.secret)),
        "scoped joined to unscoped": lambda ctx: ctx.rows(select(Country.name, Book.secret).join(Book, true())),
        "unscoped joined to scoped": lambda ctx: ctx.rows(select(Book.secret, Country.name).outerjoin(Country, true())),
        "unscoped parent of scoped rows": lambda ctx: ctx.rows(select(Note.secret).join(Topic.notes)),
        # -- subqueries
        "subquery": lambda ctx: ctx.rows(select(select(Book.secret).subquery().c.secret)),
        "subquery of a subquery": lambda ctx: ctx.rows(select(select(select(Book).subquery()).subquery().c.secret)),
        "subquery like a table": lambda ctx: ctx.rows(select(select(Book.secret).subquery("authors").c.secret)),
        "aliased subquery": lambda ctx: secrets(ctx.scalars(select(aliased(Book, select(Book).subquery())))),
        "alias of the alias of a subquery": lambda ctx: ctx.rows(
            select(aliased(Book, select(Book).subquery().alias()).secret).select_from(Book)
        ),
        "join to a subquery": lambda ctx: ctx.rows(
            select(Book.secret, (sub := select(Author).subquery()).c.secret).join(sub, sub.c.id > 0)
        ),
        "outer join to a subquery": lambda ctx: ctx.rows(
            select(Book.secret, (sub := select(Author).subquery()).c.secret).outerjoin(sub, true())
        ),
        "scalar subquery": lambda ctx: ctx.rows(select(select(func.max(Book.secret)).scalar_subquery())),
        "scalar subquery beside an unscoped table": lambda ctx: ctx.rows(
            select(Country.name, select(func.max(Book.secret)).scalar_subquery())
        ),
        "scalar subquery in order by": lambda ctx: ctx.rows(
            select(Book.secret).order_by(select(func.max(Author.id)).where(Author.id > Book.id).scalar_subquery())
        ),
        "correlated": lambda ctx: ctx.rows(
            select(Book.secret, select(func.max(Author.secret)).where(Author.id >= Book.id).scalar_subquery())
        ),
        "correlated along a cross-site reference": lambda ctx: ctx.rows(
            select(Note.secret, select(Book.secret).where(Book.id == Note.book_id).scalar_subquery())
        ),
        "correlated to an unscoped table": lambda ctx: ctx.rows(
            select(Country.name, select(func.max(Book.secret)).where(Book.id > Country.id).scalar_subquery())
        ),
        "not correlated": lambda ctx: ctx.rows(
            select(Book.secret, select(func.max(B2.secret)).correlate(None).scalar_subquery())
        ),
        "in a subquery": lambda ctx: ctx.rows(select(Book.secret).where(Book.id.in_(select(Author.id)))),
        "in a subquery, cross-site reference": lambda ctx: ctx.rows(
            select(Country.name, Note.secret).where(Note.book_id.in_(select(Book.id)))
        ),
        "not in a subquery": lambda ctx: ctx.rows(select(Book.secret).where(Book.id.not_in(select(Author.id + 100)))),
        "any of a subquery": lambda ctx: ctx.rows(
            select(Book.secret, Author.secret).where(Book.id > 0, Author.id.in_(select(Book.id)))
        ),
        "postgresql: ANY of a subquery": lambda ctx: ctx.rows(
            select(Note.secret, literal("x")).where(Note.id == sa.any_(select(Book.id).scalar_subquery()))
        ),
        "postgresql: lateral": lambda ctx: ctx.rows(
            select(Country.name, select(Book.secret).where(Book.id > Country.id).lateral("l").c.secret)
        ),
        "postgresql: lateral of an outer join": lambda ctx: ctx.rows(
            select(
                Note.secret, (lat := select(Book.secret).where(Book.id == Note.book_id).lateral()).c.secret
            ).outerjoin(lat, true())
        ),
        "postgresql: lateral join to an entity": lambda ctx: ctx.rows(
            select(Note.secret, aliased(Book, select(Book).where(Book.id >= Note.book_id).lateral()).secret)
        ),
        # -- CTEs
        "cte": lambda ctx: ctx.rows(select(select(Book.secret).cte().c.secret)),
        "cte of a cte": lambda ctx: ctx.rows(select(select(select(Book.secret).cte("a")).cte("b").c.secret)),
        "cte like a table": lambda ctx: ctx.rows(select(select(Book.secret).cte("authors").c.secret)),
        "cte in a subquery": lambda ctx: ctx.rows(
            select(select(select(Book.secret).cte("inner_one").c.secret).subquery().c.secret)
        ),
        "nested cte": lambda ctx: ctx.rows(
            select(select(select(Book.secret).cte("n", nesting=True)).subquery().c.secret)
        ),
        "cte used twice": lambda ctx: ctx.rows(
            select((one := select(Book.secret).cte("one")).c.secret, (two := one.alias()).c.secret).join(two, true())
        ),
        "aliased cte": lambda ctx: secrets(ctx.scalars(select(aliased(Book, select(Book).cte())))),
        "added cte": lambda ctx: ctx.rows(select(Book.secret).add_cte(select(Author.secret).cte("unused"))),
        "recursive cte to parents": lambda ctx: ctx.rows(select(parents.c.secret)),
        "recursive cte to replies": lambda ctx: ctx.rows(select(replies.c.secret)),
        "postgresql: materialized cte": lambda ctx: ctx.rows(
            select(select(Book.secret).cte().c.secret).suffix_with("")
        ),
        "postgresql: update in a cte": lambda ctx: ctx.rows(
            select(sa.update(Book).values(stock=5).returning(Book.secret).cte().c.secret)
        ),
        "postgresql: delete in a cte": lambda ctx: ctx.rows(
            select(sa.delete(Note).returning(Note.secret).cte().c.secret)
        ),
        "postgresql: insert in a cte": lambda ctx: ctx.rows(
            select(
                sa.insert(Shelf).values(slug="x", secret="secret-1").returning(Shelf.secret).cte().c.secret, Book.secret
            )
        ),
        "postgresql: update from a cte": lambda ctx: ctx.rows(
            sa.update(Book)
            .where(
                Book.author_id
                <= (cte := select(func.max(Author.id).label("m"), func.max(Author.secret).label("s")).cte()).c.m
            )
            .values(slug=cte.c.s + Book.slug)
            .returning(Book.slug)
        ),
        # -- unions
        "union": lambda ctx: ctx.rows(sa.union(select(Book.secret), select(Author.secret))),
        "union all": lambda ctx: ctx.rows(sa.union_all(select(Book.secret), select(Author.secret))),
        "union with an unscoped table": lambda ctx: ctx.rows(sa.union(select(Country.name), select(Author.secret))),
        "except": lambda ctx: ctx.rows(sa.except_(select(Book.secret), select(Country.name))),
        "intersect": lambda ctx: ctx.rows(sa.intersect(select(Book.secret), select(Author.secret))),
        "union as subquery": lambda ctx: ctx.rows(
            select(sa.union(select(Book.secret), select(Author.secret)).subquery().c.secret)
        ),
        "union of entities": lambda ctx: secrets(
            ctx.scalars(select(Book).from_statement(sa.union(select(Book), select(Book).where(Book.id > 12))))
        ),
        "union as an aliased entity": lambda ctx: secrets(
            ctx.scalars(select(aliased(Book, sa.union_all(select(Book), select(Book)).subquery())))
        ),
        "union ordered": lambda ctx: ctx.rows(
            sa.union_all(select(Book.secret), select(Author.secret)).order_by("secret")
        ),
        "from statement": lambda ctx: secrets(ctx.scalars(select(Book).from_statement(select(books)))),
        "from statement of scoped text": lambda ctx: secrets(
            ctx.scalars(select(Book).from_statement(scoped_text("SELECT * FROM books WHERE site_id = :site_id")))
        ),
        "from an INSERT that returns": lambda ctx: secrets(
            ctx.scalars(
                select(Shelf).from_statement(
                    sa.insert(Shelf).values(slug="new", secret=f"secret-{ctx.own_key() // 10}").returning(Shelf)
                )
            )
        ),
        # -- VALUES, functions, samples
        "postgresql: VALUES": lambda ctx: ctx.rows(select(Book.secret).join(values, values.c.a == Book.id)),
        "postgresql: VALUES beside": lambda ctx: ctx.rows(select(values.c.a + 100, Book.secret)),
        "postgresql: VALUES in a cte": lambda ctx: ctx.rows(
            select(Book.secret).where(Book.id.in_(select(values.cte().c.a)))
        ),
        "postgresql: sample": lambda ctx: ctx.rows(select(sa.tablesample(books, 100).c.secret)),
        "postgresql: sample of an entity": lambda ctx: secrets(
            ctx.scalars(select(aliased(Book, sa.tablesample(Book, 100))))
        ),
        "postgresql: sample with a method": lambda ctx: ctx.rows(
            select(sa.tablesample(books, func.bernoulli(100), name="t", seed=sa.literal(1)).c.secret)
        ),
        "postgresql: ONLY": lambda ctx: ctx.rows(select(Book.secret).with_hint(Book, "ONLY", "postgresql")),
        "postgresql: unnest": lambda ctx: ctx.rows(
            select(func.unnest(postgresql.array([1, 2])).column_valued("x"), Book.secret)
        ),
        "postgresql: generate_series": lambda ctx: ctx.rows(
            select(Book.secret).join(func.generate_series(1, 30).table_valued("n", name="g").render_derived(), true())
        ),
        "postgresql: lock of one table": lambda ctx: ctx.rows(
            select(Book.secret).join(Book.author).with_for_update(of=Book, skip_locked=True)
        ),
        "sqlite: json_each": lambda ctx: ctx.rows(
            select(func.json_each('{"a": 1}').table_valued("key", "value").c.key, Book.secret)
        ),
        "sqlite: INDEXED BY": lambda ctx: ctx.rows(select(Book.secret).with_hint(Book, "NOT INDEXED", "sqlite")),
        # -- fetching
        "yield per": lambda ctx: secrets(ctx.session.scalars(select(Book).execution_options(yield_per=1))),
        "yield per as option": lambda ctx: secrets(
            ctx.session.scalars(select(Book), execution_options={"yield_per": 2})
        ),
        "partitions": lambda ctx: [secrets(part) for part in ctx.session.scalars(select(Book)).partitions(2)],
        "server-side cursor": lambda ctx: (
            ctx.session.connection()
            .execution_options(stream_results=True, max_row_buffer=1)
            .scalars(select(Book.secret))
            .all()
        ),
        "mappings": lambda ctx: [row["secret"] for row in ctx.session.execute(select(Book.secret)).mappings()],
        "frozen result": lambda ctx: ctx.session.execute(select(Book.secret)).freeze()().scalars().all(),
        "merged results": lambda ctx: (
            ctx.session.execute(select(Book.secret)).merge(ctx.session.execute(select(Author.secret))).all()
        ),
        "scalars": lambda ctx: ctx.session.scalars(select(Book.secret)).all(),
        "lambda": lambda ctx: ctx.rows(sa.lambda_stmt(lambda: select(Book.secret))),
        "lambda in parts": lambda ctx: ctx.rows(
            sa.lambda_stmt(lambda: select(Book.secret)) + (lambda q: q.where(Book.id > 0))
        ),
        "lambda with a value": lambda ctx: _lambda_with(ctx, 0),
        "lambda criterion": lambda ctx: ctx.rows(select(Book.secret).where(lambda: Book.id > 0)),
        "pickled statement": lambda ctx: ctx.rows(
            pickle.loads(pickle.dumps(select(books.c.secret).where(books.c.id > 0)))
        ),
        "legacy query": lambda ctx: secrets(ctx.session.query(Book)),
        "legacy query of columns": lambda ctx: ctx.session.query(Book.secret).all(),
        "legacy query with join": lambda ctx: ctx.session.query(Book.secret, Author.secret).join(Author, true()).all(),
        "legacy query, first": lambda ctx: [ctx.session.query(Book.secret).order_by(Book.id.desc()).first()],
        "legacy query, values": lambda ctx: ctx.session.query(Book).with_entities(Book.secret).all(),
        "legacy query, union": lambda ctx: secrets(
            ctx.session.query(Book).union(ctx.session.query(Book).filter(Book.id > 0))
        ),
        "legacy query, subquery": lambda ctx: ctx.session.query(ctx.session.query(Book.secret).subquery()).all(),
        "legacy query, yield per": lambda ctx: secrets(ctx.session.query(Book).yield_per(1)),
        # -- Core, and other tables of the same name
        "table through the session": lambda ctx: ctx.rows(select(books.c.secret)),
        "table through the connection of the session": lambda ctx: (
            ctx.session.connection().scalars(select(books.c.secret)).all()
        ),
        "entity through the connection of the session": lambda ctx: (
            ctx.session.connection().scalars(select(Book.secret)).all()
        ),
        "lightweight table": lambda ctx: ctx.rows(select(column("secret")).select_from(sa.table("books"))),
        "lightweight table in another letter case": lambda ctx: ctx.rows(
            select(column("secret")).select_from(sa.table(quoted_name("BOOKS", False)))
        ),
        "lightweight alias": lambda ctx: ctx.rows(select(sa.table("books", column("secret")).alias("b").c.secret)),
        "lightweight table joined": lambda ctx: ctx.rows(
            select(Author.secret, (light := sa.table("books", column("secret"), column("id"))).c.secret).join(
                light, true()
            )
        ),
        "lightweight table of a schema": lambda ctx: ctx.rows(
            select(sa.table("books", column("secret"), schema=schema_of(ctx)).c.secret)
        ),
        "second MetaData": lambda ctx: ctx.rows(select(second_table().c.secret)),
        "second MetaData, outer join": lambda ctx: ctx.rows(
            select(Book.secret, (own := second_table("authors")).c.secret).outerjoin(own, true())
        ),
        "second MetaData, schema": lambda ctx: ctx.rows(select(second_table(schema=schema_of(ctx)).c.secret)),
        "second MetaData, schema and full join": lambda ctx: ctx.rows(
            select((own := second_table(schema=schema_of(ctx))).c.secret, authors.c.secret).select_from(
                own.join(authors, own.c.id == authors.c.id, full=True)
            )
        ),
        "reflected table": lambda ctx: ctx.rows(select(reflected(ctx).c.secret)),
        "reflected table, joined": lambda ctx: ctx.rows(
            select(Book.secret, (own := reflected(ctx, "authors")).c.secret).join(own, true())
        ),
        "copy of the table": lambda ctx: ctx.rows(select(books.to_metadata(sa.MetaData()).c.secret)),
        "schema translated": lambda ctx: ctx.rows(
            select(books.c.secret, authors.c.secret).select_from(books.outerjoin(authors, true())),
            execution_options={"schema_translate_map": {None: schema_of(ctx)}},
        ),
        "without the compiled cache": lambda ctx: ctx.rows(
            select(Book.secret), execution_options={"compiled_cache": None}
        ),
        "scoped text": lambda ctx: ctx.rows(scoped_text("SELECT secret FROM books WHERE site_id = :site_id")),
        "scoped text, with more parameters": lambda ctx: ctx.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id AND id > :id"), {"id": 0}
        ),
        "scoped text, typed columns": lambda ctx: ctx.rows(
            select(
                scoped_text("SELECT secret FROM books WHERE site_id = :site_id").columns(column("secret")).subquery()
            )
        ),
        "scoped text as a criterion": lambda ctx: ctx.rows(
            select(literal(f"secret-{ctx.own_key() // 10}")).where(
                scoped_text(
                    f"NOT EXISTS (SELECT 1 FROM books WHERE site_id = :site_id AND secret = '{ctx.other_secret}')"
                    " AND EXISTS (SELECT 1 FROM books WHERE site_id = :site_id)"
                )
            )
        ),
        "scoped text, site overridden": lambda ctx: ctx.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id"), {"multisite_site": 2, "site_id": 2}
        ),
        "scoped text, site overridden by params": lambda ctx: ctx.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id").params(multisite_site=2, site_id=2)
        ),
        "site overridden by a parameter": lambda ctx: ctx.rows(select(Book.secret), {"multisite_site": ctx.other.id}),
        "site overridden by params": lambda ctx: ctx.rows(select(Book.secret).params(multisite_site=ctx.other.id)),
        "statement with a parameter computed later": lambda ctx: ctx.rows(
            select(Book.secret).where(Book.id > sa.bindparam("x", callable_=lambda: 0))
        ),
        # -- criteria that try to end the limit
        "text criterion with OR": lambda ctx: ctx.rows(select(Book.secret).where(text("1 = 1 OR 1 = 1"))),
        "literal criterion with OR": lambda ctx: ctx.rows(
            select(Book.secret).where(literal_column("1 = 1 OR 1 = 1", sa.Boolean))
        ),
        "operator with OR": lambda ctx: ctx.rows(select(Book.secret).where(Book.id.op("> 0 OR 0 <")(1))),
        "OR with an own criterion": lambda ctx: ctx.rows(
            select(Book.secret).where(sa.or_(Book.id > 0, Book.site_id > 0))
        ),
        "NOT": lambda ctx: ctx.rows(select(Book.secret).where(sa.not_(Book.site_id == 0 + Book.id))),
        "site_id above a number": lambda ctx: ctx.rows(select(Book.secret).where(Book.site_id > 0)),
        "site_id of a subquery": lambda ctx: ctx.rows(
            select(Book.secret).where(Book.site_id.in_(select(column("id")).select_from(sa.table("sites"))))
        ),
        "columns of site_id": lambda ctx: ctx.rows(select(Book.site_id * 100, Book.secret)),
        "tuple criterion": lambda ctx: ctx.rows(
            select(Book.secret).where(sa.tuple_(Book.slug, Book.stock).in_([("book-1", 1), ("book-2", 1)]))
        ),
    },
)


def _lambda_with(ctx: Context, least: int) -> Any:
    return ctx.rows(sa.lambda_stmt(lambda: select(Book.secret).where(Book.id > least)))


add(
    "reads",
    exactly(3),
    {
        "count": lambda ctx: ctx.session.scalar(select(func.count()).select_from(Book)),
        "count of a column": lambda ctx: ctx.session.scalar(select(func.count(Book.id))),
        "count of a subquery": lambda ctx: ctx.session.scalar(
            select(func.count()).select_from(select(Book).subquery())
        ),
        "count distinct": lambda ctx: ctx.session.scalar(select(func.count(sa.distinct(Book.id)))),
        "count of an association table": lambda ctx: ctx.session.scalar(select(func.count()).select_from(shelf_books)),
        "count of a reflected table": lambda ctx: ctx.session.scalar(
            select(func.count()).select_from(reflected(ctx, "shelf_books"))
        ),
        "count of an unscoped table, joined": lambda ctx: ctx.session.scalar(
            select(func.count()).select_from(Country).join(Book, true())
        ),
        "legacy count": lambda ctx: ctx.session.query(Book).count(),
        "number of rows": lambda ctx: len(ctx.rows(select(literal(1)).select_from(Book))),
        "sum": lambda ctx: ctx.session.scalar(select(func.sum(Book.stock))),
    },
)

add(
    "reads",
    exactly(False),
    {
        "exists": lambda ctx: ctx.session.scalar(select(sa.exists().where(Book.secret == ctx.other_secret))),
        "exists of a select": lambda ctx: ctx.session.scalar(
            select(select(Book).where(Book.secret == ctx.other_secret).exists())
        ),
        "exists in a criterion": lambda ctx: bool(
            ctx.rows(select(Country.name).where(sa.exists().where(Book.secret == ctx.other_secret)))
        ),
        "not exists": lambda ctx: (
            ctx.rows(select(Country.id).where(~sa.exists().where(Book.secret == ctx.other_secret))) == []
        ),
        "join that only filters": lambda ctx: bool(
            ctx.rows(select(Country.name).join(Book, Book.secret == ctx.other_secret))
        ),
        "anti-join": lambda ctx: (
            not ctx.rows(select(Country.name).outerjoin(Book, Book.secret == ctx.other_secret).where(Book.id.is_(None)))
        ),
        "legacy exists": lambda ctx: ctx.session.query(
            ctx.session.query(Book).filter(Book.secret == ctx.other_secret).exists()
        ).scalar(),
        "exists within a function": lambda ctx: ctx.session.scalar(
            select(func.coalesce(sa.exists().where(Book.secret == ctx.other_secret), sa.false()))
        ),
        "exists in CASE": lambda ctx: (
            ctx.session.scalar(select(sa.case((sa.exists().where(Book.secret == ctx.other_secret), 1), else_=0))) == 1
        ),
        "having on another site's row": lambda ctx: bool(
            ctx.rows(select(func.count()).select_from(Book).having(func.max(Book.secret) == ctx.other_secret))
        ),
        "two counts compared": lambda ctx: ctx.session.scalar(
            select(select(func.count(Book.id)).scalar_subquery() > 3)
        ),
    },
)

add(
    "reads",
    refused(CrossSiteError),
    {
        "comparison with another site's site_id": lambda ctx: ctx.rows(
            select(Book.secret).where(Book.site_id == ctx.other.id)
        ),
        "filter by another site's site_id": lambda ctx: ctx.session.query(Book).filter_by(site_id=ctx.other.id).all(),
        "site_id unequal to the own one": lambda ctx: ctx.rows(select(Book.secret).where(Book.site_id != ctx.other.id)),
        "site_id in a list": lambda ctx: ctx.rows(select(Book.secret).where(Book.site_id.in_([1, 2]))),
        "another site's site_id in a join": lambda ctx: ctx.rows(
            select(Book.secret).join(Author, Author.site_id == ctx.other.id)
        ),
    },
)

add(
    "reads",
    own_rows,
    {
        "outer join that stays outer": lambda ctx: _outer(ctx),
    },
)


def _outer(ctx: Context) -> Any:
    """Read notes with their books: None for the one note whose book belongs to the other site."""
    found = ctx.rows(select(Note.id, Book.id, Book.secret).outerjoin(Note.book).order_by(Note.id))
    assert [row[1] for row in found] == [ctx.own_key(), None, ctx.own_key(2)]
    return found


@attempt("reads", own_rows)
def automap(ctx: Context) -> Any:
    mapped = automap_base()
    # SQLAlchemy warns about the relationships that it would generate for composite foreign keys.
    mapped.prepare(
        ctx.engine, reflection_options={"only": ["books", "authors"]}, generate_relationship=lambda *args, **kw: None
    )
    return [secrets(ctx.scalars(select(mapped.classes[name]))) for name in ("books", "authors")]


@attempt("reads", own_rows)
def automap_of_references_to_another_site(ctx: Context) -> Any:
    mapped = automap_base(metadata=sa.MetaData())
    mapped.metadata.reflect(ctx.engine, only=["margin_notes", "rooms"])
    notes = mapped.metadata.tables["margin_notes"]
    notes.append_constraint(sa.ForeignKeyConstraint(["room_id"], ["rooms.id"]))
    mapped.prepare()
    rooms = ctx.scalars(select(mapped.classes.rooms))
    return [secrets([room, *room.margin_notes_collection]) for room in rooms]


@attempt("reads", own_rows)
def deferred_reflection(ctx: Context) -> Any:
    class Late(sa.ext.declarative.DeferredReflection, sa.orm.DeclarativeBase):
        __abstract__ = True
        metadata = sa.MetaData()

    class LateBook(Late):
        __tablename__ = "books"

    Late.prepare(ctx.engine)
    return secrets(ctx.scalars(select(LateBook)))


@attempt("reads", own_rows)
def imperative_mapping(ctx: Context) -> Any:
    class Volume:
        secret: str

    registry = sa.orm.registry()
    registry.map_imperatively(Volume, books)
    try:
        return secrets(ctx.scalars(select(Volume)))
    finally:
        registry.dispose()


@attempt("reads", own_rows)
def mapping_to_a_query(ctx: Context) -> Any:
    class Pair:
        book: str
        author: str

    registry = sa.orm.registry()
    pairs = (
        select(books.c.id, books.c.secret.label("book"), authors.c.secret.label("author"))
        .join(authors, true())
        .subquery()
    )
    registry.map_imperatively(Pair, pairs, primary_key=[pairs.c.id, pairs.c.author])
    try:
        return [(pair.book, pair.author) for pair in ctx.scalars(select(Pair))]
    finally:
        registry.dispose()


@attempt("reads", own_rows)
def statement_executed_again(ctx: Context) -> Any:
    statement = select(Book.secret).where(Book.id > 0)
    for site in (ctx.other, ctx.site, ctx.other):
        with Session(ctx.engine, info={"site": site}) as session:
            session.execute(statement).all()
    return ctx.rows(statement)


@attempt("reads", own_rows)
def query_built_under_another_site(ctx: Context) -> Any:
    from multisite import using_site

    with using_site(ctx.other):
        query = sa.orm.Query(Book).filter(Book.id > 0)
    return secrets(query.with_session(ctx.session))


@attempt("reads", own_rows)
def core_event_that_rewrites_the_statement(ctx: Context) -> Any:
    def rewrite(connection: Any, statement: Any, *args: Any) -> Any:
        return select(Book.secret), args[0], args[1]

    connection = ctx.session.connection()
    sa.event.listen(connection, "before_execute", rewrite, retval=True)
    return connection.scalars(select(Country.name)).all()


@attempt("reads", own_rows)
def orm_event_that_rewrites_the_statement(ctx: Context) -> Any:
    def rewrite(state: Any) -> None:
        state.statement = select(Book.secret)

    sa.event.listen(ctx.session, "do_orm_execute", rewrite)
    return ctx.rows(select(Country.name))


@attempt("reads", own_rows)
def loader_criteria_of_the_application(ctx: Context) -> Any:
    return secrets(ctx.scalars(select(Book).options(sa.orm.with_loader_criteria(Book, Book.stock > 0))))


@attempt("reads", own_rows)
def polymorphic(ctx: Context) -> Any:
    everything = with_polymorphic(Medium, "*")
    found = ctx.scalars(select(everything))
    return [secrets(found), [getattr(each, "label", None) for each in found]]


add(
    "reads",
    own_rows,
    {
        "joined inheritance, parent": lambda ctx: secrets(ctx.scalars(select(Medium))),
        "joined inheritance, child": lambda ctx: [(d.secret, d.label) for d in ctx.scalars(select(Disc))],
        "joined inheritance, column of the child": lambda ctx: ctx.rows(select(Disc.label)),
        "joined inheritance, table of the child": lambda ctx: ctx.rows(select(Disc.__table__.c.label)),
        "joined inheritance, loaded later": lambda ctx: [
            getattr(each, "label", each.secret) for each in ctx.scalars(select(Medium))
        ],
        "joined inheritance, selectin_polymorphic": lambda ctx: [
            getattr(each, "label", None)
            for each in ctx.scalars(select(Medium).options(sa.orm.selectin_polymorphic(Medium, [Disc])))
        ],
        "joined inheritance, polymorphic with an inner join": lambda ctx: [
            each.label for each in ctx.scalars(select(with_polymorphic(Medium, [Disc], innerjoin=True)))
        ],
        "joined inheritance, polymorphic and aliased": lambda ctx: ctx.rows(
            select((poly := with_polymorphic(Medium, [Disc], aliased=True)).secret, poly.Disc.label)
        ),
        "joined inheritance, of_type in a subquery": lambda ctx: ctx.rows(
            select(Medium.secret).where(Medium.id.in_(select(Disc.id)))
        ),
        "single inheritance, child": lambda ctx: [(m.secret, m.size) for m in ctx.scalars(select(Poster))],
        "single inheritance, column of the child": lambda ctx: ctx.rows(select(Poster.size)),
        "single inheritance, alias": lambda ctx: secrets(ctx.scalars(select(aliased(Poster)))),
        "concrete inheritance, parent": lambda ctx: secrets(ctx.scalars(select(Paper))),
        "concrete inheritance, child": lambda ctx: secrets(ctx.scalars(select(Letter))),
        "concrete inheritance, alias of the parent": lambda ctx: secrets(ctx.scalars(select(aliased(Paper)))),
    },
)
