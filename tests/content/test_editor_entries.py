"""The editor: entries are written, published, changed by several people, deleted and brought back.

What is only rendered is tested on PostgreSQL in the long run only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import (
    PASSWORD,
    add_user,
    browser_of,
    change,
    csrf_token,
    editor_sites,
    is_active,
    log_in,
    rows_of,
    write,
)
from pyramid.interfaces import IRoutesMapper
from script_payloads import SCRIPT_PAYLOADS
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content.editor.entries import Collision, find_entry, save_entry
from multisite.content.entry_text import EntryText
from multisite.content.imports.importing import import_entries
from multisite.content.markup.markdown import render
from multisite.content.models import Entry, Redirect, Tag
from multisite.content.tables import Autosave, Revision, User
from multisite.people import remove_member

pytestmark = pytest.mark.slow

MINE = f"http://{GARDEN}"
ROLES = ("owner", "editor", "author", "other")

ONLY_RENDERED = pytest.mark.parametrize(
    "world", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)], indirect=True
)
"""Marks a test of what is only rendered: its statements are those that other tests execute on both databases."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("editor")) as sites,
    ):
        sites.settings |= {"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"}
        for site in (sites.garden, sites.sternwarte):
            for login in ROLES:
                add_user(sites, site, login, "author" if login == "other" else login)
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    """Empty the tables of entries."""
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        for model in (Autosave, Revision, Entry, Tag, Redirect):
            session.execute(sa.delete(model))
    return world


def texts(sites: ContentSites, kind: str | None = None) -> list[str]:
    """Return the texts of the revisions of the garden, oldest first."""
    with Session(sites.engine, info={"site": sites.garden}) as session:
        statement = sa.select(Revision.body).order_by(Revision.id)
        return list(session.scalars(statement if kind is None else statement.where(Revision.kind == kind)))


# Writing.


def test_what_an_author_publishes_is_there_at_once(sites: ContentSites) -> None:
    reader = sites.browser(GARDEN)
    assert "Leaf mould" not in reader.get("/").text
    author = log_in(sites, GARDEN, "author")
    address = write(author, "save", tags="Soil, autumn , soil")
    assert "Leaf mould" not in reader.get("/").text
    reader.get("/entries/leaf-mould", status=404)
    assert "Draft" in author.get("/edit/").html.select_one(".badge").text
    change(author, address, "publish")
    page = reader.get("/entries/leaf-mould")
    assert "Rake <strong>them</strong>." in page.text
    assert [tag.text for tag in page.html.select(".tag-list a")] == ["Soil", "autumn"]
    assert "Leaf mould" in reader.get("/").text
    change(author, address, body="Rake them *again*.")
    assert "Rake them <em>again</em>." in reader.get("/entries/leaf-mould").text
    change(author, address, "unpublish")
    reader.get("/entries/leaf-mould", status=404)
    assert "Leaf mould" not in sites.browser(STERNWARTE).get("/").text


def test_an_entry_appears_at_its_time_by_the_clock_of_the_site(sites: ContentSites) -> None:
    author = log_in(sites, STERNWARTE, "author")
    form = author.get("/edit/new").forms[0]
    soon = datetime.now(UTC) + timedelta(days=2)
    form["title"], form["published"] = "Später", f"{soon:%Y}-07-01T12:00:00"
    form["published"] = f"{soon.year + 1}-07-01T12:00:00"
    address = form.submit("action", value="publish", status=303).location
    assert author.get("/edit/").html.select_one(".badge").text == "Geplant"
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        assert session.scalars(sa.select(Entry.published)).one() == datetime(soon.year + 1, 7, 1, 10, tzinfo=UTC)
    shown = author.get(address.partition("?")[0].removeprefix(f"http://{STERNWARTE}")).forms[0]["published"].value
    assert shown == f"{soon.year + 1}-07-01T12:00:00"


def test_a_slug_is_free_and_an_old_address_redirects(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    first, second = write(author), write(author)
    assert [author.get(each).forms[0]["slug"].value for each in (first, second)] == ["leaf-mould", "leaf-mould-2"]
    change(author, second, slug="Über Laub")
    reader = sites.browser(GARDEN)
    assert reader.get("/entries/leaf-mould-2", status=301).location == f"{MINE}/entries/%C3%BCber-laub"
    assert reader.get("/entries/leaf-mould").status_int == 200
    assert author.get(second).forms[0]["slug"].value == "über-laub"


BAD = {
    "title": ("", "An entry needs a title."),
    "slug": ("x" * 201, "At most 200 characters."),
    "published": ("tomorrow", "A date and a time such as"),
    "tags": (", ".join(f"t{number}" for number in range(101)), "At most 100 tags"),
    "body": ("<div>" * 1_100, "nested too deep"),
    "summary": ("\0", "cannot be stored"),
}


@ONLY_RENDERED
def test_bad_input_is_explained_and_nothing_is_lost(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    fields = {"title": "A", "body": "My text.", "csrf_token": csrf_token(author), "action": "publish"}
    for name, (value, reason) in BAD.items():
        page = author.post("/edit/new", {**fields, name: value}, status=400)
        assert reason in page.html.select_one(f"#{name}-fault").text
        assert page.forms[0]["body"].value == (value if name == "body" else "My text.")
    assert texts(sites) == []


def test_the_first_save_of_an_imported_entry_keeps_what_was_imported(sites: ContentSites) -> None:
    sites.add(sites.garden, "imported", body="As imported.", tags=["old"])
    editor = log_in(sites, GARDEN, "editor")
    address = editor.get("/edit/").html.select_one(".rows a")["href"]
    change(editor, address, body="As edited.")
    assert texts(sites) == ["As imported.", "As edited."]


@ONLY_RENDERED
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("2024-05-05-jekyll.md", "---\ntitle: T\n---\n# A heading {#here}\n\nA note.[^1]\n\n[^1]: The note.\n"),
        ("hugo.md", '+++\ntitle = "T"\ndate = 2024-05-05\n+++\nSee {{< youtube abcdefghijk >}}\n\n## A heading\n'),
        ("pelican.md", "Title: T\nDate: 2024-05-05\n\nTerm\n:   Meaning\n\n## A heading\n"),
    ],
    ids=["jekyll", "hugo", "pelican"],
)
def test_an_edit_renders_an_imported_text_as_its_import_did(
    sites: ContentSites, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    report = import_entries(sites.engine, sites.garden, [tmp_path])
    assert (report.added, report.bad) == (1, [])
    editor = log_in(sites, GARDEN, "editor")
    address = editor.get("/edit/").html.select_one(".rows a")["href"]

    def html() -> str:
        with Session(sites.engine, info={"site": sites.garden}) as session:
            return session.scalars(sa.select(Entry.body_html)).one()

    before = html()
    change(editor, address, title="Another title")
    assert html() == before
    assert before != render(text.partition("\n\n")[2]).html


def test_an_import_keeps_what_a_person_has_changed(sites: ContentSites, tmp_path: Path) -> None:
    file = tmp_path / "2024-05-05-leaves.md"

    def run(text: str, **options: bool) -> tuple[int, int, list[str]]:
        file.write_text(f"---\ntitle: Leaves\ntags: [soil]\n---\n{text}\n", "utf-8")
        report = import_entries(sites.engine, sites.garden, [tmp_path], **options)
        return report.updated, report.unchanged, [note.text for note in report.lost]

    def body() -> str:
        with Session(sites.engine, info={"site": sites.garden}) as session:
            return session.scalars(sa.select(Entry.body)).one()

    run("As imported.")
    assert run("As imported later.") == (1, 0, [])
    editor = log_in(sites, GARDEN, "editor")
    address = editor.get("/edit/").html.select_one(".rows a")["href"]
    change(editor, address, body="As edited.")
    kept = ["editor has changed the entry: it is kept, unless --force is given"]
    assert run("As imported at last.") == (0, 1, kept)
    assert run("As imported at last.", strict=True) == (0, 1, kept)
    assert body() == "As edited."
    assert run("As edited.") == (0, 1, [])
    assert run("As imported at last.", force=True) == (1, 0, [])
    assert body() == "As imported at last."
    assert run("As imported again.") == (1, 0, [])


# Several people.


def test_who_collides_sees_both_texts_and_both_are_kept(sites: ContentSites) -> None:
    author, editor = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "editor")
    address = write(author)
    form = author.get(address).forms[0]
    change(editor, address, body="The editor's text.")
    form["body"] = "The author's text."
    collided = form.submit("action", value="save", status=409)
    assert "Somebody else has saved this entry." in collided.html.select_one("[role=alert]").text
    assert collided.html.select_one("pre").text == "The editor's text."
    assert collided.forms[0]["body"].value == "The author's text."
    assert "The editor's text." in sites.browser(GARDEN).get("/entries/leaf-mould").text
    assert texts(sites, "collided") == ["The author's text."]
    collided.forms[0]["body"] = "Both texts."
    collided.forms[0].submit("action", value="save", status=303)
    assert "Both texts." in sites.browser(GARDEN).get("/entries/leaf-mould").text
    assert texts(sites) == ["Rake **them**.", "The editor's text.", "The author's text.", "Both texts."]


def test_a_refused_save_does_not_forget_the_version_that_was_edited(sites: ContentSites) -> None:
    author, editor = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "editor")
    address = write(author)
    form = author.get(address).forms[0]
    change(editor, address, body="The editor's text.")
    form["title"], form["body"] = "", "The author's text."
    again = form.submit("action", value="save", status=400).forms[0]
    again["title"] = "Leaf mould"
    again.submit("action", value="save", status=409)
    assert "The editor's text." in sites.browser(GARDEN).get("/entries/leaf-mould").text


def test_of_many_who_save_at_once_one_is_current_and_all_are_kept(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    number = int(write(author).rpartition("/")[2])
    for current_round in range(200 if os.environ.get("MULTISITE_SOAK") else 4):
        with Session(sites.engine, info={"site": sites.garden}) as session:
            entry = find_entry(session, number)
            assert entry is not None
            version = EntryText.of(entry).version

        def save(who: int, version: str = version, current_round: int = current_round) -> bool:
            text = EntryText("T", "leaf-mould", "", f"Text {current_round} {who}", (), None, None, draft=True)
            with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
                user = User.find(session, "editor")
                assert user is not None
                return not isinstance(save_entry(session, user, number, text, version), Collision)

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(save, range(16))) == 1
        assert {text for text in texts(sites) if f"Text {current_round}" in text} == {
            f"Text {current_round} {who}" for who in range(16)
        }


def test_who_is_logged_out_in_the_middle_loses_no_word(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "save")
    text = 'Line one,\nline "two" <b>&amp;\n\nline four. '
    for path, count in ((address, 2), ("/edit/new", 3)):
        form = author.get(path).forms[0]
        author.reset()
        form["title"], form["body"] = f"Kept {count}", text
        asked = form.submit("action", value="publish", status=403)
        assert "your text is kept" in asked.text
        login = asked.forms[0]
        login["login"], login["password"] = "author", "wrong"
        again = login.submit(status=403).forms[0]
        again["login"], again["password"] = "author", PASSWORD
        saved = again.submit(status=200).forms[0].submit(status=303)
        assert texts(sites)[-1].rstrip() == text.rstrip()
        assert len(texts(sites)) == count
        shown = author.get(saved.location.removeprefix(MINE)).forms[0]
        assert shown["title"].value == f"Kept {count}"
    # Only forms of entries are kept: no password goes back into a page.
    author.reset()
    asked = author.post("/edit/account", {"current": PASSWORD, "password": "secret" * 4}, status=403)
    assert "secret" not in asked.text
    assert PASSWORD not in asked.text


def keep(browser: TestApp, key: str, status: int = 204, **fields: str) -> Any:
    """Send a form as the script does."""
    texts = {"csrf_token": csrf_token(browser), "key": key, **fields}
    return browser.post("/edit/autosave", texts, status=status)


def test_what_is_typed_is_kept_and_changes_nothing_else(sites: ContentSites) -> None:
    author, reader = log_in(sites, GARDEN, "author"), sites.browser(GARDEN)
    address = write(author)
    form = author.get(address).forms[0]
    key, version = form["key"].value, form["version"].value
    reader.get("/")
    kept_before = {name: rows for name, rows in rows_of(sites, sites.garden).items() if name != "autosaves"}
    for body in ("Half", "Half a text."):
        keep(author, key, version=version, title="Typed", body=body, slug="other", published="")
    rows = rows_of(sites, sites.garden)
    assert len(rows.pop("autosaves")) == 1
    assert rows == kept_before
    sites.queries()
    reader.get("/")
    assert sites.queries() == []  # The cached page is still there.
    link = author.get(address).html.select_one("form.message a")
    assert link.text == "Typed"
    # Somebody else has saved in the meantime: what was typed is of the earlier version.
    change(log_in(sites, GARDEN, "editor"), address, body="The editor's text.")
    form = author.get(link["href"]).forms[0]
    assert (form["body"].value.strip(), form["slug"].value) == ("Half a text.", "other")
    collided = form.submit("action", value="save", status=409)
    assert len(rows_of(sites, sites.garden)["autosaves"]) == 1
    collided.forms[0].submit("action", value="save", status=303)
    assert rows_of(sites, sites.garden)["autosaves"] == []


def test_a_text_that_was_typed_is_seen_by_its_author_alone(sites: ContentSites) -> None:
    author, other, editor = (log_in(sites, GARDEN, login) for login in ("author", "other", "editor"))
    address = write(author)
    key = author.get(address).forms[0]["key"].value
    new = author.get("/edit/new").forms[0]["key"].value
    keep(author, key, title="Secret", body="x")
    keep(author, new, title="Secret", body="x")
    for browser in (other, editor):
        assert "Secret" not in browser.get("/edit/new").text
        assert "Secret" not in browser.get(f"/edit/new?autosave={new}").text
    assert "Secret" not in editor.get(f"{address}?autosave={key}").text
    before = rows_of(sites, sites.garden)
    keep(other, key, status=403, title="Mine")
    keep(other, key, status=403, action="discard")
    keep(editor, new, status=303, action="discard")
    stranger = log_in(sites, STERNWARTE, "author")
    keep(stranger, key, status=404, title="Mine")
    keep(stranger, new, status=303, action="discard")
    for bad in ("", "entry-0", "entry-x", "new-1", "entry-1 OR 1=1", "entry-" + "9" * 30):
        keep(author, bad, status=400, title="x")
    assert rows_of(sites, sites.garden) == before
    author.get("/edit/new").forms[0].submit("action", status=303)
    assert "Secret" not in author.get("/edit/new").text


def test_a_bounded_number_of_texts_is_kept(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    token = csrf_token(author)
    for number in range(23):
        fields = {"csrf_token": token, "key": f"new-{number:016x}", "title": f"Text {number}"}
        author.post("/edit/autosave", fields, status=204)
    assert author.get("/edit/new").html.select_one("form.message a").text.startswith("Text ")
    assert len(rows_of(sites, sites.garden)["autosaves"]) == 20


@ONLY_RENDERED
@pytest.mark.parametrize("fields", ["", "[1]", '{"title": 1, "body": ["x"]}', "[" * 100_000])
def test_an_autosave_that_no_form_has_sent_breaks_no_page(sites: ContentSites, fields: str) -> None:
    # As the archive of a site may have it.
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        user_id = session.scalars(sa.select(User.id).where(User.login == "owner")).one()
        key = "new-0123456789abcdef"
        session.add(Autosave(user_id=user_id, entry_id=None, key=key, version="", fields=fields, saved=1))
    browser = log_in(sites, GARDEN, "owner")
    assert browser.get("/edit/new").forms[0]["key"].value == key
    browser.get(f"/edit/new?autosave={key}")
    browser.post("/edit/autosave", {"key": key, "action": "discard", "csrf_token": csrf_token(browser)}, status=303)
    assert rows_of(sites, sites.garden)["autosaves"] == []


def test_a_revision_is_restored(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "save", body="First.")
    change(author, address, "publish", body="Second.", title="Other")
    page = author.get(f"{address}/revisions")
    assert [each.text.strip() for each in page.html.select("pre")] == ["Second.", "First."]
    assert "The entry has this text." in page.html.select("section")[0].text
    page.forms[0].submit(status=303)
    form = author.get(address).forms[0]
    assert (form["body"].value.strip(), form["title"].value) == ("First.", "Leaf mould")
    assert texts(sites) == ["First.", "Second.", "First."]
    assert "First." in sites.browser(GARDEN).get("/entries/leaf-mould").text  # It was a draft then, and is none now.


def test_a_text_for_an_entry_that_is_gone_is_not_lost(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author)
    form = author.get(address).forms[0]
    author.get(address).forms[1].submit("action", status=303)
    form["body"] = "Typed meanwhile."
    page = form.submit("action", value="publish", status=404)
    assert page.forms[0]["body"].value.strip() == "Typed meanwhile."
    page.forms[0].submit("action", value="publish", status=303)
    assert "Typed meanwhile." in sites.browser(GARDEN).get("/entries/leaf-mould").text


def test_what_is_deleted_can_be_brought_back(sites: ContentSites) -> None:
    author, editor = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "editor")
    address = write(author, tags="soil")
    gone = author.get(address).forms[1].submit("action", status=303).follow()
    sites.browser(GARDEN).get("/entries/leaf-mould", status=404)
    author.get(address, status=404)
    back = gone.forms[0].submit(status=303).follow()
    assert "Rake <strong>them</strong>." in sites.browser(GARDEN).get("/entries/leaf-mould").text
    # It belongs to the author again, also if an editor deletes it and brings it back.
    editor.get(back.request.path).forms[1].submit("action", status=303)
    log_in(sites, GARDEN, "other").post("/edit/deleted", {"csrf_token": "x"}, status=400)
    again = editor.get("/edit/deleted").forms[0].submit(status=303)
    author.get(again.location.removeprefix(MINE))
    assert author.get("/edit/deleted").forms == {}


# Who may do what.


def test_an_author_changes_own_entries_and_an_editor_all(sites: ContentSites) -> None:
    author, other = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "other")
    address = write(author)
    before = rows_of(sites, sites.garden)
    token = csrf_token(other)
    assert "Leaf mould" not in other.get("/edit/").text
    for path in (address, f"{address}/preview", f"{address}/revisions"):
        other.get(path, status=403)
        for action in ("save", "delete", "duplicate"):
            other.post(path, {"csrf_token": token, "action": action, "title": "Mine", "revision": "1"}, status=403)
    assert rows_of(sites, sites.garden) == before
    for login in ("editor", "owner"):
        browser = log_in(sites, GARDEN, login)
        assert len(browser.get("/edit/").html.select(".rows a")) == 1
        change(browser, address, title=f"Of {login}")


def test_entries_and_revisions_of_another_site_are_not_found(sites: ContentSites) -> None:
    """With each role of another site, no address with an id of this one is found, and nothing changes."""
    author = log_in(sites, GARDEN, "author")
    address = write(author)
    write(log_in(sites, STERNWARTE, "author"))
    gone = write(author, title="Gone")
    author.get(gone).forms[1].submit("action", status=303)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        ids = {row.kind: row.id for row in session.scalars(sa.select(Revision).order_by(Revision.id))}
    before = rows_of(sites, sites.garden)
    for login in ROLES:
        stranger = log_in(sites, STERNWARTE, login)
        token = csrf_token(stranger)
        for path in (address, f"{address}/preview", f"{address}/revisions"):
            stranger.get(path, status=404)
            for action in ("save", "publish", "unpublish", "delete", "duplicate"):
                fields = {"csrf_token": token, "action": action, "title": "x", "revision": str(ids["saved"])}
                stranger.post(path, fields, status=404)
        stranger.post("/edit/deleted", {"csrf_token": token, "revision": str(ids["deleted"])}, status=404)
    # A revision of another site is not restored into one's own entry.
    own = log_in(sites, STERNWARTE, "author")
    mine = own.get("/edit/").html.select_one(".rows a")["href"]
    fields = {"csrf_token": csrf_token(own), "revision": str(ids["saved"])}
    own.post(f"{mine}/revisions", fields, status=404)
    assert {name: rows for name, rows in rows_of(sites, sites.garden).items() if name != "log_ins"} == {
        name: rows for name, rows in before.items() if name != "log_ins"
    }


def test_each_address_is_closed_to_who_is_not_logged_in(sites: ContentSites) -> None:
    address = write(log_in(sites, GARDEN, "author"))
    before = rows_of(sites, sites.garden)
    routes = sites.app.registry.getUtility(IRoutesMapper).get_routes()
    patterns = [route.pattern for route in routes if route.name.startswith("editor_")]
    browser, checked = browser_of(sites, GARDEN), 0
    for pattern in patterns:
        if pattern.startswith("/login"):
            continue
        path = re.sub(r"{digest:[^/]+}", "0" * 64, pattern)
        path = re.sub(r"{[^}]+}+", address.rpartition("/")[2], path)
        for method in ("get", "post"):
            assert getattr(browser, method)(path, expect_errors=True).status_code == 403, path
            checked += 1
    assert checked >= 2 * 14
    assert rows_of(sites, sites.garden) == before


def test_a_user_is_removed_and_the_texts_stay(sites: ContentSites) -> None:
    add_user(sites, sites.garden, "leaving")
    write(log_in(sites, GARDEN, "leaving"))
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        user = User.find(session, "leaving")
        assert user is not None
        exported = user.export(session)
        assert [each["body"] for each in exported["revisions"]] == ["Rake **them**."]
        remove_member(session, User, sites.garden, "leaving")
    assert "leaving" not in str(rows_of(sites, sites.garden))
    assert texts(sites) == ["Rake **them**."]
    assert "Leaf mould" in log_in(sites, GARDEN, "editor").get("/edit/").text


# What is shown.


def test_the_list_is_filtered_and_searched(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    for title, action in (("Alpha 100%", "save"), ("Beta", "publish"), ("Gamma_1", "publish")):
        write(author, action, title=title)

    def titles(query: str) -> list[str]:
        return [link.text for link in author.get(f"/edit/?{query}").html.select(".rows a")]

    assert titles("") == ["Gamma_1", "Beta", "Alpha 100%"]
    assert titles("state=draft") == ["Alpha 100%"]
    assert titles("state=published&q=bet") == ["Beta"]
    assert titles("state=scheduled") == []
    assert (titles("q=%25"), titles("q=_"), titles("q=%00")) == (["Alpha 100%"], ["Gamma_1"], titles(""))
    assert titles("state=bad&before=x&deleted=%C2%B2&since=yesterday") == titles("")
    assert (titles("since=2001-01-01"), titles("since=9998-01-01")) == (titles(""), [])


def test_the_list_finds_words_of_texts_of_its_own_site(sites: ContentSites) -> None:
    author, stranger = log_in(sites, GARDEN, "author"), log_in(sites, STERNWARTE, "author")
    write(author, title="Alpha", body="About composting.")
    write(author, title="Beta", body="About mulch.")
    write(stranger, title="Gamma", body="About composting.")
    found = [link.text for link in author.get("/edit/?q=compost").html.select(".rows a")]
    assert found == ["Alpha"]
    assert author.get("/edit/?q=about+mulch").html.select_one(".rows a").text == "Beta"


def test_changed_since_begins_at_midnight_of_the_site(sites: ContentSites) -> None:
    # 22:30 UTC is half past midnight of the next day in Berlin.
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, "late", updated=datetime(2024, 5, 6, 22, 30, tzinfo=UTC))
    found = {
        host: len(log_in(sites, host, "editor").get("/edit/?since=2024-05-07").html.select(".rows a"))
        for host in (GARDEN, STERNWARTE)
    }
    assert found == {GARDEN: 0, STERNWARTE: 1}


def test_a_duplicate_is_a_draft_of_who_made_it(sites: ContentSites) -> None:
    author, editor = log_in(sites, GARDEN, "author"), log_in(sites, GARDEN, "editor")
    address = write(author, tags="soil", title="T" * 300)
    copied = editor.get(address).forms[1].submit("action", value="duplicate", status=303).location.removeprefix(MINE)
    form = editor.get(copied).forms[0]
    assert (form["body"].value.strip(), form["tags"].value) == ("Rake **them**.", "soil")
    assert (form["published"].value, form["title"].value[:12]) == ("", "Copy of TTTT")
    assert editor.get("/edit/").html.select_one(".badge").text == "Draft"
    author.get(copied, status=403)
    assert sites.browser(GARDEN).get("/entries/" + "t" * 200).status_int == 200  # The entry itself is as before.


@ONLY_RENDERED
def test_a_duplicate_of_an_imported_entry_keeps_its_dialect(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "2024-05-05-jekyll.md").write_text("---\ntitle: T\n---\n# A heading {#here}\n", "utf-8")
    import_entries(sites.engine, sites.garden, [tmp_path])
    editor = log_in(sites, GARDEN, "editor")
    address = editor.get("/edit/").html.select_one(".rows a")["href"]
    editor.get(address).forms[1].submit("action", value="duplicate", status=303)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert len(set(session.execute(sa.select(Entry.dialect, Entry.body_html)).all())) == 1


def test_the_form_suggests_tags_of_its_own_site(sites: ContentSites) -> None:
    sites.add(sites.garden, "a", tags=["Soil", "<b>"])
    sites.add(sites.sternwarte, "b", tags=["Sterne"])
    options = log_in(sites, GARDEN, "author").get("/edit/new").html.select("#known-tags option")
    assert [option["value"] for option in options] == ["<b>", "Soil"]


def test_a_long_list_has_pages(sites: ContentSites) -> None:
    sites.add_many(sites.garden, 51)
    editor = log_in(sites, GARDEN, "editor")
    page = editor.get("/edit/")
    assert len(page.html.select(".rows a")) == 50
    (older,) = [link for link in page.html.select("main > p a") if link.text == "Older entries"]
    assert len(editor.get(older["href"]).html.select(".rows a")) == 1


@ONLY_RENDERED
def test_a_preview_is_the_page_of_the_site_and_runs_nothing(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "save")
    page = author.get(f"{address}/preview")
    assert page.html.select_one(".site-name").text == "Garden"
    assert "Rake <strong>them</strong>." in page.text
    assert "script-src 'none'" in page.headers["Content-Security-Policy"]
    assert (page.headers["Cache-Control"], page.headers["X-Robots-Tag"]) == ("no-store", "noindex")


@ONLY_RENDERED
def test_what_an_author_types_runs_in_no_browser(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    body = "\n\n".join(SCRIPT_PAYLOADS)
    address = write(
        author,
        title=SCRIPT_PAYLOADS[0][:200],
        body=body,
        summary=SCRIPT_PAYLOADS[0],
        tags=SCRIPT_PAYLOADS[0],
        author=SCRIPT_PAYLOADS[0],
    )
    change(author, address, body=body + " 2")
    for path in (address, f"{address}/preview", f"{address}/revisions", "/edit/", "/edit/deleted"):
        page = author.get(path)
        assert not [element for element in page.html.find_all(True) if is_active(element)], path


def test_an_active_element_is_found() -> None:
    for markup in (
        "<script>x</script>",
        "<script src='/edit/static/editor.js' defer>x</script>",
        "<script src='//evil.example/edit/static/editor.js' defer></script>",
        "<script src='/edit/static/editor.js' onload='x' defer></script>",
        "<iframe name='typed' title='x' sandbox='allow-scripts'></iframe>",
        "<iframe name='typed' title='x' sandbox='' srcdoc='x'></iframe>",
        "<p onclick='x'>y</p>",
        "<a href=' javascript:x'>y</a>",
    ):
        assert [each for each in BeautifulSoup(markup, "html.parser").find_all(True) if is_active(each)]


def test_saving_takes_as_many_queries_among_a_thousand_entries(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author)

    def queries(**fields: str) -> int:
        form = author.get(address).forms[0]
        for name, value in fields.items():
            form[name] = value
        sites.statements.clear()
        form.submit("action", value="save", status=303)
        return len(sites.statements)

    first = queries(body="One. " * 10_000)
    sites.add_many(sites.garden, 1000)
    assert queries(body="Two. " * 10_000) == first
