"""What an application declares for archives (keys and addresses in values, parts), and faults that must be found."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archive_schemas import Example, Link, TableShape, describe, fill, make_tables
from databases import closing_engine, fresh_database, make_own_tables
from row_security import secured
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.core.current_site import all_sites, using_site
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import SettingRow
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.scoping import scoped_reference, site_id_column
from multisite.scoping.tables import tables
from multisite.sites import SiteContents, add_site, copy_site, export_site, import_site
from multisite.sites.archive import SitePart, SiteReference, cells, converted_rows, exporting, row_export, row_insertion
from multisite.sites.archive.addresses import AddressMap, rewrite_json

METADATA = sa.MetaData()
PAGES = sa.Table(
    "declared_pages",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("blocks", sa.JSON),
    sa.Column("body", sa.Text),
    sa.Column("note", sa.Text),
)
COPY = "copy.example"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        METADATA.create_all(engine)
        yield engine


@pytest.fixture(scope="module")
def settings(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("folders")
    return Settings(sites_dir=folder / "sites", templates_dir=folder / "templates")


@pytest.fixture(scope="module")
def site(engine: Engine, settings: Settings) -> Site:
    add_site(engine, "other.example", settings=settings)
    site = add_site(engine, "one.example", settings=settings, aliases=["www.one.example"])
    (settings.sites_dir / site.folder / "static").mkdir()
    (settings.sites_dir / site.folder / "static" / "style.css").write_text("body {}")
    with using_site(site), engine.begin() as connection:
        connection.execute(sa.insert(PAGES).values(id=70, body="home"))
        blocks = {"page_id": 70, "image": "https://www.one.example/a.png", "text": "see https://one.example/"}
        body = "page:70 http://ONE.example:80/b https://one.example.evil.example/"
        connection.execute(sa.insert(PAGES).values(id=71, blocks=blocks, body=body, note="https://one.example/c"))
    with all_sites("a setting"), engine.begin() as connection:
        for name, text in {"shop": "https://one.example/shop", "title": "one.example"}.items():
            connection.execute(sa.insert(SettingRow).values(site_id=site.id, name=name, value=text))
    return site


def find(blocks: Any) -> list[tuple[str, int]]:
    return [("declared_pages", blocks["page_id"])] if blocks and "page_id" in blocks else []


def replace(blocks: Any, new: Any) -> Any:
    return {**blocks, "page_id": new["declared_pages", blocks["page_id"]]}


def rewrite(body: str, url: Callable[[str], str]) -> str:
    return " ".join(map(url, body.split(" ")))


def rows(engine: Engine, host: str) -> dict[str, Any]:
    with using_site(get_site(engine, host).site), engine.connect() as connection:
        home, page = connection.execute(sa.select(PAGES).order_by(PAGES.c.id)).mappings()
        return {"home": home, "page": page}


def test_keys_and_addresses_in_values_follow(engine: Engine, settings: Settings, site: Site) -> None:
    contents = SiteContents(
        [METADATA],
        references={("declared_pages", "blocks"): SiteReference(find, replace)},
        texts={("declared_pages", "body"): rewrite},
    )
    done = copy_site(engine, "one.example", COPY, settings=settings, contents=contents)
    found = rows(engine, COPY)
    assert found["home"]["id"] not in (70, 71)
    assert found["page"]["blocks"] == {
        "page_id": found["home"]["id"],
        "image": f"https://{COPY}/a.png",
        "text": "see https://one.example/",
    }
    assert found["page"]["body"] == f"page:70 http://{COPY}:80/b https://one.example.evil.example/"
    assert found["page"]["note"] == "https://one.example/c"
    assert json.loads(get_site(engine, COPY).site.own_settings) == {
        "shop": f"https://{COPY}/shop",
        "title": "one.example",
    }
    changes = done.target.changes
    assert changes.addresses == {"declared_pages.blocks": 1, "declared_pages.body": 1, "the setting shop": 1}
    assert changes.warnings() == [
        (
            "declared_pages.note: addresses of the site are unchanged (1 row): declare the column with "
            "config.add_site_text"
        )
    ]
    original = rows(engine, "one.example")["page"]
    assert original["blocks"]["page_id"] == 70
    assert "ONE.example" in original["body"]


def test_what_looks_like_a_key_is_a_warning(engine: Engine, settings: Settings, site: Site) -> None:
    contents = SiteContents([METADATA])
    done = copy_site(engine, "one.example", "warned.example", settings=settings, contents=contents)
    warnings = done.target.changes.warnings()
    # The word before _id is not the name of a table here.
    assert [each for each in warnings if "add_site_reference" in each] == []
    with using_site(site), engine.begin() as connection:
        connection.execute(sa.update(PAGES).where(PAGES.c.id == 70).values(note='{"declared_id": 71}'))
    done = copy_site(engine, "one.example", "again.example", settings=settings, contents=contents)
    (warning,) = [each for each in done.target.changes.warnings() if "add_site_reference" in each]
    assert warning.startswith("declared_pages.note: values that seem to be keys of rows are unchanged (1 row)")


def test_parts_export_and_import_files(engine: Engine, settings: Settings, site: Site) -> None:
    seen = []

    def export(site: Site, connection: sa.Connection, folder: Path) -> None:
        pages = connection.scalar(sa.select(sa.func.count(PAGES.c.id)))
        (folder / "deep").mkdir()
        (folder / "deep" / "count").write_text(f"{site.host} {pages}")

    def import_(site: Site, connection: sa.Connection, folder: Path) -> None:
        pages = connection.scalar(sa.select(sa.func.count(PAGES.c.id)))
        seen.append((site.host, pages, (folder / "deep" / "count").read_text()))

    contents = SiteContents([METADATA], parts={"uploads": SitePart(export, import_)})
    copy_site(engine, "one.example", "parts.example", settings=settings, contents=contents)
    assert seen == [("parts.example", 2, "one.example 2")]


def test_part_that_fails_leaves_no_site(engine: Engine, settings: Settings, site: Site) -> None:
    def fail(site: Site, connection: sa.Connection, folder: Path) -> None:
        raise MultisiteError("no space")

    contents = SiteContents([METADATA], parts={"uploads": SitePart(lambda *_: None, fail)})
    contents.parts["uploads"] = SitePart(lambda _s, _c, folder: (folder / "a").touch(), fail)
    folders = sorted(settings.sites_dir.iterdir())
    with pytest.raises(MultisiteError, match="no space"):
        copy_site(engine, "one.example", "failed.example", settings=settings, contents=contents)
    with pytest.raises(MultisiteError, match="no site is known"):
        get_site(engine, "failed.example")
    assert sorted(settings.sites_dir.iterdir()) == folders


def test_rows_without_a_model_are_named(engine: Engine, settings: Settings, site: Site, tmp_path: Path) -> None:
    with all_sites("set up a test"), engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE bare_notes (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO bare_notes VALUES (1, {site.id}), (2, {site.id - 1})")
    contents = SiteContents([METADATA])
    done = export_site(engine, "one.example", tmp_path / "x.zip", settings=settings, contents=contents)
    assert done.left_out == ("1 row of bare_notes, which no model declares",)
    listed = dataclasses.replace(settings, global_tables=("bare_notes",))
    assert export_site(engine, "one.example", tmp_path / "x.zip", settings=listed, contents=contents).left_out == ()
    with all_sites("end of a test"), engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE bare_notes")


def test_rows_that_no_site_has_are_counted(engine: Engine, settings: Settings, site: Site, tmp_path: Path) -> None:
    """They have no site_id, and the reference that would lead to a site is NULL, here or in the row above."""
    metadata = sa.MetaData()
    keys = [sa.Column("id", sa.Integer, primary_key=True) for _ in range(3)]
    pages = sa.Table("ownerless_pages", metadata, site_id_column(), keys[0])
    files = sa.Table("ownerless_files", metadata, keys[1], sa.Column("page_id", sa.ForeignKey(pages.c.id)))
    file_id = sa.Column("file_id", sa.ForeignKey(files.c.id), nullable=False)
    marks = sa.Table("ownerless_marks", metadata, keys[2], file_id)
    metadata.create_all(engine)
    with using_site(site), engine.begin() as connection:
        connection.execute(sa.insert(pages).values(id=1))
        connection.execute(sa.insert(files), [{"id": 1, "page_id": 1}, *({"id": n, "page_id": None} for n in (2, 3))])
        connection.execute(sa.insert(marks), [{"id": n, "file_id": max(n, 2)} for n in (1, 2)])
    contents = SiteContents([METADATA, metadata])
    done = export_site(engine, "one.example", tmp_path / "x.zip", settings=settings, contents=contents)
    metadata.drop_all(engine)
    assert done.rows == {"declared_pages": 2, "ownerless_pages": 1, "ownerless_files": 1}
    assert done.left_out == (
        "2 rows of ownerless_files that no site has, because ownerless_files.page_id is NULL",
        "2 rows of ownerless_marks that no site has, because ownerless_files.page_id is NULL",
    )
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert json.loads(archive.read("manifest.json"))["left_out"] == list(done.left_out)


def test_rows_that_only_a_user_leads_to_are_left_out_with_the_users(
    engine: Engine, settings: Settings, site: Site, tmp_path: Path
) -> None:
    metadata = sa.MetaData()
    keys = [sa.Column("id", sa.Integer, primary_key=True) for _ in range(2)]
    people = sa.Table("led_people", metadata, site_id_column(), keys[0], info={"site_users": True})
    sa.Table("led_badges", metadata, keys[1], sa.Column("person_id", sa.ForeignKey(people.c.id)))
    metadata.create_all(engine)
    done = export_site(
        engine, "one.example", tmp_path / "x.zip", settings=settings, contents=SiteContents([metadata]), users="none"
    )
    metadata.drop_all(engine)
    assert [each for each in done.left_out if "led_" in each] == ["the rows of led_badges", "the rows of led_people"]


SHARED = sa.MetaData()
KINDS = sa.Table("declared_kinds", SHARED, sa.Column("id", sa.Integer, primary_key=True))
THINGS = sa.Table(
    "declared_things",
    SHARED,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind_id", sa.ForeignKey(KINDS.c.id)),
    sa.Column("up_id", sa.Integer, scoped_reference("declared_things.id")),
)


def test_reference_to_a_shared_table_without_a_name_is_refused(
    engine: Engine, settings: Settings, site: Site, tmp_path: Path
) -> None:
    SHARED.create_all(engine)
    reason = r"declared_things\.kind_id refers to declared_kinds, which all sites share: declare which column"
    with pytest.raises(MultisiteError, match=reason):
        export_site(engine, "one.example", tmp_path / "x.zip", settings=settings, contents=SiteContents([SHARED]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "new"),
    [
        ("https://one.example/a?b=c#d", "https://new.example/shop/a?b=c#d"),
        ("HTTPS://One.Example", "https://new.example/shop"),
        ("//one.example/a", "//new.example/shop/a"),
        ("http://one.example:8080/a", "http://new.example:8080/shop/a"),
        ("http://port.example:81/a", "http://new.example/shop/a"),
        ("http://port.example/a", None),
        ("https://path.example/old/a", "https://new.example/shop/a"),
        ("https://path.example/older/a", None),
        ("https://www.one.example/", None),
        ("https://one.example.evil.example/", None),
        ("https://notone.example/", None),
        ("https://user@one.example/", None),
        ("ftp://one.example/", None),
        ("mailto:a@one.example", None),
        ("one.example/a", None),
        ("/a", None),
        ("https://one.example:port/", None),
        ("https://[one.example/", None),
        ("", None),
    ],
)
def test_address_below_an_old_domain_is_rewritten(address: str, new: str | None) -> None:
    old = map(domains.parse, ("one.example", "port.example:81", "path.example/old", "*.wild.example"))
    assert AddressMap(old, domains.parse("new.example/shop")).url(address) == (address if new is None else new)


def test_only_addresses_in_json_are_changed() -> None:
    text = r'{"https://a.example/": 1.10, "b": ["https:\/\/a.example\/x", "say \"https://a.example/\"", 1e400, null]}'
    new = rewrite_json(text, AddressMap([domains.parse("a.example")], domains.parse("b.example")).url)
    assert new == text.replace(r"https:\/\/a.example\/x", "https://b.example/x")


EXAMPLE = Example(
    (
        TableShape("integer", (Link(0, True), Link(1, True)), ("aware", "text")),
        TableShape("integer", (Link(0, True),), ("json",)),
        TableShape("integer", (), ("text",), "owned", 0),
    ),
    {
        "aware": [datetime.fromisoformat("2024-02-29T12:30:00+00:00")],
        "text": ["a", "ü"],
        "json": [{"a": [1]}],
    },
    5,
)


def keep_keys(self: converted_rows.ConvertedRows, number: int, row: dict[str, Any]) -> None:
    """Do not replace the first reference."""
    link = row.get("link 0")
    REPLACE_KEYS(self, number, row)
    if link is not None:
        row["link 0"] = link


REPLACE_KEYS = converted_rows.ConvertedRows._replace_keys


def forget_a_table(*args: Any, **options: Any) -> Any:
    plan = MAKE_PLAN(*args, **options)
    plan.tables.pop(list(plan.tables)[-1])
    return plan


MAKE_PLAN = exporting.make_plan

FAULTS: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "none": lambda patch: None,
    "a reference that is not remapped": lambda patch: patch.setattr(
        converted_rows.ConvertedRows, "_replace_keys", keep_keys
    ),
    "a table that is forgotten": lambda patch: patch.setattr(exporting, "make_plan", forget_a_table),
    "postgresql: a cycle that is cut": lambda patch: patch.setattr(
        row_insertion._Insertion, "set_late_references", lambda _: None
    ),
    "postgresql: a time that loses its zone": lambda patch: patch.setattr(
        cells, "parse_utc", lambda cell: datetime.fromisoformat(cell).replace(tzinfo=None, hour=3)
    ),
    "a file that is left out": lambda patch: patch.setattr(exporting, "export_files", lambda *_: 0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(
    engine: Engine, settings: Settings, site: Site, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    host = f"fault{list(FAULTS).index(fault)}.example"
    made = make_tables(EXAMPLE.schema, f"f{list(FAULTS).index(fault)}")
    made[0].metadata.create_all(engine)
    fill(engine, EXAMPLE, made, [site], most=4)
    FAULTS[fault](monkeypatch)
    try:
        copy_site(engine, "one.example", host, settings=settings, contents=SiteContents([made[0].metadata]))
    except MultisiteError:
        found = True
    else:
        copy = get_site(engine, host).site
        same = describe(engine, EXAMPLE, made, copy) == describe(engine, EXAMPLE, made, site)
        found = not (same and (settings.sites_dir / copy.folder / "static" / "style.css").is_file())
    finally:
        tables.forget(made[0].metadata)
    assert found == (fault != "none")


def test_keys_are_free_although_the_sequence_is_behind(engine: Engine, settings: Settings, site: Site) -> None:
    """The pages above were inserted with keys of their own, which a sequence of PostgreSQL does not know."""
    with using_site(site), engine.begin() as connection:
        connection.execute(sa.insert(PAGES), [{"id": number, "body": "x"} for number in range(1_000, 1_005)])
    contents = SiteContents([METADATA])
    for host in ("behind.example", "again-behind.example"):
        done = copy_site(engine, "one.example", host, settings=settings, contents=contents)
        assert done.target.rows == {"declared_pages": 7}


@pytest.mark.parametrize("mode", ["default", "sqlite: wal"])
def test_archive_is_one_state_while_others_write(
    engine: Engine, settings: Settings, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Writers keep the sum of all numbers; one writes between every two tables that are read."""
    if mode != "default":
        with engine.connect() as connection:
            assert connection.scalar(sa.text("PRAGMA journal_mode = WAL")) == "wal"
    metadata = sa.MetaData()
    made = [
        sa.Table(
            f"state_{len(mode)}_{number}", metadata, site_id_column(), sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("amount", sa.Integer),
        )
        for number in range(3)
    ]  # fmt: skip
    metadata.create_all(engine)
    with using_site(site), engine.begin() as connection:
        for table in made:
            connection.execute(sa.insert(table).values(amount=100))
    written = []

    def write_between(*args: Any) -> Iterator[bytes]:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(write).result(timeout=30)
        yield from LINES(*args)

    def write() -> None:
        with using_site(site), engine.begin() as connection:
            connection.execute(sa.update(made[0]).values(amount=made[0].c.amount - 1))
            connection.execute(sa.update(made[2]).values(amount=made[2].c.amount + 1))
        written.append(1)

    monkeypatch.setattr(row_export, "_lines", write_between)
    archive = tmp_path / "one.zip"
    export_site(engine, "one.example", archive, settings=settings, contents=SiteContents([metadata]))
    assert len(written) == 3
    with zipfile.ZipFile(archive) as file:
        amounts = [json.loads(file.read(f"rows/state_{len(mode)}_{number}.jsonl"))["amount"] for number in range(3)]
    assert sum(amounts) == 300
    with using_site(site), engine.connect() as connection:
        assert [connection.scalar(sa.select(table.c.amount)) for table in made] == [97, 100, 103]
    tables.forget(metadata)


LINES = row_export._lines

WRITES = 1_000 if os.environ.get("MULTISITE_SOAK") else 20
"""A minute of writes, or a fiftieth of it."""


def test_archives_are_one_state_at_a_thousand_writes_a_minute(
    engine: Engine, settings: Settings, site: Site, tmp_path: Path
) -> None:
    """Each write moves an amount from the first table to the second, while one export follows another."""
    metadata = sa.MetaData()
    first, second = (
        sa.Table(
            f"busy_{number}", metadata, site_id_column(), sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("amount", sa.Integer),
        )
        for number in range(2)
    )  # fmt: skip
    metadata.create_all(engine)
    with using_site(site), engine.begin() as connection:
        for table in (first, second):
            connection.execute(sa.insert(table), [{"amount": 1_000} for _ in range(500)])

    def write() -> None:
        for number in range(WRITES):
            time.sleep(0.06)
            with using_site(site), engine.begin() as connection:
                for table, change in ((first, -1), (second, 1)):
                    row = table.c.id == number % 500 + 1
                    connection.execute(sa.update(table).where(row).values(amount=table.c.amount + change))

    amounts, archive = [], tmp_path / "busy.zip"
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            export_site(engine, "one.example", archive, settings=settings, contents=SiteContents([metadata]))
            with zipfile.ZipFile(archive) as file:
                rows = [file.read(f"rows/{table.name}.jsonl").splitlines() for table in (first, second)]
            amounts.append([sum(json.loads(row)["amount"] for row in each) for each in rows])
            archive.unlink()
        writing.result()
    assert {sum(each) for each in amounts} == {1_000_000}
    # Later archives have later states.
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[0] != amounts[-1]
    tables.forget(metadata)


def test_copy_under_row_level_security(postgresql_database_url: str, tmp_path: Path) -> None:
    """With the role of the application, to which the policies apply."""
    with closing_engine(postgresql_database_url) as admin:
        make_own_tables(admin)
        METADATA.create_all(admin)
        own = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
        sites = [add_site(admin, host, settings=own) for host in ("one.example", "two.example")]
        for each in sites:
            with using_site(each), admin.begin() as connection:
                connection.execute(sa.insert(PAGES), [{"body": each.host}, {"body": "second"}])
        contents = SiteContents([METADATA])
        with secured(admin, METADATA.tables.values()) as database:
            done = copy_site(database.engine, "one.example", COPY, settings=own, contents=contents)
            assert done.target.rows == {"declared_pages": 2}
            archive = tmp_path / "one.zip"
            export_site(database.engine, "one.example", archive, settings=own, contents=contents)
            import_site(database.engine, archive, settings=own, contents=contents, replace=True, keep_keys=True)
        for each in (*sites, get_site(admin, COPY).site):
            with using_site(each), admin.connect() as connection:
                bodies = sorted(connection.scalars(sa.select(PAGES.c.body)))
                assert bodies == ["second", "two.example"] or each.host != "two.example"
                assert len(bodies) == 2
