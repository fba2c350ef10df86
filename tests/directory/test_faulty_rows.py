"""Invalid rows: the tables reject them; if they exist nevertheless, the directory skips them and serves the rest."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from databases import closing_engine

from multisite import all_sites
from multisite.alembic.migrate import _own_scripts, upgrade_own
from multisite.alembic.sqlite_transaction import ddl_transaction
from multisite.core.settings import Settings
from multisite.directory import Directory, query, row_validation
from multisite.directory.matching import UNUSABLE, HostMatches
from multisite.directory.models import DomainRow, SiteRow, metadata
from multisite.directory.records import get_site, list_sites
from multisite.errors import DirectoryUnavailable, MultisiteError
from multisite.sites.creation import add_site

SITE, OTHER = "one.example", "two.example"

REJECTED = {
    "upper case": "UPDATE domains SET host = 'ALIAS.example' WHERE host = 'alias.example'",
    "a trailing dot": "UPDATE domains SET host = 'alias.example.' WHERE host = 'alias.example'",
    "an empty label": "UPDATE domains SET host = 'alias..example' WHERE host = 'alias.example'",
    "a leading dot": "UPDATE domains SET host = '.alias.example' WHERE host = 'alias.example'",
    "a space": "UPDATE domains SET host = 'alias .example' WHERE host = 'alias.example'",
    "a letter of no host": "UPDATE domains SET host = 'älias.example' WHERE host = 'alias.example'",
    "no host": "UPDATE domains SET host = '' WHERE host = 'alias.example'",
    "a port in the host": "UPDATE domains SET host = 'alias.example/shop' WHERE host = 'alias.example'",
    "an unknown kind": "UPDATE domains SET kind = 'copy' WHERE host = 'alias.example'",
    "a port too large": "UPDATE domains SET port = 70000 WHERE host = 'alias.example'",
    "a path without a slash": "UPDATE domains SET path = 'shop' WHERE host = 'alias.example'",
    "a path with one too many": "UPDATE domains SET path = '/shop/' WHERE host = 'alias.example'",
    "a canonical wildcard": "UPDATE domains SET host = '*.example' WHERE host = 'one.example'",
    "a second canonical": "UPDATE domains SET kind = 'canonical' WHERE host = 'alias.example'",
    "the same twice": "UPDATE domains SET host = 'one.example' WHERE host = 'alias.example'",
    "no site": "UPDATE domains SET site_id = 999 WHERE host = 'alias.example'",
    "a site of NULL": "UPDATE domains SET site_id = NULL WHERE host = 'alias.example'",
    "an unknown status": "UPDATE sites SET status = 'done' WHERE id = 1",
    "an unknown availability": "UPDATE sites SET availability = 'shut' WHERE id = 1",
    "a theme that is a path": "UPDATE sites SET theme = '../secret' WHERE id = 1",
    "a theme of no letter": "UPDATE sites SET theme = '-dark' WHERE id = 1",
    "an empty theme": "UPDATE sites SET theme = '' WHERE id = 1",
    "a copy of nothing": "UPDATE sites SET copy_of = '' WHERE id = 1",
    "a folder that is taken": "UPDATE sites SET folder = 'two.example' WHERE id = 1",
}
"""Changes that the constraints reject, in a database with two sites, the first of which has an alias."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")


@pytest.fixture
def engine(own_engine: sa.Engine, settings: Settings) -> sa.Engine:
    add_site(own_engine, SITE, settings=settings, aliases=["alias.example"])
    add_site(own_engine, OTHER, settings=settings)
    return own_engine


def test_the_tables_reject_invalid_rows(engine: sa.Engine) -> None:
    before = rows(engine)
    accepted = []
    for what, change in REJECTED.items():
        try:
            with all_sites("a test"), engine.begin() as connection:
                assert connection.execute(sa.text(change)).rowcount == 1, what
        except (sa.exc.IntegrityError, sa.exc.DataError):
            continue
        accepted.append(what)
    assert (accepted, rows(engine)) == ([], before)


def rows(engine: sa.Engine) -> list[tuple[object, ...]]:
    with all_sites("a test"), engine.connect() as connection:
        return [
            tuple(row)
            for table in (SiteRow.__table__, DomainRow.__table__)
            for row in connection.execute(sa.select(table).order_by(table.c.id))
        ]


@contextmanager
def revising(engine: sa.Engine) -> Iterator[tuple[ModuleType, Operations]]:
    """Yield the revision that added the CHECK of hosts, with its context, in a transaction."""
    with all_sites("a test"), engine.connect() as connection, ddl_transaction(connection):
        yield _own_scripts().get_revision("0007").module, Operations(MigrationContext.configure(connection))


def test_the_migration_names_an_invalid_host_before_it_adds_the_check(database_url: str) -> None:
    with closing_engine(database_url) as engine:
        upgrade_own(engine)
        with revising(engine) as (revision, op):
            revision.downgrade(op)
            op.execute("INSERT INTO sites (name, folder) VALUES ('one', 'one')")
            op.execute("INSERT INTO domains (site_id, host, kind) VALUES (1, 'one.example.', 'canonical')")
        with (
            pytest.raises(MultisiteError, match=r"row 1 of domains has the host 'one\.example\.', which is not a host"),
            revising(engine) as (revision, op),
        ):
            revision.upgrade(op)
        with revising(engine) as (revision, op):
            op.execute("UPDATE domains SET host = 'one.example'")
            revision.upgrade(op)
        assert get_site(engine, SITE).site.host == SITE
        with all_sites("a test"), pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            connection.execute(sa.text("UPDATE domains SET host = 'one.example.'"))


FAULTS = {
    "UPDATE domains SET host = 'ONE.example' WHERE id = 1": "row 1 of domains is skipped: 'ONE.example' should be",
    "UPDATE domains SET host = 'one.example.' WHERE id = 1": "row 1 of domains is skipped: 'one.example.' should be",
    "UPDATE domains SET host = 'one..example' WHERE id = 1": "row 1 of domains is skipped: 'one..example' is not a",
    "UPDATE domains SET kind = 'alias' WHERE id = 1": "row 1 of sites is skipped: it has no canonical domain",
    "DELETE FROM domains WHERE id = 1": "row 1 of sites is skipped: it has no canonical domain",
    "UPDATE domains SET kind = 'copy' WHERE id = 2": "row 2 of domains is skipped: its kind is 'copy'",
    "UPDATE domains SET port = -1 WHERE id = 2": "row 2 of domains is skipped: its port is '-1'",
    "UPDATE domains SET path = 'shop' WHERE id = 2": "row 2 of domains is skipped: 'alias.exampleshop' should be",
    "UPDATE domains SET path = '/shop/' WHERE id = 2": "row 2 of domains is skipped: 'alias.example/shop/' should be",
    "UPDATE domains SET path = '/a b' WHERE id = 2": "row 2 of domains is skipped: 'alias.example/a b' is not a host",
    "UPDATE domains SET site_id = 99 WHERE id = 2": "row 2 of domains is skipped: its site 99 does not exist",
    "UPDATE sites SET status = 'done' WHERE id = 1": "row 1 of sites is skipped: its status is 'done'",
    "UPDATE sites SET availability = 'shut' WHERE id = 1": "row 1 of sites is skipped: its availability is 'shut'",
    "UPDATE sites SET theme = '../secret' WHERE id = 1": "row 1 of sites is skipped: its theme is '../secret'",
    "UPDATE sites SET folder = '../secret' WHERE id = 1": "row 1 of sites is skipped: its folder is '../secret'",
    "UPDATE sites SET folder = '.trash' WHERE id = 1": "row 1 of sites is skipped: its folder is '.trash'",
    "UPDATE sites SET copy_of = '' WHERE id = 1": "row 1 of sites is skipped: its copy_of is ''",
    "UPDATE sites SET name = '' WHERE id = 1": "row 1 of sites is skipped: its name, folder, locale or timezone",
}
"""Invalid rows in a database like that above, and the log message for each."""

SQLITE_FAULTS = {
    "UPDATE domains SET port = 'x' WHERE id = 2": "row 2 of domains is skipped: its port is 'x'",
    "UPDATE domains SET path = x'00' WHERE id = 2": "row 2 of domains is skipped: its host or its path is not text",
    "UPDATE sites SET theme = x'00' WHERE id = 1": "row 1 of sites is skipped: its theme is ",
    "UPDATE sites SET name = x'00' WHERE id = 1": "row 1 of sites is skipped: its name, folder, locale or timezone",
    "UPDATE sites SET status = NULL WHERE id = 1": "row 1 of sites is skipped: its status is 'None'",
    "UPDATE sites SET maintenance_until = 'soon' WHERE id = 1": "row 1 of sites is skipped: its maintenance_until is",
}
"""More of them on SQLite, which accepts any type."""


_INSERT = "INSERT INTO sites (name, folder, locale, timezone, status, template_generation, availability, created, id)"
_VALUES = "VALUES ('s', 's', 'en', 'UTC', 'active', 0, 'open', '2020-01-01 00:00:00', "
SOUND = (
    "DELETE FROM domains",
    "DELETE FROM sites",
    f"{_INSERT} {_VALUES} 1)",
    f"{_INSERT} {_VALUES} 2)",
    "INSERT INTO domains (id, site_id, host, port, path, kind) VALUES (1, 1, 'one.example', 0, '', 'canonical')",
    "INSERT INTO domains (id, site_id, host, port, path, kind) VALUES (2, 1, 'alias.example', 0, '', 'alias')",
    "INSERT INTO domains (id, site_id, host, port, path, kind) VALUES (3, 2, 'two.example', 0, '', 'canonical')",
)
"""Two sites, the first of which has an alias."""


def make_tables_without_constraints(engine: sa.Engine) -> None:
    """Create the tables of multisite without constraints, like those of a partially restored dump."""
    bare = sa.MetaData()
    for table in metadata.tables.values():
        # The page cache counts changes by an upsert, if an earlier test of this process has included it.
        is_key = table.name == "multisite_changes"
        columns = (sa.Column(each.name, each.type, primary_key=is_key and each.primary_key) for each in table.columns)
        sa.Table(table.name, bare, *columns)
    bare.create_all(engine)
    with all_sites("a test"), engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO multisite_version (id, version, template_generation) VALUES (1, 0, 0)")


def test_invalid_rows_are_skipped_and_logged_and_the_rest_is_served(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "multisite")
    with closing_engine(database_url) as engine:
        make_tables_without_constraints(engine)
        is_sqlite = engine.dialect.name == "sqlite"
        for change, line in {**FAULTS, **(SQLITE_FAULTS if is_sqlite else {})}.items():
            monkeypatch.setattr(row_validation, "_logged", {})
            caplog.clear()
            with all_sites("a test"), engine.begin() as connection:
                for statement in SOUND:
                    connection.exec_driver_sql(statement)
            assert found(engine) == {SITE: SITE, "alias.example": SITE, OTHER: OTHER}
            with all_sites("a test"), engine.begin() as connection:
                assert connection.exec_driver_sql(change).rowcount == 1
            # Of the invalid site nothing is served except through its other, valid domains.
            rest = {SITE: SITE, OTHER: OTHER} if "of domains" in line and "id = 2" in change else {OTHER: OTHER}
            for _ in range(2):
                assert found(engine) == rest, change
            (record,) = caplog.records
            assert line in record.getMessage(), change
            assert record.getMessage().endswith("correct it in the table, then run: multisite refresh")
            assert OTHER in [info.site.host for info in list_sites(engine)], change
            assert get_site(engine, OTHER).site.host == OTHER


def found(engine: sa.Engine) -> dict[str, str]:
    """Return the site of each host that has one, according to a new directory."""
    directory = Directory(engine)
    matches = {host: directory.find(host, None, "/shop/x") for host in ("alias.example", SITE, OTHER)}
    return {host: match.site.host for host, match in matches.items() if match is not None}


OF_THE_OTHER = (
    "DELETE FROM sites WHERE id = 2",
    "UPDATE sites SET status = 'done' WHERE id = 2",
    "UPDATE domains SET kind = 'copy' WHERE site_id = 2",
    "UPDATE domains SET port = -1 WHERE site_id = 2",
    "UPDATE domains SET path = 'shop' WHERE id = 3",
)
"""Invalid rows of the second site, whose domains overlap with those of the first."""


@pytest.mark.parametrize("guarded", [True, False])
def test_skipped_domains_do_not_fall_through_to_a_wildcard_or_a_shorter_path(
    database_url: str, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not guarded:
        monkeypatch.setattr(
            query, "HostMatches", lambda found: HostMatches(pair for pair in found if pair[1] is not UNUSABLE)
        )
    with closing_engine(database_url) as engine:
        make_tables_without_constraints(engine)
        for change in OF_THE_OTHER:
            with all_sites("a test"), engine.begin() as connection:
                for statement in SOUND:
                    connection.exec_driver_sql(statement)
                values = "(4, 1, '*.example', 0, '', 'alias'), (5, 2, 'one.example', 0, '/shop', 'alias')"
                connection.exec_driver_sql(f"INSERT INTO domains (id, site_id, host, port, path, kind) VALUES {values}")
                connection.exec_driver_sql(change)
            directory = Directory(engine)
            assert (directory.find(OTHER) is None) is guarded, change
            assert directory.has_host(OTHER) is not guarded
            if "id = 3" not in change and "port" not in change:
                assert (directory.find(SITE, None, "/shop/x") is None) is guarded, change
            for host, path in ((SITE, "/"), ("third.example", "/shop")):
                match = directory.find(host, None, path)
                assert match is not None
                assert match.site.host == SITE


BYTES = {
    "setting": "INSERT INTO multisite_settings (site_id, name, value) VALUES (1, 'colour', x'ff')",
    "name": "UPDATE sites SET name = CAST(x'ff' AS TEXT) WHERE id = 1",
}


@pytest.mark.parametrize("what", BYTES)
def test_undecodable_bytes_affect_only_their_site(what: str, sqlite_database_url: str, settings: Settings) -> None:
    with closing_engine(sqlite_database_url) as engine:
        upgrade_own(engine)
        add_site(engine, SITE, settings=settings)
        add_site(engine, OTHER, settings=settings)
        with all_sites("a test"), engine.begin() as connection:
            connection.exec_driver_sql(BYTES[what])
        directory = Directory(engine)
        # Neither is cached, and the second is looked up right after the first failed.
        with pytest.raises(DirectoryUnavailable, match="cannot be read: .*UTF-8"):
            directory.find(SITE)
        match = directory.find(OTHER)
        assert match is not None
        assert match.site.domain == OTHER


UNREADABLE = {
    "UPDATE sites SET name = CAST(x'ff' AS TEXT) WHERE id = 1": "row 1 of sites",
    "UPDATE sites SET created = 'soon' WHERE id = 1": "row 1 of sites",
    "UPDATE sites SET created = x'ff' WHERE id = 1": "row 1 of sites",
    "INSERT INTO multisite_settings (site_id, name, value) VALUES (1, 'colour', x'ff')": (
        "row 1, colour of multisite_settings"
    ),
    "UPDATE domains SET host = CAST(x'ff' AS TEXT) WHERE id = 2": "row 2 of domains",
}


def test_listing_sites_names_the_unreadable_row(sqlite_database_url: str) -> None:
    with closing_engine(sqlite_database_url) as engine:
        make_tables_without_constraints(engine)
        for change, row in UNREADABLE.items():
            with all_sites("a test"), engine.begin() as connection:
                for statement in ("DELETE FROM multisite_settings", *SOUND):
                    connection.exec_driver_sql(statement)
                connection.exec_driver_sql(change)
            assert get_site(engine, OTHER).site.host == OTHER
            for read in (lambda: list(list_sites(engine)), lambda: get_site(engine, SITE)):
                expected = f"^{row} cannot be read \\(.+\\): correct it in the table, then run: multisite refresh$"
                with pytest.raises(MultisiteError, match=expected):
                    read()
        # Errors that no row causes are raised unchanged.
        with all_sites("a test"), engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM domains")
            connection.exec_driver_sql("DROP TABLE multisite_settings")
        with pytest.raises(sa.exc.OperationalError, match="no such table"):
            list(list_sites(engine))


def test_the_memory_of_logged_errors_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_validation, "_logged", {})
    for number in range(3 * row_validation.MAX_LOGGED):
        row_validation.log_once(f"row {number} of sites", "an error")
    assert len(row_validation._logged) <= row_validation.MAX_LOGGED
    assert len(caplog.records) == 3 * row_validation.MAX_LOGGED


def test_rows_are_valid_exactly_if_the_tables_accept_them() -> None:
    checks = {str(check.name): str(check.sqltext) for check in all_checks()}
    for name, known in (
        ("ck_sites_status", row_validation.STATUSES),
        ("ck_sites_availability", row_validation.AVAILABILITIES),
        ("ck_domains_kind", row_validation.KINDS),
    ):
        assert set(re.findall(r"'(\w+)'", checks[name])) == known


def all_checks() -> list[sa.CheckConstraint]:
    return [
        constraint
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint)
    ]
