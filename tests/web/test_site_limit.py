"""The concurrency limit of a site: one site cannot occupy all threads, and every acquired slot is released."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.events import NewResponse
from pyramid.request import Request
from pyramid.response import FileIter, Response
from pyramid.tweens import INGRESS
from pyramid_retry import RetryableException, is_last_attempt
from waitress_server import serving

from multisite.core.concurrency import ConcurrencyLimit
from multisite.core.keys import DIRECTORY
from multisite.testing import plant_site

THREADS = 6


class Gate:
    """A view that waits until it is opened, streams, or fails; `waiting` is the number of requests in it."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.waiting = threading.Semaphore(0)

    def wait(self, request: Request) -> Response:
        self.waiting.release()
        assert self.opened.wait(30)
        return Response(f"waited at {request.site.host}")

    def stream(self, request: Request) -> Response:
        def body() -> Iterator[bytes]:
            yield b"begun " * 20_000
            self.waiting.release()
            assert self.opened.wait(30)
            yield b"ended"

        return Response(app_iter=body(), content_length=6 * 20_000 + 5)

    def file(self, request: Request) -> Response:
        """Respond like a large static file, of which browsers request ranges."""
        body = FileIter(BytesIO(b"0123456789" * 1000), block_size=100)
        return Response(app_iter=body, content_length=10_000, conditional_response=True, etag="it")

    def dropped(self, request: Request) -> Response:
        """Stream a body that is dropped, because an error occurs outside of all tweens."""
        if request.GET["by"] == "callback":
            request.add_response_callback(fail)
        return Response(app_iter=iter([b"never sent"]))

    def refused(self, request: Request) -> Response:
        """Stream with a header that servers reject."""
        response = Response(app_iter=iter([b"never sent"]))
        response.headerlist.append(("X-Refused", "a\r\nSet-Cookie: b=c"))
        return response

    def again(self, request: Request) -> Response:
        """Stream, and fail the first time afterwards, so that pyramid_retry tries again."""
        if is_last_attempt(request):
            return Response(app_iter=iter([b"at last"]))
        request.add_response_callback(fail_for_once)
        return Response(app_iter=iter([b"never sent"]))

    def fail(self, request: Request) -> Response:
        raise RuntimeError("the view fails")

    def within(self, request: Request) -> Response:
        """Request another page of the same site within this request, which holds the only slot."""
        return request.invoke_subrequest(Request.blank("/quick", base_url=request.host_url), use_tweens=True)

    def quick(self, request: Request) -> Response:
        return Response(f"quick at {request.site.host}")


def fail(*_: object) -> None:
    raise RuntimeError("a callback fails")


def fail_for_once(*_: object) -> None:
    raise RetryableException


def fail_if_dropped(event: NewResponse) -> None:
    if event.request.params.get("by") == "subscriber":
        fail()


def failing_tween_factory(handler: Callable[[Request], Response], registry: object) -> Callable[[Request], Response]:
    """Return the outermost tween, which fails or replaces the response."""

    def failing_tween(request: Request) -> Response:
        response = handler(request)
        if request.params.get("by") == "tween":
            fail()
        # The first response is dropped without being closed.
        return Response("replaced") if request.params.get("by") == "replacing" else response

    return failing_tween


@pytest.fixture
def gate() -> Gate:
    return Gate()


Serve = Callable[..., tuple[str, int]]


@pytest.fixture
def serve(gate: Gate, tmp_path: Path, sqlite_database_url: str) -> Iterator[Serve]:
    """Serve two sites with waitress in six threads, with the given limit."""
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        opened: list[Any] = []

        def serve(limit: int, waiting: int = 0) -> tuple[str, int]:
            config = Configurator(
                settings={
                    "multisite.max_requests_per_site": limit,
                    "multisite.max_waiting_requests_per_site": waiting,
                }
            )
            config.include("multisite")
            config.include("pyramid_retry")
            config.set_multisite_engine(engine)
            for name in ("wait", "stream", "file", "fail", "dropped", "refused", "again", "quick", "within"):
                config.add_route(name, f"/{name}")
                config.add_view(getattr(gate, name), route_name=name)
            config.add_subscriber(fail_if_dropped, NewResponse)
            config.add_tween(
                "test_site_limit.failing_tween_factory", under=INGRESS, over="multisite.web.tween.site_tween_factory"
            )
            app = config.make_wsgi_app()
            for host in ("busy.example", "other.example"):
                plant_site(app, host)
            context = serving(app, threads=THREADS)
            address = context.__enter__()
            opened.append((context, app))
            return address

        yield serve
        gate.opened.set()
        for context, app in opened:
            context.__exit__(None, None, None)
            app.registry[DIRECTORY].deactivate()


def get(address: tuple[str, int], host: str, path: str, **more: str) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host, **more})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def get_soon(address: tuple[str, int], path: str, **more: str) -> tuple[int, str]:
    """Request the busy site until a slot is free: a client receives the whole response before the server closes it."""
    for _ in range(300):
        status, text, _headers = get(address, "busy.example", path, **more)
        if status != 503:
            return status, text
        threading.Event().wait(0.1)
    pytest.fail("the place was never given back")


def test_a_busy_site_occupies_no_more_threads_than_its_limit(serve: Serve, gate: Gate) -> None:
    address = serve(2)
    with ThreadPoolExecutor(THREADS) as pool:
        begun = [pool.submit(get, address, "busy.example", "/wait") for _ in range(2)]
        for _ in begun:
            assert gate.waiting.acquire(timeout=30)
        status, text, headers = get(address, "busy.example", "/quick")
        assert (status, headers["Retry-After"], headers["Cache-Control"]) == (503, "1", "no-store")
        assert "busy" in text
        assert get(address, "other.example", "/quick")[:2] == (200, "quick at other.example")
        gate.opened.set()
        assert [future.result()[:2] for future in begun] == [(200, "waited at busy.example")] * 2
    assert get(address, "busy.example", "/quick")[0] == 200


def test_without_a_limit_one_site_occupies_every_thread(serve: Serve, gate: Gate) -> None:
    address = serve(0)
    with ThreadPoolExecutor(THREADS + 1) as pool:
        begun = [pool.submit(get, address, "busy.example", "/wait") for _ in range(THREADS)]
        for _ in begun:
            assert gate.waiting.acquire(timeout=30)
        other = pool.submit(get, address, "other.example", "/quick")
        with pytest.raises(TimeoutError):
            other.result(timeout=0.5)
        gate.opened.set()
        assert other.result(timeout=30)[0] == 200


def test_a_streaming_body_keeps_its_slot(serve: Serve, gate: Gate) -> None:
    address = serve(1)
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(get, address, "busy.example", "/stream")
        assert gate.waiting.acquire(timeout=30)
        assert get(address, "busy.example", "/quick")[0] == 503
        gate.opened.set()
        status, text, headers = begun.result()
    assert (status, text[-5:], headers["Content-Length"]) == (200, "ended", str(len(text)))
    assert get_soon(address, "/quick")[0] == 200


def test_ranges_of_a_file_release_their_slot(serve: Serve) -> None:
    address = serve(1)
    for _ in range(2):
        assert get_soon(address, "/file", Range="bytes=995-1004") == (206, "5678901234")
        assert get_soon(address, "/file", Range="bytes=20000-")[0] == 416
        assert get_soon(address, "/file", **{"If-None-Match": '"it"'})[0] == 304
        assert get_soon(address, "/file") == (200, "0123456789" * 1000)


def test_a_client_that_disconnects_releases_the_slot(serve: Serve, gate: Gate) -> None:
    address = serve(1)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: busy.example\r\n\r\n")
        assert gate.waiting.acquire(timeout=30)
        assert get(address, "busy.example", "/quick")[0] == 503
    gate.opened.set()
    assert get_soon(address, "/quick")[0] == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failing_view_releases_its_slot(serve: Serve) -> None:
    address = serve(1)
    for _ in range(3):
        assert get(address, "busy.example", "/fail")[0] == 500
    assert get(address, "busy.example", "/quick")[0] == 200


@pytest.mark.parametrize("by", ["callback", "subscriber", "tween"])
def test_a_body_dropped_after_an_error_releases_its_slot(serve: Serve, by: str) -> None:
    address = serve(1)
    for _ in range(3):
        assert get(address, "busy.example", f"/dropped?by={by}")[0] == 500
    assert get(address, "busy.example", "/dropped?by=nobody")[:2] == (200, "never sent")
    assert get_soon(address, "/quick")[0] == 200


def test_a_response_replaced_by_a_tween_releases_its_slot(serve: Serve) -> None:
    address = serve(1)
    for _ in range(3):
        assert get_soon(address, "/dropped?by=replacing") == (200, "replaced")
    assert get_soon(address, "/quick")[0] == 200


def test_a_response_rejected_by_the_server_releases_its_slot(serve: Serve) -> None:
    address = serve(1)
    for _ in range(3):
        assert get(address, "busy.example", "/refused")[0] == 500
    assert get_soon(address, "/quick")[0] == 200


def test_a_retried_request_releases_its_first_slot(serve: Serve) -> None:
    address = serve(1)
    for _ in range(3):
        assert get_soon(address, "/again") == (200, "at last")
    assert get_soon(address, "/quick")[0] == 200


@pytest.mark.parametrize(
    "field", ["Range: bytes=-", f"Range: bytes=-{'9' * 5_000}", "If-Range: Sun, 06 Nov 99999 00:00:00 GMT"]
)
def test_an_invalid_header_releases_the_slot(serve: Serve, field: str) -> None:
    address = serve(1)
    name, _, value = field.partition(": ")
    for _ in range(3):
        assert get_soon(address, "/file", **{"Range": "bytes=0-1", name: value}) == (200, "0123456789" * 1000)
    assert get_soon(address, "/quick")[0] == 200


def test_counting_is_exact_in_threads() -> None:
    share = ConcurrencyLimit(3)
    most = []

    def work() -> int:
        served = 0
        for _ in range(2_000):
            if share.acquire(1):
                most.append(share.in_progress(1))
                served += 1
                share.release(1)
        return served

    with ThreadPoolExecutor(8) as pool:
        assert sum(future.result() for future in [pool.submit(work) for _ in range(8)]) == len(most)
    assert max(most) <= 3
    assert share.in_progress(1) == 0
    assert share.acquire(1)
    assert share.acquire(2)


def test_requests_above_the_limit_wait_in_order_and_others_are_refused(
    serve: Serve, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.web.tween.WAIT_SECONDS", 30.0)
    address = serve(1, 2)
    with ThreadPoolExecutor(THREADS) as pool:
        first = pool.submit(get, address, "busy.example", "/wait")
        gate.waiting.acquire()
        # Two wait, and one is refused: which of the three is not known.
        more = [pool.submit(get, address, "busy.example", "/quick") for _ in range(3)]
        refused = next(as_completed(more)).result()
        assert refused[0] == 503
        assert get(address, "other.example", "/quick")[:2] == (200, "quick at other.example")
        assert sum(future.done() for future in [first, *more]) == 1
        gate.opened.set()
        assert first.result()[0] == 200
        assert sorted(future.result()[0] for future in more) == [200, 200, 503]


def test_a_request_that_has_waited_long_enough_is_refused(
    serve: Serve, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.web.tween.WAIT_SECONDS", 0.01)
    address = serve(1, 1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, address, "busy.example", "/wait")
        gate.waiting.acquire()
        assert [get(address, "busy.example", "/quick")[0] for _ in range(3)] == [503] * 3
        gate.opened.set()
        assert first.result()[0] == 200
    assert get_soon(address, "/quick")[0] == 200


def test_a_subrequest_does_not_wait_for_the_slot_of_its_own_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.web.tween.WAIT_SECONDS", 60.0)
    address = serve(1, 1)
    assert get(address, "busy.example", "/within")[0] == 503
    assert get_soon(address, "/quick")[0] == 200


def test_a_slot_goes_to_the_request_that_waits_longest() -> None:
    limit, served = ConcurrencyLimit(1, waiting=3), []

    def wait(number: int) -> None:
        assert limit.acquire("site", 30)
        served.append(number)
        limit.release("site")

    assert limit.acquire("site")
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(wait, number)
            wait_until(lambda number=number: len(limit._queues["site"]) == number + 1)  # type: ignore[misc]
        assert not limit.acquire("site", 30), "a fourth would wait"
        assert limit.acquire("other")
        limit.release("site")
    assert served == [0, 1, 2]
    assert (limit.in_progress("site"), limit._queues) == (0, {})


@pytest.mark.parametrize("is_handed_over", [False, True])
def test_an_interrupted_wait_keeps_no_slot(is_handed_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ConcurrencyLimit(1, waiting=1)
    assert limit.acquire("site")

    def interrupted(self: threading.Event, seconds: float) -> bool:
        if is_handed_over:
            limit.release("site")
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        limit.acquire("site", 30)
    assert limit.in_progress("site") == (0 if is_handed_over else 1)
    assert limit._queues == {}


def wait_until(is_true: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if is_true():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not become true")
