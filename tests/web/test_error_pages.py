"""Error pages: the site's, then the shared one, then a plain one; and a broken template affects only its site."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from databases import migrate_own, share_statements
from pyramid.config import Configurator
from pyramid.exceptions import PredicateMismatch
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPForbidden,
    HTTPFound,
    HTTPGone,
    HTTPMethodNotAllowed,
    HTTPNotFound,
    HTTPServiceUnavailable,
)
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory import engine_from_url
from multisite.errors import DirectoryUnavailable, SettingError
from multisite.sites.creation import add_site

GARDEN, KITCHEN = "garden.example", "kitchen.example"
ERROR_PAGE = "${status} ${reason} of ${request.site.host}"


class Errors:
    """An application whose view `/raise?what=` raises an error, with two sites and their folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'sites.db'}"
        self.settings: dict[str, Any] = {
            "sqlalchemy.url": self.url,
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.templates_dir": str(folder / "templates"),
            "multisite.open_paths": "/open",
        }
        engine = share_statements(engine_from_url(self.url))
        migrate_own(engine)
        self.write("templates/page.mako", "<%inherit file='layout.mako'/>page")
        self.write("templates/layout.mako", "shared layout ${self.body()}")
        for host in (GARDEN, KITCHEN):
            add_site(engine, host, settings=parse_settings(self.settings))
        engine.dispose()
        for file in (folder / "sites").glob("*/*"):
            file.unlink()
        self.applications: list[Any] = []

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def app(self, configure: Callable[[Configurator], None] | None = None, *includes: str, **settings: str) -> Any:
        config = Configurator(settings=self.settings | {key.replace("__", "."): v for key, v in settings.items()})
        for include in ("multisite", *includes):
            config.include(include)
        for name, view in VIEWS.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name)
        config.add_route("page", "/page")
        config.add_view(lambda request: {}, route_name="page", renderer="/page.mako")
        if configure is not None:
            configure(config)
        app = config.make_wsgi_app()
        self.applications.append(app)
        return app


def fail(request: Request) -> Response:
    error: Exception = ERRORS[request.params["what"]]()
    raise error


def give(request: Request) -> Response:
    answer: Response = ERRORS[request.params["what"]]()
    return answer


def count(request: Request) -> Response:
    return Response(str(request.dbsession.execute(sa.text("SELECT 1")).scalar()))


VIEWS = {"raise": fail, "return": give, "count": count, "open": fail}

ERRORS: dict[str, Callable[[], Any]] = {
    "400": HTTPBadRequest,
    "403": HTTPForbidden,
    "404": HTTPNotFound,
    "410": HTTPGone,
    "503": HTTPServiceUnavailable,
    "405": lambda: HTTPMethodNotAllowed(headers={"Allow": "GET"}),
    "302": lambda: HTTPFound(location="/"),
    "json": lambda: HTTPBadRequest(json_body={"my": "own"}),
    "template": lambda: HTTPBadRequest(body_template="my own: ${explanation}"),
    "error": lambda: ZeroDivisionError("<b>zero</b>"),
    "pool": lambda: PoolTimeout("no connection left"),
    "connect": lambda: OperationalError(None, None, Exception("connection refused")),
    "gone": lambda: DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True),
    "missing table": lambda: OperationalError("SELECT 1", {}, Exception("no such table: books")),
}


@pytest.fixture
def errors(tmp_path: Path) -> Iterator[Errors]:
    world = Errors(tmp_path)
    yield world
    for app in world.applications:
        app.registry[DIRECTORY].deactivate()
        app.registry[DIRECTORY].engine.dispose()


def ask(app: Any, path: str, host: str = GARDEN, **options: Any) -> Response:
    """Return the response as a server would; WebTest by itself requests the exception."""
    return Request.blank(path, host=host, **options).get_response(app)


# Which page


@pytest.mark.parametrize("how", ["raise", "return"])
@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 503])
def test_the_site_s_page_is_shown_then_the_shared_one_then_pyramid_s(errors: Errors, status: int, how: str) -> None:
    app = errors.app(pyramid__reload_templates="true")
    path = f"/{how}?what={status}"
    plain = ask(app, path)
    assert (plain.status_code, "of garden" in plain.text) == (status, False)
    for file, text in (
        ("templates/error.mako", "any"),
        (f"templates/{status}.mako", "shared"),
        (f"sites/{GARDEN}/{status}.mako", "own"),
    ):
        errors.write(file, f"{text} {ERROR_PAGE}")
        page = ask(app, path)
        assert (page.status_code, page.content_type, page.charset) == (status, "text/html", "utf-8")
        assert page.text == f"{text} {status} {page.status.partition(' ')[2]} of {GARDEN}"
    assert ask(app, path, KITCHEN).text.startswith("shared ")


def test_every_missing_path_gets_the_404_page(errors: Errors) -> None:
    errors.write("templates/404.mako", f"<%inherit file='layout.mako'/>{ERROR_PAGE}")
    errors.write(f"sites/{GARDEN}/layout.mako", "garden: ${self.body()}")
    app = errors.app()
    page = ask(app, "/nowhere")
    assert (page.status_code, page.text) == (404, f"garden: 404 Not Found of {GARDEN}")
    assert ask(app, "/nowhere", KITCHEN).text == f"shared layout 404 Not Found of {KITCHEN}"
    assert ask(app, "/nowhere", method="HEAD").body == b""


def test_a_path_that_is_not_utf8_gets_the_400_page(errors: Errors) -> None:
    errors.write("templates/400.mako", ERROR_PAGE)
    page = ask(errors.app(), "/caf%e9")
    assert (page.status_code, page.text) == (400, f"400 Bad Request of {GARDEN}")


def test_headers_are_kept_and_browsers_do_not_cache_the_page(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    page = ask(errors.app(), "/raise?what=405")
    assert (page.headers["Allow"], page.headers["Cache-Control"]) == ("GET", "no-cache")


@pytest.mark.parametrize(
    ("path", "body"), [("/raise?what=json", '{"my":"own"}'), ("/raise?what=template", "my own: The server could not")]
)
def test_a_response_with_a_body_is_unchanged(errors: Errors, path: str, body: str) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    assert body in ask(errors.app(), path).text


def test_a_redirect_gets_no_error_page(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    assert ask(errors.app(), "/raise?what=302").status_code == 302


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/html;q=0.5", "application/json"),
        ("image/png", "text/plain"),
        ("nonsense;;", "text/html"),
    ],
)
def test_a_client_that_prefers_json_gets_pyramids_response(
    errors: Errors, accept: str | None, content_type: str
) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    page = ask(errors.app(), "/raise?what=403", headers={} if accept is None else {"Accept": accept})
    assert (page.status_code, page.content_type) == (403, content_type)
    assert ("of garden" in page.text) == (content_type == "text/html")


def test_an_open_path_and_an_unknown_host_get_the_page_of_no_site(errors: Errors) -> None:
    errors.write("templates/error.mako", "a page for sites")
    app = errors.app()
    for path, host, status in (("/open?what=404", GARDEN, 404), ("/open?what=error", GARDEN, 500), ("/", "x.com", 404)):
        page = ask(app, path, host)
        assert (page.status_code, "for sites" in page.text) == (status, False)
    assert ask(app, "/", "x.com").text == "There is no site here.\n"


# The application's own


def test_an_application_keeps_its_own_exception_views(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)

    def own(config: Configurator) -> None:
        config.add_notfound_view(lambda request: Response("my own 404", 404))
        config.add_forbidden_view(lambda request: Response("my own 403", 403))
        config.add_exception_view(lambda error, request: Response("my own 500", 500), context=ZeroDivisionError)

    app = errors.app(own)
    assert [ask(app, f"/raise?what={what}").text for what in ("404", "403", "error", "400")] == [
        "my own 404",
        "my own 403",
        "my own 500",
        f"400 Bad Request of {GARDEN}",
    ]


def test_an_application_with_a_view_for_every_exception_keeps_that(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)

    def own(config: Configurator) -> None:
        config.add_exception_view(lambda error, request: Response(f"my own {error!r}", 500), context=Exception)
        config.add_exception_view(lambda error, request: Response("not like this", 405), context=PredicateMismatch)

    assert ask(errors.app(own), "/raise?what=error").text == "my own ZeroDivisionError('<b>zero</b>')"


def test_the_setting_leaves_errors_to_pyramid_and_the_server(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    app = errors.app(multisite__error_pages="false")
    assert "of garden" not in ask(app, "/raise?what=404").text
    with pytest.raises(ZeroDivisionError):
        ask(app, "/raise?what=error")
    with pytest.raises(SettingError, match=r"multisite.error_pages = maybe: expected true or false"):
        errors.app(multisite__error_pages="maybe")


def test_tests_with_webtest_see_the_exception(errors: Errors) -> None:
    with pytest.raises(ZeroDivisionError):
        ask(errors.app(), "/raise?what=error", environ={"paste.throw_errors": True})


def test_pyramid_retry_tries_again_before_the_page_is_shown(errors: Errors) -> None:
    from pyramid_retry import RetryableException

    errors.write("templates/500.mako", ERROR_PAGE)
    attempts: list[int] = []

    def often(request: Request) -> Response:
        attempts.append(request.environ["retry.attempt"])
        if "never" in request.params or len(attempts) < 3:
            raise RetryableException
        return Response("done")

    def own(config: Configurator) -> None:
        config.add_route("often", "/often")
        config.add_view(often, route_name="often")

    app = errors.app(own, "pyramid_retry")
    assert ask(app, "/often").text == "done"
    assert attempts == [0, 1, 2]
    assert ask(app, "/often?never=").text == f"500 Internal Server Error of {GARDEN}"
    assert attempts == [0, 1, 2] * 2


# Uncaught errors


def test_an_uncaught_error_is_logged_once_and_answered_by_the_site(
    errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    errors.write("templates/500.mako", ERROR_PAGE)
    page = ask(errors.app(), "/raise?what=error")
    assert (page.status_code, page.text) == (500, f"500 Internal Server Error of {GARDEN}")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == f"GET {GARDEN}/raise: ZeroDivisionError"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize(
    ("what", "status"), [("pool", 503), ("connect", 503), ("gone", 503), ("missing table", 500), ("error", 500)]
)
def test_a_database_that_cannot_be_reached_is_a_503(errors: Errors, what: str, status: int) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    page = ask(errors.app(), f"/raise?what={what}")
    assert (page.status_code, page.headers.get("Retry-After")) == (status, "5" if status == 503 else None)
    assert page.text == f"{page.status} of {GARDEN}"


def test_a_file_of_sqlite_that_another_process_locks_is_a_503(errors: Errors) -> None:
    def write(request: Request) -> Response:
        with request.dbsession.get_bind().connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return Response("written")

    def configure(config: Configurator) -> None:
        config.add_route("write", "/write")
        config.add_view(write, route_name="write")

    app = errors.app(configure, sqlalchemy__url=f"{errors.url}?timeout=0")
    assert ask(app, "/write").text == "written"
    with closing(sqlite3.connect(errors.folder / "sites.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        page = ask(app, "/write")
        assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert ask(app, "/write").text == "written"


def test_the_answer_for_an_unavailable_directory_says_when_that_is_asked_again(errors: Errors) -> None:
    def unavailable(*_: object) -> NoReturn:
        raise DirectoryUnavailable("the database does not answer", 7)

    def configure(config: Configurator) -> None:
        config.add_route("x", "/x")
        config.add_view(unavailable, route_name="x")

    app = errors.app(configure)
    assert ask(app, "/x").headers["Retry-After"] == "7"
    app.registry[DIRECTORY].find = unavailable
    page = ask(app, "/x")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "7")


def test_the_page_of_503_is_shown_while_the_database_is_down(errors: Errors) -> None:
    errors.write("templates/503.mako", ERROR_PAGE)
    app = errors.app(multisite__refresh_seconds="0")
    assert ask(app, "/count").text == "1"
    database = errors.folder / "sites.db"
    app.registry[DIRECTORY].engine.dispose()
    database.rename(errors.folder / "away.db")
    database.mkdir()
    page = ask(app, "/count")
    assert (page.status_code, page.text) == (503, f"503 Service Unavailable of {GARDEN}")
    # The host is not cached, so the site whose page it would be is unknown.
    assert ask(app, "/count", KITCHEN).text == "Service Unavailable: please try again in a moment.\n"
    database.rmdir()
    (errors.folder / "away.db").rename(database)


def test_the_page_of_503_is_shown_while_postgresql_refuses_connections(errors: Errors) -> None:
    errors.write("templates/503.mako", ERROR_PAGE)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        engine = sa.create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{closed.getsockname()[1]}/none")

        def connect(request: Request) -> Response:
            with engine.connect():
                return Response("connected")

        def own(config: Configurator) -> None:
            config.add_route("connect", "/connect")
            config.add_view(connect, route_name="connect")

        page = ask(errors.app(own), "/connect")
    engine.dispose()
    assert (page.status_code, page.text) == (503, f"503 Service Unavailable of {GARDEN}")


# Broken templates

LAYOUT = f"sites/{GARDEN}/layout.mako"

BROKEN: dict[str, tuple[str | bytes | None, str]] = {
    "syntax error": ("line 1\n% if x:\n", "line 2"),
    "python syntax error": ("line 1\n${1 +}\n", "line 2"),
    "unknown variable": ("line 1\n\n${missing.name}", "line 3"),
    "not utf-8": (b"line 1\n\xff\n", LAYOUT),
    "50 MB": (b"x" * 50_000_000, LAYOUT),
    "a folder": (None, LAYOUT),
    "inherits from itself": ("<%inherit file='layout.mako'/>", f"without end: {{folder}}/{LAYOUT}"),
    "includes itself": ("<%include file='layout.mako'/>", LAYOUT),
    "inherits from what is not there": ("<%inherit file='gone.mako'/>", "gone.mako"),
    "a circle": ("<%inherit file='other.mako'/>", "without end"),
}


def break_layout(errors: Errors, kind: str) -> None:
    content, _where = BROKEN[kind]
    if content is None:
        (errors.folder / LAYOUT).mkdir()
        return
    errors.write(LAYOUT, content)
    if kind == "a circle":
        errors.write(f"sites/{GARDEN}/other.mako", "<%include file='layout.mako'/><%inherit file='layout.mako'/>")


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("reload", ["true", "false"])
def test_one_broken_template_is_one_site_s(
    errors: Errors, kind: str, reload: str, caplog: pytest.LogCaptureFixture
) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    app = errors.app(mako__reload_templates=reload)
    assert ask(app, "/page", KITCHEN).text == "shared layout page"
    break_layout(errors, kind)
    page = ask(app, "/page")
    assert (page.status_code, page.text) == (500, f"500 Internal Server Error of {GARDEN}")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    logged = record.getMessage() + caplog.text
    assert f"site {GARDEN}" in logged
    assert BROKEN[kind][1].format(folder=errors.folder) in logged
    assert str(errors.folder / LAYOUT) in logged
    assert ask(app, "/page", KITCHEN).text == "shared layout page"
    assert ask(app, "/nowhere").text == f"404 Not Found of {GARDEN}"


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_error_page_gives_a_plain_one(errors: Errors, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    errors.write("templates/error.mako", f"<%inherit file='layout.mako'/>{ERROR_PAGE}")
    break_layout(errors, kind)
    app = errors.app()
    for path, status in (("/page", 500), ("/nowhere", 404)):
        page = ask(app, path)
        assert page.status_code == status
        assert "of garden" not in page.text
        assert page.text.startswith(page.status)
        assert f"the error page /error.mako of the site {GARDEN} cannot be rendered" in caplog.text
    assert ask(app, "/nowhere", KITCHEN).text == f"shared layout 404 Not Found of {KITCHEN}"


def test_the_page_for_one_status_that_is_broken_falls_back_to_that_for_all(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    errors.write("templates/404.mako", "% if")
    assert ask(errors.app(), "/nowhere").text == f"404 Not Found of {GARDEN}"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_an_unreadable_template_is_one_site_s(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:
        errors = Errors(Path(name))
        errors.write("templates/error.mako", ERROR_PAGE)
        file = errors.write(LAYOUT, "${1}")
        file.chmod(0)
        for path in (Path(name), *Path(name).rglob("*")):
            if path != file:
                path.chmod(0o777)
        app = errors.app()
        os.seteuid(65534)
        try:
            page = ask(app, "/page")
            other = ask(app, "/page", KITCHEN)
        finally:
            os.seteuid(0)
            app.registry[DIRECTORY].deactivate()
            app.registry[DIRECTORY].engine.dispose()
        assert (page.status_code, page.text) == (500, f"500 Internal Server Error of {GARDEN}")
        assert other.text == "shared layout page"
        assert f"site {GARDEN}, template {errors.folder}/templates/page.mako, line 1" in caplog.text
        assert f"PermissionError: [Errno 13] Permission denied: '{file}'" in caplog.text


def test_many_threads_see_their_own_site_s_error(errors: Errors) -> None:
    errors.write("templates/error.mako", "<%inherit file='layout.mako'/>" + ERROR_PAGE)
    errors.write(f"sites/{GARDEN}/page.mako", "${1 // 0}")
    app = errors.app()
    pages: dict[str, set[tuple[int, str]]] = {GARDEN: set(), KITCHEN: set()}

    def visit(host: str) -> None:
        for _ in range(10):
            page = ask(app, "/page", host)
            pages[host].add((page.status_code, page.text))

    threads = [threading.Thread(target=visit, args=(host,)) for host in pages for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pages == {
        GARDEN: {(500, f"shared layout 500 Internal Server Error of {GARDEN}")},
        KITCHEN: {(200, "shared layout page")},
    }


# In development


def test_in_development_the_browser_sees_the_error_with_the_template_s_lines(errors: Errors) -> None:
    errors.write("templates/error.mako", ERROR_PAGE)
    errors.write(LAYOUT, "line 1\n\n${missing.thing}")
    app = errors.app(pyramid__reload_templates="true")
    page = ask(app, "/page")
    assert page.status_code == 500
    assert f"{errors.folder}/{LAYOUT}" in page.text
    assert "line 3" in page.text
    assert "missing" in page.text
    escaped = ask(app, "/raise?what=error").text
    assert "&lt;b&gt;zero&lt;/b&gt;" in escaped
    assert "<b>zero</b>" not in escaped
    assert "Traceback" not in ask(app, "/raise?what=error", headers={"Accept": "application/json"}).text


def test_the_development_page_shows_no_other_site_s_lines(errors: Errors) -> None:
    for host, line in ((GARDEN, "garden_secret"), (KITCHEN, "kitchen_secret")):
        errors.write(f"sites/{host}/layout.mako", f"\n${{{line}.x}}")
    app = errors.app(pyramid__reload_templates="true")
    for host, mine, other in ((GARDEN, "garden", "kitchen"), (KITCHEN, "kitchen", "garden")):
        page = ask(app, "/page", host).text
        assert f"{mine}_secret" in page
        assert f"{other}_secret" not in page


def test_in_production_the_browser_sees_no_details(errors: Errors) -> None:
    errors.write(f"sites/{GARDEN}/layout.mako", "\n${secret_name.x}")
    page = ask(errors.app(), "/page", headers={"Accept": "text/html"})
    assert (page.status_code, page.content_type) == (500, "text/html")
    for word in ("secret_name", "Traceback", str(errors.folder), "NameError", "AttributeError"):
        assert word not in page.text
