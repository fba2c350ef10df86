"""The whole story in Chromium: from an operator's commands to a site that its people write without losing a word."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from chromium import CHROMIUM, playwright
from editor_browser import GARDEN, PASSWORD, STERNWARTE, World, check_page, editor_world
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

DECODED = "image => image.decode().then(() => image.naturalWidth)"
PHONE = {"viewport": {"width": 390, "height": 800}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with editor_world(tmp_path_factory.mktemp("story")) as found:
        yield found


def save(page: playwright.Page, action: str = "save") -> None:
    page.click(f"main button[value={action}]")
    page.locator(".done").wait_for()


def test_the_whole_story(world: World) -> None:
    reader = world.page()
    reader.goto(world.url(GARDEN))  # From now on in the page cache.
    reader.goto(world.url(STERNWARTE))
    theirs = reader.content()
    owner = world.accept(world.invite(GARDEN, "olga", "owner"))
    entry = write_with_a_picture(owner)
    reader.goto(world.url(GARDEN))
    assert "Leaf mould" not in reader.content()
    preview_on_a_phone(world, owner, entry)
    show_other_settings_on_a_phone(world, owner)
    reader.goto(world.url(GARDEN))
    assert reader.locator(".tagline").count() == 0
    author = invite_an_author(world, owner)
    shared = collide(owner, author)
    log_in_again_in_the_middle(author, shared)
    publish_now(owner, entry)
    # Readers see all of it at once, and those of the other site nothing.
    reader.goto(world.url(GARDEN))
    cards = reader.locator(".entry-card")
    assert cards.locator("h2").all_inner_texts() == ["Shared", "Leaf mould"]
    assert cards.locator(".entry-picture img").first.get_attribute("alt") == "A leaf"
    reader.click("text=Leaf mould")
    assert reader.locator(".entry-picture img").evaluate(DECODED) > 0
    check_page(reader)
    reader.goto(world.url(GARDEN, "/entries/shared"))
    assert "one word more" in reader.content()
    reader.goto(world.url(STERNWARTE))
    assert reader.content() == theirs


def write_with_a_picture(owner: playwright.Page) -> str:
    """Write an entry that is scheduled and has a picture, and return the address of its form."""
    owner.click("text=New entry")
    owner.fill("#title", "Leaf mould")
    owner.fill("#body", "Rake them **wet**.")
    target = io.BytesIO()
    Image.new("RGB", (900, 600), "green").save(target, "PNG")
    owner.click("#pictures summary")
    owner.set_input_files("#file", [{"name": "leaf.png", "mimeType": "image/png", "buffer": target.getvalue()}])
    upload = owner.locator("#uploads > li").first
    upload.locator(".answer input").first.fill("A leaf")
    upload.locator("button").click()
    upload.locator(".answer").wait_for(state="hidden")
    owner.fill("#published", "2999-01-01T12:00:00")
    save(owner, "publish")
    entry = owner.url.partition("?")[0]
    # The picture is that of the entry, and not in its text any more.
    owner.select_option("#picture", index=1)
    owner.fill("#body", "Rake them **wet**.")
    save(owner)
    return entry


def preview_on_a_phone(world: World, owner: playwright.Page, entry: str) -> None:
    owner.goto(f"{entry}/links")
    owner.click("main button[value=make]")
    link, phone = owner.locator("main pre").inner_text(), world.page(**PHONE)
    phone.goto(link)
    assert phone.locator(".entry-body strong").inner_text() == "wet"
    assert phone.locator('img[alt="A leaf"]').evaluate(DECODED) > 0
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert status(phone, link.replace(GARDEN, STERNWARTE)) == 404


def show_other_settings_on_a_phone(world: World, owner: playwright.Page) -> None:
    owner.goto(world.url(GARDEN, "/edit/settings"))
    owner.fill("[name=tagline]", "A garden in autumn")
    owner.click("main button[value=preview]")
    link, phone = owner.locator("main pre").inner_text(), world.page(**PHONE)
    check_page(owner)
    for path in ("", "archive"):
        phone.goto(f"{link}{path}")
        assert phone.locator(".tagline").inner_text() == "A garden in autumn"
    phone.click(".site-nav >> text=Home")
    assert phone.url == link
    assert status(phone, link.replace(GARDEN, STERNWARTE)) == 404


def status(page: playwright.Page, address: str) -> int:
    response = page.goto(address)
    assert response is not None
    return int(response.status)


def invite_an_author(world: World, owner: playwright.Page) -> playwright.Page:
    owner.goto(world.url(GARDEN, "/edit/people"))
    owner.fill("#login", "anna")
    owner.select_option("#role", "author")
    owner.click("main button[value=invite]")
    return world.accept(owner.locator("main pre").inner_text())


def collide(owner: playwright.Page, author: playwright.Page) -> str:
    """Let both change one entry, and return the address of its form."""
    author.click("text=New entry")
    author.fill("#title", "Shared")
    author.fill("#body", "The first text.")
    save(author, "publish")
    shared = author.url.partition("?")[0]
    owner.goto(shared)
    owner.fill("#body", "The text of the owner.")
    author.fill("#body", "The text of the author.")
    save(owner)
    author.click("main button[value=save]")
    assert author.locator("pre").inner_text() == "The text of the owner."
    author.fill("#body", "The texts of both.")
    save(author)
    return shared


def log_in_again_in_the_middle(author: playwright.Page, shared: str) -> None:
    text = "The texts of both, and one word more."
    author.fill("#body", text)
    author.context.clear_cookies()
    author.click("main button[value=save]")
    author.fill("#login", "anna")
    author.fill("#password", PASSWORD)
    author.locator("main form button").click()
    assert author.locator("main pre").inner_text() == text
    author.locator("main form button").click()
    author.locator(".done").wait_for()
    assert author.input_value("#body") == text
    author.goto(f"{shared}/revisions")
    kept = [each.strip() for each in author.locator("pre").all_text_contents()]
    earlier = ["The texts of both.", "The text of the author.", "The text of the owner.", "The first text."]
    assert kept == [text, *earlier]


def publish_now(owner: playwright.Page, entry: str) -> None:
    owner.goto(entry)
    owner.fill("#published", f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}")
    save(owner)
