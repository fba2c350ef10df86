"""The editor in Chromium: from the operator's two commands to a page that readers see, and what its pages are like."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import migrate_own
from editor_sites import CHEAP
from paths import ROOT
from waitress_server import serving

from multisite.content import main
from multisite.content.tables import Base, User
from multisite.core.keys import DIRECTORY
from multisite.directory import engine_from_url

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: install pyramid-multisite[test]")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is missing: install pyramid-multisite[test]"
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
GARDEN, STERNWARTE = "garden.localhost", "sternwarte.localhost"
PASSWORD = "correct horse battery staple"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("editor")
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
        "multisite.page_cache_seconds": "600",
    }
    before, User.password_hasher = User.password_hasher, CHEAP
    app = main({}, **settings)
    try:
        with serving(app, threads=4) as (_host, port), playwright.sync_playwright() as driver:
            folder.write(server=f"listen = 127.0.0.1:{port}")
            for arguments in ((GARDEN, "--name", "Garden"), (STERNWARTE, "--locale", "de")):
                assert folder.invoke("add-site", *arguments).exit_code == 0
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            yield World(folder, port, browser)
            browser.close()
    finally:
        User.password_hasher = before
        app.registry[DIRECTORY].engine.dispose()
        engine.dispose()


def test_from_the_operators_commands_to_a_page_that_readers_see(world: World) -> None:
    reader = world.page()
    reader.goto(world.url(GARDEN))
    assert "Nothing has been published" in reader.content()
    owner = world.accept(world.invite(GARDEN, "olga", "owner"))
    owner.click("text=New entry")
    owner.fill("[name=title]", "Leaf mould")
    owner.fill("[name=body]", "Rake them **wet**.\n\n<script>document.title = 'stolen'</script>")
    owner.fill("[name=tags]", "soil, autumn")
    owner.click("text=Save as a draft")
    assert owner.locator(".done").inner_text() == "The entry is saved."
    reader.goto(world.url(GARDEN))
    assert "Leaf mould" not in reader.content()
    owner.click("text=Preview")
    assert owner.locator("strong").first.inner_text() == "wet"
    assert owner.title() == "Leaf mould – Garden"
    owner.go_back()
    owner.click("text=Save and publish")
    # At once, although the page was cached; on no other site; and nothing that was typed has run.
    reader.goto(world.url(GARDEN))
    reader.click("text=Leaf mould")
    assert reader.locator(".entry-body strong").inner_text() == "wet"
    assert reader.title() == "Leaf mould – Garden"
    reader.goto(world.url(STERNWARTE))
    assert "Leaf mould" not in reader.content()


def test_an_author_who_collides_with_an_editor_loses_no_word(world: World) -> None:
    author = world.accept(world.invite(GARDEN, "anna", "author"))
    editor = world.accept(world.invite(GARDEN, "emil", "editor"))
    author.click("text=New entry")
    author.fill("[name=title]", "Shared")
    author.fill("[name=body]", "The first text.")
    author.click("text=Save and publish")
    editor.goto(author.url.partition("?")[0])
    editor.fill("[name=body]", "The text of the editor.")
    author.fill("[name=body]", "The text of the author.")
    editor.click("main button[value=save]")
    author.click("main button[value=save]")
    assert author.locator("pre").inner_text() == "The text of the editor."
    assert author.locator("[name=body]").input_value() == "The text of the author."
    author.fill("[name=body]", "The texts of both.")
    author.click("main button[value=save]")
    author.click("text=Revisions")
    kept = [text.strip() for text in author.locator("pre").all_text_contents()]
    assert kept == ["The texts of both.", "The text of the author.", "The text of the editor.", "The first text."]
    reader = world.page()
    reader.goto(world.url(GARDEN, "/entries/shared"))
    assert "The texts of both." in reader.content()


def test_what_is_typed_is_kept_without_saving(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "tim", "author"))
    page.click("text=New entry")
    page.get_by_label("Title", exact=True).fill("Half a title")
    page.locator("#autosave-status", has_text="Kept, but not saved.").wait_for()
    page.locator("[name=body]").press_sequentially("and half a text")
    page.goto(world.url(GARDEN, "/edit/"))  # Less than two seconds later: the page is left.
    assert "Half a title" not in page.content()
    page.click("text=New entry")
    page.wait_for_function("fetch(location.href).then(page => page.text()).then(text => text.includes('Half a title'))")
    page.reload()
    page.click("text=Half a title")
    assert page.locator("[name=body]").input_value() == "and half a text"
    page.click("main button[value=save]")
    assert page.locator(".done").inner_text() == "The entry is saved."
    page.goto(world.url(GARDEN, "/edit/new"))
    assert "Half a title" not in page.content()


def test_one_logs_in_and_writes_by_the_keyboard(world: World) -> None:
    world.accept(world.invite(GARDEN, "kim", "author"))
    page = world.page()
    page.goto(world.url(GARDEN, "/edit/"))

    def press(*keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    press("Tab", "Enter")  # Skip to the content.
    press("Tab")
    page.keyboard.type("kim")
    press("Tab")
    page.keyboard.type(PASSWORD)
    press("Enter")
    page.wait_for_url("**/edit/")
    page.get_by_role("link", name="New entry").focus()
    press("Enter")
    page.wait_for_url("**/edit/new")
    page.get_by_label("Title", exact=True).focus()
    page.keyboard.type("By keyboard")
    press("Enter")
    page.wait_for_url("**/edit/entries/*")
    assert page.get_by_label("Title", exact=True).input_value() == "By keyboard"


PATHS = (
    "/edit/",
    "/edit/?deleted=1",
    "/edit/new",
    "/edit/deleted",
    "/edit/account",
    "/edit/people",
    "/edit/settings",
    "/logout",
)


@pytest.mark.parametrize(("host", "scheme"), [(GARDEN, "light"), (STERNWARTE, "dark")])
def test_every_page_is_accessible_on_a_phone_in_both_languages(world: World, host: str, scheme: str) -> None:
    link = world.invite(host, f"axe-{scheme}", "owner")
    options = {"color_scheme": scheme, "viewport": {"width": 320, "height": 640}}
    page = world.page(**options)
    page.goto(link)
    check_page(page)
    for path in ("/login", "/login/forgotten"):
        page.goto(world.url(host, path))
        check_page(page)
    page = world.accept(link, **options)
    page.goto(world.url(host, "/edit/new"))
    page.click("main button[value=publish]", no_wait_after=True)  # The browser itself asks for a title.
    page.fill("[name=title]", "An entry with a-very-long-word-" + "x" * 80)
    page.fill("[name=published]", "2024-05-05T12:00:00")
    page.fill("[name=body]", "Text")
    page.click("main button[value=publish]")
    check_page(page)
    entry = page.url.partition("?")[0]
    page.goto(entry + "/revisions")
    page.click("summary")
    check_page(page)
    for path in PATHS if scheme == "dark" else PATHS[:1]:  # The light colours are those of the pages above.
        page.goto(world.url(host, path))
        check_page(page)
    page.goto(world.url(host, "/edit/settings"))
    page.fill("[name=posts_per_page]", "0")
    page.click("main button")
    assert page.locator("[aria-invalid=true]").count() == 1
    check_page(page)


def check_page(page: playwright.Page) -> None:
    """Check a page by axe, and that it has no horizontal scroll bar."""
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], page.url
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0, page.url
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == ("de" if STERNWARTE in page.url else "en")


def test_the_first_page_is_small(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "size", "author"))
    # A click returns before the page is read to its end: its size is 0 until then.
    page.reload(wait_until="networkidle")
    sizes = page.evaluate("performance.getEntries().map(entry => entry.encodedBodySize || 0)")
    assert 1_000 < sum(sizes) < 100_000
