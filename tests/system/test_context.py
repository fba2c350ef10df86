"""The current site in streamed bodies, callbacks and subrequests, and on the thread after the request.

Such code sees its own site or gets an error, and the next request on the thread starts without a site. The soak test at
the end mixes all of these on waitress: 1,200 requests by default, 100,000 with MULTISITE_SOAK=1.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from scoped_models import Base, Book
from sqlalchemy.orm import Session
from waitress_server import serving
from webtest import TestApp

from multisite import NoCurrentSite, Site, UnknownSite, all_sites, current_site
from multisite.core.current_site import current_scope
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.sites.creation import add_site

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
SITES = 20
CLIENTS = 16
PIECES = 8
"""Number of pieces of a streamed body, which together exceed the buffer of a socket."""


class Failed(Exception):
    """The exception that views raise on purpose."""


class Places:
    """An application that checks the current site in every place where code of a request runs.

    Each observation is recorded as (id of the request's site, place, observed value). Rows are words `word-<site id>`.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.noted: list[tuple[int, str, object]] = []
        self.dirty: list[object] = []
        config = Configurator(
            settings={
                "sqlalchemy.url": url,
                # A view here uses up to four connections at once, and none of the 16 threads may wait for one.
                "sqlalchemy.pool_size": "80",
                "multisite.sites_dir": str(folder / "sites"),
                "multisite.templates_dir": str(folder / "templates"),
                "multisite.open_paths": "/open",
                "tm.manager_hook": "pyramid_tm.explicit_manager",
            }
        )
        config.include("multisite")
        for name in ("plain", "stream", "callbacks", "hooks", "fail", "sub", "exits", "open", "where"):
            config.add_route(name, f"/{name}")
            config.add_view(getattr(self, name), route_name=name)
        config.add_exception_view(self.failed, context=Failed)
        self.router = config.make_wsgi_app()
        self.registry = self.router.registry
        self.engine: sa.Engine = self.registry[DIRECTORY].engine
        self.sites = self._plant()

    def _plant(self) -> list[Site]:
        make_own_tables(self.engine)
        Base.metadata.create_all(self.engine)
        sites = []
        for number in range(SITES):
            site = add_site(self.engine, f"site{number}.example", settings=self.registry[SETTINGS])
            with Session(self.engine, info={"site": site}) as session:
                session.add_all(Book(slug=f"book-{index}", secret=f"word-{site.id}") for index in range(3))
                session.commit()
            sites.append(site)
        return sites

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Call the router, and check before and after it that the thread has no current site."""
        self._look_at_thread("before", environ)
        try:
            return self.router(environ, start_response)
        finally:
            self._look_at_thread("after", environ)

    def _look_at_thread(self, when: str, environ: dict[str, Any]) -> None:
        if (scope := current_scope()) is not None:
            self.dirty.append((when, environ["PATH_INFO"], scope))

    def note(self, request: Request, place: str, seen: object) -> None:
        self.noted.append((request.site.id, place, seen))

    def look(self, request: Request, place: str) -> None:
        """Record the current site, the rows that an unpinned session reads, and `request.site`."""
        site = current_site()
        self.note(request, f"{place}: current", site and site.id)
        self.note(request, f"{place}: unpinned", self.unpinned())
        self.note(request, f"{place}: request.site", request.site.id)

    def unpinned(self) -> object:
        with Session(self.engine) as session:
            try:
                return one_word(session)
            except NoCurrentSite:
                return NoCurrentSite

    # Views

    def plain(self, request: Request) -> Response:
        self.look(request, "view")
        self.note(request, "view: dbsession", one_word(request.dbsession))
        return Response(one_word(request.dbsession))

    def where(self, request: Request) -> Response:
        self.look(request, "view")
        return Response(f"word-{request.site.id} {current_site() == request.site}")

    def open(self, request: Request) -> Response:
        site = current_site()
        return Response(f"open {site and site.id} {self.unpinned()}")

    def stream(self, request: Request) -> Response:
        site = request.site

        def body() -> Iterator[bytes]:
            try:
                for _ in range(PIECES):
                    # After the tweens there is no current site; the session has the site of its request.
                    self.note(request, "body: unpinned", self.unpinned())
                    with Session(self.engine, info={"request": request}) as session:
                        yield f"{one_word(session)} {'x' * 20_000}\n".encode()
            finally:
                self.look(request, "end of body")

        self.note(request, "view: current", site.id)
        return Response(app_iter=body())

    def callbacks(self, request: Request) -> Response:
        request.add_response_callback(lambda request, response: self.look(request, "response callback"))
        request.add_finished_callback(lambda request: self.look(request, "finished callback"))
        return Response(one_word(request.dbsession))

    def hooks(self, request: Request) -> Response:
        transaction = request.tm.get()
        transaction.addBeforeCommitHook(self.hook, args=(request, "before commit"))
        transaction.addAfterCommitHook(lambda done, *args: self.hook(*args), args=(request, "after commit"))
        request.dbsession.add(Book(slug=f"new-{random.getrandbits(60)}", secret=f"word-{request.site.id}"))
        return Response(f"word-{request.site.id}")

    def hook(self, request: Request, place: str) -> None:
        self.look(request, place)

    def fail(self, request: Request) -> Response:
        one_word(request.dbsession)
        raise Failed

    def failed(self, error: Failed, request: Request) -> Response:
        self.look(request, "exception view")
        return Response(one_word(request.dbsession), status=500)

    def sub(self, request: Request) -> Response:
        """Return another site's page by a subrequest, and check that this request keeps its own site."""
        host, path = request.GET["host"], request.GET["path"]
        other = Request.blank(path, environ={"HTTP_HOST": host, "SERVER_PORT": "80"})
        if "tweens" not in request.GET:
            # The tween of pyramid_tm begins a transaction; without it, the subrequest uses the outer one.
            other.environ.update({"tm.manager": request.tm, "tm.active": True})
        before = one_word(request.dbsession)
        try:
            answer = request.invoke_subrequest(other, use_tweens="tweens" in request.GET)
            text = f"{answer.status_int} {answer.text}"
        except (Failed, UnknownSite) as error:
            text = type(error).__name__
        self.look(request, "after a subrequest")
        assert one_word(request.dbsession) == before
        return Response(f"{before} [{text}]")

    def exits(self, request: Request) -> Response:
        one_word(request.dbsession)
        raise {"SystemExit": SystemExit, "GeneratorExit": GeneratorExit, "KeyboardInterrupt": KeyboardInterrupt}[
            request.GET["with"]
        ]

    def check(self) -> Counter[str]:
        """Check what was recorded since the last call: each place saw its own site or none; return counts by place."""
        noted, self.noted[:] = list(self.noted), []
        for site_id, place, seen in noted:
            own = {site_id, f"word-{site_id}"}
            assert seen in own or (seen in {None, NoCurrentSite} and place.split(":")[0] in LATE), (
                f"{place} of site {site_id} has seen {seen}"
            )
        assert self.dirty == []
        return Counter(place for _site, place, _seen in noted)


LATE = {"body", "end of body", "response callback", "finished callback"}
"""Places in which the request's site is no longer current: there, an unpinned session raises an error."""


def one_word(session: Session) -> str:
    """Return the word of all rows that `session` reads; fail if they belong to more than one site."""
    (word,) = set(session.scalars(sa.select(Book.secret)))
    return str(word)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("places")
    url = f"sqlite:///{folder / 'test.db'}"
    with closing_engine(url) as engine, engine.connect() as connection:
        # Readers do not wait for writers, as in production.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    made = Places(folder, url)
    yield made
    made.registry[DIRECTORY].deactivate()
    made.engine.dispose()


@pytest.fixture(autouse=True)
def nothing_noted(places: Places) -> None:
    places.noted.clear()
    places.dirty.clear()


def browser(places: Places, number: int = 0) -> TestApp:
    return TestApp(places, extra_environ={"HTTP_HOST": f"site{number}.example"})


# Each place by itself


def test_a_streamed_body_has_its_own_rows_and_no_others(places: Places) -> None:
    for number in (0, 1):
        assert set(browser(places, number).get("/stream").text.split()[::2]) == {f"word-{places.sites[number].id}"}
    assert places.check()["body: unpinned"] == 2 * PIECES


def test_callbacks(places: Places) -> None:
    assert browser(places, 2).get("/callbacks").text == f"word-{places.sites[2].id}"
    assert {"response callback: unpinned", "finished callback: request.site"} <= set(places.check())


def test_commit_hooks_have_the_site(places: Places) -> None:
    browser(places, 3).get("/hooks")
    own = places.sites[3].id
    assert (own, "before commit: current", own) in places.noted
    assert (own, "after commit: unpinned", f"word-{own}") in places.noted
    places.check()


def test_exception_views_have_the_site(places: Places) -> None:
    own = places.sites[4].id
    assert browser(places, 4).get("/fail", status=500).text == f"word-{own}"
    assert (own, "exception view: current", own) in places.noted
    places.check()


@pytest.mark.parametrize("tweens", ["&tweens", ""], ids=["tweens", "no tweens"])
@pytest.mark.parametrize("path", ["/plain", "/where", "/callbacks", "/hooks", "/stream", "/fail"])
def test_a_subrequest_has_the_site_of_its_own_host(places: Places, path: str, tweens: str) -> None:
    own, other = places.sites[5].id, places.sites[6].id
    text = browser(places, 5).get(f"/sub?host=site6.example&path={path}{tweens}").text
    before, _, inner = text.partition(" [")
    assert before == f"word-{own}"
    assert f"word-{own}" not in inner
    if path == "/fail" and not tweens:
        # Without tweens no exception view is called, and the exception propagates to the caller.
        assert inner == "Failed]"
    else:
        assert f"word-{other}" in inner
    if path == "/where":
        assert inner == f"200 word-{other} True]"
    if path == "/hooks" and not tweens:
        # Without the tween of pyramid_tm, the subrequest is committed by the outer request, under its site.
        assert (other, "before commit: current", own) in places.noted
        return
    assert places.check()["after a subrequest: current"] == 1


@pytest.mark.parametrize("tweens", ["&tweens", ""], ids=["tweens", "no tweens"])
def test_a_subrequest_to_no_site_has_none(places: Places, tweens: str) -> None:
    """Not even the site of the outer request: on an open path, and for an unknown host."""
    answer = browser(places, 7).get(f"/sub?host=site6.example&path=/open{tweens}").text
    if tweens:
        assert answer.endswith(f"[200 open None {NoCurrentSite}]")
    own = places.sites[7].id
    answer = browser(places, 7).get(f"/sub?host=unknown.example&path=/where{tweens}").text
    assert answer == f"word-{own} [{'404 There is no site here.' + chr(10) if tweens else 'UnknownSite'}]"
    places.check()


def test_without_the_guard_a_subrequest_would_have_the_outer_site(places: Places) -> None:
    from pyramid.router import Router

    guarded = places.router.invoke_subrequest
    places.router.invoke_subrequest = Router.invoke_subrequest.__get__(places.router)
    try:
        assert browser(places, 5).get("/sub?host=site6.example&path=/where").text.endswith("False]")
    finally:
        places.router.invoke_subrequest = guarded
    with pytest.raises(AssertionError, match="has seen"):
        places.check()


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, KeyboardInterrupt])
def test_what_ends_a_request_leaves_nothing_on_its_thread(places: Places, error: type[BaseException]) -> None:
    with pytest.raises(error):
        browser(places, 8).get(f"/exits?with={error.__name__}")
    assert current_scope() is None
    assert browser(places, 9).get("/plain").text == f"word-{places.sites[9].id}"
    places.check()


def test_a_body_that_is_closed_early_or_never(places: Places) -> None:
    for close in (True, False):
        environ = Request.blank("/stream", environ={"HTTP_HOST": "site1.example"}).environ
        body = places(environ, lambda *_: None)
        pieces = iter(body)
        assert next(pieces).startswith(f"word-{places.sites[1].id} ".encode())
        if close:
            body.close()
        assert browser(places, 2).get("/plain").text == f"word-{places.sites[2].id}"
        del body, pieces
    assert places.check()["end of body: request.site"] == 2


def test_all_sites_in_a_request_ends_with_its_block(places: Places) -> None:
    with all_sites("the test looks at everything"):
        assert browser(places, 1).get("/plain").text == f"word-{places.sites[1].id}"
    assert browser(places, 2).get("/plain").text == f"word-{places.sites[2].id}"


# All places at once


class Client:
    """A client that sends all kinds of requests to many sites, sometimes disconnects, and checks each response."""

    def __init__(self, places: Places, address: tuple[str, int], seed: int) -> None:
        self.places = places
        self.address = address
        self.random = random.Random(seed)
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.connection: HTTPConnection | None = None

    def run(self, requests: int) -> Client:
        # The first request of each client raises an exit exception; the same threads serve all later requests.
        self.ask(self.places.sites[0], "/exits?with=" + self.random.choice(["SystemExit", "GeneratorExit"]))
        for _ in range(requests - 1):
            self.ask(*self.choose())
        self.close()
        return self

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def choose(self) -> tuple[Site, str]:
        site, other = self.random.choices(self.places.sites, k=2)
        kind = self.random.choices(
            ("plain", "where", "stream", "reset", "callbacks", "hooks", "fail", "sub", "exits", "unknown"),
            (30, 10, 8, 4, 12, 1, 12, 15, 0.2, 4),
        )[0]
        if kind == "sub":
            path = self.random.choice(["/plain", "/callbacks", "/stream", "/where"])
            return site, f"/sub?host={other.host}&path={path}" + self.random.choice(["&tweens", ""])
        if kind == "exits":
            return site, "/exits?with=" + self.random.choice(["SystemExit", "GeneratorExit"])
        return site, f"/{kind}"

    def ask(self, site: Site, path: str) -> None:
        if path == "/reset":
            self.hang_up(site)
            return
        host = "unknown.example" if path == "/unknown" else site.host
        # If a request ends with SystemExit or the like, waitress neither responds nor closes the connection, and does
        # not serve that connection again. So such requests are rare.
        ends = path.startswith("/exits")
        if self.connection is None or ends:
            self.close()
            self.connection = HTTPConnection(*self.address, timeout=0.5 if ends else 60)
        try:
            self.connection.request("GET", path, headers={"Host": host})
            answer = self.connection.getresponse()
            text = answer.read().decode()
        except (HTTPException, OSError):
            self.answers["no answer" if ends else f"no answer to {path}"] += 1
            self.close()
            return
        self.answers[f"{answer.status} {path.partition('?')[0]}"] += 1
        self.compare(site, path, answer.status, text)

    def hang_up(self, site: Site) -> None:
        """Request a streamed body, read a part of it, and reset the connection."""
        with closing(socket.create_connection(self.address, timeout=120)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(f"GET /stream HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode())
            text = connection.recv(1000).decode("latin-1")
        self.answers["hung up"] += 1
        self.compare(site, "/stream", 200, text)

    def compare(self, site: Site, path: str, status: int, text: str) -> None:
        words = {word for word in text.replace("[", " ").replace("]", " ").split() if word.startswith("word-")}
        allowed = {f"word-{site.id}"}
        if path.startswith("/sub"):
            number = path.partition("host=site")[2].partition(".")[0]
            allowed.add(f"word-{self.places.sites[int(number)].id}")
        if path == "/unknown":
            allowed = set()
        own = path in {"/unknown"} or status == 500 or f"word-{site.id}" in words or path == "/stream"
        if words - allowed or not own:
            self.wrong.append(f"{site} {path} {status}: {text[:200]}")


@contextmanager
def silent_serving(app: Any, threads: int) -> Iterator[tuple[str, int]]:
    """Serve with waitress, without logging the errors that these tests cause."""
    loggers = [logging.getLogger(name) for name in ("waitress", "waitress.queue")]
    for logger in loggers:
        logger.disabled = True
    try:
        with serving(app, threads, connection_limit=1000) as address:
            yield address
    finally:
        for logger in loggers:
            logger.disabled = False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("threads", [4, 16])
def test_many_sites_at_once_never_see_each_other(places: Places, threads: int) -> None:
    requests = 50_000 if SOAK else 600
    with silent_serving(places, threads) as address:
        clients = [Client(places, address, seed) for seed in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            done = list(pool.map(lambda client: client.run(requests // CLIENTS), clients))
    wrong = [text for client in done for text in client.wrong]
    answers = sum((client.answers for client in done), Counter())
    assert wrong == []
    seen = places.check()
    assert sum(answers.values()) == requests // CLIENTS * CLIENTS
    # Each kind of request occurred: streams, resets, errors, and exits.
    assert not [answer for answer in answers if answer.startswith("no answer to")], answers
    assert {"no answer", "200 /stream", "hung up", "500 /fail", "200 /sub", "404 /unknown"} <= set(answers), answers
    assert {"end of body: unpinned", "finished callback: unpinned", "exception view: current"} <= set(seen)
    if SOAK:
        print(f"\n{threads} threads: {dict(answers)}; {sum(seen.values())} looks")
