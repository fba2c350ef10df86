"""References between scoped tables: their declaration, their foreign keys, and the joins of relationships."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from databases import closing_engine, fresh_database, make_own_tables
from releases import SQLALCHEMY
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    configure_mappers,
    declared_attr,
    mapped_column,
    relationship,
    selectinload,
)

from multisite import SiteScoped, scoped_reference, site_id_column
from multisite.core.current_site import all_sites
from multisite.core.site import Site
from multisite.directory.models import SiteRow
from multisite.scoping import foreign_key, tables

ONE, TWO = Site(1, "one.example", "One", "one"), Site(2, "two.example", "Two", "two")


class Base(DeclarativeBase):
    pass


marks = sa.Table(
    "marks",
    Base.metadata,
    # The references are declared before the site_id that they need.
    sa.Column("page_id", scoped_reference("pages.id"), primary_key=True),
    sa.Column("label_id", scoped_reference("labels.id", ondelete="CASCADE"), primary_key=True),
    site_id_column(),
)


class Signed:
    """A mixin with one reference of each form that a mixin may contain."""

    editor_id: Mapped[int | None] = mapped_column(scoped_reference("people.id"))

    @declared_attr
    def reviewer_id(cls) -> Mapped[int | None]:  # noqa: N805
        return mapped_column(scoped_reference("people.id", name=f"fk_{cls.__tablename__}_reviewer"))


class Person(SiteScoped, Base):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    pages: Mapped[list[Page]] = relationship(back_populates="author", foreign_keys="Page.author_id")
    profile: Mapped[Profile | None] = relationship(back_populates="person")


class Profile(SiteScoped, Base):
    """A one-to-one relationship, by a primary key that is a reference."""

    __tablename__ = "profiles"

    id: Mapped[int] = mapped_column(scoped_reference(Person.id), primary_key=True)
    person: Mapped[Person] = relationship(back_populates="profile")


class Label(SiteScoped, Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[list[Page]] = relationship(secondary=marks, back_populates="labels")


class Page(Signed, SiteScoped, Base):
    __tablename__ = "pages"

    author_id: Mapped[int | None] = mapped_column(scoped_reference(Person.__table__.c.id))
    parent_id: Mapped[int | None] = mapped_column(scoped_reference("pages.id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    author: Mapped[Person | None] = relationship(back_populates="pages", foreign_keys=author_id)
    editor: Mapped[Person | None] = relationship(foreign_keys="Page.editor_id")
    reviewer: Mapped[Person | None] = relationship(foreign_keys="Page.reviewer_id")
    parent: Mapped[Page | None] = relationship(back_populates="children", remote_side="Page.id")
    children: Mapped[list[Page]] = relationship(back_populates="parent")
    labels: Mapped[list[Label]] = relationship(secondary=marks, back_populates="pages")
    notes: Mapped[list[Note]] = relationship(back_populates="page")


class Note(SiteScoped, Base):
    """A model with only one reference, so that the relationship needs no arguments for the join."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    page_id: Mapped[int | None] = mapped_column(scoped_reference("pages.id"))
    page: Mapped[Page | None] = relationship(back_populates="notes")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """A database with the tables above and two sites; tests roll back their changes."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        with all_sites("a test"), Session(engine) as session:
            session.add_all(SiteRow(id=site.id, name=site.name, folder=site.folder) for site in (ONE, TWO))
            session.commit()
        for site in (ONE, TWO):
            with Session(engine, info={"site": site}) as session:
                person, label = Person(id=site.id * 10), Label(id=site.id * 10)
                page = Page(id=site.id * 10, author=person, editor=person, labels=[label], notes=[Note(id=site.id)])
                session.add_all([page, Page(id=site.id * 10 + 1, parent=page), Profile(person=person)])
                session.commit()
        yield engine


def keys_of(table: sa.Table) -> dict[str, list[str]]:
    """Return the targets of the foreign keys of `table`, except those to `sites`, by their columns."""
    return {
        ",".join(key.column_keys): [element.target_fullname for element in key.elements]
        for key in table.foreign_key_constraints
        if key.column_keys != ["site_id"]
    }


PAGE_KEYS = {
    "site_id,author_id": ["people.site_id", "people.id"],
    "site_id,parent_id": ["pages.site_id", "pages.id"],
    "site_id,editor_id": ["people.site_id", "people.id"],
    "site_id,reviewer_id": ["people.site_id", "people.id"],
}
MARK_KEYS = {"site_id,page_id": ["pages.site_id", "pages.id"], "site_id,label_id": ["labels.site_id", "labels.id"]}


def test_a_reference_in_a_column_becomes_a_composite_key() -> None:
    assert keys_of(Page.__table__) == PAGE_KEYS
    assert keys_of(marks) == MARK_KEYS
    assert keys_of(Profile.__table__) == {"site_id,id": ["people.site_id", "people.id"]}
    assert {key.ondelete for key in marks.foreign_key_constraints} == {None, "CASCADE"}
    assert "fk_pages_reviewer" in {key.name for key in Page.__table__.foreign_key_constraints}
    # As with ForeignKey, the column takes the type of the column to which it refers.
    assert isinstance(Page.__table__.c.author_id.type, sa.BigInteger)
    assert Page.__table__.c.author_id.nullable


def test_a_copied_table_keeps_it() -> None:
    copied = sa.MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(copied)
    assert keys_of(copied.tables["pages"]) == PAGE_KEYS
    assert keys_of(copied.tables["marks"]) == MARK_KEYS
    moved = Note.__table__.to_metadata(sa.MetaData(), schema="other")
    assert keys_of(moved) == {"site_id,page_id": ["other.pages.site_id", "other.pages.id"]}


def test_the_form_with_two_arguments_comes_to_the_same_schema() -> None:
    def schema(column: list[Any], *rest: Any) -> list[str]:
        own = sa.MetaData(naming_convention={"fk": "fk_%(table_name)s_%(column_0_N_name)s"})
        sa.Table("targets", own, site_id_column(), sa.Column("id", sa.Integer, primary_key=True))
        table = sa.Table("sources", own, site_id_column(), sa.Column("target_id", sa.Integer, *column), *rest)
        tables.scoped.difference_update({"targets", "sources"})
        # The statements differ only in the order of the constraints.
        return sorted(line.strip("\t ,") for line in str(sa.schema.CreateTable(table)).splitlines())

    options = {"ondelete": "CASCADE", "deferrable": True, "initially": "DEFERRED"}
    one = schema([scoped_reference("targets.id", **options)])
    assert one == schema([], scoped_reference("target_id", "targets.id", **options))
    assert (
        "CONSTRAINT fk_sources_site_id_target_id FOREIGN KEY(site_id, target_id) REFERENCES targets (site_id, id) "
        "ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"
    ) in one


def test_names_with_a_schema_and_columns_as_targets() -> None:
    own = sa.MetaData()
    target = sa.Table("t", own, site_id_column(), sa.Column("id", sa.Integer, primary_key=True), schema="far")
    targets: list[Any] = ["far.t.id", target.c.id]
    if SQLALCHEMY >= (2, 1):
        targets.append(("far", "t", "id"))
    for number, given in enumerate(targets):
        for arguments in ([sa.Column("x", scoped_reference(given))], [sa.Column("x"), scoped_reference("x", given)]):
            source = sa.Table(f"s{number}{len(arguments)}", own, site_id_column(), *arguments)
            assert keys_of(source) == {"site_id,x": ["far.t.site_id", "far.t.id"]}
    tables.scoped.difference_update({"t", *(name.removeprefix("far.") for name in own.tables)})


def test_a_column_of_the_same_mixin_as_target() -> None:
    class Tree:
        id: Mapped[int] = mapped_column(primary_key=True)

        @declared_attr
        def up_id(cls) -> Mapped[int | None]:  # noqa: N805
            return mapped_column(scoped_reference(cls.id))

    class Own(DeclarativeBase):
        pass

    class Branch(Tree, SiteScoped, Own):
        __tablename__ = "branches"

    assert keys_of(Branch.__table__) == {"site_id,up_id": ["branches.site_id", "branches.id"]}
    tables.scoped.discard("branches")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scoped_reference("authors"), "such as 'authors.id'"),
        (lambda: scoped_reference("author_id", "authors"), "such as 'authors.id'"),
        (lambda: scoped_reference("authors.id", ondelete="set null"), "let the code clear the link"),
        (lambda: scoped_reference("author_id", "authors.id", ondelete="SET NULL (author_id)"), "let the code clear"),
        (lambda: scoped_reference("authors.id", onupdate="SET DEFAULT"), "let the code clear the link"),
        (lambda: scoped_reference(sa.Table("plain", sa.MetaData(), sa.Column("id")).c.id), "by a plain ForeignKey"),
        (lambda: sa.Table("plain", sa.MetaData(), sa.Column("a", scoped_reference("b.id"))), "no site_id"),
        (
            lambda: sa.Table("plain", sa.MetaData(), sa.Column("a"), scoped_reference("b.id")),
            "name it: scoped_reference",
        ),
    ],
)
def test_refuses_what_cannot_be_a_reference(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_autogenerate_writes_plain_keys_and_finds_nothing_afterwards(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        ours = [diff for diff in compare_metadata(context, Base.metadata) if "remove_table" not in diff]
        assert ours == []
    with sa.create_engine("sqlite://").connect() as connection:
        context = MigrationContext.configure(connection)
        written = render_python_code(produce_migrations(context, Base.metadata).upgrade_ops)
    assert "sa.ForeignKeyConstraint(['site_id', 'author_id'], ['people.site_id', 'people.id'], )" in written
    assert "ScopedForeignKey" not in written


# -- joins ------------------------------------------------------------------------------------------------------------


def test_relationships_join_on_the_id_alone_and_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configure_mappers()
    joins = {str(each): str(each.primaryjoin) for each in Page.__mapper__.relationships}
    assert joins == {
        "Page.author": "people.id = pages.author_id",
        "Page.editor": "people.id = pages.editor_id",
        "Page.reviewer": "people.id = pages.reviewer_id",
        "Page.parent": "pages.id = pages.parent_id",
        "Page.children": "pages.id = pages.parent_id",
        "Page.labels": "pages.id = marks.page_id",
        "Page.notes": "pages.id = notes.page_id",
    }
    assert str(Page.labels.property.secondaryjoin) == "labels.id = marks.label_id"
    assert str(Label.__table__.join(marks).onclause) == "labels.id = marks.label_id"


def test_negative_control_without_it_relationships_join_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sa.ForeignKey, "get_referent", foreign_key._get_referent)
    assert "site_id" in str(Label.__table__.join(marks).onclause)


def test_a_key_that_needs_its_site_keeps_it_in_joins() -> None:
    own = sa.MetaData()
    parts = sa.Table(
        "parts", own, site_id_column(), sa.Column("id", sa.Integer), sa.PrimaryKeyConstraint("site_id", "id")
    )
    uses = sa.Table("uses", own, site_id_column(), sa.Column("part_id", scoped_reference("parts.id")))
    tables.scoped.difference_update({"parts", "uses"})
    assert "parts.site_id = uses.site_id" in str(parts.join(uses).onclause)


class Statements(list[str]):
    """The statements that an engine executes while the listener is registered."""

    def __call__(self, connection: Any, cursor: Any, statement: str, *args: Any) -> None:
        self.append(statement)


@pytest.fixture
def statements(engine: sa.Engine) -> Iterator[Statements]:
    seen = Statements()
    sa.event.listen(engine, "before_cursor_execute", seen)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", seen)


def test_many_to_one_from_the_identity_map_needs_no_statement(engine: sa.Engine, statements: Statements) -> None:
    with Session(engine, info={"site": ONE}) as session:
        page, child, author = session.get(Page, 10), session.get(Page, 11), session.get(Person, 10)
        note = session.get(Note, 1)
        statements.clear()
        assert (page.author, page.editor, page.reviewer) == (author, author, None)
        assert (child.parent, note.page) == (page, page)
        assert statements == []


@pytest.mark.parametrize("passive", [False, True])
def test_clearing_a_link_leaves_the_others_and_the_site(engine: sa.Engine, passive: bool) -> None:
    with Session(engine, info={"site": ONE}) as session:
        page = session.get(Page, 10)
        if passive:
            # The author is not loaded first.
            page.author_id = None
        else:
            page.author = None
        session.flush()
        session.expire_all()
        assert (page.site_id, page.author_id, page.editor_id) == (1, None, 10)
        page.children.clear()
        page.labels.clear()
        page.notes.clear()
        session.flush()
        assert session.get(Page, 11).parent_id is None
        assert session.get(Note, 1).page_id is None
        assert session.scalar(sa.select(sa.func.count()).select_from(marks)) == 0
        assert session.scalars(sa.select(Page.site_id)).all() == [1, 1]


def test_deleting_what_is_referred_to_clears_the_links_that_its_relationships_know(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        page = session.get(Page, 10)
        session.delete(page)
        session.flush()
        assert session.get(Page, 11).parent_id is None
        assert (session.get(Note, 1).page_id, session.get(Note, 1).site_id) == (None, 1)
        assert session.scalar(sa.select(sa.func.count()).select_from(marks)) == 0


def test_links_through_a_table_are_filled_in_and_loaded(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        label = Label(id=19, pages=[session.get(Page, 11)])
        session.add(label)
        session.flush()
        assert session.execute(sa.select(marks).where(marks.c.label_id == 19)).all() == [(11, 19, 1)]
        session.expire_all()
        pages = session.scalars(sa.select(Page).options(selectinload(Page.labels)).order_by(Page.id)).all()
        assert [[each.id for each in page.labels] for page in pages] == [[10], [19]]


CROSSING = {
    "new row": lambda s: s.add(Note(id=9, page_id=20)),
    "flush": lambda s: setattr(s.get(Page, 10), "author_id", 20),
    "update": lambda s: s.execute(sa.update(Page).values(parent_id=20)),
    "insert": lambda s: s.execute(sa.insert(Note).values(id=9, page_id=20)),
    "association table": lambda s: s.execute(sa.insert(marks).values(page_id=10, label_id=20)),
    "one to one": lambda s: s.add(Profile(id=20)),
}


@pytest.mark.parametrize("way", CROSSING)
def test_the_database_refuses_to_refer_to_another_site(engine: sa.Engine, way: str) -> None:
    with Session(engine, info={"site": ONE}) as session, pytest.raises(sa.exc.IntegrityError):
        CROSSING[way](session)
        session.flush()


def test_links_are_found_for_all_sites_too(engine: sa.Engine) -> None:
    with all_sites("test"), Session(engine) as session:
        found = session.execute(sa.select(Page.id, Person.id).join(Page.author).order_by(Page.id)).all()
        assert [tuple(each) for each in found] == [(10, 10), (20, 20)]
