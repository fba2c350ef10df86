"""More models than `scoped_models` has, and rows of both sites, some with cross-site references.

Site N has notes N1 to N3 in room N1. Note N2 has cross-site references, as raw SQL or a bug may leave them: its room,
its book, its parent and one of its authors belong to the other site. A query that only follows references would read
rows of the other site.
"""

from __future__ import annotations

from contextlib import closing
from functools import cache
from importlib import import_module
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from scoped_models import ONE, TWO, Author, Base, BigId, Book, build_library
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    Session,
    WriteOnlyMapped,
    column_property,
    declared_attr,
    mapped_column,
    query_expression,
    relationship,
)

from multisite import all_sites
from multisite.core.site import Site
from multisite.directory.models import SiteRow, metadata
from multisite.scoping import SiteScoped, scoped_reference, site_id_column
from multisite.search import SearchIndex, segments
from multisite.search.index import indexes


class MoreBase(DeclarativeBase):
    pass


note_authors = sa.Table(
    "note_authors",
    MoreBase.metadata,
    site_id_column(),
    sa.Column("note_id", sa.BigInteger, primary_key=True),
    sa.Column("author_id", sa.BigInteger, primary_key=True),
)
"""An association without foreign keys, so that a row may link any two rows."""


class Topic(MoreBase):
    """An unscoped table with a relationship to a scoped one."""

    __tablename__ = "topics"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str]
    notes: Mapped[list[Note]] = relationship(
        primaryjoin="foreign(Note.topic_id) == Topic.id", back_populates="topic", order_by="Note.id"
    )


class Note(SiteScoped, MoreBase):
    """References without foreign keys in the database."""

    __tablename__ = "margin_notes"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]
    body: Mapped[str] = mapped_column(deferred=True)
    more: Mapped[str | None] = mapped_column(deferred=True, deferred_group="more")
    room_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    book_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    parent_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    topic_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    room: Mapped[Room | None] = relationship(
        primaryjoin="foreign(Note.room_id) == Room.id", back_populates="notes", foreign_keys="Note.room_id"
    )
    book: Mapped[Book | None] = relationship(Book, primaryjoin=lambda: sa.orm.foreign(Note.book_id) == Book.id)
    parent: Mapped[Note | None] = relationship(
        primaryjoin="foreign(Note.parent_id) == Note.id", remote_side="Note.id", back_populates="replies"
    )
    replies: Mapped[list[Note]] = relationship(
        primaryjoin="foreign(Note.parent_id) == Note.id", back_populates="parent", order_by="Note.id"
    )
    topic: Mapped[Topic | None] = relationship(primaryjoin="foreign(Note.topic_id) == Topic.id", back_populates="notes")
    authors: Mapped[list[Author]] = relationship(
        Author,
        secondary=note_authors,
        primaryjoin=lambda: Note.id == note_authors.c.note_id,
        secondaryjoin=lambda: Author.id == note_authors.c.author_id,
        order_by=Author.id,
    )
    author_secrets: AssociationProxy[list[str]] = association_proxy("authors", "secret")
    book_secret: AssociationProxy[str | None] = association_proxy("book", "secret")
    asked: Mapped[str | None] = query_expression()


class Slip(SiteScoped, MoreBase):
    """Deleted with its room, by the unit of work alone."""

    __tablename__ = "slips"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]
    room_id: Mapped[int | None] = mapped_column(sa.BigInteger)


class Chair(SiteScoped, MoreBase):
    """Deleted with its room, by the database."""

    __tablename__ = "chairs"
    __table_args__ = (scoped_reference("room_id", "rooms.id", ondelete="CASCADE"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]
    room_id: Mapped[int] = mapped_column(sa.BigInteger)


class Room(SiteScoped, MoreBase):
    __tablename__ = "rooms"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]
    notes: Mapped[list[Note]] = relationship(
        primaryjoin="foreign(Note.room_id) == Room.id", back_populates="room", order_by="Note.id"
    )
    dynamic: DynamicMapped[Note] = relationship(
        primaryjoin="foreign(Note.room_id) == Room.id", order_by="Note.id", overlaps="notes,room", passive_deletes=True
    )
    written: WriteOnlyMapped[Note] = relationship(
        primaryjoin="foreign(Note.room_id) == Room.id",
        order_by="Note.id",
        overlaps="notes,room,dynamic",
        passive_deletes=True,
    )
    slips: Mapped[list[Slip]] = relationship(
        primaryjoin="foreign(Slip.room_id) == Room.id", cascade="all, delete-orphan"
    )
    chairs: Mapped[list[Chair]] = relationship(
        primaryjoin="foreign(Chair.room_id) == Room.id",
        foreign_keys="Chair.room_id",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )
    note_secrets: AssociationProxy[list[str]] = association_proxy("notes", "secret")

    @hybrid_property
    def shout(self) -> str:
        return self.secret + "!"

    @hybrid_property
    def last_note(self) -> Any:
        return max(note.secret for note in self.notes)

    @last_note.inplace.expression
    @classmethod
    def _last_note(cls) -> Any:
        return sa.select(sa.func.max(Note.secret)).where(Note.room_id == cls.id).scalar_subquery()


Room.greatest = column_property(
    sa.select(sa.func.max(Note.secret)).where(Note.room_id == Room.id).correlate_except(Note).scalar_subquery()
)


class Crate(SiteScoped, MoreBase):
    __tablename__ = "crates"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]


class Parcel(SiteScoped, MoreBase):
    """Deleted with its crate, by a foreign key without site_id; parcel N1 is in the crate of the other site."""

    __tablename__ = "parcels"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]
    crate_id: Mapped[int] = mapped_column(sa.ForeignKey("crates.id", ondelete="CASCADE"))


class Medium(SiteScoped, MoreBase):
    __tablename__ = "media"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "medium"}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str]
    secret: Mapped[str]


class Disc(Medium):
    """Joined inheritance: a second table."""

    __tablename__ = "discs"
    __table_args__ = (scoped_reference("id", "media.id"),)
    __mapper_args__ = {"polymorphic_identity": "disc"}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    label: Mapped[str]


class Poster(Medium):
    """Single inheritance: the table of the parent."""

    __mapper_args__ = {"polymorphic_identity": "poster"}

    size: Mapped[str | None]


class Paper(SiteScoped, ConcreteBase, MoreBase):
    __tablename__ = "papers"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805
        return {"polymorphic_identity": cls.__name__, "concrete": True}


class Letter(Paper):
    """Concrete inheritance: a separate table with all columns."""

    __tablename__ = "letters"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]


class Holding(SiteScoped, MoreBase):
    """A version counter, for optimistic locking."""

    __tablename__ = "holdings"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    secret: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


class Essay(SiteScoped, MoreBase):
    """With a search index, which has its own tables."""

    __tablename__ = "essays"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    title: Mapped[str]
    secret: Mapped[str]
    written: Mapped[int]


essay_search = SearchIndex(Essay, title="title", texts=("secret",), date="written")
# Other tests of this process run commands on all indexes, with databases that have no essays.
indexes.remove(essay_search)

sa.orm.configure_mappers()


@cache
def tables_to_watch() -> tuple[str, ...]:
    """Return the names of all scoped tables."""
    found = [*Base.metadata.sorted_tables, *MoreBase.metadata.sorted_tables]
    return tuple(table.name for table in found if "site_id" in table.c)


@cache
def index_of_key(table: str) -> int | None:
    """Return the index of the column `id` of a table, or None."""
    columns = _columns(table)
    return columns.index("id") if "id" in columns else None


@cache
def index_of_site(table: str) -> int:
    """Return the index of the column `site_id` of a table."""
    return _columns(table).index("site_id")


def _columns(table: str) -> list[str]:
    return list(
        next(base.metadata.tables[table] for base in (Base, MoreBase) if table in base.metadata.tables).c.keys()
    )


def keys_of(site: Site) -> range:
    """Return the keys that only rows of `site` have."""
    return range(site.id * 10 + 1, site.id * 10 + 4)


def build(engine: sa.Engine) -> None:
    """Create all tables, a view, a table without a model, and the rows of both sites."""
    build_library(engine)
    MoreBase.metadata.create_all(engine)
    plant_more(engine)
    with all_sites("set up a test"), engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE scratch (note TEXT)"))
        connection.execute(sa.text("CREATE TABLE unmapped (note TEXT, site_id INTEGER)"))
        connection.execute(sa.text("INSERT INTO unmapped VALUES ('secret-1', 1), ('secret-2', 2)"))
        invoker = "WITH (security_invoker) " if engine.dialect.name == "postgresql" else ""
        connection.execute(sa.text(f"CREATE VIEW books_view {invoker}AS SELECT * FROM books"))
        connection.execute(sa.text("ANALYZE"))
        if engine.dialect.name == "postgresql":
            # Keys of new rows must not collide with those of planted rows.
            for table in tables_to_watch():
                if index_of_key(table) is not None:
                    sequence = sa.func.pg_get_serial_sequence(table, "id")
                    connection.execute(sa.select(sa.func.setval(sequence, 1000)).where(sequence.is_not(None)))
    _planted[engine] = {name: rows for name, rows in _all_rows(engine).items() if rows}


_planted: WeakKeyDictionary[sa.Engine, dict[str, list[Any]]] = WeakKeyDictionary()
"""The rows that `build` planted, by table; each row as the driver returns it."""


def _tables() -> list[sa.Table]:
    """Return all tables, those that are referred to first."""
    return [table for of in (metadata, Base.metadata, MoreBase.metadata) for table in of.sorted_tables]


def _all_rows(engine: sa.Engine) -> dict[str, list[Any]]:
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        found = {}
        for table in _tables():
            cursor.execute(f"SELECT {', '.join(table.c.keys())} FROM {table.name}")
            found[table.name] = cursor.fetchall()
        return found


def clear_compiled() -> None:
    """Clear the compiled statements that each mapper keeps for the unit of work, and the cache of parsed strings."""
    import_module("multisite.scoping.tables")._table_use_of_string.cache_clear()
    for base in (Base, MoreBase, SiteRow):
        for mapper in base.registry.mappers:
            mapper.__dict__.pop("_compiled_cache", None)


def replant(engine: sa.Engine) -> None:
    """Delete all rows and insert those that `build` planted, by the driver: compiling the statements takes longer."""
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        for table in reversed(_tables()):
            cursor.execute(f"DELETE FROM {table.name}")
        for table in _tables():
            if rows := _planted[engine].get(table.name):
                names = ", ".join(table.c.keys())
                marks = ", ".join([mark] * len(table.c))
                cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)
        connection.commit()


def plant_more(engine: sa.Engine) -> None:
    """Plant the rows that the docstring of the module describes."""
    with Session(engine, info={"all_sites": "plant the rows of a test"}) as session:
        session.add(Topic(id=1, name="everybody's"))
        session.add_all(Crate(id=s.id * 10 + 1, site_id=s.id, secret=f"secret-{s.id}") for s in (ONE, TWO))
        session.flush()
        for site, other in ((ONE, TWO), (TWO, ONE)):
            session.add_all(_rows_of(site.id, other.id * 10))
            session.flush()
            links = [(1, site.id * 10 + 1), (2, site.id * 10 + 1), (2, other.id * 10 + 1)]
            for number, author in links:
                values = {"site_id": site.id, "note_id": site.id * 10 + number, "author_id": author}
                session.execute(note_authors.insert(), values)
        session.commit()
    # Three rows are a segment, of the same number on both sites.
    with patch.object(segments, "SEGMENT_ROWS", 3):
        for site in (ONE, TWO):
            with Session(engine, info={"site": site}) as session:
                session.add_all(_essays_of(site.id))
                session.flush()
                essay_search.reindex(session)
                session.commit()


def _essays_of(site: int) -> list[Essay]:
    """Return four essays of a site. Those of the second one are newer, and one of them has a word of its own."""
    titles = ("alpha zebra" if site == TWO.id else "alpha", "beta alpha", "alpha beta", "gamma")
    return [
        Essay(id=site * 10 + number, title=title, secret=f"secret-{site}", written=site * 10 + number)
        for number, title in enumerate(titles)
    ]


def _rows_of(site: int, other: int) -> list[Any]:
    key, common = site * 10, {"site_id": site, "secret": f"secret-{site}"}
    notes = [
        Note(
            id=key + number, body=f"body secret-{site}", more=f"more secret-{site}", topic_id=1, **common, **references
        )
        for number, references in (
            (1, {"room_id": key + 1, "book_id": key + 1}),
            (2, {"room_id": other + 1, "book_id": other + 1, "parent_id": other + 1}),
            (3, {"room_id": key + 1, "book_id": key + 2, "parent_id": key + 1}),
        )
    ]
    return [
        *notes,
        Room(id=key + 1, **common, chairs=[Chair(id=key + 1, **common)]),
        Room(id=key + 2, **common),
        Parcel(id=key + 1, crate_id=other + 1, **common),
        Slip(id=key + 1, room_id=key + 1, **common),
        Slip(id=key + 2, room_id=other + 1, **common),
        Medium(id=key + 1, **common),
        Disc(id=key + 2, label=f"label secret-{site}", **common),
        Poster(id=key + 3, size=f"size secret-{site}", **common),
        Paper(id=key + 1, **common),
        Letter(id=key + 2, **common),
        Holding(id=key + 1, **common),
    ]
