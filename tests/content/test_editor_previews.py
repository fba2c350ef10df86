"""Previews: of what is typed, and by links for those who have no log-in."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import TWO_WORKERS, fresh_database
from editor_sites import add_user, browser_of, change, csrf_token, editor_sites, is_active, log_in, rows_of, write
from script_payloads import SCRIPT_PAYLOADS
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content.editor.preview_links import LINK_DAYS, MAX_LINKS
from multisite.content.models import MissingAddress
from multisite.content.not_found import COUNTER
from multisite.content.tables import User
from multisite.people import remove_member
from multisite.sites.rotate_secret import rotate_secret

MINE = f"http://{GARDEN}"
ROLES = {"author": "author", "other": "author", "editor": "editor", "owner": "owner"}


@pytest.fixture(scope="module", params=["sqlite", TWO_WORKERS])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder, has_two_workers = tmp_path_factory.mktemp("previews"), request.param == TWO_WORKERS
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, folder, has_two_workers=has_two_workers) as sites,
    ):
        sites.settings |= {"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"}
        for site in (sites.garden, sites.sternwarte):
            for login, role in ROLES.items():
                add_user(sites, site, login, role)
        yield sites


def make_link(browser: TestApp, address: str) -> str:
    """Make a link to an entry, and return its path."""
    page = browser.get(f"{address}/links").forms[0].submit("action")
    link = str(page.html.select_one("main pre").text)
    assert re.fullmatch(rf"{MINE}/preview/[\w-]{{43}}", link)
    return link.removeprefix(MINE)


def links(sites: ContentSites) -> list[str]:
    return list(rows_of(sites, sites.garden)["preview_links"])


# Links.


def test_a_link_shows_a_draft_without_a_log_in(sites: ContentSites) -> None:
    author, reader = log_in(sites, GARDEN, "author"), sites.browser(GARDEN)
    address = write(author, "save", title="Not yet", body="Soon **here**.")
    path = make_link(author, address)
    page = reader.get(path)
    assert page.html.select_one(".site-name").text == "Garden"
    assert "Soon <strong>here</strong>." in page.text
    reader.get("/entries/not-yet", status=404)
    change(author, address, body="Changed.")
    assert "Changed." in reader.get(path).text  # At once, as no cache keeps it.
    headers = page.headers
    assert (headers["Cache-Control"], headers["X-Robots-Tag"]) == ("no-store", "noindex")
    assert (headers["Referrer-Policy"], headers["X-Frame-Options"]) == ("no-referrer", "DENY")
    assert "script-src 'none'" in headers["Content-Security-Policy"]
    assert page.html.select_one("link[rel=canonical]") is None
    assert "set-cookie" not in headers
    assert reader.head(path).status_int == 200
    reader.post(path, status=405)


def test_a_link_shows_a_scheduled_entry(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, title="Scheduled", published="9990-01-01T12:00:00")
    assert "Scheduled" in sites.browser(GARDEN).get(make_link(author, address)).text


def test_another_site_has_no_such_link(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    path = make_link(author, write(author, "save", title="Ours"))
    before = rows_of(sites, sites.garden)
    for browser in (sites.browser(STERNWARTE), *(log_in(sites, STERNWARTE, login) for login in ROLES)):
        browser.get(path, status=404)
        browser.head(path, status=404)
    for bad in ("/preview/", "/preview/x", f"{path}x", path[:-1], path.swapcase()):
        sites.browser(GARDEN).get(bad, status=404)
    assert rows_of(sites, sites.garden) == before
    assert "Ours" in sites.browser(GARDEN).get(path).text


def test_a_link_that_is_not_found_is_not_counted_as_a_missing_address(sites: ContentSites) -> None:
    author, browser = log_in(sites, GARDEN, "author"), sites.browser(STERNWARTE)
    path = make_link(author, write(author, "save"))
    for missing in (path, f"{path}.", path[:-1], "/no-such-page"):
        browser.get(missing, status=404)
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        written = str(session.scalars(sa.select(MissingAddress.path)).all())
    counted = written + str(vars(sites.app.registry[COUNTER]))
    assert "/no-such-page" in counted
    assert path[:-1] not in counted


def test_a_link_ends_after_a_week(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    author, reader = log_in(sites, GARDEN, "author"), sites.browser(GARDEN)
    address = write(author, "save")
    path, now = make_link(author, address), time.time()
    monkeypatch.setattr(time, "time", lambda: now + LINK_DAYS * 86_400 - 60)
    reader.get(path)
    monkeypatch.setattr(time, "time", lambda: now + LINK_DAYS * 86_400 + 60)
    reader.get(path, status=404)
    make_link(author, address)
    assert len(links(sites)) == 1  # The rows of links that have ended are gone.


def test_a_link_is_withdrawn_by_who_may_change_the_entry(sites: ContentSites) -> None:
    author, other, editor = (log_in(sites, GARDEN, login) for login in ("author", "other", "editor"))
    reader = sites.browser(GARDEN)
    address, mine = write(author, "save"), write(other, "save")
    path = make_link(author, address)
    number = editor.get(f"{address}/links").forms[1]["link"].value
    fields = {"action": "withdraw", "link": number}
    for browser, page, status in (
        (browser_of(sites, GARDEN), address, 403),
        (other, address, 403),
        (other, mine, 404),  # A link of another entry.
        (log_in(sites, STERNWARTE, "owner"), address, 404),
    ):
        token = "x" if status == 403 and browser is not other else csrf_token(browser)
        browser.post(f"{page}/links", {**fields, "csrf_token": token}, status=status)
        browser.post(f"{page}/links", {**fields, "csrf_token": "x"}, status=(400, 403))
    reader.get(path)
    editor.get(f"{address}/links").forms[1].submit("action", status=303)
    reader.get(path, status=404)
    fields["csrf_token"] = csrf_token(editor)
    for bad in (number, "0", "x", "9" * 30):
        editor.post(f"{address}/links", {**fields, "link": bad}, status=404)


@pytest.mark.parametrize("cause", ["entry", "user", "secret"])
def test_a_link_ends_with_its_entry_its_maker_and_the_secret(sites: ContentSites, cause: str) -> None:
    add_user(sites, sites.garden, f"maker-{cause}")
    maker, reader = log_in(sites, GARDEN, f"maker-{cause}"), sites.browser(GARDEN)
    address = write(maker, "save")
    path = make_link(maker, address)
    reader.get(path)
    if cause == "entry":
        maker.get(address).forms[1].submit("action", status=303)
    elif cause == "user":
        with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
            remove_member(session, User, sites.garden, f"maker-{cause}")
    else:
        rotate_secret(sites.engine, GARDEN)
    reader.get(path, status=404)


def test_an_entry_has_a_bounded_number_of_links(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "save")
    for _number in range(MAX_LINKS + 2):
        make_link(author, address)
    assert len(author.get(f"{address}/links").html.select(".rows li")) == MAX_LINKS


def test_the_database_has_no_token(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    path = make_link(author, write(author, "save"))
    assert path.rpartition("/")[2] not in str(rows_of(sites, sites.garden))
    assert path not in author.get("/edit/").text


# What is typed.


def typed(browser: TestApp, status: int = 200, **fields: str) -> TestApp:
    values = {"csrf_token": csrf_token(browser), "key": "new-0123456789abcdef", "title": "T", "body": "B", **fields}
    return browser.post("/edit/preview", values, status=status)


def test_what_is_typed_is_shown_and_not_saved(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "save", title="Saved")
    key = author.get(address).forms[0]["key"].value
    before = rows_of(sites, sites.garden)
    page = typed(author, key=key, title="", body="As **typed**.", tags="Soil, x", published="2024-05-05T12:00:00")
    assert page.html.select_one(".site-name").text == "Garden"
    assert "As <strong>typed</strong>." in page.text
    assert page.html.select_one("h1").text == "No title"
    assert [tag.text for tag in page.html.select(".tag-list a")] == ["Soil", "x"]
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert page.headers["Cache-Control"] == "no-store"
    assert rows_of(sites, sites.garden) == before
    for fields in ({"published": "tomorrow"}, {"body": "<div>" * 1_100}, {"summary": "\0"}):
        assert typed(author, 400, **fields).content_type == "text/plain"


def test_what_is_typed_is_shown_to_who_may_change_the_entry(sites: ContentSites) -> None:
    author, other = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "other")
    key = author.get(write(author, "save")).forms[0]["key"].value
    typed(log_in(sites, GARDEN, "editor"), key=key)
    typed(other, 403, key=key)
    for login in ROLES:
        typed(log_in(sites, STERNWARTE, login), 404, key=key)
    for bad in ("", "entry-0", "new-1"):
        typed(author, 400, key=bad)
    typed(author, 400, csrf_token="x")
    browser_of(sites, GARDEN).post("/edit/preview", {"title": "T"}, status=403)
    author.get("/edit/preview", status=404)


def test_the_page_of_a_reader_cannot_be_framed_by_others(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    for path in ("/edit/", "/edit/new", f"{write(author, 'save')}/preview"):
        headers = author.get(path).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"


def test_nothing_that_is_typed_runs_in_a_preview(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    body, one = "\n\n".join(SCRIPT_PAYLOADS), SCRIPT_PAYLOADS[0]
    address = write(author, "save", title=one, body=body, summary=one, tags=one, author=one)
    pages = [author.get(f"{address}/preview"), sites.browser(GARDEN).get(make_link(author, address))]
    pages.append(typed(author, title=one, body=body, summary=one, tags=one, author=one))
    pages += [typed(author, body=payload) for payload in SCRIPT_PAYLOADS[::4]]  # All of them are in each page above.
    for page in pages:
        assert page.html.select_one(".site-name") is not None
        assert not [element for element in page.html.find_all(True) if is_active(element)]
        assert "script-src 'none'" in page.headers["Content-Security-Policy"]
