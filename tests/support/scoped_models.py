"""Models and rows for tests of scoping: two sites with rows of the same shape and the same slugs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from databases import fill_database
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
)

from multisite.core.current_site import all_sites
from multisite.core.site import Site
from multisite.directory.models import DirectoryVersion, DomainRow, SiteRow, metadata
from multisite.scoping import SiteScoped, scoped_reference, site_id_column


class Base(DeclarativeBase):
    pass


shelf_books = sa.Table(
    "shelf_books",
    Base.metadata,
    site_id_column(),
    sa.Column("shelf_id", scoped_reference("shelves.id"), primary_key=True),
    sa.Column("book_id", scoped_reference("books.id"), primary_key=True),
)

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Author(SiteScoped, Base):
    __tablename__ = "authors"
    __table_args__ = (sa.UniqueConstraint("site_id", "slug"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    slug: Mapped[str]
    secret: Mapped[str]
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.id")


class Book(SiteScoped, Base):
    __tablename__ = "books"
    __table_args__ = (sa.UniqueConstraint("site_id", "slug"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    slug: Mapped[str]
    secret: Mapped[str]
    stock: Mapped[int] = mapped_column(default=1)
    author_id: Mapped[int | None] = mapped_column(scoped_reference("authors.id"))
    author: Mapped[Author | None] = relationship(back_populates="books")
    shelves: Mapped[list[Shelf]] = relationship(secondary=shelf_books, back_populates="books")


class Shelf(SiteScoped, Base):
    __tablename__ = "shelves"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    slug: Mapped[str]
    secret: Mapped[str]
    books: Mapped[list[Book]] = relationship(secondary=shelf_books, back_populates="shelves")


class Country(Base):
    """An unscoped table of the application."""

    __tablename__ = "countries"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


ONE = Site(1, "one.example", "One", "one.example")
TWO = Site(2, "two.example", "Two", "two.example")


@dataclass
class Library:
    """An engine with the tables above and rows of both sites: authors and books 11-13 of ONE, 21-23 of TWO."""

    engine: sa.Engine

    def session(self, site: Site | None) -> Session:
        return Session(self.engine, info={"site": site})


def build_library(engine: sa.Engine) -> Library:
    """Create the tables on `engine` and insert rows: site N has authors and books N1 to N3, on shelf N1."""
    fill_database(engine, plant_library)
    return Library(engine)


def plant_library(engine: sa.Engine) -> None:
    """Do what `build_library` does as the user of `engine`, who then owns the tables."""
    metadata.create_all(engine)
    Base.metadata.create_all(engine)
    plant_rows(engine)


def clear_rows(engine: sa.Engine) -> None:
    """Delete all rows, so that they can be inserted again."""
    with all_sites("clear the tables of a test"), engine.begin() as connection:
        for table in (*reversed(Base.metadata.sorted_tables), *reversed(metadata.sorted_tables)):
            connection.execute(table.delete())


def plant_rows(engine: sa.Engine) -> None:
    """Insert the rows that `build_library` describes."""
    with all_sites("plant the sites of a test"), Session(engine) as session:
        session.add(DirectoryVersion(id=1, version=0))
        for site in (ONE, TWO):
            session.add(SiteRow(id=site.id, name=site.name, folder=site.folder))
            session.flush()
            session.add(DomainRow(site_id=site.id, host=site.host, kind="canonical"))
        session.add(Country(id=1, name="Utopia"))
        session.commit()
    for site in (ONE, TWO):
        with Session(engine, info={"site": site}) as session:
            shelf = Shelf(id=site.id * 10 + 1, slug="shelf", secret=f"secret-{site.id}")
            for number in (1, 2, 3):
                key = site.id * 10 + number
                author = Author(id=key, slug=f"author-{number}", secret=f"secret-{site.id}")
                book = Book(id=key, slug=f"book-{number}", secret=f"secret-{site.id}", author=author)
                shelf.books.append(book)
            session.add(shelf)
            session.commit()


def rows_of(library: Library, site_id: int) -> list[Any]:
    """Return all rows of a site, read by a cursor of the driver, which is not scoped."""
    found = []
    with library.engine.connect() as connection:
        cursor = connection.connection.cursor()
        for table in ("authors", "books", "shelves", "shelf_books"):
            cursor.execute(f"SELECT * FROM {table} WHERE site_id = {site_id} ORDER BY 1, 2, 3")
            found.append(cursor.fetchall())
        cursor.close()
    return found
