"""The reference application on a real Citus, where `MULTISITE_TEST_CITUS_URL` names a coordinator.

It is the URL of a superuser; the nodes are those in `pg_dist_node` of its database. Each test module gets a database of
its own on every node.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from citus_nodes import URL, Nodes
from click.testing import CliRunner, Result
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from row_security import operations
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from multisite.check import run as check
from multisite.cli import main
from multisite.content.models import Entry, Redirect, Tag, entry_counts, entry_tags
from multisite.content.tables import Base
from multisite.core.current_site import all_sites
from multisite.core.settings import parse_settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.scoping.secured_tables import secured_tables
from multisite.sharding.catalog import Catalog
from multisite.sharding.obstacles import find_obstacles
from multisite.sharding.plan import plan_distribution, plan_undo
from multisite.sharding.run import catalog_of, run, unlimited
from multisite.sharding.shards import isolate_site, list_shards
from multisite.sites import SiteContents, copy_site, export_site, import_site
from multisite.sites.creation import add_site
from multisite.sites.measurements import measure_sites
from multisite.sites.removal import remove_site
from multisite.sites.restoring import restore_site

pytestmark = pytest.mark.skipif(not URL, reason="no Citus: MULTISITE_TEST_CITUS_URL names no coordinator")


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalog, ContentSites]]:
    """The catalogue before, and the reference application with two sites, distributed."""
    nodes, name = Nodes(URL), f"citus_{uuid.uuid4().hex[:12]}"
    url = nodes.create(name)
    try:
        with content_sites(url, tmp_path_factory.mktemp("sites")) as sites:
            for site in (sites.garden, sites.sternwarte):
                for number in range(3):
                    sites.add(site, f"entry-{number}", tags=["fruit", "green"])
            before = catalog_of(sites.engine)
            run(sites.engine, plan_distribution(before, allow_triggers=True, shards=4), lambda _line: None)
            yield before, sites
    finally:
        nodes.drop(name)


@pytest.fixture
def sites(before_and_after: tuple[Catalog, ContentSites]) -> ContentSites:
    return before_and_after[1]


def session_of(sites: ContentSites, host: str = GARDEN) -> Session:
    return Session(sites.engine, info={"site": sites.garden if host == GARDEN else sites.sternwarte})


@pytest.mark.parametrize("path", ["/", "/entries/entry-1", "/tags/fruit", "/archive", "/feed.xml", "/search?q=entry"])
@pytest.mark.parametrize("host", [GARDEN, STERNWARTE])
def test_pages_show_rows_of_their_site(sites: ContentSites, host: str, path: str) -> None:
    text = sites.browser(host).get(path, status=200).text
    other = "Sternwarte" if host == GARDEN else "Garden"
    assert ("Garden" if host == GARDEN else "Sternwarte") in text
    assert other not in text


def test_every_statement_of_a_page_goes_to_one_shard(sites: ContentSites) -> None:
    with sites.engine.connect() as connection, all_sites("a test"):
        plan = "\n".join(
            connection.exec_driver_sql(
                f"EXPLAIN SELECT * FROM entries e JOIN entry_tags t ON t.site_id = e.site_id AND t.entry_id = e.id "
                f"WHERE e.site_id = {sites.garden.id} AND t.site_id = {sites.garden.id}"
            ).scalars()
        )
    assert "Task Count: 1" in plan


def test_triggers_count_entries_and_date_tags(sites: ContentSites) -> None:
    with session_of(sites) as session:
        count = sa.select(sa.func.sum(entry_counts.c.entries))
        before = session.scalar(count)
        tag = session.scalars(sa.select(Tag).where(Tag.slug == "fruit")).one()
        first = session.scalars(sa.select(Entry)).first()
        assert first is not None
        entry = Entry(slug="counted", title="Counted", published=first.published, tags=[tag])
        session.add(entry)
        session.flush()
        assert session.scalar(count) == before + 1
        listed = sa.select(entry_tags.c.listed).where(entry_tags.c.entry_id == entry.id)
        assert session.scalar(listed) == first.published
        session.delete(entry)
        session.flush()
        assert session.scalar(count) == before
        session.rollback()


def test_integrity_errors_are_those_of_one_server(sites: ContentSites) -> None:
    with session_of(sites) as session:
        session.add(Tag(slug="fruit", name="again"))
        with pytest.raises(IntegrityError) as raised:
            session.flush()
        assert raised.value.orig.diag.constraint_name == "uq_tags_site_id_slug"
        assert 'violates unique constraint "uq_tags_site_id_slug"' in str(raised.value)
        session.rollback()
        # The coordinator reports XX000 here.
        again = sa.insert(Tag).from_select(["slug", "name"], sa.select(Tag.slug, Tag.name))
        with pytest.raises(IntegrityError, match='violates unique constraint "uq_tags_site_id_slug"'):
            session.execute(again)


def test_a_statement_that_cannot_be_planned_says_what_to_write(sites: ContentSites) -> None:
    with all_sites("a test"), Session(sites.engine) as session:
        tagged = sa.select(Entry.slug).join(entry_tags, entry_tags.c.entry_id == Entry.id)
        with pytest.raises(sa.exc.DatabaseError, match="compare site_id of both tables too"):
            session.execute(tagged)
        session.rollback()
        assert len(session.execute(tagged.where(entry_tags.c.site_id == Entry.site_id)).all()) == 12
        key = sa.dialects.postgresql.insert(Redirect).values(site_id=1, id=1, path="/a", target="/b", status=301)
        with pytest.raises(ProgrammingError, match=r"ON CONFLICT \(site_id, id\)"):
            session.execute(key.values(imported=False).on_conflict_do_nothing(index_elements=["id"]))


def test_check_finds_nothing(sites: ContentSites) -> None:
    found = [finding for finding in check(sites.app, metadata=[Base.metadata]) if finding.severity == "fault"]
    assert [str(finding) for finding in found if finding.kind != "migrations"] == []


def test_restrictive_policies_are_permissive_on_workers_and_others_are_reported(sites: ContentSites) -> None:
    """If this fails, Citus has learned to create restrictive policies, and other policies need no finding any more."""
    with operations(sites.engine) as op:
        op.enable_row_security("tags", all_sites_role="postgres", form="setting")
        op.execute("CREATE POLICY own ON tags AS RESTRICTIVE USING (true)")
    try:
        with unlimited(sites.engine) as connection:
            ask = (
                "SELECT string_agg(DISTINCT polpermissive::text, ',') FROM pg_policy WHERE polname = 'multisite_limit'"
            )
            asked = connection.execute(sa.text("SELECT result FROM run_command_on_workers(:ask)"), {"ask": ask})
            assert set(asked.scalars()) == {"true"}
            (table,) = (each for each in secured_tables(connection) if each.table == "tags")
        assert (table.is_distributed, table.has_limit, table.widening) == (True, True, ["own"])
        found = [each.subject for each in find_obstacles(catalog_of(sites.engine)) if each.kind == "restrictive-policy"]
        assert found == ["public.tags own"]
    finally:
        with operations(sites.engine) as op:
            op.execute("DROP POLICY own ON tags")
            op.disable_row_security("tags")


def entries_of(sites: ContentSites, site: Site) -> dict[str, tuple[str, list[str]]]:
    with Session(sites.engine, info={"site": site}) as session:
        return {
            entry.slug: (entry.body_html, sorted(tag.name for tag in entry.tags))
            for entry in session.scalars(sa.select(Entry))
        }


def test_a_site_is_copied_archived_replaced_removed_and_restored(sites: ContentSites, tmp_path: Path) -> None:
    settings = replace(parse_settings(sites.settings), archives_dir=tmp_path / "archives")
    options: dict[str, Any] = {"settings": settings, "contents": SiteContents(metadata=[Base.metadata])}
    before, other = entries_of(sites, sites.garden), entries_of(sites, sites.sternwarte)
    assert len(before) == 3
    archive = tmp_path / "garden.zip"
    exported = export_site(sites.engine, GARDEN, archive, **options)
    copied = copy_site(sites.engine, GARDEN, "copy.example", live=True, **options)
    imported = import_site(sites.engine, archive, host="import.example", **options)
    assert exported.rows == copied.target.rows == imported.rows
    copy, new = (get_site(sites.engine, host).site for host in ("copy.example", "import.example"))
    assert entries_of(sites, copy) == entries_of(sites, new) == before
    with Session(sites.engine, info={"site": copy}) as session:
        session.execute(sa.delete(Entry).where(Entry.slug == "entry-1"))
        session.commit()
    restore_site(sites.engine, "copy.example", archive=archive, **options)
    assert entries_of(sites, copy) == before
    assert measure_sites(sites.engine, settings) == 4
    removed = remove_site(sites.engine, "copy.example", **options)
    assert removed.rows == {**exported.rows, "entry_counts": 1}
    assert entries_of(sites, copy) == {}
    assert measure_sites(sites.engine, settings) == 3
    restore_site(sites.engine, "copy.example", **options)
    assert entries_of(sites, get_site(sites.engine, "copy.example").site) == before
    for host in ("copy.example", "import.example"):
        remove_site(sites.engine, host, erase=True, **options)
    assert (entries_of(sites, sites.garden), entries_of(sites, sites.sternwarte)) == (before, other)


RING = """
    CREATE TABLE hens (site_id bigint REFERENCES sites, id bigint, egg bigint {0}, PRIMARY KEY (site_id, id));
    CREATE TABLE eggs (site_id bigint REFERENCES sites, id bigint, hen bigint {0}, PRIMARY KEY (site_id, id));
    SELECT create_distributed_table('hens', 'site_id', colocate_with => 'entries');
    SELECT create_distributed_table('eggs', 'site_id', colocate_with => 'entries');
    ALTER TABLE hens ADD CONSTRAINT hens_egg FOREIGN KEY (site_id, egg) REFERENCES eggs {1};
    ALTER TABLE eggs ADD CONSTRAINT eggs_hen FOREIGN KEY (site_id, hen) REFERENCES hens {1};
    SET LOCAL citus.propagate_set_commands = 'local';
    SET LOCAL session_replication_role = replica;
    INSERT INTO hens VALUES ({2}, 1, 2), ({2}, 2, 1);
    INSERT INTO eggs VALUES ({2}, 1, 2), ({2}, 2, 1);
"""


@pytest.mark.parametrize(
    ("null", "action"), [("", ""), ("NOT NULL", ""), ("NOT NULL", "DEFERRABLE"), ("NOT NULL", "ON DELETE CASCADE")]
)
def test_a_site_whose_tables_refer_to_each_other_is_removed(sites: ContentSites, null: str, action: str) -> None:
    settings = parse_settings(sites.settings)
    site = add_site(sites.engine, "hens.example", settings=settings)
    with unlimited(sites.engine) as connection, connection.begin():
        connection.exec_driver_sql("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
        for statement in RING.format(null, action, site.id).split(";")[:-1]:
            connection.exec_driver_sql(statement)
    try:
        assert remove_site(sites.engine, "hens.example", settings=settings, erase=True).rows == {"hens": 2, "eggs": 2}
    finally:
        with unlimited(sites.engine) as connection, connection.begin():
            connection.exec_driver_sql("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
            connection.exec_driver_sql("ALTER TABLE hens DROP CONSTRAINT hens_egg")
            connection.exec_driver_sql("DROP TABLE eggs, hens")
            connection.execute(sa.text("DELETE FROM domains WHERE site_id = :id"), {"id": site.id})
            connection.execute(sa.text("DELETE FROM sites WHERE id = :id"), {"id": site.id})


def _move(connection: sa.Connection, move: str, values: dict[str, Any]) -> None:
    for last in (False, False, True):
        try:
            connection.execute(sa.text(move), values)
            return
        except sa.exc.InternalError as error:
            # What the move before has left behind is deleted in the background.
            if last or "orphaned shard" not in str(error):
                raise
            time.sleep(2)


def test_shards_move_under_load(sites: ContentSites) -> None:
    stop, done = threading.Event(), []
    wrong: list[object] = []

    def load() -> None:
        browser = sites.browser(GARDEN)
        while not stop.is_set():
            try:
                page = browser.get("/", status="*")
            except Exception as error:  # The test fails with it.
                wrong.append(error)
                continue
            done.append(page.status_int)
            if page.status_int != 200 or "Sternwarte" in page.text:
                wrong.append(page.text)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        shard = isolate_site(sites.engine, sites.garden.id)
        with sites.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, all_sites("a test"):
            placements = "SELECT nodename, nodeport FROM pg_dist_shard_placement WHERE shardid = :shard"
            nodes = "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0 ORDER BY 1, 2"
            everywhere = {tuple(row) for row in connection.execute(sa.text(nodes))}
            for _ in range(2):
                (here,) = (tuple(row) for row in connection.execute(sa.text(placements), {"shard": shard}))
                there = min(everywhere - {here})
                connection.exec_driver_sql("SET citus.enable_unsafe_triggers TO on")
                move = "SELECT citus_move_shard_placement(:shard, :host, :port, :to_host, :to_port)"
                values = {"shard": shard, "host": here[0], "port": here[1], "to_host": there[0], "to_port": there[1]}
                _move(connection, move, values)
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert len(done) > 3
    listed = list_shards(sites.engine)
    assert [host for node in listed for host in node.isolated] == [GARDEN]
    assert sum(node.sites for node in listed) == 2
    with all_sites("a test"), Session(sites.engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Entry)) == 6


def test_the_commands(sites: ContentSites, tmp_path: Path) -> None:
    ini = tmp_path / "app.ini"
    settings = "\n".join(f"{key} = {value.replace('%', '%%')}" for key, value in sites.settings.items())
    ini.write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{settings}\n", "utf-8")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["-c", str(ini), *arguments])

    assert invoke("isolate-site", STERNWARTE).exit_code == 0
    assert "has a shard of its own already" in invoke("isolate-site", STERNWARTE).output
    newest = json.loads(invoke("list-log", "--json").stdout)[0]
    assert (newest["what"], newest["site"]) == ("isolate-site", STERNWARTE)
    assert f"{STERNWARTE} has a shard of its own" in invoke("list-shards").output
    rows = sum(node["rows"] for node in json.loads(invoke("list-shards", "--json").stdout))
    assert rows > 6


def test_undone_it_is_as_before(before_and_after: tuple[Catalog, ContentSites]) -> None:
    """The last test, since the others need the shards."""
    before, sites = before_and_after
    run(sites.engine, plan_undo(catalog_of(sites.engine)), lambda _line: None)
    assert catalog_of(sites.engine) == before
