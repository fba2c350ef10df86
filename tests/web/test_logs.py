"""The site and the request id of log records: with an ini file, with dictConfig, in threads, for statements."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from paths import ROOT
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site, all_sites, carry, using_site
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.logs import MAX_MESSAGE_CHARACTERS, SiteFilter, SiteFormatter, current_request_id
from multisite.sites.creation import add_site

GARDEN = Site(1, "garden.example", "Garden", "garden", path="/shop")
FORMAT = "[%(site)s %(request_id)s] %(message)s"


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines(FORMAT)
    yield made
    made.close()


class Lines:
    """The output of a handler with the formatter, for the logger `shop`; more loggers can be added."""

    def __init__(self, form: str) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(SiteFormatter(form))
        self._loggers: list[tuple[logging.Logger, int]] = []
        self.add("shop")

    def add(self, name: str) -> logging.Logger:
        logger = logging.getLogger(name)
        self._loggers.append((logger, logger.level))
        logger.setLevel(logging.INFO)
        logger.addHandler(self.handler)
        return logger

    def all(self) -> list[str]:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text.splitlines()

    def close(self) -> None:
        for logger, level in self._loggers:
            logger.removeHandler(self.handler)
            logger.setLevel(level)


log = logging.getLogger("shop")


def test_a_record_names_its_site(lines: Lines) -> None:
    log.info("outside")
    with using_site(GARDEN):
        log.info("inside %s", 1)
        with all_sites("a test"):
            log.info("everywhere")
    assert lines.all() == ["[- -] outside", "[garden.example/shop -] inside 1", "[* -] everywhere"]


def test_a_plain_formatter_has_no_site(lines: Lines) -> None:
    lines.handler.setFormatter(logging.Formatter(FORMAT))
    lines.handler.handleError = lambda record: lines.stream.write("no such attribute\n")  # type: ignore[method-assign]
    log.info("outside")
    assert lines.all() == ["no such attribute"]


FORGED = ["a\n[kitchen.example x] b", "a\r[kitchen.example x] b", "a\u2028b", "a\x1b[2Kb", "a\x85b", "a\x0bb", "\0"]
FORGED += ["a\u202eb", "a\u2066b", "a\ud800b"]


@pytest.mark.parametrize("text", FORGED)
def test_text_from_clients_cannot_imitate_a_record(lines: Lines, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "propagate", False)  # pytest cannot write a lone surrogate to its report.
    log.info("they sent %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    written = lines.stream.getvalue()
    assert set(written) - set("\n") == {letter for letter in written if letter.isprintable()}
    assert [line for line in lines.all() if not line.startswith("    ")][1:] == ["[- -] failed"]


@pytest.mark.parametrize("is_sent", [False, True])
def test_a_traceback_cached_by_a_plain_formatter_is_escaped(is_sent: bool) -> None:
    try:
        raise ValueError("a\n[kitchen.example x] b\x1b[2K")
    except ValueError:
        record = log.makeRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    assert "\x1b" in logging.Formatter().format(record)
    if is_sent:  # To another process, which receives only the text.
        record.exc_info = None
    first, *others = SiteFormatter("[%(site)s] %(message)s").format(record).splitlines()
    assert first == "[-] failed"
    assert others[-1].endswith("b\\x1b[2K")
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" in logging.Formatter().format(record)


def test_a_long_message_is_truncated_and_a_traceback_is_not(lines: Lines) -> None:
    log.info("x" * MAX_MESSAGE_CHARACTERS)
    log.info("x" * 1_000_000)
    exact, cut = lines.all()
    assert exact == f"[- -] {'x' * MAX_MESSAGE_CHARACTERS}"
    assert cut == f"[- -] {'x' * MAX_MESSAGE_CHARACTERS}... (1,000,000 characters)"
    try:
        raise ValueError("x" * 20_000 + "end")
    except ValueError:
        log.exception("failed")
    assert lines.all()[-1].endswith("xend")


def test_a_thread_has_the_carried_site(lines: Lines) -> None:
    with ThreadPoolExecutor(1) as pool:
        with using_site(GARDEN):
            pool.submit(log.info, "plain").result()
            pool.submit(carry(log.info), "carried").result()
        pool.submit(log.info, "after").result()
    assert lines.all() == ["[- -] plain", "[garden.example/shop -] carried", "[- -] after"]


def test_a_record_written_by_another_thread_keeps_its_site(lines: Lines) -> None:
    from logging.handlers import QueueHandler, QueueListener

    queue: SimpleQueue[Any] = SimpleQueue()
    handler = QueueHandler(queue)  # type: ignore[arg-type]
    handler.addFilter(SiteFilter())
    logger = logging.getLogger("queued")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    listener = QueueListener(queue, lines.handler)  # type: ignore[arg-type]
    listener.start()
    with using_site(GARDEN):
        logger.info("hello")
    listener.stop()
    logger.removeHandler(handler)
    assert lines.all() == ["[garden.example/shop -] hello"]


SCRIPT = """
import logging, logging.config, sys
logging.config.fileConfig(sys.argv[1], {"__file__": sys.argv[1], "here": "."})
from multisite import Site, using_site
log = logging.getLogger("multisite.x")
log.info("outside")
with using_site(Site(1, "garden.example", "", "g")):
    log.info("inside")
print("pyramid" in sys.modules or "sqlalchemy" in sys.modules)
"""


def test_the_reference_application_logs_sites_without_importing_more() -> None:
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "development.ini")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split("INFO  ")[1] for line in done.stderr.splitlines()] == [
        "[- -] [multisite.x:6] outside",
        "[garden.example -] [multisite.x:8] inside",
    ]
    assert done.stdout == "False\n"


# Requests


class Shop:
    """An application with two sites whose view and engine write logs."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.url = f"sqlite:///{folder / 'shop.db'}"
        given = {
            "sqlalchemy.url": self.url,
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.templates_dir": str(folder / "templates"),
            **{f"multisite.{name}": value for name, value in settings.items()},
        }
        with closing_engine(self.url) as engine:
            if not (folder / "sites").exists():
                make_own_tables(engine)
                for host in ("garden.example", "kitchen.example"):
                    add_site(engine, host, settings=parse_settings(given))
        with Configurator(settings=given) as config:
            config.include("multisite")
            config.include("multisite.logs")
            config.add_route("page", "/")
            config.add_view(self.view, route_name="page")
        self.app = config.make_wsgi_app()
        self.engine = self.app.registry[DIRECTORY].engine
        self.ids: list[str | None] = []

    def view(self, request: Request) -> Response:
        log.info("in the view")
        self.ids.append(current_request_id())
        with ThreadPoolExecutor(1) as pool:
            pool.submit(carry(log.info), "carried").result()
        request.dbsession.execute(sa.text("SELECT 1"))
        request.site_session("kitchen.example").execute(sa.text("SELECT 2"))
        return Response("page")

    def get(self, host: str = "garden.example", **environ: str) -> Any:
        return TestApp(self.app, extra_environ={"HTTP_HOST": host, **environ}).get("/", status="*")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.engine.dispose()


def test_each_request_has_an_id_in_its_records_and_its_response(shop: Shop, lines: Lines) -> None:
    lines.add("multisite.web.tween")
    answers = [shop.get(), shop.get(), shop.get("nobody.example")]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert len(set(ids)) == 3
    assert all(len(each) == 16 for each in ids)
    assert shop.ids == ids[:2]
    found = lines.all()
    assert found[:4] == [f"[garden.example {each}] {what}" for each in ids[:2] for what in ("in the view", "carried")]
    assert found[4].startswith(f"[- {ids[2]}] refused: ")
    assert current_request_id() is None


def test_an_id_from_the_client_is_used_only_if_configured(shop: Shop, tmp_path: Path) -> None:
    assert shop.get(HTTP_X_REQUEST_ID="mine").headers["X-Request-ID"] != "mine"
    trusting = Shop(tmp_path, request_id_header="X-Request-ID")
    assert trusting.get(HTTP_X_REQUEST_ID="mine-1.2/3=").headers["X-Request-ID"] == "mine-1.2/3="
    for bad in ("", "a b", "a\nb", "a]b", "ä", "x" * 129):
        assert len(trusting.get(HTTP_X_REQUEST_ID=bad).headers["X-Request-ID"]) == 16
    trusting.engine.dispose()


def test_a_retried_request_keeps_its_id(shop: Shop) -> None:
    request = Request.blank("/", environ={"HTTP_HOST": "garden.example"})
    ids = {request.copy().get_response(shop.app).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    environ = request.environ
    with shop.app.request_context(environ) as first:
        one = shop.app.invoke_request(first).headers["X-Request-ID"]
    with shop.app.request_context(environ) as second:
        assert shop.app.invoke_request(second).headers["X-Request-ID"] == one


def test_a_statement_is_logged_with_the_site_of_its_session(shop: Shop, lines: Lines) -> None:
    lines.add("sqlalchemy.engine.Engine")
    found = [line for line in (shop.get(), lines.all())[1] if "SELECT 1" in line or "SELECT 2" in line]
    assert [line.split()[0] for line in found] == ["[garden.example", "[kitchen.example"]


def test_a_pinned_session_is_logged_outside_of_requests(shop: Shop, lines: Lines) -> None:
    lines.add("sqlalchemy.engine.Engine")
    with using_site(GARDEN), Session(shop.engine, info={"all_sites": "a test"}) as session:
        session.execute(sa.text("SELECT 3"))
    with using_site(GARDEN), shop.engine.connect() as connection:
        connection.execute(sa.text("SELECT 4"))
    found = [line for line in lines.all() if "SELECT" in line]
    assert [line.split()[0] for line in found] == ["[*", "[garden.example/shop"]


def test_a_row_is_logged_with_the_site_of_its_session(shop: Shop, lines: Lines) -> None:
    lines.add("sqlalchemy.engine.Engine").setLevel(logging.DEBUG)
    with using_site(GARDEN), Session(shop.engine, info={"all_sites": "a test"}) as session:
        session.execute(sa.text("SELECT 5")).all()
    found = [line for line in lines.all() if "Row (5,)" in line]
    assert [line.split()[0] for line in found] == ["[*"]


def test_the_filter_serves_json_formatters(shop: Shop) -> None:
    class Json(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps({"site": record.site, "request": record.request_id})  # type: ignore[attr-defined]

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(SiteFilter())
    handler.setFormatter(Json())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        found = shop.get().headers["X-Request-ID"]
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    assert json.loads(stream.getvalue().splitlines()[0]) == {"site": "garden.example", "request": found}
