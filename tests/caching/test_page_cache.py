"""The page cache: which requests are served a cached page, and when it is stale; partly with two processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event, Lock, Semaphore
from typing import Any
from weakref import WeakSet

import pytest
import sqlalchemy as sa
import warm
from content_sites import ContentSites
from databases import closing_engine, fresh_database, make_own_tables
from page_cache_world import (
    CACHEABLE_EFFECTS,
    EFFECTS,
    GARDEN,
    KITCHEN,
    Policy,
    books_page,
    browser,
    dispose,
    make_app,
    missing,
)
from paths import SUPPORT
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from scoped_models import Base, Book
from sqlalchemy import event
from sqlalchemy.orm import Session
from waitress_server import exchange, serving

from multisite import Site, all_sites, page_cache, scoped_text, using_site
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.matching import BYPASS_NAME
from multisite.directory.models import AS_MULTISITE, ChangeRow
from multisite.page_cache import PAGE_CACHE, PageCache, invalidation, single_flight
from multisite.page_cache.single_flight import Flight
from multisite.page_cache.store import OVERHEAD_BYTES, Page, PageStore
from multisite.page_cache.versions import Version, Versions
from multisite.scoping.pin import change_listeners
from multisite.sites.availability import disable_site, enable_site, maintain_site
from multisite.sites.creation import add_site
from multisite.sites.settings.values import set_settings
from multisite.web.site_settings import SITE_SETTINGS


class World:
    """A database with two sites that have one book each, and applications that serve them."""

    def __init__(self, url: str, folder: Path, engine: sa.Engine) -> None:
        self.url, self.folder, self.engine = url, str(folder), engine
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        settings = parse_settings({"multisite.sites_dir": f"{folder}/sites", "multisite.templates_dir": f"{folder}/t"})
        self.sites = {
            host: add_site(engine, host, settings=settings, aliases=[f"www.{host}"]) for host in (GARDEN, KITCHEN)
        }
        self._apps: dict[tuple[Any, ...], Any] = {}

    def app(self, **settings: Any) -> Any:
        """Return the application with these settings, the same one each time, with an empty cache."""
        key = tuple(sorted(settings.items()))
        if key not in self._apps:
            self._apps[key] = make_app(self.url, self.folder, **settings)
        app = self._apps[key]
        app.registry["made"].clear()
        if (cache := app.registry.get(PAGE_CACHE)) is not None:
            cache.pages = PageStore(cache.pages.size_bytes)
        return app

    def empty(self) -> None:
        with Session(self.engine, info={"all_sites": "a test"}) as session:
            session.execute(sa.delete(Book))
            for host, site in self.sites.items():
                session.add(Book(site_id=site.id, slug=f"canary-of-{host}", secret="x"))
            session.commit()

    def close(self) -> None:
        for app in self._apps.values():
            dispose(app)


@contextmanager
def make_world(url: str, folder: Path) -> Iterator[World]:
    with closing_engine(url) as engine:
        world = World(url, folder, engine)
        yield world
        world.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        make_world(url, tmp_path_factory.mktemp("world")) as world,
    ):
        yield world


@pytest.fixture
def world(shared_world: World) -> World:
    """Run on SQLite and on PostgreSQL, with one book for each site."""
    shared_world.empty()
    return shared_world


@pytest.fixture(scope="module")
def sqlite_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with make_world(f"sqlite:///{folder / 'pages.db'}", folder) as world:
        world.empty()
        yield world


@pytest.fixture
def app(sqlite_world: World) -> Any:
    return sqlite_world.app()


def made(app: Any) -> list[str]:
    """Return the paths of the pages that were rendered since the last call."""
    found, app.registry["made"][:] = list(app.registry["made"]), []
    return found


def is_cached(app: Any, path: str, host: str = GARDEN, **environ: str) -> bool:
    """Return whether the second of two requests is served without rendering the page."""
    browser(app, host, **environ).get(path, status="*")
    made(app)
    browser(app, host, **environ).get(path, status="*")  # A new browser, without cookies.
    return not made(app)


# Isolation of sites


def test_each_site_gets_its_own_page(world: World) -> None:
    app = world.app()
    for _ in range(3):
        for host, other in ((GARDEN, KITCHEN), (KITCHEN, GARDEN)):
            for name in (host, f"www.{host}"):
                text = browser(app, name).get("/page/a?b=c").text
                assert f"canary-of-{host}" in text
                assert f"http://{name}/page/a?b=c" in text
                assert f"canary-of-{other}" not in text
    assert len(made(app)) == 4


def test_a_key_without_the_site_would_mix_sites(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # If the site were neither in the key nor compared, a moved domain would show the pages of its former site.
    app = sqlite_world.app()
    directory = app.registry[DIRECTORY]
    garden, kitchen = (sqlite_world.sites[host] for host in (GARDEN, KITCHEN))

    def moved() -> str:
        sqlite_world.app()  # With an empty cache.
        directory.add_override(garden, ["moving.example"])
        browser(app, "moving.example").get("/page/a")
        directory.remove_override(garden)
        directory.add_override(kitchen, ["moving.example"])
        text = browser(app, "moving.example").get("/page/a").text
        directory.remove_override(kitchen)
        return text

    assert f"canary-of-{KITCHEN}" in moved()
    monkeypatch.setattr("multisite.page_cache.cache._key_of", lambda environ, site: environ["PATH_INFO"])
    assert f"canary-of-{KITCHEN}" in moved()
    monkeypatch.setattr(PageCache, "_find", lambda self, request, key, site, version: self.pages.get(key))
    assert f"canary-of-{GARDEN}" in moved()


def test_a_question_mark_without_a_query_is_the_same_page(app: Any) -> None:
    with serving(app) as address:
        pages = [
            exchange(address, f"GET {target} HTTP/1.1\r\nHost: {GARDEN}\r\nConnection: close\r\n\r\n".encode())
            for target in ("/page/mark", "/page/mark?", "/page/mark?#x")
        ]
    assert made(app) == ["/page/mark"]
    bodies = [page.partition(b"\r\n\r\n")[2] for page in pages]
    assert bodies == [bodies[0]] * 3
    assert b"/page/mark " in bodies[0]


def test_every_part_of_the_url_is_in_the_key(app: Any) -> None:
    addresses: list[tuple[str, dict[str, str]]] = [
        ("/page/a", {}), ("/page/A", {}), ("/page/a/", {}), ("/page/a?", {}), ("/page/a?b", {}), ("/page/a?b=", {}),
        ("/page/a?c&b", {}), ("/page/a%3Fb", {}), ("/page/%C3%A4", {}), ("/page/a", {"wsgi.url_scheme": "https"}),
        ("/page/a", {"HTTP_HOST": f"{GARDEN}:8080"}), ("/page/a", {"SCRIPT_NAME": "/shop"}),
    ]  # fmt: skip
    texts = [[browser(app, GARDEN, **environ).get(path).text for path, environ in addresses] for _ in range(2)]
    assert texts[0] == texts[1]
    # A question mark without a query does not reach the application.
    assert len(made(app)) == len(set(texts[0])) == len(addresses) - 1


# Which requests are served from the cache


ANONYMOUS: dict[str, dict[str, str]] = {
    "nothing": {},
    "a browser": {"HTTP_USER_AGENT": "Mozilla", "HTTP_ACCEPT": "text/html", "HTTP_ACCEPT_ENCODING": "gzip"},
    "an empty cookie": {"HTTP_COOKIE": ""},
    "cookies of analytics": {"HTTP_COOKIE": "_ga=GA1.2; _pk_id.1=x"},
    "an empty body": {"CONTENT_LENGTH": "0"},
}
PERSONAL: dict[str, dict[str, str]] = {
    "a cookie": {"HTTP_COOKIE": "session=abc"},
    "a cookie among others": {"HTTP_COOKIE": "_ga=1; session=abc"},
    "a cookie without a value": {"HTTP_COOKIE": "_ga=1; session"},
    "a cookie with another prefix": {"HTTP_COOKIE": "_gab=1"},
    "a log-in": {"HTTP_AUTHORIZATION": "Basic YTpi"},
    "a user set by the server": {"REMOTE_USER": "me"},
    "a range": {"HTTP_RANGE": "bytes=0-3"},
    "content": {"CONTENT_LENGTH": "3"},
    "a body without a length": {"HTTP_TRANSFER_ENCODING": "chunked"},
    "a virtual root": {"HTTP_X_VHM_ROOT": "/"},
}


@pytest.mark.parametrize("environ", ANONYMOUS.values(), ids=ANONYMOUS)
def test_an_anonymous_request_gets_the_cached_page(sqlite_world: World, environ: dict[str, str]) -> None:
    app = sqlite_world.app(page_cache_ignored_cookies="_ga _pk_*")
    browser(app).get("/page/a")
    made(app)
    browser(app, **environ).get("/page/a")
    assert made(app) == []


@pytest.mark.parametrize("environ", PERSONAL.values(), ids=PERSONAL)
def test_a_personal_request_gets_its_own_page_which_is_not_cached(sqlite_world: World, environ: dict[str, str]) -> None:
    app = sqlite_world.app(page_cache_ignored_cookies="_ga _pk_*")
    for _ in range(2):
        browser(app, **environ).get("/page/a")
    assert len(made(app)) == 2
    browser(app).get("/page/a")
    assert len(made(app)) == 1
    browser(app, **environ).get("/page/a")
    assert len(made(app)) == 1


@pytest.mark.parametrize("header", ["_ga=1", "_ga=1,theme=poison", "_ga=1 theme=poison"])
def test_a_page_that_read_a_cookie_is_not_cached(
    sqlite_world: World, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> str:
        app = sqlite_world.app(page_cache_ignored_cookies="_ga")
        browser(app, HTTP_COOKIE=header).get("/page/cookies")
        return browser(app).get("/page/cookies").text

    assert asked().endswith(" {}")
    monkeypatch.setattr("multisite.page_cache.cacheability.cookies_were_read", lambda _environ: False)
    assert "_ga" in asked()


@pytest.mark.parametrize("effect", EFFECTS)
def test_personal_responses_are_not_cached(app: Any, effect: str) -> None:
    assert is_cached(app, f"/page/{effect}") is (effect in CACHEABLE_EFFECTS)


@pytest.mark.parametrize("effect", sorted(set(EFFECTS) - CACHEABLE_EFFECTS))
def test_personal_responses_would_be_cached_without_the_check(
    app: Any, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.page_cache.cache.uncacheable_reason", lambda request, response: None)
    assert is_cached(app, f"/page/{effect}")


def test_only_views_with_the_option_are_cached(app: Any) -> None:
    assert not is_cached(app, "/other")
    assert is_cached(app, "/page/a")


def test_a_view_sets_the_seconds(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(app.registry[PAGE_CACHE], "_clock", lambda: now[0])
    assert is_cached(app, "/brief")
    now[0] += 0.4
    browser(app).get("/brief")
    assert not made(app)
    now[0] += 0.2
    browser(app).get("/brief")
    assert len(made(app)) == 1


def test_a_cacheable_subrequest_does_not_make_the_outer_page_cacheable(app: Any) -> None:
    texts = [browser(app).get("/outer", headers={"X-User": name}).text.split()[0] for name in ("one", "two")]
    assert texts == ["one", "two"]


def test_a_page_is_stored_under_the_path_that_was_requested(app: Any) -> None:
    browser(app).get("/page/path")
    assert is_cached(app, "/page/changed")
    assert made(app) == []
    assert "/page/changed" in browser(app).get("/page/changed").text


def test_errors_are_not_cached(app: Any) -> None:
    for _ in range(2):
        browser(app).get("/missing", status=404)
    assert len(app.registry[PAGE_CACHE].pages) == 0


def test_pages_that_depend_on_the_language_are_cached_by_language(app: Any) -> None:
    for _ in range(2):
        for language in ("de", "en", "de-AT, en;q=0.5"):
            text = browser(app, HTTP_ACCEPT_LANGUAGE=language).get("/page/language").text
            assert text == f"{language[:2]} {GARDEN}"
    assert len(made(app)) == 2
    browser(app, HTTP_ACCEPT_LANGUAGE="de").get("/page/a")
    browser(app, HTTP_ACCEPT_LANGUAGE="en").get("/page/a")
    assert len(made(app)) == 1


def test_a_page_that_reads_accept_language_itself_is_cached_by_header(sqlite_world: World) -> None:
    """The site has one language, and the view negotiates by itself."""

    def choose(request: Any) -> Response:
        return Response(request.accept_language.lookup(["de", "en"], default="en"), vary=["Accept-Language"])

    with configured(sqlite_world) as config:
        config.add_view(choose, route_name="page", page_cache=True)
        app = config.make_wsgi_app()
        headers = ("de", "en", "de", "", "x" * 5_000 + ", de")
        assert [browser(app).get("/", headers={"Accept-Language": each}).text for each in headers] == [
            "de", "en", "de", "en", "en",
        ]  # fmt: skip
        assert app.registry[PAGE_CACHE].hits == 1


def test_routes_with_a_header_predicate_do_not_get_the_page_of_another_route(sqlite_world: World) -> None:
    with configured(sqlite_world) as config:
        config.add_route("one", "/two", header="X-One")
        config.add_route("two", "/{name}")
        config.add_view(lambda _request: Response("one"), route_name="one", page_cache=True)
        config.add_view(lambda _request: Response("two"), route_name="two", page_cache=True)
        app = config.make_wsgi_app()
        for headers, text in [({}, "two"), ({"X-One": "1"}, "one"), ({}, "two")]:
            assert browser(app).get("/two", headers=headers).text == text
        browser(app).get("/three")
        browser(app).get("/three")
        assert app.registry[PAGE_CACHE].hits == 1


class Flavour:
    """A predicate that reads a header, and claims to be part of another module."""

    def __init__(self, value: str, _config: Any) -> None:
        self.value = value

    def text(self) -> str:
        return f"flavour = {self.value}"

    phash = text

    def __call__(self, _context: Any, request: Any) -> bool:
        return request.headers.get("X-Flavour") == self.value


@pytest.mark.parametrize("module", ["multisite.content.flavours", "multisite.website", "myapp.predicates"])
def test_a_predicate_that_is_not_of_multisite_web_is_not_part_of_the_key(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(Flavour, "__module__", module)
    with configured(sqlite_world) as config:
        config.add_route_predicate("flavour", Flavour)
        config.add_route("sweet", "/{name}", flavour="sweet")
        config.add_route("plain", "/{name}")
        for name in ("sweet", "plain"):
            config.add_view(lambda request: Response(request.matched_route.name), route_name=name, page_cache=True)
        app = config.make_wsgi_app()
        for headers, text in [({}, "plain"), ({"X-Flavour": "sweet"}, "sweet"), ({}, "plain")]:
            assert browser(app).get("/two", headers=headers).text == text


def test_a_predicate_of_multisite_is_part_of_the_key(sqlite_world: World) -> None:
    with configured(sqlite_world) as config:
        config.add_route("garden", "/{name}", site="garden.example")
        config.add_view(lambda _request: Response("garden"), route_name="garden", page_cache=True)
        app = config.make_wsgi_app()
        for _ in range(2):
            assert browser(app).get("/two").text == "garden"
        assert app.registry[PAGE_CACHE].hits == 1


def test_languages_would_mix_without_the_check(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.page_cache.cache._differs_by_language", lambda request: False)
    texts = {browser(app, HTTP_ACCEPT_LANGUAGE=each).get("/page/language").text[:2] for each in ("de", "en")}
    assert texts == {"de"}


# What is served


def test_the_cached_page_equals_the_rendered_page(app: Any) -> None:
    first, second = (browser(app).get("/page/a") for _ in range(2))
    assert len(made(app)) == 1
    assert (first.status, first.body, sorted(first.headerlist)) == (
        second.status, second.body, sorted(second.headerlist),
    )  # fmt: skip


def test_head_is_served_from_the_cached_get(app: Any) -> None:
    head = browser(app).head("/page/a")
    browser(app).head("/page/a")
    assert len(made(app)) == 2  # The response to HEAD is not stored.
    get = browser(app).get("/page/a")
    made(app)
    kept = browser(app).head("/page/a")
    assert made(app) == []
    assert kept.body == b""
    assert sorted(kept.headerlist) == sorted(get.headerlist) == sorted(head.headerlist)


def test_304_is_served_from_the_cached_page(app: Any) -> None:
    etag = browser(app).get("/page/a").headers["ETag"]
    made(app)
    assert browser(app, HTTP_IF_NONE_MATCH=etag).get("/page/a", status=304).body == b""
    assert browser(app, HTTP_IF_NONE_MATCH='"other"').get("/page/a", status=200).body
    assert made(app) == []
    part = browser(app, HTTP_RANGE="bytes=0-3").get("/page/a", status=206)
    assert part.body == GARDEN[:4].encode()
    assert is_cached(app, "/page/b", HTTP_IF_NONE_MATCH=etag)
    assert browser(app).get("/page/b").body


def test_a_cached_page_needs_no_query(sqlite_world: World) -> None:
    app = sqlite_world.app(refresh_seconds=3600)
    asked: list[str] = []
    engine = app.registry[DIRECTORY].engine

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    browser(app).get("/page/a")
    assert asked
    asked.clear()
    browser(app).get("/page/a")
    assert asked == []
    event.remove(engine, "before_cursor_execute", note)


def test_an_expired_page_is_rendered_again(sqlite_world: World) -> None:
    app = sqlite_world.app()
    cache = app.registry[PAGE_CACHE]
    now = [1000.0]
    clock, cache._clock = cache._clock, lambda: now[0]
    try:
        browser(app).get("/page/a")
        now[0] += 599
        assert is_cached(app, "/page/a")
        now[0] += 2
        browser(app).get("/page/a")
        assert len(made(app)) == 1
    finally:
        cache._clock = clock


def test_a_changed_site_gets_its_pages_rendered_again(sqlite_world: World) -> None:
    # Settings, templates, secrets, names: everything that the directory records about a site is compared.
    app = sqlite_world.app()
    assert is_cached(app, "/page/a", KITCHEN)
    with all_sites("a test"), sqlite_world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE sites SET template_generation = template_generation + 1 WHERE folder = :folder"),
            {"folder": sqlite_world.sites[KITCHEN].folder},
        )
        connection.execute(sa.text("UPDATE multisite_version SET version = version + 1"))
    made(app)
    browser(app, KITCHEN).get("/page/a")
    browser(app).get("/page/b")
    assert made(app) == ["/page/a", "/page/b"]
    assert is_cached(app, "/page/a", KITCHEN)


def test_a_site_in_maintenance_or_disabled_gets_no_cached_page(sqlite_world: World) -> None:
    app, engine = sqlite_world.app(), sqlite_world.engine
    assert is_cached(app, "/page/a")
    _info, word = maintain_site(engine, GARDEN, message="soon")
    browser(app).get("/page/a", status=503)
    operator = browser(app)
    operator.get("/page/a", {BYPASS_NAME: word}).follow()
    made(app)
    assert "canary" in operator.get("/page/a").text
    assert len(made(app)) == 1
    disable_site(engine, GARDEN)
    browser(app).get("/page/a", status=404)
    enable_site(engine, GARDEN)
    assert is_cached(app, "/page/a")


def test_cached_pages_count_towards_the_limit_of_a_site(sqlite_world: World) -> None:
    app = sqlite_world.app(max_requests_per_site=1)
    browser(app).get("/page/a")
    inside = []

    def during(request: Any) -> None:
        inside.append(browser(app).get("/page/a", status="*").status_int)

    with monkeypatched(EFFECTS, "busy", lambda request, _response: during(request)):
        browser(app).get("/page/busy")
    assert inside == [503]
    assert browser(app).get("/page/a").status_int == 200


@contextmanager
def monkeypatched(mapping: dict[str, Any], key: str, value: Any) -> Iterator[None]:
    mapping[key] = value
    try:
        yield
    finally:
        del mapping[key]


# Invalidation


WAYS = ("flush", "core", "postgresql: cte", "savepoint", "second", "all")


@pytest.mark.parametrize("way", WAYS)
def test_a_change_is_seen_at_once_in_its_own_process(world: World, way: str) -> None:
    app = world.app(refresh_seconds=3600)
    for host in (GARDEN, KITCHEN):
        assert is_cached(app, "/page/a", host)
    browser(app).post(f"/add/{way.rpartition(' ')[2]}/new")
    assert "new" in browser(app).get("/page/a").text
    assert is_cached(app, "/page/a")
    made(app)
    browser(app, KITCHEN).get("/page/a")
    # The sites whose rows a change across all sites concerns are unknown.
    assert len(made(app)) == (way == "all")


def test_a_rolled_back_change_invalidates_nothing(world: World) -> None:
    app = world.app(refresh_seconds=3600)
    assert is_cached(app, "/page/a")
    before = versions(world)
    browser(app).post("/add/undone/new")
    assert versions(world) == before
    assert is_cached(app, "/page/a")
    assert made(app) == []


def test_a_request_that_only_reads_bumps_no_version(world: World) -> None:
    app = world.app()
    before = versions(world)
    browser(app).get("/other")
    browser(app).get("/page/a")
    assert versions(world) == before
    browser(app).post("/add/flush/new")
    assert sum(versions(world).values()) == sum(before.values()) + 1


def versions(world: World) -> dict[int, int]:
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection:
        return {row.site_id: row.version for row in connection.execute(sa.select(ChangeRow.__table__))}


def insert(connection: Any, slug: str) -> None:
    connection.execute(sa.insert(Book), {"slug": slug, "secret": "x"})


def by_begin(world: World) -> None:
    with using_site(world.sites[GARDEN]), world.engine.begin() as connection:
        insert(connection, "new")


def by_text(world: World) -> None:
    statement = scoped_text("INSERT INTO books (site_id, slug, secret, stock) VALUES (:site_id, 'new', 'x', 1)")
    with using_site(world.sites[GARDEN]), world.engine.begin() as connection:
        connection.execute(statement)


def by_string(world: World) -> None:
    site_id = world.sites[GARDEN].id
    with all_sites("a test"), world.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO books (site_id, slug, secret, stock) VALUES ({site_id}, 'new', 'x', 1)"
        )


def by_autocommit(world: World) -> None:
    engine = world.engine.execution_options(isolation_level="AUTOCOMMIT")
    with using_site(world.sites[GARDEN]), engine.connect() as connection:
        insert(connection, "new")


def by_a_session_on_a_connection(world: World) -> None:
    with world.engine.begin() as connection, Session(connection, info={"site": world.sites[GARDEN]}) as session:
        session.add(Book(slug="new", secret="x"))
        session.commit()


def by_a_second_transaction(world: World) -> None:
    with using_site(world.sites[GARDEN]), world.engine.connect() as connection:
        insert(connection, "rolled-back")
        connection.rollback()
        insert(connection, "new")
        connection.commit()


@pytest.mark.parametrize(
    "change", [by_begin, by_text, by_string, by_autocommit, by_a_session_on_a_connection, by_a_second_transaction]
)
def test_a_change_outside_the_session_of_the_request_is_seen(world: World, change: Any) -> None:
    app = world.app()
    assert is_cached(app, "/page/a")
    change(world)
    text = browser(app).get("/page/a").text
    assert "new" in text
    assert "rolled-back" not in text
    assert is_cached(app, "/page/a")


def test_a_change_in_another_process_is_seen(world: World) -> None:
    app = world.app()
    for host in (GARDEN, KITCHEN):
        assert is_cached(app, "/page/a", host)
    command = [
        *warm.python(),
        str(SUPPORT / "page_cache_world.py"),
        world.url,
        world.folder,
        GARDEN,
        "/add/flush/theirs",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=SUPPORT)
    assert "theirs" in browser(app).get("/page/a").text
    made(app)
    browser(app, KITCHEN).get("/page/a")
    assert made(app) == []


def test_a_database_may_be_reached_by_another_url(sqlite_world: World) -> None:
    app = sqlite_world.app()
    assert is_cached(app, "/page/a")
    before = versions(sqlite_world)
    with closing_engine(f"sqlite+pysqlite:///{sqlite_world.engine.url.database}") as engine:
        with using_site(sqlite_world.sites[GARDEN]), engine.begin() as connection:
            insert(connection, "by-core")
        assert sum(versions(sqlite_world).values()) == sum(before.values()) + 1
        with Session(engine, info={"site": sqlite_world.sites[GARDEN]}) as session:
            session.add(Book(slug="by-a-session", secret="x"))
            session.commit()
    # More than one if the session of the request does not know either that the database is the same.
    assert sum(versions(sqlite_world).values()) > sum(before.values()) + 1
    text = browser(app).get("/page/a").text
    assert "by-core" in text
    assert "by-a-session" in text


def test_a_change_does_not_touch_the_database_of_another_application(sqlite_world: World, tmp_path: Path) -> None:
    """Its sites have the same ids, and it may be locked or missing."""
    with make_world(f"sqlite:///{tmp_path / 'other.db'}", tmp_path) as other:
        other.empty()
        app, others = sqlite_world.app(), other.app()
        for each in (app, others):
            assert is_cached(each, "/page/a")
        with other.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            browser(app).post("/add/flush/here")
            assert "here" in browser(app).get("/page/a").text
        assert versions(other) == {}


def test_rows_in_another_database_are_committed_if_the_version_cannot_be_bumped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        make_world(f"sqlite:///{tmp_path / 'rows.db'}", tmp_path) as rows,
        closing_engine(f"sqlite:///{tmp_path / 'gone.db'}") as gone,
    ):
        invalidation.subscribe(watching := Versions(gone, refresh_seconds=0, size=1))
        watching._table_exists = True
        with Session(rows.engine, info={"site": rows.sites[GARDEN]}) as session:
            session.add(Book(slug="kept", secret="x"))
            session.commit()
            assert session.scalars(sa.select(Book.slug)).all() == ["kept"]
        assert "cannot bump the versions of sites; cached pages may show outdated rows: " in caplog.text


def test_a_change_of_a_script_is_not_seen_unless_it_is_published(world: World) -> None:
    app = world.app()
    assert is_cached(app, "/page/a")
    listeners, change_listeners[:] = list(change_listeners), []
    try:
        by_begin(world)
    finally:
        change_listeners[:] = listeners
    assert "new" not in browser(app).get("/page/a").text


@pytest.mark.parametrize("late", ["before the rows are read", "after the rows were read"])
def test_a_page_rendered_during_a_change_is_stale(world: World, late: str) -> None:
    """A page reads its rows and waits; the change commits; the page is completed, and must not be served again."""
    app = world.app()
    read, changed = Event(), Event()

    def wait(_request: Any, _response: Any) -> None:
        read.set()
        assert changed.wait(30)

    with monkeypatched(EFFECTS, "slow", wait), ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: browser(app).get("/page/slow").text)
        assert read.wait(30)
        if late == "before the rows are read":
            # Like that of another process, which learns of the change when it next reads the versions.
            change_without_notice(world)
        else:
            by_begin(world)
        changed.set()
        assert "new" not in slow.result()
    assert "new" in browser(app).get("/page/slow").text


def test_a_page_rendered_during_a_change_would_stay_with_the_version_read_afterwards(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = sqlite_world.app()
    keep = PageCache._store

    def store_late(
        self: PageCache, request: Any, response: Any, key: Any, site: Site, _: Version, seconds: float
    ) -> bool:
        return keep(self, request, response, key, site, self.versions.of(site.id), seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(PageCache, "_store", store_late)
    with monkeypatched(EFFECTS, "slow", lambda _request, _response: by_begin(sqlite_world)):
        browser(app).get("/page/slow")
    assert "new" not in browser(app).get("/page/slow").text


def change_without_notice(world: World) -> None:
    """Change rows as another process does: bump the version, and do not notify this process."""
    watched, invalidation._notify_local = invalidation._notify_local, lambda site_ids: None
    try:
        by_begin(world)
    finally:
        invalidation._notify_local = watched


# Limits


def test_a_page_with_a_long_url_is_not_cached(app: Any) -> None:
    assert is_cached(app, "/page/a?" + "x" * 1_900)
    assert not is_cached(app, "/page/a?" + "x" * 2_000)


def page_of(site_id: int, size: int) -> Page:
    site = Site(site_id, f"s{site_id}.example", "", f"s{site_id}")
    return Page(site, Version(0, 0, 0, 0), 0.0, (), b"x" * (size - OVERHEAD_BYTES), True)


def test_pages_stay_within_the_size_limit() -> None:
    pages = PageStore(100_000)
    for number in range(100):
        assert pages.put(number, page_of(1, 10_000))
        assert pages.total_bytes <= 100_000
    assert [number for number in range(100) if pages.get(number)] == list(range(90, 100))
    assert not pages.put("large", page_of(1, 12_501))
    pages.put(99, page_of(1, 5_000))
    assert pages.total_bytes == 95_000
    assert len(pages) == 10


def test_a_site_with_many_pages_evicts_only_its_own() -> None:
    pages = PageStore(100_000)
    pages.put("other", page_of(2, 10_000))
    for number in range(100):
        pages.put(number, page_of(1, 10_000))
    assert pages.get("other")
    for number in range(100):
        pages.put(("third", number), page_of(3, 10_000))
    assert pages.get("other")
    assert {len(pages._by_site[site_id]) for site_id in (1, 3)} <= {4, 5}


def request_concurrently(
    app: Any, path: str, count: int, *, release: Callable[[], object], **environ: str
) -> list[str]:
    """Send `count` requests, the first of which waits in its view until all others are sent; return the texts."""
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(lambda: browser(app, **environ).get(path).text)]
        release()
        asked += [pool.submit(lambda: browser(app, **environ).get(path).text) for _ in range(count - 1)]
        return [each.result() for each in asked]


@contextmanager
def slow_page(app: Any, *, others: int) -> Iterator[Callable[[], object]]:
    """Let the first request of the page `slow` wait in its view until `others` requests wait for it; yield a function
    that waits until the first request is there."""
    begun, waited = Event(), Semaphore(0)
    is_first = Lock()
    wait = Flight.wait

    def noting(self: Flight) -> Page | None:
        waited.release()
        return wait(self)

    def effect(_request: Any, _response: Any) -> None:
        if is_first.acquire(blocking=False):
            begun.set()
            for _ in range(others + 1):
                assert waited.acquire(timeout=30)

    with pytest.MonkeyPatch.context() as patched, monkeypatched(EFFECTS, "slow", effect):
        patched.setattr(Flight, "wait", noting)
        yield lambda: begun.wait(30)


def test_of_concurrent_requests_one_renders_the_page(sqlite_world: World) -> None:
    app = sqlite_world.app()
    cache = app.registry[PAGE_CACHE]
    hits, misses = cache.hits, cache.misses
    with slow_page(app, others=5) as release:
        texts = request_concurrently(app, "/page/slow?one", 6, release=release)
    assert len(set(texts)) == 1
    assert made(app) == ["/page/slow"]
    assert (cache.hits - hits, cache.misses - misses) == (5, 1)
    assert cache._flights.in_flight == {}


def test_each_request_would_render_the_page_without_waiting(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = sqlite_world.app()
    monkeypatch.setattr(single_flight, "WAIT_TIMEOUT_SECONDS", 0.0)
    with slow_page(app, others=1) as release:
        request_concurrently(app, "/page/slow?each", 2, release=release)
    assert len(made(app)) == 2
    assert app.registry[PAGE_CACHE]._flights.in_flight == {}


def test_no_request_waits_for_an_uncacheable_page(sqlite_world: World) -> None:
    app = sqlite_world.app()
    arrived = Barrier(1)

    def effect(request: Request, response: Any) -> None:
        EFFECTS["session"](request, response)
        arrived.wait(30)

    with monkeypatched(EFFECTS, "both", effect), ThreadPoolExecutor(2) as pool:
        browser(app).get("/page/both")
        # Each waits for the other: both have to be in the view at the same time.
        arrived = Barrier(2)
        list(pool.map(lambda _: browser(app).get("/page/both"), range(2)))
    assert len(made(app)) == 3


def test_a_page_that_requests_itself_does_not_wait_for_itself(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[str] = []
    waited: list[object] = []
    monkeypatch.setattr(single_flight.Flight, "_ends_before", lambda *_: waited.append(1))

    def ask_again(request: Request, _response: Any) -> None:
        if not inner:
            inner.append("")
            again = Request.blank(request.url)
            inner[0] = request.invoke_subrequest(again, use_tweens=True).text

    with monkeypatched(EFFECTS, "again", ask_again):
        assert browser(app).get("/page/again").text == inner[0]
    assert waited == []
    assert len(made(app)) == 2


def test_threads_of_two_sites_never_mix(world: World) -> None:
    app = world.app(page_cache_size=1)
    start = Barrier(4)

    def work(number: int) -> int:
        host, other = ((GARDEN, KITCHEN), (KITCHEN, GARDEN))[number % 2]
        anybody = browser(app, host)
        start.wait()
        for turn in range(25):
            text = anybody.get(f"/page/{turn % 5}").text
            assert f"canary-of-{host}" in text
            assert f"canary-of-{other}" not in text
            if turn % 10 == 9:
                anybody.post(f"/add/flush/{number}-{turn}")
                assert f"{number}-{turn}" in anybody.get(f"/page/{turn % 5}").text
        return number

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [0, 1, 2, 3]


# Where the cache is disabled or refuses to start


def test_nothing_is_cached_unless_switched_on(sqlite_world: World) -> None:
    for settings in ({"page_cache_seconds": "0"},):
        app = sqlite_world.app(**settings)
        assert PAGE_CACHE not in app.registry
        assert not is_cached(app, "/page/a")
        assert "page_cache" not in str(app.handle_request)


def test_nothing_is_cached_while_templates_are_reloaded(sqlite_world: World) -> None:
    with configured(sqlite_world, "pyramid.reload_templates") as config:
        assert PAGE_CACHE not in config.make_wsgi_app().registry


@contextmanager
def configured(world: World, *switches: str) -> Iterator[Configurator]:
    settings = {
        "sqlalchemy.url": world.url,
        "multisite.sites_dir": f"{world.folder}/sites",
        "multisite.templates_dir": f"{world.folder}/templates",
        "multisite.page_cache_seconds": "60",
    }
    config = Configurator(settings={**settings, **dict.fromkeys(switches, "true")})
    config.include("multisite")
    config.include("multisite.page_cache")
    config.add_route("page", "/")
    yield config
    config.registry[DIRECTORY].engine.dispose()


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a permission": ([{"page_cache": True, "permission": "view"}], "and the permission 'view', so it is not public"),
    "a number that is none": ([{"page_cache": "yes"}], "page_cache='yes': must be True, False or a number of seconds"),
    "its own header": ([{"page_cache": True, "header": "X-A"}], "'header X-A', which the cache key does not contain"),
    "another view by header": ([{"page_cache": True}, {"header": "X-A"}], "'header X-A', which the cache key does not"),
    "another view by xhr": ([{"page_cache": True}, {"xhr": True}], "'xhr = True', which the cache key does not"),
    "another view by accept": (
        [{"page_cache": True, "accept": "text/html"}, {"accept": "application/json"}], "which the cache key does not",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("views", "message"), REFUSED.values(), ids=REFUSED)
def test_a_view_that_is_not_public_stops_the_start(
    sqlite_world: World, views: list[dict[str, Any]], message: str
) -> None:
    with configured(sqlite_world) as config, pytest.raises(ConfigurationError, match=message):
        config.set_security_policy(Policy())
        for number, options in enumerate(views):
            config.add_view((books_page, missing)[number], route_name="page", **options)
        config.make_wsgi_app()


def test_an_application_without_introspection_stops_the_start(sqlite_world: World) -> None:
    with configured(sqlite_world) as config:
        config.introspection = False
        with pytest.raises(ConfigurationError, match="remove introspection=False"):
            page_cache.includeme(config)


def test_views_that_differ_by_parts_of_the_key_are_accepted(sqlite_world: World) -> None:
    with configured(sqlite_world) as config:
        config.add_view(books_page, route_name="page", page_cache=True, request_method="GET")
        config.add_view(missing, route_name="page", request_param="b")
        config.add_view(missing, route_name="page", request_method="POST")
        config.add_view(books_page, name="x", page_cache=5, permission=NO_PERMISSION_REQUIRED)
        config.make_wsgi_app()


def test_a_policy_that_cannot_be_observed_stops_the_start(sqlite_world: World) -> None:
    class Closed(Policy):
        __slots__ = ()

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with (
        configured(sqlite_world) as config,
        pytest.raises(ConfigurationError, match="cannot observe calls of .*Closed.identity"),
    ):
        config.set_security_policy(Closed())
        config.make_wsgi_app()


def test_an_unreachable_database_leaves_cached_pages_in_use(
    sqlite_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    app = sqlite_world.app()
    known = app.registry[PAGE_CACHE].versions
    assert is_cached(app, "/page/a")
    fetch, known._fetch = known._fetch, lambda ids: (_ for _ in ()).throw(OSError("no such host"))
    try:
        assert is_cached(app, "/page/a")
        assert (
            caplog.messages.count("cannot read the versions of sites; the last known ones are used: no such host") == 1
        )
        known._known.pop(sqlite_world.sites[KITCHEN].id, None)
        assert not is_cached(app, "/page/a", KITCHEN)
    finally:
        known._fetch = fetch
        known._retry_at = known._check_at = 0


def test_changes_are_made_even_if_the_table_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with make_world(f"sqlite:///{tmp_path / 'old.db'}", tmp_path) as old:
        old.empty()
        with old.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE multisite_changes"))
        app = old.app()
        browser(app).post("/add/flush/new")
        assert "new" in browser(app).get("/page/a").text
        assert not is_cached(app, "/page/a")
        assert "the table multisite_changes is missing" in caplog.text


def test_changes_of_many_sites_take_bounded_memory(sqlite_world: World) -> None:
    versions = Versions(sqlite_world.engine, refresh_seconds=600, size=5)
    seen = [versions.of(1)]
    for site_id in (1, *range(100, 150), 1):
        versions.invalidate(site_id)
        seen.append(versions.of(1))
        assert len(versions._here) <= 7
    # A page from before a change of the site stays stale, whatever was evicted since.
    assert seen[0] not in seen[1:]
    assert seen[1] not in seen[20:]
    assert seen[-1] not in seen[:-1]


def test_many_sites_are_read_by_one_query(world: World) -> None:
    with all_sites("count from the beginning"), world.engine.begin() as connection:
        connection.execute(sa.delete(ChangeRow.__table__))
        rows = [{"site_id": number, "version": number} for number in range(1, 1200)]
        connection.execute(sa.insert(ChangeRow.__table__), rows)
    asked = Versions(world.engine, refresh_seconds=0, size=1000)
    for number in range(1, 1200, 100):
        assert asked.of(number) == Version(number, 0, 0, 0)
    assert Versions(world.engine, refresh_seconds=0, size=2000)._fetch(list(range(1, 1100)))[7] == 7
    with all_sites("count from the beginning"), world.engine.begin() as connection:
        connection.execute(sa.delete(ChangeRow.__table__))


def test_growing_numbers_of_sites_are_read_by_few_statements(sqlite_world: World) -> None:
    versions = Versions(sqlite_world.engine, refresh_seconds=600, size=1000)
    sent: set[str] = set()
    sa.event.listen(versions.engine, "before_cursor_execute", note := lambda c, cursor, sql, *rest: sent.add(sql))
    try:
        (found,) = {versions.of(number) for number in range(1000, 1200)}
    finally:
        sa.event.remove(versions.engine, "before_cursor_execute", note)
    assert (found.own, found.here) == (0, 0)
    assert 1 < len({sql for sql in sent if "multisite_changes" in sql}) <= 8


# Shared caches in front


CACHE_CONTROL = {
    "cookie": "private", "later": "private", "session": "private", "csrf": "private", "public": "public, max-age=5",
    "a": None, "no-store": "No-Store", "private": "private, max-age=5",
}  # fmt: skip


@pytest.mark.parametrize("effect", CACHE_CONTROL)
def test_a_personal_response_is_marked_private(app: Any, effect: str) -> None:
    assert browser(app).get(f"/page/{effect}").headers.get("Cache-Control") == CACHE_CONTROL[effect]


def test_a_page_that_reads_a_request_cookie_is_private(app: Any) -> None:
    # A page that greets the user, for example: it sets nothing, and an auth ticket needs no session.
    assert "Cache-Control" not in browser(app).get("/page/cookies").headers
    assert browser(app, HTTP_COOKIE="auth_tkt=abc").get("/page/cookies").headers["Cache-Control"] == "private"
    assert "Cache-Control" not in browser(app, HTTP_COOKIE="auth_tkt=abc").get("/page/a").headers


# Subrequests


def test_a_subrequest_has_the_attributes_of_a_request(app: Any) -> None:

    asked = Request.blank("/page/a", environ={"HTTP_HOST": KITCHEN})
    assert f"canary-of-{KITCHEN}" in app.invoke_subrequest(asked, use_tweens=True).text
    assert asked.site.host == KITCHEN


# The reference application


PAGES = ("/", "/entries/first", "/tags/leaf", "/archive", "/archive/2024", "/feed.xml", "/sitemap.xml", "/robots.txt")


def test_pages_and_feeds_of_the_reference_application_are_cached(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings.update({"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"})
    for site in (sqlite_sites.garden, sqlite_sites.sternwarte):
        sqlite_sites.add(site, "first", tags=["Leaf"])
    hosts = (sqlite_sites.garden.host, sqlite_sites.sternwarte.host)
    first = {(host, path): sqlite_sites.browser(host).get(path).body for host in hosts for path in PAGES}
    assert sqlite_sites.queries()
    again = {(host, path): sqlite_sites.browser(host).get(path).body for host in hosts for path in PAGES}
    assert again == first
    assert len(set(again.values())) == len(again)
    assert sqlite_sites.queries() == []
    sqlite_sites.add(sqlite_sites.garden, "second")
    assert "second of Garden" in sqlite_sites.browser(hosts[0]).get("/").text
    assert "second" not in sqlite_sites.browser(hosts[1]).get("/").text
    assert sqlite_sites.browser(hosts[0]).get("/archive").body != first[hosts[0], "/archive"]


def test_a_site_with_several_languages_caches_a_page_in_each(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings.update({"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"})
    sqlite_sites.add(sqlite_sites.garden, "first")
    app = sqlite_sites.app
    set_settings(sqlite_sites.engine, "garden.example", {"languages": "de"}, declared=app.registry[SITE_SETTINGS])
    found = []
    for _ in range(2):
        for language in ("de", "en"):
            answer = browser(app, "garden.example", HTTP_ACCEPT_LANGUAGE=language).get("/")
            assert answer.headers["Vary"] == "Accept-Language"
            found.append(answer.text)
        if len(found) == 2:
            assert sqlite_sites.queries()
    assert sqlite_sites.queries() == []
    assert found[:2] == found[2:]
    assert ["Startseite" in text for text in found] == [True, False, True, False]


def test_a_script_may_publish_its_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "_publishers", [])
    monkeypatch.setattr(invalidation, "_subscribers", WeakSet())  # As in a process without an application.
    with make_world(f"sqlite:///{tmp_path / 'script.db'}", tmp_path) as script:
        script.empty()
        by_begin(script)
        assert versions(script) == {}
        invalidation.publish_changes(script.engine)
        by_second(script)
        assert versions(script) == {script.sites[GARDEN].id: 1}


def by_second(world: World) -> None:
    with using_site(world.sites[GARDEN]), world.engine.begin() as connection:
        insert(connection, "second")


def test_the_benchmark_refuses_pages_of_another_site() -> None:
    from benchmarks.page_cache import RENDERED, check_pages

    check_pages({RENDERED: ["one", "two"], "kept": ["one", "two"]}, 2)
    for pages in (
        {RENDERED: ["one", "two"], "kept": ["one", "one"]},
        {RENDERED: ["one", "one"], "kept": ["one", "one"]},
    ):
        with pytest.raises(RuntimeError, match="a site gets a page that is not its own"):
            check_pages(pages, 2)
