"""Unreadable header fields are ignored, in linear time, for every kind of response."""

from __future__ import annotations

import os
import random
import re
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import closing_engine, make_own_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS
from waitress_server import exchange, serving
from webob import Request as BareRequest
from webob.cookies import parse_cookie

from multisite.core.keys import DIRECTORY
from multisite.sites.availability import maintain_site
from multisite.sites.domains import add_domain
from multisite.testing import plant_site
from multisite.web import header_fields
from multisite.web.header_fields import (
    MAX_CONTENT_TYPE_CHARACTERS,
    MAX_COOKIE_CHARACTERS,
    MAX_CREDENTIALS_CHARACTERS,
    clean,
    readable_cookies,
)

CONDITIONAL = (
    "If-Modified-Since", "If-Unmodified-Since", "If-None-Match", "If-Match", "If-Range", "Range",
)  # fmt: skip

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
READABLE_DATES = [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Fri, 31 Dec 2100 23:59:60 GMT"]
UNREADABLE_DATES = [
    "",
    "yesterday",
    "Sun, 06 Nov 99999 08:49:37 GMT",
    "Sun, 06 Nov 10000 08:49:37 GMT",
    f"Sun, 06 Nov {'9' * 5_000} 08:49:37 GMT",
    f"Sun, {'9' * 50} Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 99999999999:49:37 GMT",
    "06 Nov",
    "Sun, 06 Nov 1994",
    "Sun, 06 Nov 1994 08:49:37 +99999999999",
]
READABLE_RANGES = [
    "bytes=0-9",
    "bytes=-5",
    "bytes=5-",
    "BYTES=0-0",
    "bytes=0-1,5-6",
    "bytes= 1-2 , 4-5",
    "bytes=9-0",
    "bytes=999999999-",
]
UNREADABLE_RANGES = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=--1",
    f"bytes={'9' * 5_000}-",
    f"bytes=-{'9' * 5_000}",
    f"bytes=0-{'9' * 5_000}",
    "bytes=x-y",
    "bytes=0-1x",
    "bytes=1 - 2",
    "items=0-1",
    "bytes=" + "0-0," * 400,
    "bytes=" + " " * 400 + "x",
    "bytes=\u0661-\u0662",
]


# The cleaned environ.


@pytest.mark.parametrize("field", ["IF_MODIFIED_SINCE", "IF_UNMODIFIED_SINCE"])
@pytest.mark.parametrize("date", UNREADABLE_DATES)
def test_an_invalid_date_is_removed(field: str, date: str) -> None:
    environ = {f"HTTP_{field}": date}
    assert clean(environ) is None
    assert environ == {}


@pytest.mark.parametrize("date", READABLE_DATES)
def test_valid_dates_of_all_formats_are_kept(date: str) -> None:
    environ = {"HTTP_IF_MODIFIED_SINCE": date, "HTTP_RANGE": "bytes=0-9", "HTTP_IF_RANGE": date}
    assert clean(environ) is None
    assert len(environ) == 3
    assert BareRequest(environ).if_modified_since is not None


@pytest.mark.parametrize("text", UNREADABLE_RANGES)
def test_an_invalid_range_is_removed(text: str) -> None:
    environ = {"HTTP_RANGE": text, "HTTP_IF_RANGE": '"it"'}
    assert clean(environ) is None
    assert environ == {}


@pytest.mark.parametrize("text", READABLE_RANGES)
def test_valid_ranges_are_kept(text: str) -> None:
    environ = {"HTTP_RANGE": text}
    assert clean(environ) is None
    assert environ == {"HTTP_RANGE": text}
    assert BareRequest(environ).range is not None or text == "bytes=9-0"


@pytest.mark.parametrize("text", [*UNREADABLE_DATES, '"it" GMT', "it"])
def test_an_invalid_if_range_removes_the_range(text: str) -> None:
    # The client would combine a part of the changed file with parts of the old one.
    environ = {"HTTP_RANGE": "bytes=0-9", "HTTP_IF_RANGE": text}
    assert clean(environ) is None
    assert environ == {}


@pytest.mark.parametrize("text", ['"it"', 'W/"it"', '""'])
def test_entity_tags_are_conditions(text: str) -> None:
    environ = {"HTTP_RANGE": "bytes=0-9", "HTTP_IF_RANGE": text}
    assert clean(environ) is None
    assert len(environ) == 2


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"HTTP_COOKIE": "a=" + "b" * (MAX_COOKIE_CHARACTERS - 1)}, "Cookie"),
        ({"CONTENT_TYPE": "a/" + "b" * (MAX_CONTENT_TYPE_CHARACTERS - 1)}, "Content-Type"),
        ({"HTTP_AUTHORIZATION": "Digest " + "a" * (MAX_CREDENTIALS_CHARACTERS - 6)}, "Authorization"),
    ],
)
def test_a_field_may_have_its_greatest_length_and_no_more(environ: dict[str, str], name: str) -> None:
    assert clean(environ) == name
    ((key, text),) = environ.items()
    assert clean({key: text[:-1]}) is None


def test_a_token_may_be_of_any_length() -> None:
    # WebOb parses only the parameters of the schemes that it knows.
    environ = {"HTTP_AUTHORIZATION": f"Negotiate {'a' * 50_000}"}
    assert clean(environ) is None


COOKIES = st.text(st.sampled_from('ab=;, \t"\\\\017é:-G'), max_size=40)


@settings(max_examples=400, deadline=None)
@given(COOKIES)
def test_the_cookies_that_are_left_are_those_that_webob_reads(header: str) -> None:
    header = header.encode("utf-8").decode("latin-1")
    kept = readable_cookies(header)
    assert list(parse_cookie(kept)) == list(parse_cookie(header))
    assert readable_cookies(kept) == kept


def test_cookies_of_browsers_are_unchanged() -> None:
    header = 'a=1; b_2="x y"; c=eyJhIjoxfQ==.a-b_c; d=; e=a=b; ' + f"f={'x' * 1_000}"
    assert readable_cookies(header) == header


LINEAR = f"""
from multisite.web.header_fields import clean
from webob import Request
n = 400_000
headers = "a" * n, "=" + "a" * n, "a=b; " + "c" * n, "a=b," + "c" * n, 'a="' + "b" * n, "a" + " " * n, "a=b," * n
for header in headers:
    header = header[:{MAX_COOKIE_CHARACTERS}]
    environ = {{"HTTP_COOKIE": header}}
    assert clean(environ) is None
    request = Request(environ)
    dict(request.cookies)
    request.cookies["new"] = "1"
    assert request.cookies["new"] == "1"
for text in ("bytes=" + " " * n, "bytes=" + "1-2," * n, "bytes=" + "1" * n):
    environ = {{"HTTP_RANGE": text}}
    clean(environ)
    Request(environ).range
for text in ("Sun, " + "(" * n, "1" * n + " GMT", "," * n):
    environ = {{"HTTP_IF_MODIFIED_SINCE": text, "HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": text}}
    clean(environ)
    request = Request(environ)
    request.if_modified_since, request.if_range
print("done")
"""


def test_long_fields_take_linear_time() -> None:
    # This takes milliseconds. WebOb takes half a minute for the first cookie, and hours for some of the others.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LINEAR], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "done\n"


# Every kind of response.


class Answer(NamedTuple):
    """The response of an application, as a server receives it."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(app: Any, path: str, *, host: str = GARDEN, method: str = "GET", **fields: str) -> Answer:
    """Call `app` as a server does: read the whole body, and close it."""
    environ = BareRequest.blank(path, method=method).environ
    environ["HTTP_HOST"] = host
    environ |= {
        name.upper() if name.startswith("Content") else f"HTTP_{name.upper()}": text
        for name, text in ((name.replace("-", "_"), text) for name, text in fields.items())
    }
    began: list[Any] = []
    body = app(environ, lambda status, headers, exc_info=None: began.append((status, headers)))
    try:
        content = b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    ((status, headers),) = began
    found = {name.lower(): value for name, value in headers}
    found.pop("x-request-id", None)
    return Answer(int(status[:3]), found, content)


KINDS: dict[str, tuple[str, str, str]] = {
    "home": (GARDEN, "GET", "/"),
    "home, HEAD": (GARDEN, "HEAD", "/"),
    "home, POST": (GARDEN, "POST", "/"),
    "an entry": (GARDEN, "GET", "/entries/rose"),
    "feed": (GARDEN, "GET", "/feed.xml"),
    "sitemap": (GARDEN, "GET", "/sitemap.xml"),
    "robots": (GARDEN, "GET", "/robots.txt"),
    "a page that is not there": (GARDEN, "GET", "/entries/none"),
    "a small file": (GARDEN, "GET", "/static/base.css"),
    "a small file, HEAD": (GARDEN, "HEAD", "/static/base.css"),
    "a large file": (GARDEN, "GET", "/static/large.bin"),
    "a large file, HEAD": (GARDEN, "HEAD", "/static/large.bin"),
    "a file that is not there": (GARDEN, "GET", "/static/none.css"),
    "a site in maintenance": (STERNWARTE, "GET", "/"),
    "a redirect": ("old.example", "GET", "/"),
    "no site": ("nobody.example", "GET", "/"),
    "no host": ("..", "GET", "/"),
    "a path that is not UTF-8": (GARDEN, "GET", "/%ff"),
}


@pytest.fixture
def content(sqlite_sites: ContentSites) -> ContentSites:
    """Two sites with the pages in `KINDS`, one of them in maintenance; each is limited to two requests at a time."""
    sqlite_sites.add(sqlite_sites.garden, "rose")
    add_domain(sqlite_sites.engine, GARDEN, "old.example", redirect=True)
    maintain_site(sqlite_sites.engine, STERNWARTE)
    static = Path(sqlite_sites.settings["multisite.sites_dir"]) / sqlite_sites.garden.folder / "static"
    static.mkdir(exist_ok=True)
    static.joinpath("large.bin").write_bytes(bytes(range(256)) * 1_200)
    sqlite_sites.settings |= {"multisite.max_requests_per_site": "2", "multisite.page_cache_seconds": "600"}
    return sqlite_sites


def streaming_app() -> Any:
    """An application with streaming bodies that supports every conditional request."""

    def stream(request: Request) -> Response:
        pieces = (b"%04d" % number for number in range(100))
        response = Response(app_iter=pieces, content_length=400, conditional_response=True, etag="it")
        response.headers["Last-Modified"] = DATE
        return response

    config = Configurator(settings={"multisite.max_requests_per_site": "1"})
    config.include("multisite")
    config.add_route("stream", "/stream")
    config.add_view(stream, route_name="stream")
    return config


@pytest.fixture
def streaming(sqlite_database_url: str) -> Iterator[Any]:
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        config = streaming_app()
        config.set_multisite_engine(engine)
        app = config.make_wsgi_app()
        plant_site(app, GARDEN)
        yield app
        app.registry[DIRECTORY].deactivate()


FRAGMENTS = [
    "bytes", "=", "-", ",", " ", "0", "7", "99999", "9" * 40, "9" * 5_000, '"it"', 'W/', '"', "*", "\\", "GMT", " GMT",
    "Sun, ", "06 ", "Nov ", "1994 ", "99999 ", "0000 ", "08:49:37", "99:99:99", "+9999", "(", ")", "\xe4", "\x01", ":",
    DATE,
]  # fmt: skip


def random_fields(chance: random.Random, tag: str) -> dict[str, str]:
    """Return one to three conditional fields with random contents, some of them valid."""
    whole = [*READABLE_DATES, *UNREADABLE_DATES, *READABLE_RANGES, *UNREADABLE_RANGES, '"it"', "*", *[tag] * 5]
    return {
        name: chance.choice(whole)
        if chance.random() < 0.5
        else "".join(chance.choices(FRAGMENTS, k=chance.randint(0, 8)))
        for name in chance.sample(CONDITIONAL, chance.randint(1, 3))
    }


def check(plain: Answer, found: Answer, method: str, told: object) -> None:
    """Fail unless `found` equals `plain`, is a 304, or is a part of `plain`."""
    if found.status in {304, 416}:
        assert plain.status == 200, told
        assert method == "HEAD" or found.status == 416 or found.body == b"", told
        return
    if found.status == 206:
        numbers = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found.headers["content-range"])
        assert numbers is not None, told
        first, last, size = map(int, numbers.groups())
        assert plain.headers["content-length"] == str(size), told
        assert method == "HEAD" or found.body == plain.body[first : last + 1], told
        return
    assert (found.status, found.body) == (plain.status, plain.body), told


def fuzz(app: Any, kinds: dict[str, tuple[str, str, str]], count: int, seed: int) -> set[int]:
    """Request the pages of `kinds` `count` times, with random fields; return the kinds of status received."""
    chance = random.Random(seed)
    plain = {name: ask(app, path, host=host, method=method) for name, (host, method, path) in kinds.items()}
    statuses = set()
    for _ in range(count):
        name = chance.choice(sorted(kinds))
        host, method, path = kinds[name]
        fields = random_fields(chance, plain[name].headers.get("etag", DATE))
        found = ask(app, path, host=host, method=method, **fields)
        check(plain[name], found, method, (name, fields, found))
        statuses.add(found.status)
    return statuses


STREAM = {"a stream": (GARDEN, "GET", "/stream"), "a stream, HEAD": (GARDEN, "HEAD", "/stream")}
SOAK = os.environ.get("MULTISITE_SOAK") == "1"

EACH = 50_000 if SOAK else 1_000
"""Number of requests to each of the two applications; a fiftieth of it in the ordinary run."""


def test_no_conditional_field_makes_an_answer_fail(content: ContentSites) -> None:
    assert fuzz(content.app, KINDS, EACH, 11) == {200, 206, 301, 304, 400, 404, 405, 416, 503}


def test_no_conditional_field_keeps_the_slot_of_a_stream(streaming: Any) -> None:
    assert fuzz(streaming, STREAM, EACH, 12) == {200, 206, 304, 416}


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_fields_are_ignored_for_every_kind_of_response(content: ContentSites, kind: str) -> None:
    host, method, path = KINDS[kind]
    plain = ask(content.app, path, host=host, method=method)
    unreadable = {"Range": UNREADABLE_RANGES, "If-Modified-Since": UNREADABLE_DATES, "X-Vhm-Root": ["\xff", "/\xc3/"]}
    for name, texts in unreadable.items():
        for text in texts:
            assert ask(content.app, path, host=host, method=method, **{name: text}) == plain, text
    for text in UNREADABLE_DATES:
        assert ask(content.app, path, host=host, method=method, **{"If-Range": text, "Range": "bytes=0-1"}) == plain


def test_without_the_edge_an_unreadable_field_is_an_error(streaming: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_fields, "clean", lambda environ: None)
    for fields in ({"Range": "bytes=-"}, {"If-Modified-Since": UNREADABLE_DATES[2]}):
        with pytest.raises(ValueError):
            ask(streaming, "/stream", **fields)
        # The slot is released nevertheless.
        assert ask(streaming, "/stream").status == 200


# Over a socket.


@pytest.fixture
def address(content: ContentSites) -> Iterator[tuple[str, int]]:
    with serving(content.app) as address:
        yield address


def send(address: tuple[str, int], field: str, path: str = "/", host: str = GARDEN) -> bytes:
    return exchange(address, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{field}\r\n\r\n".encode())


def test_a_server_sends_the_whole_file_for_invalid_ranges(address: tuple[str, int]) -> None:
    for field in ("Range: bytes=-", f"Range: bytes={'9' * 5_000}-", f"If-Modified-Since: {UNREADABLE_DATES[2]}") * 2:
        assert send(address, field, "/static/large.bin").startswith(b"HTTP/1.1 200 OK\r\n"), field
        assert send(address, field, "/static/base.css").startswith(b"HTTP/1.1 200 OK\r\n"), field


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (f"Cookie: {'a' * 100_000}", "Cookie"),
        (f'Content-Type: multipart/form-data; boundary="{";" * 10_000}"', "Content-Type"),
        (f"Authorization: Digest {'a' * 10_000}", "Authorization"),
    ],
)
@pytest.mark.parametrize("host", [GARDEN, STERNWARTE, "nobody.example", "old.example"])
def test_a_field_that_is_too_long_is_a_431(address: tuple[str, int], field: str, name: str, host: str) -> None:
    answer = send(address, field, host=host)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"Cache-Control: no-store" in answer
    assert name.encode() in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("host", [GARDEN, STERNWARTE, "nobody.example"])
def test_a_long_cookie_without_an_equals_sign_takes_linear_time(address: tuple[str, int], host: str) -> None:
    # WebOb takes half a minute for this one.
    answer = send(address, f"Cookie: {'a' * MAX_COOKIE_CHARACTERS}", host=host)
    assert answer[9:12] in {b"200", b"404", b"503"}


def test_cookies_are_cleaned_before_the_tweens_of_the_application(sqlite_database_url: str) -> None:
    seen = []

    def tween_factory(handler: Callable[[Request], Response], _registry: object) -> Callable[[Request], Response]:
        def tween(request: Request) -> Response:
            seen.append(request.environ["HTTP_COOKIE"])
            return handler(request)

        return tween

    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        config = Configurator()
        config.include("multisite")
        config.set_multisite_engine(engine)
        globals()["seeing_tween_factory"] = tween_factory
        config.add_tween(f"{__name__}.seeing_tween_factory", under=INGRESS)
        app = config.make_wsgi_app()
        letters = string.ascii_letters * 20
        ask(app, "/", Cookie=f"a=1; {letters}; b=2")
        app.registry[DIRECTORY].deactivate()
    assert seen == ["a=1; b=2"]
