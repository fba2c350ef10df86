"""Models: what SiteScoped adds, inheritance, and what is refused when mappers are configured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import sqlalchemy as sa
from conftest import make_own_tables
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column, relationship

from multisite import CrossSiteError, MultisiteError, SiteScoped, scoped_reference
from multisite.models import SiteRow
from multisite.scoping.tables import tables
from multisite.site import Site

ONE, TWO = Site(1, "one.example", "One", "one"), Site(2, "two.example", "Two", "two")


class Base(DeclarativeBase):
    pass


class Item(SiteScoped, Base):
    __tablename__ = "items"
    __table_args__ = {"comment": "arguments of its own, as a dictionary"}
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "item"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    title: Mapped[str]


class Note(Item):
    """Single table inheritance."""

    __mapper_args__ = {"polymorphic_identity": "note"}

    extra: Mapped[str | None]


class Doc(Item):
    """Joined table inheritance."""

    __tablename__ = "docs"
    __table_args__ = (scoped_reference("id", "items.id"),)
    __mapper_args__ = {"polymorphic_identity": "doc"}

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    make_own_tables(engine)
    Base.metadata.create_all(engine)
    for site in (ONE, TWO):
        with Session(engine, info={"site": site}) as session:
            session.add(SiteRow(id=site.id, name=site.name, folder=site.folder))
            session.flush()
            session.add(Note(id=site.id * 10, title=f"note {site.id}"))
            session.add(Doc(id=site.id * 10 + 1, title=f"doc {site.id}", body=f"body {site.id}"))
            session.commit()
    yield engine
    engine.dispose()


def test_inherited_tables_are_scoped_each(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        assert {item.title for item in session.scalars(sa.select(Item))} == {"note 1", "doc 1"}
        assert [doc.body for doc in session.scalars(sa.select(Doc))] == ["body 1"]
        assert session.scalars(sa.select(Doc.__table__.c.body)).all() == ["body 1"]
        assert session.get(Doc, 21) is None
        assert session.execute(sa.update(Doc).values(body="changed")).rowcount == 1
        session.commit()
    with Session(engine, info={"site": TWO}) as session:
        assert session.scalars(sa.select(Doc.body)).all() == ["body 2"]


@pytest.mark.parametrize("load", [True, False])
def test_merging_a_foreign_object_is_refused_with_and_without_loading(engine: sa.Engine, load: bool) -> None:
    with Session(engine, info={"site": TWO}) as theirs:
        note = theirs.get_one(Note, 20)
        theirs.expunge(note)
    with Session(engine, info={"site": ONE}) as session, pytest.raises(CrossSiteError):
        session.merge(note, load=load)
        session.flush()


def test_an_unscoped_table_behind_a_scoped_model_is_refused() -> None:
    class Loose(DeclarativeBase):
        pass

    links = sa.Table("links", Loose.metadata, sa.Column("a", sa.ForeignKey("ends.id")), sa.Column("b", sa.Integer))

    class End(SiteScoped, Loose):
        __tablename__ = "ends"
        id: Mapped[int] = mapped_column(primary_key=True)
        others: Mapped[list[End]] = relationship(
            secondary=links, primaryjoin=lambda: End.id == links.c.a, secondaryjoin=lambda: End.id == links.c.b
        )

    with pytest.raises(MultisiteError, match=r"'links' that End\.others goes through has no site_id"):
        configure_mappers()
    Loose.registry.dispose()
    tables.scoped.discard("ends")


def test_the_wall_reaches_engines_that_were_used_before_it(tmp_path: Path) -> None:
    """An engine that has connected and filled its caches, and tables declared, before multisite is imported."""
    script = tmp_path / "script.py"
    script.write_text(
        dedent(
            """
            import sqlalchemy as sa

            engine = sa.create_engine("sqlite:///before.db")
            early = sa.Table("books", sa.MetaData(), sa.Column("title", sa.String), sa.Column("site_id", sa.Integer))
            statement = sa.select(early.c.title)
            with engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, site_id INTEGER)")
                connection.exec_driver_sql("CREATE TABLE multisite_version (id INTEGER, version INTEGER)")
                connection.exec_driver_sql("INSERT INTO books VALUES (1, 'mine', 1), (2, 'theirs', 2)")
                assert len(connection.execute(statement).all()) == 2

            from multisite import NoCurrentSite, Site, SiteScoped, using_site
            from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

            class Base(DeclarativeBase):
                pass

            class Book(SiteScoped, Base):
                __tablename__ = "books"
                id: Mapped[int] = mapped_column(primary_key=True)
                title: Mapped[str]

            with engine.connect() as connection:
                try:
                    connection.execute(statement)
                except NoCurrentSite:
                    print("refused")
                with using_site(Site(1, "one.example", "", "")):
                    print(connection.scalars(statement).all())
                    print(connection.scalars(sa.select(Book.title)).all())
            """
        )
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["refused", "['mine']", "['mine']"], done.stderr


def test_another_applications_table_on_another_database_is_left_alone(tmp_path: Path) -> None:
    """`items` is scoped here; a database without multisite's tables has an `items` of its own."""
    theirs = sa.Table("items", sa.MetaData(), sa.Column("name", sa.String))
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'theirs.db'}")
    theirs.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(theirs.insert().values(name="theirs"))
        assert connection.scalars(sa.select(theirs.c.name)).all() == ["theirs"]
        assert connection.scalars(sa.text("SELECT name FROM items")).all() == ["theirs"]
        assert connection.scalars(sa.select(sa.column("name")).select_from(sa.table("items"))).all() == ["theirs"]
        assert connection.exec_driver_sql("SELECT name FROM items").scalar() == "theirs"
    engine.dispose()
