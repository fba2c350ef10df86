"""Every page of the console, as its routes list them: a new one is checked without being named here."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console_world import (
    CONSOLE,
    add_operator_with_password,
    console_browser,
    console_sites,
    form_token,
    log_in_to_console,
    next_code,
)
from content_sites import GARDEN, ContentSites
from editor_sites import PASSWORD, browser_of
from pyramid.interfaces import IRoutesMapper
from webtest import TestApp, Upload

from multisite.console.operators import ROLES, add_operator
from multisite.console.pages import PAGES, ConsolePage
from multisite.sites.jobs import add_job
from multisite.users import Account
from multisite.web.console_host import CONSOLE as CONSOLE_KEY

WITHOUT_A_LOG_IN = {"login", "link", "passkey_challenge", "passkey_log_in"}
"""The pages for people without a log-in. Another one is to be added here with a reason."""

OWN_HEADERS = {"X-Request-ID", "Content-Length"}
"""Headers in which two responses differ: the second one by the login that is shown again."""

ELEMENTS = {"token": "x" * 43, "name": "1-1.zip"}
"""By name: the elements of paths that are no ids."""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("console")
    with console_sites(f"sqlite:///{folder / 'test.db'}", folder) as found:
        found.add(found.garden, "roses")
        yield found


@pytest.fixture(scope="module")
def browsers(sites: ContentSites) -> dict[str, TestApp]:
    return {role: log_in_to_console(sites, f"{role}-operator", role) for role in ROLES}


@pytest.fixture(scope="module")
def tokens(browsers: dict[str, TestApp]) -> dict[str, str]:
    return {role: form_token(browser) for role, browser in browsers.items()}


def routes_of(registry: Any) -> list[Any]:
    return [route for route in registry.getUtility(IRoutesMapper).get_routes() if "*subpath" not in route.pattern]


def all_pages(sites: ContentSites) -> dict[str, tuple[str, ConsolePage]]:
    """Return the path and the page of each route, by its name."""
    registry = sites.app.registry[CONSOLE_KEY].registry
    add_job(sites.engine, "export-site", site=GARDEN, arguments={"host": GARDEN})
    # All ids are 1: that of a site, of a job, and of a log-in.
    assert sites.garden.id == 1
    found = {}
    for route in routes_of(registry):
        names = [each.partition(":")[0] for each in route.pattern.split("{")[1:]]
        names = [each.partition("}")[0] for each in names]
        values = {name: ELEMENTS.get(name, "1") for name in names}
        found[route.name] = (route.generate(values), registry[PAGES][route.name])
    return found


def state(sites: ContentSites) -> dict[str, Any]:
    """Return all rows of all tables, and all files, but what each request may change."""
    url = sites.engine.url.database
    assert url is not None
    unstable = {
        "multisite_operator_attempts", "multisite_operator_challenges", "multisite_operator_log_ins",
        "multisite_version",
    }  # fmt: skip
    with sqlite3.connect(url) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, Any] = {
            table: sorted(connection.execute(f'SELECT * FROM "{table}"').fetchall(), key=repr)
            for table in tables
            if table not in unstable
        }
    connection.close()
    for path in Path(url).parent.rglob("*"):
        if path.is_file() and not path.name.startswith("test.db") and path.suffix != ".pyc":
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_every_route_is_a_page_with_a_role(sites: ContentSites) -> None:
    """`add_page` checks log-in, role, origin and token: nothing else adds a view."""
    registry = sites.app.registry[CONSOLE_KEY].registry
    assert {route.name for route in routes_of(registry)} == set(registry[PAGES])
    assert {name for name, page in registry[PAGES].items() if page.role is None} == WITHOUT_A_LOG_IN
    assert all(page.change_role in ROLES for name, page in registry[PAGES].items() if name not in WITHOUT_A_LOG_IN)
    static = [route for route in registry.getUtility(IRoutesMapper).get_routes() if "*subpath" in route.pattern]
    assert [route.pattern for route in static] == ["static/*subpath"]
    views = [each["introspectable"] for each in registry.introspector.get_category("views")]
    assert {view["route_name"] for view in views if view["route_name"]} - {static[0].name} == set(registry[PAGES])


def test_every_page_refuses_who_may_not_have_it(
    sites: ContentSites, browsers: dict[str, TestApp], tokens: dict[str, str]
) -> None:
    pages = all_pages(sites)
    before, refused = state(sites), 0

    def refuse(browser: TestApp, method: str, path: str, status: int, fields: Any = None, **environ: str) -> None:
        nonlocal refused
        refused += 1
        send = browser.get if method == "GET" else browser.post
        response = send(path, fields or {}, extra_environ=environ, status="*")
        assert response.status_int == status, (method, path, fields, response.status)

    for name, (path, page) in pages.items():
        if name in WITHOUT_A_LOG_IN:
            continue
        assert page.role is not None
        assert page.change_role is not None
        nobody, allowed = console_browser(sites), browsers[page.change_role]
        for_forms = {"csrf_token": tokens["everything"]}
        refuse(nobody, "GET", path, 403)
        refuse(nobody, "POST", path, 403, for_forms)
        for role in ROLES[: ROLES.index(page.role)]:
            refuse(browsers[role], "GET", path, 403)
        for role in ROLES[: ROLES.index(page.change_role)]:
            refuse(browsers[role], "POST", path, 403, {"csrf_token": tokens[role]})
        own, other = tokens[page.change_role], next(tokens[role] for role in ROLES if role != page.change_role)
        refuse(allowed, "POST", path, 400)
        refuse(allowed, "POST", path, 400, {"csrf_token": other})
        refuse(allowed, "POST", path, 400, {"csrf_token": own}, HTTP_ORIGIN=f"http://{GARDEN}")
        refuse(allowed, "POST", path, 400, {"csrf_token": own}, HTTP_ORIGIN="null")
        # The token does not count as a query parameter, which a link could contain.
        refuse(allowed, "POST", f"{path}?csrf_token={own}", 400)
        file = {"archive": Upload("a.zip", b"x")}
        refuse(allowed, "POST", path, 400 if page.takes_archive else 415, {"csrf_token": other, **file})
        refuse(nobody, "POST", path, 403 if page.takes_archive else 415, {**for_forms, **file})
        for send in (allowed.put, allowed.delete, allowed.patch):
            refused += 1
            send(path, status=405)
    assert refused >= 60
    assert state(sites) == before
    # What the checks are for: a form that is allowed makes its change.
    fields = {"csrf_token": tokens["run"], "action": "open"}
    browsers["run"].post(pages["state"][0], fields, status=303)
    assert state(sites) != before


def test_no_page_of_the_console_is_on_a_site(sites: ContentSites, browsers: dict[str, TestApp]) -> None:
    """Nor for somebody who sends the cookie of an operator there, which a browser does not."""
    (cookie,) = browsers["everything"].cookies.items()
    visitor = browser_of(sites, GARDEN)
    own = {route.pattern for route in routes_of(sites.app.registry)}
    visitor.set_cookie(*cookie)
    for name, (path, _page) in all_pages(sites).items():
        for method in (visitor.get, visitor.post):
            text = method(path, status="*").text
            assert "operator" not in text, name
            assert "– Console" not in text, name
        # Some paths are those of pages of the site, such as its home page and the log-in of its editor.
        if path not in own and path != "/":
            assert visitor.get(path, status="*").status_int == 404, path


def test_no_page_of_a_site_is_on_the_console(sites: ContentSites, browsers: dict[str, TestApp]) -> None:
    browser = browsers["everything"]
    console = {route.pattern for route in routes_of(sites.app.registry[CONSOLE_KEY].registry)}
    seen = 0
    for route in routes_of(sites.app.registry):
        names = [each.partition(":")[0].partition("}")[0] for each in route.pattern.replace("*", "{").split("{")[1:]]
        path = route.generate(dict.fromkeys(names, "roses"))
        response = browser.get(path, status="*")
        assert "Garden" not in response.text or route.pattern in console, path
        assert response.status_int == 404 or path in console, path
        seen += 1
    assert seen > 20


def test_a_cookie_of_a_site_is_neither_read_nor_set_on_the_console(sites: ContentSites) -> None:
    browser = console_browser(sites)
    browser.set_cookie("multisite_editor", "x" * 43)
    response = browser.get("/", status=403)
    assert "Set-Cookie" not in response.headers
    log_in = log_in_to_console(sites, "everything-operator").get("/")
    assert log_in.headers.getall("Set-Cookie") == []


def test_the_log_in_does_not_tell_which_operators_there_are(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by its response, nor by its work: a password is compared for unknown logins too."""
    add_operator_with_password(sites, "olga")
    add_operator(sites.engine, "invited", "look")
    real, calls = Account.password_hasher, []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(real, name)

    monkeypatch.setattr(Account, "password_hasher", Counting())
    seen, work = set(), set()
    for login, password, code in (
        ("olga", "wrong", "000000"), ("olga", PASSWORD, "000000"), ("olga", "wrong", next_code(sites, "olga")),
        ("nobody", "wrong", "000000"), ("nobody", PASSWORD, "000000"), ("invited", PASSWORD, "000000"),
        ("look-operator", "wrong", "000000"),
    ):  # fmt: skip
        calls.clear()
        browser = console_browser(sites)
        response = browser.post("/login", {"login": login, "password": password, "code": code}, status=403)
        text = response.text.replace(f'value="{login}"', "")
        headers = {name: each for name, each in response.headers.items() if name not in OWN_HEADERS}
        seen.add((text, str(headers)))
        work.add(calls.count("verify"))
    assert len(seen) == 1
    assert work == {1}


def test_a_link_that_is_not_valid_does_not_tell_why(sites: ContentSites) -> None:
    token = add_operator(sites.engine, "linked", "look")
    console_browser(sites).get(f"/login/{token}", status=200)
    texts = {console_browser(sites).get(f"/login/{each}", status="*").text for each in (token[:-1] + "x", "y" * 43)}
    assert len(texts) == 1
    assert CONSOLE not in texts.pop()
