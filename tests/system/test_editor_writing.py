"""The form of an entry in Chromium: the toolbar, the preview of what is typed, and completed tags."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import CHROMIUM, closing_pages, playwright
from editor_browser import GARDEN, STERNWARTE, World, check_page, editor_world
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

PHONE = {"viewport": {"width": 390, "height": 800}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with editor_world(tmp_path_factory.mktemp("writing")) as found:
        yield found


@pytest.fixture(autouse=True)
def closed_pages(world: World) -> Iterator[None]:
    with closing_pages(world.browser):
        yield


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
    # In the other language and colours, the elements of a page are the same.
    colours = scheme == "light" and "MULTISITE_SOAK" not in os.environ
    page = world.accept(world.invite(host, f"axe-{scheme}", "author"), color_scheme=scheme, **PHONE)
    page.goto(world.url(host, "/edit/new"))
    page.fill("#title", "An entry")
    for text in ("One line.", "Another line.\n\n" + "x" * 200):
        page.fill("#body", text)
        page.click("main button[value=save]")
        page.wait_for_url("**/edit/entries/*")
    address = page.url.partition("?")[0]
    page.goto(f"{address}/revisions")
    page.locator("section a").first.click()
    page.locator("ins").first.wait_for()
    check_page(page, colours=colours)
    page.goto(f"{address}/links")
    page.click("main button[value=make]")
    page.locator("main pre").wait_for()
    check_page(page, colours=colours)
    reader = world.page(**PHONE)
    reader.goto(page.locator("main pre").inner_text())
    assert reader.locator("h1").inner_text() == "An entry"


def picture(color: str) -> dict[str, Any]:
    """Return a PNG as a browser's user chooses it."""
    target = io.BytesIO()
    Image.new("RGB", (600, 400), color).save(target, "PNG")
    return {"name": f"{color}.png", "mimeType": "image/png", "buffer": target.getvalue()}


GIVE = """(text, [kind, name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
        : new DragEvent(kind, { ...options, dataTransfer: transfer });
    text.dispatchEvent(event);
}"""
"""Gives a file to the text as the browser does when one is pasted or dropped."""


@pytest.mark.parametrize(("host", "scheme"), [(GARDEN, "light"), (STERNWARTE, "dark")])
def test_pictures_are_chosen_dropped_and_pasted(world: World, host: str, scheme: str) -> None:
    page = world.accept(world.invite(host, f"pix-{scheme}", "author"), color_scheme=scheme, **PHONE)
    page.goto(world.url(host, "/edit/new"))
    page.fill("#title", "With pictures")
    page.fill("#body", "Before.")
    with page.expect_file_chooser() as chooser:
        page.locator("[data-picture]").click()
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}
    chooser.value.set_files([picture("red"), broken, picture("green")])
    rows = page.locator("#uploads > li")
    rows.nth(2).locator(".answer").wait_for()
    assert [rows.nth(number).locator(".answer").is_visible() for number in range(3)] == [True, False, True]
    assert "broken.png" in rows.nth(1).get_by_role("status").inner_text()
    assert page.locator("#uploads progress").count() == 0
    assert rows.nth(0).locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    check_page(page)
    # Nothing is added before it is said what the picture shows.
    rows.nth(0).locator("button").click()
    assert rows.nth(0).get_by_role("status").inner_text() == page.locator("#pictures").get_attribute("data-asked")
    page.keyboard.type("A red field")  # The focus is in the line for it.
    page.keyboard.press("Enter")
    rows.nth(0).locator(".answer").wait_for(state="hidden")
    rows.nth(2).get_by_role("checkbox").check()
    rows.nth(2).locator("button").click()
    rows.nth(2).locator(".answer").wait_for(state="hidden")
    for kind, color, number in (("paste", "blue", 3), ("drop", "yellow", 4)):
        chosen = picture(color)
        page.locator("#body").evaluate(GIVE, [kind, chosen["name"], list(chosen["buffer"])])
        rows.nth(number).locator(".answer input").first.fill(f"A {color} field")
        rows.nth(number).locator("button").click()
        rows.nth(number).locator(".answer").wait_for(state="hidden")
    shown = re.sub(r"/media/[0-9a-f]{64}/", "", page.input_value("#body")).split()
    assert " ".join(shown) == (
        "Before. ![A red field](red.png) ![](green.png) ![A blue field](blue.png) ![A yellow field](yellow.png)"
    )
    assert page.url.endswith("/edit/new")  # The key Enter has not sent the form.
    page.click("main button[value=publish]")
    page.wait_for_url("**/edit/entries/*")
    reader = world.page(**PHONE)
    reader.goto(world.url(host, "/entries/with-pictures"))
    images = reader.locator(".entry-body img")
    assert [images.nth(number).get_attribute("alt") for number in range(4)] == [
        "A red field",
        "",
        "A blue field",
        "A yellow field",
    ]
    assert images.nth(3).evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    # The media of the site.
    page.goto(world.url(host, "/edit/media"))
    assert page.locator(".tiles li").count() == 4
    check_page(page)
    page.locator(".tiles a").first.click()
    page.locator("#alt").wait_for()
    check_page(page)


def test_an_upload_after_the_log_in_has_ended_says_so(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "ende", "author"))
    page.goto(world.url(GARDEN, "/edit/new"))
    page.fill("#body", "My text.")
    page.context.clear_cookies()
    page.set_input_files("#file", [picture("red")])
    page.locator("#uploads [role=status]", has_text="Your log-in has ended.").wait_for()
    assert page.input_value("#body") == "My text."


def test_a_picture_is_added_without_a_script(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "nina", "author"), java_script_enabled=False)
    page.goto(world.url(GARDEN, "/edit/new"))
    page.fill("#title", "By form")
    page.fill("#body", "Before.")
    page.click("#pictures summary")
    page.set_input_files("#file", [picture("purple")])
    page.fill("#alt", "A purple field")
    page.click("main button[value=upload]")
    page.locator(".done").wait_for()
    assert re.fullmatch(r"Before\.\n\n!\[A purple field\]\(/media/\S+/purple\.png\)", page.input_value("#body"))
    assert page.input_value("#title") == "By form"
