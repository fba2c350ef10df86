"""The console's list of sites and the pages of a site, and that what they do is what the commands do."""

from __future__ import annotations

import gettext
import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup
from console_world import (
    CONSOLE,
    console_sites,
    do_jobs,
    empty_console_tables,
    form_token,
    log_in_to_console,
)
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import PASSWORD, add_user, browser_of, log_in
from editor_texts import console_texts
from mako import parsetree
from mako.lexer import Lexer
from paths import ROOT
from sqlalchemy import event
from webtest import TestApp

from multisite.console import site_list_pages
from multisite.console.site_list import PAGE_SITES, list_page
from multisite.content.tables import Base
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.console_tables import sign_ins_table
from multisite.directory.listing import EVERY_SITE, SiteSelection
from multisite.directory.models import AS_MULTISITE, DomainRow, SiteRow
from multisite.directory.operator_tables import jobs_table
from multisite.directory.records import get_site
from multisite.sites.creation import add_site
from multisite.sites.jobs import add_job, claim_job, end_job, list_jobs
from multisite.sites.operator_log import LogSelection, list_log
from multisite.sites.removal import remove_site
from multisite.sites.settings.setting import make_setting
from multisite.sites.settings.values import set_settings
from multisite.sites.sign_ins import make_sign_in, use_sign_in
from multisite.sites.site_words import complete_words
from multisite.sites.traffic import Traffic
from multisite.web.site_archive import site_contents
from multisite.web.site_settings import SITE_SETTINGS


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("console")
    with fresh_database(request, tmp_path_factory) as url, console_sites(url, folder) as sites:
        for theme in ("harbour", "paper"):
            (folder / "templates" / "themes" / theme).mkdir(parents=True)
        empty_console_tables(sites)
        # Not the tables of other tests in this process.
        site_contents(sites.app.registry).metadata = [Base.metadata]
        yield sites


@pytest.fixture(scope="module")
def jane(world: ContentSites) -> TestApp:
    """Return a browser in which an operator has logged in who may do everything."""
    return log_in_to_console(world, "jane", "everything")


@pytest.fixture
def post(jane: TestApp) -> Any:
    token = form_token(jane)
    return lambda path, fields, **options: jane.post(path, {"csrf_token": token, **fields}, **options)


@pytest.fixture
def spare(world: ContentSites) -> Iterator[Any]:
    """Yield a site that the test may change, and remove."""
    settings = parse_settings(world.settings)
    site = add_site(world.engine, "spare.example", settings=settings, name="Spare")
    yield site
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection:
        is_there = connection.scalar(sa.select(SiteRow.availability).where(SiteRow.id == site.id)) != "removed"
    if is_there:
        domain = f"#{site.id}"
        with world.engine.connect().execution_options(**AS_MULTISITE) as connection:
            domain = (
                connection.scalar(
                    sa.select(DomainRow.host).where(DomainRow.site_id == site.id, DomainRow.kind == "canonical")
                )
                or domain
            )
        remove_site(world.engine, domain, settings=settings, erase=True)


def last_logged(sites: ContentSites) -> tuple[str, str, str | None]:
    (found,) = list_log(sites.engine, limit=1)
    return found.who, found.what, found.site


# The list.


def names(page: Any) -> list[str]:
    return [each.text for each in page.html.select("tbody th small")]


def test_the_list_finds_sites_by_name_domain_status_and_theme(world: ContentSites, jane: TestApp, spare: Any) -> None:
    assert names(jane.get("/")) == [GARDEN, "spare.example", STERNWARTE]
    assert names(jane.get("/?q=alias.ex")) == [GARDEN]
    assert names(jane.get("/?q=SPARE")) == ["spare.example"]
    assert names(jane.get("/?q=%25")) == []
    # Within a word, only if one asks for it.
    page = jane.get("/?q=lias.ex&theme=-")
    assert names(page) == []
    page = page.click("Search inside words too")
    assert names(page) == [GARDEN]
    assert "Search inside words too" not in page.text
    assert names(jane.get("/?status=disabled")) == []
    assert names(jane.get("/?theme=harbour")) == []
    assert len(names(jane.get("/?theme=-"))) == 3
    assert names(jane.get("/?order=newest"))[0] == "spare.example"
    assert names(jane.get("/?order=name")) == [GARDEN, "spare.example", STERNWARTE]
    keys = ("x", "[]", '["a"]', '["a",-1,""]', "[[[[", "[1,2,3]", '["a",99999999999999999999,""]')
    for query in ("status=x", "order=x", "before=[]", *(f"after={key}" for key in keys)):
        jane.get(f"/?{query}", status=400)
    assert "There are no such sites." in jane.get("/", {"q": "x\0y"}).text


def add_rows(engine: sa.Engine, first: int, count: int, aliases: int) -> None:
    """Add many sites by rows alone; every third name is the same."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        numbers = range(first, first + count)
        rows = [{"name": f"Name {n if n % 3 else 0}", "folder": f"many-{n:05}.example"} for n in numbers]
        connection.execute(sa.insert(SiteRow), rows)
        found = connection.execute(sa.select(SiteRow.id, SiteRow.folder).where(SiteRow.folder.startswith("many-")))
        ids = {folder: site_id for site_id, folder in found}
        domains = [
            {"site_id": ids[row["folder"]], "host": prefix + row["folder"], "kind": kind}
            for row in rows
            for prefix, kind in [("", "canonical"), *((f"a{k}.", "alias") for k in range(aliases))]
        ]
        connection.execute(sa.insert(DomainRow), domains)
    complete_words(engine)


def remove_rows(engine: sa.Engine) -> None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        many = sa.select(SiteRow.id).where(SiteRow.folder.startswith("many-"))
        connection.execute(sa.delete(DomainRow).where(DomainRow.site_id.in_(many)))
        connection.execute(sa.delete(SiteRow).where(SiteRow.folder.startswith("many-")))


@pytest.mark.parametrize("order", ["domain", "name", "newest"])
def test_pages_follow_each_other_forwards_and_back(world: ContentSites, order: str) -> None:
    add_rows(world.engine, 0, 3 * PAGE_SITES, 0)
    try:
        pages = [list_page(world.engine, EVERY_SITE, order)]
        while (after := pages[-1].after) is not None:
            pages.append(list_page(world.engine, EVERY_SITE, order, after=after))
        found = [site.id for page in pages for site in page.sites]
        assert len(found) == len(set(found)) == 3 * PAGE_SITES + 2
        assert pages[0].before is None
        back = [pages[-1]]
        while (before := back[-1].before) is not None:
            back.append(list_page(world.engine, EVERY_SITE, order, before=before))
        assert [page.sites for page in reversed(back)] == [page.sites for page in pages]
        some = list_page(world.engine, SiteSelection(words="many-0014"), order)
        assert len(some.sites) == 10
    finally:
        remove_rows(world.engine)


def count_statements(sites: ContentSites, get: Any, path: str) -> int:
    engine, statements = sites.app.registry[DIRECTORY].engine, []
    listener = lambda *arguments: statements.append(arguments[2])  # noqa: E731
    event.listen(engine, "before_cursor_execute", listener)
    try:
        get(path, status=200)
    finally:
        event.remove(engine, "before_cursor_execute", listener)
    return len(statements)


def test_the_menu_says_how_many_jobs_wait_and_have_failed(world: ContentSites, jane: TestApp) -> None:
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(jobs_table))

    def badges() -> list[str]:
        page = jane.get("/health")
        assert len(page.html.select(".badge")) == len(page.html.select("nav a #job-badges .badge"))
        return [each.text for each in page.html.select(".badge")]

    assert badges() == []
    before = count_statements(world, jane.get, "/")
    for _ in range(3):
        add_job(world.engine, "bulk", arguments={"hosts": []})
    for status in ("done", "failed"):
        claimed = claim_job(world.engine, "here")
        assert claimed is not None
        assert badges()[0] == f"{3 if status == 'done' else 2} waiting or running"
        end_job(world.engine, claimed, status, result={"sites": [], "failed": 0})
    assert badges() == ["1 waiting or running", "1 failed within the last day"]
    assert count_statements(world, jane.get, "/") == before
    page = jane.get("/health", headers={"Accept-Language": "de"})
    assert [each.text for each in page.html.select(".badge .unseen")] == [
        " wartend oder in Arbeit", " am letzten Tag fehlgeschlagen",
    ]  # fmt: skip
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(jobs_table))


def count_calls(get: Any, path: str) -> int:
    """Return how many functions of Python and C a page calls, once it was shown before."""
    get(path)
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        get(path, status=200)
    finally:
        sys.setprofile(before)
    return calls


def test_the_work_for_a_page_does_not_grow_with_the_sites(world: ContentSites, jane: TestApp) -> None:
    """From a full page on: benchmarks/console.py counts instructions with 10,000 sites, and with ten."""
    few, many = PAGE_SITES + 10, 10_000 if os.environ.get("MULTISITE_SOAK") else 300
    later = json.dumps([f"many-{few - PAGE_SITES - 5:05}.example", 0, ""])
    site = f"/sites/{world.garden.id}"
    paths = [
        "/",
        "/?q=a1.many",
        "/?order=name&theme=-",
        f"/?after={later}",
        site,
        f"{site}/domains",
        f"{site}/settings",
    ]
    add_rows(world.engine, 0, few, 2)
    try:
        before = {path: count_calls(jane.get, path) for path in paths}
        add_rows(world.engine, few, many - few, 9)
        for path in paths:
            assert count_calls(jane.get, path) <= 1.5 * before[path], path
        assert all(calls > 1_000 for calls in before.values())
    finally:
        remove_rows(world.engine)


def test_the_number_of_queries_does_not_grow_with_the_sites(world: ContentSites, jane: TestApp) -> None:
    """10,000 sites with ten domains each with MULTISITE_SOAK=1, else a fiftieth of that."""
    sites, aliases = (10_000, 9) if os.environ.get("MULTISITE_SOAK") else (200, 9)
    later = json.dumps([f"many-{sites - PAGE_SITES - 5:05}.example", 0, ""])
    paths = [
        "/",
        "/?q=garden",
        "/?order=name&theme=-",
        f"/sites/{world.garden.id}",
        f"/sites/{world.garden.id}/domains",
    ]
    jane.get("/")
    before = [count_statements(world, jane.get, path) for path in paths]
    add_rows(world.engine, 0, sites, aliases)
    try:
        assert [count_statements(world, jane.get, path) for path in paths] == before
        assert count_statements(world, jane.get, f"/?after={later}") == before[0]
        assert len(names(jane.get(f"/?after={later}"))) == PAGE_SITES
        # The session, with a search whether its word is common, the sites, and their number by status; at a site, its
        # record, and its maintenance or its checks.
        assert before == [3, 4, 3, 4, 4]
    finally:
        remove_rows(world.engine)


# A site.


def test_a_site_that_does_not_exist(jane: TestApp) -> None:
    for path in ("/sites/99999", "/sites/0", "/sites/x", "/sites/99999/domains", "/sites/999999999999999999"):
        jane.get(path, status=404)


def test_add_a_site(world: ContentSites, jane: TestApp, post: Any) -> None:
    fields = {"host": "Added.example", "name": "", "aliases": "www.added.example", "locale": "de", "timezone": "UTC"}
    page = post("/add", {**fields, "theme": "paper"}, status=303).follow()
    assert "The site is added." in page.text
    record = get_site(world.engine, "www.added.example")
    assert (record.site.name, record.site.theme, record.status) == ("added.example", "paper", "active")
    assert last_logged(world) == ("jane (console)", "add-site", "added.example")
    assert "already belongs to a site" in post("/add", fields, status=400).text
    assert "This is not a domain" in post("/add", {**fields, "host": "a b"}, status=400).text
    assert "there is no theme" in post("/add", {**fields, "host": "b.example", "theme": "x"}, status=400).text
    assert browser_of(world, "added.example").get("/").status_code == 200
    remove_site(world.engine, "added.example", settings=parse_settings(world.settings), erase=True)


def test_domains(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    page = f"/sites/{spare.id}/domains"
    post(page, {"action": "add", "host": "www.spare.example", "kind": "alias"}, status=303)
    post(page, {"action": "add", "host": "old.example", "kind": "redirect"}, status=303)
    assert last_logged(world) == ("jane (console)", "add-domain", "spare.example")
    assert "already belongs" in post(page, {"action": "add", "host": GARDEN}, status=400).text
    assert "This is not a domain" in post(page, {"action": "add", "host": "<b>"}, status=400).text
    post(page, {"action": "canonical", "host": "www.spare.example", "kind": "redirect"}, status=303)
    assert [(each.host, each.kind) for each in get_site(world.engine, "spare.example").domains] == [
        ("www.spare.example", "canonical"), ("old.example", "redirect"), ("spare.example", "redirect"),
    ]  # fmt: skip
    post(page, {"action": "remove", "host": "old.example"}, status=303)
    # Not by this page: domains of another site, and the canonical one.
    before = get_site(world.engine, GARDEN)
    for action in ("remove", "canonical"):
        assert "no such domain" in post(page, {"action": action, "host": "alias.example"}, status=400).text
    assert "canonical domain" in post(page, {"action": "remove", "host": "www.spare.example"}, status=400).text
    post(page, {"action": "x", "host": "www.spare.example"}, status=400)
    assert get_site(world.engine, GARDEN) == before


def test_settings_and_theme(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    page = f"/sites/{spare.id}/settings"
    form = jane.get(page).forms[0]
    form["name"], form["posts_per_page"], form["robots"] = "Renamed", "7", "noindex"
    assert "Saved." in form.submit(status=303).follow().text
    site = get_site(world.engine, "spare.example").site
    assert (site.name, json.loads(site.own_settings)) == ("Renamed", {"posts_per_page": "7", "robots": "noindex"})
    form = jane.get(page).forms[0]
    assert form["posts_per_page"].value == "7"
    form["posts_per_page"] = "many"
    refused = form.submit(status=400)
    assert "Nothing was saved" in refused.text
    assert "Expected: a whole number" in refused.text
    form["posts_per_page"], form["robots"] = "10", "index"
    form.submit(status=303)
    assert get_site(world.engine, "spare.example").site.own_settings == ""
    page = f"/sites/{spare.id}/theme"
    post(page, {"action": "theme", "theme": "harbour"}, status=303)
    assert get_site(world.engine, "spare.example").site.theme == "harbour"
    assert "not a valid theme name" in post(page, {"action": "theme", "theme": "../x"}, status=400).text
    post(page, {"action": "theme", "theme": ""}, status=303)
    assert last_logged(world) == ("jane (console)", "set-theme", "spare.example")


def test_who_only_looks_sees_no_secret_setting(world: ContentSites, jane: TestApp, spare: Any) -> None:
    declared = world.app.registry[SITE_SETTINGS]
    declared.add(make_setting("shop.api_key", str, default=None, doc="The key of the shop."))
    try:
        set_settings(world.engine, "spare.example", {"shop.api_key": "s3cret-of-the-shop"}, declared=declared)
        page = f"/sites/{spare.id}/settings"
        assert jane.get(page).forms[0]["shop.api_key"].value == "s3cret-of-the-shop"
        shown = log_in_to_console(world, "onlooker", "look").get(page).text
        assert "s3cret" not in shown
        assert 'value="(hidden)"' in shown
        assert "s3cret" not in jane.get(f"/sites/{spare.id}").text + jane.get("/log").text
    finally:
        del declared._settings["shop.api_key"]
        declared._forget()


def test_the_state_of_a_site(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    page = f"/sites/{spare.id}/state"
    visitor = browser_of(world, "spare.example")
    done = post(page, {"action": "maintain", "message": "Back at six", "until": "2099-01-01T18:00"})
    link = done.html.select_one(".link-once pre").text
    assert "Back at six" in visitor.get("/", status=503).text
    assert browser_of(world, "spare.example").get(link, status=303).follow(status=200)
    shown = jane.get(f"/sites/{spare.id}").text
    assert "Back at six" in shown
    assert "2099" in shown
    assert "already passed" in post(page, {"action": "maintain", "until": "2001-01-01T18:00"}, status=400).text
    assert "This is not a time." in post(page, {"action": "maintain", "until": "soon"}, status=400).text
    post(page, {"action": "x"}, status=400)
    post(page, {"action": "disable"}, status=303)
    visitor.get("/", status=404)
    post(page, {"action": "open"}, status=303)
    visitor.get("/", status=200)
    assert last_logged(world) == ("jane (console)", "enable-site", "spare.example")


def test_remove_and_restore(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    world.add(spare, "kept")
    page = f"/sites/{spare.id}/remove"
    shown = jane.get(page).html.select_one(".plain")
    rows = {name.text: int(number.text) for name, number in zip(shown.select("dt"), shown.select("dd"), strict=True)}
    assert rows["entries"] == 1
    assert shown.summary.text == f"{sum(rows.values())} rows"
    assert "1 domain" in [each.get_text(strip=True) for each in shown.select("li")]
    for typed in ("", "spare", GARDEN):
        assert "another one" in post(page, {"domain": typed}, status=400).text
    assert "The job is added." in post(page, {"domain": "spare.example"}, status=303).follow().text
    browser_of(world, "spare.example").get("/", status=200)
    assert do_jobs(world) == [("remove-site", "done")]
    assert last_logged(world) == ("jane (console)", "remove-site", "spare.example")
    browser_of(world, "spare.example").get("/", status=404)
    jane.get(f"/sites/{spare.id}", status=404)
    assert "no removed site" in post("/removed", {"domain": GARDEN}, status=400).text
    taken = post("/removed", {"domain": "spare.example", "new_host": GARDEN}, status=400)
    assert "already belongs" in taken.text
    post("/removed", {"domain": "spare.example"}, status=303)
    assert do_jobs(world) == [("restore-site", "done")]
    assert "kept of Spare" in browser_of(world, "spare.example").get("/entries/kept").text
    remove_site(world.engine, "spare.example", settings=parse_settings(world.settings), erase=True)


def test_copy_and_export_are_jobs(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    page = f"/sites/{spare.id}/copy"
    assert "already belongs" in post(page, {"action": "copy", "host": GARDEN}, status=400).text
    assert "This is not a domain" in post(page, {"action": "copy", "host": "a b"}, status=400).text
    post(page, {"action": "x", "host": "copied.example"}, status=400)
    before = len(list(list_jobs(world.engine)))
    shown = post(page, {"action": "copy", "host": "copied.example", "users": "none"}, status=303).follow()
    assert "The job is added." in shown.text
    post(page, {"action": "export"}, status=303)
    settings = parse_settings(world.settings)
    do_jobs(world)
    assert [(each.kind, each.status) for each in list_jobs(world.engine)][: -before or None] == [
        ("export-site", "done"), ("copy-site", "done"),
    ]  # fmt: skip
    assert get_site(world.engine, "copied.example").site.copy_of == "spare.example"
    assert ("jane (console)", "copy-site") in {(each.who, each.what) for each in list_log(world.engine, limit=5)}
    remove_site(world.engine, "copied.example", settings=settings, erase=True)


def test_the_list_shows_the_last_day_of_each_site(world: ContentSites, spare: Any) -> None:
    spans = [Traffic(datetime(2026, 1, 1, hour, tzinfo=UTC), requests=hour, errors=hour == 5) for hour in range(24)]
    line = site_list_pages._line(spans)
    assert (line.requests, line.errors) == (sum(range(24)), 1)
    assert not line.has_many_errors
    assert site_list_pages._line([Traffic(spans[0].start, requests=100, errors=1)]).has_many_errors
    assert line.points.startswith("0.0,23.0 ")
    assert line.points.endswith(" 96.0,1.0")
    assert site_list_pages._line([]).points == ""
    assert not site_list_pages._line([]).has_many_errors


# Users, and signing in as one.


def test_users(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    page = f"/sites/{spare.id}/users"
    done = post(page, {"action": "add-user", "login": "mary", "role": "owner", "email": "mary@example.com"})
    link = done.html.select_one(".link-once pre").text
    assert "mary" in browser_of(world, "spare.example").get(link).text
    assert last_logged(world) == ("jane (console)", "add-user", "spare.example")
    (shown,) = done.html.select(".rows > li")
    assert [each.text for each in shown.select("b, .pill")] == ["mary", "has not chosen a password"]
    assert shown.select_one("button")["aria-label"] == "Sign in as mary"
    assert done.html.select_one("main .lead").text == "1 user"
    assert "already has a user" in post(page, {"action": "add-user", "login": "Mary", "role": "owner"}, status=400).text
    assert "last owner" in post(page, {"action": "set-role", "login": "mary", "role": "author"}, status=400).text
    assert "tick the box" in post(page, {"action": "remove-user", "login": "mary"}, status=400).text
    add_user(world, world.garden, "gus")
    for action in ("set-role", "reset-password", "remove-user"):
        fields = {"action": action, "login": "gus", "role": "owner", "sure": "1"}
        assert "no user with the login" in post(page, fields, status=400).text
    post(f"/sites/{spare.id}/sign-in", {"login": "gus"}, status=404)


def sign_in_link(page: Any) -> str:
    return str(page.html.select_one("main .card a.button")["href"])


def test_an_operator_signs_in_as_a_user_once_on_that_site_alone(world: ContentSites, post: Any) -> None:
    add_user(world, world.garden, "olga", "owner")
    link = sign_in_link(post(f"/sites/{world.garden.id}/sign-in", {"login": "olga"}))
    assert link.startswith(f"http://{GARDEN}/login/operator/")
    path = link.removeprefix(f"http://{GARDEN}")
    assert last_logged(world) == ("jane (console)", "sign-in", GARDEN)
    browser_of(world, STERNWARTE).get(path, status=404)
    browser = browser_of(world, GARDEN)
    page = browser.get(path, status=303).follow()
    banner = page.html.select_one(".acting")
    assert "jane is signed in here as olga" in banner.text
    assert banner.a["href"] == f"http://{CONSOLE}/sites/{world.garden.id}/users"
    browser_of(world, GARDEN).get(path, status=404)
    # Each form is recorded under the operator's name; the user's own are not.
    token = browser.get("/edit/account").html.select_one("input[name=csrf_token]")["value"]
    fields = {"csrf_token": token, "title": "By an operator", "body": "Text", "slug": "by-an-operator"}
    browser.post("/edit/new", fields, status="*")
    (entry,) = list_log(world.engine, limit=1)
    assert (entry.who, entry.what, entry.site, entry.address) == ("jane (as olga)", "act-as-user", GARDEN, None)
    assert entry.after is not None
    assert entry.after["user"] == "olga"
    own = browser_of(world, GARDEN)
    own.post("/login", {"login": "olga", "password": PASSWORD}, status=303)
    assert own.get("/edit/").html.select_one(".acting") is None


def test_a_link_to_sign_in_ends_after_a_minute(world: ContentSites) -> None:
    token = make_sign_in(world.engine, world.garden, 1, "olga", operator="jane")
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        left = connection.scalar(sa.select(sign_ins_table.c.expires))
        connection.execute(sa.update(sign_ins_table).values(expires=left - 60))
    assert use_sign_in(world.engine, world.garden, token) is None
    token = make_sign_in(world.engine, world.garden, 1, "olga", operator="jane")
    assert use_sign_in(world.engine, world.sternwarte, token) is None
    assert use_sign_in(world.engine, world.garden, token) == ("jane", 1)
    assert use_sign_in(world.engine, world.garden, token) is None


# Language, and texts from sites.


@pytest.mark.parametrize("operator", [None, "jane"])
def test_changes_in_the_editor_are_logged_by_name(world: ContentSites, post: Any, operator: str | None) -> None:
    login = f"writer-{operator}"
    who = f"{login} (editor)" if operator is None else f"jane (as {login})"
    add_user(world, world.garden, login, "owner")
    if operator is None:
        browser = log_in(world, GARDEN, login)
    else:
        browser = browser_of(world, GARDEN)
        link = sign_in_link(post(f"/sites/{world.garden.id}/sign-in", {"login": login}))
        browser.get(link.removeprefix(f"http://{GARDEN}"), status=303)
    form = browser.get("/edit/settings").forms[0]
    form["tagline"] = f"By {who}"
    form.submit(status=303)
    newest = next(list_log(world.engine, LogSelection(GARDEN, whats=("set",))))
    assert (newest.who, newest.after) == (who, {"setting tagline": f"By {who}"})


def test_the_console_is_there_in_german(world: ContentSites, jane: TestApp) -> None:
    catalog = ROOT / "multisite" / "console" / "locale" / "de" / "LC_MESSAGES" / "console"
    with catalog.with_suffix(".po").open("rb") as po, catalog.with_suffix(".mo").open("rb") as mo:
        german, compiled = read_po(po), gettext.GNUTranslations(mo)
    assert {message.id for message in german if message.id} == console_texts()
    for message in german:
        if message.id:
            assert sorted(re.findall("{.*?}", message.string)) == sorted(re.findall("{.*?}", message.id))
            assert compiled.gettext(message.id) == message.string != ""
    page = jane.get("/", headers={"Accept-Language": "de-AT, en;q=0.5"})
    assert page.html.h1.text == "Websites"
    assert page.html.html["lang"] == "de"
    assert jane.get("/", headers={"Accept-Language": "fr"}).html.h1.text == "Sites"


UNTRANSLATED = {"multisite", "Python", "(UTC)", "kB", "multisite import-site site.zip", "multisite export-site .zip"}
"""What templates of the console say in every language: names, units and commands."""

SHOWN_ATTRIBUTES = ("alt", "aria-label", "placeholder", "title", "data-label")


def words_in(template: str) -> set[str]:
    """Return the words of a Mako template that are in it as such, and not results of expressions."""

    def texts(nodes: Any) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, parsetree.Text):
                yield node.content
            elif isinstance(node, parsetree.Tag) and node.keyword != "doc":
                yield from texts(node.nodes)

    soup = BeautifulSoup("".join(texts(Lexer(template).parse().nodes)), "html.parser")
    attributes = (tag.get(name, "") for tag in soup.find_all() for name in SHOWN_ATTRIBUTES)
    found = (" ".join(text.split()) for text in [*soup.find_all(string=True), *attributes])
    return {text for text in found if re.search("[A-Za-z]{2}", text) and text != "html"}


def test_templates_show_no_words_that_are_not_translated() -> None:
    assert words_in('<p title="Two ${t("words")}">${t("One")} &middot; Three</p>') == {"Two", "· Three"}
    templates = sorted((ROOT / "multisite" / "console" / "templates").glob("*.mako"))
    assert len(templates) > 20
    for path in templates:
        assert words_in(path.read_text("utf-8")) <= UNTRANSLATED, path.name


def test_texts_of_sites_are_escaped(world: ContentSites, jane: TestApp, post: Any, spare: Any) -> None:
    name = "<script>alert(1)</script>"
    form = jane.get(f"/sites/{spare.id}/settings").forms[0]
    form["name"] = name
    form.submit(status=303)
    for path in ("/", f"/sites/{spare.id}", f"/sites/{spare.id}/settings", f"/sites/{spare.id}/remove"):
        text = jane.get(path).text
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
