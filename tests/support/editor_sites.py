"""Two sites of the reference application with people who log in, for the tests of the editor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from content_sites import ContentSites, content_sites
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site
from multisite.content.tables import Base, User
from multisite.people import add_member

__all__ = [
    "PASSWORD",
    "add_user",
    "browser_of",
    "change",
    "csrf_token",
    "editor_sites",
    "invite",
    "is_active",
    "log_in",
    "rows_of",
    "write",
]

PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@contextmanager
def editor_sites(database_url: str, folder: Path, *, has_two_workers: bool = False) -> Iterator[ContentSites]:
    """Yield two sites, with passwords that are hashed cheaply."""
    before, User.password_hasher = User.password_hasher, CHEAP
    try:
        with content_sites(database_url, folder, has_two_workers=has_two_workers) as sites:
            yield sites
    finally:
        User.password_hasher = before


def invite(sites: ContentSites, site: Site, login: str, role: str = "author", email: str | None = None) -> str:
    """Add a user, and return the token of the invitation."""
    with Session(sites.engine, info={"site": site}) as session, session.begin():
        return add_member(session, User, site, login, role=role, email=email)[1]


def add_user(sites: ContentSites, site: Site, login: str, role: str = "author", email: str | None = None) -> None:
    """Add a user with the password `PASSWORD`."""
    token = invite(sites, site, login, role, email)
    with Session(sites.engine, info={"site": site}) as session, session.begin():
        assert User.use_link(session, site, token, PASSWORD) is not None


def browser_of(sites: ContentSites, host: str) -> TestApp:
    """Return a browser, which sends the Origin of the site as browsers do."""
    return TestApp(sites.app, extra_environ={"HTTP_HOST": host, "HTTP_ORIGIN": f"http://{host}"})


def log_in(sites: ContentSites, host: str, login: str, password: str = PASSWORD) -> TestApp:
    """Return a browser in which somebody has logged in."""
    browser = browser_of(sites, host)
    response = browser.post("/login", {"login": login, "password": password})
    assert response.status_code == 303, response.text
    return browser


def csrf_token(browser: TestApp) -> str:
    """Return the token that the forms of a logged-in browser contain."""
    return str(browser.get("/logout").html.select_one("input[name=csrf_token]")["value"])


def rows_of(sites: ContentSites, site: Site) -> dict[str, list[Any]]:
    """Return all rows of a site in the tables of the application."""
    found = {}
    with Session(sites.engine, info={"all_sites": "compare the rows of a site"}) as session:
        for table in Base.metadata.sorted_tables:
            if table.name == "missing_addresses":  # Written by requests of readers, some seconds later.
                continue
            statement = sa.select(table).where(table.c.site_id == site.id)
            found[table.name] = sorted(map(repr, session.execute(statement)))
    return found


def write(browser: TestApp, action: str = "publish", **fields: str) -> str:
    """Write an entry, and return the address of its form."""
    form = browser.get("/edit/new").forms[0]
    for name, value in {"title": "Leaf mould", "body": "Rake **them**.", **fields}.items():
        form[name] = value
    saved = form.submit("action", value=action, status=303)
    return str(saved.location).removeprefix(f"http://{browser.extra_environ['HTTP_HOST']}").partition("?")[0]


def change(browser: TestApp, address: str, action: str = "save", status: int = 303, **fields: str) -> Any:
    """Send the form of an entry with these fields."""
    form = browser.get(address).forms[0]
    for name, value in fields.items():
        form[name] = value
    return form.submit("action", value=action, status=status)


def is_active(element: Any) -> bool:
    """Return whether an element could run a script: the test looks at what the page has, not at how it was made."""
    if element.name == "script" and re.fullmatch(r"/edit/static/[a-z_]+\.js", str(element.get("src"))):
        return bool(element.text) or set(element.attrs) != {"src", "defer"}
    if element.name == "iframe" and set(element.attrs) == {"name", "title", "sandbox"}:
        return "allow-scripts" in element["sandbox"]
    if element.name in {"script", "iframe", "object", "embed", "svg", "math", "base"}:
        return True
    return any(
        name.startswith("on") or str(value).strip().lower().startswith(("javascript:", "data:text", "vbscript:"))
        for name, value in element.attrs.items()
    )
