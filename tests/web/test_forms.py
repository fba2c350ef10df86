"""Forms and queries: malformed ones are a 400, and none takes quadratic time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from content_sites import GARDEN, ContentSites
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.interfaces import IRequestFactory
from pyramid.request import Request
from pyramid.response import Response
from webob import Request as BareRequest
from webtest import TestApp, Upload

from multisite.core.keys import DIRECTORY
from multisite.testing import plant_site
from multisite.web.forms import MAX_PART_HEADER_BYTES, MAX_PART_PARAMETERS, safe_properties

MULTIPART = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"


def show(request: Request) -> Response:
    """Read the attribute that the last segment of the path names twice, and show it."""
    name = request.matchdict["name"]
    found, again = getattr(request, name), getattr(request, name)
    assert list(found.items()) == list(again.items())
    texts = [f"{key}={getattr(value, 'filename', value)}" for key, value in found.items()]
    files = []
    for value in found.values():
        if hasattr(value, "file"):
            with value.file as file:  # Otherwise the garbage collector closes it.
                files.append(file.read().decode())
    text = " ".join([*texts, *files, f"body of {len(request.body)}"])
    with suppress(AssertionError):  # WebTest's own body refuses to be closed before it is read.
        request.body_file_raw.close()
    return Response(text)


class OwnRequest(Request):  # type: ignore[misc]  # Pyramid has no types.
    """A request class of an application, with its own `GET`."""

    @property
    def GET(self) -> dict[str, str]:  # noqa: N802
        return {"own": "1"}


@pytest.fixture
def configurator(sqlite_database_url: str) -> Iterator[Configurator]:
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        config = Configurator()
        config.include("multisite")
        config.set_multisite_engine(engine)
        config.add_route("show", "/{name}")
        config.add_view(show, route_name="show")
        yield config


def served(config: Configurator) -> TestApp:
    app = config.make_wsgi_app()
    plant_site(app, GARDEN)
    return TestApp(app, extra_environ={"HTTP_HOST": GARDEN})


@pytest.fixture
def app(configurator: Configurator) -> Iterator[TestApp]:
    made = served(configurator)
    yield made
    made.app.registry[DIRECTORY].deactivate()


def send(app: TestApp, path: str, content_type: str, body: bytes) -> Any:
    blank = BareRequest.blank(path, method="POST", body=body)
    blank.environ |= {"HTTP_HOST": GARDEN, "CONTENT_TYPE": content_type}
    return blank.get_response(app.app)


def part(headers: str, content: str = "x") -> bytes:
    return f"--b\r\n{headers}\r\n\r\n{content}\r\n".encode()


END = b"--b--\r\n"
FIELD = 'Content-Disposition: form-data; name="a"'


# Valid forms and queries are read as before.


def test_forms_are_read(app: TestApp) -> None:
    assert app.post("/POST", {"a": "1", "b": "ä"}).text == "a=1 b=ä body of 12"
    # The second field is longer than one read, and its lines look like headers of a part.
    text = "Content-Disposition: form-data; " * 4_000 + "\r\n" * 3_000
    answer = app.post("/POST", {"a": "1", "file": Upload("ä; b.txt", text.encode(), "text/plain"), "c": "3"})
    assert answer.text.startswith("a=1 file=ä; b.txt c=3 ")
    assert text in answer.text
    assert app.post("/params?q=1", {"a": "1", "b": Upload("x.txt", b"y")}).text.startswith("q=1 a=1 b=x.txt y")
    assert app.get("/GET?a=%C3%A4").text == "a=ä body of 0"


def test_many_parts_have_headers_each(app: TestApp) -> None:
    body = part(FIELD) * 2_000 + END
    assert send(app, "/POST", MULTIPART, body).text.count("a=x") == 2_000


def test_headers_of_the_greatest_length_are_read(app: TestApp) -> None:
    fill = "n" * (MAX_PART_HEADER_BYTES - len(part(FIELD)) - len('; filename=""') + 3)
    longest = part(f'{FIELD}; filename="{fill}"')
    assert send(app, "/POST", MULTIPART, longest + END).status_int == 200
    assert send(app, "/POST", MULTIPART, part(f'{FIELD}; filename="{fill}n"') + END).status_int == 400
    semicolons = ";" * (MAX_PART_PARAMETERS - 2)
    assert send(app, "/POST", MULTIPART, part(f'{FIELD}; filename="{semicolons}"') + END).status_int == 200
    assert send(app, "/POST", MULTIPART, part(f'{FIELD}; filename="{semicolons};"') + END).status_int == 400


def test_a_request_of_the_applications_own_keeps_its_query(configurator: Configurator) -> None:
    configurator.set_request_factory(OwnRequest)
    app = served(configurator)
    assert app.get("/GET?a=1").text == "own=1 body of 0"
    assert configurator.registry.getUtility(IRequestFactory) is OwnRequest
    app.app.registry[DIRECTORY].deactivate()


def test_a_request_that_is_not_webobs_is_left_alone() -> None:
    assert safe_properties(object) == {}


# Malformed ones are a 400.


@pytest.mark.parametrize("query", ["%ff", "a=%ff", "%ff=a", "a=%C3", "a=\xff"])
@pytest.mark.parametrize("name", ["GET", "params"])
def test_a_query_that_is_not_utf8_is_a_400(app: TestApp, query: str, name: str) -> None:
    environ = {"HTTP_HOST": GARDEN, "QUERY_STRING": query}
    assert BareRequest.blank(f"/{name}", environ=environ).get_response(app.app).status_int == 400
    # The body has not been read here.
    assert BareRequest.blank("/cookies", environ=environ).get_response(app.app).status_int == 200


def test_a_page_with_a_query_that_is_not_utf8_is_the_sites_own_400(sqlite_sites: ContentSites) -> None:
    answer = sqlite_sites.browser(GARDEN).get("/?page=%ff", status=400)
    assert "Bad request" in answer.text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", part(FIELD) + END),
        ("multipart/form-data; boundary=", part(FIELD) + END),
        ("multipart/form-data; boundary=\xff", part(FIELD) + END),
        (MULTIPART, part(FIELD + "\r\na:" * 10_000) + END),
        (MULTIPART, part(FIELD + "\r\n a" * 10_000) + END),
        (MULTIPART, part(FIELD + ";" * 10_000) + END),
        (MULTIPART, b"preamble\r\n" * 10_000 + part(FIELD) + END),
        (MULTIPART, part(FIELD) * 3 + part(f'{FIELD}; filename="{";" * 10_000}"') + END),
        (MULTIPART, b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5_000),
        (f"{URLENCODED}; charset=latin-1", b"a=%ff"),
        (f"{MULTIPART}; charset=latin-1", part(FIELD) + END),
    ],
)
@pytest.mark.parametrize("name", ["POST", "params"])
def test_a_form_that_cannot_be_read_is_a_400(app: TestApp, name: str, content_type: str, body: bytes) -> None:
    answer = send(app, f"/{name}", content_type, body)
    assert answer.status_int == 400
    assert "The form of this request cannot be read." in answer.text


LINEAR = """
from multisite.web.forms import safe_properties
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
class Careful(Request):
    pass
for name, attribute in safe_properties(Request).items():
    setattr(Careful, name, attribute)
n = 4_000_000
field = b'Content-Disposition: form-data; name="a'
for headers in (field + b";" * n, field + b'";' * (n // 2), b"a:" + b"\\r\\n b" * (n // 4), b"a: b\\r\\n" * (n // 6)):
    for nested in (b"", b"Content-Type: multipart/mixed; boundary=c\\r\\n\\r\\n--c\\r\\n"):
        body = b"--b\\r\\n" + nested + headers + b"\\r\\n\\r\\nx\\r\\n--b--\\r\\n"
        request = Careful.blank("/", method="POST", body=body)
        request.environ["CONTENT_TYPE"] = "multipart/form-data; boundary=b"
        try:
            request.POST
        except HTTPBadRequest:
            print("refused")
"""


def test_the_headers_of_a_part_take_linear_time() -> None:
    # Without a limit some of these take hours.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LINEAR], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "refused\n" * 8
