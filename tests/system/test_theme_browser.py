"""The themes of the reference application in Chromium: accessible in every colour that an owner may choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import CHROMIUM, playwright
from editor_browser import GARDEN, STERNWARTE, World, check_page, editor_world
from paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

PAGES = ["/", "/entries/why-books-fall-apart", "/tags/glue", "/archive", "/archive/2025", "/search?q=paste", "/nothing"]
STYLESHEET = "document.querySelector('link[href*=\"theme.css\"]')?.getAttribute('href')"
LINK = "getComputedStyle(document.querySelector('.entry-meta a')).color"


def run(world: World, *arguments: str) -> None:
    result = world.folder.invoke(*arguments)
    assert result.exit_code == 0, result.output


def open_changed(page: playwright.Page, url: str, before: str | None) -> str:
    """Open `url` until its page has another stylesheet of the theme than `before`, and return that."""
    for _ in range(100):
        page.goto(url)
        if (found := page.evaluate(STYLESHEET)) not in (None, before):
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"{url} still has the stylesheet {before}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with editor_world(tmp_path_factory.mktemp("themes")) as made:
        for host in (GARDEN, STERNWARTE):
            run(made, "import-entries", host, str(ROOT / "sites" / "workshop.localhost" / "content"))
            run(made, "set", host, "tagline=Mended & made")
        yield made


@pytest.mark.parametrize("theme", ["folio", "shopfront"])
def test_a_theme_is_accessible_in_any_colour(world: World, theme: str) -> None:
    phone = world.page(viewport={"width": 390, "height": 844}, color_scheme="light")
    dark = world.page(viewport={"width": 1200, "height": 900}, color_scheme="dark")
    phone.goto(world.url(GARDEN))
    before = phone.evaluate(STYLESHEET)
    run(world, "set-theme", GARDEN, theme, "--set-aside")
    stylesheet = open_changed(phone, world.url(GARDEN), before)
    for path in PAGES:
        phone.goto(world.url(GARDEN, path))
        check_page(phone)
    colours = set()
    for accent in ("#ffff00", "#000080"):
        run(world, "set", GARDEN, f"theme.accent={accent}")
        stylesheet = open_changed(phone, world.url(GARDEN), stylesheet)
        for page in (phone, dark):
            page.goto(world.url(GARDEN))
            colours.add(page.evaluate(LINK))
            # Only its colours differ from those of the page that was checked before.
            check_page(page, colours=page is phone or accent != "#ffff00")
    assert len(colours) == 4
    run(world, "unset", GARDEN, "theme.accent")
    # Another site has nothing of the theme.
    phone.goto(world.url(STERNWARTE))
    assert phone.evaluate(STYLESHEET) is None
