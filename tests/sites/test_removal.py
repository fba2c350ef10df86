"""Removal of a site in a database with tables that are not multisite's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database, make_own_tables
from row_security import secured

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.health_tables import measurements_table
from multisite.directory.models import AS_MULTISITE, SiteRow
from multisite.directory.records import get_site
from multisite.errors import MultisiteError, SettingError
from multisite.scoping import row_security
from multisite.sites.creation import add_site
from multisite.sites.measurements import measure_sites
from multisite.sites.removal import TRASH, plan_removal, remove_site

Run = Callable[..., None]
"""Runs SQL statements."""


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


# Tables that reference each other, and tables without site_id.


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        yield engine


@pytest.fixture
def run(engine: sa.Engine) -> Iterator[Run]:
    """Run statements in one transaction; afterwards, drop the tables of the test."""
    before = set(sa.inspect(engine).get_table_names())

    def run(*statements: str) -> None:
        with all_sites("set up a test"), engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            for statement in statements:
                connection.exec_driver_sql(statement)

    yield run
    made = sorted(set(sa.inspect(engine).get_table_names()) - before)
    if engine.dialect.name == "sqlite":
        with all_sites("clean up"), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.detach()  # Its pool must not give it to anybody else.
            for name in made:
                connection.exec_driver_sql(f"DROP TABLE {name}")
            connection.commit()
    else:
        run(*(f"DROP TABLE {name} CASCADE" for name in made))


def make_cycle(engine: sa.Engine, run: Run, hen: str = "NOT NULL", egg: str = "NOT NULL", action: str = "") -> None:
    """Create two tables that refer to each other, with constraints that cannot be deferred on PostgreSQL."""
    key = "id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites (id)"
    references = [f"FOREIGN KEY (egg_id) REFERENCES eggs (id) {action}", f"REFERENCES hens (id) {action}"]
    later = engine.dialect.name == "postgresql"
    run(
        f"CREATE TABLE hens ({key}, egg_id INTEGER {hen}{'' if later else ', ' + references[0]})",
        f"CREATE TABLE eggs ({key}, hen_id INTEGER {egg} {references[1]})",
        *([f"ALTER TABLE hens ADD {references[0]}"] if later else []),
    )


def fill_cycle(engine: sa.Engine, run: Run, site: Site) -> None:
    """Insert three hens and three eggs in a ring."""
    numbers = [10 * site.id + n for n in range(3)]
    hens = ", ".join(f"({n}, {site.id}, {n})" for n in numbers)
    eggs = ", ".join(f"({n}, {site.id}, {numbers[place - 1]})" for place, n in enumerate(numbers))
    inserts = [f"INSERT INTO hens VALUES {hens}", f"INSERT INTO eggs VALUES {eggs}"]
    run(*([f"WITH a AS ({inserts[0]}) {inserts[1]}"] if engine.dialect.name == "postgresql" else inserts))


def left(engine: sa.Engine, *names: str) -> dict[str, int]:
    with all_sites("count"), engine.connect() as connection:
        return {name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() for name in names}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hen": ""},
        {"action": "ON DELETE CASCADE"},
        {"hen": "", "action": "ON DELETE RESTRICT"},
        {"action": "ON DELETE RESTRICT"},
    ],
    ids=lambda options: " ".join(options.values()) or "required",
)
def test_rows_of_tables_that_reference_each_other_are_deleted(
    engine: sa.Engine, run: Run, settings: Settings, options: dict[str, str]
) -> None:
    one, two = (add_site(engine, f"{uuid4().hex}.example", settings=settings) for _ in range(2))
    make_cycle(engine, run, **options)
    for site in (one, two):
        fill_cycle(engine, run, site)
    if options == {"action": "ON DELETE RESTRICT"} and engine.dialect.name == "sqlite":
        # Nothing is changed: a removal that cannot be completed does not begin.
        with pytest.raises(MultisiteError, match=r"eggs\.hen_id, hens\.egg_id refer to each other's tables"):
            remove_site(engine, one.host, settings=settings)
        assert get_site(engine, one.host).status == "active"
        assert left(engine, "hens", "eggs") == {"hens": 6, "eggs": 6}
    else:
        assert remove_site(engine, one.host, settings=settings).rows == {"hens": 3, "eggs": 3}
        assert left(engine, "hens", "eggs") == {"hens": 3, "eggs": 3}


def test_rows_that_belong_to_a_site_through_their_parents_are_deleted(
    engine: sa.Engine, run: Run, settings: Settings
) -> None:
    """Without ON DELETE CASCADE; some of them refer to each other, and to tables that are reflected later."""
    one, two = (add_site(engine, f"{uuid4().hex}.example", settings=settings) for _ in range(2))
    run(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites (id))",
        "CREATE TABLE answers (id INTEGER PRIMARY KEY, after_id INTEGER REFERENCES answers (id), "
        "note_id INTEGER NOT NULL REFERENCES notes (id))",
        "CREATE TABLE a_votes (answer_id INTEGER REFERENCES answers (id), number INTEGER, "
        "PRIMARY KEY (answer_id, number))",
        "CREATE TABLE languages (id INTEGER PRIMARY KEY, name TEXT)",
    )
    for site in (one, two):
        ids = [10 * site.id + n for n in range(4)]
        run(
            f"INSERT INTO notes VALUES ({ids[0]}, {site.id})",
            *(f"INSERT INTO answers VALUES ({n}, {n - 1 if n > ids[0] else 'NULL'}, {ids[0]})" for n in ids),
            *(f"INSERT INTO a_votes VALUES ({n}, {n})" for n in ids),
            f"INSERT INTO languages VALUES ({site.id}, 'de')",
        )
    expected = {"notes": 1, "answers": 4, "a_votes": 4}
    measure_sites(engine, settings)
    measured = sa.select(measurements_table.c.rows).where(measurements_table.c.site_id.in_([one.id, two.id]))
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        assert connection.scalars(measured).all() == [9, 9]
    assert plan_removal(engine, one.host, settings=settings).rows == expected
    assert remove_site(engine, one.host, settings=settings, batch_rows=3).rows == expected
    assert left(engine, *expected, "languages") == {**expected, "languages": 2}
    assert plan_removal(engine, two.host, settings=settings).rows == expected


def test_a_global_table_that_refers_to_rows_of_a_site_is_named(engine: sa.Engine, run: Run, settings: Settings) -> None:
    """Its rows belong to no site. Once they are deleted, the same call completes the removal."""
    site = add_site(engine, f"{uuid4().hex}.example", settings=settings)
    run(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites (id))",
        "CREATE TABLE picks (id INTEGER PRIMARY KEY, note_id INTEGER REFERENCES notes (id))",
        f"INSERT INTO notes VALUES (1, {site.id})",
        "INSERT INTO picks VALUES (1, 1)",
    )
    shared = replace(settings, global_tables=("picks",))
    with pytest.raises(MultisiteError, match=r"refuses to delete the rows of this site in notes: .*run the same comm"):
        remove_site(engine, site.host, settings=shared)
    assert left(engine, "notes", "picks") == {"notes": 1, "picks": 1}
    run("DELETE FROM picks")
    assert remove_site(engine, site.host, settings=shared).rows == {"notes": 1}
