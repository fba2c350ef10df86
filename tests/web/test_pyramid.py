"""config.include("multisite") in a real application: sites by Host, rows by site, and the responses without a site."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import transaction
import zope.sqlalchemy
from databases import fill_database, make_own_tables
from pyramid import testing
from pyramid.config import Configurator
from pyramid.events import ApplicationCreated, NewResponse
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare
from scoped_models import Base, Book, Country
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from waitress_server import exchange, serving
from webtest import TestApp

import multisite
from multisite import NoCurrentSite, Site, UnknownSite, current_site, scoped_text, using_site
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain

pytestmark = pytest.mark.slow

Make = Callable[[Configurator], TestApp]
HOSTS = ("one.example", "two.example")


def add_sites(engine: sa.Engine) -> None:
    """Create the tables, and two sites with a book each."""
    make_own_tables(engine)
    Base.metadata.create_all(engine)
    with tempfile.TemporaryDirectory() as folder:
        settings = parse_settings({"multisite.sites_dir": folder, "multisite.templates_dir": folder})
        for host in HOSTS:
            site = add_site(engine, host, settings=settings)
            with Session(engine, info={"site": site}) as session:
                session.add(Book(slug="book", secret=f"secret of {host}"))
                session.commit()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    fill_database(engine, add_sites)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(engine: sa.Engine, tmp_path: Path) -> dict[str, Any]:
    for folder in ("templates", *(f"sites/{host}" for host in HOSTS)):
        (tmp_path / folder).mkdir(parents=True)
    return {
        "sqlalchemy.url": engine.url.render_as_string(hide_password=False),
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path / "templates"),
        "multisite.refresh_seconds": "0",
    }


def books_view(request: Request) -> Response:
    return Response("\n".join(request.dbsession.scalars(sa.select(Book.secret).order_by(Book.id))))


def add_view(request: Request) -> Response:
    how = request.params["how"]
    if how == "orm":
        request.dbsession.add(Book(slug="new", secret="new"))
    elif how == "core":
        request.dbsession.execute(Book.__table__.insert().values(slug="new", secret="new", stock=1))
    elif how == "text":
        request.dbsession.execute(
            scoped_text("INSERT INTO books (slug, secret, stock, site_id) VALUES ('new', 'new', 1, :site_id)")
        )
    if "fail" in request.params:
        raise RuntimeError("the view fails after it has written")
    return Response("added")


def site_view(request: Request) -> Response:
    current = current_site()
    return Response(f"{request.site.host} {current.host if current else None}")


def health_view(request: Request) -> Response:
    try:
        request.site  # noqa: B018
    except UnknownSite:
        countries = request.dbsession.scalar(sa.select(sa.func.count()).select_from(Country))
        try:
            request.dbsession.scalars(sa.select(Book)).all()
        except NoCurrentSite:
            return Response(f"healthy, {countries} countries, {current_site()}")
    return Response("a site where there should be none", status=500)


def second_view(request: Request) -> Response:
    mine = request.dbsession.scalars(sa.select(Book.secret)).all()
    theirs = request.site_session("two.example").scalars(sa.select(Book.secret)).all()
    every = request.all_sites_session("compare").scalars(sa.select(Book.secret)).all()
    return Response(f"{len(mine)} {theirs} {len(every)}")


def stream_view(request: Request) -> Response:
    def body() -> Iterator[bytes]:
        assert current_site() is None
        with Session(request.dbsession.get_bind(), info={"request": request}) as session:
            for secret in session.scalars(sa.select(Book.secret)):
                yield secret.encode()

    return Response(app_iter=body())


def url_view(request: Request) -> Response:
    return Response(request.site_url(Site(9, "other.example", "", ""), request.params["path"], {"a": "b c"}))


def not_found_view(request: Request) -> Response:
    return Response(f"nothing here on {request.site.host}", status=404)


VIEWS = {
    "/books": books_view,
    "/add": add_view,
    "/site": site_view,
    "/health": health_view,
    "/second": second_view,
    "/stream": stream_view,
    "/url": url_view,
}


def configure(settings: dict[str, Any], *before: Any) -> Configurator:
    config = Configurator(settings=settings)
    for include in before:
        config.include(include)
    config.include("multisite")
    for number, (path, view) in enumerate(VIEWS.items()):
        config.add_route(str(number), path)
        config.add_view(view, route_name=str(number))
    config.add_notfound_view(not_found_view)
    return config


@pytest.fixture
def make() -> Iterator[Make]:
    """Create the application of a Configurator, and dispose of its engine after the test."""
    configured: list[Configurator] = []

    def make(config: Configurator) -> TestApp:
        configured.append(config)
        return TestApp(config.make_wsgi_app())

    yield make
    for config in configured:
        config.registry[DIRECTORY].deactivate()
        config.registry[DIRECTORY].engine.dispose()


@pytest.fixture
def app(settings: dict[str, Any], make: Make) -> TestApp:
    return make(configure(settings))


def get(app: TestApp, path: str, host: str = "one.example", **kw: Any) -> Any:
    return app.get(path, headers={"Host": host}, **kw)


def test_each_host_gets_its_own_rows(app: TestApp) -> None:
    for host in HOSTS:
        assert get(app, "/books", host).text == f"secret of {host}"
        assert get(app, "/site", f"{host.upper()}:8080").text == f"{host} {host}"


def test_a_page_that_is_not_there_still_has_its_site(app: TestApp) -> None:
    assert get(app, "/nowhere", "two.example", status=404).text == "nothing here on two.example"


@pytest.mark.parametrize("path", ["/books", "/nowhere", "/"])
def test_an_unknown_host_is_404_and_opens_no_session(app: TestApp, path: str, caplog: pytest.LogCaptureFixture) -> None:
    response = get(app, path, "unknown.example", status=404)
    assert response.text == "There is no site here.\n"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    "host", ["", "a..b", "a@b", "one.example,two.example", "one.example:", "x" * 300, "ein\u00fc.example"]
)
def test_an_invalid_host_is_a_400(app: TestApp, host: str) -> None:
    response = app.get("/books", extra_environ={"HTTP_HOST": host}, status=400)
    assert host not in response.text or not host


IPV6_FORMS = ["[2001:db8::7]", "[2001:DB8:0:0:0:0:0:7]", "[2001:0db8::0007]:80", "[2001:db8::0.0.0.7]"]


@pytest.mark.parametrize("host", IPV6_FORMS)
def test_an_ipv6_address_leads_to_one_site_in_every_form(settings: dict[str, Any], make: Make, host: str) -> None:
    app = make(configure(settings | {"multisite.refresh_seconds": "0"}))
    get(app, "/site", host, status=404)
    add_domain(app.app.registry[DIRECTORY].engine, "one.example", "[2001:DB8::0:0:7]")
    assert get(app, "/site", host).text == "one.example one.example"
    get(app, "/site", "[2001:db8::8]", status=404)


def test_no_session_is_begun_without_a_site(settings: dict[str, Any], make: Make) -> None:
    begun: list[Request] = []

    def manager(request: Request) -> Any:
        begun.append(request)
        return transaction.TransactionManager(explicit=True)

    app = make(configure(settings | {"tm.manager_hook": manager}))
    get(app, "/books", "unknown.example", status=404)
    get(app, "/books", "a..b", status=400)
    assert begun == []
    get(app, "/books")
    assert len(begun) == 1


@pytest.mark.parametrize("before", [(), ("pyramid_tm",)], ids=["multisite first", "pyramid_tm first"])
def test_the_transaction_lies_within_the_site(settings: dict[str, Any], before: tuple[str, ...], make: Make) -> None:
    seen: list[Site | None] = []

    class Manager(transaction.TransactionManager):
        def begin(self) -> Any:
            seen.append(current_site())
            return super().begin()

        def commit(self) -> None:
            seen.append(current_site())
            super().commit()

    app = make(configure(settings | {"tm.manager_hook": lambda request: Manager(explicit=True)}, *before))
    get(app, "/books", "unknown.example", status=404)
    assert seen == []
    get(app, "/books", "two.example")
    assert [site.host if site else None for site in seen] == ["two.example", "two.example"]


def test_in_development_the_404_tells_the_command(settings: dict[str, Any], make: Make) -> None:
    app = make(configure(settings | {"pyramid.reload_templates": "true"}))
    assert "multisite add-site new.example" in get(app, "/", "NEW.example:80", status=404).text


def test_a_database_that_was_never_migrated_is_503_and_in_development_says_so(
    sqlite_database_url: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"sqlalchemy.url": sqlite_database_url}
    assert "migrate" not in get(make(configure(settings)), "/books", status=503).text
    assert "run: multisite migrate" in caplog.text
    app = make(configure(settings | {"pyramid.reload_templates": "true"}))
    assert "run: multisite migrate" in get(app, "/books", status=503).text


def test_unknown_hosts_can_be_421_or_fall_back(settings: dict[str, Any], make: Make) -> None:
    app = make(configure(settings | {"multisite.unknown_host": "421"}))
    get(app, "/books", "unknown.example", status=421)
    app = make(configure(settings | {"multisite.unknown_host": "two.example"}))
    assert get(app, "/books", "unknown.example").text == "secret of two.example"


def test_open_paths_answer_without_a_site(settings: dict[str, Any], make: Make) -> None:
    app = make(configure(settings | {"multisite.open_paths": "/health /open/"}))
    for host in ("one.example", "unknown.example", "not a host"):
        assert app.get("/health", extra_environ={"HTTP_HOST": host}).text == "healthy, 0 countries, None"
    get(app, "/healthy", "unknown.example", status=404)


@pytest.mark.parametrize("how", ["orm", "core", "text"])
def test_what_a_view_writes_is_committed_for_its_site_or_not_at_all(app: TestApp, how: str) -> None:
    get(app, f"/add?how={how}", "two.example")
    assert get(app, "/books", "two.example").text.split("\n") == ["secret of two.example", "new"]
    assert get(app, "/books", "one.example").text == "secret of one.example"
    with pytest.raises(RuntimeError):
        get(app, f"/add?how={how}&fail=1", "one.example")
    assert get(app, "/books", "one.example").text == "secret of one.example"


def test_second_sessions_for_another_site_and_for_all(app: TestApp) -> None:
    assert get(app, "/second").text == "1 ['secret of two.example'] 2"


def test_a_streamed_body_reads_its_sites_rows_after_the_tweens_have_returned(app: TestApp) -> None:
    assert get(app, "/stream", "two.example").text == "secret of two.example"


def test_redirects_keep_path_query_and_port(engine: sa.Engine, app: TestApp) -> None:
    add_domain(engine, "one.example", "www.one.example", redirect=True)
    add_domain(engine, "one.example", "alias.one.example")
    assert get(app, "/books", "alias.one.example").text == "secret of one.example"
    response = get(app, "/a%20b?c=d%26&e", "www.one.example:8080", status=301)
    assert response.location == "http://one.example:8080/a%20b?c=d%26&e"
    assert response.headers["Cache-Control"] == "max-age=300"
    response = app.post("/x", headers={"Host": "www.one.example"}, status=308)
    assert response.location == "http://one.example/x"
    assert response.headers["Cache-Control"] == "max-age=300"
    response = app.get("/", extra_environ={"HTTP_HOST": "www.one.example", "PATH_INFO": "//evil.example/"}, status=301)
    assert response.location == "http://one.example//evil.example/"


def test_a_redirect_keeps_a_path_that_is_not_utf8(engine: sa.Engine, app: TestApp) -> None:
    add_domain(engine, "one.example", "www.one.example", redirect=True)
    # Over a socket, because an exception from the tween would reach the server.
    with serving(app.app) as address:
        answer = exchange(address, b"GET /%ff/%C3%BC HTTP/1.0\r\nHost: www.one.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 301 ")
    assert b"\r\nLocation: http://one.example/%FF/%C3%BC\r\n" in answer


def test_site_url(app: TestApp) -> None:
    assert get(app, "/url?path=/x%20y").text == "http://other.example/x%20y?a=b+c"
    assert get(app, "/url?path=/%C3%BC", "one.example:6543").text == "http://other.example:6543/%C3%BC?a=b+c"
    with pytest.raises(ValueError, match="must start with a slash"):
        get(app, "/url?path=x")


def test_route_url_begins_as_the_request_did_and_site_url_by_the_canonical_domain(
    engine: sa.Engine, app: TestApp
) -> None:
    add_domain(engine, "one.example", "alias.one.example")
    environ = Request.blank("/", environ={"HTTP_HOST": "Alias.ONE.example:8080"}).environ
    with app.app.request_context(environ) as request:
        assert request.route_url("0") == "http://Alias.ONE.example:8080/books"
        assert request.site_url(request.site, "/books") == "http://one.example:8080/books"
        address = request.site_url(request.site).rstrip("/")
        assert request.route_url("0", _app_url=address) == "http://one.example:8080/books"


def test_a_site_added_while_running_is_served(engine: sa.Engine, settings: dict[str, Any], app: TestApp) -> None:
    get(app, "/site", "three.example", status=404)
    add_site(engine, "three.example", settings=parse_settings(settings))
    assert get(app, "/site", "three.example").text == "three.example three.example"


def test_using_site_finds_a_site_by_host_and_id(app: TestApp, engine: sa.Engine) -> None:
    with using_site("ONE.example.") as site, Session(engine) as session:
        assert session.scalars(sa.select(Book.secret)).all() == ["secret of one.example"]
    with using_site(site.id) as again:
        assert again == site
    with pytest.raises(UnknownSite), using_site("nowhere.example"):
        pass
    del app


def test_prepare_resolves_the_site_on_first_use(app: TestApp) -> None:
    with prepare(registry=app.app.registry) as env:
        request = env["request"]
        request.host = "two.example"
        request.tm.begin()
        assert request.site.host == "two.example"
        assert request.dbsession.scalars(sa.select(Book.secret)).all() == ["secret of two.example"]
        request.tm.abort()


class OwnSession(Session):
    pass


def own_session(config: Configurator) -> None:
    """The models package of the Pyramid cookiecutter, abridged."""
    config.include("pyramid_tm")
    config.include("pyramid_retry")
    factory = sessionmaker(class_=OwnSession, bind=config.get_settings()["own.engine"])

    def dbsession(request: Request) -> Session:
        session = factory(info={"request": request})
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.add_request_method(dbsession, reify=True)


@pytest.mark.parametrize("hook", [None, "pyramid_tm.explicit_manager"])
@pytest.mark.parametrize("first", [True, False])
def test_an_applications_own_session_is_kept_and_scoped(
    settings: dict[str, Any], engine: sa.Engine, first: bool, hook: str | None, make: Make
) -> None:
    settings |= {"own.engine": engine}
    if hook:
        settings |= {"tm.manager_hook": hook}
    config = configure(settings, *([own_session] if first else []))
    if not first:
        config.include(own_session)

    def kind_view(request: Request) -> Response:
        return Response(type(request.dbsession).__name__)

    config.add_route("kind", "/kind")
    config.add_view(kind_view, route_name="kind")
    app = make(config)
    assert get(app, "/kind").text == "OwnSession"
    for host in HOSTS:
        assert get(app, "/books", host).text == f"secret of {host}"
    for how in ("core", "text"):
        get(app, f"/add?how={how}", "two.example")
        assert get(app, "/books", "two.example").text.endswith("\nnew")
        with using_site("two.example"), Session(engine) as session:
            session.execute(sa.delete(Book).where(Book.slug == "new"))
            session.commit()


@pytest.mark.parametrize("first", [True, False])
def test_an_older_applications_global_session_commits_as_before(
    settings: dict[str, Any], engine: sa.Engine, first: bool, make: Make
) -> None:
    """The scaffolds before the cookiecutter: a module-level scoped_session that joins the thread's transactions."""
    global_session = scoped_session(sessionmaker(bind=engine))
    zope.sqlalchemy.register(global_session)

    def old_view(request: Request) -> Response:
        global_session.add(Book(slug="old", secret=f"old {request.site}"))
        return Response("added")

    config = configure(settings, *(["pyramid_tm"] if first else []))
    config.add_route("old", "/old")
    config.add_view(old_view, route_name="old")
    app = make(config)
    for host in HOSTS:
        get(app, "/old", host)
        assert get(app, "/books", host).text == f"secret of {host}\nold {host}"


def test_a_second_session_says_what_it_needs(settings: dict[str, Any], engine: sa.Engine, make: Make) -> None:
    del settings["sqlalchemy.url"]
    config = configure(settings)
    config.set_multisite_engine(engine)
    config.add_view(lambda request: Response(str(request.site_session("two.example"))), name="without")
    app = make(config)
    with pytest.raises(multisite.MultisiteError, match=r"no request\.dbsession"):
        get(app, "/without")


@pytest.mark.parametrize("other", ["pyramid_tm", "pyramid_mako", "pyramid_retry"])
@pytest.mark.parametrize("first", [True, False])
def test_other_includes_come_in_any_order(settings: dict[str, Any], other: str, first: bool, make: Make) -> None:
    config = configure(settings, *([other] if first else []))
    if not first:
        config.include(other)
    app = make(config)
    get(app, "/add?how=core", "two.example")
    assert get(app, "/books", "two.example").text.endswith("new")


def test_an_application_replaces_the_answers_by_views_of_its_own(settings: dict[str, Any], make: Make) -> None:
    config = configure(settings)
    config.add_exception_view(lambda error, request: Response("gone fishing", status=404), context=UnknownSite)
    app = make(config)
    assert get(app, "/", "unknown.example", status=404).text == "gone fishing"


def test_a_configurator_that_commits_at_once_can_include_it(settings: dict[str, Any], make: Make) -> None:
    """`pyramid.testing.setUp()` creates such a Configurator."""
    config = testing.setUp(settings=settings)
    try:
        config.include("multisite")
        config.add_view(lambda request: Response(request.site.host))
        assert get(make(config), "/", "two.example").text == "two.example"
    finally:
        testing.tearDown()


def test_a_bad_setting_stops_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(multisite.SettingError, match=r"multisite\.refresh_seconds = soon: expected a number"):
        configure(settings | {"multisite.refresh_seconds": "soon"})
    with pytest.raises(multisite.SettingError, match=r"multisite\.sitesdir"):
        configure(settings | {"multisite.sitesdir": "x"})
    with pytest.raises(multisite.MultisiteError, match="memory"):
        configure(settings | {"sqlalchemy.url": "sqlite://"})


def test_the_directory_reads_where_the_application_says(
    settings: dict[str, Any], engine: sa.Engine, make: Make
) -> None:
    del settings["sqlalchemy.url"]
    config = configure(settings)
    with pytest.raises(Exception, match="set_multisite_engine"):
        config.make_wsgi_app()
    config = configure(settings)
    config.set_multisite_engine(engine)
    app = make(config)
    assert get(app, "/site").text == "one.example one.example"
    assert app.app.registry[DIRECTORY].resolve("one.example") is not None


# -- over a real socket ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (b"GET /books HTTP/1.1", b"Host: one.example\r\n", b"200"),
        (b"GET /books HTTP/1.1", b"", b"400"),
        (b"GET /books HTTP/1.0", b"", b"400"),
        (b"GET /books HTTP/1.1", b"Host:\r\n", b"400"),
        (b"GET /books HTTP/1.1", b"Host: one.example\r\nHost: two.example\r\n", b"400"),
        (b"GET /books HTTP/1.1", b"Host: one.example\r\nHost: one.example\r\n", b"400"),
        (b"GET /books HTTP/1.1", b"Host: one.example, two.example\r\n", b"400"),
        (b"GET http://two.example/books HTTP/1.1", b"Host: one.example\r\n", b"400"),
        (b"GET http://one.example/books HTTP/1.1", b"Host: one.example\r\n", b"200"),
        (b"GET /books HTTP/1.1", b"Host: unknown.example\r\n", b"404"),
        (b"GET /books HTTP/1.1", b"Host: [2001:DB8::1]\r\n", b"404"),
        (b"GET /books HTTP/1.1", b"Host: [0:0:0:0:0:0:0:1]:80\r\n", b"404"),
        (b"GET /books HTTP/1.1", b"Host: [::ffff:127.0.0.1]\r\n", b"404"),
        (b"GET http://[2001:db8:0::1]/books HTTP/1.1", b"Host: [2001:DB8::1]\r\n", b"404"),
        (b"GET http://[2001:db8:0::2]/books HTTP/1.1", b"Host: [2001:DB8::1]\r\n", b"400"),
        (b"GET /books HTTP/1.1", b"Host: [fe80::1%25eth0]\r\n", b"400"),
        (b"GET /books HTTP/1.1", b"Host: one.example\x00\r\n", b"400"),
        (b"GET /%c0%ae HTTP/1.1", b"Host: one.example\r\n", b"400"),
        (b"GET /books/%ff HTTP/1.1", b"Host: unknown.example\r\n", b"404"),
        (b"GET /books HTTP/1.1", b"Host: unknown.example\r\nX-Forwarded-Host: one.example\r\n", b"404"),
    ],
)
def test_what_arrives_over_a_socket(app: TestApp, request_line: bytes, headers: bytes, status: bytes) -> None:
    with serving(app.app) as address:
        answer = exchange(address, request_line + b"\r\n" + headers + b"Connection: close\r\n\r\n")
    assert answer.split(b" ", 2)[1] == status
    if status != b"200":
        assert b"secret of" not in answer


def test_rejected_requests_log_at_most_one_line_per_second(app: TestApp, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="multisite.web.tween"):
        for number in range(500):
            get(app, "/books", host=f"{number}.example", status=404)
        get(app, "/books", host="\x01" * 200_000, status=400)
    lines = [record.getMessage() for record in caplog.records if record.name == "multisite.web.tween"]
    assert lines[0] == "refused: no site is known as '0.example'"
    assert len(lines) < 60  # The loop takes a few seconds on a busy machine, and a fraction of one otherwise.


def test_a_refused_host_is_escaped_and_cut_in_the_log(app: TestApp, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="multisite.web.tween"):
        get(app, "/books", host="\x01\n" * 100_000, status=400)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "multisite.web.tween"]
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 256 + 100


def test_pipelined_requests_for_two_sites(app: TestApp) -> None:
    one, two = (f"GET /books HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for host in HOSTS)
    with serving(app.app) as address:
        answer = exchange(address, one + two + one)
    found = [part[: len("one.example")] for part in answer.decode().split("secret of ")[1:]]
    assert found == ["one.example", "two.example", "one.example"]


@pytest.mark.parametrize("listens", [False, True])
def test_pyramid_notifies_no_events_without_subscribers(settings: dict[str, Any], make: Make, listens: bool) -> None:
    config = configure(settings)
    heard: list[str] = []
    if listens:
        config.add_subscriber(lambda _event: heard.append("created"), ApplicationCreated)
        config.add_subscriber(lambda _event: heard.append("response"), NewResponse)
    for _ in range(2):  # Several applications may be made from one configuration.
        app = make(config)
        guarded = app.app.invoke_subrequest
        assert isinstance(guarded, partial)
        assert guarded.args[0].__self__ is app.app
    get(app, "/books")
    assert config.registry.has_listeners is listens
    assert heard == (["created", "created", "response"] if listens else [])
