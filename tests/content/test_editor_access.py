"""Each address of the editor with each role, and with another site's log-in, token, entry, revision, file and links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from editor_sites import add_user, browser_of, csrf_token, editor_sites, log_in, rows_of, write
from media_files import add, photo
from pyramid.interfaces import IRoutesMapper
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site
from multisite.content.layout_links import LayoutChanges, LayoutLink, make_link
from multisite.content.tables import LogIn, MenuItem, PreviewLink, Revision, User

ROLES = ("author", "editor", "owner")
LEAST = {
    "account": "author", "end_log_in": "author", "autosave": "author", "home": "author", "new_entry": "author",
    "entry": "author", "logout": "author", "media": "author", "file": "author", "preview": "author", "links": "author",
    "typed": "author", "revisions": "author", "changes": "author", "deleted": "author", "pages": "author",
    "menu": "owner", "people": "owner", "settings": "owner", "layout_links": "owner", "theme": "owner",
    "theme_picture": "owner",
}  # fmt: skip
"""Who may see a page at least. The test fails for a new page that is not here."""

SHARED = {"theme_picture"}
"""Pages whose address names nothing of a site."""

NEED_NO_LOG_IN = {"login", "forgotten", "sign_in", "link"}


@dataclass(frozen=True)
class Keys:
    """What addresses and forms of a site name: an entry of its author and what belongs to it."""

    entry: str
    revision: str
    digest: str
    rows: dict[str, str]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("access")
    with editor_sites(f"sqlite:///{folder / 'test.db'}", folder) as sites:
        for site in (sites.garden, sites.sternwarte):
            for role in ROLES:
                add_user(sites, site, role, role)
        yield sites


@pytest.fixture(scope="module")
def keys(sites: ContentSites) -> dict[str, Keys]:
    return {site.host: keys_of(sites, site) for site in (sites.garden, sites.sternwarte)}


@pytest.fixture(scope="module")
def people(sites: ContentSites, keys: dict[str, Keys]) -> dict[tuple[str, str], TestApp]:
    """The browsers of all people, by host and role."""
    return {(host, role): log_in(sites, host, role) for host in (GARDEN, STERNWARTE) for role in ROLES}


def keys_of(sites: ContentSites, site: Site) -> Keys:
    author, owner = log_in(sites, site.host, "author"), log_in(sites, site.host, "owner")
    address = write(author, title="Ours", body="Mine.")
    author.get(f"{address}/links").forms[0].submit("action")
    owner.post("/edit/menu", {"csrf_token": csrf_token(owner), "action": "add", "label": "x", "target": "/"})
    media = add(sites, site, photo((40, 30)), alt=f"Of {site.host}")
    with Session(sites.engine, info={"site": site}) as session, session.begin():
        make_link(session, site, None, LayoutChanges())
        newest: dict[str, str] = {}
        for name, model in {
            "revision": Revision, "link": PreviewLink, "item": MenuItem, "layout": LayoutLink,
            "user": User, "id": LogIn,
        }.items():  # fmt: skip
            newest[name] = str(session.scalar(sa.select(sa.func.max(model.id))))  # type: ignore[attr-defined]
    return Keys(address.rpartition("/")[2], newest["revision"], media.digest, newest)


def pages(sites: ContentSites) -> dict[str, str]:
    """Return the patterns of the pages that need a log-in, by name."""
    routes = sites.app.registry.getUtility(IRoutesMapper).get_routes()
    found = {route.name.removeprefix("editor_"): route.pattern for route in routes if route.name.startswith("editor_")}
    return {name: pattern for name, pattern in found.items() if name not in NEED_NO_LOG_IN}


def path_of(name: str, pattern: str, keys: Keys) -> str:
    first = keys.rows["id"] if name == "end_log_in" else keys.entry
    number = r":[1-9]\d{0,17}}"
    path = pattern.replace("{digest:[0-9a-f]{64}}", keys.digest).replace("{revision" + number, keys.revision)
    return path.replace("{id" + number, first).replace("{theme}", "folio")


def fields_of(keys: Keys, token: str) -> dict[str, str]:
    """Return a form in which every field names something of the site of `keys`."""
    actions = {"action": "withdraw", "link": keys.rows["link"], "item": keys.rows["item"], "user": keys.rows["user"]}
    return {
        "csrf_token": token,
        "revision": keys.revision,
        "login": "editor",
        "role": "owner",
        "confirm": "1",
        **actions,
    }


def rows(sites: ContentSites) -> list[Any]:
    """Return all rows of both sites, without when somebody was last seen."""
    found = [rows_of(sites, site) for site in (sites.garden, sites.sternwarte)]
    return [{name: each for name, each in tables.items() if name != "log_ins"} for tables in found]


def test_every_page_has_a_least_role(sites: ContentSites) -> None:
    assert set(pages(sites)) == set(LEAST)


@pytest.mark.parametrize("role", ROLES)
def test_a_page_is_there_for_who_has_its_role(
    sites: ContentSites, keys: dict[str, Keys], people: dict[tuple[str, str], TestApp], role: str
) -> None:
    before, browser = rows(sites), people[GARDEN, role]
    token, foreign = csrf_token(browser), csrf_token(people[STERNWARTE, role])
    for name, pattern in pages(sites).items():
        path, may = path_of(name, pattern, keys[GARDEN]), ROLES.index(role) >= ROLES.index(LEAST[name])
        status = browser.get(path, expect_errors=True).status_code
        # Three addresses are only those of forms.
        wanted = 403 if not may else 404 if name in {"autosave", "typed", "end_log_in"} else 200
        assert status == wanted, (role, path)
        if not may:
            browser.post(path, fields_of(keys[GARDEN], token), status=403)
        # A form without the token of the log-in, or with that of the same person at another site, does nothing.
        for wrong in ("", foreign):
            browser.post(path, fields_of(keys[GARDEN], wrong), status=(400, 403))
    assert rows(sites) == before


@pytest.mark.parametrize("role", ROLES)
def test_nothing_of_another_site_is_found(
    sites: ContentSites, keys: dict[str, Keys], people: dict[tuple[str, str], TestApp], role: str
) -> None:
    before, browser, checked = rows(sites), people[STERNWARTE, role], 0
    token = csrf_token(browser)
    for name, pattern in pages(sites).items():
        if "{" not in pattern or name in SHARED:
            continue
        path = path_of(name, pattern, keys[GARDEN])
        assert path != path_of(name, pattern, keys[STERNWARTE])
        for method in ("get", "head"):
            getattr(browser, method)(path, status=404)
        for action in ("save", "publish", "delete", "duplicate", "withdraw", "make", "restore"):
            browser.post(path, {**fields_of(keys[GARDEN], token), "action": action}, status=404)
        checked += 1
    assert checked >= 7
    # Forms of one's own pages that name rows of another site.
    own = keys[STERNWARTE]
    for path, changed in (
        (f"/edit/entries/{own.entry}/revisions", {}),
        (f"/edit/entries/{own.entry}/links", {"action": "withdraw"}),
        ("/edit/deleted", {}),
        ("/edit/menu", {"action": "remove"}),
        ("/edit/menu", {"action": "up"}),
        ("/edit/settings/links", {"link": keys[GARDEN].rows["layout"]}),
    ):
        browser.post(path, {**fields_of(keys[GARDEN], token), **changed}, status=(403, 404))
    assert rows(sites) == before


def test_the_log_in_of_another_site_is_none(
    sites: ContentSites, keys: dict[str, Keys], people: dict[tuple[str, str], TestApp]
) -> None:
    before, stranger = rows(sites), browser_of(sites, GARDEN)
    for name, value in people[STERNWARTE, "owner"].cookies.items():
        stranger.set_cookie(name, value)
        stranger.set_cookie(name.replace(str(sites.sternwarte.id), str(sites.garden.id)), value)
    token = csrf_token(people[STERNWARTE, "owner"])
    for name, pattern in pages(sites).items():
        path = path_of(name, pattern, keys[GARDEN])
        assert stranger.get(path, expect_errors=True).status_code == 403, path
        assert stranger.post(path, fields_of(keys[GARDEN], token), expect_errors=True).status_code == 403, path
    assert rows(sites) == before
