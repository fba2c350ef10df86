"""Missing addresses are counted by site: bounded in memory and rows, written rarely, without effect on pages."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from content_sites import GARDEN, STERNWARTE, ContentSites
from directories import Clock
from sqlalchemy import event
from sqlalchemy.orm import Session

from multisite import Site
from multisite.cli import main
from multisite.content import missing
from multisite.content.missing import MissingCounter, list_missing, save_counts
from multisite.content.models import MissingAddress
from multisite.content.not_found import COUNTER
from multisite.content.redirect_rules import parse_rule
from multisite.content.redirects import save_redirects


def site(number: int) -> Site:
    return Site(id=number, host=f"s{number}.example", name="S", folder="s")


def stored(sites: ContentSites, owner: Site) -> dict[str, int]:
    with Session(sites.engine, info={"site": owner}) as session:
        return {row.path: row.requests for row in session.scalars(sa.select(MissingAddress))}


# In memory.


def test_counts_are_taken_at_most_once_in_ten_seconds(clock: Clock) -> None:
    counter = MissingCounter(clock)
    counter.count(site(1), "/a")
    assert [(each.id, dict(counts)) for each, counts in counter.take()] == [(1, {"/a": 1})]
    counter.count(site(1), "/a")
    counter.count(site(2), "/a")
    counter.count(site(1), "/a")
    assert counter.take() == ()
    clock.now += missing.WRITE_SECONDS
    assert [(each.id, dict(counts)) for each, counts in counter.take()] == [(1, {"/a": 2}), (2, {"/a": 1})]
    counter.count(site(1), "/a")
    counter.pause()
    clock.now += missing.PAUSE_SECONDS - 1
    assert counter.take() == ()


def test_a_flood_of_addresses_does_not_hide_the_wanted_ones_nor_fill_the_memory(clock: Clock) -> None:
    counter = MissingCounter(clock)
    for number in range(20_000):
        counter.count(site(1), f"/{number}")
        if number % 20 == 0:
            counter.count(site(1), "/wanted")
    ((_, counts),) = counter.take()
    assert len(counts) <= missing.SITE_ADDRESSES
    assert max(counts, key=counts.__getitem__) == "/wanted"
    assert 500 < counts["/wanted"] <= 1000


def test_addresses_of_many_sites_are_bounded_and_all_written(clock: Clock) -> None:
    counter = MissingCounter(clock)
    for number in range(150):
        for path in range(missing.SITE_ADDRESSES):
            counter.count(site(number), f"/{path}")
    counter.count(site(149), "x" * 501)
    counter.count(site(149), "/\n")
    seen = []
    while taken := counter.take():
        assert len(taken) <= missing.SITES_AT_ONCE
        seen += taken
        clock.now += missing.WRITE_SECONDS
    assert sum(len(counts) for _, counts in seen) == missing.ALL_ADDRESSES
    assert len({each.id for each, _ in seen}) == len(seen) == 100
    counter.count(site(1), "/again")
    assert [dict(counts) for _, counts in counter.take()] == [{"/again": 1}]


def test_threads_count_together(clock: Clock) -> None:
    counter = MissingCounter(clock)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: counter.count(site(1), f"/{number % 10}"), range(5000)))
    assert [dict(counts) for _, counts in counter.take()] == [{f"/{number}": 500 for number in range(10)}]


# In the database.


def test_counts_are_added_and_the_rarest_rows_deleted(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "MAX_ROWS", 3)
    save_counts(sites.engine, sites.sternwarte, {"/a": 1})
    save_counts(sites.engine, sites.garden, {"/a": 5, "/b": 1, "/ü": 3})
    save_counts(sites.engine, sites.garden, {"/a": 1, "/c": 2})
    assert stored(sites, sites.garden) == {"/a": 6, "/ü": 3, "/c": 2}
    assert stored(sites, sites.sternwarte) == {"/a": 1}


def test_a_404_of_a_site_is_counted_for_it_alone(sites: ContentSites) -> None:
    garden, sternwarte = sites.browser(GARDEN), sites.browser(STERNWARTE)
    counter = sites.app.registry[COUNTER]
    for path in ("/old/", "/old/index.html?x=1", "/entries/none"):
        garden.get(path, status=404)
    sternwarte.get("/theirs", status=404)
    sternwarte.post("/theirs", status=404)
    garden.get("/", status=200)
    for _ in range(2):
        counter._next_write = 0
        garden.get("/old", status=404)
    assert stored(sites, sites.garden) == {"/old": 4, "/entries/none": 1}
    assert stored(sites, sites.sternwarte) == {"/theirs": 1}


def test_a_hundred_404s_cost_one_write(sqlite_sites: ContentSites, clock: Clock) -> None:
    browser = sqlite_sites.browser(GARDEN)
    sqlite_sites.app.registry[COUNTER] = MissingCounter(clock)
    browser.get("/0", status=404)
    assert stored(sqlite_sites, sqlite_sites.garden) == {"/0": 1}
    sqlite_sites.statements.clear()
    for number in range(100):
        browser.get(f"/{number}", status=404)
    assert [each for each in sqlite_sites.statements if not each.startswith("SELECT")] == []
    clock.now += missing.WRITE_SECONDS
    browser.get("/0", status=404)
    assert len(stored(sqlite_sites, sqlite_sites.garden)) == 100


def test_counting_does_not_invalidate_the_pages_of_the_site(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings["multisite.page_cache_seconds"] = "60"
    sqlite_sites.add(sqlite_sites.garden, "page")
    browser = sqlite_sites.browser(GARDEN)
    browser.get("/entries/page")
    browser.get("/nowhere", status=404)
    assert stored(sqlite_sites, sqlite_sites.garden) == {"/nowhere": 1}
    sqlite_sites.queries()
    assert "page of Garden" in browser.get("/entries/page")
    assert sqlite_sites.queries() == []


def test_a_database_that_cannot_be_written_does_not_break_the_404(
    sqlite_sites: ContentSites, caplog: pytest.LogCaptureFixture
) -> None:
    browser = sqlite_sites.browser(GARDEN)

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO missing_addresses"):
            raise sa.exc.OperationalError(statement, {}, Exception("database is locked"))

    event.listen(sa.engine.Engine, "before_cursor_execute", refuse)
    try:
        browser.get("/nowhere", status=404)
    finally:
        event.remove(sa.engine.Engine, "before_cursor_execute", refuse)
    assert [record.message.partition(":")[0] for record in caplog.records if record.name.endswith("not_found")] == [
        "counts of missing addresses were not written"
    ]
    assert stored(sqlite_sites, sqlite_sites.garden) == {}
    browser.get("/nowhere", status=404)
    assert stored(sqlite_sites, sqlite_sites.garden) == {}


def test_counts_of_a_removed_site_do_not_hold_up_those_of_others(sites: ContentSites) -> None:
    gone = Site(999_999, "gone.example", "Gone", "gone.example")
    counter = sites.app.registry[COUNTER]
    counter._next_write = float("inf")
    counter.count(gone, "/theirs")
    counter.count(sites.garden, "/ours")
    counter._next_write = 0
    sites.browser(STERNWARTE).get("/too", status=404)
    assert stored(sites, sites.garden) == {"/ours": 1}
    assert stored(sites, sites.sternwarte) == {"/too": 1}


# The command.


def test_the_command_lists_what_is_still_missing(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    save_counts(sqlite_sites.engine, sqlite_sites.garden, {"/a": 5, "/b": 7, "/blog/x": 9, "/c": 5})
    save_counts(sqlite_sites.engine, sqlite_sites.sternwarte, {"/theirs": 5})
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        save_redirects(session, [parse_rule("/blog/*", "/")])
        session.commit()
        assert [row.path for row in list_missing(session, 2)] == ["/b", "/a"]
    ini = tmp_path / "test.ini"
    lines = [f"{key} = {value}" for key, value in sqlite_sites.settings.items()]
    ini.write_text("\n".join(["[app:main]", "use = egg:pyramid-multisite", *lines, ""]))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["-c", str(ini), "list-missing", *arguments])
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout

    assert [line.rpartition(" (last on ")[0] for line in run(GARDEN).splitlines()] == [
        "       7 /b",
        "       5 /a",
        "       5 /c",
    ]
    found = json.loads(run(GARDEN, "--json", "--limit", "1", "--clear"))
    assert [(each["path"], each["requests"], "seen" in each) for each in found] == [("/b", 7, True)]
    assert run(GARDEN) == ""
    assert run(STERNWARTE).startswith("       5 /theirs")
