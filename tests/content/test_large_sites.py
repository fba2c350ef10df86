"""Pages of a site with any number of entries: lists by key, counts that triggers keep, and indexes that all use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from databases import fresh_database
from paths import ROOT
from sqlalchemy import event
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site, all_sites
from multisite.cli.upgrade import upgrade
from multisite.content import pager
from multisite.content.listing import EntryList, PlaceName
from multisite.content.models import Entry, Tag, entry_counts, entry_tags
from multisite.content.settings import POSTS_PER_PAGE
from multisite.core.keys import DIRECTORY
from multisite.directory.models import AS_MULTISITE, SiteRow

NEWEST = datetime(2024, 5, 5, 12, tzinfo=UTC)


def path_of(url: str) -> str:
    return url.removeprefix(f"http://{GARDEN}")


def titles(page: Any) -> list[str]:
    return [link.text for link in page.html.select(".entry-card h2 a, .archive-list a")]


def walk(browser: TestApp, path: str, direction: str) -> Iterator[tuple[str, list[str]]]:
    """Yield path and titles of a page and of those that follow it in `direction`, by its links."""
    while True:
        page = browser.get(path)
        assert path_of(page.html.select_one("link[rel=canonical]")["href"]) == path
        yield path, titles(page)
        link = page.html.select_one(f".pager-{direction}")
        if link is None:
            return
        path = path_of(link["href"])


# Older and newer by key.


@pytest.mark.parametrize(("path", "size"), [("/", 2), ("/tags/t", 2), ("/archive/2024", 2)])
def test_pages_after_the_last_number_are_found_by_key(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch, path: str, size: int
) -> None:
    monkeypatch.setattr(pager, "MAX_PAGE", 2)
    monkeypatch.setattr("multisite.content.pages.ARCHIVE_SIZE", size)
    monkeypatch.setattr("multisite.content.pages._page_size", lambda _request: size)
    # Three of one moment, so that a page ends between them.
    hours = [0, 1, 2, 3, 4, 4, 4, 5, 6]
    for number, hour in enumerate(hours):
        sites.add(sites.garden, f"e{number}", title=f"E{number}", published=NEWEST - timedelta(hours=hour), tags=["t"])
    for hour in (4, 5):
        sites.add(sites.sternwarte, f"e{hour}", published=NEWEST - timedelta(hours=hour), tags=["t"])
    browser = sites.browser(GARDEN)
    found = list(walk(browser, path, "older"))
    assert [title for _, page in found for title in page] == ["E0", "E1", "E2", "E3", "E6", "E5", "E4", "E7", "E8"]
    before = f"{path}?before="
    assert [each for each, _ in found] == [
        path, f"{path}?page=2", f"{before}2024-05-05T09:00:00Z-e3", f"{before}2024-05-05T08:00:00Z-e5",
        f"{before}2024-05-05T07:00:00Z-e7",
    ]  # fmt: skip
    back = list(walk(browser, found[-1][0], "newer"))
    assert [title for _, page in back for title in page[::-1]][:7] == ["E8", "E7", "E4", "E5", "E6", "E3", "E2"]
    assert back[-1] == found[0]
    browser.get(f"{path}?page=3", status=404)


@pytest.mark.parametrize("kind", ["home", "tag", "year", "past year"])
def test_a_first_page_has_the_rows_that_a_statement_on_models_returns(sites: ContentSites, kind: str) -> None:
    for site in (sites.garden, sites.sternwarte):
        for hour in range(6):
            published = NEWEST - timedelta(hours=hour)
            tags = ["t", "a"] if hour % 2 else ["b"]
            sites.add(site, f"e{hour}", published=published, tags=tags, draft=hour == 1)
    year = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    now = NEWEST - timedelta(hours=1) if kind != "past year" else datetime(2026, 1, 1, tzinfo=UTC)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        tag = session.scalars(sa.select(Tag).where(Tag.slug == "t")).one() if kind == "tag" else None
        listed = EntryList(now, tag=tag, between=year if "year" in kind else None).page(session, size=3)
        wanted = sa.select(Entry).where(Entry.draft == sa.false(), Entry.published <= now)
        if tag is not None:
            wanted = wanted.where(Entry.tags.any(Tag.id == tag.id))
        entries = session.scalars(wanted.order_by(Entry.published.desc(), Entry.id.desc())).all()
        assert len(entries) >= 2
        assert listed.has_more == (len(entries) > 3)
        names = ("id", "slug", "title", "summary", "published", "updated", "picture")
        for found, entry in zip(listed.entries, entries[:3], strict=True):
            assert [getattr(found, name) for name in names] == [getattr(entry, name) for name in names]
            assert [(each.slug, each.name) for each in found.tags] == [(each.slug, each.name) for each in entry.tags]


def test_a_page_by_key_shows_the_same_entries_later(sites: ContentSites) -> None:
    sites.add_many(sites.garden, 3 * POSTS_PER_PAGE)
    browser = sites.browser(GARDEN)
    path = "/?before=2024-05-05T04:00:00Z-entry-008"
    before = titles(browser.get(path))
    assert before == [f"Entry {number:03}" for number in range(9, 9 + POSTS_PER_PAGE)]
    sites.add(sites.garden, "new", published=NEWEST + timedelta(hours=1))
    assert titles(browser.get(path)) == before
    with Session(sites.engine, info={"site": sites.garden}) as session:
        session.execute(sa.update(Entry).where(Entry.slug == "entry-008").values(draft=True))
        session.commit()
        assert titles(browser.get(path)) == before
        session.execute(sa.delete(Entry).where(Entry.slug == "entry-008"))
        session.commit()
    assert titles(browser.get(path)) == before


def test_the_slug_of_another_site_in_a_key_says_nothing(sites: ContentSites) -> None:
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, f"of-{site.id}")
    browser = sites.browser(GARDEN)
    # Without an entry of that name, the entries of its moment are shown again.
    for slug in (f"of-{sites.sternwarte.id}", "nothing"):
        page = browser.get(f"/?before=2024-05-05T12:00:00Z-{slug}")
        assert titles(page) == [f"of-{sites.garden.id} of Garden"]
    browser.get(f"/?before=2024-05-05T12:00:00Z-of-{sites.garden.id}", status=404)


@pytest.mark.parametrize(
    "query",
    [
        "before=", "before=x", "before=Z-x", "before=2024-05-05T12:00:00Z-", "before=2024-13-05T12:00:00Z-x",
        "before=2024-05-05Z-x", "before=20240505T120000Z-x", "before=2024-05-05T12:00:00%2B00:00Z-x",
        "before=0001-01-01T00:00:00Z-x", "before=9999-12-31T23:59:59Z-%00", "before=2024-05-05T12:00:00Z-" + "x" * 201,
        "before=2024-05-05T12:00:00Z-entry-000&page=1", "page=101", "page=9999999",
    ],
)  # fmt: skip
def test_another_key_or_number_is_not_found(sites: ContentSites, query: str) -> None:
    sites.add_many(sites.garden, 3)
    browser = sites.browser(GARDEN)
    browser.get("/?before=2024-05-05T12:00:00Z-entry-000")
    sites.queries()
    browser.get(f"/?{query}", status=404)
    if "0001" not in query:
        assert sites.queries() == []


def test_a_key_is_read_as_it_was_written() -> None:
    for when in (NEWEST, datetime(7, 1, 1, microsecond=5, tzinfo=UTC)):
        for slug in ("a", "über-uns", "aZ-bZ-c"):
            key = PlaceName(when, slug)
            assert PlaceName.parse(str(key)) == key


# Counts and the order of tags.


def kept(engine: sa.Engine) -> tuple[set[Any], set[Any]]:
    with all_sites("a test"), engine.connect() as connection:
        counts = connection.execute(sa.select(entry_counts).where(entry_counts.c.entries != 0)).all()
        listed = connection.execute(sa.select(entry_tags)).all()
    return {tuple(row) for row in counts}, {tuple(row) for row in listed}


def expected(engine: sa.Engine) -> tuple[set[Any], set[Any]]:
    """Return the same, from the entries."""
    counts: Counter[tuple[int, str]] = Counter()
    with all_sites("a test"), engine.connect() as connection:
        entries = connection.execute(sa.select(Entry.site_id, Entry.id, Entry.draft, Entry.published)).all()
        tags = connection.execute(sa.select(entry_tags.c.site_id, entry_tags.c.entry_id, entry_tags.c.tag_id)).all()
    shown = {entry.id: None if entry.draft else entry.published for entry in entries}
    for entry in entries:
        if not entry.draft:
            edge = entry.published.strftime("%m-%d") in {"12-31", "01-01"}
            counts[entry.site_id, f"{entry.published:{'%Y-%m-%d %H:%M:%S' if edge else '%Y-%m'}}"] += 1
    return {(*key, count) for key, count in counts.items()}, {(*tag, shown[tag.entry_id]) for tag in tags}


def test_counts_and_tags_are_true_after_every_kind_of_statement(sites: ContentSites) -> None:
    edge = datetime(2023, 12, 31, 23, 30, 5, 7, tzinfo=UTC)
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, "a", tags=["t", "u"])
        sites.add(site, "b", tags=["t"], published=edge)
        sites.add(site, "c", tags=["t"], draft=True, published=None)
        sites.add(site, "d", published=datetime.now(UTC) + timedelta(days=400))
    seen = [kept(sites.engine)]

    def check() -> None:
        found = kept(sites.engine)
        assert found == expected(sites.engine)
        assert found != seen[-1]
        seen.append(found)

    assert seen[0] == expected(sites.engine)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        tag = session.scalars(sa.select(Tag).where(Tag.name == "u")).one()
        entry = session.scalars(sa.select(Entry).where(Entry.slug == "c")).one()
        new = [{"slug": f"n{n}", "title": "", "published": NEWEST, "draft": n > 2} for n in range(5)]
        changes: list[Any] = [
            lambda: session.execute(sa.update(Entry).values(draft=False, published=edge)),
            lambda: session.execute(sa.update(Entry).where(Entry.slug < "c").values(draft=True)),
            lambda: session.execute(sa.update(Entry).values(draft=False)),
            lambda: session.execute(sa.update(Entry).values(published=edge + timedelta(hours=1))),
            lambda: session.execute(sa.insert(Entry), new),
            lambda: entry.tags.append(tag),
            lambda: session.delete(entry),
            lambda: session.connection().execute(sa.delete(Entry.__table__).where(Entry.slug == "b")),
            lambda: session.execute(sa.delete(Tag)),
        ]  # fmt: skip
        for change in changes:
            change()
            session.commit()
            check()
        session.execute(sa.delete(Entry))
        session.rollback()
        assert kept(sites.engine) == seen[-1]
        assert seen[-1] == expected(sites.engine)


def test_counts_are_true_after_concurrent_changes(sites: ContentSites) -> None:
    def add(number: int) -> None:
        sites.add((sites.garden, sites.sternwarte)[number % 2], f"e{number}", published=NEWEST)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(24)))
    counts, _ = kept(sites.engine)
    assert counts == {(site.id, "2024-05", 12) for site in (sites.garden, sites.sternwarte)}


def test_the_archive_counts_years_of_the_site_s_time_zone_without_scheduled_entries(sites: ContentSites) -> None:
    for hour in range(-26, 26):
        sites.add(sites.sternwarte, f"e{hour}", published=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour))
    now = datetime.now(UTC)
    sites.add(sites.sternwarte, "scheduled", published=now + timedelta(hours=1))
    sites.add(sites.sternwarte, "on-new-year-s-day", published=datetime(now.year + 1, 1, 1, tzinfo=UTC))
    items = sites.browser(STERNWARTE).get("/archive").html.select(".year-list li")
    assert [" ".join(item.text.split()) for item in items] == ["2024 27 Beiträge", "2023 25 Beiträge"]


def statements_of_triggers(engine: sa.Engine) -> list[Any]:
    if engine.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
    else:
        query = (
            "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
            "UNION ALL SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
        )
    with engine.connect() as connection, all_sites("a test"):
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
    return [row for row in found if not row[0].startswith("multisite_")]  # Without those of multisite's own tables.


def test_the_revision_creates_the_triggers_and_counts_what_is_there(sites: ContentSites, tmp_path: Path) -> None:
    wanted = statements_of_triggers(sites.engine)
    assert len(wanted) >= 5
    text = (ROOT / "development.ini").read_text("utf-8")
    text = text.replace("sqlite:///%(here)s/var/multisite.db", sites.settings["sqlalchemy.url"].replace("%", "%%"))
    ini = tmp_path / "test.ini"
    ini.write_text(text.replace("%(here)s/migrations", str(ROOT / "migrations")), "utf-8")
    command.stamp(Config(str(ini)), "head")
    command.downgrade(Config(str(ini)), "content_0005")
    assert statements_of_triggers(sites.engine) == []
    with sites.engine.begin() as connection, all_sites("a test"):
        for site in (sites.garden, sites.sternwarte):
            for slug, draft in (("a", False), ("b", True)):
                values = {"slug": slug, "title": slug, "published": NEWEST, "draft": draft, "site_id": site.id}
                entry = connection.execute(sa.insert(Entry).values(values).returning(Entry.id)).scalar_one()
                tag = connection.execute(sa.insert(Tag).values(slug=slug, name=slug, site_id=site.id).returning(Tag.id))
                link = {"site_id": site.id, "entry_id": entry, "tag_id": tag.scalar_one()}
                connection.execute(sa.insert(entry_tags).values(link))
    upgrade(ini)
    assert statements_of_triggers(sites.engine) == wanted
    assert kept(sites.engine) == expected(sites.engine)
    assert len(kept(sites.engine)[0]) == 2


# Indexes.


def fill(engine: sa.Engine, site: Site, count: int) -> None:
    """Add `count` entries of twenty years, a third of them with one tag and one in a thousand with another."""
    with engine.begin() as connection, all_sites("a test"):
        tags = [
            connection.execute(
                sa.insert(Tag).values(site_id=site.id, slug=name, name=name).returning(Tag.id)
            ).scalar_one()
            for name in ("often", "rare")
        ]
        first = connection.execute(sa.select(sa.func.coalesce(sa.func.max(Entry.id), 0))).scalar_one() + 1
        step = timedelta(days=20 * 365) / count
        connection.execute(
            sa.insert(Entry),
            [
                {
                    "id": first + number, "site_id": site.id, "slug": f"e{number}", "title": f"E{number}",
                    "summary": "", "body": "", "body_html": "", "published": NEWEST - number * step,
                    "updated": NEWEST, "draft": number % 50 == 49,
                }
                for number in range(count)
            ],
        )  # fmt: skip
        links = [(number, tags[0]) for number in range(0, count, 3)] + [(n, tags[1]) for n in range(0, count, 1000)]
        connection.execute(
            sa.insert(entry_tags),
            [{"site_id": site.id, "entry_id": first + number, "tag_id": tag} for number, tag in links],
        )
    if engine.dialect.name == "postgresql":  # Does this by itself; on SQLite nobody does.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, all_sites("a test"):
            connection.exec_driver_sql("VACUUM ANALYZE")


def fill_others(engine: sa.Engine, count: int) -> None:
    """Add `count` sites with one tagged draft each, so that a value of `tag_id` looks rare by its average frequency."""
    rows = [{"name": f"s{number}.example", "folder": f"s{number}.example"} for number in range(count)]
    with engine.begin() as connection, all_sites("a test"):
        connection.execution_options(**AS_MULTISITE).execute(sa.insert(SiteRow), rows)
    with engine.begin() as connection, all_sites("a test"):
        added = sa.select(SiteRow.id).where(SiteRow.name.like("s%.example"), SiteRow.name.not_in([STERNWARTE]))
        first = connection.execute(sa.select(sa.func.coalesce(sa.func.max(Entry.id), 0))).scalar_one() + 1
        ids = [(first + number, site_id) for number, site_id in enumerate(connection.scalars(added))]
        entry = {"slug": "e0", "title": "E0", "updated": NEWEST, "draft": True}
        tag = {"slug": "often", "name": "often"}
        connection.execute(sa.insert(Entry), [{"id": key, "site_id": site_id, **entry} for key, site_id in ids])
        tags = sa.insert(Tag).returning(Tag.site_id, Tag.id)
        tag_ids = dict(connection.execute(tags, [{"site_id": site_id, **tag} for _, site_id in ids]).all())
        links = [{"site_id": site_id, "entry_id": key, "tag_id": tag_ids[site_id]} for key, site_id in ids]
        connection.execute(sa.insert(entry_tags), links)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    """Yield two sites, of which one has 20,000 entries and the other 100, among 90 others."""
    with fresh_database(request, tmp_path_factory) as url, content_sites(url, tmp_path_factory.mktemp("sites")) as made:
        fill(made.engine, made.garden, 20_000)
        fill_others(made.engine, 90)
        fill(made.engine, made.sternwarte, 100)
        yield made


LARGE_PATHS = [
    "/", "/?page=2", "/?page=100", "/?before=2014-05-05T12:00:00Z-e100", "/tags/often", "/tags/rare",
    "/tags/often?page=50", "/tags/often?before=2014-05-05T12:00:00Z-e100", "/archive", "/archive/2014",
    "/archive/2014?page=3", "/entries/e10000", "/feed.xml", "/sitemap.xml", "/sitemap-2014-05.xml",
]  # fmt: skip


def plans(sites: ContentSites, path: str) -> dict[str, str]:
    """Return the plans of the statements that the page sends, by the statement."""
    sent: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "entries" in statement or "tags" in statement:
            sent.append((statement, parameters))

    engine = sites.app.registry[DIRECTORY].engine
    event.listen(engine, "before_cursor_execute", record)
    try:
        sites.browser(GARDEN).get(path)
    finally:
        event.remove(engine, "before_cursor_execute", record)
    sites.engine.dispose()  # Python's driver for SQLite caches the result of EXPLAIN.
    prefix = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN (ANALYZE) "
    with sites.engine.connect() as connection, all_sites("a test"):
        return {
            statement: "\n".join(str(row) for row in connection.exec_driver_sql(prefix + statement, parameters))
            for statement, parameters in sent
        }


@pytest.mark.parametrize("path", LARGE_PATHS)
def test_every_statement_of_a_large_site_finds_its_rows_by_an_index(large: ContentSites, path: str) -> None:
    found = plans(large, path)
    assert found
    for statement, plan in found.items():
        # Tags are few, and of those of one entry a sort is right; PostgreSQL prefers to read a small table whole.
        few = re.search(r"(Seq Scan on|SCAN) (tags|entry_counts)", plan)
        assert few or not re.search(r"Seq Scan|\bSCAN ", plan), (statement, plan)
        if "LIMIT" in statement:
            assert not re.search(r"Sort|TEMP B-TREE", plan), (statement, plan)
        # On PostgreSQL: rows that are read in vain.
        assert not re.search(r"Removed by Filter: \d{3}", plan), (statement, plan)


@pytest.mark.parametrize("path", ["/", "/?page=2", "/tags/often", "/feed.xml", "/entries/e9000"])
def test_tags_are_found_by_their_entries(large: ContentSites, path: str) -> None:
    (plan,) = (plan for statement, plan in plans(large, path).items() if "entry_tags.entry_id IN" in statement)
    # The other index has all entries of a tag, and would be read to its end.
    assert re.search("pk_entry_tags|sqlite_autoindex_entry_tags_1", plan), plan
    assert "ix_entry_tags_site_id_tag_id_listed_entry_id" not in plan


def steps(sites: ContentSites, host: str, path: str) -> int:
    """Return how many instructions SQLite's virtual machine executes for the page, in tens."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    def count_steps(_connection: Any, cursor: Any, *_: Any) -> None:
        cursor.connection.set_progress_handler(step, 10)

    engine = sites.app.registry[DIRECTORY].engine
    sites.browser(host).get(path)
    event.listen(engine, "before_cursor_execute", count_steps)
    try:
        sites.browser(host).get(path)
    finally:
        event.remove(engine, "before_cursor_execute", count_steps)
        engine.dispose()
    return count


STEP_PATHS = [
    "/", "/?page=3", "/?before=2014-05-07T12:00:00Z-{middle}", "/tags/often", "/tags/often?page=2",
    "/tags/often?before=2014-05-07T12:00:00Z-{middle}",
    "/entries/{middle}", "/feed.xml",
]  # fmt: skip


@pytest.mark.parametrize("path", [f"sqlite: {path}" for path in STEP_PATHS])
def test_sqlite_executes_as_many_instructions_for_a_large_site(large: ContentSites, path: str) -> None:
    path = path.removeprefix("sqlite: ")  # PostgreSQL has no such counter.
    many = steps(large, GARDEN, path.format(middle="e10001"))
    few = steps(large, STERNWARTE, path.format(middle="e48"))
    assert 0 < many <= 1.5 * few


def test_a_missing_index_is_noticed(large: ContentSites) -> None:
    with large.engine.begin() as connection, all_sites("a test"):
        connection.exec_driver_sql("DROP INDEX ix_entry_tags_site_id_tag_id_listed_entry_id")
    try:
        found = plans(large, "/tags/often")
        assert any(re.search(r"Sort|TEMP B-TREE|Seq Scan|SCAN", plan) for plan in found.values())
    finally:
        with large.engine.begin() as connection, all_sites("a test"):
            (index,) = (each for each in entry_tags.indexes)
            index.create(connection)
