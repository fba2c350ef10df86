"""Words by which operators find sites: of their names and of all their domains, and that they stay true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables

from multisite.alembic.migrate import VERSION_TABLE, upgrade_own
from multisite.console.site_list import ORDERS, PAGE_SITES, list_page
from multisite.core.settings import Settings
from multisite.directory import word_table
from multisite.directory.listing import EVERY_SITE, SiteSelection, count_by_status, count_sites
from multisite.directory.models import AS_MULTISITE, DomainRow, SiteRow
from multisite.directory.records import get_site, list_sites
from multisite.directory.word_table import words_of, words_table
from multisite.sites.availability import disable_site, maintain_site
from multisite.sites.batches import NewSite, add_sites
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, move_domain, remove_domain, set_canonical
from multisite.sites.removal import remove_site
from multisite.sites.site_words import complete_words
from multisite.sites.updates import rename_site, set_theme


def test_words_of_a_site() -> None:
    assert words_of("Old Garden", ["www.my-garden.example:8080/shop"]) == {
        "old garden", "garden", "www.my-garden.example:8080/shop", "my-garden.example:8080/shop",
        "garden.example:8080/shop", "example:8080/shop", "8080/shop", "shop",
    }  # fmt: skip
    assert words_of("\u2014", ["*.xn--bcher-kva.example"]) == {
        "xn--bcher-kva.example", "bcher-kva.example", "kva.example", "b\u00fccher.example", "example",
    }  # fmt: skip
    # Half of a surrogate pair, which no database stores.
    assert words_of("x", ["xn--ib9b.example"]) == {"x", "xn--ib9b.example", "ib9b.example", "example"}
    # A label that is none, and a long name.
    assert words_of("STRASSE", ["xn--\u00fc.example"]) >= words_of("Stra\u00dfe", ["example"])
    assert {len(word) for word in words_of("x" * 300, [])} == {200}


def settings_below(folder: Path) -> Settings:
    settings = Settings(sites_dir=folder / "sites", templates_dir=folder / "templates", allow_underscores=True)
    (settings.themes_dir / "dawn").mkdir(parents=True)
    return settings


def found(engine: sa.Engine, text: str) -> list[str]:
    chosen = SiteSelection(words=text)
    records = [record.site.domain for record in list_sites(engine, chosen)]
    assert sum(count_sites(engine, chosen).values()) == len(records)
    for common in (0, 1_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(word_table, "COMMON_WORDS", common)
            assert records == [site.domain for site in list_page(engine, chosen, "domain").sites]
    return records


def stored(engine: sa.Engine) -> list[Any]:
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return sorted(tuple(row) for row in connection.execute(sa.select(words_table)))


def test_sites_are_found_by_the_beginnings_of_words(own_engine: sa.Engine, tmp_path: Path) -> None:
    settings = settings_below(tmp_path)
    add_site(own_engine, "b\u00fccher.example", settings=settings, name="100% Ant_Farm", aliases=["www.old_shop.test"])
    add_site(own_engine, "a.example:8080", settings=settings, name="Bee's \u00d6fen")
    add_site(own_engine, "c.example/shop", settings=settings, name="Cat")
    add_domain(own_engine, "c.example/shop", "*.kept.test", redirect=True)
    one, two, three = "xn--bcher-kva.example", "a.example:8080", "c.example/shop"
    expected = {
        "EXAMPLE": [two, three, one], "xn--b": [one], "B\u00dcCH": [one], "b\u00fccher.ex": [one], "100%": [one],
        "farm": [one], "old_s": [one], "shop": [three, one], "test": [three, one], "*.kept": [three],
        "/shop": [three, one], ":80": [two], "\u00f6fen": [two], "bee's": [two], "ample": [], "%": [], "_": [],
        "'": [], "\\": [],
        "a.example:8080": [two], "\U0010ffff": [], "zzz": [],
    }  # fmt: skip
    assert {text: found(own_engine, text) for text in expected} == expected


def changes(engine: sa.Engine, settings: Settings) -> list[Callable[[], object]]:
    return [
        lambda: add_site(engine, "one.example", settings=settings, name="One", aliases=["www.one.example"]),
        lambda: add_sites(engine, [NewSite("two.example"), NewSite("three.example")], settings=settings),
        lambda: rename_site(engine, "two.example", "Renamed here"),
        lambda: add_domain(engine, "two.example", "second.test"),
        lambda: set_canonical(engine, "second.test"),
        lambda: move_domain(engine, "two.example", "one.example"),
        lambda: remove_domain(engine, "www.one.example"),
        lambda: set_theme(engine, "one.example", "dawn", settings=settings),
        lambda: disable_site(engine, "one.example"),
        lambda: remove_site(engine, "one.example", settings=settings, erase=True),
        lambda: remove_site(engine, "three.example", settings=settings),
    ]


def test_every_change_keeps_the_words(own_engine: sa.Engine, tmp_path: Path) -> None:
    for change in changes(own_engine, settings_below(tmp_path)):
        change()
        records = list(list_sites(own_engine))
        expected = {
            (record.site.id, word)
            for record in records
            for word in words_of(record.site.name, [each.host for each in record.domains])
        }
        assert stored(own_engine) == sorted(expected)
        assert complete_words(own_engine) == 0
    assert [record.site.domain for record in records] == ["second.test"]


def test_words_are_completed_after_other_changes(own_engine: sa.Engine, tmp_path: Path) -> None:
    """As by a process of a version without the table, or by SQL."""
    settings = settings_below(tmp_path)
    for host in ("one.example", "two.example", "three.example"):
        add_site(own_engine, host, settings=settings)
    before = stored(own_engine)
    one, two = (get_site(own_engine, f"{name}.example").site.id for name in ("one", "two"))
    with own_engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(words_table).where(words_table.c.site_id == one))
        connection.execute(sa.insert(words_table).values(site_id=two, word="left"))
        connection.execute(sa.insert(words_table).values(site_id=two, word="www.two.example"))
    # What was left does not keep a domain from being added.
    add_domain(own_engine, "two.example", "www.two.example")
    remove_domain(own_engine, "www.two.example")
    assert found(own_engine, "one") == []
    assert complete_words(own_engine) == 2
    assert stored(own_engine) == before
    assert complete_words(own_engine) == 0


def test_sites_are_counted_by_status(own_engine: sa.Engine, tmp_path: Path) -> None:
    settings = settings_below(tmp_path)
    for name in "abcd":
        add_site(own_engine, f"{name}.example", settings=settings)
    disable_site(own_engine, "a.example")
    assert count_by_status(own_engine) == {"active": 3, "disabled": 1} == count_sites(own_engine)
    maintain_site(own_engine, "b.example")
    with own_engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.update(SiteRow).where(SiteRow.name == "c.example").values(status="pending"))
    remove_site(own_engine, "d.example", settings=settings, erase=True)
    assert count_by_status(own_engine) == {"disabled": 1, "maintenance": 1, "pending": 1} == count_sites(own_engine)


def add_rows(engine: sa.Engine, numbers: range) -> None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        hosts = {number: f"many-{number:04}.example" for number in numbers}
        rows = [{"id": n, "name": f"Name {n % 97:02}", "folder": host} for n, host in hosts.items()]
        connection.execute(sa.insert(SiteRow), rows)
        domains = [
            {"site_id": n, "host": f"{prefix}{host}", "kind": kind}
            for n, host in hosts.items()
            for prefix, kind in (("", "canonical"), ("a0.", "alias"), ("a1.", "alias"))
        ]
        connection.execute(sa.insert(DomainRow), domains)
    complete_words(engine)


def count_steps(engine: sa.Engine, work: Callable[[], object]) -> int:
    """Return for how many steps SQLite's virtual machine runs, in tens."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(count, 10)

    sa.event.listen(engine, "checkout", watch)
    try:
        work()
    finally:
        sa.event.remove(engine, "checkout", watch)
        engine.dispose()
    return steps


@pytest.mark.parametrize("order", ["domain", "name", "newest"])
def test_the_database_does_no_more_work_for_more_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """From a full page of the list on, with any number of sites. Only orders by measurements read all of them."""
    monkeypatch.setattr(word_table, "COMMON_WORDS", 50)
    with closing_engine(f"sqlite:///{tmp_path}/own.db") as engine:
        make_own_tables(engine)
        add_rows(engine, range(1, 111))
        pages = {
            "first": lambda: list_page(engine, EVERY_SITE, order),
            "second": lambda: list_page(engine, EVERY_SITE, order, after=first.after),
            "back": lambda: list_page(engine, EVERY_SITE, order, before=second.after),
            "search": lambda: list_page(engine, SiteSelection(words="a1.many-0007"), order),
            "common": lambda: list_page(engine, SiteSelection(words="EXAMPLE"), order),
            "search and filter": lambda: list_page(
                engine, SiteSelection(None, ["active"], "", words="MANY-0007"), order, after=first.after
            ),
            "filter": lambda: list_page(engine, SiteSelection(statuses=["active"], theme=""), order),
            "numbers": lambda: count_by_status(engine),
        }
        first = list_page(engine, EVERY_SITE, order)
        second = list_page(engine, EVERY_SITE, order, after=first.after)
        few = {name: count_steps(engine, page) for name, page in pages.items()}
        assert all(steps > 5 for steps in few.values())
        add_rows(engine, range(111, 1_111))
        first = list_page(engine, EVERY_SITE, order)
        second = list_page(engine, EVERY_SITE, order, after=first.after)
        many = {name: count_steps(engine, page) for name, page in pages.items()}
        assert {name: (few[name], many[name]) for name in pages if many[name] > 1.2 * few[name] + 5} == {}
        assert len(first.sites) == len(second.sites) == PAGE_SITES
    assert set(ORDERS) == {"domain", "name", "newest", "rows", "bytes", "changed"}


def test_the_revision_writes_the_words_of_earlier_sites(own_engine: sa.Engine, tmp_path: Path) -> None:
    settings = settings_below(tmp_path)
    add_site(
        own_engine, "b\u00fccher.example:8080/shop", settings=settings, name="Stra\u00dfe " * 20, aliases=["www.a.test"]
    )
    add_site(own_engine, "c.example", settings=settings, name="See")
    add_site(own_engine, "gone.example", settings=settings)
    remove_site(own_engine, "gone.example", settings=settings, erase=True)
    before = stored(own_engine)
    with own_engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.schema.DropTable(words_table))
        for name in ("ix_domains_canonical", "ix_sites_status_availability", "ix_sites_name_id"):
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO {VERSION_TABLE} VALUES ('0017')")
    assert [line.split(":")[0] for line in upgrade_own(own_engine)][:1] == ["multisite 0018"]
    assert stored(own_engine) == before
    assert complete_words(own_engine) == 0
