"""Applications are loaded once, at start-up or at the first request; a broken one does not affect others."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from vhosting import World, ask
from waitress_server import serving

from multisite.vhosts import application as application_module
from multisite.vhosts import loader
from multisite.vhosts.application import LazyApplication, Unavailable
from multisite.vhosts.dispatcher import Vhosts
from multisite.vhosts.ini import VhostError

TWO = """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain a.example / = one
    domain b.example / = one
    domain c.example /sub = one
    domain d.example / = two
    vhosts.lazy = {lazy}
    vhosts.retry_seconds = {retry}
    [app:one]
    use = call:PREFIX_echo:main
    me = one
    [app:two]
    use = call:PREFIX_two:main
    me = two
"""

MODELS = """
    import PREFIX_echo
    declared = set()

    def main(global_conf, **settings):
        # Like a factory that declares its models or registers a type when it is called.
        assert "model" not in declared, "declared twice"
        declared.add("model")
        return PREFIX_echo.main(global_conf, **settings)
"""


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_an_application_of_several_domains_is_loaded_once(world: World, lazy: str) -> None:
    world.module("two", MODELS)
    text = TWO.format(lazy=lazy, retry=0).replace("domain b.example / = one", "domain b.example / = two")
    app = world.load(text)
    for host, me in (("a", "one"), ("b", "two"), ("c", "one"), ("d", "two"), ("d", "two")):
        assert ask(app, f"//{host}.example/sub/").text.startswith(f"{me} ")
    assert len(sys.modules[f"{world.prefix}_echo"].made) == 2


def test_paste_loads_it_once_for_each_domain(world: World) -> None:
    """Negative control: PasteDeploy's loader creates a new application at each call."""
    from paste.deploy.loadwsgi import ConfigLoader

    world.module("two", MODELS)
    loader = ConfigLoader(str(world.ini(TWO.format(lazy="true", retry=0))))
    loader.get_app("two")
    with pytest.raises(AssertionError, match="declared twice"):
        loader.get_app("two")


HOOKS = """
    import sys
    import paste.deploy
    ran = []

    def first(global_conf):
        assert "PREFIX_two" not in sys.modules
        ran.append(global_conf["here"])

    def fails(global_conf):
        raise OSError("no")

    def loads(global_conf):
        paste.deploy.loadapp("config:" + global_conf["__file__"])
"""


def test_hooks_run_once_before_any_application_is_loaded(world: World) -> None:
    world.module("hooks", HOOKS)
    world.module("two", MODELS)
    hooks = f"{world.prefix}_hooks"
    text = (
        TWO.format(lazy="false", retry=0) + f"\n    [composite:more]\n    use = main\n    vhosts.init = {hooks}.first\n"
    )
    text = text.replace("vhosts.lazy", f"vhosts.init = {hooks}:first\n        {hooks}.first\n    vhosts.lazy", 1)
    world.load(text)
    world.load(text, name="more")
    assert sys.modules[hooks].ran == [str(world.folder)]
    with pytest.raises(VhostError, match=r"vhosts.init: '\w+\.fails' fails \(OSError: no\)"):
        world.load(text.replace(f"{hooks}.first", f"{hooks}.fails"))


def test_a_hook_that_loads_its_own_ini_file_is_refused(world: World) -> None:
    world.module("hooks", HOOKS)
    world.module("two", MODELS)
    hook = f"{world.prefix}_hooks.loads"
    text = TWO.format(lazy="false", retry=0).replace("vhosts.lazy", f"vhosts.init = {hook}\n    vhosts.lazy", 1)
    failed: list[BaseException] = []

    def load() -> None:
        with pytest.raises(VhostError) as caught:
            world.load(text)
        failed.append(caught.value)

    # Twice, since the first failure must not mark the hook as done or running.
    for _ in range(2):
        # In a daemon thread: if the load hangs, the test must not.
        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        thread.join(60)
    assert len(failed) == 2
    for error in failed:
        expected = rf"site\.ini, line \d+, \[composite:main\]: vhosts\.init: '{hook}' fails \(RuntimeError: it loads "
        assert re.search(expected, str(error)), error


# Broken applications


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def main(global_conf, **settings):\n    raise RuntimeError('no\\nway')", "RuntimeError: no way"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def main(:", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E",
            "E: its message cannot be formatted",
        ),
        ("def main(global_conf): pass", "TypeError: main() got an unexpected keyword argument 'me'"),
    ],
)
def test_a_broken_application_does_not_affect_others(
    world: World, caplog: pytest.LogCaptureFixture, code: str, reason: str
) -> None:
    world.module("two", code)
    app = world.load(TWO.format(lazy="false", retry=30))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "multisite.vhosts.application"
    assert record.getMessage().startswith(f"[app:two] cannot be loaded: {reason}"), record.getMessage()
    assert "Its domains respond with 503; it is retried after 30 s" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert record.exc_info is not None
    assert ask(app, "//a.example/").status == 200
    answer = ask(app, "//d.example/")
    assert answer.status == 503
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert answer.headers["Cache-Control"] == "no-store"
    assert "two" not in answer.text
    assert [each.state for each in app.applications.values()] == ["serving", "broken"]


def test_a_broken_application_is_retried_after_a_pause(world: World, caplog: pytest.LogCaptureFixture) -> None:
    times: list[float] = [1000.0]
    tries: list[int] = []

    def make() -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the disk is full")
        return "application"

    application = LazyApplication(
        "x", "[app:x]", make, retry_seconds=30, failed=lambda _, error: str(error), clock=lambda: times[0]
    )
    for at, expected in ((1000, 30), (1001, 29), (1029.5, 1), (1030, 30), (1059, 1)):
        times[0] = at
        with pytest.raises(Unavailable) as raised:
            application.get()
        assert raised.value.retry_after_seconds == expected
    assert len(tries) == 2
    assert application.reason == "the disk is full"
    times[0] = 1060.0
    assert application.get() == "application"
    assert application.get() == "application"
    assert (application.state, application.reason, len(tries)) == ("serving", None, 3)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]


def test_a_missing_module_is_found_once_it_exists(world: World) -> None:
    world.module("two", "import PREFIX_late\nmain = PREFIX_late.main\n")
    app = world.load(TWO.format(lazy="false", retry=0))
    assert ask(app, "//d.example/").status == 503
    (world.folder / f"{world.prefix}_late.py").write_text(f"from {world.prefix}_echo import main\n", "utf-8")
    assert ask(app, "//d.example/").text.startswith("two")


class Slow:
    """A factory that waits for an event, counts its calls, and fails as often as requested."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.let_go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        self.begun.release()
        assert self.let_go.wait(30)
        if self.fails:
            raise OSError("not now")
        return "application"

    def application(self) -> LazyApplication:
        return LazyApplication("x", "[app:x]", self, retry_seconds=0, failed=lambda _, error: str(error))


def test_one_thread_loads_an_application_and_others_wait() -> None:
    slow = Slow()
    application = slow.application()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(application.get) for _ in range(8)]
        assert slow.begun.acquire(timeout=30)
        assert application.state == "loading"
        slow.let_go.set()
        assert [each.result(30) for each in waiting] == ["application"] * 8
    assert slow.calls == 1


def test_waiting_for_the_first_load_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_module, "WAIT_TIMEOUT_SECONDS", 0.05)
    slow = Slow()
    application = slow.application()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(application.get)
        assert slow.begun.acquire(timeout=30)
        with pytest.raises(Unavailable):
            application.get()
        slow.let_go.set()
        assert loading.result(30) == "application"


def test_no_request_waits_while_a_broken_application_is_retried() -> None:
    slow = Slow(fails=True)
    slow.let_go.set()
    application = slow.application()
    with pytest.raises(Unavailable):
        application.get()
    slow.let_go.clear()
    slow.fails = False
    assert slow.begun.acquire(timeout=30)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(application.get)
        assert slow.begun.acquire(timeout=30)
        with pytest.raises(Unavailable):  # With the timeout of the first attempt, this would take seconds.
            application.get()
        slow.let_go.set()
        assert loading.result(30) == "application"
    assert slow.calls == 2


def test_an_application_that_requests_itself_while_loading_gets_503() -> None:
    answered: list[str] = []

    def make() -> Any:
        try:
            application.get()
        except Unavailable:
            answered.append("503")
        return "application"

    application = LazyApplication("x", "[app:x]", make, retry_seconds=0, failed=lambda _, error: str(error))
    assert application.get() == "application"
    assert answered == ["503"]


# Lazy


def test_a_lazy_application_is_loaded_at_its_first_request(world: World) -> None:
    world.module("two", MODELS)
    app = world.load(TWO.format(lazy="true", retry=0))
    assert [each.state for each in app.applications.values()] == ["not loaded", "not loaded"]
    assert f"{world.prefix}_two" not in sys.modules
    assert ask(app, "//d.example/").text.startswith("two")
    assert [each.state for each in app.applications.values()] == ["not loaded", "serving"]
    done = app.applications["two"].last_load
    assert done is not None
    assert done.seconds > 0
    assert f"{world.prefix}_two" in done.modules
    assert (done.grown_bytes is not None) == Path("/proc/self/statm").exists()


CIRCLE = """
    import threading, sys
    barrier = sys.modules.setdefault("PREFIX_barrier", threading.Barrier(2))
    if "PREFIX_met_{other}" not in sys.modules:  # In a second attempt nobody else comes.
        sys.modules["PREFIX_met_{other}"] = True
        barrier.wait(30)  # Both threads hold the lock of one module now, and want that of the other.
    import PREFIX_{other}
    value = 1
    double = getattr(PREFIX_{other}, "{needed}") * 2

    def main(global_conf, **settings):
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"loaded"]
        return app
"""


def circle(world: World) -> Vhosts:
    """Return two lazy applications whose modules import each other."""
    world.module("left", CIRCLE.format(other="right", needed="value"))
    world.module("right", CIRCLE.format(other="left", needed="__name__"))
    return world.load(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        vhosts.lazy = true
        vhosts.retry_seconds = 300
        domain left.example / = left
        domain right.example / = right
        [app:left]
        use = call:PREFIX_left:main
        [app:right]
        use = call:PREFIX_right:main
        """
    )


def request_concurrently(app: Vhosts) -> list[int]:
    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(lambda host: ask(app, f"//{host}.example/").status, ["left", "right"]))


def test_applications_that_import_each_other_can_be_loaded_concurrently(world: World) -> None:
    assert request_concurrently(circle(world)) == [200, 200]


def test_without_a_second_attempt_one_of_them_would_fail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = loader._attempt
    monkeypatch.setattr(loader, "_attempt", lambda make: (*attempt(make)[:2], True))
    for _ in range(20):  # The thread that runs first is not deterministic.
        app = circle(world)
        if request_concurrently(app) != [200, 200]:
            return
        world.forget()
    pytest.fail("the circle has never broken anything: the test above shows nothing")


# Under pserve --reload

RELOADED = """
import sys, time
sys.path.insert(0, sys.argv[1])
sys.argv = ["pserve", "--reload", sys.argv[1] + "/site.ini"]
from pyramid.scripts.pserve import main
main()
"""


def test_files_of_a_broken_application_are_watched_under_reload(world: World) -> None:
    """hupper itself watches only imported modules, and a module that failed to import is not one of them."""
    import socket

    world.module("deep", "raise OSError('still being written')")
    world.module("two", "def main(global_conf, **settings):\n    import PREFIX_deep\n    return PREFIX_deep.app\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world.ini(
        TWO.format(lazy="false", retry=86400)
        + f"\n    [server:main]\n    use = egg:waitress#main\n    listen = 127.0.0.1:{port}\n"
    )
    log = world.folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-c", RELOADED, str(world.folder)], stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        assert wait_for(lambda: status(port) == 503), log.read_text()
        time.sleep(1.1)  # hupper compares modification times, which some file systems store in whole seconds.
        world.module(
            "deep", "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'now']\n"
        )
        assert wait_for(lambda: status(port) == 200), log.read_text()
    finally:
        server.terminate()
        server.wait(30)


def status(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/", headers={"Host": "d.example"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def wait_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


# Limit on the threads of an application

GATE = """
    import threading
    opened = threading.Event()
    waiting = threading.Semaphore(0)
    closed = []

    class Body:
        def __init__(self, fails):
            self.left, self.fails = 2, fails
        def __iter__(self):
            return self
        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise StopIteration
            if self.left == 0:
                waiting.release()
                assert opened.wait(30)
                if self.fails:
                    raise OSError("in the middle")
            return b"piece"
        def close(self):
            closed.append(1)

    def main(global_conf, **settings):
        def app(environ, start_response):
            path = environ["PATH_INFO"]
            if path == "/fail":
                raise OSError("at once")
            if path == "/wait":
                waiting.release()
                assert opened.wait(30)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Body(path == "/stream-fails") if path.startswith("/stream") else [b"done"]
        return app
"""

SHARED_THREADS = """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    vhosts.max_requests = {limit}
    domain busy.example / = busy
    domain alias.example / = busy
    domain other.example / = other
    [app:busy]
    use = call:PREFIX_gate:main
    [app:other]
    use = call:PREFIX_echo:main
    me = other
"""


@pytest.fixture
def gate(world: World) -> Iterator[Callable[[int], tuple[Vhosts, Any]]]:
    name = world.module("gate", GATE)

    def load(limit: int) -> tuple[Vhosts, Any]:
        return world.load(SHARED_THREADS.format(limit=limit)), sys.modules[name]

    yield load
    sys.modules[name].opened.set()


def get(address: tuple[str, int], host: str, path: str) -> int:
    connection = HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/wait", "/stream"])
def test_a_busy_application_is_limited(gate: Callable[[int], tuple[Vhosts, Any]], path: str) -> None:
    app, module = gate(2)
    with serving(app, threads=4) as address, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(get, address, host, path) for host in ("busy.example", "alias.example")]
        for _ in waiting:
            assert module.waiting.acquire(timeout=30)
        assert get(address, "busy.example", "/") == 503
        assert get(address, "other.example", "/") == 200
        module.opened.set()
        assert [each.result(30) for each in waiting] == [200, 200]
        assert wait_for(lambda: get(address, "busy.example", "/") == 200)
    assert len(module.closed) == (2 if path == "/stream" else 0)


def test_without_a_limit_one_application_takes_every_thread(gate: Callable[[int], tuple[Vhosts, Any]]) -> None:
    app, module = gate(0)
    with serving(app, threads=2) as address, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(get, address, "busy.example", "/wait") for _ in range(2)]
        for _ in waiting:
            assert module.waiting.acquire(timeout=30)
        other = pool.submit(get, address, "other.example", "/")
        with pytest.raises(TimeoutError):
            other.result(0.5)
        module.opened.set()
        assert other.result(30) == 200


def test_every_slot_is_released(gate: Callable[[int], tuple[Vhosts, Any]]) -> None:
    app, module = gate(1)
    module.opened.set()
    for _ in range(3):
        with pytest.raises(OSError, match="at once"):
            ask(app, "//busy.example/fail")
        with pytest.raises(OSError, match="in the middle"):
            ask(app, "//busy.example/stream-fails")
        assert ask(app, "//busy.example/stream").text == "piecepiece"
        assert ask(app, "//unknown.example/").status == 404
    # A server that never iterates over the body closes it nevertheless.
    environ = {"HTTP_HOST": "busy.example", "PATH_INFO": "/stream", "wsgi.url_scheme": "http", "SCRIPT_NAME": ""}
    body: Any = app(environ, lambda *_: None)
    assert ask(app, "//busy.example/").status == 503
    body.close()
    assert ask(app, "//busy.example/").status == 200
