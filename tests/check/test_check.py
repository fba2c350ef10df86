"""`multisite check` reports each planted fault, and none in a sound application."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import warm
from click.testing import CliRunner
from content_sites import ContentSites
from databases import migrate_own, share_statements
from paths import ROOT
from pyramid.config import Configurator
from row_security import secured
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import multisite.check
from multisite import SiteScoped, UnknownSite, all_sites, scoped_reference, site_id_column
from multisite.check import APPLICATION_CHECKS, SITE_CHECKS, Finding, application
from multisite.cli import main
from multisite.content.tables import Base as ContentBase
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory import engine_from_url
from multisite.directory import models as own
from multisite.directory.models import BigId
from multisite.sites.creation import add_site

pytestmark = pytest.mark.slow


def declare(metadata: sa.MetaData, **more: Any) -> dict[str, sa.Table]:
    """Declare two sound tables, the second of which refers to the first and has the columns `more`."""
    writers = sa.Table(
        "chk_writers",
        metadata,
        sa.Column("id", BigId, primary_key=True),
        site_id_column(),
        sa.Column("slug", sa.String(20)),
        sa.UniqueConstraint("site_id", "slug", name="uq_chk_writers_slug"),
    )
    books = sa.Table(
        "chk_books",
        metadata,
        sa.Column("id", BigId, primary_key=True),
        site_id_column(),
        more.get("writer_id", sa.Column("writer_id", sa.BigInteger, scoped_reference("chk_writers.id"))),
        sa.Column("slug", sa.String(20), unique=more.get("unique", False)),
        *([sa.Index("ix_chk_books_writer", "site_id", "writer_id")] if more.get("indexed", True) else []),
    )
    return {"writers": writers, "books": books}


@dataclasses.dataclass
class Workbench:
    """An application, its database with two sites, and the MetaData to check."""

    app: Any
    engine: sa.Engine
    sites: tuple[multisite.Site, multisite.Site]
    metadata: sa.MetaData = dataclasses.field(default_factory=sa.MetaData)

    def execute(self, *statements: str) -> None:
        with all_sites("plant a fault"), self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def sound(self, **more: Any) -> dict[str, sa.Table]:
        """Declare and create the two tables."""
        tables = declare(self.metadata, **more)
        self.metadata.create_all(self.engine)
        return tables

    def run(self, host: str | None = None, **more: Any) -> list[Finding]:
        return multisite.check.run(self.app, host, metadata=[self.metadata], **more)

    def finds(self, *expected: str) -> list[Finding]:
        """Assert that exactly these findings, written as "kind subject", are reported; a notice begins with "?"."""
        findings = self.run()
        said = [f"{'?' * (each.severity == 'notice')}{each.kind} {each.subject}" for each in findings]
        assert said == list(expected), "\n".join(map(str, findings))
        return findings

    def rows(self, *rows: tuple[int, int, int]) -> None:
        """Add writers 1 to 3 of the first site and 4 to 6 of the second, and books: (id, site_id, writer_id)."""
        one, two = (site.id for site in self.sites)
        if self.engine.dialect.name == "postgresql":
            self.execute("ALTER TABLE chk_books DISABLE TRIGGER ALL")
        self.execute(
            *(["PRAGMA foreign_keys=OFF"] if self.engine.dialect.name == "sqlite" else []),
            *(f"INSERT INTO chk_writers (id, site_id) VALUES ({n}, {one if n < 4 else two})" for n in range(1, 7)),
        )
        with all_sites("plant rows"), self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            for book_id, site_id, writer_id in rows:
                connection.exec_driver_sql(
                    f"INSERT INTO chk_books (id, site_id, writer_id) VALUES ({book_id}, {site_id}, {writer_id})"
                )
            connection.commit()
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")


@contextmanager
def make_workbench(url: str, folder: Path, **more: str) -> Iterator[Workbench]:
    engine = share_statements(engine_from_url(url))
    migrate_own(engine)
    settings = {
        "sqlalchemy.url": url,
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        **more,
    }
    (folder / "templates").mkdir(exist_ok=True)
    one, two = (add_site(engine, host, settings=parse_settings(settings)) for host in ("one.example", "two.example"))
    with Configurator(settings=settings) as config:
        config.include("multisite")
    app = config.make_wsgi_app()
    yield Workbench(app, engine, (one, two))
    app.registry[DIRECTORY].engine.dispose()
    engine.dispose()


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Workbench]:
    with make_workbench(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite_bench(sqlite_database_url: str, tmp_path: Path) -> Iterator[Workbench]:
    """Return the same on SQLite only, for tests that do not depend on the database."""
    with make_workbench(sqlite_database_url, tmp_path) as made:
        yield made


# Sound applications


def test_nothing_is_found_in_the_reference_application(sites: ContentSites) -> None:
    sites.add(sites.garden, "roses", tags=["red"])
    sites.add(sites.sternwarte, "roses", tags=["red"])
    for host in (None, "garden.example", "alias.example"):
        assert multisite.check.run(sites.app, host, metadata=[ContentBase.metadata]) == []


def test_nothing_is_found_in_sound_tables(bench: Workbench) -> None:
    bench.sound()
    one, two = (site.id for site in bench.sites)
    bench.rows((1, one, 1), (2, two, 4))
    bench.finds()


# Declared tables


def test_tables_that_are_not_scoped(sqlite_bench: Workbench) -> None:
    bench = sqlite_bench
    sa.Table("chk_countries", bench.metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "chk_half", bench.metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("site_id", sa.Integer)
    )
    bench.metadata.create_all(bench.engine)
    bench.finds("?unscoped-table chk_countries", "unscoped-site-id chk_half")


def test_own_tables_in_the_metadata_of_a_migration(sqlite_bench: Workbench) -> None:
    """A revision of multisite that ran in this process leaves them in a MetaData of alembic's."""
    sqlite_bench.sound()
    own.metadata.tables["multisite_domain_checks"].to_metadata(sqlite_bench.metadata)
    sqlite_bench.finds()


def test_tables_that_are_declared_global(sqlite_database_url: str, tmp_path: Path) -> None:
    more = {"multisite.global_tables": "CHK_countries chk_loans chk_left"}
    with make_workbench(sqlite_database_url, tmp_path, **more) as bench:
        bench.sound()
        sa.Table("chk_countries", bench.metadata, sa.Column("id", sa.Integer, primary_key=True))
        refers = sa.Column("book_id", sa.ForeignKey("chk_books.id"))
        sa.Table("chk_loans", bench.metadata, sa.Column("id", sa.Integer, primary_key=True), refers)
        bench.metadata.create_all(bench.engine)
        bench.execute("CREATE TABLE chk_left (site_id INTEGER)")
        bench.finds("?unscoped-reference chk_loans.book_id")


def test_an_unscoped_table_that_refers_to_a_scoped_one(bench: Workbench) -> None:
    bench.sound()
    refers = sa.Column("book_id", sa.BigInteger, sa.ForeignKey("chk_books.id"))
    sa.Table("chk_loans", bench.metadata, sa.Column("id", sa.Integer, primary_key=True), refers)
    bench.metadata.create_all(bench.engine)
    # No model declares this table.
    bench.execute("CREATE TABLE chk_old (book_id BIGINT REFERENCES chk_books (id))")
    bench.finds(
        "?unscoped-table chk_loans", "unscoped-reference chk_loans.book_id", "unscoped-reference chk_old.book_id"
    )


def test_unique_keys_without_the_site(bench: Workbench) -> None:
    tables = bench.sound(unique=True)
    sa.Index("ix_chk_books_taken", tables["books"].c.writer_id, unique=True).create(bench.engine)
    bench.execute("CREATE UNIQUE INDEX ix_chk_made_by_hand ON chk_writers (id, slug)")
    sa.Table("chk_words", bench.metadata, sa.Column("word", sa.String(20), primary_key=True), site_id_column())
    bench.metadata.create_all(bench.engine)
    findings = bench.finds(
        *["unique-without-site chk_books"] * 2, *["unique-without-site chk_w" + w for w in ("ords", "riters")]
    )
    said = " ".join(finding.message for finding in findings)
    assert "the unique index ix_chk_books_taken (writer_id) does not include" in said
    assert "primary key (word) does not include" in said
    assert "the unique index ix_chk_made_by_hand (id, slug) in the database does not include" in said


def test_a_key_of_references_needs_no_site(bench: Workbench) -> None:
    bench.sound()
    sa.Table(
        "chk_pairs",
        bench.metadata,
        site_id_column(),
        sa.Column("writer_id", sa.BigInteger, scoped_reference("chk_writers.id"), primary_key=True),
        sa.Column("word", sa.String(20), primary_key=True),
    )
    bench.metadata.create_all(bench.engine)
    bench.finds()


@pytest.mark.parametrize("indexed", [True, False])
def test_a_reference_without_the_site(bench: Workbench, indexed: bool) -> None:
    bench.sound(writer_id=sa.Column("writer_id", sa.BigInteger, sa.ForeignKey("chk_writers.id")), indexed=indexed)
    missing = [] if indexed else ["missing-index chk_books.writer_id"]
    finding, *_ = bench.finds("reference-without-site chk_books.writer_id", *missing)
    assert finding.message.startswith("the reference to chk_writers does not hold site_id")
    assert 'scoped_reference("chk_writers.id")' in finding.remedy


def test_a_reference_with_the_site_in_only_the_model_or_the_database(bench: Workbench) -> None:
    loose = sa.MetaData()
    declare(loose, writer_id=sa.Column("writer_id", sa.BigInteger, sa.ForeignKey("chk_writers.id")))
    loose.create_all(bench.engine)
    declare(bench.metadata)
    (finding,) = bench.finds("reference-without-site chk_books.writer_id")
    assert "the reference to chk_writers in the database does not hold" in finding.message
    loose.drop_all(bench.engine)
    bench.metadata.create_all(bench.engine)
    bench.finds()
    bench.metadata = loose
    (finding,) = bench.finds("reference-without-site chk_books.writer_id")
    assert "the reference to chk_writers of the model does not hold" in finding.message


def test_a_reference_that_is_missing_in_the_database(bench: Workbench) -> None:
    without = sa.MetaData()
    declare(without, writer_id=sa.Column("writer_id", sa.BigInteger))
    without.create_all(bench.engine)
    declare(bench.metadata)
    (finding,) = bench.finds("reference-without-site chk_books.writer_id")
    assert "is not in the database" in finding.message


def test_a_reference_that_would_clear_the_site(bench: Workbench) -> None:
    bench.sound(writer_id=sa.Column("writer_id", sa.BigInteger))
    bench.metadata.clear()
    table = declare(bench.metadata, writer_id=sa.Column("writer_id", sa.BigInteger))["books"]
    table.append_constraint(
        sa.ForeignKeyConstraint(
            ["site_id", "writer_id"], ["chk_writers.site_id", "chk_writers.id"], ondelete="SET NULL"
        )
    )
    bench.execute("DROP TABLE chk_books")
    bench.metadata.create_all(bench.engine)
    bench.finds("reference-clears-site chk_books.writer_id")


def test_a_relationship_without_a_foreign_key(bench: Workbench) -> None:
    class Base(DeclarativeBase):
        metadata = bench.metadata

    class Writer(SiteScoped, Base):
        __tablename__ = "chk_writers"
        id: Mapped[int] = mapped_column(BigId, primary_key=True)

    class Book(SiteScoped, Base):
        __tablename__ = "chk_books"
        id: Mapped[int] = mapped_column(BigId, primary_key=True)
        writer_id: Mapped[int] = mapped_column(sa.BigInteger, index=True)
        writer: Mapped[Writer] = relationship(primaryjoin="foreign(Book.writer_id) == Writer.id")

    Base.metadata.create_all(bench.engine)
    one, two = (site.id for site in bench.sites)
    bench.rows((1, one, 1), (2, two, 1))
    bench.finds("reference-without-key Book.writer", "rows-across-sites chk_books.writer_id")


# Tables of the database


def test_tables_that_differ_from_their_models(bench: Workbench) -> None:
    declare(bench.metadata)
    bench.execute("CREATE TABLE chk_books (id INTEGER PRIMARY KEY, writer_id BIGINT)")
    bench.finds("missing-site-id chk_books", "missing-table chk_writers", "reference-without-site chk_books.writer_id")


def test_an_ineffective_site_id(bench: Workbench) -> None:
    declare(bench.metadata)
    bench.metadata.tables["chk_writers"].create(bench.engine)
    one = bench.sites[0].id
    bench.execute(
        "CREATE TABLE chk_books (id INTEGER PRIMARY KEY, site_id BIGINT, writer_id BIGINT,"
        " FOREIGN KEY (site_id, writer_id) REFERENCES chk_writers (site_id, id))",
        f"INSERT INTO chk_books (id, site_id) VALUES (1, NULL), (2, 404), (3, {one}), (4, 99)",
    )
    *_, rows = bench.finds(
        "nullable-site-id chk_books",
        "unreferenced-site-id chk_books",
        "missing-index chk_books.site_id",
        "missing-index chk_books.writer_id",
        "rows-without-site chk_books",
    )
    assert rows.message == "3 rows belong to no site (site_id 99)"


def test_rows_that_the_directory_ignores(bench: Workbench) -> None:
    gone = add_site(bench.engine, "gone.example", settings=parse_settings(dict(bench.app.registry.settings)))
    bench.execute(
        f"DELETE FROM domains WHERE site_id = {gone.id}",
        f"UPDATE sites SET availability = 'removed' WHERE id = {gone.id}",
    )
    bench.sound()
    bench.finds()
    if bench.engine.dialect.name != "sqlite":
        return
    one, two = (site.id for site in bench.sites)
    connection = bench.engine.raw_connection()
    for sql in (
        "PRAGMA ignore_check_constraints = ON",
        "PRAGMA foreign_keys = OFF",
        f"UPDATE sites SET status = 'done' WHERE id = {one}",
        f"UPDATE domains SET kind = 'alias' WHERE site_id = {two}",
        f"INSERT INTO domains (id, site_id, host, kind) VALUES (98, {two}, 'NO.example', 'alias')",
        "INSERT INTO domains (id, site_id, host, kind) VALUES (99, 77, 'stray.example', 'alias')",
        "PRAGMA ignore_check_constraints = OFF",
        "PRAGMA foreign_keys = ON",
    ):
        connection.driver_connection.execute(sql)
        connection.commit()
    connection.close()
    subjects = (f"row {one} of sites", f"row {two} of sites", "row 98 of domains", "row 99 of domains")
    findings = bench.finds(*(f"directory-row {subject}" for subject in subjects))
    assert [finding.message.partition(": ")[2] for finding in findings] == [
        "its status is 'done'",
        "it has no canonical domain",
        "'NO.example' should be 'no.example'",
        "its site 77 does not exist",
    ]


def test_a_table_that_no_model_declares(bench: Workbench) -> None:
    bench.sound()
    bench.execute("CREATE TABLE chk_undeclared (id INTEGER PRIMARY KEY, site_id BIGINT)")
    bench.finds("undeclared-table chk_undeclared")


def test_a_table_of_another_schema(bench: Workbench) -> None:
    bench.sound()
    if bench.engine.dialect.name == "sqlite":
        return
    bench.execute("CREATE SCHEMA other", "CREATE TABLE other.chk_books (id INTEGER PRIMARY KEY, site_id BIGINT)")
    bench.finds("undeclared-table other.chk_books")


def test_views(bench: Workbench) -> None:
    bench.sound()
    bench.execute(
        "CREATE VIEW chk_titles AS SELECT id, slug FROM chk_books",
        "CREATE VIEW chk_again AS SELECT id FROM chk_titles",
        "CREATE VIEW chk_declared AS SELECT id FROM chk_books",
        "CREATE VIEW chk_limited AS SELECT id, site_id FROM chk_books",
        "CREATE VIEW chk_harmless AS SELECT id FROM sites",
    )
    sa.Table("chk_declared", bench.metadata, sa.Column("id", sa.Integer))
    sa.Table("chk_limited", bench.metadata, sa.Column("id", sa.Integer), site_id_column())
    bench.finds("view chk_declared", "?view chk_titles", "?view chk_again")


def test_a_view_in_global_tables(sqlite_database_url: str, tmp_path: Path) -> None:
    with make_workbench(sqlite_database_url, tmp_path, **{"multisite.global_tables": "chk_titles"}) as bench:
        bench.sound()
        bench.execute("CREATE VIEW chk_titles AS SELECT id, slug FROM chk_books")
        (finding,) = bench.finds("?view chk_titles")
        assert "global_tables lists it" in finding.message


# Rows


def test_rows_that_refer_to_another_site(bench: Workbench) -> None:
    bench.sound()
    one, two = (site.id for site in bench.sites)
    bench.rows((1, one, 1), (2, two, 3), (3, two, 2), (4, two, 5))
    (finding,) = bench.finds("rows-across-sites chk_books.writer_id")
    assert re.fullmatch(
        rf"2 rows refer to a row of chk_writers of another site \(id [23] of site {two} to site {one}\)",
        finding.message,
    )
    for host in ("one.example", "two.example"):
        assert [each.kind for each in bench.run(host)] == ["rows-across-sites"]


def test_rows_of_other_sites_are_not_reported_for_a_site(bench: Workbench) -> None:
    bench.sound()
    third = add_site(bench.engine, "three.example", settings=parse_settings(dict(bench.app.registry.settings)))
    bench.rows((1, bench.sites[0].id, 4))
    bench.execute(f"INSERT INTO chk_writers (id, site_id) VALUES (7, {third.id})")
    assert bench.run("three.example") == []
    assert [each.message.partition(" ")[0] for each in bench.run("two.example")] == ["1"]
    assert len(bench.run()) == 1


def test_application_checks_are_skipped_for_a_site(sqlite_bench: Workbench) -> None:
    sqlite_bench.sound(unique=True)
    assert sqlite_bench.run("one.example") == []
    assert sqlite_bench.run() != []
    with pytest.raises(UnknownSite, match="multisite list-sites"):
        sqlite_bench.run("nobody.example")


def test_equal_keys_on_two_sites_are_not_reported(bench: Workbench) -> None:
    """A reference by a key that is only unique within a site refers to the row of its own site."""
    sa.Table(
        "chk_words",
        bench.metadata,
        site_id_column(),
        sa.Column("word", sa.String(20)),
        sa.PrimaryKeyConstraint("site_id", "word"),
    )
    sa.Table(
        "chk_uses",
        bench.metadata,
        sa.Column("id", BigId, primary_key=True),
        site_id_column(),
        sa.Column("word", sa.String(20)),
        sa.ForeignKeyConstraint(["site_id", "word"], ["chk_words.site_id", "chk_words.word"]),
        sa.Index("ix_chk_uses_word", "site_id", "word"),
    )
    bench.metadata.create_all(bench.engine)
    for site in bench.sites:
        bench.execute(
            f"INSERT INTO chk_words (site_id, word) VALUES ({site.id}, 'rose')",
            f"INSERT INTO chk_uses (id, site_id, word) VALUES ({site.id}, {site.id}, 'rose')",
        )
    bench.finds()


def test_sites_in_a_separate_database(sqlite_database_url: str, tmp_path: Path) -> None:
    own = f"sqlite:///{tmp_path / 'own.db'}"
    with make_workbench(
        own, tmp_path, **{"sqlalchemy.url": sqlite_database_url, "multisite.database_url": own}
    ) as bench:
        declare(bench.metadata)
        engine = engine_from_url(sqlite_database_url)
        with all_sites("plant rows"), engine.begin() as connection:
            for table in ("chk_writers", "chk_books"):
                connection.exec_driver_sql(
                    f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL, writer_id BIGINT,"
                    " slug VARCHAR, UNIQUE (site_id, id), UNIQUE (site_id, writer_id),"
                    " FOREIGN KEY (site_id, writer_id) REFERENCES chk_writers (site_id, id))"
                )
                connection.exec_driver_sql(
                    f"INSERT INTO {table} (id, site_id) VALUES (1, {bench.sites[0].id}), (2, 99)"
                )
        engine.dispose()
        findings = bench.finds("rows-without-site chk_books", "rows-without-site chk_writers")
        assert findings[0].message == "1 row belongs to no site (site_id 99)"


# Engines, migrations, and checks that fail


def test_row_level_security_that_applies_and_that_does_not(postgresql_database_url: str, tmp_path: Path) -> None:
    with make_workbench(postgresql_database_url, tmp_path) as bench:
        tables = bench.sound()
        one, two = (site.id for site in bench.sites)
        bench.rows((1, one, 1), (2, two, 1))
        with secured(bench.engine, tables.values()) as roles:
            bypassed, _crossing = bench.finds(
                f"row-security-bypassed {bench.engine.url.username}", "rows-across-sites chk_books.writer_id"
            )
            assert "is a superuser" in bypassed.message
            settings = {**bench.app.registry.settings, "sqlalchemy.url": roles.url(roles.app_role)}
            settings |= {"multisite.all_sites_role": roles.all_sites_role}
            with Configurator(settings=settings) as config:
                config.include("multisite")
            limited = config.make_wsgi_app()
            assert [str(each) for each in multisite.check.run(limited, metadata=[bench.metadata])] == [str(_crossing)]
            limited.registry[DIRECTORY].engine.dispose()


@pytest.mark.parametrize(("refers", "severity"), [(True, "fault"), (False, "notice")])
def test_a_sqlite_engine_without_foreign_keys(sqlite_bench: Workbench, refers: bool, severity: str) -> None:
    bench = sqlite_bench
    bench.sound(**({} if refers else {"writer_id": sa.Column("writer_id", sa.BigInteger)}))
    engine = sa.create_engine(bench.engine.url)
    with Configurator(settings=bench.app.registry.settings) as config:
        config.include("multisite")
        config.add_request_method(lambda _request: sa.orm.Session(engine), "dbsession", reify=True)
    bench.app = config.make_wsgi_app()
    (finding,) = bench.finds(("?" if severity == "notice" else "") + "foreign-keys-off the engine of chk_books")
    assert finding.severity == severity
    engine.dispose()


def test_own_tables_of_another_version(sqlite_bench: Workbench) -> None:
    sqlite_bench.execute("UPDATE multisite_alembic_version SET version_num = '0000'")
    sqlite_bench.finds("own-tables sites, domains")


def test_a_database_that_is_down_is_a_finding(sqlite_database_url: str, tmp_path: Path) -> None:
    with make_workbench(sqlite_database_url, tmp_path) as bench:
        bench.engine.dispose()
        bench.app.registry[DIRECTORY].engine.dispose()
        Path(sqlite_database_url.removeprefix("sqlite:///")).write_bytes(b"no database" * 1000)
        (finding,) = bench.run()
        assert (finding.kind, finding.severity) == ("database", "fault")
        assert "not a database" in finding.message
        assert "\n" not in str(finding)


def test_a_session_that_raises_is_a_finding(sqlite_bench: Workbench) -> None:
    def dbsession(_request: object) -> None:
        raise RuntimeError("no session today")

    with Configurator(settings=sqlite_bench.app.registry.settings) as config:
        config.include("multisite")
        config.add_request_method(dbsession, reify=True)
    sqlite_bench.app = config.make_wsgi_app()
    (finding,) = sqlite_bench.finds("database request.dbsession")
    assert "RuntimeError: no session today" in finding.message


def test_a_failing_check_is_a_finding_and_the_others_run(
    sqlite_bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_nothing(_application: object) -> Iterator[Finding]:
        yield Finding("first", "this", "is said", "and kept")
        raise ValueError("broken\ncheck")

    monkeypatch.setattr(multisite.check, "APPLICATION_CHECKS", (check_nothing, *APPLICATION_CHECKS))
    sqlite_bench.sound(unique=True)
    first, failed, *others = sqlite_bench.run()
    assert first.kind == "first"
    assert (failed.kind, failed.subject, failed.message) == ("check-failed", "nothing", "ValueError: broken check")
    assert [each.kind for each in others] == ["unique-without-site"]


def test_an_application_without_multisite_is_an_error() -> None:
    with pytest.raises(multisite.MultisiteError, match="does not include multisite"):
        multisite.check.run(Configurator().make_wsgi_app())


def test_progress_names_the_long_steps(sqlite_bench: Workbench) -> None:
    sqlite_bench.sound()
    told: list[str] = []
    sqlite_bench.run(progress=told.append)
    assert told[1:] == [
        "the rows of sites and domains",
        "the sites of chk_books",
        "the sites of chk_writers",
        "the rows of chk_books that refer to chk_writers",
        "the templates",
    ]


def test_one_log_record_says_that_all_sites_were_checked(
    sqlite_bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "multisite")
    sqlite_bench.sound()
    sqlite_bench.run()
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["all sites: multisite check"]


def test_models_of_several_databases_are_checked_in_their_own(sqlite_bench: Workbench, tmp_path: Path) -> None:
    class Base(DeclarativeBase):
        metadata = sqlite_bench.metadata

    class Elsewhere(Base):
        __tablename__ = "chk_elsewhere"
        id: Mapped[int] = mapped_column(primary_key=True)
        site_id: Mapped[int]

    here, there = sqlite_bench.engine, engine_from_url(f"sqlite:///{tmp_path / 'other.db'}")
    sqlite_bench.sound()
    sqlite_bench.execute("DROP TABLE chk_elsewhere")
    with Configurator(settings=sqlite_bench.app.registry.settings) as config:
        config.include("multisite")
        session = sa.orm.Session(here, binds={Elsewhere: there})
        config.add_request_method(lambda _request: session, "dbsession", reify=True)
    sqlite_bench.app = config.make_wsgi_app()
    sqlite_bench.finds("unscoped-site-id chk_elsewhere")
    there.dispose()


# The command


def write_ini(bench: Workbench, folder: Path) -> Path:
    ini = folder / "check.ini"
    settings = bench.app.registry.settings
    lines = [
        f"{key} = {settings[key]}".replace("%", "%%")
        for key in settings
        if key.startswith(("sqlalchemy.", "multisite."))
    ]
    ini.write_text(
        "\n".join(
            ["[app:main]", "use = egg:pyramid-multisite", *lines, "[alembic]", f"script_location = {ROOT}/migrations\n"]
        )
    )
    return ini


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from multisite.cli import main; main(prog_name='multisite')"
    return subprocess.run(
        [*warm.python(), "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def migrate(ini: Path) -> None:
    assert CliRunner().invoke(main, ["-c", str(ini), "migrate"]).exit_code == 0


@pytest.mark.parametrize(
    ("metadata", "advice"),
    [
        ("None", "its model is not in the target_metadata of env.py"),
        ("sa.MetaData()", "its model is not in the target_metadata of env.py"),
        ("[other, known]", "write a revision ('alembic revision --autogenerate') and run '"),
        ("known", "write a revision ('alembic revision --autogenerate') and run '"),
    ],
)
def test_a_table_that_alembic_cannot_find_is_reported_as_such(
    sqlite_bench: Workbench, tmp_path: Path, metadata: str, advice: str
) -> None:
    """If env.py imports no model, `alembic revision --autogenerate` writes an empty revision."""
    ini = write_ini(sqlite_bench, tmp_path)
    ini.write_text(ini.read_text().replace(f"{ROOT}/migrations", f"{tmp_path}/migrations"))
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import context\n"
        "other, known = sa.MetaData(), sa.MetaData()\n"
        "sa.Table('chk_books', known), sa.Table('chk_writers', known)\n"
        f"engine = sa.create_engine({sqlite_bench.app.registry.settings['sqlalchemy.url']!r})\n"
        "with engine.connect() as connection:\n"
        f"    context.configure(connection=connection, target_metadata={metadata})\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n"
        "engine.dispose()\n"
    )
    declare(sqlite_bench.metadata)
    findings = multisite.check.run(ini, metadata=[sqlite_bench.metadata])
    missing = [finding for finding in findings if finding.kind == "missing-table"]
    assert [finding.subject for finding in missing] == ["chk_books", "chk_writers"]
    assert [advice in str(finding) for finding in missing] == [True, True], missing


def test_the_remedy_without_migrations_asks_for_an_alembic_section(sqlite_bench: Workbench, tmp_path: Path) -> None:
    ini = write_ini(sqlite_bench, tmp_path)
    ini.write_text(ini.read_text().partition("[alembic]")[0])
    declare(sqlite_bench.metadata)
    findings = multisite.check.run(ini, metadata=[sqlite_bench.metadata])
    assert "add the application's migrations to [alembic] in the ini" in str(findings[0])


def test_the_command_on_the_reference_application(bench: Workbench, tmp_path: Path) -> None:
    ini = write_ini(bench, tmp_path)
    findings = multisite.check.run(ini, metadata=[ContentBase.metadata])
    assert [finding.kind for finding in findings] == [
        "migrations",
        *["missing-table"] * len(ContentBase.metadata.tables),
    ]
    assert findings[0].message.startswith("the database is at none, the application's revisions are at content_")
    assert all("migrate', and check again" in str(finding) for finding in findings[1:])
    migrate(ini)
    done = run_command("-c", ini, "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing found.\n", "")


def test_a_terminal_shows_progress(sqlite_bench: Workbench, tmp_path: Path) -> None:
    ini = write_ini(sqlite_bench, tmp_path)
    ours, terminal = os.openpty()
    with os.fdopen(ours, "rb", 0) as shown:
        code = "from multisite.cli import main; main(prog_name='multisite')"
        command = [sys.executable, "-c", code, "-c", str(ini), "check", "one.example"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, check=False)
        os.close(terminal)
        assert shown.read(10_000).startswith(b"Checking the tables of sqlite:")
    assert (done.returncode, done.stdout) == (0, b"Nothing found.\n")


def test_the_docs_show_the_output_of_the_command(sqlite_bench: Workbench, tmp_path: Path) -> None:
    ini = write_ini(sqlite_bench, tmp_path)
    migrate(ini)
    one, two = (site.id for site in sqlite_bench.sites)
    sqlite_bench.execute(
        "CREATE UNIQUE INDEX ix_tags_name ON tags (name)",
        "CREATE VIEW latest AS SELECT title FROM entries",
        f"INSERT INTO tags (id, site_id, slug, name) VALUES (7, {one}, 'red', 'red')",
        "INSERT INTO entries (id, site_id, slug, title, summary, body, body_html, updated, draft)"
        f" VALUES (12, {two}, 'roses', 'Roses', '', '', '', '2024-05-05 12:00:00', 1)",
    )
    engine = sa.create_engine(sqlite_bench.engine.url)
    with all_sites("plant a row"), engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO entry_tags (site_id, entry_id, tag_id) VALUES ({two}, 12, 7)")
    engine.dispose()
    done = run_command("-c", ini, "check")
    assert done.returncode == 1
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    shown = page.partition("\n## check\n")[2].partition("\n## ")[0]
    assert f"```text\n{done.stdout}```\n" in shown, done.stdout
    as_json = run_command("-c", ini, "check", "--json")
    assert (as_json.returncode, as_json.stderr) == (1, "")
    findings = [Finding(**each) for each in json.loads(as_json.stdout)]
    assert [str(finding) for finding in findings] == [line for line in done.stdout.splitlines()[:-1] if line]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--nothing"], 2, "No such option"),
        (["one.example", "two.example"], 2, "unexpected extra argument"),
        (["a..b"], 1, "is not a host"),
        (["nobody.example"], 1, "multisite list-sites"),
    ],
)
def test_an_error_of_the_command_is_one_line(
    sqlite_bench: Workbench, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    ini = write_ini(sqlite_bench, tmp_path)
    result = CliRunner().invoke(main, ["-c", str(ini), "check", *arguments])
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_application_that_cannot_be_loaded_is_one_line(sqlite_bench: Workbench, tmp_path: Path) -> None:
    ini = write_ini(sqlite_bench, tmp_path)
    ini.write_text(ini.read_text().replace("egg:pyramid-multisite", "egg:nowhere"))
    result = CliRunner().invoke(main, ["-c", str(ini), "check"])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "cannot be loaded" in result.stderr


def test_every_check_is_listed_once() -> None:
    names = [check.__name__ for check in (*APPLICATION_CHECKS, *SITE_CHECKS)]
    assert len(names) == len(set(names))
    assert all(name.startswith("check_") for name in names)


def test_models_that_refer_to_those_of_another_registry_are_configured() -> None:
    class Base(DeclarativeBase):
        pass

    class Other(DeclarativeBase):
        pass

    class Owner(Other):
        __tablename__ = "check_owners"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Thing(Base):
        __tablename__ = "check_things"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner_id: Mapped[int] = mapped_column(sa.ForeignKey(Owner.__table__.c.id))
        owner: Mapped[Owner] = relationship(Owner)

    application._configure([Base.metadata])
    assert Thing.owner.property.mapper.class_ is Owner
