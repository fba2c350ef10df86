"""`multisite migrate` and its functions: multisite's own tables and an application's, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import warm
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from databases import POSTGRESQL_IN_THE_LONG_RUN
from paths import ROOT
from sqlalchemy import event

from multisite.alembic import migrate
from multisite.alembic.sqlite_transaction import ddl_transaction
from multisite.autogenerate import own_tables
from multisite.cli.upgrade import upgrade
from multisite.core.current_site import all_sites
from multisite.directory import models
from multisite.errors import InvalidHost, MultisiteError

pytestmark = pytest.mark.slow

OWN_REVISIONS = [f"{number:04}" for number in range(1, 19)]


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(sqlite_database_url)
    yield engine
    engine.dispose()


def table_names(bind: sa.Engine | sa.Connection) -> set[str]:
    return set(sa.inspect(bind).get_table_names())


def revisions(lines: list[str]) -> list[str]:
    """Return the revisions in the lines that `upgrade` and `upgrade_own` return."""
    return [line.split(":")[0].split()[-1] for line in lines]


# Multisite's own tables


def test_the_revisions_create_exactly_the_tables_of_the_models(engine: sa.Engine) -> None:
    assert revisions(migrate.upgrade_own(engine)) == OWN_REVISIONS
    with all_sites("a test"), engine.connect() as connection:
        options = {"version_table": migrate.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, models.metadata) == []


def schema(engine: sa.Engine) -> set[tuple[object, ...]]:
    """Return every table, column, constraint and index as the database reports them, with CHECKs and defaults."""
    if engine.dialect.name == "sqlite":
        # Not the text of CREATE TABLE, in which SQLite keeps the position of an added column.
        statements = [
            "SELECT name, sql FROM sqlite_master WHERE type <> 'table'",
            """SELECT t.name, c.name, c.type, c."notnull", c.dflt_value, c.pk
               FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'""",
        ]
    else:
        statements = [
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid > 0",
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
               FROM information_schema.columns WHERE table_schema = 'public'""",
        ]
    with all_sites("a test"), engine.connect() as connection:
        rows = [tuple(row) for statement in statements for row in connection.exec_driver_sql(statement)]
        if engine.dialect.name == "sqlite":
            rows += _constraints(sa.inspect(connection))
            tables = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
            rows += [(name, check) for name, sql in tables for check in _checks(sql)]
            assert sum(len(_checks(sql)) for _, sql in tables) == sum(sql.count("CHECK") for _, sql in tables)
    return {row for row in rows if migrate.VERSION_TABLE not in str(row)}


def _constraints(inspector: sa.Inspector) -> Iterator[tuple[object, ...]]:
    for table in inspector.get_table_names():
        for name in ("foreign_keys", "pk_constraint", "unique_constraints"):
            found = getattr(inspector, f"get_{name}")(table)
            yield from ((table, str(constraint)) for constraint in (found if isinstance(found, list) else [found]))


def _checks(create_table: str) -> list[str]:
    """Return the named CHECKs of a statement that SQLite keeps; SQLAlchemy 2.0.40 takes two on one line for one."""
    checks = []
    for begin in re.finditer(r"CONSTRAINT \S+ CHECK *\(", create_table):
        depth = 1
        for token in re.finditer(r"'[^']*'|[()]", create_table[begin.end() :]):
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if not depth:
                checks.append(create_table[begin.start() : begin.end() + token.end()])
                break
    return checks


def test_the_database_does_not_differ_from_the_models(engine: sa.Engine) -> None:
    migrate.upgrade_own(engine)
    migrated = schema(engine)
    models.metadata.drop_all(engine)
    models.metadata.create_all(engine)
    assert migrated == schema(engine)
    assert len(migrated) >= 6
    assert [part for part in migrated if "ck_sites_theme" in str(part)]


def test_repeating_does_nothing_and_the_version_row_exists(engine: sa.Engine) -> None:
    migrate.upgrade_own(engine)
    assert migrate.upgrade_own(engine) == []
    with all_sites("a test"), engine.connect() as connection:
        assert connection.execute(sa.select(models.DirectoryVersion.__table__)).all() == [(1, 0, 0)]
        assert migrate.upgrade_own(connection) == []


def test_a_connection_in_a_transaction_leaves_the_commit_to_the_caller(engine: sa.Engine) -> None:
    """On SQLite the sqlite3 driver needs an explicit BEGIN, or the tables would be committed already."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with all_sites("a test"), engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        migrate.upgrade_own(connection)
        assert "sites" in table_names(connection)
        connection.rollback()
        assert "sites" not in table_names(connection)


def test_another_table_of_the_same_name_is_not_changed(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE sites (building text)")
    with pytest.raises(MultisiteError, match="already has a table named sites"):
        migrate.upgrade_own(engine)
    assert table_names(engine) == {"sites"}


def test_a_database_of_a_newer_multisite_is_not_changed(engine: sa.Engine) -> None:
    migrate.upgrade_own(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(MultisiteError, match=r"another version.*9999"):
        migrate.upgrade_own(engine)


def test_eight_at_once_create_the_tables_once(engine: sa.Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: migrate.upgrade_own(engine), range(8)))
    assert sorted(len(lines) for lines in done) == [0] * 7 + [len(OWN_REVISIONS)]


def test_the_settings_of_a_pooled_connection_are_restored(sqlite_engine: sa.Engine) -> None:
    @event.listens_for(sqlite_engine, "connect")
    def enforce(dbapi: sqlite3.Connection, _record: object) -> None:
        dbapi.execute("PRAGMA foreign_keys = 1")

    migrate.upgrade_own(sqlite_engine)
    with sqlite_engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000
        dbapi = connection.connection.dbapi_connection
        assert isinstance(dbapi, sqlite3.Connection)
        assert dbapi.isolation_level == ""


# Foreign keys on SQLite


def make_parent_and_child(connection: sa.Connection, *, children: int = 1) -> None:
    connection.exec_driver_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    connection.exec_driver_sql("CREATE TABLE child (parent_id INTEGER REFERENCES parent (id) ON DELETE CASCADE)")
    for _ in range(children):
        connection.exec_driver_sql("INSERT INTO child VALUES (7)")


def test_a_migration_that_breaks_a_reference_is_rolled_back(sqlite_engine: sa.Engine) -> None:
    with (
        sqlite_engine.connect() as connection,
        pytest.raises(
            MultisiteError, match="1 foreign keys that point to missing rows, such as from row 1 of the table"
        ),
        ddl_transaction(connection),
    ):
        make_parent_and_child(connection)
    assert table_names(sqlite_engine) == set()


def test_references_that_were_broken_before_do_not_stop_a_migration(sqlite_engine: sa.Engine) -> None:
    with sqlite_engine.begin() as connection:
        make_parent_and_child(connection, children=3)
    with sqlite_engine.connect() as connection, ddl_transaction(connection):
        connection.exec_driver_sql("CREATE TABLE another (id INTEGER)")
    assert "another" in table_names(sqlite_engine)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit attribute before Python 3.12")
def test_a_connection_without_autocommit_gets_a_real_transaction(sqlite_database_url: str) -> None:
    engine = sa.create_engine(sqlite_database_url, connect_args={"autocommit": False})
    assert revisions(migrate.upgrade_own(engine)) == OWN_REVISIONS
    with all_sites("a test"), engine.connect() as connection:
        assert connection.connection.dbapi_connection.autocommit is False  # type: ignore[union-attr]
    engine.dispose()


# The first site, for existing rows of an application


def test_first_site_creates_tables_and_site_and_finds_them_again(engine: sa.Engine) -> None:
    with all_sites("a test"), engine.begin() as connection:
        site_id = migrate.first_site(connection, "WWW.Example.com.", name="Example")
        assert migrate.first_site(connection, "www.example.com") == site_id
        other = migrate.first_site(connection, "bücher.example")
    assert other != site_id
    with all_sites("a test"), engine.connect() as connection:
        sites = connection.execute(sa.text("SELECT name, folder, status FROM sites ORDER BY id")).all()
        assert sites == [("Example", "www.example.com", "active"), ("xn--bcher-kva.example",) * 2 + ("active",)]
        domains = connection.execute(sa.text("SELECT host, kind FROM domains ORDER BY id")).all()
        assert domains == [("www.example.com", "canonical"), ("xn--bcher-kva.example", "canonical")]
        assert connection.scalar(sa.text("SELECT version FROM multisite_version")) == 2


def test_first_site_is_refused_in_offline_mode(engine: sa.Engine) -> None:
    # As op.get_bind() returns under `alembic upgrade --sql`.
    printing = sa.create_mock_engine(engine.url, print)
    with pytest.raises(MultisiteError, match="first_site needs a connection to the database"):
        migrate.first_site(printing, "www.example.com")


def test_first_site_refuses_an_invalid_host_and_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection, pytest.raises(InvalidHost):
        migrate.first_site(connection, "http://a.example")
    assert table_names(engine) == set()


# An application with its own revisions, laid out like Pyramid's cookiecutter: its env.py creates its own engine.

ENV = """
    from alembic import context
    from sqlalchemy import MetaData, engine_from_config
    from application import Base
    from plaster import get_settings

    settings = get_settings(context.config.config_file_name, "app:main")
    engine = engine_from_config(settings, prefix="sqlalchemy.")
    connection = engine.connect()
    context.configure(connection=connection, target_metadata=Base.metadata)
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.close()
"""

MODELS = """
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase, mapped_column
    from multisite.directory.models import SiteRow

    class Base(DeclarativeBase):
        pass

    class Author(Base):
        __tablename__ = "authors"
        id = mapped_column(sa.Integer, primary_key=True)
        site_id = mapped_column(sa.BigInteger, sa.ForeignKey(SiteRow.__table__.c.id), nullable=False, index=True)
"""

SCRIPT = (
    '"""${message}"""\nimport sqlalchemy as sa\nfrom alembic import op\n${imports if imports else ""}\n'
    "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n"
    'def upgrade():\n    ${upgrades if upgrades else "pass"}\n'
    'def downgrade():\n    ${downgrades if downgrades else "pass"}\n'
)


class Application:
    """An application in a folder, with an ini file, an env.py and revisions."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.ini = folder / "app.ini"
        (folder / "versions").mkdir(parents=True)
        self.ini.write_text(
            f"[app:main]\nuse = call:application:main\nsqlalchemy.url = {database_url.replace('%', '%%')}\n"
            "[alembic]\nscript_location = %(here)s\nprepend_sys_path = %(here)s\npath_separator = os\n"
        )
        self.write("env.py", ENV)
        self.write("application.py", MODELS)
        (folder / "script.py.mako").write_text(SCRIPT)

    def write(self, name: str, source: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(source))

    def revision(self, name: str, after: str | None, upgrade: str) -> None:
        """Write a revision by hand; `upgrade` is the body of its function."""
        body = textwrap.indent(textwrap.dedent(upgrade).strip(), "    ")
        self.write(
            f"versions/{name}.py",
            f'"""revision {name}"""\nimport os, signal, time\nfrom pathlib import Path\n'
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision = {name!r}\ndown_revision = {after!r}\ndef upgrade():\n{body}\n",
        )

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, python: list[str] | None = None
    ) -> subprocess.Popen[str]:
        paths = [str(self.folder), str(ROOT)]
        return subprocess.Popen(
            [*(python or [sys.executable]), *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        process = self.start(*arguments, env=env, python=warm.python(application=True))
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out

    def alembic(self, *arguments: str) -> str:
        return self.run("-m", "alembic", "-c", str(self.ini), *arguments)

    migrate = (
        "-c",
        "import sys; from multisite.cli.upgrade import upgrade; print('\\n'.join(upgrade(sys.argv[1])))",
    )

    def upgrade(self) -> list[str]:
        return self.run(*self.migrate, str(self.ini)).split("\n")[:-1]

    def query(self, statement: str) -> list[tuple[object, ...]]:
        engine = sa.create_engine(self.database_url, poolclass=sa.NullPool)
        # Other tests may have installed the scoping layer, which refuses a table with a site_id but no model.
        with all_sites("look at the rows of a test"), engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def table_names(self) -> set[str]:
        engine = sa.create_engine(self.database_url, poolclass=sa.NullPool)
        return table_names(engine)


@pytest.fixture
def application(tmp_path: Path, database_url: str) -> Application:
    return Application(tmp_path / "app", database_url)


@pytest.fixture
def sqlite_application(tmp_path: Path, sqlite_database_url: str) -> Application:
    return Application(tmp_path / "app", sqlite_database_url)


def test_upgrade_runs_multisites_revisions_first(application: Application) -> None:
    application.revision("a1", None, "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True))")
    application.revision("a2", "a1", "op.add_column('notes', sa.Column('text', sa.Text))")
    assert application.upgrade() == [
        "multisite 0001: the tables sites, domains and multisite_version",
        "multisite 0002: columns of sites and multisite_version for themes and template generations",
        "multisite 0003: ports and paths of domains",
        "multisite 0004: availability of sites",
        "multisite 0005: secret generation of sites",
        "multisite 0006: the settings of sites",
        "multisite 0007: stricter CHECK for the hosts of domains",
        "multisite 0008: change counters of sites",
        "multisite 0009: underscores in the hosts of domains",
        "multisite 0010: the site that a site was copied from",
        "multisite 0011: removed sites whose archives are kept",
        "multisite 0012: the operator log",
        "multisite 0013: operators of the console",
        "multisite 0014: traffic and errors of sites, jobs, and checks of domains",
        "multisite 0015: processes, the last check, measurements of sites, and the paths of errors",
        "multisite 0016: passkeys of operators",
        "multisite 0017: kinds of processes",
        "multisite 0018: indexes and words by which operators find sites",
        "application a1: revision a1",
        "application a2: revision a2",
    ]
    assert application.table_names() == {"notes", "alembic_version", *own_tables()}
    assert application.upgrade() == [""]


OLD_HISTORY = (
    """
    notes = op.create_table(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("name", name="uq_notes_name"),
    )
    op.bulk_insert(notes, [{"name": "one"}, {"name": "two"}])
    op.execute("UPDATE notes SET name = 'first' WHERE name = 'one'")
    op.execute(sa.update(notes).where(notes.c.name == "two").values(name="second"))
    """,
    """
    op.add_column("notes", sa.Column("length", sa.Integer))
    for id, name in op.get_bind().execute(sa.text("SELECT id, name FROM notes")).all():
        op.execute(sa.text("UPDATE notes SET length = :length WHERE id = :id").bindparams(length=len(name), id=id))
    """,
    """
    import multisite.alembic
    op.add_site_scope("notes", site="www.example.com", batch_size=1)
    """,
    """
    op.execute("INSERT INTO notes (name, site_id) SELECT 'third', id FROM sites")
    op.execute(sa.text("DELETE FROM notes WHERE name = 'second'"))
    """,
)


@pytest.mark.parametrize("way", ["multisite migrate", "alembic"])
def test_an_old_history_upgrades_an_empty_database_after_the_model_is_scoped(
    application: Application, way: str
) -> None:
    """Its revisions write to a table whose model, imported by now, is scoped."""
    application.write("application.py", SCOPED_MODELS.replace("authors", "notes").replace("Author", "Note"))
    application.write(
        "env.py",
        textwrap.dedent(ENV)
        .replace("    with", "    sa.orm.configure_mappers()\n    with", 1)
        .replace("from alembic import", "import sqlalchemy as sa\nimport sqlalchemy.orm\nfrom alembic import", 1),
    )
    for number, body in enumerate(OLD_HISTORY, 1):
        application.revision(f"a{number}", f"a{number - 1}" if number > 1 else None, body)
    if way == "alembic":
        application.alembic("upgrade", "head")
    else:
        application.upgrade()
    assert application.query("SELECT name, length, site_id FROM notes ORDER BY id") == [
        ("first", 5, 1),
        ("third", None, 1),
    ]


def test_the_command_shows_the_progress_of_an_operation(application: Application) -> None:
    for number, body in enumerate(OLD_HISTORY[:3], 1):
        application.revision(f"a{number}", f"a{number - 1}" if number > 1 else None, body)
    command = (
        "-c",
        "from multisite.cli import main; main(prog_name='multisite')",
        "-c",
        str(application.ini),
        "migrate",
    )
    process = application.start(*command)
    out, err = process.communicate()
    assert process.returncode == 0, err
    last = ["notes: 2 of 2 rows have their site"]
    # PostgreSQL does that for all rows at once.
    assert err.splitlines() == (
        last if "postgresql" in application.database_url else ["notes: 1 of 2 rows have their site", *last]
    )
    assert out.splitlines()[-1] == "application a3: revision a3"


def test_an_ini_without_alembic_only_gets_multisites_tables(application: Application) -> None:
    application.ini.write_text(application.ini.read_text().split("[alembic]")[0])
    assert revisions(application.upgrade()) == OWN_REVISIONS
    assert application.table_names() == own_tables()


def _break_location(application: Application) -> None:
    application.ini.write_text(application.ini.read_text().replace("script_location = %(here)s", "script_location = x"))


def _break_key(application: Application) -> None:
    application.ini.write_text(application.ini.read_text().replace("script_location", "script_locations"))


def _break_env(application: Application) -> None:
    (application.folder / "env.py").unlink()


def _break_heads(application: Application) -> None:
    for name in ("a1", "a2"):
        application.revision(name, None, "op.execute('SELECT 1')")


def _break_chain(application: Application) -> None:
    application.revision("a2", "a1", "op.execute('SELECT 1')")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break_location, "script_location = x: there is no such folder; name the folder with the application's"),
        (_break_key, "script_location is missing: name the folder with the application's env.py"),
        (_break_env, "there is no env.py in it"),
        (_break_heads, "2 heads, a1 and a2: merge them with 'alembic merge heads'"),
        (_break_chain, "the revision a1 is missing"),
    ],
)
def test_migrations_that_cannot_run_are_found_before_any_table_is_created(
    application: Application, damage: Callable[[Application], None], message: str
) -> None:
    damage(application)
    with pytest.raises(MultisiteError) as raised:
        upgrade(application.ini)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{application.ini}, [alembic]: ")
    assert "init" not in str(raised.value), "alembic's own advice is for somebody who begins"
    assert application.table_names() == set()


def test_two_at_once_run_each_revision_once(application: Application) -> None:
    application.revision("a1", None, "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True))")
    application.revision("a2", "a1", "time.sleep(0.5); op.create_table('more', sa.Column('id', sa.Integer))")
    started = [application.start(*application.migrate, str(application.ini)) for _ in range(2)]
    answers = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], answers
    done = [line for out, _ in answers for line in out.splitlines() if line]
    assert sorted(revisions(done)) == sorted([*OWN_REVISIONS, "a1", "a2"])


ONE_NOTE = """
    op.execute("CREATE TABLE notes (id INTEGER)")
    op.execute("INSERT INTO notes VALUES (1)")
"""

FIRST_SITE = """
    from multisite.alembic.migrate import first_site
    site_id = first_site(op.get_bind(), "www.example.com")
    op.add_column("notes", sa.Column("site_id", sa.BigInteger))
    op.execute(sa.text("UPDATE notes SET site_id = :site_id").bindparams(site_id=site_id))
"""


@pytest.mark.parametrize("command", ["multisite", "alembic"])
def test_a_hand_written_migration_assigns_its_rows_to_a_first_site(application: Application, command: str) -> None:
    """Under plain alembic too, where multisite's own tables do not exist yet."""
    application.revision("a1", None, ONE_NOTE)
    application.revision("a2", "a1", FIRST_SITE)
    if command == "multisite":
        application.upgrade()
    else:
        application.alembic("upgrade", "head")
    assert application.query("SELECT id, site_id FROM notes") == [(1, 1)]
    assert application.query("SELECT host, site_id FROM domains") == [("www.example.com", 1)]
    assert application.upgrade() == [""]


# Killed halfway

SLOW = """
    op.add_column("notes", sa.Column("text", sa.Text))
    op.execute("UPDATE notes SET id = id + 100")
    op.create_table("half", sa.Column("id", sa.Integer))
    Path("reached").touch()
    while not Path("go-on").exists():
        time.sleep(0.01)
    op.execute("INSERT INTO half VALUES (1)")
"""


def test_a_migration_that_is_killed_leaves_the_old_schema_and_can_be_repeated(application: Application) -> None:
    application.revision("a1", None, ONE_NOTE)
    application.upgrade()
    application.revision("a2", "a1", SLOW)
    kill_when_reached(application, *application.migrate, str(application.ini))
    assert application.table_names() == {"notes", "alembic_version", *own_tables()}
    assert application.query("SELECT * FROM notes") == [(1,)]
    (application.folder / "go-on").touch()
    assert revisions(application.upgrade()) == ["a2"]
    assert application.query("SELECT * FROM notes, half") == [(101, None, 1)]


def kill_when_reached(application: Application, *arguments: str) -> None:
    """Run Python until the slow revision is half done, and kill it as a power failure would."""
    process = application.start(*arguments)
    while not (application.folder / "reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_plain_alembic_leaves_a_partial_migration_on_sqlite(sqlite_application: Application) -> None:
    """Negative control of the test above."""
    sqlite_application.revision("a1", None, "op.execute('CREATE TABLE notes (id INTEGER)')")
    sqlite_application.upgrade()
    sqlite_application.revision("a2", "a1", SLOW)
    kill_when_reached(sqlite_application, "-m", "alembic", "-c", str(sqlite_application.ini), "upgrade", "head")
    assert "text" in {column for _, column, *_ in sqlite_application.query("PRAGMA table_info(notes)")}


def test_our_own_tables_are_created_atomically(sqlite_application: Application) -> None:
    """Killed while the revision is running: `create_index` comes after both large tables."""
    program = """
        import os, signal, sys
        import sqlalchemy as sa
        from alembic.operations import Operations
        from multisite.alembic.migrate import upgrade_own

        def die(*arguments, **options):
            os.kill(os.getpid(), signal.SIGKILL)

        if sys.argv[2] == "die":
            Operations.create_index = die
        upgrade_own(sa.create_engine(sys.argv[1]))
    """
    arguments = ("-c", textwrap.dedent(program), sqlite_application.database_url)
    process = sqlite_application.start(*arguments, "die")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert sqlite_application.table_names() == set()
    sqlite_application.run(*arguments, "live")
    assert sqlite_application.table_names() == own_tables()


# What applications do with SQLite in their env.py and models

ENFORCE = """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def enforce(dbapi, record):
        dbapi.execute("PRAGMA foreign_keys = 1")
        dbapi.execute("PRAGMA journal_mode = WAL")
"""

BEGIN = """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def connect(dbapi, record):
        dbapi.isolation_level = None

    @event.listens_for(Engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")
"""

REBUILD = """
    with op.batch_alter_table("parent") as batch:
        batch.alter_column("id", type_=sa.BigInteger)
"""


def with_rows_and_a_rebuild(application: Application) -> None:
    application.revision(
        "a1",
        None,
        """
        op.execute("CREATE TABLE parent (id INTEGER NOT NULL PRIMARY KEY)")
        op.execute("CREATE TABLE child (parent_id INTEGER REFERENCES parent (id) ON DELETE CASCADE)")
        op.execute("INSERT INTO parent VALUES (7)")
        op.execute("INSERT INTO child VALUES (7)")
        """,
    )
    application.upgrade()
    application.revision("a2", "a1", REBUILD)


@pytest.mark.parametrize("listeners", ["", ENFORCE, BEGIN, ENFORCE + BEGIN], ids=["none", "enforce", "begin", "both"])
def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(sqlite_application: Application, listeners: str) -> None:
    sqlite_application.write("env.py", textwrap.dedent(listeners) + textwrap.dedent(ENV))
    with_rows_and_a_rebuild(sqlite_application)
    assert revisions(sqlite_application.upgrade()) == ["a2"]
    assert sqlite_application.query("SELECT * FROM child") == [(7,)]


def test_plain_alembic_deletes_the_rows_that_refer_to_it(sqlite_application: Application) -> None:
    """Negative control of the test above."""
    sqlite_application.write("env.py", textwrap.dedent(ENFORCE) + textwrap.dedent(ENV))
    with_rows_and_a_rebuild(sqlite_application)
    sqlite_application.alembic("upgrade", "head")
    assert sqlite_application.query("SELECT * FROM child") == []


def test_a_revision_that_breaks_a_reference_is_rolled_back(sqlite_application: Application) -> None:
    with_rows_and_a_rebuild(sqlite_application)
    sqlite_application.revision("a3", "a2", "op.execute('DELETE FROM parent')")
    process = sqlite_application.start(*sqlite_application.migrate, str(sqlite_application.ini))
    _, err = process.communicate()
    assert process.returncode == 1
    assert "foreign keys that point to missing rows" in err.splitlines()[-1]
    assert sqlite_application.query("SELECT version_num FROM alembic_version") == [("a1",)]
    assert sqlite_application.query("SELECT * FROM parent") == [(7,)]


def test_a_revision_may_use_an_autocommit_block(application: Application) -> None:
    application.revision(
        "a1",
        None,
        """
        op.execute("CREATE TABLE notes (id INTEGER)")
        with op.get_context().autocommit_block():
            op.execute("VACUUM")
        op.execute("INSERT INTO notes VALUES (1)")
        """,
    )
    assert revisions(application.upgrade()) == [*OWN_REVISIONS, "a1"]
    assert application.query("SELECT * FROM notes") == [(1,)]


# Autogenerate


@pytest.fixture
def installed(application: Application) -> Application:
    """The application in an environment with multisite's entry points, as after an installation."""
    plugin = "alembic.autogenerate.multisite = multisite.autogenerate"
    assert plugin in (ROOT / "setup.py").read_text()
    # First on the path, so that it takes precedence over an installed distribution of the same name.
    metadata = application.folder / "pyramid_multisite-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pyramid-multisite\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(f"[alembic.plugins]\n{plugin}\n")
    return application


def autogenerate(application: Application, message: str) -> str:
    application.alembic("revision", "--autogenerate", "-m", message)
    (written,) = (application.folder / "versions").glob(f"*_{message}.py")
    return written.read_text()


@pytest.mark.parametrize("imports", ["import multisite.autogenerate, alembic", "import alembic"])
@POSTGRESQL_IN_THE_LONG_RUN
def test_the_plugin_is_set_up_whatever_is_imported_first(installed: Application, imports: str) -> None:
    check = "from alembic.runtime import plugins; assert 'alembic.autogenerate.multisite' in plugins._all_plugins"
    command = [sys.executable, "-W", "error", "-c", f"{imports}; {check}"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed.folder), str(ROOT)])}
    done = subprocess.run(command, text=True, check=False, capture_output=True, env=environ)
    assert done.returncode == 0, done.stderr


def test_autogenerate_ignores_multisites_tables(installed: Application) -> None:
    installed.upgrade()
    source = autogenerate(installed, "first")
    assert "drop_table" not in source.split("def downgrade")[0]
    assert "multisite" not in source
    assert "domains" not in source
    assert "sa.ForeignKeyConstraint(['site_id'], ['sites.id'], )" in source
    installed.upgrade()
    assert "No new upgrade operations detected" in installed.alembic("check")
    engine = sa.create_engine(installed.database_url, poolclass=sa.NullPool)
    foreign_keys = sa.inspect(engine).get_foreign_keys("authors")
    assert [key["referred_table"] for key in foreign_keys] == ["sites"]


SCOPED_MODELS = """
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase, mapped_column
    from multisite.scoping import SiteScoped, scoped_reference, site_id_column

    class Base(DeclarativeBase):
        pass

    class Author(SiteScoped, Base):
        __tablename__ = "authors"
        __table_args__ = (sa.UniqueConstraint("site_id", "name"),)
        id = mapped_column(sa.Integer, primary_key=True)
        name = mapped_column(sa.Text)

    class Book(SiteScoped, Base):
        __tablename__ = "books"
        __table_args__ = (scoped_reference("author_id", "authors.id"),)
        id = mapped_column(sa.Integer, primary_key=True)
        author_id = mapped_column(sa.BigInteger)

    authors_books = sa.Table(
        "authors_books",
        Base.metadata,
        site_id_column(),
        sa.Column("author_id", sa.BigInteger, primary_key=True),
        sa.Column("book_id", sa.BigInteger, primary_key=True),
        scoped_reference("author_id", "authors.id"),
        scoped_reference("book_id", "books.id"),
    )
"""


def test_autogenerate_writes_correct_revisions_for_scoped_models(installed: Application) -> None:
    installed.write("application.py", SCOPED_MODELS)
    installed.upgrade()
    source = autogenerate(installed, "scoped")
    assert "multisite" not in source
    assert "sa.Column('site_id', sa.BigInteger(), nullable=False)" in source
    installed.upgrade()
    assert "No new upgrade operations detected" in installed.alembic("check")
    engine = sa.create_engine(installed.database_url, poolclass=sa.NullPool)
    references = {
        (tuple(key["constrained_columns"]), key["referred_table"])
        for key in sa.inspect(engine).get_foreign_keys("books")
    }
    assert references == {(("site_id",), "sites"), (("site_id", "author_id"), "authors")}
    installed.alembic("downgrade", "base")
    assert installed.table_names() == {*own_tables(), "alembic_version"}


def test_autogenerate_drops_other_tables_without_a_model(installed: Application) -> None:
    """The plugin ignores no other table."""
    installed.revision("a1", None, "op.execute('CREATE TABLE forgotten (id INTEGER)')")
    installed.upgrade()
    assert "op.drop_table('forgotten')" in autogenerate(installed, "second")


def test_without_the_plugin_autogenerate_drops_multisites_tables(installed: Application) -> None:
    """Negative control."""
    installed.upgrade()
    without = 'context.configure(autogenerate_plugins=["alembic.autogenerate.*", "~alembic.autogenerate.multisite"], '
    installed.write("env.py", textwrap.dedent(ENV).replace("context.configure(", without))
    source = autogenerate(installed, "third")
    assert all(f"op.drop_table('{name}')" in source.split("def downgrade")[0] for name in own_tables())


def test_domains_keep_their_rows_when_they_get_ports_and_paths(engine: sa.Engine) -> None:
    def until_0002(heads: Any, _context: Any) -> Any:
        return migrate._own_scripts()._upgrade_revs("0002", heads)

    with all_sites("a test"), engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrate.VERSION_TABLE, "fn": until_0002}
        )
        context.run_migrations(op=Operations(context))
        connection.exec_driver_sql("INSERT INTO sites (id, name, folder) VALUES (7, 'one', 'one')")
        for number, kind in enumerate(("canonical", "alias", "redirect")):
            connection.exec_driver_sql(
                f"INSERT INTO domains (id, site_id, host, kind) VALUES ({number + 3}, 7, '{kind}.example', '{kind}')"
            )
        if engine.dialect.name == "sqlite":
            # SQLite checks all of them when a table is renamed.
            connection.exec_driver_sql("CREATE VIEW broken AS SELECT * FROM nowhere")
    migrate.upgrade_own(engine)
    with all_sites("a test"), engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, site_id, host, port, path, kind FROM domains ORDER BY id").all()
    assert [tuple(row) for row in rows] == [
        (3, 7, "canonical.example", 0, "", "canonical"),
        (4, 7, "alias.example", 0, "", "alias"),
        (5, 7, "redirect.example", 0, "", "redirect"),
    ]
    with all_sites("a test"), pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO domains (id, site_id, host) VALUES (9, 7, 'alias.example')")
