"""The origin check for CSRF, and which `next=` URLs are local."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databases import make_own_tables
from hypothesis import given
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.request import Request, apply_request_extensions
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from sqlalchemy.orm import Session

from multisite import all_sites, is_local_url
from multisite.core import domains
from multisite.core.keys import DIRECTORY, OPEN_PATH
from multisite.directory import engine_from_url
from multisite.directory.models import DomainRow, SiteRow
from multisite.origins import check_origins, origin_check, parse_origin
from multisite.sessions import per_site

SITES = {
    "garden.example": ["www.garden.example", "*.garden.example", "alias.example:8443", "shared.example/garden"],
    "kitchen.example": ["*.kitchen.example"],
    "shared.example": [],
    "shared.example/shop": [],
    "shared.example:8080": [],
    "fallback.example": [],
    "own.garden.example": [],  # more precise than the wildcard of another site
    "ports.example:80": [],
    "ports.example:443": [],
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("origins")
    (folder / "templates").mkdir()
    found = {
        "sqlalchemy.url": f"sqlite:///{folder / 'origins.db'}",
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.secret": "0123456789abcdef0123456789abcdef",
        "multisite.development_suffix": "localhost",
        "multisite.unknown_host": "fallback.example",
        "multisite.open_paths": "/open",
        "multisite.site.trusted_origins": "https://partner.example, https://other.example:8443",
    }
    engine = engine_from_url(found["sqlalchemy.url"])
    make_own_tables(engine)
    with all_sites("a test"), Session(engine) as session, session.begin():
        for number, (canonical, aliases) in enumerate(SITES.items(), 1):
            session.add(SiteRow(id=number, name=canonical, folder=f"site{number}"))
            session.flush()
            for place in (canonical, *aliases):
                host, port, path = domains.parse(place)
                kind = "canonical" if place == canonical else "alias"
                session.add(DomainRow(site_id=number, host=host, port=port or 0, path=path, kind=kind))
    engine.dispose()
    return found


def application(settings: dict[str, str], **options: Any) -> Any:
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.add_site_setting("trusted_origins", list[str], default=[], doc="Who may post.", check=check_origins)
        config.set_session_factory(per_site(SignedCookieSessionFactory))
        config.set_default_csrf_options(**options)
        config.add_view(
            lambda request: Response("done" if request.method == "POST" else request.session.get_csrf_token())
        )
    return config.make_wsgi_app()


@pytest.fixture(scope="module")
def app(settings: dict[str, str]) -> Iterator[Any]:
    made = application(settings, check_origin=False, callback=origin_check(trusted_setting="trusted_origins"))
    yield made
    made.registry[DIRECTORY].engine.dispose()


def post(app: Any, url: str, **headers: str | None) -> Response:
    """Return the response to a form that is submitted to `url`, with the token and the session of that site."""
    form = Request.blank(url).get_response(app)
    request = Request.blank(url, method="POST")
    cookies = [header.partition(";")[0] for header in form.headers.getall("Set-Cookie")]
    request.headers.update({"Cookie": "; ".join(cookies), "X-CSRF-Token": form.text})
    request.headers.update({name: value for name, value in headers.items() if value is not None})
    return request.get_response(app)


ACCEPTED = [
    ("https://garden.example/", "https://garden.example"),
    ("http://garden.example/", "http://garden.example"),
    ("http://garden.example/", "https://garden.example"),  # behind a proxy that ends TLS and does not say so
    ("http://garden.example:6543/", "http://garden.example:6543"),
    ("http://garden.example/", "http://garden.example:80"),
    ("http://garden.example:80/", "http://garden.example"),
    ("https://garden.example/", "https://www.garden.example"),
    ("https://garden.example/", "https://any.name.garden.example"),
    ("https://garden.example/", "https://GARDEN.example"),
    ("https://www.garden.example/", "https://garden.example"),
    ("https://garden.example/", "https://alias.example:8443"),  # a port that the domain names
    ("https://garden.example/", "https://shared.example"),
    ("https://shared.example/garden/", "https://garden.example"),
    ("https://shared.example/garden/", "https://shared.example"),
    ("http://shared.example:8080/", "http://shared.example:8080"),
    ("http://garden.example.localhost:6543/", "http://garden.example.localhost:6543"),
    ("http://garden.example.localhost:6543/", "http://www.garden.example.localhost:6543"),
    ("https://unknown.example/", "https://unknown.example"),  # the site that answers for all unknown hosts
    ("https://garden.example/", "https://partner.example"),
    ("https://garden.example/", "https://other.example:8443"),
]

REFUSED = [
    ("https://garden.example/", "https://kitchen.example"),
    ("http://garden.example/", "http://kitchen.example"),
    ("https://garden.example/", "https://evil.example"),
    ("http://garden.example/", "http://evil.example"),
    ("https://garden.example/", "http://garden.example"),
    ("https://garden.example/", "https://garden.example:8443"),
    ("http://garden.example:6543/", "http://garden.example:6544"),
    ("http://garden.example:6543/", "http://garden.example"),
    ("https://garden.example/", "https://alias.example"),
    ("https://garden.example/", "https://badgarden.example"),
    ("https://garden.example/", "https://garden.example.evil.example"),
    ("https://kitchen.example/", "https://x.garden.example"),
    ("http://shared.example:8080/", "http://shared.example"),
    ("http://shared.example/", "http://shared.example:8080"),
    ("http://garden.example.localhost:6543/", "http://kitchen.example.localhost:6543"),
    ("http://garden.example.localhost:6543/", "http://garden.example.localhost:6544"),
    ("https://unknown.example/", "https://another-unknown.example"),
    ("https://fallback.example/", "https://unknown.example"),
    ("https://garden.example/", "https://own.garden.example"),
    ("http://garden.example:8080/", "http://shared.example:8080"),
    ("http://ports.example/", "https://ports.example"),
    ("https://garden.example/", "http://partner.example"),
    ("https://garden.example/", "https://partner.example:8443"),
    ("https://garden.example/", "null"),
    ("http://garden.example/", "null"),
    ("https://garden.example/", "chrome-extension://abcdefgh"),
]

MALFORMED = [
    "garden.example",
    "https://",
    "https://garden.example/",
    "https://garden.example https://garden.example",
    "https://garden.example, https://garden.example",
    "https://garden.example\\@evil.example",
    "https://me@garden.example",
    "https://garden..example",
    "https://garden.example:0",
    "https://garden.example:99999",
    "https://garden.example#",
    "https:garden.example",
    "//garden.example",
    "x" * 10_000,
    "\xff",
]


@pytest.mark.parametrize(("url", "origin"), ACCEPTED)
def test_requests_from_the_site_are_accepted(app: Any, url: str, origin: str) -> None:
    assert post(app, url, Origin=origin).text == "done"
    assert post(app, url, Referer=f"{origin}{'/garden' if 'shared.example/garden' in url else ''}/").text == "done"


@pytest.mark.parametrize(("url", "origin"), REFUSED)
def test_requests_from_other_origins_are_rejected(app: Any, url: str, origin: str) -> None:
    answer = post(app, url, Origin=origin)
    assert (answer.status_code, "Origin checking failed" in answer.text) == (400, True)
    if origin != "null":
        assert post(app, url, Referer=f"{origin}/").status_code == 400
    # The Referer does not override it.
    assert post(app, url, Origin=origin, Referer=url).status_code == 400


@pytest.mark.parametrize("origin", MALFORMED)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_malformed_origin_is_400(app: Any, scheme: str, origin: str) -> None:
    answer = post(app, f"{scheme}://garden.example/", Origin=origin)
    assert (answer.status_code, "malformed" in answer.text) == (400, True)


def test_a_site_under_a_path_is_distinguished_from_siblings_by_the_referer(app: Any) -> None:
    origin = "https://shared.example"
    shop = f"{origin}/shop/"
    assert post(app, shop, Origin=origin, Referer=f"{origin}/shop/cart?x=1").text == "done"
    for path in ("/", "/garden/", "/shopping", "/shop/../garden/", "/shop/%2e%2e/garden/"):
        assert post(app, shop, Origin=origin, Referer=f"{origin}{path}").status_code == 400
    assert post(app, f"{origin}/", Origin=origin, Referer=shop).status_code == 400
    # A page that withholds its Referer has the same origin, both for the browser and for the check.
    assert post(app, shop, Origin=origin).text == "done"


def test_a_request_without_origin_and_referer_is_rejected_unless_allowed(app: Any, settings: dict[str, str]) -> None:
    assert post(app, "http://garden.example/").status_code == 400
    options = {"check_origin": False, "callback": origin_check()}
    lenient = application(settings, allow_no_origin=True, **options)
    assert post(lenient, "http://garden.example/").text == "done"
    assert post(lenient, "http://garden.example/", Origin="http://evil.example").status_code == 400
    assert post(lenient, "https://garden.example/", Origin="https://partner.example").status_code == 400
    lenient.registry[DIRECTORY].engine.dispose()


def test_an_own_callback_decides_first_whether_there_is_a_check(settings: dict[str, str]) -> None:
    def has_cookie(request: Request) -> bool:
        return "Authorization" not in request.headers

    app = application(settings, check_origin=False, callback=origin_check(callback=has_cookie))
    url = "http://garden.example/"
    evil = {"Origin": "http://evil.example"}
    assert post(app, url, **evil, Authorization="Bearer x").text == "done"
    assert post(app, url, **evil).status_code == 400
    assert post(app, url, Origin="http://garden.example").text == "done"
    app.registry[DIRECTORY].engine.dispose()


def test_without_the_check_pyramid_lets_other_sites_post_over_http(settings: dict[str, str]) -> None:
    app = application(settings)
    assert post(app, "http://garden.example/", Origin="http://kitchen.example").text == "done"
    assert post(app, "https://garden.example/", Origin="https://www.garden.example").status_code == 400
    app.registry[DIRECTORY].engine.dispose()


def test_a_token_is_still_needed(app: Any) -> None:
    request = Request.blank("http://garden.example/", method="POST", headers={"Origin": "http://garden.example"})
    assert request.get_response(app).status_code == 400


def test_the_trusted_setting_of_a_site_holds_origins() -> None:
    check_origins(["https://partner.example", "http://[::1]:8080"])
    with pytest.raises(ValueError, match="origins such as https://example.com, not 'partner.example'"):
        check_origins(["https://partner.example", "partner.example"])
    assert parse_origin("HTTPS://Partner.example:443") == ("https", "partner.example", None)


Ask = Callable[..., bool]


@pytest.fixture(scope="module")
def local(app: Any) -> Ask:
    """`is_local_url` for a request to a URL."""

    def ask(at: str, url: Any, mount: str = "") -> bool:
        request = Request.blank(at)
        request.environ["SCRIPT_NAME"] = mount
        request.registry = app.registry
        apply_request_extensions(request)
        return is_local_url(request, url)

    return ask


LOCAL = [
    ("http://garden.example/", "/"),
    ("http://garden.example/", "/path?next=https://evil.example/#//evil"),
    ("http://garden.example/", "/ü/%C3%BC"),
    ("http://garden.example/", "/?//evil"),
    ("http://garden.example/", "http://garden.example"),
    ("http://garden.example/", "HTTP://GARDEN.example/x"),
    ("http://garden.example/", "http://garden.example?x=1"),
    ("http://garden.example/", "https://garden.example/"),
    ("https://garden.example/", "https://www.garden.example/x"),
    ("https://garden.example/", "https://alias.example:8443/x"),
    ("https://garden.example/", "https://shared.example/garden/x"),
    ("http://garden.example:6543/", "http://www.garden.example:6543/"),
    ("http://garden.example.localhost:6543/", "http://www.garden.example.localhost:6543/"),
    ("http://shared.example/shop/", "/shop"),
    ("http://shared.example/shop/", "/shop/cart"),
    ("http://shared.example/shop/", "/s%68op/cart"),
    ("http://shared.example/", "/shopping"),
    ("http://unknown.example/", "/x"),
    ("http://unknown.example/", "http://unknown.example/x"),
    ("http://unknown.example/", "http://fallback.example/x"),
]

NOT_LOCAL = [
    *("", "x", "x/y", "?x", "#x", ".", "..", None, b"/", 5, " /", "/ ", "/\t", "\t/", "\n/x", "/\nx", "/\r\nA: b"),
    *("//evil.example", "///evil.example", "////evil.example", "//garden.example"),
    *("/\\evil.example", "\\/evil.example", "\\\\evil.example", "/x\\..\\y"),
    *("/\t/evil.example", "/\x00/evil.example", "/x\x7f", "/\u2028", "/\ud800", "/\u202e", "/\xa0"),
    *(
        "http:evil.example",
        "http:/evil.example",
        "http:///evil.example",
        "http:garden.example",
        "http://",
        "https:///x",
    ),
    *(
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "ftp://garden.example/",
        "ws://garden.example/",
    ),
    *("//garden.example@evil.example", "http://garden.example@evil.example/", "http://me:x@garden.example/"),
    *("http://garden.example\\@evil.example/", "http://evil.example\\.garden.example/", "http://garden.example:x/"),
    *("http://garden.example.evil.example/", "http://badgarden.example/", "http://evil.example/garden.example"),
    *("http://evil.example?http://garden.example", "http://evil.example#garden.example", "http://garden.example:6543/"),
    *("http://kitchen.example/", "http://x.kitchen.example/", "http://garden.example//evil.example", "http://127.1/"),
    *("/../x", "/x/..", "/x/%2e%2E/y", "/./x", "http://unknown.example/", "http://alias.example/"),
    *("http://shared.example/", "http://garden\u3002example/", "http://g\xe4rden.example/", "/" + "x" * 9000),
]
"""URLs that do not belong to the garden, whichever of its domains the page was requested from."""

FOREIGN = [
    *(("http://garden.example/", url) for url in NOT_LOCAL),
    ("https://garden.example/", "http://garden.example/"),
    ("http://shared.example/shop/", "/"),
    ("http://shared.example/shop/", "/garden/"),
    ("http://shared.example/shop/", "/shopping"),
    ("http://shared.example/shop/", "http://shared.example/"),
    ("http://shared.example/shop/", "/shop/../garden/"),
    ("http://shared.example/shop/", "http://shared.example:8080/shop"),
    ("http://shared.example/", "/shop"),
    ("http://shared.example:8080/", "http://shared.example/"),
    ("http://unknown.example/", "http://evil.example/"),
    ("http://fallback.example.localhost/", "http://evil.example/"),
]


@pytest.mark.parametrize(("at", "url"), LOCAL)
def test_urls_of_the_site_are_local(local: Ask, at: str, url: str) -> None:
    assert local(at, url) is True


@pytest.mark.parametrize(("at", "url"), FOREIGN)
def test_foreign_and_ambiguous_urls_are_not_local(local: Ask, at: str, url: Any) -> None:
    assert local(at, url) is False


def test_without_a_site_nothing_is_local(app: Any) -> None:
    for environ in ({OPEN_PATH: True}, {"HTTP_HOST": "garden..example"}):
        request = Request.blank("http://garden.example/", environ=environ)
        request.registry = app.registry
        apply_request_extensions(request)
        assert not is_local_url(request, "/x")
    del request.environ["HTTP_HOST"]
    assert not is_local_url(request, "/x")


def test_outside_of_the_mount_path_nothing_is_local(local: Ask) -> None:
    assert local("http://garden.example/", "/app/x", mount="/app")
    assert local("http://garden.example/", "/app", mount="/app")
    assert not local("http://garden.example/", "/other/x", mount="/app")
    assert not local("http://garden.example/", "/application", mount="/app")


SIGNS = ["/", "//", "\\", "@", ":", "?", "#", ".", "..", "%2e", "\t", " ", "x", "["]
PIECES = [*SIGNS, "http:", "https:", "evil.example", "garden.example"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_any_input_gives_a_boolean_and_true_only_for_own_urls(local: Ask, url: str) -> None:
    found = local("http://garden.example/", url)
    assert found in {True, False}
    if found:
        # As a browser parses it (WHATWG URL): a single slash, or exactly our own host.
        assert url.startswith("/") != url.lower().startswith(("http://garden.example", "https://garden.example"))
        assert url[:2] not in {"//", "/\\"}
        rest = re.sub(r"https?://garden\.example(:80|:443)?", "", url, count=1, flags=re.IGNORECASE)
        assert rest[:1] in {"", "/", "?", "#"}
