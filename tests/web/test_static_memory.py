"""Remembered static files: the same responses as without a memory, changes after a second, and when it is off."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from paths import ROOT
from pyramid.config import Configurator
from pyramid.events import NewRequest, NewResponse
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.sites.availability import disable_site, enable_site, maintain_site
from multisite.sites.domains import add_domain
from multisite.static import files, memory, policy, tween
from multisite.static.files import FileResponse
from multisite.templates.real_file import open_real_file, reopen_real_file
from multisite.testing import request_for

ATTACKS = (
    "/static/", "/static/../layout.mako", "/static/%2e%2e/layout.mako", "/static/..%5cstyle.css", "/static//style.css",
    "/static/./style.css", "/static/style.css/", "/static/style.css%00", "/static/.hidden", "/static/page.mako",
    "/static/theirs.css", "/static/link.css", "/static/inner.css", "/static/folder/theirs.css", "/static/STYLE.css",
    "/static/style.css%20", "/static/%ff", "/STATIC/style.css", "/static", "/static/none.css",
)  # fmt: skip


@pytest.fixture
def sites(sqlite_sites: ContentSites) -> ContentSites:
    """Two sites with the static files of the demo sites, and files that they must not serve."""
    folder = Path(sqlite_sites.settings["multisite.sites_dir"])
    for demo, host in (("garden.localhost", GARDEN), ("sternwarte.localhost", STERNWARTE)):
        shutil.copytree(ROOT / "sites" / demo / "static", folder / host / "static", dirs_exist_ok=True)
    own, theirs = folder / GARDEN / "static", folder / STERNWARTE / "static"
    (theirs / "theirs.css").write_text("another site's")
    (own / "link.css").symlink_to(theirs / "theirs.css")
    (own / "folder").symlink_to(theirs)
    (own / "inner.css").symlink_to("style.css")
    (own / "page.mako").write_text("code")
    (own / ".hidden").write_text("hidden")
    (own / "empty.txt").write_text("")
    (own / "large.bin").write_bytes(bytes(range(256)) * 1_200)
    (own / "packed.css").write_bytes(b"body {} " * 100)
    for suffix, content in ((".gz", gzip.compress(b"body {} " * 100, mtime=0)), (".br", b"not really brotli")):
        packed = own / f"packed.css{suffix}"
        packed.write_bytes(content)
        os.utime(packed, ns=(own.joinpath("packed.css").stat().st_mtime_ns,) * 2)
    return sqlite_sites


@pytest.fixture
def own(sites: ContentSites) -> Path:
    """The garden's folder of static files."""
    return Path(sites.settings["multisite.sites_dir"], GARDEN, "static")


class Counted:
    """Counts the responses from the memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def respond_again(*arguments: Any) -> Response:
            self.count += 1
            return files.respond_again(*arguments)

        monkeypatch.setattr(tween, "respond_again", respond_again)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def without_memory(sites: ContentSites) -> Any:
    """An application that remembers nothing."""
    from multisite.content import main

    return main({}, **sites.settings, **{"pyramid.reload_assets": "true"})


def ask(app: Any, path: str, host: str = GARDEN, **environ: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return the status, the sorted headers and the body of a response, as the server gets them."""
    request = Request.blank("/", host=host, environ=environ)
    path, _, query = path.partition("?")
    request.environ |= {"PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "QUERY_STRING": query}
    found: list[Any] = []
    chunks = app(request.environ, lambda status, headers, exc_info=None: found.extend((status, headers)))
    try:
        body = b"".join(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    headers = sorted(header for header in found[1] if header[0] != "X-Request-ID")
    return found[0], headers, body


def variations(headers: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the requests to compare for a file with these headers."""
    tag = dict(headers).get("ETag", '"none"')
    return [
        {},
        {"REQUEST_METHOD": "HEAD"},
        {"REQUEST_METHOD": "POST"},
        *({"HTTP_ACCEPT_ENCODING": accepted} for accepted in ("gzip", "gzip, br", "identity", "*;q=0", "nonsense;;")),
        *(
            {"HTTP_IF_NONE_MATCH": value}
            for value in (tag, f"W/{tag}", f'"other", {tag}', '"other"', "*", "", tag.strip('"'), f"{tag} ")
        ),
        {"HTTP_IF_NONE_MATCH": tag, "REQUEST_METHOD": "HEAD"},
        {"HTTP_IF_NONE_MATCH": tag, "HTTP_RANGE": "bytes=0-1"},
        {"HTTP_IF_MODIFIED_SINCE": "Tue, 01 Jan 2999 00:00:00 GMT"},
        *({"HTTP_RANGE": value} for value in ("bytes=0-1", "bytes=-2", "bytes=9999999-", "bytes=a", "bytes=0-0,2-3")),
        {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": tag},
        {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": '"other"'},
    ]


def test_remembered_files_are_answered_as_without_a_memory(sites: ContentSites, own: Path, counted: Counted) -> None:
    slow, names = without_memory(sites), sorted(path.relative_to(own).as_posix() for path in own.rglob("*"))
    paths = [f"/static/{name}" for name in [*names, "base.css"]]
    hashed = [ask(slow, "/")[2].decode().partition("/static/style.css?")[2].partition('"')[0]]
    assert hashed[0].startswith("v=")
    for host in (GARDEN, STERNWARTE):
        for path in [*paths, f"/static/style.css?{hashed[0]}", "/static/style.css?v=0", "/static/style.css?v=%ff"]:
            expected = ask(slow, path, host)
            for environ in variations(expected[1]) if host == GARDEN else [{}]:
                expected = ask(slow, path, host, **environ)
                for _ in range(2):  # The first one may be remembered, the second one is.
                    assert ask(sites.app, path, host, **environ) == expected, (host, path, environ)
    assert counted.count > len(paths) * 10
    before = counted.count
    for path in ATTACKS:
        for host in (GARDEN, STERNWARTE, "unknown.example"):
            expected = ask(slow, path, host)
            for _ in range(2):
                assert ask(sites.app, path, host) == expected, (host, path)
    # Pyramid drops empty segments and dots from a path. The other site serves its own file.
    served = {"/static//style.css", "/static/./style.css", "/static/style.css/", "/static/inner.css"}
    assert {path for path in ATTACKS if ask(slow, path)[0] == "200 OK"} == served
    assert ask(slow, "/static/theirs.css", STERNWARTE)[0] == "200 OK"
    assert 0 < counted.count - before <= 2 * (len(served) + 1)
    slow.registry[DIRECTORY].engine.dispose()


def test_a_change_is_seen_within_a_second(
    sites: ContentSites, own: Path, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    now = [1000.0]
    monkeypatch.setattr(memory, "monotonic", lambda: now[0])
    shared = Path(sites.settings["multisite.templates_dir"], "static", "new.css")
    shared.write_text("shared")
    with request_for(sites.app, GARDEN) as request:
        for change, content in (
            (list, b"shared"),
            (lambda: (own / "new.css").write_text("own"), b"own"),
            (lambda: (own / "new.css").write_text("changed"), b"changed"),
            ((own / "new.css").unlink, b"shared"),
        ):
            change()
            now[0] += memory.SECONDS
            url = request.static_path("multisite:static/new.css")
            for _ in range(3):
                status, headers, body = ask(sites.app, url)
                assert (status, body) == ("200 OK", content)
                assert "immutable" in dict(headers)["Cache-Control"]
            assert request.static_path("multisite:static/new.css") == url
    assert counted.count == 4 * 2


def test_a_replaced_file_is_not_opened_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("own")
    (tmp_path / "b").write_text("her")
    os.utime(tmp_path / "a", ns=(10**18, 10**18))
    os.utime(tmp_path / "b", ns=(10**18, 10**18))
    with open_real_file(tmp_path / "a") as opened:
        version = opened.version
    os.close(reopen_real_file(version))
    (tmp_path / "a").rename(tmp_path / "aside")
    for replace in (
        lambda: (tmp_path / "a").symlink_to("aside"),
        lambda: (tmp_path / "a").symlink_to("b"),
        lambda: shutil.copy2(tmp_path / "b", tmp_path / "a"),
    ):
        replace()
        with pytest.raises(OSError):
            reopen_real_file(version)
        (tmp_path / "a").unlink()
    with pytest.raises(OSError):
        reopen_real_file(version)


def test_no_descriptor_is_left_open(sites: ContentSites) -> None:
    def ask_all() -> int:
        for path in ("/static/style.css", "/static/large.bin", "/static/none.css"):
            for environ in ({}, {"REQUEST_METHOD": "HEAD"}, {"HTTP_RANGE": "bytes=0-1"}, {"HTTP_IF_NONE_MATCH": "*"}):
                ask(sites.app, path, **environ)
        return len(list(Path("/proc/self/fd").iterdir()))

    first = ask_all()
    assert {ask_all() for _ in range(3)} == {first}


@pytest.mark.parametrize("warm", [False, True])
def test_a_large_file_is_sent_by_the_server_if_it_offers_to(sites: ContentSites, own: Path, warm: bool) -> None:
    wrapped = []

    def file_wrapper(file: Any, size: int) -> FileWrapper:
        wrapped.append(file)
        return FileWrapper(file, size)

    environ: dict[str, Any] = {"wsgi.file_wrapper": file_wrapper}
    if warm:
        ask(sites.app, "/static/large.bin")
    content = (own / "large.bin").read_bytes()
    status, headers, body = ask(sites.app, "/static/large.bin", **environ)
    assert (status, dict(headers)["Content-Length"], body) == ("200 OK", str(len(content)), content)
    assert [file.closed for file in wrapped] == [True]
    assert ask(sites.app, "/static/large.bin", **environ, HTTP_RANGE="bytes=1-3")[2] == content[1:4]
    assert ask(sites.app, "/static/style.css", **environ)[0] == "200 OK"
    assert len(wrapped) == 1


# What turns it off


def own_tween(handler: Callable[[Request], Response], registry: Any) -> Callable[[Request], Response]:
    def tween(request: Request) -> Response:
        response = handler(request)
        response.headers["X-Own"] = "yes"
        return response

    return tween


def forbidding(request: Request) -> None:
    if "forbidden" in request.query_string:
        raise HTTPForbidden


def deriver(view: Any, info: Any) -> Any:
    def derived(context: Any, request: Request) -> Response:
        forbidding(request)
        return view(context, request)

    return derived


CHANGES: dict[str, Callable[[Configurator], object]] = {
    "tween": lambda config: config.add_tween(f"{__name__}.own_tween", under=tween.NAME),
    "subscriber": lambda config: config.add_subscriber(lambda event: forbidding(event.request), NewRequest),
    "root factory": lambda config: config.set_root_factory(lambda request: forbidding(request) or object()),
    "view deriver": lambda config: config.add_view_deriver(deriver),
    "view": lambda config: config.add_view(
        lambda request: Response(status=403), route_name="multisite.static /static", request_param="forbidden"
    ),
    "route": lambda config: (
        config.add_route("first", "/static/{name}", request_param="forbidden"),
        config.add_view(lambda request: Response(status=403), route_name="first"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_application_does_to_each_request_is_done_to_static_files(
    sites: ContentSites, change: str, counted: Counted
) -> None:
    config = Configurator(settings=sites.settings)
    config.include("multisite")
    CHANGES[change](config)
    config.include("multisite.static")
    app = config.make_wsgi_app()
    browser = TestApp(app, extra_environ={"HTTP_HOST": GARDEN})
    for _ in range(3):
        page = browser.get("/static/style.css")
        if change == "tween":
            assert page.headers["X-Own"] == "yes"
        else:
            browser.get("/static/style.css?forbidden=1", status=403)
    assert counted.count == 0
    app.registry[DIRECTORY].engine.dispose()


def test_a_tween_above_sees_the_response_and_the_route(sites: ContentSites, counted: Counted) -> None:
    config = Configurator(settings=sites.settings)
    config.include("multisite")
    config.include("multisite.static")
    config.add_tween(f"{__name__}.own_tween")
    config.add_tween(f"{__name__}.noting_tween")
    app = config.make_wsgi_app()
    noted.clear()
    for _ in range(3):
        status, headers, _body = ask(app, "/static/style.css")
        assert (status, dict(headers)["X-Own"]) == ("200 OK", "yes")
    assert counted.count == 2
    assert noted == [(200, "multisite.static /static", ("style.css",))] * 3
    app.registry[DIRECTORY].engine.dispose()


noted: list[Any] = []


def noting_tween(handler: Callable[[Request], Response], registry: Any) -> Callable[[Request], Response]:
    def tween(request: Request) -> Response:
        response = handler(request)
        noted.append((response.status_code, request.matched_route.name, request.matchdict["subpath"]))
        return response

    return tween


def test_a_changed_response_is_sent_as_webob_does() -> None:
    """A tween may set another status, a Location, or take the conditions away."""
    environ = Request.blank("/", environ={"HTTP_IF_NONE_MATCH": '"tag"'}).environ
    for change, expected in (
        ({}, "304 Not Modified"),
        ({"status": "404 Not Found"}, None),
        ({"location": "/elsewhere"}, None),
        ({"conditional_response": False}, "200 OK"),
        ({"etag": "other"}, "200 OK"),
    ):
        responses = [
            kind(
                headerlist=[("ETag", '"tag"'), ("Content-Type", "text/plain")],
                app_iter=[b"x"],
                conditional_response=True,
            )
            for kind in (FileResponse, Response)
        ]
        sent = []
        for response in responses:
            for name, value in change.items():
                setattr(response, name, value)
            said: list[Any] = []
            body = b"".join(response(environ, lambda status, headers, said=said: said.extend((status, headers))))
            sent.append((said, body))
        assert sent[0] == sent[1]
        assert expected is None or sent[0][0][0] == expected


# Before Pyramid makes a request


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The responses that were found without a request."""
    found: list[Any] = []

    def sendable(*arguments: Any) -> Any:
        response = files.sendable(*arguments)
        found.extend([response] if response is not None else [])
        return response

    monkeypatch.setattr(policy, "sendable", sendable)
    # The files of these tests have just been written.
    monkeypatch.setattr(files, "SETTLED_NS", 0)
    return found


def application(
    sites: ContentSites, configure: Callable[[Configurator], object] = lambda config: None, **settings: str
) -> Any:
    """An application without code of its own, unless `configure` adds some."""
    # Those of the reference application need its variables.
    templates = Path(sites.settings["multisite.templates_dir"])
    templates.joinpath("404.mako").unlink(missing_ok=True)
    templates.joinpath("error.mako").write_text("${status} of ${request.site.host}")
    with Configurator(settings={**sites.settings, **settings}) as config:
        config.include("multisite")
        config.include("multisite.static")
        configure(config)
        return config.make_wsgi_app()


def test_files_found_without_a_request_are_answered_as_without_a_memory(
    sites: ContentSites, own: Path, early: list[Any]
) -> None:
    fast, slow = application(sites), application(sites, **{"pyramid.reload_assets": "true"})
    names = sorted(path.relative_to(own).as_posix() for path in own.rglob("*"))
    files_asked = 0
    for host in (GARDEN, f"{GARDEN}:8080", STERNWARTE, "unknown.example", "in valid", "unknown.example:x"):
        for path in [*(f"/static/{name}" for name in [*names, "base.css"]), "/static/style.css?v=0", *ATTACKS]:
            expected = ask(slow, path, host)
            files_asked += expected[0] == "200 OK"
            more = [{"HTTP_COOKIE": "a=" + "b" * 70_000}, {"HTTP_COOKIE": "session=x"}, {"SCRIPT_NAME": "/app"}]
            for environ in [*variations(expected[1]), *more] if host == GARDEN and path not in ATTACKS else [{}]:
                expected = ask(slow, path, host, **environ)
                for _ in range(2):
                    assert ask(fast, path, host, **environ) == expected, (host, path, environ)
    assert len(early) > files_asked * 5
    assert {response.status for response in early} == {"200 OK", "304 Not Modified"}
    for app in (fast, slow):
        app.registry[DIRECTORY].engine.dispose()


def test_a_site_that_is_not_open_is_not_answered_early(sites: ContentSites, own: Path, early: list[Any]) -> None:
    add_domain(sites.engine, GARDEN, "old.example", redirect=True)
    add_domain(sites.engine, STERNWARTE, f"{STERNWARTE}/below")
    settings = {"multisite.refresh_seconds": "0"}
    fast, slow = application(sites, **settings), application(sites, **settings, **{"pyramid.reload_assets": "true"})

    def compare(expected: str, path: str = "/static/style.css", host: str = GARDEN, *, is_early: bool = False) -> None:
        for _ in range(3):
            early.clear()
            found = ask(fast, path, host)
            assert found == ask(slow, path, host)
            assert found[0] == expected
        assert bool(early) == is_early

    compare("200 OK", is_early=True)
    compare("301 Moved Permanently", host="old.example")
    compare("200 OK", "/below/static/style.css", STERNWARTE)
    maintain_site(sites.engine, GARDEN, message="Back soon")
    compare("200 OK")
    compare("404 Not Found", "/static/none.css")
    disable_site(sites.engine, GARDEN)
    compare("404 Not Found")
    enable_site(sites.engine, GARDEN)
    compare("200 OK", is_early=True)
    for app in (fast, slow):
        app.registry[DIRECTORY].engine.dispose()


class NotingRequest(Request):
    """A request that the application notices."""

    def __init__(self, environ: dict[str, Any], **kw: Any) -> None:
        super().__init__(environ, **kw)
        noted.append(environ["PATH_INFO"])


def noting_policy(environ: dict[str, Any], router: Any) -> Response:
    noted.append(environ["PATH_INFO"])
    with router.request_context(environ) as request:
        return router.invoke_request(request)


def note_response(event: NewResponse) -> None:
    noted.append(event.request.environ["PATH_INFO"])


WATCHERS: dict[str, Callable[[Configurator], object]] = {
    "request factory": lambda config: config.set_request_factory(NotingRequest),
    "execution policy": lambda config: config.set_execution_policy(noting_policy),
    "subscriber": lambda config: config.add_subscriber(note_response, NewResponse),
    "tween": lambda config: config.add_tween(f"{__name__}.path_tween"),
    "tween of multisite": lambda config: config.include("multisite.logs"),
}


def path_tween(handler: Callable[[Request], Response], registry: Any) -> Callable[[Request], Response]:
    def tween(request: Request) -> Response:
        noted.append(request.environ["PATH_INFO"])
        return handler(request)

    return tween


@pytest.mark.parametrize("watcher", WATCHERS)
def test_no_request_is_left_out_that_the_application_would_notice(
    sites: ContentSites, watcher: str, counted: Counted, early: list[Any]
) -> None:
    app = application(sites, WATCHERS[watcher])
    noted.clear()
    answers = [ask(app, "/static/style.css") for _ in range(3)]
    assert answers == [answers[0]] * 3
    assert (noted, counted.count, early) == (["/static/style.css"] * 3 if "of" not in watcher else [], 2, [])
    app.registry[DIRECTORY].engine.dispose()


def test_a_subscriber_that_comes_later_is_notified(sites: ContentSites, early: list[Any]) -> None:
    app = application(sites)
    noted.clear()
    for _ in range(3):
        ask(app, "/static/style.css")
    assert (noted, len(early)) == ([], 1)
    app.registry.registerHandler(note_response, (NewResponse,))
    ask(app, "/static/style.css")
    assert (noted, len(early)) == (["/static/style.css"], 1)
    app.registry[DIRECTORY].engine.dispose()


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        ({"multisite.console_host": GARDEN}, GARDEN, "404 Not Found"),
        ({"multisite.max_requests_per_site": "5"}, GARDEN, "200 OK"),
        ({"multisite.open_paths": "/static/"}, "unknown.example", "200 OK"),
    ],
)
def test_settings_that_change_the_site_tween_turn_it_off(
    sites: ContentSites, early: list[Any], settings: dict[str, str], host: str, expected: str
) -> None:
    app = application(sites, **settings)
    # The shared file, since an open path has no site.
    assert [ask(app, "/static/base.css", host)[0] for _ in range(3)] == [expected] * 3
    assert early == []
    app.registry[DIRECTORY].engine.dispose()


# URLs


def test_other_calls_of_static_url_are_pyramid_s(sites: ContentSites) -> None:
    with request_for(sites.app, GARDEN) as request:
        path = "multisite:static/style.css"
        for _ in range(2):
            plain = request.static_path(path)
            assert request.static_url(path) == f"http://{GARDEN}{plain}"
        assert request.static_url(path, _query={"a": "b"}) == f"http://{GARDEN}/static/style.css?a=b"
        assert request.static_path(path, _anchor="top") == f"{plain}#top"
        assert request.static_url(path, _app_url="https://cdn.example") == f"https://cdn.example{plain}"
        request.environ["SCRIPT_NAME"] = "/mounted"
        assert request.static_path(path) == f"/mounted{plain}"
        assert request.static_url(path) == f"http://{GARDEN}/mounted{plain}"
        for wrong in ("nothing:static/style.css", "style.css"):
            with pytest.raises(ValueError, match="No static URL definition"):
                request.static_path(wrong)


class OwnRequest(Request):
    def static_path(self, path: str, **kw: Any) -> str:
        return f"own {path}"


@pytest.mark.parametrize("how", ["class", "method"])
def test_an_application_s_own_static_path_stays(sites: ContentSites, how: str) -> None:
    config = Configurator(settings=sites.settings)
    if how == "class":
        config.set_request_factory(OwnRequest)
    config.include("multisite")
    config.include("multisite.static")
    if how == "method":
        config.add_request_method(lambda request, path, **kw: f"own {path}", "static_path")
    config.add_route("page", "/page")
    config.add_view(lambda request: Response(request.static_path("multisite:static/a.css")), route_name="page")
    app = config.make_wsgi_app()
    assert ask(app, "/page")[2] == b"own multisite:static/a.css"
    app.registry[DIRECTORY].engine.dispose()


def test_a_cache_buster_of_the_application_is_asked_each_time(sites: ContentSites) -> None:
    asked = []

    def bust(request: Request, subpath: str, kw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        asked.append(subpath)
        return subpath, kw | {"_query": {"v": str(len(asked))}}

    config = Configurator(settings=sites.settings)
    config.include("multisite")
    config.include("multisite.static")
    config.add_cache_buster("multisite:static/img/", bust)
    app = config.make_wsgi_app()
    with request_for(app, GARDEN) as request:
        urls = [request.static_path("multisite:static/img/leaf.svg") for _ in range(3)]
        assert len(set(urls)) == 3
        assert len({request.static_path("multisite:static/style.css") for _ in range(3)}) == 1
    app.registry[DIRECTORY].engine.dispose()
