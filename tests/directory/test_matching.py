"""Sites by port, wildcard and path: which one a request gets, what its URLs are, and what can be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite import DomainTaken, InvalidHost, MultisiteError, UnknownSite, all_sites, using_site
from multisite.core import domains
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings, parse_settings
from multisite.core.site import Site
from multisite.directory import Directory
from multisite.directory.matching import HostMatches, Match
from multisite.directory.models import DomainRow
from multisite.directory.records import get_site, list_sites
from multisite.sites.availability import maintain_site
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, move_domain, remove_domain, set_canonical
from multisite.sites.updates import rename_site
from multisite.web.maintenance import cookie_name

Add = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "templates" / "static").mkdir(parents=True)
    (tmp_path / "templates" / "static" / "style.css").write_text("")
    return {
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path / "templates"),
        "multisite.refresh_seconds": "0",
    }


@pytest.fixture
def parsed(settings: dict[str, Any]) -> Settings:
    return parse_settings(settings)


@pytest.fixture
def add(own_engine: sa.Engine, parsed: Settings) -> Add:
    """Add a site whose name is its domain."""

    def add(domain: str, **details: Any) -> Any:
        return add_site(own_engine, domain, settings=parsed, **details)

    return add


def where_view(request: Request) -> Response:
    return Response(f"{request.site} {request.script_name or '-'} {request.path_info or '-'}")


def url_view(request: Request) -> Response:
    other = request.registry[DIRECTORY].resolve(request.params["other"]) if "other" in request.params else request.site
    return Response(
        "\n".join(
            (
                request.site_url(other, "/a b", {"q": "ä"}),
                request.route_url("page", rest=("x", "y")),
                request.route_url("page", rest=("x", "y"), _app_url=request.site_url(other).rstrip("/")),
                request.static_url("multisite:py.typed"),
            )
        )
    )


def make_app(engine: sa.Engine, settings: dict[str, Any]) -> TestApp:
    config = Configurator(settings=settings)
    config.include("multisite")
    config.set_multisite_engine(engine)
    config.add_static_view("assets", "multisite:")
    config.add_route("url", "/url")
    config.add_view(url_view, route_name="url")
    config.add_route("page", "/*rest")
    config.add_view(where_view, route_name="page")
    return TestApp(config.make_wsgi_app())


@pytest.fixture
def app(own_engine: sa.Engine, settings: dict[str, Any]) -> Iterator[TestApp]:
    app = make_app(own_engine, settings)
    yield app
    app.app.registry[DIRECTORY].deactivate()


def get(app: TestApp, url: str, status: int = 200, method: str = "GET") -> Any:
    """Request an absolute URL, whose port goes into Host unchanged."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    environ = {"wsgi.url_scheme": scheme, "HTTP_HOST": host, "SERVER_PORT": "6543"}
    return app.request(slash + path or "/", method=method, environ=environ, status=status)


# Which site.


def test_a_site_below_a_path_and_another_on_the_host(add: Add, app: TestApp) -> None:
    add("example.com")
    add("example.com/shop")
    add("example.com/shop/garden")
    for path, expected in {
        "/": "example.com - /",
        "/x": "example.com - /x",
        "/shop": "example.com/shop /shop -",
        "/shop/": "example.com/shop /shop /",
        "/shop/a/b": "example.com/shop /shop /a/b",
        "/shopping": "example.com - /shopping",
        "/shop/garden/x": "example.com/shop/garden /shop/garden /x",
        "/shop/%67arden/x": "example.com/shop/garden /shop/garden /x",
        "/shop/gardens": "example.com/shop /shop /gardens",
        "/Shop/a": "example.com - /Shop/a",
    }.items():
        assert get(app, f"http://example.com{path}").text == expected
    assert get(app, "http://example.com/" + "/" * 100_000).text.startswith("example.com - ")


@pytest.fixture
def again(own_engine: sa.Engine, settings: dict[str, Any]) -> Iterator[TestApp]:
    """An application that handles one environ twice: by pyramid_retry, and by subrequests with copies."""
    from pyramid_retry import RetryableException

    def often(request: Request) -> Response:
        if request.environ["retry.attempt"] < 2:
            raise RetryableException
        return where_view(request)

    def copied(request: Request) -> Response:
        other = request.copy()
        other.path_info = "/where"
        other.headers["Host"] = request.params.get("host", request.host)
        return request.invoke_subrequest(other, use_tweens=True)

    config = Configurator(settings={**settings, "multisite.open_paths": "/open"})
    config.include("multisite")
    config.include("pyramid_retry")
    config.set_multisite_engine(own_engine)
    for name, view in {"often": often, "copied": copied, "open": copied, "where": where_view}.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    app = TestApp(config.make_wsgi_app())
    yield app
    app.app.registry[DIRECTORY].deactivate()


def test_a_retried_request_stays_on_its_site(add: Add, again: TestApp) -> None:
    add("example.com")
    add("example.com/shop")
    assert again.get("/often", headers={"Host": "example.com"}).text == "example.com - /often"
    assert again.get("/shop/often", headers={"Host": "example.com"}).text == "example.com/shop /shop /often"


def test_a_copied_request_has_its_own_site(add: Add, again: TestApp, own_engine: sa.Engine) -> None:
    site = add("example.com")
    add("example.com/shop")
    add("other.example")
    assert again.get("/shop/copied", headers={"Host": "example.com"}).text == "example.com/shop /shop /where"
    # Nothing of the first site applies to the second: neither its path nor its closure.
    assert again.get("/open", headers={"Host": "example.com"}).text == "example.com - /where"
    assert again.get("/open?host=other.example", headers={"Host": "example.com"}).text == "other.example - /where"
    _info, bypass_token = maintain_site(own_engine, "example.com")
    headers = {"Host": "example.com", "Cookie": f"{cookie_name(site)}={bypass_token}"}
    answer = again.get("/copied?host=other.example", headers=headers)
    assert answer.text == "other.example - /where"


def test_a_host_with_a_site_only_below_a_path(add: Add, app: TestApp) -> None:
    add("example.com/shop")
    assert get(app, "http://example.com/shop/x").text == "example.com/shop /shop /x"
    assert get(app, "http://example.com/x", 404).text == "There is no site here.\n"


def test_ports_and_wildcards(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("example.com")
    add("wild.example")
    add("port.example:8080")
    add("tls.example:443")
    add_domain(own_engine, "wild.example", "*.example.com")
    add_domain(own_engine, "wild.example", "*.port.example:8080")
    for url, expected in {
        "http://example.com/": "example.com - /",
        "http://a.example.com/": "wild.example - /",
        "http://a.b.example.com:99/": "wild.example - /",
        "http://port.example:8080/": "port.example:8080 - /",
        "http://x.port.example:8080/": "wild.example - /",
        "https://tls.example/": "tls.example:443 - /",
        "https://tls.example:443/": "tls.example:443 - /",
    }.items():
        assert get(app, url).text == expected
    for url in (
        "http://port.example/",
        "http://port.example:80/",
        "http://x.port.example/",
        "http://tls.example/",
        "http://badexample.com/",
        "http://com/",
    ):
        get(app, url, 404)


def test_the_order_in_which_domains_are_added_never_matters(own_engine: sa.Engine, add: Add) -> None:
    texts = ("shop.example.com", "*.example.com", "shop.example.com:8080", "shop.example.com/a", "*.example.com/a/b")
    sites = {text: add(f"site{number}.example") for number, text in enumerate(texts)}
    asked = [("shop.example.com", port, path) for port in (80, 8080) for path in ("/", "/a", "/a/b/c")]
    asked += [("other.example.com", 80, path) for path in ("/", "/a", "/a/b/c")]
    seen = set()
    for order in permutations(texts):
        rows = [
            {"host": name, "port": port or 0, "path": path, "kind": "alias", "site_id": sites[text].id}
            for text, (name, port, path) in zip(order, map(domains.parse, order), strict=True)
        ]
        # In one transaction instead of by add_domain, since there are 120 orders.
        with all_sites("a test"), own_engine.begin() as connection:
            connection.execute(sa.delete(DomainRow).where(DomainRow.kind == "alias"))
            connection.execute(sa.insert(DomainRow), rows)
        directory = Directory(own_engine)
        seen.add(tuple(str(match.site) if (match := directory.find(*each)) else "" for each in asked))
    assert seen == {
        (
            *("site0.example", "site3.example", "site3.example"),
            *("site2.example", "site2.example", "site2.example"),
            *("site1.example", "site1.example", "site4.example"),
        )
    }


def test_a_thousand_sites_below_paths_of_one_host(own_engine: sa.Engine) -> None:
    site = Site(1, "example.com", "x", "x")
    matches = HostMatches([(domains.parse(f"example.com/{n}"), Match(site, "alias", f"/{n}")) for n in range(1000)])
    assert matches.find(80, "/999/x") == Match(site, "alias", "/999")
    assert matches.find(80, "/1000/x") is None
    assert matches.find(80, "/" * 1_000_000) is None


# What URLs are.


@pytest.mark.parametrize(
    ("domain", "asked", "urls"),
    [
        (
            "example.com",
            "http://example.com/url",
            ["http://example.com/a%20b?q=%C3%A4", "http://example.com/x/y", "http://example.com/assets/py.typed"],
        ),
        (
            "example.com",
            "https://example.com/url",
            ["https://example.com/a%20b?q=%C3%A4", "https://example.com/x/y", "https://example.com/assets/py.typed"],
        ),
        (
            "example.com",
            "http://example.com:6543/url",
            [
                "http://example.com:6543/a%20b?q=%C3%A4",
                "http://example.com:6543/x/y",
                "http://example.com:6543/assets/py.typed",
            ],
        ),
        (
            "example.com:8080",
            "http://example.com:8080/url",
            [
                "http://example.com:8080/a%20b?q=%C3%A4",
                "http://example.com:8080/x/y",
                "http://example.com:8080/assets/py.typed",
            ],
        ),
        (
            "example.com/shop",
            "https://example.com/shop/url",
            [
                "https://example.com/shop/a%20b?q=%C3%A4",
                "https://example.com/shop/x/y",
                "https://example.com/shop/assets/py.typed",
            ],
        ),
    ],
)
def test_urls_of_the_site_itself(add: Add, app: TestApp, domain: str, asked: str, urls: list[str]) -> None:
    add(domain)
    own, page, page_too, static = get(app, asked).text.splitlines()
    assert [own, page, static] == urls
    assert page_too == page


def test_urls_on_another_site(add: Add, app: TestApp) -> None:
    for domain in ("one.example", "example.com/shop", "two.example:8080"):
        add(domain)
    for asked, other, site_url, page in (
        ("http://one.example/url", "example.com/shop", "http://example.com/shop/a%20b", "http://example.com/shop/x/y"),
        ("http://one.example:6543/url", "example.com/shop", "http://example.com:6543/shop/a%20b", None),
        ("http://one.example/url", "two.example:8080", "http://two.example:8080/a%20b", None),
        ("https://example.com/shop/url", "one.example", "https://one.example/a%20b", "https://one.example/x/y"),
    ):
        lines = get(app, f"{asked}?other={other}").text.splitlines()
        assert lines[0].startswith(site_url)
        assert page is None or lines[2] == page


@pytest.mark.parametrize("mount", ["/app", "/a b\xc3\xbc", "/app/shop"])
def test_urls_of_an_application_mounted_below_a_prefix(add: Add, app: TestApp, mount: str) -> None:
    """As with paste's urlmap or uwsgi's `mount`: SCRIPT_NAME has the prefix before we shift any path segment."""
    for domain in ("one.example", "example.com/shop"):
        add(domain)
    written = quote(mount.encode("latin-1"))

    def lines(host: str, path: str, other: str) -> list[str]:
        environ = {"HTTP_HOST": host, "SERVER_PORT": "80", "SCRIPT_NAME": mount}
        return list(app.request(f"{path}?other={other}", environ=environ).text.splitlines())

    for host, path, here in (("one.example", "/url", ""), ("example.com", "/shop/url", "/shop")):
        for other, there in (("one.example", ""), ("example.com/shop", "/shop")):
            assert lines(host, path, other) == [
                f"http://{other.partition('/')[0]}{written}{there}/a%20b?q=%C3%A4",
                f"http://{host}{written}{here}/x/y",
                f"http://{other.partition('/')[0]}{written}{there}/x/y",
                f"http://{host}{written}{here}/assets/py.typed",
            ]


def test_a_redirect_of_an_application_mounted_below_a_prefix(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("example.com/shop")
    add_domain(own_engine, "example.com/shop", "old.example", redirect=True)
    environ = {"HTTP_HOST": "old.example", "SCRIPT_NAME": "/app"}
    assert app.request("/x?y", environ=environ, status=301).location == "http://example.com/app/shop/x?y"


def test_a_development_copy_is_served_with_a_suffix(add: Add, own_engine: sa.Engine, settings: dict[str, Any]) -> None:
    add("example.com")
    add("example.com/shop")
    add("tls.example:443")
    add("garden.localhost")
    add_domain(own_engine, "example.com", "www.example.com", redirect=True)
    app = make_app(own_engine, {**settings, "multisite.development_suffix": "localhost"})
    assert get(app, "http://example.com.localhost:6543/x").text == "example.com - /x"
    assert get(app, "http://example.com.localhost:6543/shop/x").text == "example.com/shop /shop /x"
    assert get(app, "http://garden.localhost:6543/").text == "garden.localhost - /"
    answer = get(app, "http://www.example.com.localhost:6543/x?y", 301)
    assert answer.location == "http://example.com.localhost:6543/x?y"
    lines = get(app, "http://example.com.localhost:6543/url?other=example.com/shop").text.splitlines()
    assert lines[:2] == [
        "http://example.com.localhost:6543/shop/a%20b?q=%C3%A4",
        "http://example.com.localhost:6543/x/y",
    ]
    for url in ("http://unknown.example.localhost/", "http://localhost/", "http://example.com.localhost.evil/"):
        get(app, url, 404)
    app.app.registry[DIRECTORY].deactivate()


def test_a_suffix_does_not_carry_over_to_another_host(
    add: Add, own_engine: sa.Engine, settings: dict[str, Any]
) -> None:
    add("example.com")
    add("garden.localhost")
    app = make_app(own_engine, {**settings, "multisite.development_suffix": "localhost"})
    request = Request.blank("/url", environ={"HTTP_HOST": "example.com.localhost"})
    assert request.get_response(app.app).text.splitlines()[0].startswith("http://example.com.localhost/a%20b")
    # A subrequest is created like this, from an environ that the first request has modified.
    request.host = "garden.localhost"
    assert request.get_response(app.app).text.splitlines()[0].startswith("http://garden.localhost/a%20b")
    app.app.registry[DIRECTORY].deactivate()


def test_without_the_setting_no_suffix_is_removed(add: Add, app: TestApp) -> None:
    add("example.com")
    get(app, "http://example.com.localhost/", 404)


# Redirects.


def test_redirects_move_the_path_from_one_domain_to_the_other(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("new.example/shop")
    add("port.example:8080")
    for site, domain in (
        ("new.example/shop", "old.example"),
        ("new.example/shop", "new.example/laden"),
        ("new.example/shop", "*.old.example/a"),
        ("port.example:8080", "port.example"),
    ):
        add_domain(own_engine, site, domain, redirect=True)
    for url, location in {
        "http://old.example/x?y=1": "http://new.example/shop/x?y=1",
        "http://old.example": "http://new.example/shop/",
        "http://old.example:6543/x": "http://new.example:6543/shop/x",
        "https://new.example/laden/x": "https://new.example/shop/x",
        "https://new.example/laden": "https://new.example/shop",
        "http://b.old.example/a/x": "http://new.example/shop/x",
        "http://port.example/x": "http://port.example:8080/x",
        "http://old.example//evil.test/": "http://new.example/shop//evil.test/",
    }.items():
        assert get(app, url, 301).location == location
    assert get(app, "http://old.example/x", 308, method="POST").location == "http://new.example/shop/x"


def test_a_redirect_that_would_lead_to_itself_is_served(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("example.com")
    add_domain(own_engine, "example.com", "example.com:8080", redirect=True)
    add_domain(own_engine, "example.com", "example.com/a", redirect=True)
    # The redirect of the port takes precedence over the canonical domain, and leads to it by the same port.
    assert get(app, "http://example.com:8080/x").text == "example.com - /x"
    assert get(app, "http://example.com/a/x", 301).location == "http://example.com/x"


# Changes.


def kinds(engine: sa.Engine, domain: str) -> dict[str, str]:
    return {each.host: each.kind for each in get_site(engine, domain).domains}


def test_domains_are_shown_and_removed_by_their_full_text(add: Add, own_engine: sa.Engine) -> None:
    add("example.com", aliases=["*.example.com", "example.com:8080", "bücher.example/laden"])
    assert kinds(own_engine, "example.com") == {
        "example.com": "canonical",
        "*.example.com": "alias",
        "example.com:8080": "alias",
        "xn--bcher-kva.example/laden": "alias",
    }
    remove_domain(own_engine, "example.com:8080")
    remove_domain(own_engine, "bücher.example/laden/")
    assert kinds(own_engine, "*.example.com") == {"example.com": "canonical", "*.example.com": "alias"}
    with pytest.raises(UnknownSite):
        get_site(own_engine, "example.com/laden")
    with pytest.raises(DomainTaken, match=r"'\*\.example\.com' is taken: it already leads to the site example\.com"):
        add("other.example", aliases=["*.example.com"])
    with pytest.raises(InvalidHost, match="canonical domain has no wildcard"):
        add("*.other.example")


def test_sites_on_one_host_are_listed_by_domain_with_folders_of_their_own(
    add: Add, own_engine: sa.Engine, parsed: Settings
) -> None:
    texts = ["example.com", "example.com:8080", "example.com/a-b", "example.com/a/b", "example.com/" + "x" * 199]
    for text in texts:
        add(text)
    infos = list(list_sites(own_engine))
    assert {info.site.domain for info in infos} == set(texts)
    folders = {info.site.folder for info in infos}
    assert len(folders) == len(texts)
    assert all((parsed.sites_dir / folder).is_dir() and len(folder) <= 253 for folder in folders)


def test_a_listing_of_many_pages_has_every_site_once(own_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.directory.records.PAGE_SITES", 2)
    with all_sites("a test"), own_engine.begin() as connection:
        for number, (port, path) in enumerate([(0, ""), (0, "/a"), (0, "/b"), (80, ""), (80, "/a"), (81, "")]):
            connection.exec_driver_sql(f"INSERT INTO sites (id, name, folder) VALUES ({number + 1}, 'x', 'f{number}')")
            row = {"site_id": number + 1, "host": "example.com", "port": port, "path": path, "kind": "canonical"}
            connection.execute(sa.insert(DomainRow).values(**row))
    assert sorted(info.site.id for info in list_sites(own_engine)) == [1, 2, 3, 4, 5, 6]


def test_the_canonical_domain_can_be_changed(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    site = add("old.example", aliases=["new.example"])
    assert get(app, "http://old.example/").text == "old.example - /"
    info = set_canonical(own_engine, "NEW.example", redirect=True)
    assert (info.site.id, info.site.domain, info.site.folder) == (site.id, "new.example", site.folder)
    assert kinds(own_engine, "new.example") == {"new.example": "canonical", "old.example": "redirect"}
    assert get(app, "http://old.example/x", 301).location == "http://new.example/x"
    assert set_canonical(own_engine, "new.example").site.domain == "new.example"
    assert set_canonical(own_engine, "old.example").site.domain == "old.example"
    assert kinds(own_engine, "new.example") == {"old.example": "canonical", "new.example": "alias"}
    with pytest.raises(UnknownSite):
        set_canonical(own_engine, "other.example")
    add_domain(own_engine, "old.example", "*.old.example")
    with pytest.raises(InvalidHost, match="canonical domain has no wildcard"):
        set_canonical(own_engine, "*.old.example")


def test_a_domain_moves_from_one_site_to_another(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("one.example", aliases=["moving.example", "*.moving.example"])
    add("two.example")
    assert get(app, "http://moving.example/").text == "one.example - /"
    assert move_domain(own_engine, "moving.example", "two.example").site.domain == "two.example"
    assert get(app, "http://moving.example/").text == "two.example - /"
    assert get(app, "http://a.moving.example/").text == "one.example - /"
    move_domain(own_engine, "*.moving.example", "two.example", redirect=True)
    assert get(app, "http://a.moving.example/", 301).location == "http://two.example/"
    with pytest.raises(MultisiteError, match="canonical domain of its site.*set-canonical"):
        move_domain(own_engine, "one.example", "two.example")
    for args in (("unknown.example", "two.example"), ("moving.example", "unknown.example")):
        with pytest.raises(UnknownSite):
            move_domain(own_engine, *args)


def test_a_site_is_renamed(add: Add, own_engine: sa.Engine) -> None:
    add("one.example", name="One")
    assert rename_site(own_engine, "one.example", "  The One ").site.name == "The One"
    for name in ("", "a\nb", "x" * 201):
        with pytest.raises(MultisiteError, match="is not a valid site name"):
            rename_site(own_engine, "one.example", name)


def test_using_site_takes_a_whole_domain(add: Add, app: TestApp) -> None:
    shop, port = add("example.com/shop"), add("example.com:8080")
    with using_site("example.com/shop") as site:
        assert site == shop
    with using_site("example.com:8080") as site:
        assert site == port
    for unknown in ("example.com", "example.com:99", "example.com/other"):
        with pytest.raises(UnknownSite), using_site(unknown):
            pass
