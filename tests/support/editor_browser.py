"""The editor on a real server, and a browser, for the tests of its pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from chromium import playwright, running_chromium
from command_folder import Folder
from databases import migrate_own
from editor_sites import CHEAP
from paths import ROOT
from waitress_server import serving

from multisite.content import main
from multisite.content.tables import Base, User
from multisite.core.keys import DIRECTORY
from multisite.directory import engine_from_url

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is missing: install pyramid-multisite[test]"
)

__all__ = ["COLOURS", "GARDEN", "PASSWORD", "STERNWARTE", "World", "check_page", "editor_world"]

GARDEN, STERNWARTE = "garden.localhost", "sternwarte.localhost"
PASSWORD = "correct horse battery staple"
COLOURS = {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
"""Options of axe: only the rules that depend on colours, for a page whose other rules are checked elsewhere."""


@dataclass
class World:
    """A running server, the folder in which the operator runs commands, and a browser."""

    folder: Folder
    port: int
    browser: playwright.Browser

    def url(self, host: str, path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    def invite(self, host: str, login: str, role: str) -> str:
        """Run `add-user`, and return the link that it prints."""
        result = self.folder.invoke("add-user", host, login, "--role", role)
        assert result.exit_code == 0, result.output
        found = re.search(r"http://\S+", result.stdout)
        assert found is not None
        return found[0]

    def page(self, **options: object) -> playwright.Page:
        """Return a page of a browser of its own, in which every error of a page fails the test."""
        page = self.browser.new_context(**options).new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.on("console", lambda line: pytest.fail(line.text) if "Content Security Policy" in line.text else None)
        return page

    def accept(self, link: str, **options: object) -> playwright.Page:
        """Take an invitation, and return the page on which one is logged in."""
        page = self.page(**options)
        page.goto(link)
        for name in ("password", "repeated"):
            page.fill(f"[name={name}]", PASSWORD)
        page.click("main button")
        assert page.url.endswith("/edit/")
        return page


@contextmanager
def editor_world(path: Path) -> Iterator[World]:
    """Serve two sites from the folder `path`, and start a browser."""
    shutil.copytree(ROOT / "templates", path / "templates")
    url = f"sqlite:///{path / 'test.db'}"
    folder = Folder(path, url)
    engine = engine_from_url(url, poolclass=sa.NullPool)
    migrate_own(engine)
    Base.metadata.create_all(engine)
    settings = {
        "sqlalchemy.url": url,
        "multisite.sites_dir": str(path / "sites"),
        "multisite.templates_dir": str(path / "templates"),
        "multisite.media_url": str(path / "media"),
        "multisite.page_cache_seconds": "600",
    }
    before, User.password_hasher = User.password_hasher, CHEAP
    app = main({}, **settings)
    try:
        with serving(app, threads=4) as (_host, port), running_chromium() as browser:
            folder.write(server=f"listen = 127.0.0.1:{port}")
            for arguments in ((GARDEN, "--name", "Garden"), (STERNWARTE, "--locale", "de")):
                assert folder.invoke("add-site", *arguments).exit_code == 0
            yield World(folder, port, browser)
    finally:
        User.password_hasher = before
        app.registry[DIRECTORY].engine.dispose()
        engine.dispose()


def check_page(page: playwright.Page, *, colours: bool = False) -> None:
    """Check a page by axe, or with `colours` by its rules on colours only; and that it has no horizontal scroll bar."""
    found = axe.Axe().run(page, **({"options": COLOURS} if colours else {})).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], page.url
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0, page.url
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == ("de" if STERNWARTE in page.url else "en")
