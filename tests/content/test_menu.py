"""The main menu that an owner arranges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user, csrf_token, editor_sites, log_in, rows_of
from pyramid.request import Request
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content import error_menu
from multisite.content.menu import MenuItem
from multisite.content.models import Entry, Redirect
from multisite.content.tables import Revision
from multisite.core.keys import DIRECTORY
from multisite.sites.availability import enable_site, maintain_site

pytestmark = pytest.mark.slow

SCRIPTS = ("javascript:alert(1)", "data:text/html,x")
MINE = f"http://{GARDEN}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("menu")) as sites,
    ):
        sites.settings |= {"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"}
        for site in (sites.garden, sites.sternwarte):
            for role in ("owner", "editor"):
                add_user(sites, site, role, role)
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    """Begin without menus and entries."""
    for host in (GARDEN, STERNWARTE):
        send(log_in(world, host, "owner"), "default")
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        for model in (MenuItem, Revision, Entry, Redirect):
            session.execute(sa.delete(model))
    return world


def send(browser: TestApp, action: str, status: int = 303, **fields: str) -> Any:
    values = {"csrf_token": csrf_token(browser), "action": action, **fields}
    return browser.post("/edit/menu", values, status=status)


def links(page: Any, selector: str = ".site-nav a") -> list[tuple[str, str]]:
    return [(link.text, link["href"].removeprefix(MINE)) for link in page.html.select(selector)]


def item_of(browser: TestApp, label: str) -> str:
    """Return the id of an item."""
    forms = browser.get("/edit/menu").forms.values()
    form = next(form for form in forms if label in form.text and "item" in form.fields)
    return str(form["item"].value)


def test_an_owner_arranges_the_menu(sites: ContentSites) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    default = [("Home", "/"), ("Archive", "/archive"), ("Search", "/search")]
    assert links(reader.get("/")) == default
    sites.add(sites.garden, "/about", title="About", published=None)
    sites.add(sites.garden, "leaf-mould")
    for label, target in (
        ("Start", "/"),
        ("Us", "/about/"),
        ("Leaf", "/entries/leaf-mould"),
        ("Shop", "https://x.example/a"),
    ):
        send(owner, "add", label=label, target=target)
    wanted = [("Start", "/"), ("Us", "/about/"), ("Leaf", "/entries/leaf-mould"), ("Shop", "https://x.example/a")]
    assert links(reader.get("/")) == wanted
    for path, label in (("/", "Start"), ("/about/", "Us"), ("/entries/leaf-mould", "Leaf")):
        assert [text for text, _ in links(reader.get(path), ".site-nav a[aria-current=page]")] == [label]
    assert links(reader.get("/nothing/", status=404)) == wanted
    send(owner, "add", label="Team", target="/tags/x", parent=item_of(owner, "Us"))
    assert links(reader.get("/"), ".site-nav li li a") == [("Team", "/tags/x")]
    send(owner, "up", item=item_of(owner, "Shop"))
    send(owner, "down", item=item_of(owner, "Start"))
    send(owner, "down", item=item_of(owner, "Leaf"))
    assert [text for text, _ in links(reader.get("/"))] == ["Us", "Team", "Start", "Shop", "Leaf"]
    send(owner, "save", item=item_of(owner, "Start"), label="Begin", target="/archive")
    assert ("Begin", "/archive") in links(reader.get("/"))
    assert links(sites.browser(STERNWARTE).get("/"))[0][0] == "Startseite"
    send(owner, "remove", item=item_of(owner, "Us"))
    assert [text for text, _ in links(reader.get("/"))] == ["Begin", "Shop", "Leaf"]
    send(owner, "default")
    assert links(reader.get("/")) == default


# Error pages.


@pytest.fixture
def with_menu(sites: ContentSites) -> ContentSites:
    send(log_in(sites, GARDEN, "owner"), "add", label="Ours", target="/")
    return sites


def menu_queries(sites: ContentSites) -> list[str]:
    return [each for each in sites.statements if "FROM menu_items" in each]


def test_an_error_page_costs_one_query_for_the_menu_of_its_site(with_menu: ContentSites) -> None:
    sites = with_menu
    sites.statements.clear()
    assert links(sites.browser(GARDEN).get("/nothing/", status=404)) == [("Ours", "/")]
    (query,) = menu_queries(sites)
    assert "menu_items.site_id" in query
    sites.statements.clear()
    assert "Ours" not in sites.browser(STERNWARTE).get("/nothing/", status=404).text
    assert menu_queries(sites) == []  # It has no items of its own, and looks for none.


def test_a_site_in_maintenance_shows_its_menu(with_menu: ContentSites) -> None:
    sites = with_menu
    maintain_site(sites.engine, GARDEN)
    sites.app.registry[DIRECTORY].refresh_soon()
    try:
        assert links(sites.browser(GARDEN).get("/", status=503)) == [("Ours", "/")]
    finally:
        enable_site(sites.engine, GARDEN)
        sites.app.registry[DIRECTORY].refresh_soon()


def test_without_the_database_an_error_page_has_the_default_menu(
    with_menu: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, default = with_menu, ["Home", "Archive", "Search"]
    browser = sites.browser(GARDEN)
    engine = sites.app.registry[DIRECTORY].engine
    asked = []

    def refuse(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "menu_items" in statement:
            asked.append(statement)
            raise sa.exc.OperationalError(statement, {}, Exception("gone"))

    sa.event.listen(engine, "before_cursor_execute", refuse)
    try:
        # The page itself fails, so its error page does not ask again.
        response = Request.blank("/archive", host=GARDEN).get_response(sites.app)  # WebTest would raise the error.
        assert response.status_code == 500
        assert [link.text for link in BeautifulSoup(response.text, "html.parser").select(".site-nav a")] == default
        assert len(asked) == 1
        # The page of an address that has none asks once; those after it do not, for some seconds.
        for _ in range(3):
            assert [text for text, _ in links(browser.get("/no.page", status=404))] == default
        assert len(asked) == 2
    finally:
        sa.event.remove(engine, "before_cursor_execute", refuse)
    assert [text for text, _ in links(browser.get("/no.page", status=404))] == default
    monkeypatch.setitem(sites.app.registry, error_menu.RETRY_AT, 0.0)
    assert links(browser.get("/no.page", status=404)) == [("Ours", "/")]


def test_an_error_page_does_not_wait_for_a_database_that_hangs(
    with_menu: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, engine, end = with_menu, with_menu.app.registry[DIRECTORY].engine, threading.Event()
    monkeypatch.setattr(error_menu, "TIMEOUT_SECONDS", 0.05)

    def hang(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "menu_items" in statement:
            end.wait(30)

    sa.event.listen(engine, "before_cursor_execute", hang)
    try:
        page = sites.browser(GARDEN).get("/no.page", status=404)
        assert not end.is_set()  # It was there before the database.
        assert [text for text, _ in links(page)] == ["Home", "Archive", "Search"]
    finally:
        end.set()
        sa.event.remove(engine, "before_cursor_execute", hang)
        monkeypatch.setitem(sites.app.registry, error_menu.RETRY_AT, 0.0)


def test_a_link_follows_its_page_and_shows_only_what_is_published(sites: ContentSites) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    sites.add(sites.garden, "/about", title="About", published=None)
    send(owner, "add", label="Us", target="/about")
    form = next(iter(owner.get(owner.get("/edit/pages").html.select_one(".rows a")["href"]).forms.values()))
    form["slug"] = "company"
    form.submit("action", value="save", status=303)
    assert links(reader.get("/")) == [("Us", "/company/")]
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        session.scalars(sa.select(Entry)).one().draft = True
    assert "Us" not in [text for text, _ in links(reader.get("/"))]
    assert "Us" in owner.get("/edit/menu").text
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        session.delete(session.scalars(sa.select(Entry)).one())
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.scalars(sa.select(MenuItem)).all() == []
    assert [text for text, _ in links(reader.get("/"))] == ["Home", "Archive", "Search"]


def test_what_is_not_a_link_is_refused(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    for target in (*("", "about", "/a/*", "/a b\0", "/\\evil.example", "//evil.example"), *SCRIPTS):
        page = send(owner, "add", label="x", target=target, status=400)
        assert "A link leads to a path" in page.text, target
    for label in ("", " ", "x" * 301, "a\0b"):
        assert "A link needs a text" in send(owner, "add", label=label, target="/", status=400).text
    send(owner, "add", label="<script>alert(1)</script>", target="/")
    assert "<script>alert" not in sites.browser(GARDEN).get("/").text
    send(owner, "add", label="x", target="/", parent="999999", status=404)
    send(owner, "nothing", status=404)
    # A row that an archive has brought.
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        session.add(MenuItem(label="Evil", target="javascript:alert(1)", position=9))
    assert "javascript:" not in sites.browser(GARDEN).get("/").text


def test_the_menu_is_the_owners_and_of_one_site(sites: ContentSites) -> None:
    owner, stranger = log_in(sites, GARDEN, "owner"), log_in(sites, STERNWARTE, "owner")
    send(owner, "add", label="Begin", target="/")
    item = item_of(owner, "Begin")
    before = rows_of(sites, sites.garden)["menu_items"]
    log_in(sites, GARDEN, "editor").get("/edit/menu", status=403)
    sites.browser(GARDEN).get("/edit/menu", status=403)
    for action in ("save", "up", "down", "remove"):
        send(stranger, action, item=item, label="Mine", target="/", status=404)
    send(stranger, "add", label="x", target="/", parent=item, status=404)
    assert "Begin" not in stranger.get("/edit/menu").text
    assert rows_of(sites, sites.garden)["menu_items"] == before
    send(stranger, "default")
    assert rows_of(sites, sites.garden)["menu_items"] == before


def test_a_site_without_a_menu_of_its_own_looks_for_none(sites: ContentSites) -> None:
    send(log_in(sites, GARDEN, "owner"), "add", label="Start", target="/")
    for host, queries in ((STERNWARTE, 0), (GARDEN, 1)):
        sites.statements.clear()
        sites.browser(host).get("/archive?a=1")
        assert len([each for each in sites.statements if "menu_items" in each]) == queries


def test_the_revision_creates_the_table_of_the_model(tmp_path: Path) -> None:
    """`test_the_revisions_create_the_tables_of_the_models` compares the columns; this the names of what limits them."""
    text = (Path(__file__).parents[2] / "migrations/versions/0018_menus.py").read_text("utf-8")
    table: Any = MenuItem.__table__
    names = {each.name for each in (*table.constraints, *table.indexes)}
    assert not {str(name) for name in names if str(name) not in text}
