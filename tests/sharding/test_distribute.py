"""`multisite distribute` without Citus: everything but Citus's own functions, for which there is a stub, is real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from citus_stub import install_citus_stub
from click.testing import CliRunner, Result
from content_sites import GARDEN, ContentSites, content_sites
from databases import closing_engine, fresh_postgresql, migrate_own
from paths import ROOT
from snippets import commands_in, snippets
from sqlalchemy.exc import OperationalError

from multisite.alembic import upgrade_own
from multisite.cli import main
from multisite.core.current_site import all_sites
from multisite.errors import MultisiteError
from multisite.sharding import run as run_module
from multisite.sharding.catalog import Catalog, read_catalog
from multisite.sharding.obstacles import find_obstacles
from multisite.sharding.plan import DistributionPlan, plan_distribution, plan_undo
from multisite.sharding.run import catalog_of, run
from multisite.sharding.session import distributed_migrations


@pytest.fixture
def library(postgresql_url: str, tmp_path: Path) -> Iterator[ContentSites]:
    """The reference application with two sites and their entries, on a database that looks like one with Citus."""
    with fresh_postgresql(postgresql_url) as url, content_sites(url, tmp_path) as sites:
        sites.add(sites.garden, "apples", tags=["fruit"])
        sites.add(sites.garden, "beans", tags=["fruit", "green"])
        sites.add(sites.sternwarte, "apples", tags=["fruit"])
        install_citus_stub(url)
        yield sites


@pytest.fixture
def empty(postgresql_url: str) -> Iterator[sa.Engine]:
    """Multisite's own tables alone, with the stub."""
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as engine:
        migrate_own(engine)
        install_citus_stub(url)
        yield engine


PAGE = ROOT / "docs" / "sharding.md"


def silent(_line: str) -> None:
    pass


def distribute(engine: sa.Engine) -> list[str]:
    lines: list[str] = []
    run(engine, plan_distribution(catalog_of(engine), allow_triggers=True), lines.append)
    return lines


def page(library: ContentSites) -> str:
    return str(library.browser(GARDEN).get("/").text)


def execute(engine: sa.Engine, *statements: str) -> None:
    with all_sites("a test"), engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def commands(library: ContentSites, tmp_path: Path) -> Path:
    ini = tmp_path / "app.ini"
    settings = "\n".join(f"{key} = {value.replace('%', '%%')}" for key, value in library.settings.items())
    ini.write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{settings}\n", "utf-8")
    return ini


def invoke(ini: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-c", str(ini), *arguments])


def changes(plan: DistributionPlan) -> list[str]:
    """Return the statements but those that delete local rows, which the stub leaves in place."""
    return [each for each in plan.statements() if "truncate_local_data_after_distributing_table" not in each]


def test_the_reference_application_is_distributed_and_undone(library: ContentSites) -> None:
    before, shown = catalog_of(library.engine), page(library)
    lines = distribute(library.engine)
    there = catalog_of(library.engine)
    scoped = {name for name, table in there.tables.items() if table.placement == "distributed"}
    assert {"public.entries", "public.tags", "public.media", "public.users", "public.multisite_changes"} <= scoped
    assert [name for name, table in there.tables.items() if table.placement == "reference"] == ["public.sites"]
    assert {name for name, table in there.tables.items() if table.placement == "local"} >= {
        "public.domains",
        "public.multisite_settings",
        "public.multisite_version",
        "public.multisite_alembic_version",
    }
    for name in scoped:
        assert all("site_id" in key.columns for key in there.tables[name].keys), name
    # Each reference and each trigger is back, word for word.
    assert there.references == before.references
    assert {name: table.triggers for name, table in there.tables.items()} == {
        name: table.triggers for name, table in before.tables.items()
    }
    assert lines[0] == "public.sites: copied to each node"
    assert len(lines) == len(scoped) + 1
    assert page(library) == shown
    assert changes(plan_distribution(there, allow_triggers=True)) == []
    run(library.engine, plan_undo(there), silent)
    assert catalog_of(library.engine) == before
    assert list(plan_undo(before).statements()) == []


def test_nothing_is_changed_if_a_row_is_missing_afterwards(library: ContentSites) -> None:
    before = catalog_of(library.engine)
    execute(library.engine, f"ALTER DATABASE {library.engine.url.database} SET citus_stub.lose = 'entry_tags'")
    library.engine.dispose()
    with pytest.raises(MultisiteError, match=r"public.entry_tags had 4 rows and would have 3: everything was rolled"):
        distribute(library.engine)
    assert catalog_of(library.engine) == before


@pytest.mark.parametrize("deadlocks", [1, 3])
def test_a_deadlock_is_tried_again(empty: sa.Engine, monkeypatch: pytest.MonkeyPatch, deadlocks: int) -> None:
    run_transaction, left = run_module._run_transaction, [None] * deadlocks

    def run_later(*arguments: Any) -> None:
        run_transaction(*arguments)
        if left:
            left.pop()
            raise OperationalError("SELECT 1", {}, psycopg.errors.DeadlockDetected("deadlock"))

    monkeypatch.setattr(run_module, "_run_transaction", run_later)
    before = catalog_of(empty)
    if deadlocks == 1:
        lines = distribute(empty)
        assert "a deadlock with another transaction: everything was rolled back, and is tried again" in lines
        assert catalog_of(empty).tables["public.sites"].placement == "reference"
    else:
        with pytest.raises(OperationalError):
            distribute(empty)
        assert catalog_of(empty) == before


def test_a_run_that_was_interrupted_is_finished(library: ContentSites) -> None:
    before = catalog_of(library.engine)
    plan = plan_distribution(before, allow_triggers=True, concurrently=True)
    assert [batch.autocommit for batch in plan.batches] == [False, True, False, True]
    # After half of the tables; the references and triggers are in the database.
    half = replace(plan.batches[1], steps=plan.batches[1].steps[:8])
    run(library.engine, DistributionPlan((plan.batches[0], half)), silent)
    there = catalog_of(library.engine)
    assert len(there.references) < len(before.references)
    assert {name for name, table in there.tables.items() if table.placement == "distributed"} != set()
    distribute(library.engine)
    there = catalog_of(library.engine)
    assert sorted(there.references, key=str) == sorted(before.references, key=str)
    assert there.tables["public.entries"].triggers == before.tables["public.entries"].triggers
    assert {saved.kind for saved in there.saved} == {"key"}
    assert there.tables["public.users"].placement == "distributed"
    run(library.engine, plan_undo(there), silent)
    assert catalog_of(library.engine) == before


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the server has settings that only a restart could change."""

    def read(connection: sa.Connection) -> Catalog:
        catalog = read_catalog(connection)
        server = replace(catalog.server, max_prepared_transactions=100, wal_level="logical")
        return replace(catalog, server=server)

    monkeypatch.setattr(run_module, "read_catalog", read)


@pytest.mark.usefixtures("prepared")
def test_the_command(library: ContentSites, tmp_path: Path) -> None:
    ini = commands(library, tmp_path)
    before = catalog_of(library.engine)
    checked = invoke(ini, "distribute", "--check")
    assert checked.exit_code == 1
    assert "fault trigger public.entries: has the trigger entries_counted and entries_moved" in checked.output
    assert "2 obstacles found." in checked.output
    refused = invoke(ini, "distribute")
    assert refused.exit_code == 1
    assert "Error: nothing was changed: 2 obstacles, see above" in refused.output
    missed = invoke(ini, "distribute", "--allow-triggers", "--concurrently")
    assert missed.exit_code == 1
    assert "which would not fire for rows that are written meanwhile" in missed.output
    printed = invoke(ini, "distribute", "--allow-triggers", "--dry-run", "--shards", "8")
    assert "SET LOCAL citus.shard_count TO 8;" in printed.stdout.splitlines()
    assert catalog_of(library.engine) == before
    assert "There are no obstacles." in invoke(ini, "distribute", "--check", "--allow-triggers").output
    done = invoke(ini, "distribute", "--allow-triggers")
    assert (done.exit_code, done.stdout) == (0, "The database is distributed by site_id.\n")
    assert "public.entries: distributed by site_id" in done.stderr
    there = catalog_of(library.engine)
    assert invoke(ini, "distribute", "--allow-triggers").stderr == ""
    assert catalog_of(library.engine) == there
    # Two sites may now have rows with one id, and the key of before would not allow that.
    copy = "INSERT INTO tags (site_id, id, slug, name) SELECT 2, id, 'copy', 'copy' FROM tags WHERE site_id = 1 LIMIT 1"
    execute(library.engine, copy)
    undone = invoke(ini, "distribute", "--undo")
    assert undone.exit_code == 1
    assert "fault shared-key public.tags id: two sites have rows with the key " in undone.output
    execute(library.engine, "DELETE FROM tags WHERE slug = 'copy'")
    assert invoke(ini, "distribute", "--undo").stdout == "All rows are on the coordinator.\n"
    logged = json.loads(invoke(ini, "list-log", "--json").stdout)
    assert (logged[0]["what"], logged[0]["after"]) == ("distribute", {"distributed": False})
    assert catalog_of(library.engine) == before


@pytest.mark.usefixtures("prepared")
def test_the_page_shows_what_the_commands_print(library: ContentSites, tmp_path: Path) -> None:
    ini = commands(library, tmp_path)
    page_commands = [each for snippet in snippets(PAGE, "console") for each in commands_in(snippet)]
    assert len(page_commands) == 2
    for command in page_commands:
        program, *arguments = command.text.split()
        assert program == "multisite"
        assert command.prints(invoke(ini, *arguments).stdout), command


def test_sqlite_is_refused(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    result = invoke(commands(sqlite_sites, tmp_path), "distribute", "--check")
    assert result.output == "Error: distributing needs PostgreSQL, and this database is sqlite\n"
    assert "this database is not distributed" in invoke(commands(sqlite_sites, tmp_path), "list-shards").output


SITE = "site_id bigint NOT NULL REFERENCES sites (id)"
OBSTACLES = {
    "global-key": [f"CREATE TABLE tomes ({SITE}, id bigint PRIMARY KEY, slug text UNIQUE)"],
    "global-key of an index": [
        f"CREATE TABLE tomes ({SITE}, slug text)",
        "CREATE UNIQUE INDEX one ON tomes (slug)",
    ],
    "site-type": ["CREATE TABLE tomes (site_id integer NOT NULL, id bigint PRIMARY KEY)"],
    "nullable-site": ["CREATE TABLE tomes (site_id bigint, id bigint)"],
    "trigger": [
        f"CREATE TABLE tomes ({SITE}, id bigint PRIMARY KEY)",
        "CREATE TRIGGER same BEFORE UPDATE ON tomes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ],
    "key-of-view": [
        f"CREATE TABLE tomes ({SITE}, id bigint PRIMARY KEY, slug text)",
        "CREATE VIEW shelf AS SELECT id, slug, count(*) FROM tomes GROUP BY id",
    ],
    "policy": [
        f"CREATE TABLE tomes ({SITE}, id bigint)",
        "CREATE POLICY own ON tomes USING (site_id = (SELECT current_setting('multisite.site_id')::bigint))",
    ],
    "restrictive-policy": [
        f"CREATE TABLE tomes ({SITE}, id bigint)",
        "ALTER TABLE tomes ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY multisite_limit ON tomes AS RESTRICTIVE USING (site_id = 1)",
        "CREATE POLICY own ON tomes USING (true)",
    ],
    "restrictive-policy of the application": [
        f"CREATE TABLE tomes ({SITE}, id bigint)",
        "ALTER TABLE tomes ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON tomes AS RESTRICTIVE USING (id > 1)",
    ],
    "inheritance": [f"CREATE TABLE tomes ({SITE}, id bigint)", "CREATE TABLE novels () INHERITS (tomes)"],
    "owner": [f"CREATE TABLE tomes ({SITE}, id bigint)", "ALTER TABLE tomes OWNER TO pg_monitor"],
    "reference-from-unscoped": [
        f"CREATE TABLE tomes ({SITE}, id bigint PRIMARY KEY)",
        "CREATE TABLE likes (book_id bigint REFERENCES tomes (id))",
    ],
    "reference-without-site": [
        f"CREATE TABLE tomes ({SITE}, id bigint PRIMARY KEY)",
        f"CREATE TABLE notes ({SITE}, book_id bigint REFERENCES tomes (id))",
    ],
    "reference-action": [
        f"CREATE TABLE tomes ({SITE}, id bigint, UNIQUE (site_id, id))",
        (
            f"CREATE TABLE notes ({SITE}, book_id bigint, FOREIGN KEY (site_id, book_id) REFERENCES tomes (site_id, id)"
            " ON DELETE SET NULL (book_id))"
        ),
    ],
    "reference-action of an update": [
        f"CREATE TABLE tomes ({SITE}, id bigint, UNIQUE (site_id, id))",
        (
            f"CREATE TABLE notes ({SITE}, book_id bigint, FOREIGN KEY (site_id, book_id) REFERENCES tomes (site_id, id)"
            " ON UPDATE CASCADE)"
        ),
    ],
}


@pytest.fixture(scope="module")
def clean(postgresql_url: str) -> Iterator[sa.Engine]:
    """Multisite's own tables alone, for tests that roll back."""
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as engine:
        migrate_own(engine)
        install_citus_stub(url)
        yield engine


def kinds(catalog: Catalog) -> list[str]:
    return [finding.kind for finding in find_obstacles(catalog) if finding.severity == "fault"]


@pytest.mark.parametrize("kind", OBSTACLES)
def test_each_obstacle_is_found(clean: sa.Engine, kind: str) -> None:
    assert kinds(catalog_of(clean)) == ["prepared-transactions"]
    execute(clean, *OBSTACLES[kind])
    try:
        assert set(kinds(catalog_of(clean))) == {"prepared-transactions", kind.split(" ", maxsplit=1)[0]}
    finally:
        tables = [name for name in ("notes", "likes", "novels", "tomes") if name in "".join(OBSTACLES[kind])]
        execute(clean, *(f"DROP TABLE {name} CASCADE" for name in tables))


def test_a_disabled_trigger_would_come_back_enabled(clean: sa.Engine) -> None:
    execute(clean, *OBSTACLES["trigger"], "ALTER TABLE tomes DISABLE TRIGGER same")
    try:
        found = find_obstacles(catalog_of(clean), allow_triggers=True)
    finally:
        execute(clean, "DROP TABLE tomes")
    assert {(each.kind, each.subject) for each in found if each.kind.endswith("trigger")} == {
        ("disabled-trigger", "public.tomes same")
    }


def test_what_the_server_lacks_is_found(clean: sa.Engine) -> None:
    catalog = catalog_of(clean)
    server = replace(catalog.server, max_prepared_transactions=10)
    assert kinds(replace(catalog, server=server)) == []
    for changed, kind in (
        ({"citus": None}, "extension"),
        ({"citus": "11.3-1"}, "extension"),
        ({"workers": 0}, "workers"),
        ({"has_coordinator": False}, "coordinator"),
    ):
        assert kinds(replace(catalog, server=replace(server, **changed))) == [kind]
    replica = replace(catalog, server=replace(server, wal_level="replica"))
    assert [finding.severity for finding in find_obstacles(replica)] == ["notice"]
    assert [finding.severity for finding in find_obstacles(replica, concurrently=True)] == ["fault"]


def test_what_refers_to_a_table_that_moves_decides_about_ours(clean: sa.Engine) -> None:
    execute(
        clean,
        "CREATE TABLE countries (id bigint PRIMARY KEY)",
        f"CREATE TABLE tomes ({SITE}, version_id integer REFERENCES multisite_version (id))",
    )
    try:
        run(clean, plan_distribution(catalog_of(clean)), silent)
        there = {name: table.placement for name, table in catalog_of(clean).tables.items()}
        assert there["public.countries"] == there["public.multisite_version"] == "reference"
        assert there["public.domains"] == "local"
    finally:
        run(clean, plan_undo(catalog_of(clean)), silent)
        execute(clean, "DROP TABLE tomes", "DROP TABLE countries")


def test_a_later_revision_distributes_its_table(empty: sa.Engine) -> None:
    created = f"CREATE TABLE tomes ({SITE}, id bigint PRIMARY KEY)"
    with empty.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
        op.execute(created)
        op.distribute_table("tomes")  # Nothing is distributed yet.
        assert catalog_of(empty).tables["public.sites"].placement == "local"
        op.execute("DROP TABLE tomes")
    run(empty, plan_distribution(catalog_of(empty)), silent)
    with empty.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
        op.execute(created)
        op.distribute_table("tomes")
        op.distribute_table("tomes")
        with pytest.raises(MultisiteError, match="there is no table 'novels'"):
            op.distribute_table("novels")
        op.execute(f"CREATE TABLE shops ({SITE}, slug text UNIQUE)")
        with pytest.raises(MultisiteError, match="shops_slug_key is a unique constraint without site_id"):
            op.distribute_table("shops")
        (example,) = snippets(PAGE, "python")
        op.execute(f"CREATE TABLE comments ({SITE}, id bigint PRIMARY KEY)")
        namespace: dict[str, Any] = {}
        exec(example.text, namespace)
        namespace["upgrade"]()
    assert catalog_of(empty).tables["public.comments"].placement == "distributed"
    tomes = catalog_of(empty).tables["public.tomes"]
    assert tomes.placement == "distributed"
    assert [key.columns for key in tomes.keys if key.kind == "p"] == [("site_id", "id")]


def test_a_scope_is_removed_from_tables_with_the_key_of_a_distributed_one(postgresql_database_url: str) -> None:
    keys = "id bigint, PRIMARY KEY (site_id, id), UNIQUE (site_id, id)"
    with (
        closing_engine(postgresql_database_url) as engine,
        engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)) as op,
    ):
        upgrade_own(connection)
        op.execute(f"CREATE TABLE tomes ({SITE}, {keys}, slug text, UNIQUE (site_id, slug))")
        op.execute(
            f"CREATE TABLE notes ({SITE}, {keys}, book_id bigint, "
            "FOREIGN KEY (site_id, book_id) REFERENCES tomes (site_id, id))"
        )
        for table in ("tomes", "notes"):
            op.drop_site_scope(table)
        catalog = read_catalog(connection)
    keys_of = {name: [key.columns for key in catalog.tables[name].keys] for name in ("public.tomes", "public.notes")}
    assert keys_of == {"public.tomes": [("id",), ("slug",)], "public.notes": [("id",)]}
    assert [each.definition for each in catalog.references if each.table == "public.notes"] == [
        "FOREIGN KEY (book_id) REFERENCES tomes(id)"
    ]


def test_a_revision_that_distributes_runs_everywhere(database_url: str) -> None:
    with (
        closing_engine(database_url) as engine,
        engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)) as op,
    ):
        op.execute("CREATE TABLE tomes (site_id bigint, id bigint PRIMARY KEY)")
        op.distribute_table("tomes")


MODE = sa.text("SELECT current_setting('citus.multi_shard_modify_mode', true)")


def test_migrations_change_shards_one_after_the_other(empty: sa.Engine) -> None:
    run(empty, plan_distribution(catalog_of(empty)), silent)
    with distributed_migrations(empty), closing_engine(empty.url.render_as_string(hide_password=False)) as other:
        for engine in (empty, other):
            with engine.connect() as connection, all_sites("a test"):
                assert connection.scalar(MODE) == "sequential"
    empty.dispose()
    with empty.connect() as connection, all_sites("a test"):
        assert connection.scalar(MODE) is None


def test_no_such_setting_is_sent_elsewhere(postgresql_database_url: str) -> None:
    with (
        closing_engine(postgresql_database_url) as engine,
        distributed_migrations(engine),
        engine.connect() as connection,
        all_sites("a test"),
    ):
        assert connection.scalar(MODE) is None


def test_a_revision_that_knows_nothing_of_shards_creates_tables(library: ContentSites) -> None:
    distribute(library.engine)
    reference = sa.ForeignKeyConstraint(
        ["site_id", "entry_id"], ["entries.site_id", "entries.id"], name="fk_likes_entry"
    )
    columns = (
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("site_id", sa.BigInteger, sa.ForeignKey("sites.id", name="fk_likes_site_id"), nullable=False),
        sa.Column("entry_id", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_likes"),
    )
    with (
        distributed_migrations(library.engine),
        library.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)) as op,
    ):
        op.create_table("likes", *columns, reference)
        op.create_table("countries", sa.Column("id", sa.BigInteger, primary_key=True))
    there = catalog_of(library.engine)
    assert there.tables["public.countries"].placement == "reference"
    assert there.tables["public.likes"].placement == "distributed"
    assert {each.name for each in there.references if each.table == "public.likes"} == {
        "fk_likes_entry",
        "fk_likes_site_id",
    }
    run(library.engine, plan_undo(there), silent)
    assert [key.columns for key in catalog_of(library.engine).tables["public.likes"].keys] == [("id",)]
