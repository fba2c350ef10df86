"""The editor: invitations, log-ins, forgotten passwords, and what keeps them on their own site."""

from __future__ import annotations

import gettext
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_string, policy
from typing import Any

import pytest
import sqlalchemy as sa
from babel.messages.pofile import read_po
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import PASSWORD, add_user, browser_of, csrf_token, editor_sites, invite, log_in, rows_of
from editor_texts import editor_texts
from paths import ROOT
from pyramid.interfaces import IRoutesMapper
from sqlalchemy.orm import Session

import multisite.content.editor.login_pages
from multisite.content.models import MissingAddress
from multisite.content.not_found import COUNTER
from multisite.content.tables import LogIn, LoginAttempts, User
from multisite.people import reset_password
from multisite.sites.rotate_secret import rotate_secret

pytestmark = pytest.mark.slow

MINE, THEIRS = f"http://{GARDEN}", f"http://{STERNWARTE}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("editor")) as sites,
    ):
        sites.settings |= {
            "multisite.mail": "smtp://127.0.0.1:9",
            "multisite.page_cache_seconds": "600",
            "multisite.refresh_seconds": "0",
        }
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    """Empty the tables of people."""
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        for model in (LogIn, LoginAttempts, User):
            session.execute(sa.delete(model))
    return world


def count(sites: ContentSites, model: Any) -> int:
    with Session(sites.engine, info={"all_sites": "tests"}) as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


# Invitations.


def test_an_invitation_is_taken_once_on_its_own_site(sites: ContentSites) -> None:
    token = invite(sites, sites.garden, "olga", "owner")
    browser = browser_of(sites, GARDEN)
    browser_of(sites, STERNWARTE).get(f"/login/{token}", status=404)
    # A missing address is counted for the owners to see, but this one is a secret of the other site.
    with Session(sites.engine, info={"all_sites": "tests"}) as session:
        counted = list(session.scalars(sa.select(MissingAddress.path)))
    assert token not in f"{counted} {vars(sites.app.registry[COUNTER])}"
    browser_of(sites, STERNWARTE).post(f"/login/{token}", {"password": PASSWORD, "repeated": PASSWORD}, status=404)
    page = browser.get(f"/login/{token}")
    assert "Your login at Garden is olga." in page.text
    composed = "e\u0301" * 8  # 16 characters that are 8 once they are composed.
    expanding = "\ufdfa" * 100  # A ligature of 18 letters.
    for password, repeated, reason in (
        (expanding, expanding, "15 to 1000"),
        ("short", "short", "15 to 1000"),
        (composed, composed, "15 to 1000"),
        (PASSWORD, PASSWORD + "!", "not the same"),
    ):
        refused = browser.post(f"/login/{token}", {"password": password, "repeated": repeated}, status=400)
        assert reason in refused.html.select_one(".error").text
    form = page.forms[0]
    form["password"] = form["repeated"] = PASSWORD
    assert form.submit(status=303).location == f"{MINE}/edit/"
    assert ">olga</a>" in browser.get("/edit/").text
    another = browser_of(sites, GARDEN)
    another.get(f"/login/{token}", status=404)
    another.post(f"/login/{token}", {"password": PASSWORD, "repeated": PASSWORD}, status=404)
    another.get("/edit/", status=403)
    log_in(sites, GARDEN, "OLGA")


# Log-ins.


def test_who_logs_in_on_one_site_is_nobody_on_another(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga")
    browser = log_in(sites, GARDEN, "olga")
    (name,) = [cookie.name for cookie in browser.cookiejar]
    value = browser.cookies[name]
    thief = browser_of(sites, STERNWARTE)
    for cookie in (name, f"login_{sites.sternwarte.id}"):
        thief.set_cookie(cookie, value)
    thief.get("/edit/", status=403)
    refused = thief.post("/login", {"login": "olga", "password": PASSWORD}, status=403)
    assert refused.html.select_one(".error").text == "Benutzername oder Passwort ist falsch."


def test_the_cookie_is_only_sent_to_the_server_of_the_site(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga")
    fields = {"login": "olga", "password": PASSWORD}
    plain = browser_of(sites, GARDEN).post("/login", fields).headers["Set-Cookie"]
    assert re.fullmatch(
        rf"login_{sites.garden.id}=[\w-]{{43}}; Max-Age=7776000; Path=/; expires=[^;]+; HttpOnly; SameSite=Lax", plain
    )
    environ = {"wsgi.url_scheme": "https", "HTTP_ORIGIN": f"https://{GARDEN}"}
    secure = browser_of(sites, GARDEN).post("/login", fields, extra_environ=environ).headers["Set-Cookie"]
    assert secure.startswith(f"__Host-login_{sites.garden.id}=")
    assert "; secure" in secure
    # What was sent in clear text does not log in over https, whatever its name.
    token = plain.partition("=")[2].partition(";")[0]
    thief = browser_of(sites, GARDEN)
    thief.set_cookie(f"__Host-login_{sites.garden.id}", token)
    thief.get("/edit/", extra_environ=environ, status=403)


def test_the_database_holds_no_token(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga")
    browser = log_in(sites, GARDEN, "olga")
    (token,) = browser.cookies.values()
    assert token not in str(rows_of(sites, sites.garden))


def test_logging_out_ends_the_log_in_and_no_other(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga")
    browser, another = (log_in(sites, GARDEN, "olga") for _ in range(2))
    cookies = dict(browser.cookies)
    page = browser.get("/logout")
    gone = page.forms[0].submit(status=303)
    assert (gone.location, browser.cookies) == (f"{MINE}/login", {})
    for name, value in cookies.items():
        browser.set_cookie(name, value)
    browser.get("/edit/", status=403)
    another.get("/edit/")


def test_a_user_sees_and_ends_own_log_ins_alone(sites: ContentSites) -> None:
    for site, login in ((sites.garden, "olga"), (sites.garden, "emil"), (sites.sternwarte, "olga")):
        add_user(sites, site, login)
    browser, another = (log_in(sites, GARDEN, "olga") for _ in range(2))
    strangers = [log_in(sites, GARDEN, "emil"), log_in(sites, STERNWARTE, "olga")]
    token = csrf_token(browser)
    with Session(sites.engine, info={"all_sites": "tests"}) as session:
        ids = list(session.scalars(sa.select(LogIn.id).order_by(LogIn.id)))
    assert len(browser.get("/edit/account").html.select(".rows li")) == 2
    for number in ids[2:]:
        browser.post(f"/edit/log-ins/{number}", {"csrf_token": token}, status=404)
    browser.get(f"/edit/log-ins/{ids[1]}", status=404)
    browser.post(f"/edit/log-ins/{ids[1]}", {"csrf_token": token}, status=303)
    another.get("/edit/", status=403)
    for each in (browser, *strangers):
        each.get("/edit/")


def test_log_ins_are_named_by_browser_and_system(sites: ContentSites) -> None:
    add_user(sites, sites.sternwarte, "olga")
    browser = browser_of(sites, STERNWARTE)
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    for agent in (firefox, "<b>curl/8</b>", ""):
        browser.post("/login", {"login": "olga", "password": PASSWORD}, headers={"User-Agent": agent})
    rows = browser.get("/edit/account").html.select(".rows li")
    found = {(row.span.span["title"], row.span.span.text) for row in rows}
    assert found == {
        (firefox, "Firefox unter Linux"), ("<b>curl/8</b>", "<b>curl/8</b>"), ("", "Unbekannter Browser"),
    }  # fmt: skip


def test_a_new_password_ends_all_other_log_ins(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga")
    browser, another = (log_in(sites, GARDEN, "olga") for _ in range(2))
    new = PASSWORD + " 2"

    def change(**fields: str) -> Any:
        form = browser.get("/edit/account").forms[0]
        for name, value in {"current": PASSWORD, "password": new, "repeated": new, **fields}.items():
            form[name] = value
        return form.submit(expect_errors=True)

    assert "current password is wrong" in change(current="wrong").text
    assert "not the same" in change(repeated="something else entirely").text
    assert "15 to 1000" in change(password="short", repeated="short").text
    another.get("/edit/")
    assert "The password is changed." in change().follow().text
    another.get("/edit/", status=403)
    browser_of(sites, GARDEN).post("/login", {"login": "olga", "password": PASSWORD}, status=403)
    log_in(sites, GARDEN, "olga", new)


def test_log_ins_end_by_reset_removal_secret_and_time(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    for login in ("olga", "emil", "otto"):
        add_user(sites, sites.garden, login)
    browsers = {login: log_in(sites, GARDEN, login) for login in ("olga", "emil", "otto")}
    now = time.time()
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        reset_password(session, User, sites.garden, "emil")
    browsers["emil"].get("/edit/", status=403)
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        found = User.find(session, "otto")
        assert found is not None
        exported = found.export(session)
        assert [each["seen"] for each in exported["log_ins"]] == [exported["log_ins"][0]["created"]]
        found.erase(session)
    browsers["otto"].get("/edit/", status=403)
    assert count(sites, LogIn) == 2
    for days, status in ((13, 200), (26, 200), (41, 403)):  # It ends after 14 days without a request.
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86_400)
        browsers["olga"].get("/edit/", status=status)
    monkeypatch.undo()
    browsers["olga"].get("/edit/")
    sites.garden = rotate_secret(sites.engine, GARDEN).site
    browsers["olga"].get("/edit/", status=403)


# Attempts.


def test_attempts_are_counted_in_the_database_and_for_unknown_logins_too(sites: ContentSites) -> None:
    for site in (sites.garden, sites.sternwarte):
        add_user(sites, site, "olga")
    browser = browser_of(sites, GARDEN)
    pages: dict[str, list[tuple[int, str]]] = {"olga": [], "nobody": []}
    for login, seen in pages.items():
        for number in range(11):
            fields = {"login": login.upper() if number % 2 else login, "password": "wrong"}
            page = browser.post("/login", fields, expect_errors=True)
            seen.append((page.status_code, page.html.select_one(".error").text))
    assert pages["olga"] == pages["nobody"]
    assert pages["olga"] == [(403, "The login or the password is wrong.")] * 10 + [
        (429, "Too many attempts: try again in 15 min.")
    ]
    right = {"login": "olga", "password": PASSWORD}
    refused = browser.post("/login", right, status=429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 900
    log_in(sites, STERNWARTE, "olga")
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        session.execute(sa.update(LoginAttempts).values(until=int(time.time())))
    log_in(sites, GARDEN, "olga")
    # The others, which no longer count, are gone.
    assert count(sites, LoginAttempts) == 0


def test_concurrent_attempts_are_all_counted(sites: ContentSites) -> None:
    sites.app  # noqa: B018  Made once, before the threads.

    def attempt(_number: int) -> int:
        fields = {"login": "olga", "password": "wrong"}
        return int(browser_of(sites, GARDEN).post("/login", fields, expect_errors=True).status_code)

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(attempt, range(24)))
    assert sorted(statuses) == [403] * 10 + [429] * 14


def test_attempts_leave_the_page_cache_alone(sites: ContentSites) -> None:
    reader = sites.browser(GARDEN)
    sites.add(sites.garden, f"cached-{sites.engine.dialect.name}")
    reader.get("/")
    sites.queries()
    reader.get("/")
    assert sites.queries() == []
    browser_of(sites, GARDEN).post("/login", {"login": "olga", "password": "wrong"}, status=403)
    sites.queries()
    reader.get("/")
    assert sites.queries() == []


# Forgotten passwords.


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect messages in place of sending them: tests/web/test_people.py sends some."""
    found: list[str] = []
    monkeypatch.setattr(multisite.content.editor.login_pages, "send", lambda _settings, text: found.append(str(text)))
    return found


def wait_for_mail() -> None:
    for thread in threading.enumerate():
        if thread.name == "multisite-mail":
            thread.join(30)


def test_a_forgotten_password_is_replaced_by_a_link(sites: ContentSites, sent: list[str]) -> None:
    add_user(sites, sites.garden, "olga", email="olga@example.com")
    add_user(sites, sites.garden, "emil")
    browser = browser_of(sites, GARDEN)
    texts = set()
    for login in ("olga", "OLGA@example.com", "olga@example.com", "emil", "nobody", "\0", ""):
        page = browser.post("/login/forgotten", {"login": login})
        texts.add(page.html.select_one("main").text)
    wait_for_mail()
    assert len(texts) == 1  # Nobody learns who exists.
    assert len(sent) == 2
    message = message_from_string(sent[-1], policy=policy.default)
    assert message["To"] == "olga@example.com"
    (link,) = re.findall(rf"{MINE}(/login/\S{{43}})", message.get_content())
    form = browser.get(link).forms[0]
    form["password"] = form["repeated"] = PASSWORD + " 2"
    form.submit(status=303)
    log_in(sites, GARDEN, "olga", PASSWORD + " 2")


def test_links_are_limited(sites: ContentSites, sent: list[str]) -> None:
    add_user(sites, sites.garden, "olga", email="olga@example.com")
    browser = browser_of(sites, GARDEN)
    for login in ("olga", "nobody"):
        statuses = [browser.post("/login/forgotten", {"login": login}, expect_errors=True).status_int for _ in range(5)]
        assert statuses == [200] * 3 + [429] * 2
    for number in range(9):
        browser.post("/login/forgotten", {"login": f"x{number}"})
    browser.post("/login/forgotten", {"login": "another"}, status=200)
    browser.post("/login/forgotten", {"login": "last"}, status=429)
    wait_for_mail()
    assert len(sent) == 3


# Requests that other pages make.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": THEIRS}, 400),
        ({"Origin": "https://evil.example"}, 400),
        ({"Origin": "null"}, 400),
        ({"Origin": ""}, 400),
        ({"Origin": MINE}, 303),
    ],
)
def test_forms_of_other_pages_are_refused(sites: ContentSites, headers: dict[str, str], status: int) -> None:
    token = invite(sites, sites.garden, "new")
    add_user(sites, sites.garden, "olga")
    browser = log_in(sites, GARDEN, "olga")
    fields = {"csrf_token": csrf_token(browser), "password": PASSWORD, "repeated": PASSWORD, "current": PASSWORD}
    before = rows_of(sites, sites.garden)
    for path in ("/logout", f"/login/{token}", "/login"):
        browser.post(path, {"login": "olga", **fields}, headers=headers, status=status)
        if status != 303:
            assert rows_of(sites, sites.garden) == before


def test_a_form_needs_the_token_of_its_log_in(sites: ContentSites) -> None:
    for login in ("olga", "emil"):
        add_user(sites, sites.garden, login)
    browser, another = log_in(sites, GARDEN, "olga"), log_in(sites, GARDEN, "emil")
    for wrong in ("", "x", "ü", csrf_token(another)):
        browser.post("/logout", {"csrf_token": wrong}, status=400)
    browser.post("/logout", {}, status=400)
    browser.get("/edit/")


def test_a_form_without_end_is_not_read(sites: ContentSites) -> None:
    browser = browser_of(sites, GARDEN)
    browser.post("/login", b"login=x", headers={"Content-Length": "20000001"}, status=413)
    request = browser.RequestClass.blank("/login", method="POST", environ=browser.extra_environ)
    request.environ.pop("CONTENT_LENGTH", None)
    request.environ["wsgi.input_terminated"] = True
    assert browser.do_request(request, status=411).status_code == 411


def test_a_form_with_a_million_fields_is_not_parsed(sites: ContentSites) -> None:
    browser = browser_of(sites, GARDEN)
    browser.post("/login", "&".join(["a=1"] * 1000), status=403)
    browser.post("/login", "&".join(["a=1"] * 1001), status=413)


def test_a_form_is_sent_as_browsers_send_the_forms_of_the_editor(sites: ContentSites) -> None:
    browser = browser_of(sites, GARDEN)
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    for content_type in ("multipart/form-data; boundary=x", "application/json", "text/plain"):
        browser.post("/login", part * 2 + b"--x--\r\n", content_type=content_type, status=415)
    browser.post("/login", "login=x", content_type="application/x-www-form-urlencoded;charset=UTF-8", status=403)


def test_after_the_log_in_one_is_only_led_to_the_editor(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga")
    wanted = {
        "/edit/account": "/edit/account",
        "//evil.example/edit/": "/edit/",
        "https://evil.example/edit/": "/edit/",
        "/edit/../../x": "/edit/",
        "/edit/\r\nX: y": "/edit/",
        "/": "/edit/",
        "javascript:alert(1)": "/edit/",
    }
    for after, path in wanted.items():
        fields = {"login": "olga", "password": PASSWORD, "next": after}
        assert browser_of(sites, GARDEN).post("/login", fields, status=303).location == MINE + path
    refused = browser_of(sites, GARDEN).get("/edit/account", status=403)
    assert refused.forms[0]["next"].value == "/edit/account"


# Languages, headers, and addresses.


def test_the_editor_is_there_in_german() -> None:
    catalog = ROOT / "multisite" / "content" / "locale" / "de" / "LC_MESSAGES" / "editor"
    with catalog.with_suffix(".po").open("rb") as po, catalog.with_suffix(".mo").open("rb") as mo:
        german, compiled = read_po(po), gettext.GNUTranslations(mo)
    assert {message.id for message in german if message.id} == editor_texts()
    for message in german:
        if message.id:
            assert sorted(re.findall("{.*?}", message.string)) == sorted(re.findall("{.*?}", message.id))
            assert compiled.gettext(message.id) == message.string != ""


def test_every_page_has_the_headers_of_the_editor(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "olga", "owner")
    token = invite(sites, sites.garden, "new")
    browser = log_in(sites, GARDEN, "olga")
    for path in ("/edit/", "/edit/account", "/logout", "/login/forgotten", f"/login/{token}"):
        page = browser.get(path)
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert (page.headers["Cache-Control"], page.headers["X-Frame-Options"]) == ("no-store", "DENY")
        assert not page.html.select("script:not([src]), style, [style], [onclick]")
    assert browser.put("/login", status=405).headers["Allow"] == "GET, HEAD, POST"


def test_no_address_of_the_editor_is_open(sites: ContentSites) -> None:
    """Who is not logged in, or on another site, gets 403 or 404 at each address, and changes nothing."""
    for site in (sites.garden, sites.sternwarte):
        add_user(sites, site, "olga", "owner")
    log_in(sites, GARDEN, "olga")
    cookies = dict(log_in(sites, STERNWARTE, "olga").cookies)
    anonymous, stranger = browser_of(sites, GARDEN), browser_of(sites, GARDEN)
    for name, value in cookies.items():
        stranger.set_cookie(name, value)
        stranger.set_cookie(name.replace(str(sites.sternwarte.id), str(sites.garden.id)), value)
    before = [rows_of(sites, site) for site in (sites.garden, sites.sternwarte)]
    routes = sites.app.registry.getUtility(IRoutesMapper).get_routes()
    patterns = [route.pattern for route in routes if route.name.startswith("editor_")]
    checked = 0
    for pattern in patterns:
        if pattern.startswith("/login"):
            continue
        path = re.sub(r"{[^}]+}+", "1", pattern)
        for browser in (anonymous, stranger):
            for method in ("get", "post"):
                assert getattr(browser, method)(path, expect_errors=True).status_code in (403, 404), (method, path)
                checked += 1
    assert checked >= 4 * 4
    assert [rows_of(sites, site) for site in (sites.garden, sites.sternwarte)] == before


def test_a_reader_costs_no_query_and_no_cookie(sites: ContentSites) -> None:
    browser = sites.browser(GARDEN)
    browser.get("/archive")
    sites.statements.clear()
    page = browser.get("/archive?x")
    assert not [statement for statement in sites.statements if "log_ins" in statement or "users" in statement]
    assert "Set-Cookie" not in page.headers
    # Also not at the editor, without a cookie.
    browser.get("/edit/", status=403)
    assert not [statement for statement in sites.statements if "log_ins" in statement or "users" in statement]
