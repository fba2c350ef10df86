"""Where the console is: on a host of its own, which is no site, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from console_world import CONSOLE, console_browser, console_sites
from content_sites import GARDEN, ContentSites
from webtest import TestApp

from multisite.console.application import is_allowed
from multisite.content import main
from multisite.core.keys import DIRECTORY
from multisite.core.setting_parsers import parse_networks
from multisite.errors import SettingError
from multisite.sites.domains import add_domain, remove_domain


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("console")
    with console_sites(f"sqlite:///{folder / 'test.db'}", folder) as found:
        found.settings |= {"multisite.tls_ask_path": "/tls-ask", "multisite.open_paths": "/robots.txt"}
        yield found


def test_the_console_answers_on_its_host_and_no_site_has_a_page_of_it(sites: ContentSites) -> None:
    page = console_browser(sites).get("/login")
    assert "<h1>Log in</h1>" in page.text
    routes = {
        "/login/" + "x" * 43,
        "/operators",
        "/health",
        "/removed",
        "/add",
        "/account",
        "/sites/1",
        "/static/console.css",
    }
    for host in (GARDEN, "sternwarte.example", "alias.example"):
        for path in routes:
            assert "console" not in sites.browser(host).get(path, status="*").text.lower()
            assert sites.browser(host).get(path, status="*").status_code == 404
    assert console_browser(sites).get("/static/console.css").content_type == "text/css"


def test_the_console_has_no_page_of_a_site(sites: ContentSites) -> None:
    sites.add(sites.garden, "roses")
    for path in ("/entries/roses", "/feed.xml", "/edit/", "/robots.txt", "/search", "/static/site.css", "/tls-ask"):
        page = console_browser(sites).get(path, status=404)
        assert "There is no such page" in page.text
        assert "Garden" not in page.text


@pytest.mark.parametrize("spelling", [CONSOLE, CONSOLE.upper(), f"{CONSOLE}:8080", f"{CONSOLE}."])
def test_every_spelling_of_the_host_leads_to_the_console(sites: ContentSites, spelling: str) -> None:
    page = console_browser(sites, HTTP_HOST=spelling).get("/login")
    assert "<h1>Log in</h1>" in page.text


def test_a_domain_of_a_site_does_not_take_the_host_over(sites: ContentSites) -> None:
    without = main({}, **{key: text for key, text in sites.settings.items() if key != "multisite.console_host"})
    for domain in (CONSOLE, "*.example"):
        add_domain(sites.engine, GARDEN, domain)
        assert "<h1>Log in</h1>" in console_browser(sites).get("/login").text
        assert console_browser(sites).get("/feed.xml", status=404)
        # What the check is for: without the setting, the site would answer.
        assert TestApp(without, extra_environ={"HTTP_HOST": CONSOLE}).get("/feed.xml").status_code == 200
        remove_domain(sites.engine, domain)
    without.registry[DIRECTORY].engine.dispose()


def test_a_process_without_the_console_has_no_site_for_its_host(sites: ContentSites) -> None:
    from pyramid.config import Configurator
    from pyramid.response import Response

    add_domain(sites.engine, GARDEN, "*.example")
    config = Configurator(settings=sites.settings)
    config.include("multisite")
    config.add_route("home", "/")
    config.add_view(lambda request: Response(request.site.name), route_name="home")
    app = config.make_wsgi_app()
    assert TestApp(app, extra_environ={"HTTP_HOST": "other.example"}).get("/").text == "Garden"
    TestApp(app, extra_environ={"HTTP_HOST": CONSOLE}).get("/", status=404)
    app.registry[DIRECTORY].engine.dispose()
    remove_domain(sites.engine, "*.example")


def test_a_proxy_may_obtain_a_certificate_for_the_console(sites: ContentSites) -> None:
    proxy = TestApp(sites.app, extra_environ={"HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1"})
    proxy.get("/tls-ask", {"domain": CONSOLE}, status=200)
    proxy.get("/tls-ask", {"domain": f"x.{CONSOLE}"}, status=404)


def test_other_networks_are_refused_before_anything_is_read(sites: ContentSites) -> None:
    console_browser(sites).get("/login")
    sites.statements.clear()
    for environ in (
        {"REMOTE_ADDR": "203.0.113.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": "::ffff:127.0.0.1", "HTTP_FORWARDED": "for=127.0.0.1"},
    ):
        browser = console_browser(sites, **environ)
        for path in ("/login", "/", "/static/console.css", "/nothing"):
            assert browser.get(path, status=403).text == "Forbidden\n"
        browser.post("/login", {"login": "olga"}, status=403)
    assert not sites.statements


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.1.2.3", False), ("2001:db8::1", True), ("nonsense", False)],
)
def test_networks(address: str, allowed: bool) -> None:
    assert is_allowed({"REMOTE_ADDR": address}, parse_networks("10.0.0.0/8 2001:db8::/32")) is allowed


def test_the_include_needs_a_host(sites: ContentSites) -> None:
    from pyramid.config import Configurator
    from pyramid.exceptions import ConfigurationError

    config = Configurator(settings={key: text for key, text in sites.settings.items() if "console" not in key})
    config.include("multisite")
    with pytest.raises(ConfigurationError, match="set multisite.console_host"):
        config.include("multisite.console")
    config.registry[DIRECTORY].engine.dispose()


@pytest.mark.parametrize("value", ["", "a b", "console.example:443", "https://console.example"])
def test_a_host_that_is_not_valid_stops_the_start(sites: ContentSites, value: str) -> None:
    from multisite.core.settings import parse_settings

    with pytest.raises(SettingError, match="without a port"):
        parse_settings({**sites.settings, "multisite.console_host": value})


def test_headers(sites: ContentSites) -> None:
    for path, status in (("/login", 200), ("/", 403), ("/nothing", 404)):
        headers = console_browser(sites).get(path, status=status).headers
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
