"""Operators: invitations, log-ins with a second factor, and what they may do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa
from console_world import (
    CONSOLE,
    add_operator_with_password,
    console_browser,
    console_sites,
    empty_console_tables,
    form_token,
    log_in_to_console,
    next_code,
)
from content_sites import GARDEN, ContentSites
from databases import fresh_database
from editor_sites import PASSWORD, browser_of

from multisite.console import log_ins, operators
from multisite.directory.console_tables import log_ins_table, operators_table
from multisite.directory.models import AS_MULTISITE, metadata
from multisite.errors import MultisiteError
from multisite.scoping.errors import UnscopedStatement
from multisite.sites.operator_log import list_log


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        console_sites(url, tmp_path_factory.mktemp("console")) as sites,
    ):
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    empty_console_tables(world)
    return world


def rows(sites: ContentSites, table: sa.Table) -> list[Any]:
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        return sorted(map(tuple, connection.execute(sa.select(table))), key=repr)


def everything(sites: ContentSites) -> dict[str, list[Any]]:
    """Return all rows of multisite's own tables, but those that each request may change."""
    unstable = {"multisite_operator_attempts", "multisite_operator_log_ins", "multisite_version"}
    return {name: rows(sites, table) for name, table in metadata.tables.items() if name not in unstable}


# Invitations.


def test_an_invitation_is_good_once_and_sets_up_the_second_factor(sites: ContentSites) -> None:
    token = operators.add_operator(sites.engine, "olga", "run")
    browser = console_browser(sites)
    page = browser.get(f"/login/{token}")
    assert "Your login is olga." in page.text
    secret = page.html.select_one("details pre").text.replace(" ", "")
    assert page.html.select_one(".qr svg")
    code = pyotp.TOTP(secret).at(time.time())
    fields = {"password": PASSWORD, "repeated": PASSWORD, "code": code}
    for wrong, reason in (
        ({"password": "short", "repeated": "short"}, "15 to 1000"),
        ({"repeated": PASSWORD + "!"}, "not the same"),
        ({"code": "000000" if code != "000000" else "111111"}, "The code is wrong"),
        ({"code": ""}, "The code is wrong"),
    ):
        assert reason in browser.post(f"/login/{token}", {**fields, **wrong}, status=400).text
    assert browser.post(f"/login/{token}", fields, status=303).location.endswith("/")
    assert ">olga</a>" in browser.get("/").text
    for method in (console_browser(sites).get, console_browser(sites).post):
        method(f"/login/{token}", status=404)


def test_a_link_is_good_for_three_days(sites: ContentSites) -> None:
    token = operators.add_operator(sites.engine, "olga")
    late = sa.update(operators_table).values(link_expires=int(time.time()))
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(late)
    console_browser(sites).get(f"/login/{token}", status=404)


def test_logins_are_unique_regardless_of_case(sites: ContentSites) -> None:
    operators.add_operator(sites.engine, "olga")
    with pytest.raises(MultisiteError, match="already an operator 'OLGA'"):
        operators.add_operator(sites.engine, "OLGA")
    with pytest.raises(MultisiteError, match="one of look, run, everything"):
        operators.add_operator(sites.engine, "otto", "owner")
    with pytest.raises(MultisiteError, match="no operator 'otto'"):
        operators.reset_operator(sites.engine, "otto")


# Log-ins.


def test_who_logs_in_needs_login_password_and_code(sites: ContentSites) -> None:
    add_operator_with_password(sites, "olga")
    operators.add_operator(sites.engine, "invited")
    right = {"login": "olga", "password": PASSWORD, "code": next_code(sites, "olga")}
    texts = set()
    for wrong in (
        {"login": "nobody"},
        {"login": "invited"},
        {"login": "invited", "password": ""},
        {"login": "x\0y"},
        {"password": "wrong"},
        {"password": PASSWORD + "x" * 2000},
        {"code": ""},
        {"code": "12345a"},
        {"code": "\uff11" * 6},
    ):
        page = console_browser(sites).post("/login", {**right, **wrong}, status=403)
        texts.add(page.html.select_one(".error").text)
        assert "Set-Cookie" not in page.headers
    assert texts == {"The login, the password or the code is wrong. A code is good once."}
    console_browser(sites).post("/login", right, status=303)


def test_a_code_is_good_once(sites: ContentSites) -> None:
    add_operator_with_password(sites, "olga")
    fields = {"login": "olga", "password": PASSWORD, "code": next_code(sites, "olga")}
    console_browser(sites).post("/login", fields, status=303)
    console_browser(sites).post("/login", fields, status=403)


def test_attempts_are_limited_for_unknown_logins_too(sites: ContentSites) -> None:
    add_operator_with_password(sites, "olga")
    for login in ("olga", "nobody"):
        statuses = [
            console_browser(sites).post("/login", {"login": login, "password": "x", "code": "1"}, status="*").status_int
            for _attempt in range(12)
        ]
        assert statuses == [403] * 10 + [429] * 2
    right = {"login": "olga", "password": PASSWORD, "code": next_code(sites, "olga")}
    page = console_browser(sites).post("/login", right, status=429)
    assert "try again in 15 min" in page.text


def test_attempts_of_one_address_are_limited(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_ins, "ADDRESS_LIMIT", 3)
    statuses = [
        console_browser(sites).post("/login", {"login": f"login-{number}"}, status="*").status_int
        for number in range(4)
    ]
    assert statuses == [403, 403, 403, 429]
    console_browser(sites, REMOTE_ADDR="127.0.0.2").post("/login", {"login": "login-9"}, status=403)


def test_the_cookie_is_for_the_host_of_the_console_alone(sites: ContentSites) -> None:
    add_operator_with_password(sites, "olga")
    fields = {"login": "olga", "password": PASSWORD, "code": next_code(sites, "olga")}
    plain = console_browser(sites).post("/login", fields).headers["Set-Cookie"]
    assert re.fullmatch(
        r"multisite_console=[\w-]{43}; Max-Age=43200; Path=/; expires=[^;]+; HttpOnly; SameSite=Lax", plain
    )
    environ = {"wsgi.url_scheme": "https", "HTTP_ORIGIN": f"https://{CONSOLE}"}
    fields["code"] = next_code(sites, "olga")
    secure = console_browser(sites).post("/login", fields, extra_environ=environ).headers["Set-Cookie"]
    assert secure.startswith("__Host-multisite_console=")
    assert "; secure" in secure
    assert "Domain" not in plain + secure
    # What was sent in clear text does not log in over https, and the cookie means nothing on a site.
    token = plain.partition("=")[2].partition(";")[0]
    thief = console_browser(sites)
    thief.set_cookie("__Host-multisite_console", token)
    thief.get("/", extra_environ=environ, status=403)
    visitor = browser_of(sites, GARDEN)
    visitor.set_cookie("multisite_console", token)
    visitor.get("/edit/", status=403)
    assert token not in str([rows(sites, table) for table in metadata.tables.values()])


def test_log_ins_end(sites: ContentSites) -> None:
    now = int(time.time())
    browser = log_in_to_console(sites, "olga", "look")
    browser.get("/", status=200)
    for values in (
        {"seen": now - log_ins.IDLE_SECONDS, "created": now},
        {"seen": now, "created": now - log_ins.MAX_SECONDS},
    ):
        with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            connection.execute(sa.update(log_ins_table).values(**values))
        browser.get("/", status=403)
    browser = log_in_to_console(sites, "olga")
    another = log_in_to_console(sites, "olga")
    browser.post("/logout", {"csrf_token": form_token(browser)}, status=303)
    browser.get("/", status=403)
    another.get("/", status=200)
    operators.reset_operator(sites.engine, "olga")
    another.get("/", status=403)
    add_operator_with_password(sites, "otto")
    browser = log_in_to_console(sites, "otto")
    operators.remove_operator(sites.engine, "otto")
    browser.get("/", status=403)


def test_a_new_password_ends_the_other_log_ins(sites: ContentSites) -> None:
    browser, another = log_in_to_console(sites, "olga", "look"), log_in_to_console(sites, "olga")
    new = "another horse battery staple"
    fields = {"csrf_token": form_token(browser), "password": new, "repeated": new}
    assert "15 to 1000" in browser.post("/account", {**fields, "password": "short"}, status=400).text
    assert "The password is changed" in browser.post("/account", fields, status=303).follow().text
    another.get("/", status=403)
    code = next_code(sites, "olga")
    console_browser(sites).post("/login", {"login": "olga", "password": PASSWORD, "code": code}, status=403)
    console_browser(sites).post("/login", {"login": "olga", "password": new, "code": code}, status=303)


def test_an_operator_ends_only_own_log_ins(sites: ContentSites) -> None:
    olga, _otto = log_in_to_console(sites, "olga", "look"), log_in_to_console(sites, "otto", "look")
    found = rows(sites, log_ins_table)
    own = {row[1]: row[0] for row in found}
    (otto_id,) = [row[0] for row in rows(sites, operators_table) if row[1] == "otto"]
    olga.post(f"/account/log-ins/{own[otto_id]}", {"csrf_token": form_token(olga)}, status=404)
    assert rows(sites, log_ins_table) == found


# What operators may do.


def test_dangerous_pages_ask_for_the_password_again(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "olga", "everything")
    page = f"/sites/{sites.garden.id}/remove"
    browser.get(page, status=200)
    token = form_token(browser)
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.update(log_ins_table).values(confirmed=int(time.time()) - log_ins.CONFIRMED_SECONDS))
    before = everything(sites)
    users = f"/sites/{sites.garden.id}/users"
    browser.get(users, status=200)
    fields = {"csrf_token": token, "action": "add-user", "login": "mary", "role": "owner"}
    assert "/confirm?" in browser.post(users, fields, status=303).location
    asked = browser.post(page, {"csrf_token": token, "domain": GARDEN}, status=303)
    assert everything(sites) == before
    form = asked.follow().forms[0]
    form["password"], form["code"] = "wrong", next_code(sites, "olga")
    form = form.submit(status=403).forms[0]
    form["password"], form["code"] = PASSWORD, next_code(sites, "olga")
    assert form.submit(status=303).location == f"http://{CONSOLE}{page}"
    browser.get(page, status=200)


CHANGES = {
    "/add": ("run", {"host": "new.example", "locale": "en", "timezone": "UTC"}),
    "/sites/{id}/domains": ("run", {"action": "add", "host": "new.example"}),
    "/sites/{id}/settings": ("run", {"name": "Changed", "locale": "de", "timezone": "UTC"}),
    "/sites/{id}/state": ("run", {"action": "disable"}),
    "/sites/{id}/remove": ("everything", {"domain": GARDEN}),
    "/sites/{id}/copy": ("run", {"action": "copy", "host": "new.example"}),
    "/removed": ("everything", {"domain": "gone.example"}),
    "/sites/{id}/users": ("everything", {"action": "add-user", "login": "mary", "role": "owner"}),
    "/sites/{id}/sign-in": ("everything", {"login": "mary"}),
    "/operators": ("everything", {"action": "add", "login": "eve", "role": "everything"}),
    "/jobs": ("run", {"job": "1"}),
    "/health": ("run", {}),
    "/sites/{id}/theme": ("run", {"action": "preview", "theme": ""}),
    "/account": ("look", {"password": "another horse battery", "repeated": "another horse battery"}),
}


def test_requests_without_a_log_in_the_role_or_the_token_change_nothing(sites: ContentSites) -> None:
    browsers = {role: log_in_to_console(sites, role, role) for role in operators.ROLES}
    tokens = {role: form_token(browser) for role, browser in browsers.items()}
    before, refused = everything(sites), 0
    for pattern, (role, fields) in CHANGES.items():
        path = pattern.format(id=sites.garden.id)
        lower = operators.ROLES[: operators.ROLES.index(role)]
        higher = browsers[role]
        attempts = [
            (console_browser(sites), fields, {}, 403),
            (console_browser(sites), {**fields, "csrf_token": tokens["everything"]}, {}, 403),
            (higher, fields, {}, 400),
            (higher, {**fields, "csrf_token": "x" * 64}, {}, 400),
            (higher, {**fields, "csrf_token": tokens["look" if role != "look" else "run"]}, {}, 400),
            (higher, {**fields, "csrf_token": tokens[role]}, {"HTTP_ORIGIN": f"http://{GARDEN}"}, 400),
            (higher, {**fields, "csrf_token": tokens[role]}, {"HTTP_ORIGIN": "null"}, 400),
            *((browsers[each], {**fields, "csrf_token": tokens[each]}, {}, 403) for each in lower),
        ]
        for browser, sent, environ, status in attempts:
            browser.post(path, sent, extra_environ=environ, status=status)
            refused += 1
        higher.get(path, {**fields, "csrf_token": tokens[role]}, status="*")
    assert refused >= 60
    assert everything(sites) == before
    # What the checks are for: with them, the first change is made.
    browsers["run"].post("/add", {**CHANGES["/add"][1], "csrf_token": tokens["run"]}, status=303)
    assert everything(sites) != before


def test_pages_that_a_role_may_not_see_are_refused_and_not_in_the_menu(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "luca", "look")
    for path in ("/operators", f"/sites/{sites.garden.id}/remove", f"/sites/{sites.garden.id}/state", "/add"):
        browser.get(path, status=403)
    text = browser.get(f"/sites/{sites.garden.id}").text
    assert "/operators" not in text
    assert "/remove" not in text.replace("/removed", "")


# The tables, and the log.


@pytest.mark.parametrize("table", ["multisite_operators", "multisite_operator_log_ins", "multisite_sign_ins"])
def test_no_site_can_read_the_tables(sites: ContentSites, table: str) -> None:
    from sqlalchemy.orm import Session

    with Session(sites.engine, info={"site": sites.garden}) as session:
        for statement in (sa.text(f"SELECT * FROM {table}"), sa.select(metadata.tables[table])):
            with pytest.raises(UnscopedStatement):
                session.execute(statement)


def test_what_operators_do_is_logged_without_secrets(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "olga", "everything")
    page = browser.post("/operators", {
        "csrf_token": form_token(browser), "action": "add", "login": "otto", "role": "look"
    })  # fmt: skip
    link = page.html.select_one(".link-once pre").text
    found = list(list_log(sites.engine, limit=3))
    assert [(each.who, each.what) for each in found] == [
        ("olga (console)", "add-operator"),
        ("olga (console)", "log-in"),
        ("olga (console)", "log-in"),
    ]
    assert found[0].after == {"operator": "otto", "role": "look"}
    assert found[0].address == "127.0.0.1"
    assert link.rpartition("/")[2] not in str(found)
    console_browser(sites).get(link, status=200)


def test_an_operator_cannot_change_themselves(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "olga", "everything")
    before = rows(sites, operators_table)
    for action in ("remove", "reset", "role"):
        fields = {"csrf_token": form_token(browser), "action": action, "login": "olga", "role": "look", "sure": "1"}
        assert "only another operator" in browser.post("/operators", fields, status=400).text
    assert rows(sites, operators_table) == before
