"""The tables of multisite with rows of sites: a site reads its own rows, and only all sites may change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fill_database
from scoped_models import ONE, TWO, Library, build_library
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, all_sites, using_site
from multisite.directory.models import ChangeRow, DirectoryVersion, DomainRow, SettingRow, SiteRow
from multisite.directory.schema import metadata
from multisite.scoping import SiteScoped
from multisite.scoping.tables import OWN_TABLES, PRIVATE_TABLES


@pytest.fixture
def library(database_url: str) -> Iterator[Library]:
    with closing_engine(database_url) as engine:
        fill_database(engine, plant_settings)
        yield Library(engine)


def plant_settings(engine: sa.Engine) -> None:
    build_library(engine)
    with all_sites("plant settings"), engine.begin() as connection:
        connection.execute(
            sa.insert(SettingRow),
            [{"site_id": site.id, "name": "api_key", "value": f"secret-{site.id}"} for site in (ONE, TWO)],
        )
        connection.execute(sa.insert(ChangeRow), [{"site_id": each, "version": 7 + each} for each in (0, 1, 2)])


def test_every_own_table_is_known_by_its_name() -> None:
    """Servers do not import the tables of operators, so scoping has the names of all."""
    assert metadata.tables.keys() == {*OWN_TABLES, *PRIVATE_TABLES, "multisite_version"}


READS: dict[str, Callable[[], Any]] = {
    "settings": lambda: sa.select(SettingRow.value),
    "sites": lambda: sa.select(SiteRow.id),
    "domains": lambda: sa.select(DomainRow.host),
    "changes": lambda: sa.select(ChangeRow.version),
    "a Core table": lambda: sa.select(SettingRow.__table__.c.value),
    "an alias": lambda: sa.select(sa.orm.aliased(SiteRow).id),
    "a table of that name": lambda: sa.select(sa.column("value")).select_from(sa.table("multisite_settings")),
    "an outer join": lambda: sa.select(SettingRow.value).select_from(
        sa.outerjoin(DirectoryVersion, SettingRow, sa.true())
    ),
    "a full derived table": lambda: sa.select(sa.select(DomainRow.host).subquery()),
    "exists": lambda: sa.select(DirectoryVersion.id).where(sa.exists().where(SettingRow.value == "secret-2")),
    "a join": lambda: sa.select(DomainRow.host).join(SiteRow, DomainRow.site_id == SiteRow.id),
    "another site's, by its id": lambda: sa.select(SettingRow.value).where(SettingRow.site_id == 2),
}

OWN = {
    "settings": ["secret-1"],
    "sites": [1],
    "domains": ["one.example"],
    "changes": [8],
    "a Core table": ["secret-1"],
    "an alias": [1],
    "a table of that name": ["secret-1"],
    "an outer join": ["secret-1"],
    "a full derived table": ["one.example"],
    "exists": [],
    "a join": ["one.example"],
    "another site's, by its id": [],
}


@pytest.mark.parametrize("name", READS)
def test_a_site_reads_its_own_rows(library: Library, name: str) -> None:
    with library.session(ONE) as session:
        assert session.scalars(READS[name]()).all() == OWN[name]
    with using_site(ONE), library.engine.connect() as connection:
        assert connection.scalars(READS[name]()).all() == OWN[name]


@pytest.mark.parametrize("name", READS)
def test_without_a_site_nothing_is_read(library: Library, name: str) -> None:
    with Session(library.engine) as session, pytest.raises(NoCurrentSite):
        session.execute(READS[name]())
    with library.engine.connect() as connection, pytest.raises(NoCurrentSite):
        connection.execute(READS[name]())


def test_all_sites_read_everything(library: Library) -> None:
    with Session(library.engine, info={"all_sites": "a test"}) as session:
        assert sorted(session.scalars(sa.select(SettingRow.value))) == ["secret-1", "secret-2"]
        assert sorted(session.scalars(sa.select(SiteRow.id))) == [1, 2]
        assert session.get(SiteRow, 2) is not None


def test_get_finds_the_own_row_only(library: Library) -> None:
    with library.session(ONE) as session:
        assert session.get(SiteRow, 1) is not None
        assert session.get(SiteRow, 2) is None
        assert session.get(SettingRow, (1, "api_key")) is not None
        assert session.get(SettingRow, (2, "api_key")) is None


TEXTS = [
    "SELECT value FROM multisite_settings",
    "SELECT id FROM sites",
    'SELECT host FROM "domains" WHERE site_id = 2',
    "UPDATE sites SET name = 'x'",
    "SELECT version FROM multisite_changes",
    "UPDATE multisite_changes SET version = 0",
    "DELETE FROM multisite_settings",
    "INSERT INTO domains (site_id, host) SELECT 1, 'x.example'",
    "SELECT 1 FROM countries, sites",
    "SELECT (SELECT max(value) FROM multisite_settings)",
]

HARMLESS = [
    "SELECT 'sites' AS domains",
    "SELECT name AS sites FROM countries",
    "CREATE TABLE own_x (y INTEGER REFERENCES sites (id))",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_reads_or_changes_them_is_refused(library: Library, text: str) -> None:
    with library.session(ONE) as session:
        with pytest.raises(UnscopedStatement):
            session.execute(sa.text(text))
        with pytest.raises(UnscopedStatement):
            session.connection().exec_driver_sql(text)
    with library.engine.connect() as connection, pytest.raises((UnscopedStatement, NoCurrentSite)):
        connection.execute(sa.text(text))
    with all_sites("a test"), library.engine.begin() as connection:
        connection.execute(sa.text(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_text_that_only_holds_their_names_is_not_refused(library: Library, text: str) -> None:
    with library.session(ONE) as session:
        session.execute(sa.text(text))
    with library.session(ONE) as session:
        session.connection().exec_driver_sql(text.replace("own_x", "own_y"))


CHANGES: dict[str, Callable[[], Any]] = {
    "update": lambda: sa.update(SettingRow).values(value="x"),
    "update of another site's": lambda: sa.update(SettingRow).where(SettingRow.site_id == 2).values(value="x"),
    "update of the own site": lambda: sa.update(SiteRow).where(SiteRow.id == 1).values(name="x"),
    "update of the counters of changes": lambda: sa.update(ChangeRow).values(version=0),
    "insert of a counter": lambda: sa.insert(ChangeRow).values(site_id=3, version=0),
    "delete": lambda: sa.delete(DomainRow),
    "delete of the own": lambda: sa.delete(SettingRow).where(SettingRow.site_id == 1),
    "insert": lambda: sa.insert(DomainRow).values(site_id=2, host="x.example", kind="alias"),
    "insert for the own site": lambda: sa.insert(SettingRow).values(site_id=1, name="x", value="x"),
    "insert of many": lambda: sa.insert(SettingRow).values([{"site_id": 1, "name": "x", "value": "x"}]),
    "insert from a select": lambda: sa.insert(SettingRow).from_select(
        ["site_id", "name", "value"], sa.select(SettingRow.site_id, sa.literal("x"), SettingRow.value)
    ),
    "insert into a table of that name": lambda: sa.insert(
        sa.table("multisite_settings", sa.column("site_id"), sa.column("name"), sa.column("value"))
    ).values(site_id=1, name="x", value="x"),
    "change within a read": lambda: sa.select(sa.delete(SettingRow).returning(SettingRow.value).cte().c.value),
}


def rows(library: Library) -> list[Any]:
    with all_sites("look at all rows"), library.engine.connect() as connection:
        tables = (SiteRow.__table__, DomainRow.__table__, SettingRow.__table__, ChangeRow.__table__)
        return [sorted(map(str, connection.execute(sa.select(table)))) for table in tables]


def for_database(library: Library, names: dict[str, Any]) -> list[str]:
    sqlite = library.engine.dialect.name == "sqlite"
    return [name for name in names if not (sqlite and name == "change within a read")]


def test_a_change_within_a_site_is_refused(library: Library) -> None:
    before = rows(library)
    for name in for_database(library, CHANGES):
        with library.session(ONE) as session:
            with pytest.raises(CrossSiteError, match=r"all_sites"):
                session.execute(CHANGES[name]())
            session.commit()
    assert rows(library) == before


def test_a_change_without_a_site_is_refused(library: Library) -> None:
    before = rows(library)
    for name in for_database(library, CHANGES):
        with Session(library.engine) as session:
            with pytest.raises(NoCurrentSite):
                session.execute(CHANGES[name]())
            session.commit()
    assert rows(library) == before


@pytest.mark.parametrize("change", [lambda row: setattr(row, "value", "x"), None], ids=["update", "delete"])
def test_a_flush_within_a_site_is_refused(library: Library, change: Any) -> None:
    before = rows(library)
    with library.session(ONE) as session:
        row = session.get_one(SettingRow, (1, "api_key"))
        change(row) if change else session.delete(row)
        with pytest.raises(CrossSiteError, match=r"all_sites"):
            session.flush()
        session.rollback()
    assert rows(library) == before


@pytest.mark.parametrize("site_id", [1, 2])
def test_a_row_added_within_a_site_is_refused(library: Library, site_id: int) -> None:
    before = rows(library)
    with library.session(ONE) as session, pytest.raises(CrossSiteError):
        session.add(SettingRow(site_id=site_id, name="x", value="x"))
        session.flush()
    assert rows(library) == before


def test_all_sites_change_them(library: Library) -> None:
    with all_sites("a test"), Session(library.engine) as session:
        session.add(SettingRow(site_id=2, name="x", value="x"))
        session.execute(sa.update(SiteRow).where(SiteRow.id == 1).values(name="renamed"))
        session.commit()
        assert session.get_one(SiteRow, 1).name == "renamed"
        assert session.get(SettingRow, (2, "x")) is not None


class OwnBase(DeclarativeBase):
    metadata = sa.MetaData()


class Member(SiteScoped, OwnBase):
    """A model of an application with a relationship to its site."""

    __tablename__ = "own_table_members"

    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    site: Mapped[SiteRow] = relationship(SiteRow, viewonly=True)


class FarSites(OwnBase):
    """A table of the application in another schema, with the name of a table of multisite."""

    __tablename__ = "sites"
    __table_args__ = {"schema": "far"}

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


NAMES = ("sites", "domains", "multisite_settings", "multisite_changes")


@pytest.fixture
def schema(library: Library) -> str:
    return "main" if library.engine.dialect.name == "sqlite" else "public"


QUALIFIED: dict[str, Callable[[sa.Table], Any]] = {
    "select": sa.select,
    "alias": lambda table: sa.select(table.alias()),
    "subquery": lambda table: sa.select(sa.select(table).subquery()),
    "update": lambda table: sa.update(table).values({list(table.c)[-1].name: "x"}),
    "delete": sa.delete,
    "insert from a select": lambda table: sa.insert(table).from_select(list(table.c.keys()), sa.select(table)),
}


@pytest.mark.parametrize("within", [True, False], ids=["within a site", "without a site"])
@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_ours_named_with_its_schema_is_refused(
    library: Library, schema: str, name: str, within: bool
) -> None:
    """`MetaData.reflect(schema=...)` creates such a table."""
    with all_sites("reflect"):
        table = sa.Table(name, sa.MetaData(), autoload_with=library.engine, schema=schema)
    before = rows(library)
    for way, statement in QUALIFIED.items():
        with library.session(ONE) if within else Session(library.engine) as session:
            with pytest.raises(UnscopedStatement, match="named with its schema"):
                session.execute(statement(table))
            session.commit()
        assert rows(library) == before, way
    with all_sites("a test"), library.engine.connect() as connection:
        assert len(connection.execute(sa.select(table)).all()) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_that_is_translated_to_ours_is_refused(library: Library, schema: str, name: str) -> None:
    table = sa.Table(name, sa.MetaData(), sa.Column("site_id"), schema="tenant")
    for target in (None, schema):
        with library.session(ONE) as session:
            connection = session.connection(execution_options={"schema_translate_map": {"tenant": target}})
            with pytest.raises(UnscopedStatement, match="named with its schema"):
                connection.execute(sa.select(sa.func.count()).select_from(table))


def test_an_object_reads_the_row_of_its_site(library: Library) -> None:
    Member.__table__.create(library.engine)
    with library.session(ONE) as session:
        session.add(Member())
        session.commit()
        member = session.scalars(sa.select(Member)).one()
        assert member.site.name == ONE.name
        joined = sa.select(Member).options(sa.orm.joinedload(Member.site)).execution_options(populate_existing=True)
        assert session.scalars(joined).one().site.name == ONE.name


def test_a_table_of_an_application_in_another_schema_is_its_own(database_url: str) -> None:
    with closing_engine(database_url) as engine:
        build_library(engine)
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                connection.execute(sa.text("ATTACH ':memory:' AS far"))
            else:
                connection.execute(sa.text("CREATE SCHEMA far"))
            FarSites.__table__.create(connection)
            connection.execute(sa.insert(FarSites).values(id=5, name="theirs"))
            with using_site(ONE):
                connection.execute(sa.insert(FarSites).values(id=6, name="also theirs"))
                connection.execute(sa.update(FarSites).where(FarSites.id == 5).values(name="changed"))
                assert sorted(connection.scalars(sa.select(FarSites.name))) == ["also theirs", "changed"]
                connection.execute(sa.delete(FarSites).where(FarSites.id == 6))
            assert connection.scalars(sa.select(FarSites.name)).all() == ["changed"]
            connection.execute(sa.delete(FarSites))
