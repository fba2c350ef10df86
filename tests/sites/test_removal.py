"""Removal of a site in a database with tables that are not multisite's."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from row_security import secured

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import SiteRow
from multisite.errors import MultisiteError, SettingError
from multisite.scoping import row_security
from multisite.sites.removal import TRASH, plan_removal, remove_site
from multisite.sites.updates import add_site


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")


def test_rows_of_sites_in_another_schema_stay(postgresql_database_url: str, settings: Settings) -> None:
    with closing_engine(postgresql_database_url) as engine:
        make_own_tables(engine)
        site = add_site(engine, "one.example", settings=settings)
        with all_sites("set up a test"), engine.begin() as connection:
            for statement in (
                "CREATE SCHEMA geography",
                "CREATE TABLE geography.sites (id INTEGER PRIMARY KEY)",
                "CREATE TABLE digs (id INTEGER PRIMARY KEY, site_id INTEGER REFERENCES geography.sites)",
                "CREATE TABLE notes (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES public.sites)",
                f"INSERT INTO geography.sites VALUES ({site.id})",
                f"INSERT INTO digs VALUES (1, {site.id})",
                f"INSERT INTO notes VALUES (1, {site.id})",
            ):
                connection.execute(sa.text(statement))
        assert remove_site(engine, "one.example", settings=settings).rows == {"notes": 1}
        with all_sites("look at what is left"), engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM digs")).scalar_one() == 1


@pytest.mark.parametrize("availability", ["open", "disabled", "removing"])
def test_a_folder_that_cannot_be_moved_is_found_before_rows_are_deleted(
    sqlite_database_url: str, settings: Settings, availability: str
) -> None:
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        site = add_site(engine, "one.example", settings=settings)
        with all_sites("set up a test"), engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE notes (id INTEGER, site_id INTEGER REFERENCES sites)")
            connection.exec_driver_sql(f"INSERT INTO notes VALUES (1, {site.id})")
            connection.execute(sa.update(SiteRow).values(availability=availability))
        trash = settings.sites_dir / TRASH
        trash.write_text("a file")
        with pytest.raises(MultisiteError, match="nothing was removed"):
            remove_site(engine, "one.example", settings=settings)
        assert plan_removal(engine, "one.example", settings=settings).rows == {"notes": 1}
        with all_sites("look at a test"), engine.connect() as connection:
            assert connection.execute(sa.select(SiteRow.availability)).scalar_one() == availability
        trash.unlink()
        assert remove_site(engine, "one.example", settings=settings).rows == {"notes": 1}


PARTITIONED = (
    "CREATE SCHEMA parts",
    (
        "CREATE TABLE pages (id INTEGER, site_id BIGINT NOT NULL REFERENCES sites, year INTEGER, "
        "PRIMARY KEY (id, year)) PARTITION BY LIST (year)"
    ),
    "CREATE TABLE pages_1 PARTITION OF pages FOR VALUES IN (1)",
    "CREATE TABLE parts.pages_2 PARTITION OF pages FOR VALUES IN (2, 3) PARTITION BY LIST (year)",
    "CREATE TABLE parts.pages_3 PARTITION OF parts.pages_2 FOR VALUES IN (3)",
    # References a partition, so that it must be deleted before the partitioned table.
    (
        "CREATE TABLE a_remarks (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites, page INTEGER, "
        "year INTEGER, FOREIGN KEY (page, year) REFERENCES pages_1)"
    ),
    "CREATE TABLE things (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites)",
    "CREATE TABLE cars (PRIMARY KEY (id), FOREIGN KEY (site_id) REFERENCES sites) INHERITS (things)",
)


def test_rows_of_partitions_are_counted_once(postgresql_database_url: str, settings: Settings) -> None:
    with closing_engine(postgresql_database_url) as engine:
        make_own_tables(engine)
        one, two = (add_site(engine, host, settings=settings) for host in ("one.example", "two.example"))
        with all_sites("set up a test"), engine.begin() as connection:
            for statement in PARTITIONED:
                connection.exec_driver_sql(statement)
            for number, site in enumerate((one, two)):
                for year in (1, 3):
                    connection.exec_driver_sql(f"INSERT INTO pages VALUES ({number}, {site.id}, {year})")
                connection.exec_driver_sql(f"INSERT INTO a_remarks VALUES ({number}, {site.id}, {number}, 1)")
                connection.exec_driver_sql(f"INSERT INTO things VALUES ({number}, {site.id})")
                connection.exec_driver_sql(f"INSERT INTO cars VALUES ({number}, {site.id})")
        expected = {"a_remarks": 1, "pages": 2, "things": 2}
        assert plan_removal(engine, "one.example", settings=settings).rows == expected
        assert remove_site(engine, "one.example", settings=settings, batch_rows=1).rows == expected
        assert plan_removal(engine, "two.example", settings=settings).rows == expected


SCHEMAS = sa.MetaData()


def _site_column() -> sa.Column[int]:
    return sa.Column("site_id", sa.BigInteger, sa.ForeignKey(SiteRow.__table__.c.id), nullable=False)


PAGES = sa.Table("removal_pages", SCHEMAS, sa.Column("id", sa.Integer, primary_key=True), _site_column())
REMARKS = sa.Table(
    "remarks",
    SCHEMAS,
    sa.Column("id", sa.Integer, primary_key=True),
    _site_column(),
    sa.Column("page_id", sa.Integer, sa.ForeignKey(PAGES.c.id)),
    sa.Column("answers_id", sa.Integer, sa.ForeignKey("talk.remarks.id")),
    schema="talk",
)
VOTES = sa.Table(
    "Votes",
    SCHEMAS,
    sa.Column("the id", sa.Integer, primary_key=True),
    _site_column(),
    sa.Column("remark_id", sa.Integer, sa.ForeignKey(REMARKS.c.id)),
    schema="Old Polls",
)
EACH = {"removal_pages": 3, "talk.remarks": 3, "Old Polls.Votes": 3}


def fill(engine: sa.Engine, site: Site) -> None:
    with all_sites("a test"), engine.begin() as connection:
        for number in range(10 * site.id, 10 * site.id + 3):
            connection.execute(sa.insert(PAGES).values(id=number, site_id=site.id))
            answers = number - 1 if number % 10 else None
            connection.execute(
                sa.insert(REMARKS).values(id=number, site_id=site.id, page_id=number, answers_id=answers)
            )
            connection.execute(sa.insert(VOTES).values({"the id": number, "site_id": site.id, "remark_id": number}))


def count(engine: sa.Engine, site: Site) -> dict[str, int]:
    with all_sites("a test"), engine.connect() as connection:
        found = {
            table.fullname: connection.scalar(
                sa.select(sa.func.count()).select_from(table).where(table.c.site_id == site.id)
            )
            for table in SCHEMAS.tables.values()
        }
    return {name: number or 0 for name, number in found.items()}


def make_tables(engine: sa.Engine) -> None:
    make_own_tables(engine)
    with engine.begin() as connection:
        for schema in ("talk", "Old Polls"):
            connection.execute(sa.schema.CreateSchema(schema))
            connection.exec_driver_sql(f'GRANT USAGE ON SCHEMA "{schema}" TO PUBLIC')
    SCHEMAS.create_all(engine)


def test_rows_in_every_schema_are_deleted(postgresql_database_url: str, settings: Settings) -> None:
    with closing_engine(postgresql_database_url) as engine:
        make_tables(engine)
        one, two = (add_site(engine, host, settings=settings) for host in ("one.example", "two.example"))
        for site in (one, two):
            fill(engine, site)
        assert plan_removal(engine, "one.example", settings=settings).rows == EACH
        assert remove_site(engine, "one.example", settings=settings, batch_rows=2).rows == EACH
        assert count(engine, one) == dict.fromkeys(EACH, 0)
        assert count(engine, two) == EACH


def test_rows_are_deleted_under_row_level_security(postgresql_database_url: str, settings: Settings) -> None:
    with closing_engine(postgresql_database_url) as admin:
        make_tables(admin)
        one, two = (add_site(admin, host, settings=settings) for host in ("one.example", "two.example"))
        for site in (one, two):
            fill(admin, site)
        with secured(admin, SCHEMAS.tables.values()) as secured_database:
            roles = f"{secured_database.app_role}, {secured_database.all_sites_role}"
            with admin.begin() as connection:
                for schema in ("talk", "Old Polls"):
                    connection.exec_driver_sql(f'GRANT SELECT, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO {roles}')
            # Without the role that sees all sites, invisible rows are an error, and the removal does not begin.
            row_security.all_sites_roles.discard(secured_database.all_sites_role)
            with pytest.raises(SettingError, match="multisite.all_sites_role"):
                remove_site(secured_database.engine, "one.example", settings=settings)
            row_security.all_sites_roles.add(secured_database.all_sites_role)
            assert count(admin, one) == EACH
            assert plan_removal(secured_database.engine, "one.example", settings=settings).rows == EACH
            assert remove_site(secured_database.engine, "one.example", settings=settings, batch_rows=2).rows == EACH
            assert count(admin, one) == dict.fromkeys(EACH, 0)
            assert count(admin, two) == EACH
