"""The form of an entry in Chromium: the toolbar, the preview of what is typed, and completed tags."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from editor_browser import CHROMIUM, GARDEN, STERNWARTE, World, check_page, editor_world, playwright

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

PHONE = {"viewport": {"width": 390, "height": 800}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with editor_world(tmp_path_factory.mktemp("writing")) as found:
        yield found


def test_the_toolbar_writes_markdown_and_takes_it_away(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "tess", "author"))
    page.goto(world.url(GARDEN, "/edit/new"))
    text, bar = page.locator("#body"), page.get_by_role("toolbar")

    def select(start: int, end: int) -> None:
        text.evaluate("(area, [start, end]) => area.setSelectionRange(start, end)", [start, end])

    text.fill("Rake them wet.")
    for label, key, expected, selection in (
        ("Bold", "b", "Rake **them** wet.", (5, 9)),
        ("Italic", "i", "Rake *them* wet.", (5, 9)),
        ("Code", None, "Rake `them` wet.", (5, 9)),
        ("Heading", None, "## Rake them wet.", (5, 9)),
        ("Quotation", None, "> Rake them wet.", (0, 0)),
    ):
        select(*selection)
        bar.get_by_role("button", name=label).click()
        assert text.input_value() == expected
        bar.get_by_role("button", name=label).click()
        assert text.input_value() == "Rake them wet.", label
        if key is not None:
            select(*selection)
            text.press(f"Control+{key}")
            assert text.input_value() == expected
            text.press("Control+z")
            assert text.input_value() == "Rake them wet."
    select(5, 9)
    bar.get_by_role("button", name="Link").click()
    page.keyboard.type("https://a.example")  # The address is selected.
    assert text.input_value() == "Rake [them](https://a.example) wet."
    text.fill("one\ntwo\n\nthree")
    select(1, 5)
    bar.get_by_role("button", name="List").click()
    assert text.input_value() == "- one\n- two\n\nthree"


def test_the_toolbar_is_one_stop_of_the_keyboard(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "kay", "author"))
    page.goto(world.url(GARDEN, "/edit/new"))
    page.get_by_label("Title", exact=True).focus()

    def focused() -> str:
        return str(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))

    seen = []
    for key in ("Tab", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home", "Tab"):
        page.keyboard.press(key)
        seen.append(focused())
    last = page.get_by_role("toolbar").get_by_role("button").last.text_content().strip()
    assert seen == ["Bold", "Italic", last, "Bold", last, "Bold", "body"]


def preview_of(page: playwright.Page) -> playwright.FrameLocator:
    return page.frame_locator("#preview iframe:not([hidden])")


@pytest.mark.parametrize("host", [GARDEN, STERNWARTE])
def test_what_is_typed_is_shown_as_the_page_of_the_site(world: World, host: str) -> None:
    page = world.accept(world.invite(host, "pia", "author"), **PHONE)
    page.goto(world.url(host, "/edit/new"))
    page.fill("#title", "A preview")
    page.fill("#body", "Rake **them**.\n\n<script>top.document.title = 'stolen'</script>\n\n" + "More.\n\n" * 100)
    page.locator("#preview summary").focus()
    page.keyboard.press("Enter")
    shown = preview_of(page)
    assert shown.locator(".entry-body strong").inner_text() == "them"
    assert shown.locator(".site-name").count() == 1
    # In the site's own style, and where the reader was, after each pause of typing.
    rules = "[...document.styleSheets].map(sheet => sheet.cssRules.length).filter(count => count > 10).length"
    assert shown.locator("body").evaluate(rules) >= 1
    shown.locator("body").evaluate("scrollTo(0, 300)")
    steps = page.evaluate("history.length")
    page.locator("#body").press("Control+Home")
    page.keyboard.type("*New*: ")
    shown.locator(".entry-body em", has_text="New").wait_for()
    assert page.locator("#preview iframe").count() == 1
    assert shown.locator("body").evaluate("scrollY") == 300
    assert page.evaluate("history.length") == steps
    assert "stolen" not in page.title()
    check_page(page)
    # Nothing of it was saved, and the form still saves.
    assert page.url.endswith("/edit/new")
    page.click("main button[value=save]")
    page.wait_for_url("**/edit/entries/*")


def test_what_is_typed_is_shown_without_a_script(world: World) -> None:
    link = world.invite(GARDEN, "nora", "author")
    page = world.accept(link, java_script_enabled=False)
    page.goto(world.url(GARDEN, "/edit/new"))
    assert page.get_by_role("toolbar").count() == 0
    page.fill("#body", "Rake **them**.")
    page.click("#preview summary")
    page.click("#preview button")
    assert preview_of(page).locator(".entry-body strong").inner_text() == "them"
    assert page.input_value("#body") == "Rake **them**."


def test_each_tag_is_completed(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "tag", "author"))
    page.goto(world.url(GARDEN, "/edit/new"))
    page.fill("#title", "With tags")
    page.fill("#tags", "autumn, soil")
    page.click("main button[value=save]")
    page.goto(world.url(GARDEN, "/edit/new"))

    def offered() -> list[str]:
        found = page.evaluate("[...document.querySelector('#known-tags').options].map(option => option.value)")
        return [str(each) for each in found]

    assert offered() == ["autumn", "soil"]
    page.fill("#tags", "soil, a")
    assert offered() == ["soil, autumn"]


@pytest.mark.parametrize(("host", "scheme"), [(GARDEN, "light"), (STERNWARTE, "dark")])
def test_changes_and_links_are_accessible_on_a_phone(world: World, host: str, scheme: str) -> None:
    page = world.accept(world.invite(host, f"axe-{scheme}", "author"), color_scheme=scheme, **PHONE)
    page.goto(world.url(host, "/edit/new"))
    page.fill("#title", "An entry")
    for text in ("One line.", "Another line.\n\n" + "x" * 200):
        page.fill("#body", text)
        page.click("main button[value=save]")
        page.wait_for_url("**/edit/entries/*")
    check_page(page)
    address = page.url.partition("?")[0]
    page.goto(f"{address}/revisions")
    check_page(page)
    page.locator("section a").first.click()
    page.locator("ins").first.wait_for()
    check_page(page)
    page.goto(f"{address}/links")
    page.click("main button[value=make]")
    page.locator("main pre").wait_for()
    check_page(page)
    reader = world.page(**PHONE)
    reader.goto(page.locator("main pre").inner_text())
    assert reader.locator("h1").inner_text() == "An entry"
