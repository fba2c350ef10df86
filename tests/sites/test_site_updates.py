"""Changes of the directory: a site exists completely or not at all, despite races and killed processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from multisite import all_sites
from multisite.core.domains import Domain
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Directory, engine_from_url
from multisite.directory.models import DirectoryVersion, DomainRow, SiteRow
from multisite.directory.records import DomainRecord, get_site, list_sites
from multisite.errors import DomainTaken, InvalidHost, MultisiteError, UnknownSite
from multisite.sites import creation, transaction
from multisite.sites.creation import add_site, create_site
from multisite.sites.domains import add_domain, remove_domain
from multisite.sites.transaction import directory_transaction
from multisite.templates import SiteTemplates


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")


def version(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(sa.select(DirectoryVersion.version)).scalar_one()
    return found


def hosts_of(engine: sa.Engine) -> dict[str, str]:
    with all_sites("a test"), engine.connect() as connection:
        return {host: kind for host, kind in connection.execute(sa.select(DomainRow.host, DomainRow.kind))}  # noqa: C416


def statuses(engine: sa.Engine) -> list[str]:
    with all_sites("a test"), engine.connect() as connection:
        return list(connection.scalars(sa.select(SiteRow.status)))


def folders(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.sites_dir.glob("*")) if settings.sites_dir.exists() else []


def test_a_site_is_added_with_its_domains_and_its_folder(own_engine: sa.Engine, settings: Settings) -> None:
    before = version(own_engine)
    new = create_site(
        own_engine,
        "B\u00fccher.Example.",
        settings=settings,
        name=" B\u00fccher ",
        aliases=["WWW.b\u00fccher.example", "xn--bcher-kva.example", "www.xn--bcher-kva.example"],
        locale="de-at",
        timezone="Europe/Vienna",
    )
    host = "xn--bcher-kva.example"
    assert new.site == Site(new.site.id, host, "B\u00fccher", host, "de-AT", "Europe/Vienna")
    assert not new.folder_existed
    assert new.folder == settings.sites_dir / host
    assert hosts_of(own_engine) == {host: "canonical", f"www.{host}": "alias"}
    assert statuses(own_engine) == ["active"]
    assert version(own_engine) > before
    match = Directory(own_engine).find(f"www.{host}")
    assert match is not None
    assert match[:2] == (new.site, "alias")


def test_only_a_host_is_required(own_engine: sa.Engine, settings: Settings) -> None:
    site = add_site(own_engine, "a.example", settings=settings)
    assert site == Site(site.id, "a.example", "a.example", "a.example", "en", "UTC")


@pytest.mark.parametrize(
    ("host", "folder"), [("[::1]", "[--1]"), ("[2001:db8::a]", "[2001-db8--a]"), ("127.0.0.1", "127.0.0.1")]
)
def test_an_ip_address_is_a_host_and_its_folder_has_templates(
    host: str, folder: str, tmp_path: Path, settings: Settings
) -> None:
    settings.templates_dir.mkdir()
    (settings.templates_dir / "layout.mako").write_text("layout of all")
    engine = sqlite_engine(tmp_path)
    new = create_site(engine, host, settings=settings)
    assert (new.site.host, new.site.folder) == (host, folder)
    (new.folder / "layout.mako").write_text("layout of this site")
    templates = SiteTemplates(settings.sites_dir, settings.templates_dir)
    assert templates.lookup(new.site).get_template("/layout.mako").render() == "layout of this site"
    engine.dispose()


BAD_HOSTS = [
    "", "a..b", "-a.example", "http://a.example", "1.2.3", "a." * 126 + "ab", "a.example:0", "a_b",
    "*.*.example", "p\u0430ypal.example", "../a", "a\0",
]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_an_invalid_host_leaves_no_row_and_no_folder(host: str, tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    before = version(engine)
    with pytest.raises(InvalidHost):
        add_site(engine, host, settings=settings)
    with pytest.raises(InvalidHost):
        add_site(engine, "good.example", aliases=[host], settings=settings)
    assert (hosts_of(engine), statuses(engine), folders(settings), version(engine)) == ({}, [], [], before)
    engine.dispose()


def test_mixed_scripts_are_accepted_if_allowed(tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    site = add_site(engine, "p\u0430ypal.example", settings=settings, allow_mixed=True)
    add_domain(engine, site.host, "p\u0430ypal2.example", allow_mixed=True)
    with pytest.raises(InvalidHost):
        add_domain(engine, site.host, "p\u0430ypal3.example")
    assert len(get_site(engine, "p\u0430ypal2.example").domains) == 2
    engine.dispose()


@pytest.mark.parametrize(
    "bad",
    [
        {"locale": "xx-YY"},
        {"locale": "de_DE"},
        {"locale": ""},
        {"locale": "x" * 99},
        {"timezone": "Mars/Phobos"},
        {"timezone": "../etc/passwd"},
        {"timezone": "localtime"},
        {"timezone": "Europe"},
        {"timezone": ""},
        {"name": " "},
        {"name": "x" * 201},
        {"name": "a\nb"},
        {"name": "a\0"},
    ],
    ids=str,
)
def test_invalid_details_leave_no_row_and_no_folder(bad: dict[str, str], tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    with pytest.raises(MultisiteError, match="expected"):
        add_site(engine, "a.example", settings=settings, **bad)  # type: ignore[arg-type]
    assert (hosts_of(engine), statuses(engine), folders(settings)) == ({}, [], [])
    engine.dispose()


@pytest.mark.parametrize("tag", ["en", "de", "pt-BR", "zh-Hant-TW", "sr-Latn", "en-US"])
def test_a_locale_is_stored_in_a_form_that_babel_parses(tag: str) -> None:
    from babel import Locale

    from multisite.sites.validation import check_locale

    assert check_locale(tag) == tag
    assert Locale.parse(check_locale(tag.lower()), sep="-")


def test_a_taken_host_is_rejected_in_any_spelling(own_engine: sa.Engine, settings: Settings) -> None:
    add_site(own_engine, "b\u00fccher.example", aliases=["alias.example"], settings=settings)
    add_domain(own_engine, "b\u00fccher.example", "old.example", redirect=True)
    before = version(own_engine)
    for taken in ("BU\u0308CHER.example", "xn--bcher-kva.example.", "Alias.Example", "old.example"):
        for attempt in (
            lambda host: add_site(own_engine, host, settings=settings),
            lambda host: add_site(own_engine, "new.example", aliases=[host], settings=settings),
            lambda host: add_domain(own_engine, "alias.example", host),
        ):
            with pytest.raises(DomainTaken) as caught:
                attempt(taken)
            assert caught.value.owner == "xn--bcher-kva.example"
    assert statuses(own_engine) == ["active"]
    assert folders(settings) == ["xn--bcher-kva.example"]
    assert version(own_engine) == before


def test_domains_are_added_shown_and_removed(own_engine: sa.Engine, settings: Settings) -> None:
    site = add_site(own_engine, "a.example", settings=settings, aliases=["z.example", "b.example"])
    record = add_domain(own_engine, "Z.example", "Old.example", redirect=True)
    assert record == get_site(own_engine, "old.example") == get_site(own_engine, "A.EXAMPLE.")
    assert record.site == site
    assert record.status == "active"
    assert record.created.tzinfo is UTC
    assert abs(datetime.now(UTC) - record.created) < timedelta(hours=1)
    assert record.domains == (
        DomainRecord("a.example", "canonical"),
        DomainRecord("b.example", "alias"),
        DomainRecord("z.example", "alias"),
        DomainRecord("old.example", "redirect"),
    )
    assert (record.aliases, record.redirects) == (("b.example", "z.example"), ("old.example",))
    assert remove_domain(own_engine, "B.example").aliases == ("z.example",)
    with pytest.raises(MultisiteError, match=r"canonical .* multisite show-site a\.example"):
        remove_domain(own_engine, "a.example")
    for attempt in (get_site, remove_domain, lambda engine, host: add_domain(engine, host, "new.example")):
        with pytest.raises(UnknownSite, match="multisite list-sites"):
            attempt(own_engine, "b.example")
    assert set(hosts_of(own_engine)) == {"a.example", "z.example", "old.example"}


def test_every_change_raises_the_version_and_no_failure_does(own_engine: sa.Engine, settings: Settings) -> None:
    seen = [version(own_engine)]
    add_site(own_engine, "a.example", settings=settings)
    seen.append(version(own_engine))
    add_domain(own_engine, "a.example", "b.example")
    seen.append(version(own_engine))
    remove_domain(own_engine, "b.example")
    seen.append(version(own_engine))
    assert seen == sorted(set(seen))
    with pytest.raises(UnknownSite):
        remove_domain(own_engine, "b.example")
    assert version(own_engine) == seen[-1]


def test_sites_are_listed_by_host_page_by_page(
    own_engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(list_sites(own_engine)) == []
    for host in ("c.example", "a.example", "b.example", "d.example"):
        add_site(own_engine, host, settings=settings, aliases=[f"www.{host}"])
    whole = list(list_sites(own_engine))
    assert [record.site.host for record in whole] == ["a.example", "b.example", "c.example", "d.example"]
    assert whole[0].aliases == ("www.a.example",)
    for size in (1, 2, 3, 4, 5):
        monkeypatch.setattr("multisite.directory.records.PAGE_SITES", size)
        assert list(list_sites(own_engine)) == whole


def test_without_tables_the_error_names_the_command_to_run(database_url: str, settings: Settings) -> None:
    engine = engine_from_url(database_url)
    with pytest.raises(MultisiteError, match="multisite migrate"):
        add_site(engine, "a.example", settings=settings)
    assert folders(settings) == []
    engine.dispose()


# The folder of a new site.


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_has_the_starter_or_the_layout_or_a_readme(tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    first = create_site(engine, "first.example", settings=settings)
    assert "layout.mako" in files_of(first.folder)["README.txt"]
    settings.templates_dir.mkdir()
    (settings.templates_dir / "layout.mako").write_text("shared")
    second = create_site(engine, "second.example", settings=settings)
    assert files_of(second.folder) == {"layout.mako": "shared"}
    (settings.templates_dir / "starter" / "static").mkdir(parents=True)
    (settings.templates_dir / "starter" / "layout.mako").write_text("start here")
    (settings.templates_dir / "starter" / "static" / "site.css").write_text("body {}")
    third = create_site(engine, "third.example", settings=settings)
    assert files_of(third.folder) == {"layout.mako": "start here", "static/site.css": "body {}"}
    assert folders(settings) == ["first.example", "second.example", "third.example"]
    engine.dispose()


def test_a_folder_with_files_is_kept_and_an_empty_one_is_filled(tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    (settings.sites_dir / "full.example").mkdir(parents=True)
    (settings.sites_dir / "full.example" / "mine.txt").write_text("mine")
    (settings.sites_dir / "empty.example").mkdir()
    full, empty = (create_site(engine, host, settings=settings) for host in ("full.example", "empty.example"))
    assert (full.folder_existed, files_of(full.folder)) == (True, {"mine.txt": "mine"})
    assert (empty.folder_existed, list(files_of(empty.folder))) == (False, ["README.txt"])
    engine.dispose()


def test_a_symbolic_link_to_a_folder_is_kept(tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    settings.sites_dir.mkdir()
    (settings.sites_dir / "a.example").symlink_to(tmp_path / "elsewhere")
    assert create_site(engine, "a.example", settings=settings).folder_existed
    assert (settings.sites_dir / "a.example").is_symlink()
    engine.dispose()


def test_a_file_in_place_of_the_folder_is_kept_and_no_site_is_created(
    own_engine: sa.Engine, settings: Settings
) -> None:
    settings.sites_dir.mkdir()
    (settings.sites_dir / "a.example").write_text("a file")
    with pytest.raises(MultisiteError, match="is not a folder"):
        add_site(own_engine, "a.example", settings=settings)
    assert (hosts_of(own_engine), statuses(own_engine)) == ({}, [])
    (settings.sites_dir / "a.example").unlink()
    assert add_site(own_engine, "a.example", settings=settings).host == "a.example"


def test_an_unwritable_folder_is_named_and_no_site_is_created(tmp_path: Path, own_engine: sa.Engine) -> None:
    (tmp_path / "sites").write_text("a file where the folder of all sites should be")
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    with pytest.raises(MultisiteError, match=r"cannot create the folder .*a\.example: .*run the same command again"):
        add_site(own_engine, "a.example", settings=settings)
    assert (hosts_of(own_engine), statuses(own_engine)) == ({}, [])


def test_the_longest_host_has_a_folder(tmp_path: Path, settings: Settings) -> None:
    engine = sqlite_engine(tmp_path)
    host = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(host) == 253
    site = add_site(engine, host, settings=settings)
    assert folders(settings) == [site.folder] == [host]
    assert site.name == host[:200]
    engine.dispose()


# Races.

AT_ONCE = 16


def outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except DomainTaken as error:
        return f"taken by {error.owner}"
    return "won"


def test_sixteen_threads_at_once_create_one_site(database_url: str, own_engine: sa.Engine, settings: Settings) -> None:
    def attempt(number: int) -> str:
        engine = engine_from_url(database_url, poolclass=sa.NullPool, connect_args=patient(database_url))
        aliases = [f"alias{number}.example", "shared.example"]
        return outcome(lambda: add_site(engine, "A.example", settings=settings, aliases=aliases, name=f"n{number}"))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(attempt, range(AT_ONCE)))
    assert sorted(outcomes) == ["taken by a.example"] * (AT_ONCE - 1) + ["won"]
    winner = outcomes.index("won")
    (record,) = list_sites(own_engine)
    # All details of the site are those of one call.
    assert record.site.name == f"n{winner}"
    assert record.aliases == tuple(sorted([f"alias{winner}.example", "shared.example"]))
    assert (record.status, folders(settings)) == ("active", ["a.example"])


def patient(url: str) -> dict[str, int]:
    return {"timeout": 60} if url.startswith("sqlite") else {}


def test_the_constraint_rejects_a_host_that_another_program_has_taken(
    own_engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check before it, the constraint alone decides, with the same message."""
    add_site(own_engine, "a.example", settings=settings)
    look = transaction.check_domain_free
    calls = []

    def look_the_second_time(connection: sa.Connection, *wanted: Domain) -> None:
        calls.append(wanted)
        if len(calls) > 1:
            look(connection, *wanted)

    for module in (creation, transaction):
        monkeypatch.setattr(module, "check_domain_free", look_the_second_time)
    with pytest.raises(DomainTaken) as caught:
        add_site(own_engine, "b.example", aliases=["a.example"], settings=settings)
    assert (caught.value.host, caught.value.owner) == ("a.example", "a.example")
    assert hosts_of(own_engine) == {"a.example": "canonical"}
    assert folders(settings) == ["a.example"]


# Interrupted calls (`tests/system/test_kills.py` kills the command).


def reserve_and_stop(engine: sa.Engine, aliases: tuple[str, ...]) -> None:
    plan = creation.SitePlan(Domain("a.example"), tuple(map(Domain, aliases)), "first try", "de", "UTC", None)
    with directory_transaction(engine) as connection:
        creation.reserve_site(connection, plan)


def test_the_completing_call_decides_name_and_aliases(own_engine: sa.Engine, settings: Settings) -> None:
    reserve_and_stop(own_engine, ("b.example", "c.example"))
    assert [record.status for record in list_sites(own_engine)] == ["pending"]
    site = add_site(own_engine, "a.example", settings=settings, name="second try", aliases=["c.example", "d.example"])
    assert (site.name, site.locale) == ("second try", "en")
    assert get_site(own_engine, "a.example").aliases == ("c.example", "d.example")
    assert Directory(own_engine).find("b.example") is None


def test_a_pending_site_gets_no_domains_and_its_hosts_are_taken(own_engine: sa.Engine, settings: Settings) -> None:
    reserve_and_stop(own_engine, ("b.example",))
    with pytest.raises(MultisiteError, match=r"multisite add-site a\.example"):
        add_domain(own_engine, "a.example", "c.example")
    with pytest.raises(DomainTaken) as caught:
        add_site(own_engine, "b.example", settings=settings)
    assert caught.value.owner == "a.example"


def sqlite_engine(tmp_path: Path) -> sa.Engine:
    from databases import make_own_tables

    engine = engine_from_url(f"sqlite:///{tmp_path / 'own.db'}")
    make_own_tables(engine)
    return engine
