"""Lists of sites by text, status and theme, in pages, with their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, make_own_tables
from sqlalchemy import event

from multisite.core.current_site import all_sites
from multisite.core.domains import Domain
from multisite.core.settings import Settings
from multisite.directory import listing, records
from multisite.directory.listing import SiteSelection, count_sites, summarize_sites
from multisite.directory.records import list_sites
from multisite.sites.availability import disable_site, maintain_site
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain


@pytest.fixture
def filled(own_engine: sa.Engine, tmp_path: Path) -> sa.Engine:
    """Return an engine on a database with five sites."""
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates", allow_underscores=True)
    (settings.themes_dir / "dawn").mkdir(parents=True)
    add_site(own_engine, "a.example", settings=settings, name="Ant 100%", theme="dawn", aliases=["under_score.other"])
    add_site(own_engine, "a.example:8080", settings=settings, name="Bee")
    add_site(own_engine, "a.example/shop", settings=settings, name="Cat", theme="dawn")
    add_site(own_engine, "b\u00fccher.example", settings=settings, name="Dog")
    add_site(own_engine, "c.example", settings=settings, name="Eel")
    add_domain(own_engine, "c.example", "*.old.example", redirect=True)
    disable_site(own_engine, "a.example:8080")
    maintain_site(own_engine, "c.example")
    return own_engine


HOSTS = ["a.example", "a.example/shop", "a.example:8080", "c.example", "xn--bcher-kva.example"]


def found(engine: sa.Engine, chosen: SiteSelection, after: str | None = None, limit: int | None = None) -> list[str]:
    """Return the domains of the sites, which both kinds of lists and the number must agree on."""
    begin = None if after is None else Domain(after)
    whole = [record.site.domain for record in list_sites(engine, chosen, after=begin, limit=limit)]
    short = [each for page in summarize_sites(engine, chosen, after=begin, limit=limit) for each in page]
    assert whole == [each.domain for each in short]
    if after is None and limit is None:
        assert sum(count_sites(engine, chosen).values()) == len(whole)
    return whole


FILTERS = [
    (SiteSelection(), HOSTS),
    (SiteSelection("eel"), ["c.example"]),
    (SiteSelection("A.EXAMPLE"), [*HOSTS[:3], HOSTS[4]]),
    (SiteSelection("a.example/s"), ["a.example/shop"]),
    (SiteSelection(":80"), ["a.example:8080"]),
    (SiteSelection("*.old"), ["c.example"]),
    (SiteSelection("B\u00dcCHER.example"), ["xn--bcher-kva.example"]),
    (SiteSelection("100%"), ["a.example"]),
    (SiteSelection("%"), ["a.example"]),
    (SiteSelection("r_s"), ["a.example"]),
    (SiteSelection("\\"), []),
    (SiteSelection("'"), []),
    (SiteSelection(""), HOSTS),
    (SiteSelection(statuses=["disabled", "maintenance"]), ["a.example:8080", "c.example"]),
    (SiteSelection(statuses=["pending"]), []),
    (SiteSelection(theme="dawn"), ["a.example", "a.example/shop"]),
    (SiteSelection(theme=""), HOSTS[2:]),
    (SiteSelection("example", ["active"], "dawn"), ["a.example", "a.example/shop"]),
]


def test_a_filter_chooses_sites(filled: sa.Engine) -> None:
    for chosen, expected in FILTERS:
        assert found(filled, chosen) == expected, chosen


def test_pages_begin_after_a_domain(filled: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 10):
        monkeypatch.setattr(records, "PAGE_SITES", size)
        monkeypatch.setattr(listing, "PAGE_SUMMARIES", size)
        assert found(filled, SiteSelection()) == HOSTS
        for limit in range(1, 7):
            assert found(filled, SiteSelection(), limit=limit) == HOSTS[:limit]
            assert found(filled, SiteSelection(), "a.example", limit) == HOSTS[1 : 1 + limit]
        assert found(filled, SiteSelection(theme="dawn"), "a.example") == ["a.example/shop"]
        # A domain that no site has.
        assert found(filled, SiteSelection(), "b.example") == HOSTS[3:]
        assert found(filled, SiteSelection(), "z.example") == []


def test_sites_are_counted_by_status(filled: sa.Engine) -> None:
    assert count_sites(filled) == {"active": 3, "disabled": 1, "maintenance": 1}
    with all_sites("a test"), filled.begin() as connection:
        connection.exec_driver_sql("UPDATE sites SET status = 'pending' WHERE name = 'Bee'")
    assert count_sites(filled) == {"active": 3, "maintenance": 1, "pending": 1}
    assert count_sites(filled, SiteSelection("nothing")) == {}


def test_a_page_uses_the_index_of_domains(sqlite_database_url: str) -> None:
    """Otherwise each page would sort all sites."""
    sent: list[tuple[str, Any]] = []
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, values, *_: sent.append((text, values)))
        list(summarize_sites(engine, after=Domain("a.example")))
        text, values = sent[-1]
        raw = engine.raw_connection()
        plan = " ".join(row[3] for row in raw.cursor().execute(f"EXPLAIN QUERY PLAN {text}", values))
        raw.close()
    assert "((host,port,path)>(?,?,?))" in plan
    assert "TEMP B-TREE" not in plan


def test_the_command_lists_and_counts(filled: sa.Engine, tmp_path: Path) -> None:
    folder = Folder(tmp_path, filled.url.render_as_string(hide_password=False))

    def printed(*arguments: str) -> str:
        result = folder.invoke("list-sites", *arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    assert printed().splitlines() == [
        "a.example                      Ant 100%",
        "a.example/shop                 Cat",
        "a.example:8080                 Bee (disabled)",
        "c.example                      Eel (maintenance)",
        "xn--bcher-kva.example          Dog",
    ]
    assert printed("--status", "disabled", "--search", "bee") == "a.example:8080                 Bee (disabled)\n"
    assert printed("--after", "A.example:8080", "--limit", "1") == "c.example                      Eel (maintenance)\n"
    assert [each["domain"] for each in json.loads(printed("--theme", "dawn", "--json"))] == HOSTS[:2]
    assert json.loads(printed("--after", "B\u00dcCHER.example", "--json")) == []
    assert printed("--count") == "5 sites: 3 active, 1 disabled, 1 maintenance\n"
    assert printed("--count", "--theme", "none") == "0 sites\n"
    assert json.loads(printed("--count", "--status", "active", "--json")) == {"sites": 3, "statuses": {"active": 3}}
    assert folder.invoke("list-sites", "--count", "--limit", "1").exit_code == 2
    assert folder.invoke("list-sites", "--status", "open").exit_code == 2
    assert "is not a host" in folder.fails("list-sites", "--after", "a b")
