"""Scoped models: the columns and keys of SiteScoped, inheritance, and errors when mappers are configured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa
from databases import make_own_tables
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    configure_mappers,
    mapped_column,
    registry,
    relationship,
)

from multisite import CrossSiteError, MultisiteError, SiteScoped, all_sites, scoped_reference
from multisite.core.site import Site
from multisite.directory.models import SiteRow
from multisite.scoping.tables import tables

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
    __mapper_args__ = {"polymorphic_identity": "doc"}

    id: Mapped[int] = mapped_column(scoped_reference("items.id"), primary_key=True)
    body: Mapped[str]


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    make_own_tables(engine)
    Base.metadata.create_all(engine)
    for site in (ONE, TWO):
        with all_sites("a test"), engine.begin() as connection:
            connection.execute(sa.insert(SiteRow).values(id=site.id, name=site.name, folder=site.folder))
        with Session(engine, info={"site": site}) as session:
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


MANY: dict[str, Callable[[Session, list[dict[str, Any]]], Any]] = {
    "insert": lambda s, rows: s.execute(sa.insert(Doc), rows),
    "insert returning": lambda s, rows: s.scalars(sa.insert(Doc).returning(Doc), rows).all(),
    "bulk_insert_mappings": lambda s, rows: s.bulk_insert_mappings(Doc, rows),
    "bulk_save_objects": lambda s, rows: s.bulk_save_objects([Doc(**row) for row in rows]),
    "flush": lambda s, rows: (s.add_all(Doc(**row) for row in rows), s.flush()),
}


@pytest.mark.parametrize("way", MANY)
def test_many_rows_of_an_inherited_model_are_filled_in(engine: sa.Engine, way: str) -> None:
    sites = sa.select(Doc.__table__.c.site_id, Item.site_id).join(Item, Item.id == Doc.__table__.c.id)
    with Session(engine, info={"site": TWO}) as session:
        MANY[way](session, [{"title": f"new {n}", "body": "new", "kind": "doc"} for n in range(3)])
        session.commit()
        assert session.execute(sites.where(Item.title.like("new %"))).all() == [(2, 2)] * 3
    with Session(engine, info={"site": ONE}) as session, pytest.raises(CrossSiteError):
        MANY[way](session, [{"title": "new", "body": "new", "kind": "doc", "site_id": 2}])
    with all_sites("test"), Session(engine) as session:
        MANY[way](session, [{"title": "given", "body": "new", "kind": "doc", "site_id": 2}])
        session.commit()
        assert session.execute(sites.where(Item.title == "given")).all() == [(2, 2)]


CHANGES: dict[str, Callable[[Session], Any]] = {
    "bulk update of the parent's column": lambda s: s.execute(sa.update(Doc), [{"id": 21, "title": "x"}]),
    "bulk update of its own column": lambda s: s.execute(sa.update(Doc), [{"id": 21, "body": "x"}]),
    "bulk update of both": lambda s: s.execute(
        sa.update(Doc), [{"id": n, "body": "x", "title": "x"} for n in (11, 21)]
    ),
    "bulk_update_mappings": lambda s: s.bulk_update_mappings(Doc, [{"id": 21, "title": "x"}]),
    "bulk update through the parent": lambda s: s.execute(sa.update(Item), [{"id": 21, "title": "x"}]),
    "update": lambda s: s.execute(sa.update(Doc).values(body="x")),
    "update of the parent": lambda s: s.execute(sa.update(Item).values(title="x")),
    "delete": lambda s: s.execute(sa.delete(Doc).where(Doc.__table__.c.id > 0)),
}


@pytest.mark.parametrize("way", CHANGES)
def test_no_change_of_an_inherited_model_reaches_another_site(engine: sa.Engine, way: str) -> None:
    everything = sa.select(Item.id, Item.title, Doc.__table__.c.body).outerjoin(
        Doc.__table__, Doc.__table__.c.id == Item.id
    )
    with Session(engine, info={"site": TWO}) as session:
        before = set(session.execute(everything))
    with Session(engine, info={"site": ONE}) as session:
        try:
            CHANGES[way](session)
            session.commit()
        except sa.orm.exc.StaleDataError:
            session.rollback()
    with Session(engine, info={"site": TWO}) as session:
        assert set(session.execute(everything)) == before


def test_many_rows_of_an_inherited_model_are_changed_at_once(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        session.execute(sa.update(Doc), [{"id": 11, "title": "new title", "body": "new body"}])
        session.commit()
        assert [(doc.title, doc.body) for doc in session.scalars(sa.select(Doc))] == [("new title", "new body")]


class Data(MappedAsDataclass, DeclarativeBase):
    pass


class Leaf(SiteScoped, Data):
    __tablename__ = "leaves"

    id: Mapped[int] = mapped_column(init=False, primary_key=True)
    title: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(scoped_reference("leaves.id"), default=None)
    parent: Mapped[Leaf | None] = relationship(remote_side="Leaf.id", default=None)


@registry(metadata=Data.metadata).mapped_as_dataclass
class Petal(SiteScoped):
    __tablename__ = "petals"

    id: Mapped[int] = mapped_column(init=False, primary_key=True)
    title: Mapped[str] = ""


def test_a_dataclass_is_scoped_too(engine: sa.Engine) -> None:
    Data.metadata.create_all(engine)
    for site in (ONE, TWO):
        with Session(engine, info={"site": site}) as session:
            session.add_all([Leaf("low", parent=Leaf("high")), Petal()])
            session.commit()
    with Session(engine, info={"site": TWO}) as session:
        low = session.scalars(sa.select(Leaf).where(Leaf.title == "low")).one()
        assert (low.site_id, low.parent.title, low.parent.site_id) == (2, "high", 2)
        assert session.scalars(sa.select(Petal.site_id)).all() == [2]
        session.add(Leaf("another"))
        session.flush()
    assert [field.name for field in fields(Leaf)] == ["id", "title", "parent_id", "parent"]
    assert repr(Petal("x")) == "Petal(id=None, title='x')"


class Keys(DeclarativeBase):
    pass


class Keyed(SiteScoped, Keys):
    """A model whose columns have other keys than names."""

    __tablename__ = "keyed"

    number: Mapped[int] = mapped_column("id", key="number", primary_key=True)
    up: Mapped[int | None] = mapped_column("up_id", scoped_reference("keyed.number"), key="up")
    parent: Mapped[Keyed | None] = relationship(remote_side=number)


def test_the_keys_of_columns_may_differ_from_their_names(engine: sa.Engine) -> None:
    Keys.metadata.create_all(engine)
    for site in (ONE, TWO):
        with Session(engine, info={"site": site}) as session:
            session.add(Keyed(parent=Keyed()))
            session.commit()
    with Session(engine, info={"site": TWO}) as session:
        low = session.scalars(sa.select(Keyed).where(Keyed.up.is_not(None))).one()
        assert (low.site_id, low.parent.site_id) == (2, 2)
    found = sa.inspect(engine)
    assert [unique["column_names"] for unique in found.get_unique_constraints("keyed")] == [["site_id", "id"]]
    referred = [key["referred_columns"] for key in found.get_foreign_keys("keyed") if key["referred_table"] == "keyed"]
    assert referred == [["site_id", "id"]]


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


def test_scoping_reaches_engines_that_were_used_before_it(tmp_path: Path) -> None:
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
    """`items` is scoped in this application; a database without the tables of multisite has its own `items`."""
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
