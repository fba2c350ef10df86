"""Many sites are added in one run: all are checked first, and the same run completes an interrupted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, make_own_tables

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.directory.models import DirectoryVersion
from multisite.directory.records import get_site, list_sites
from multisite.errors import DomainTaken, MultisiteError
from multisite.sites import batches, creation
from multisite.sites.batches import NewSite, add_sites
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain
from multisite.sites.settings.registry import SettingsRegistry
from multisite.sites.settings.setting import make_setting
from multisite.sites.site_file import read_site_file

CSV = """\
host,name,theme,locale,timezone,aliases,settings.tagline
a.example,The A,,DE-at,Europe/Vienna,www.a.example *.a.example,"Slow, and good"
"b.example:8080","Two ""fine"" words",,,,,

c.example/shop,,,,,,
"""

TOML = """\
[[sites]]
host = "a.example"
name = "The A"
locale = "DE-at"
timezone = "Europe/Vienna"
aliases = ["www.a.example", "*.a.example"]
[sites.settings]
tagline = "Slow, and good"

[[sites]]
host = "b.example:8080"
name = 'Two "fine" words'

[[sites]]
host = "c.example/shop"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")


@pytest.fixture
def declared() -> SettingsRegistry:
    declared = SettingsRegistry({})
    declared.add(make_setting("tagline", str, default="", doc="Below the name."))
    declared.add(make_setting("comments.open", bool, default=True, doc="Whether visitors can write comments."))
    declared.add(make_setting("posts", int, default=1, doc="Posts on a page."))
    declared.add(make_setting("langs", list, default=(), doc="Languages."))
    return declared


def version(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(DirectoryVersion.version)) or 0


def outcomes(results: list[batches.BatchResult]) -> list[tuple[str, str, str | None]]:
    return [(each.domain, each.result, each.reason) for each in results]


@pytest.mark.parametrize(("name", "text"), [("sites.csv", CSV), ("SITES.TOML", TOML)])
def test_the_sites_of_a_file_are_added_and_a_repetition_changes_nothing(
    own_engine: sa.Engine, settings: Settings, declared: SettingsRegistry, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8-sig")
    wanted = read_site_file(tmp_path / name)
    checked = add_sites(own_engine, wanted, settings=settings, declared=declared, dry_run=True)
    hosts = ["a.example", "b.example:8080", "c.example/shop"]
    assert outcomes(checked) == [(host, "new", None) for host in hosts]
    assert (list(list_sites(own_engine)), settings.sites_dir.exists()) == ([], False)
    added = add_sites(own_engine, wanted, settings=settings, declared=declared)
    assert outcomes(added) == [(host, "added", None) for host in hosts]
    first, second, third = list_sites(own_engine)
    assert [record.site.id for record in (first, second, third)] == [each.site_id for each in added]
    assert (first.site.name, first.site.locale, first.site.timezone) == ("The A", "de-AT", "Europe/Vienna")
    assert first.aliases == ("*.a.example", "www.a.example")
    assert first.site.own_settings == '{"tagline":"Slow, and good"}'
    assert (second.site.name, second.site.locale, second.aliases) == ('Two "fine" words', "en", ())
    assert third.site.domain == third.site.name == "c.example/shop"
    assert sorted(path.name for path in settings.sites_dir.iterdir()) == sorted(
        record.site.folder for record in (first, second, third)
    )
    before = version(own_engine)
    again = add_sites(own_engine, wanted, settings=settings, declared=declared)
    assert outcomes(again) == [(host, "exists", None) for host in hosts]
    assert version(own_engine) == before


def test_one_invalid_site_keeps_all_from_being_added(own_engine: sa.Engine, settings: Settings) -> None:
    add_site(own_engine, "old.example", settings=settings, name="Old")
    add_domain(own_engine, "old.example", "alias.example")
    before = version(own_engine)
    wanted = [
        NewSite("good.example"),
        NewSite("old.example", {"name": "New", "aliases": ["x.example"], "locale": "en"}),
        NewSite("not a host", place="line 3"),
        NewSite("alias.example"),
        NewSite("b.example", {"aliases": ["old.example"]}),
        NewSite("GOOD.example", place="line 6"),
        NewSite("c.example", {"aliases": ["good.example"]}),
        NewSite("d.example", {"timezone": "Mars/Phobos"}),
        NewSite("e.example", {"theme": "nothing"}),
        NewSite("f.example", settings={"tagline": "x"}),
        NewSite("g.example", settings={"locale": "de"}),
    ]
    results = add_sites(own_engine, wanted, settings=settings)
    taken = "'{}' is taken: it already leads to the site old.example"
    assert outcomes(results)[:7] == [
        ("good.example", "not added", None),
        ("old.example", "exists", "it has another value for name, aliases"),
        ("not a host", "invalid", "'not a host' is not a host: leave out the whitespace"),
        ("alias.example", "invalid", taken.format("alias.example")),
        ("b.example", "invalid", "'old.example' is in site 2 as well"),
        ("GOOD.example", "invalid", "'good.example' is in site 1 as well"),
        ("c.example", "invalid", "'good.example' is in site 1 as well"),
    ]
    for each, part in zip(results[7:], ("time zone", "no theme", "no setting tagline", "beside the host"), strict=True):
        assert each.result == "invalid"
        assert part in (each.reason or "")
    assert [record.site.host for record in list_sites(own_engine)] == ["old.example"]
    assert version(own_engine) == before
    # Repeating a run must not be prevented by what it wrote itself, but a site being removed is not one to skip.
    with all_sites("a test"), own_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sites SET availability = 'removing'")
    (refused,) = add_sites(own_engine, wanted[1:2], settings=settings)
    assert outcomes([refused]) == [("old.example", "invalid", "the site old.example is being removed")]


def test_an_interrupted_run_is_completed_by_the_same_run(
    own_engine: sa.Engine, settings: Settings, declared: SettingsRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_SITES", 2)
    wanted = [NewSite(f"s{n}.example", {"aliases": [f"w{n}.example"]}, {"posts": str(n)}) for n in range(6)]
    make_folder, made = creation.create_site_folder, []

    def killed_at_the_fourth(*arguments: Any, **options: Any) -> bool:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(arguments)
        return make_folder(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(creation, "create_site_folder", killed_at_the_fourth)
        patch.setattr(batches, "delete_pending", lambda engine, ids: pytest.fail("a killed process deletes nothing"))
        with pytest.raises(KeyboardInterrupt):
            add_sites(own_engine, wanted, settings=settings, declared=declared)
    assert [record.status for record in list_sites(own_engine)] == ["active", "active", "pending", "pending"]
    progress: list[int] = []
    results = add_sites(own_engine, wanted, settings=settings, declared=declared, progress=progress.append)
    assert [each.result for each in results] == ["exists"] * 2 + ["added"] * 4
    assert progress == [2, 4]
    assert [
        (record.status, record.aliases, record.site.own_settings, (settings.sites_dir / record.site.folder).is_dir())
        for record in list_sites(own_engine)
    ] == [("active", (f"w{n}.example",), f'{{"posts":"{n}"}}', True) for n in range(6)]


def test_a_batch_that_fails_leaves_nothing_and_the_batches_before_stay(
    own_engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_SITES", 2)
    settings.sites_dir.mkdir()
    (settings.sites_dir / "s3.example").write_text("a file")
    wanted = [NewSite(f"s{n}.example") for n in range(6)]
    with pytest.raises(MultisiteError, match=r"s3\.example is not a folder"):
        add_sites(own_engine, wanted, settings=settings)
    assert [record.site.host for record in list_sites(own_engine)] == ["s0.example", "s1.example"]
    (settings.sites_dir / "s3.example").unlink()
    assert [each.result for each in add_sites(own_engine, wanted, settings=settings)] == ["exists"] * 2 + ["added"] * 4


def test_a_domain_that_is_taken_after_the_check_stays_with_its_site(
    own_engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = batches._compare

    def check_and_lose(*arguments: Any) -> Any:
        planned = list(check(*arguments))
        add_site(own_engine, "other.example", settings=settings, aliases=["b.example"])
        return planned

    monkeypatch.setattr(batches, "_compare", check_and_lose)
    with pytest.raises(DomainTaken):
        add_sites(own_engine, [NewSite("a.example"), NewSite("b.example")], settings=settings)
    assert [record.site.host for record in list_sites(own_engine)] == ["other.example"]
    assert get_site(own_engine, "b.example").site.host == "other.example"


def test_two_hundred_sites_take_few_transactions(
    sqlite_database_url: str, settings: Settings, declared: SettingsRegistry
) -> None:
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        before = version(engine)
        wanted = [NewSite(f"s{n:03}.example", {"timezone": "Europe/Berlin"}, {"posts": "7"}) for n in range(201)]
        results = add_sites(engine, wanted, settings=settings, declared=declared)
        assert {each.result for each in results} == {"added"}
        assert version(engine) - before == 6
        assert sum(1 for _ in list_sites(engine)) == len(list(settings.sites_dir.iterdir())) == 201


# The files.


def test_settings_in_toml_become_the_texts_of_the_command_set(tmp_path: Path, declared: SettingsRegistry) -> None:
    file = tmp_path / "sites.toml"
    file.write_text(
        '[[sites]]\nhost = "a.example"\n[sites.settings]\nposts = 7\ncomments.open = false\nlangs = ["de", "en"]\n'
        'tagline = ""\n'
    )
    (site,) = read_site_file(file)
    assert site.settings == {"posts": "7", "comments.open": "false", "langs": "de, en", "tagline": ""}
    parsed = {name: declared[name].parse(text) for name, text in site.settings.items()}
    assert parsed == {"posts": 7, "comments.open": False, "langs": ("de", "en"), "tagline": ""}


BAD_FILES = {
    "a.txt": ("host\na.example\n", "must end in .csv or .toml"),
    "empty.csv": ("", "the first line has no column 'host'"),
    "none.csv": ("host,name\n", "describes no site"),
    "semicolons.csv": ("host;name\na.example;A\n", "separate the columns by commas"),
    "unknown.csv": ("host,nmae\na.example,A\n", "there is no column 'nmae'; did you mean name?"),
    "twice.csv": ("host,name,name\na.example,A,B\n", "there are two columns 'name'"),
    "short.csv": ("host,name\na.example\n", "line 2 has 1 values instead of 2"),
    "quote.csv": ('host,name\na.example,"A\n', "unexpected end of data"),
    "no-host.csv": ("host,name\n,A\n", "line 2 has no host"),
    "latin.csv": (b"host,name\na.example,B\xfccher\n", "is not in UTF-8 (byte 21)"),
    "broken.toml": ("[[sites]\n", "Expected ']]'"),
    "other.toml": ('[site]\nhost = "a.example"\n', "expected tables [[sites]]"),
    "table.toml": ('[sites]\nhost = "a.example"\n', "expected tables [[sites]]"),
    "key.toml": ('[[sites]]\nhost = "a.example"\nalias = []\n', "there is no key 'alias'; did you mean aliases?"),
    "type.toml": ('[[sites]]\nhost = "a.example"\nname = 7\n', "site 1: name is not a text"),
    "aliases.toml": ('[[sites]]\nhost = "a.example"\naliases = "b.example"\n', "aliases is not a list of texts"),
    "no-host.toml": ('[[sites]]\nname = "A"\n', "site 1 has no host"),
    "settings.toml": ('[[sites]]\nhost = "a.example"\nsettings = []\n', "site 1: settings is not a table"),
    "date.toml": ('[[sites]]\nhost = "a.example"\nsettings = {x.y = 2020-01-01}\n', "the setting x.y is not a text"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_with_another_structure_is_refused(tmp_path: Path, name: str) -> None:
    text, expected = BAD_FILES[name]
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(MultisiteError) as caught:
        read_site_file(tmp_path / name)
    assert expected in str(caught.value)
    assert name in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MultisiteError, match=r"sites\.csv cannot be read: No such file"):
        read_site_file(tmp_path / "sites.csv")


# The command.


@pytest.fixture
def folder(tmp_path: Path, sqlite_database_url: str) -> Folder:
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
    return Folder(tmp_path, sqlite_database_url)


def test_the_command_adds_sites_with_settings_of_the_application(folder: Folder) -> None:
    file = folder.path / "sites.csv"
    file.write_text("host,aliases,settings.posts_per_page\na.example,,12\np\u0430ypal.example,b.example,\n", "utf-8")
    refused = folder.invoke("add-sites", str(file))
    assert refused.exit_code == 1
    first, second, total = refused.stdout.splitlines()
    assert first.split() == ["a.example", "not", "added"]
    assert "invalid: line 3: " in second
    assert total == "1 not added, 1 invalid."
    assert folder.invoke("add-sites", str(file), "--dry-run", "--allow-mixed").stdout.endswith("\n2 new.\n")
    assert folder.rows() == 0
    added = json.loads(folder.invoke("add-sites", str(file), "--allow-mixed", "--json").stdout)
    assert [(each["place"], each["result"], each["reason"]) for each in added] == [
        ("line 2", "added", None),
        ("line 3", "added", None),
    ]
    assert "posts_per_page = 12 (site)" in folder.invoke("settings", "a.example").stdout
    assert folder.invoke("add-sites", str(file), "--allow-mixed").stdout.endswith("\n2 exists.\n")
    file.write_text("host,settings.posts_per_page\na.example,0\n")
    assert "expected a whole number from 1 to 100" in folder.invoke("add-sites", str(file)).stdout
    file.write_text("host,settings.posts\nb.example,1\n")
    assert "there is no setting posts" in folder.invoke("add-sites", str(file)).stdout
    assert "neither a CSV nor a TOML file" in folder.fails("add-sites", "sites")
