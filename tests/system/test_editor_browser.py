"""The editor in Chromium: from the operator's two commands to a page that readers see, and what its pages are like."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from chromium import CHROMIUM, closing_pages
from editor_browser import GARDEN, PASSWORD, STERNWARTE, World, check_page, editor_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with editor_world(tmp_path_factory.mktemp("editor")) as found:
        yield found


@pytest.fixture(autouse=True)
def closed_pages(world: World) -> Iterator[None]:
    with closing_pages(world.browser):
        yield


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


def test_an_owner_writes_a_page_and_puts_it_into_the_menu_without_a_mouse(world: World) -> None:
    owner, reader = world.accept(world.invite(GARDEN, "mona", "owner")), world.page()
    owner.click("text=Pages")
    owner.click("text=New page")
    owner.fill("[name=title]", "Imprint")
    owner.fill("[name=body]", "We **are**.")
    owner.click("text=Save and publish")
    owner.wait_for_selector(".done")
    owner.goto(world.url(GARDEN, "/edit/menu"))
    for label, target in (("Start", "/"), ("Who we are", "/imprint/")):
        owner.get_by_label("Text of the link").last.fill(label)
        owner.get_by_label("Leads to").last.fill(target)
        owner.keyboard.press("Enter")
        owner.get_by_role("button", name=f"Up {label}").wait_for()
    owner.get_by_role("button", name="Up Who we are").focus()
    owner.keyboard.press("Enter")
    owner.wait_for_function("document.querySelector('[name=label]').value === 'Who we are'")
    reader.goto(world.url(GARDEN, "/imprint"))
    assert reader.url == world.url(GARDEN, "/imprint/")
    assert reader.locator(".site-nav a").all_inner_texts() == ["Who we are", "Start"]
    assert reader.locator(".site-nav [aria-current=page]").inner_text() == "Who we are"
    check_page(reader)
    check_page(owner)
    owner.get_by_role("button", name="Remove all").click()
    owner.get_by_text("default menu: its home page").wait_for()


PATHS = (
    "/edit/",
    "/edit/?deleted=1",
    "/edit/new",
    "/edit/new?parent=/",
    "/edit/pages",
    "/edit/menu",
    "/edit/deleted",
    "/edit/account",
    "/edit/people",
    "/edit/settings",
    "/edit/settings/links",
    "/edit/settings/theme",
    "/logout",
)


@pytest.mark.parametrize(("host", "scheme"), [(GARDEN, "light"), (STERNWARTE, "dark")])
def test_every_page_is_accessible_on_a_phone_in_both_languages(world: World, host: str, scheme: str) -> None:
    link = world.invite(host, f"axe-{scheme}", "owner")
    # In the other language and colours, the elements of a page are the same.
    colours = scheme == "light" and "MULTISITE_SOAK" not in os.environ
    options = {"color_scheme": scheme, "viewport": {"width": 320, "height": 640}}
    page = world.page(**options)
    page.goto(link)
    check_page(page, colours=colours)
    for path in ("/login", "/login/forgotten"):
        page.goto(world.url(host, path))
        check_page(page, colours=colours)
    page = world.accept(link, **options)
    page.goto(world.url(host, "/edit/new"))
    page.click("main button[value=publish]", no_wait_after=True)  # The browser itself asks for a title.
    page.fill("[name=title]", "An entry with a-very-long-word-" + "x" * 80)
    page.fill("[name=published]", "2024-05-05T12:00:00")
    page.fill("[name=body]", "Text")
    page.click("main button[value=publish]")
    check_page(page, colours=colours)
    entry = page.url.partition("?")[0]
    page.goto(entry + "/revisions")
    page.click("summary")
    check_page(page, colours=colours)
    for path in PATHS if scheme == "dark" else PATHS[:1]:  # The light colours are those of the pages above.
        page.goto(world.url(host, path))
        check_page(page, colours=colours)
    page.goto(world.url(host, "/edit/settings"))
    page.fill("[name=posts_per_page]", "0")
    page.click("main button")
    assert page.locator("[aria-invalid=true]").count() == 1
    check_page(page, colours=colours)


def test_the_first_page_is_small(world: World) -> None:
    page = world.accept(world.invite(GARDEN, "size", "author"))
    # A click returns before the page is read to its end: its size is 0 until then.
    page.reload(wait_until="networkidle")
    sizes = page.evaluate("performance.getEntries().map(entry => entry.encodedBodySize || 0)")
    assert 1_000 < sum(sizes) < 100_000
