"""The operator log: who changed which site, when and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database, migrate_own
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from multisite import CrossSiteError, MultisiteError, SettingError, Site, UnknownSite, UnscopedStatement, using_site
from multisite.core import current_site
from multisite.core.actor import acting_as, current_actor, system_user
from multisite.core.settings import Settings, parse_settings
from multisite.directory.models import AS_MULTISITE
from multisite.directory.operator_tables import LOG_FLOOR_DAYS, log_table
from multisite.directory.records import get_site
from multisite.scoping import execution, scoped_text
from multisite.sites import availability, creation, domains, rotate_secret, updates
from multisite.sites.archive.copying import copy_site
from multisite.sites.batches import NewSite, add_sites
from multisite.sites.hidden_values import HIDDEN, MAX_TEXT_CHARACTERS, SECRET_WORDS
from multisite.sites.operator_log import (
    LogEntry,
    LogSelection,
    list_log,
    prune_log,
    record,
    record_in,
    record_now,
)
from multisite.sites.removal import remove_site
from multisite.sites.settings import values
from multisite.sites.settings.registry import SettingsRegistry
from multisite.sites.settings.setting import make_setting


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        migrate_own(engine)
        yield engine


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("folders")
    (folder / "templates" / "themes" / "plain").mkdir(parents=True)
    (folder / "archives").mkdir()
    return Settings(
        sites_dir=folder / "sites", templates_dir=folder / "templates", media_url=str(folder / "media"),
        archives_dir=folder / "archives",
    )  # fmt: skip


DECLARED = SettingsRegistry({})
for _name in ("colour", "shop.api_key"):
    DECLARED.add(make_setting(_name, str, default="", doc="For this test."))

_numbers = iter(range(1, 1_000))


@pytest.fixture
def host(engine: sa.Engine, settings: Settings) -> str:
    """Return the host of a new site."""
    host = f"log{next(_numbers)}.example"
    creation.add_site(engine, host, name="Before", settings=settings)
    return host


def newest(engine: sa.Engine, **chosen: Any) -> LogEntry:
    return next(list_log(engine, LogSelection(**chosen), limit=1))


def other(host: str) -> str:
    return f"other-{host}"


Act = Callable[[sa.Engine, str, Settings], object]

ACTIONS: dict[str, tuple[Act, dict[str, Any], dict[str, Any]]] = {
    "rename-site": (
        lambda engine, host, _: updates.rename_site(engine, host, "After"), {"name": "Before"}, {"name": "After"},
    ),
    "set-theme": (
        lambda engine, host, settings: updates.set_theme(engine, host, "plain", settings=settings),
        {"theme": None}, {"theme": "plain"},
    ),
    "reload-templates": (lambda engine, host, _: updates.reload_templates(engine, host), {}, {}),
    "add-domain": (
        lambda engine, host, _: domains.add_domain(engine, host, other(host)),
        {"domains": ["H (canonical)"]}, {"domains": ["H (canonical)", "other-H (alias)"]},
    ),
    "rotate-secret": (lambda engine, host, _: rotate_secret.rotate_secret(engine, host), {}, {}),
    "disable-site": (
        lambda engine, host, _: availability.disable_site(engine, host), {"status": "active"}, {"status": "disabled"},
    ),
    "maintain-site": (
        lambda engine, host, _: availability.maintain_site(engine, host, message="Back soon"),
        {"status": "active"}, {"status": "maintenance", "maintenance_message": "Back soon"},
    ),
    "set": (
        lambda engine, host, _: values.set_settings(
            engine, host, {"colour": "red", "shop.api_key": "s3cret", "locale": "de"}, declared=DECLARED
        ),
        {"locale": "en", "setting colour": None, "setting shop.api_key": None},
        {"locale": "de", "setting colour": "red", "setting shop.api_key": HIDDEN},
    ),
}  # fmt: skip
"""Actions on a new site H with what the log then says was before and after."""


@pytest.mark.parametrize("what", ACTIONS)
def test_an_action_is_logged_with_what_it_changed(engine: sa.Engine, settings: Settings, host: str, what: str) -> None:
    act, before, after = ACTIONS[what]
    site = get_site(engine, host).site
    with acting_as("anna (console)", address="192.0.2.7"):
        act(engine, host, settings)
    entry = newest(engine)
    shown = [{**(each or {})} for each in (entry.before, entry.after)]
    expected = [
        {name: [each.replace("H", host) for each in value] if isinstance(value, list) else value for name, value in
         side.items()}
        for side in (before, after)
    ]  # fmt: skip
    assert shown == expected
    assert (entry.who, entry.address, entry.what) == ("anna (console)", "192.0.2.7", what)
    assert (entry.site_id, entry.site) == (site.id, host)
    assert abs(entry.at - datetime.now(UTC)) < timedelta(minutes=5)


def test_adding_copying_and_removing_sites_is_logged(engine: sa.Engine, settings: Settings, host: str) -> None:
    added = newest(engine)
    assert (added.what, added.site, added.before) == ("add-site", host, None)
    assert added.after is not None
    assert (added.after["name"], added.after["domains"]) == ("Before", [f"{host} (canonical)"])
    copy_site(engine, host, other(host), settings=settings)
    copied = newest(engine)
    assert (copied.what, copied.site, copied.after and copied.after["copy_of"]) == ("copy-site", other(host), host)
    remove_site(engine, host, settings=settings)
    removed = newest(engine)
    assert (removed.what, removed.site, removed.after) == ("remove-site", host, None)
    assert removed.before is not None
    assert removed.before["name"] == "Before"


def test_the_log_of_a_removed_site_remains(engine: sa.Engine, settings: Settings, host: str) -> None:
    remove_site(engine, host, settings=settings)
    assert [entry.what for entry in list_log(engine, LogSelection(site=host))] == ["remove-site", "add-site"]
    creation.add_site(engine, host, settings=settings)
    assert [entry.what for entry in list_log(engine, LogSelection(site=host))] == ["add-site"]


def test_an_erased_site_leaves_its_domain_only(engine: sa.Engine, settings: Settings, host: str) -> None:
    remove_site(engine, host, settings=settings, erase=True)
    entry = newest(engine)
    assert (entry.what, entry.site, entry.before, entry.after) == ("remove-site", host, None, {"erased": True})


def test_moving_a_domain_is_logged_for_both_sites(engine: sa.Engine, settings: Settings, host: str) -> None:
    creation.add_site(engine, other(host), aliases=[f"www.{host}"], settings=settings)
    domains.move_domain(engine, f"www.{host}", host)
    got, lost = list_log(engine, LogSelection(whats=("move-domain",)), limit=2)
    assert (got.site, got.after) == (host, {"domains": [f"{host} (canonical)", f"www.{host} (alias)"]})
    assert (lost.site, lost.after) == (other(host), {"domains": [f"{other(host)} (canonical)"]})


def test_settings_of_several_sites_have_an_entry_for_each(engine: sa.Engine, settings: Settings, host: str) -> None:
    new = [NewSite(f"{name}.{host}", settings={"colour": "red"}) for name in "ab"]
    add_sites(engine, new, settings=settings, declared=DECLARED)
    assert [(entry.what, entry.site) for entry in list_log(engine, limit=4)] == [
        ("set", f"b.{host}"), ("set", f"a.{host}"), ("add-site", f"b.{host}"), ("add-site", f"a.{host}"),
    ]  # fmt: skip
    ids = [get_site(engine, each.host).site.id for each in new]
    values.set_settings_of_sites(engine, ids, {"colour": "blue"}, declared=DECLARED)
    for entry in list_log(engine, limit=2):
        assert (entry.before, entry.after) == ({"setting colour": "red"}, {"setting colour": "blue"})
    values.unset_settings_of_sites(engine, ids, ["colour"], declared=DECLARED)
    for entry in list_log(engine, limit=2):
        assert (entry.what, entry.before, entry.after) == (
            "unset",
            {"setting colour": "blue"},
            {"setting colour": None},
        )


def test_a_change_that_fails_leaves_no_entry(engine: sa.Engine, host: str) -> None:
    last = newest(engine).id
    with pytest.raises(MultisiteError):
        domains.remove_domain(engine, host)
    with pytest.raises(RuntimeError), engine.begin() as connection:
        record(connection, "rename-site")
        raise RuntimeError
    assert newest(engine).id == last


# Secrets


def test_values_with_secret_names_are_hidden(engine: sa.Engine) -> None:
    words = sorted(SECRET_WORDS)
    keys = [key for word in words for key in (word, f"shop.{word}", f"{word}_of", word.upper(), f"shop{word.title()}")]
    found = dict.fromkeys(keys, "s3cret")
    record_now(engine, "set", before=found, after={"nested": [{**found, "plain": "seen"}]})
    entry = newest(engine)
    assert entry.before == dict.fromkeys(keys, HIDDEN)
    assert entry.after == {"nested": [{**dict.fromkeys(keys, HIDDEN), "plain": "seen"}]}
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        columns = sa.cast(log_table.c.before, sa.String), sa.cast(log_table.c.after, sa.String)
        stored = connection.execute(sa.select(*columns).where(log_table.c.id == entry.id)).one()
    assert "s3cret" not in "".join(stored)


def test_passwords_in_urls_are_hidden_and_long_texts_truncated(engine: sa.Engine) -> None:
    record_now(engine, "set", after={"url": "at postgresql://app:s3cret@db/x", "text": "x" * 10_000, "monkey": "seen"})
    assert newest(engine).after == {
        "url": f"at postgresql://app:{HIDDEN}@db/x", "text": "x" * MAX_TEXT_CHARACTERS + "…", "monkey": "seen",
    }  # fmt: skip


# Append-only


def test_entries_cannot_be_changed_nor_deleted(engine: sa.Engine) -> None:
    record_now(engine, "refresh")
    before = list(list_log(engine, limit=3))
    young = datetime.now(UTC) - timedelta(days=LOG_FLOOR_DAYS - 1)
    statements: list[Any] = [sa.update(log_table).values(who="nobody"), sa.delete(log_table)]
    statements += [sa.text("TRUNCATE multisite_log")] * (engine.dialect.name == "postgresql")
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.insert(log_table).values(at=young, who="x", what="young"))
    for statement in statements:
        with (
            pytest.raises(DatabaseError, match="append-only"),
            engine.connect().execution_options(**AS_MULTISITE) as connection,
            connection.begin(),
        ):
            connection.execute(statement)
    assert list(list_log(engine, limit=4))[1:] == before


def test_old_entries_are_pruned(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    ages = {"old": 101, "young": 99}
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for what, days in ages.items():
            connection.execute(sa.insert(log_table).values(at=now - timedelta(days=days), who="pruned", what=what))
    assert prune_log(engine, settings=Settings(log_days=100)) == 1
    assert [entry.what for entry in list_log(engine, LogSelection(who="pruned"))] == ["young"]


@pytest.mark.parametrize("value", ["29", "0", "x", "-1", "1e3", ""])
def test_the_log_is_kept_for_at_least_thirty_days(value: str) -> None:
    with pytest.raises(SettingError, match="at least 30|from 1 to"):
        parse_settings({"multisite.log_days": value})


# Reading


def test_entries_are_selected(engine: sa.Engine, host: str) -> None:
    with acting_as("berta (console)"):
        for name in ("One", "Two", "Three"):
            updates.rename_site(engine, host, name)
        rotate_secret.rotate_secret(engine, host)
    renamed = list(list_log(engine, LogSelection(who="berta", site=f"{host.upper()}.", whats=("rename-site",))))
    assert [entry.after for entry in renamed] == [{"name": "Three"}, {"name": "Two"}, {"name": "One"}]
    assert [entry.what for entry in list_log(engine, LogSelection(who="berta (console)"), limit=1)] == ["rotate-secret"]
    assert list(list_log(engine, LogSelection(who="bert"))) == []
    assert (
        list(list_log(engine, LogSelection(who="berta", whats=("rename-site",)), before_id=renamed[0].id))
        == renamed[1:]
    )
    assert list(list_log(engine, LogSelection(who="berta", since=datetime.now(UTC) + timedelta(minutes=1)))) == []
    assert len(list(list_log(engine, LogSelection(who="berta", until=datetime.now(UTC) + timedelta(minutes=1))))) == 4
    with pytest.raises(UnknownSite):
        list(list_log(engine, LogSelection(site="nowhere.example")))


def test_the_log_is_read_in_pages(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.sites.operator_log.PAGE_ENTRIES", 2)
    for number in range(5):
        record_now(engine, "paged", after={"number": number})
    found = list_log(engine, LogSelection(whats=("paged",)))
    assert [entry.after for entry in found] == [{"number": number} for number in (4, 3, 2, 1, 0)]


# Who acts


def test_a_script_acts_as_the_user_of_the_system(engine: sa.Engine) -> None:
    assert current_actor() == (f"{system_user()} (script)", None)
    with acting_as("anna"), acting_as("berta"):
        assert current_actor().name == "berta"
    record_now(engine, "refresh")
    assert newest(engine).who == f"{system_user()} (script)"


def test_the_request_id_is_logged(engine: sa.Engine) -> None:
    token = current_site.request_id.set("abc123")
    try:
        record_now(engine, "refresh")
    finally:
        current_site.request_id.reset(token)
    assert newest(engine).request_id == "abc123"


# Within a site


def test_a_session_of_a_site_records_in_its_transaction(engine: sa.Engine, host: str) -> None:
    site = get_site(engine, host).site
    last = newest(engine).id
    with Session(engine, info={"site": site}) as session:
        record_in(session, engine, "add-media", site)
        session.rollback()
        assert newest(engine).id == last
        record_in(session, engine, "add-media", site)
        session.commit()
    assert (newest(engine).what, newest(engine).site_id) == ("add-media", site.id)


def test_a_session_on_another_database_has_its_entry_committed_first(
    engine: sa.Engine, host: str, tmp_path: Path
) -> None:
    site = get_site(engine, host).site
    with closing_engine(f"sqlite:///{tmp_path}/rows.db") as rows, Session(rows, info={"site": site}) as session:
        record_in(session, engine, "add-media", site)
        session.rollback()
    assert newest(engine).what == "add-media"


def test_an_entry_does_not_invalidate_cached_pages(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[object] = []
    monkeypatch.setattr(execution, "change_listeners", [lambda connection, scope: changes.append(scope)])
    record_now(engine, "refresh")
    assert changes == []


READS: dict[str, Any] = {
    "a select": lambda: sa.select(log_table.c.who),
    "an alias": lambda: sa.select(log_table.alias().c.who),
    "a table of that name": lambda: sa.select(sa.column("who")).select_from(sa.table("multisite_log")),
    "a subquery": lambda: sa.select(sa.select(log_table.c.who).limit(1).scalar_subquery()),
    "text": lambda: sa.text("SELECT who FROM multisite_log"),
    "scoped text": lambda: scoped_text("SELECT who FROM multisite_log WHERE site_id = :site_id"),
    "an update": lambda: sa.update(log_table).values(who="x"),
    "a delete": lambda: sa.delete(log_table),
    "an insert": lambda: sa.insert(log_table).values(at=datetime.now(UTC), who="x", what="y"),
}


@pytest.mark.parametrize("name", READS)
def test_no_statement_within_a_site_may_name_the_log(engine: sa.Engine, host: str, name: str) -> None:
    site: Site = get_site(engine, host).site
    last = newest(engine)
    refused = pytest.raises((UnscopedStatement, CrossSiteError), match="multisite_log")
    with Session(engine, info={"site": site}) as session, refused:
        session.execute(READS[name]())
    with using_site(site), engine.connect() as connection, refused:
        connection.execute(READS[name]())
    assert newest(engine) == last
