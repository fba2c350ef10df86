"""The editor: the people of a site, for its owners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import PASSWORD, add_user, browser_of, csrf_token, editor_sites, log_in, rows_of
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content.tables import LogIn, LoginAttempts, User

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("editor")) as sites,
    ):
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    """Leave one owner of each site."""
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        for model in (LogIn, LoginAttempts, User):
            session.execute(sa.delete(model))
    for site in (world.garden, world.sternwarte):
        add_user(world, site, "olga", "owner")
    return world


def send(browser: TestApp, action: str, status: int = 200, **fields: str) -> Any:
    return browser.post("/edit/people", {"csrf_token": csrf_token(browser), "action": action, **fields}, status=status)


def test_an_owner_invites_somebody_who_takes_the_link(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "olga")
    form = owner.get("/edit/people").forms[1]
    form["login"], form["role"] = "anna", "author"
    page = form.submit("action", value="invite")
    link = page.html.select_one("pre").text
    assert link.startswith(f"http://{GARDEN}/login/")
    assert "has not chosen a password" in page.text
    anna = browser_of(sites, GARDEN).get(link.removeprefix(f"http://{GARDEN}"))
    anna.forms[0]["password"] = anna.forms[0]["repeated"] = PASSWORD
    anna.forms[0].submit(status=303)
    log_in(sites, GARDEN, "anna")
    assert link not in owner.get("/edit/people").text
    assert "anna" not in log_in(sites, STERNWARTE, "olga").get("/edit/people").text


def test_an_owner_changes_and_removes_people(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "anna")
    owner, anna = log_in(sites, GARDEN, "olga"), log_in(sites, GARDEN, "anna")
    anna.get("/edit/settings", status=403)
    send(owner, "role", login="anna", role="owner")
    anna.get("/edit/settings")
    send(owner, "reset", login="anna")
    anna.get("/edit/", status=403)
    assert "tick the box" in send(owner, "remove", status=400, login="anna").text
    send(owner, "remove", login="anna", sure="1")
    assert "anna" not in owner.get("/edit/people").text


def test_a_role_that_is_not_known_allows_nothing_and_can_be_changed(sites: ContentSites) -> None:
    # As the archive of a site may have it.
    add_user(sites, sites.garden, "emil", "author")
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        session.execute(sa.update(User.__table__).where(User.login == "emil").values(role="root"))
    owner, emil = log_in(sites, GARDEN, "olga"), log_in(sites, GARDEN, "emil")
    for path in ("/edit/", "/edit/people", "/edit/account"):
        emil.get(path, status=403)
    assert "root" in owner.get("/edit/people").text
    send(owner, "role", login="emil", role="editor")
    emil.get("/edit/", status=200)


def test_the_last_owner_stays_and_bad_input_changes_nothing(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "olga")
    csrf_token(owner)
    before = {site: rows_of(sites, site)["users"] for site in (sites.garden, sites.sternwarte)}
    for action, fields, reason in (
        ("role", {"login": "olga", "role": "author"}, "last owner"),
        ("remove", {"login": "olga", "sure": "1"}, "last owner"),
        ("role", {"login": "olga", "role": "chief"}, "last owner"),
        ("invite", {"login": "OLGA", "role": "author"}, "the login is taken or unknown"),
        ("invite", {"login": "", "role": "author"}, "the login is taken or unknown"),
        ("invite", {"login": "x", "role": "chief"}, "the login is taken or unknown"),
        ("invite", {"login": "x", "role": "author", "email": "x"}, "the login is taken or unknown"),
        ("reset", {"login": "nobody"}, "the login is taken or unknown"),
        ("remove", {"login": "nobody", "sure": "1"}, "the login is taken or unknown"),
        ("other", {}, "Nothing was changed"),
    ):
        assert reason in send(owner, action, status=400, **fields).html.select_one("[role=alert]").text, action
    assert {site: rows_of(sites, site)["users"] for site in (sites.garden, sites.sternwarte)} == before


def test_nobody_else_reaches_the_people_of_a_site(sites: ContentSites) -> None:
    for role in ("editor", "author"):
        add_user(sites, sites.garden, role, role)
    others = [log_in(sites, GARDEN, role) for role in ("editor", "author")]
    stranger = log_in(sites, STERNWARTE, "olga")
    before = rows_of(sites, sites.garden)
    for browser in others:
        browser.get("/edit/people", status=403)
        for action in ("invite", "role", "reset", "remove"):
            send(browser, action, status=403, login="editor", role="owner", sure="1")
    # An owner of another site has the same addresses, but other people.
    for action in ("role", "reset", "remove"):
        send(stranger, action, status=400, login="editor", role="owner", sure="1")
    assert rows_of(sites, sites.garden) == before
