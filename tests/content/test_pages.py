"""Pages: what an owner writes without a date, at an address of its own, beside the entries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user, csrf_token, editor_sites, log_in, rows_of
from paths import ROOT
from pyramid.interfaces import IRoutesMapper
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.cli.upgrade import upgrade
from multisite.content import page_paths
from multisite.content.entries import delete_entry, list_records, unpublish_entry
from multisite.content.models import Entry, Redirect, entry_counts
from multisite.content.page_view import ROUTE
from multisite.content.tables import Autosave, Revision
from multisite.core.current_site import all_sites

pytestmark = pytest.mark.slow

MINE = f"http://{GARDEN}"
LOGINS = {"owner": "owner", "author": "author", "other": "author"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("pages")) as sites,
    ):
        sites.settings |= {"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"}
        for site in (sites.garden, sites.sternwarte):
            for login, role in LOGINS.items():
                add_user(sites, site, login, role)
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    """Empty the tables of entries."""
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        for model in (Autosave, Revision, Entry, Redirect):
            session.execute(sa.delete(model))
    return world


def write(browser: TestApp, title: str, action: str = "publish", status: int = 303, **fields: str) -> Any:
    """Write a page, and return the response."""
    form = browser.get("/edit/new?parent=/").forms[0]
    form["title"], form["body"] = title, f"The text of **{title}**."
    form["parent"].force_value(fields.pop("parent", "/"))
    for name, value in fields.items():
        form[name] = value
    return form.submit("action", value=action, status=status)


def form_of(response: Any) -> str:
    """Return the path of the form that a save has led to."""
    return str(response.location).removeprefix(MINE).partition("?")[0]


def change(browser: TestApp, path: str, action: str = "save", status: int = 303, **fields: str) -> Any:
    form = list(browser.get(path).forms.values())[-1 if action == "delete" else 0]
    for name, value in fields.items():
        form[name].force_value(value)
    return form.submit("action", value=action, status=status)


def test_a_page_is_at_its_own_address_and_in_no_list(sites: ContentSites) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    sites.add(sites.garden, "about")
    reader.get("/about/", status=404)
    draft = write(owner, "About", "save")
    reader.get("/about/", status=404)
    change(owner, form_of(draft), "publish")
    page = reader.get("/about/")
    assert "The text of <strong>About</strong>." in page.text
    assert page.html.select_one("link[rel=canonical]")["href"] == f"{MINE}/about/"
    assert page.html.select_one("meta[name=description]")["content"] == "The text of About."
    assert reader.get("/about?a=1", status=301).location == f"{MINE}/about/?a=1"
    assert "about of Garden" in reader.get("/entries/about").text
    for path in ("/", "/archive", "/archive/2024", "/feed.xml"):
        assert "The text of" not in reader.get(path).text
        assert "/about/" not in reader.get(path).text
    assert f"{MINE}/about/" in reader.get("/sitemap.xml").text
    assert [link["href"] for link in reader.get("/search?q=text").html.select("h2 a")] == [
        f"{MINE}/entries/about",
        f"{MINE}/about/",
    ]
    change(owner, form_of(draft), body="Another text.")
    assert "Another text." in reader.get("/about/").text
    stranger = sites.browser(STERNWARTE)
    stranger.get("/about/", status=404)
    assert "/about/" not in stranger.get("/sitemap.xml").text
    assert not stranger.get("/search?q=text").html.select("h2 a")
    change(owner, form_of(draft), "unpublish")
    reader.get("/about/", status=404)
    assert "/about/" not in reader.get("/sitemap.xml").text
    assert len(reader.get("/search?q=another").html.select("h2 a")) == 0


def test_a_path_that_no_page_can_have_costs_no_query(sites: ContentSites) -> None:
    reader = sites.browser(GARDEN)
    sites.queries()
    for path in ("/wp-login.php", "/About/", "/a%00b/", "/a//b/", "/" + "a/" * 300, "/%C3%9Cber/"):
        reader.get(path, status=404)
        assert sites.queries() == []
    reader.get("/%C3%BCber/", status=404)
    assert len(sites.queries()) == 1
    reader.post("/about/", status=404)
    assert sites.queries() == []


def test_pages_are_nested_and_move_with_their_parents(sites: ContentSites) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    about = form_of(write(owner, "About"))
    team = form_of(write(owner, "Team", parent="/about"))
    write(owner, "Ann", parent="/about/team", slug="ann-b")
    write(owner, "Secret", "save", parent="/about")
    write(log_in(sites, STERNWARTE, "owner"), "Team", parent="/about")
    page = reader.get("/about/team/ann-b/")
    assert [link["href"] for link in page.html.select(".page-parents a")] == [f"{MINE}/about/", f"{MINE}/about/team/"]
    options = owner.get(about).html.select("select[name=parent] option")
    assert [option["value"] for option in options] == ["/"]
    options = owner.get(team).html.select("select[name=parent] option")
    assert [option["value"] for option in options] == ["/", "/about", "/about/secret"]
    assert owner.get(team).html.select_one("option[selected]")["value"] == "/about"
    change(owner, about, slug="We are")
    assert "Ann" in reader.get("/we-are/team/ann-b/").text
    for path in ("", "team/", "team/ann-b/"):
        assert reader.get(f"/about/{path}", status=301).location == f"{MINE}/we-are/{path}"
    reader.get("/about/secret/", status=404)  # It was a draft: nobody knows its address.
    change(owner, team, parent="/")
    assert reader.get("/about/team/ann-b", status=301).location == f"{MINE}/team/ann-b/"
    assert reader.get("/we-are/team/", status=301).location == f"{MINE}/team/"
    change(owner, team, parent="/we-are")
    assert "Ann" in reader.get("/we-are/team/ann-b/").text
    assert "Team" in sites.browser(STERNWARTE).get("/about/team/").text
    # A revision says when the text had which address.
    with Session(sites.engine, info={"site": sites.garden}) as session:
        slugs = session.scalars(sa.select(Revision.slug).where(Revision.title == "Ann").order_by(Revision.id))
        assert list(slugs) == [f"{above}/ann-b" for above in ("/about/team", "/we-are/team", "/team", "/we-are/team")]


def test_an_address_is_free_and_none_of_the_applications_own(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    for _ in range(2):
        write(owner, "Team")
    assert "The text" in sites.browser(GARDEN).get("/team-2/").text
    routes = [route for route in sites.app.registry.getUtility(IRoutesMapper).get_routes() if route.name != ROUTE]
    names = {route.pattern.strip("/").split("/")[0] for route in routes} - {""}
    assert {name for name in names if "." not in name} == page_paths.RESERVED
    for name in sorted(page_paths.RESERVED):
        response = write(owner, name, status=400) if name != "login" else write(owner, "x", slug=name, status=400)
        assert "something else at this address" in response.text, name
    assert "At most 200 characters." in write(owner, "x", parent="/" + "a/" * 99, slug="b" * 50, status=400).text
    # The routes before that of the pages are tried first.
    assert sites.app.registry.getUtility(IRoutesMapper).get_routes()[-1].name == ROUTE


def test_an_entry_cannot_become_a_page_or_the_other_way_round(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    page = form_of(write(owner, "About"))
    sites.add(sites.garden, "leaf-mould")
    with Session(sites.engine, info={"site": sites.garden}) as session:
        entry = session.scalars(sa.select(Entry.id).where(Entry.slug == "leaf-mould")).one()
    before = rows_of(sites, sites.garden)["entries"]
    token = csrf_token(owner)
    for path, parent in ((page, ""), (f"/edit/entries/{entry}", "/")):
        version = owner.get(path).forms[0]["version"].value
        fields = {"csrf_token": token, "version": version, "title": "x", "parent": parent, "action": "publish"}
        owner.post(path, fields, status=400)
    assert rows_of(sites, sites.garden)["entries"] == before
    now = datetime.now(UTC)
    for slug, published, draft in (("/x", now, False), ("/x", now, True), ("x", None, False)):
        with Session(sites.engine, info={"site": sites.garden}) as session, pytest.raises(IntegrityError):
            session.add(Entry(slug=slug, title="x", published=published, draft=draft))
            session.flush()


def test_a_page_is_not_counted_among_the_entries(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    address = form_of(write(owner, "About"))
    change(owner, address, "unpublish")
    change(owner, address, "publish")
    change(owner, address, "delete")
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.execute(sa.select(entry_counts).where(entry_counts.c.entries != 0)).all() == []


def test_a_deleted_page_comes_back_with_its_address(sites: ContentSites) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    write(owner, "About")
    address = form_of(write(owner, "Team", parent="/about"))
    deleted = change(owner, address, "delete").follow()
    reader.get("/about/team/", status=404)
    assert [link.text for link in deleted.html.select(".rows a")] == ["About"]
    deleted.forms[0].submit(status=303)
    assert "Team" in reader.get("/about/team/").text


def test_a_copy_of_a_page_is_a_draft_beside_it(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    write(owner, "About")
    address = form_of(write(owner, "Team", parent="/about"))
    token = csrf_token(owner)
    copy = owner.post(address, {"csrf_token": token, "action": "duplicate"}, status=303).follow().forms[0]
    assert (copy["parent"].value, copy["slug"].value) == ("/about", "copy-of-team")
    sites.browser(GARDEN).get("/about/copy-of-team/", status=404)


def test_roles_and_other_sites(sites: ContentSites) -> None:
    owner, author, other = (log_in(sites, GARDEN, login) for login in ("owner", "author", "other"))
    own = form_of(write(author, "Mine"))
    assert [link.text for link in author.get("/edit/pages").html.select(".rows a")] == ["Mine"]
    assert [link.text for link in owner.get("/edit/pages").html.select(".rows a")] == ["Mine"]
    assert not other.get("/edit/pages").html.select(".rows a")
    assert not author.get("/edit/").html.select(".rows a")
    other.get(own, status=403)
    sites.browser(GARDEN).get("/edit/pages", status=403)
    stranger = log_in(sites, STERNWARTE, "owner")
    before = rows_of(sites, sites.garden)["entries"]
    for suffix in ("", "/preview", "/revisions"):
        stranger.get(f"{own}{suffix}", status=404)
    assert not stranger.get("/edit/pages").html.select(".rows a")
    token = csrf_token(stranger)
    fields = {"csrf_token": token, "version": "", "title": "x", "parent": "/", "action": "delete"}
    stranger.post(own, fields, status=404)
    assert "Mine" not in stranger.get("/edit/new?parent=/mine").html.select_one("select[name=parent]").text
    assert rows_of(sites, sites.garden)["entries"] == before
    assert "The text of <strong>Mine</strong>." in owner.get(f"{own}/preview").text


def test_what_is_typed_in_a_page_is_kept_and_collides(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    address = form_of(write(owner, "About"))
    first, second = owner.get(address).forms[0], owner.get(address).forms[0]
    first["body"], second["body"] = "One.", "Two."
    fields = {name: each[0].value for name, each in first.fields.items() if name and name != "action"}
    owner.post("/edit/autosave", fields, status=204)
    kept = owner.get(owner.get(address).html.select_one(".message a")["href"]).forms[0]
    assert (kept["body"].value, kept["parent"].value) == ("One.", "/")
    first.submit("action", value="save", status=303)
    second.submit("action", value="save", status=409)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        kinds = session.execute(sa.select(Revision.kind, Revision.body).order_by(Revision.id)).all()
    assert kinds[-2:] == [("saved", "One."), ("collided", "Two.")]


def test_commands_list_unpublish_and_delete_pages(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    write(owner, "About")
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        (record,) = list_records(session, datetime.now(UTC), statuses=["published"])
        assert (record.slug, record.status, record.published) == ("/about", "published", None)
        assert unpublish_entry(session, "/about").status == "published"
        assert delete_entry(session, "/about").status == "draft"
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Entry)) == 0


def test_the_revision_makes_room_for_pages_and_can_be_taken_back(sites: ContentSites, tmp_path: Any) -> None:
    ini = tmp_path / "test.ini"
    text = (ROOT / "development.ini").read_text("utf-8")
    text = text.replace("sqlite:///%(here)s/var/multisite.db", sites.settings["sqlalchemy.url"].replace("%", "%%"))
    ini.write_text(text.replace("%(here)s/migrations", str(ROOT / "migrations")), "utf-8")
    owner = log_in(sites, GARDEN, "owner")
    write(owner, "About")
    sites.add(sites.garden, "leaf-mould", tags=["soil"])
    before = rows_of(sites, sites.garden)
    command.stamp(Config(str(ini)), "head")
    command.downgrade(Config(str(ini)), "content_0013")

    def add_page() -> None:
        with sites.engine.begin() as connection, all_sites("a test"):
            values = {"slug": "/new", "title": "x", "site_id": sites.garden.id, "draft": False}
            connection.execute(sa.insert(Entry).values(values))

    with pytest.raises(IntegrityError):
        add_page()
    upgrade(ini)
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        assert session.scalars(sa.select(Entry.draft).where(Entry.slug == "/about")).one()
        session.execute(sa.update(Entry).where(Entry.slug == "/about").values(draft=False))
    after = rows_of(sites, sites.garden)  # Later revisions were taken back too, with rows of their own tables.
    for table in ("entries", "entry_counts", "entry_owners", "entry_tags", "revisions", "tags"):
        assert after[table] == before[table], table
    add_page()
