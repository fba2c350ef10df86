"""What an UPDATE may set, and the table that it changes if a model has several.

Sources: the ARRAY and JSONB types of SQLAlchemy's PostgreSQL dialect (updates of one element), and
"with_polymorphic" in a mapper's configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database
from releases import since_2_1
from scoped_models import ONE, TWO, BigId, Library, build_library
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.sql.expression import ColumnElement

from multisite import SiteScoped, UnscopedStatement, scoped_reference
from multisite.scoping.tables import tables


class Base(DeclarativeBase):
    pass


class Box(SiteScoped, Base):
    __tablename__ = "target_boxes"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    numbers: Mapped[list[int]] = mapped_column(postgresql.ARRAY(sa.Integer).with_variant(sa.JSON(), "sqlite"))
    data: Mapped[Any] = mapped_column(postgresql.JSONB().with_variant(sa.JSON(), "sqlite"))


class Employee(SiteScoped, Base):
    __tablename__ = "target_employees"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee", "with_polymorphic": "*"}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]


class Manager(Employee):
    __tablename__ = "target_managers"
    __mapper_args__ = {"polymorphic_identity": "manager"}

    id: Mapped[int] = mapped_column(scoped_reference("target_employees.id"), primary_key=True)
    team: Mapped[str]


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """The tables are in the register for the tests of this module only."""
    yield
    tables.forget(Base.metadata)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Two sites, each with a box, an employee and a manager; tests roll back their changes."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        library = build_library(engine)
        Base.metadata.create_all(engine)
        for site in (ONE, TWO):
            with library.session(site) as session:
                session.add(Box(numbers=[1, 2, 3], data={"a": 1}))
                session.add_all([Employee(name="worker"), Manager(name="chief", team="all")])
                session.commit()
        yield library


on_postgresql = pytest.mark.parametrize("library", ["postgresql"], indirect=True)


class Target(ColumnElement[int]):
    """A construct of an application that writes any text as the column to be set."""

    inherit_cache = False
    type = sa.Integer()

    def __init__(self, text: str) -> None:
        self.text = text


@compiles(Target)
def _write_target(element: Target, compiler: Any, **kw: Any) -> str:
    return element.text


@on_postgresql
@pytest.mark.parametrize("box", [Box, Box.__table__])
def test_one_element_of_an_array_is_set_in_own_rows(library: Library, box: Any) -> None:
    numbers = Box.numbers if box is Box else box.c.numbers
    change = sa.update(box).values({numbers[2]: 7}).execution_options(synchronize_session=False)
    with library.session(ONE) as session:
        assert session.execute(change).rowcount == 1
        assert session.scalars(sa.select(Box.numbers)).all() == [[1, 7, 3]]
        session.execute(sa.update(Box.__table__).values({Box.__table__.c.numbers[2:3]: [8, 9]}))
        assert session.scalars(sa.select(Box.numbers)).all() == [[1, 8, 9]]


@on_postgresql
@since_2_1("an element of JSONB as the target of an UPDATE")
def test_one_value_of_a_document_is_set_in_own_rows(library: Library) -> None:
    data = Box.__table__.c.data
    with library.session(ONE) as session:
        assert session.execute(sa.update(Box.__table__).values({data["a"]: 7, data["b"]["c"]: 8})).rowcount == 1
        assert session.scalars(sa.select(Box.data)).all() == [{"a": 7, "b": {"c": 8}}]


@pytest.mark.parametrize(
    "target",
    [
        Target("numbers = '{}', site_id"),
        Box.__table__.c.data.op("= '{}', site_id")(sa.literal_column("")),
        Box.__table__.c.data[sa.literal_column("'a'] = '1', data['b'")],
        Box.__table__.c.site_id.op("")(sa.literal_column("")),
        sa.func.site_id(),
    ],
)
def test_sql_in_place_of_a_column_is_refused(library: Library, target: Any) -> None:
    change = sa.update(Box.__table__).values({target: 2})
    with library.session(ONE) as session, pytest.raises(UnscopedStatement, match="in place of the column"):
        session.execute(change)


def test_a_model_that_loads_its_subclasses_changes_its_own_table(library: Library) -> None:
    with library.session(ONE) as session:
        renamed = session.execute(sa.update(Employee).where(Employee.id > 0).values(name="renamed"))
        assert renamed.rowcount == 2
        assert session.query(Employee).filter(Employee.kind == "employee").delete() == 1
        session.commit()
    with library.session(TWO) as session:
        assert sorted(session.scalars(sa.select(Employee.name))) == ["chief", "worker"]


def renamed_table() -> Any:
    """Return the table of boxes as it is reflected by an application whose columns have other keys than names."""
    return sa.Table(
        "target_boxes",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger, key="attr_id", primary_key=True),
        sa.Column("site_id", sa.BigInteger, key="attr_site_id"),
    )


def mapped(table: Any) -> Any:
    return type("Mapped", (type("Other", (DeclarativeBase,), {}),), {"__table__": table})


def flush(session: Session, table: Any) -> None:
    session.scalars(sa.select(mapped(table))).one().attr_site_id = 2
    session.flush()


MOVES: dict[str, Callable[[Session, Any], Any]] = {
    "value": lambda s, boxes: s.execute(sa.update(boxes).values(attr_site_id=2)),
    "value of a column": lambda s, boxes: s.execute(sa.update(boxes).values({boxes.c.attr_site_id: 2})),
    "ordered values": lambda s, boxes: s.execute(sa.update(boxes).ordered_values(("attr_site_id", 2))),
    "parameter": lambda s, boxes: s.execute(sa.update(boxes), {"attr_site_id": 2}),
    "named parameter": lambda s, boxes: s.execute(sa.update(boxes).values(attr_site_id=sa.bindparam("to")), {"to": 2}),
    "SQL": lambda s, boxes: s.execute(sa.update(boxes).values(attr_site_id=boxes.c.attr_site_id + 1)),
    "alias": lambda s, boxes: s.execute(sa.update(boxes.alias()).values(attr_site_id=2)),
    "bulk update": lambda s, boxes: s.execute(
        sa.update(mapped(boxes)), [{"attr_id": s.scalar(sa.select(boxes.c.attr_id)), "attr_site_id": 2}]
    ),
    "flush": flush,
}


@pytest.mark.parametrize("way", MOVES)
def test_no_row_moves_to_another_site_by_the_key_of_its_column(library: Library, way: str) -> None:
    with library.session(ONE) as session, pytest.raises(UnscopedStatement, match="site_id"):
        MOVES[way](session, renamed_table())


def test_own_rows_are_read_and_changed_by_the_keys_of_columns(library: Library) -> None:
    boxes = renamed_table()
    with library.session(ONE) as session:
        found = session.execute(sa.select(boxes.c.attr_id, boxes.c.attr_site_id)).all()
        assert [site_id for _, site_id in found] == [1]
        moved = sa.update(boxes).values(attr_id=boxes.c.attr_id + 1000).returning(boxes.c.attr_id)
        assert session.scalars(moved).all() == [found[0][0] + 1000]
