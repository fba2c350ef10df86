"""The console in Chromium: every page, in a window and on a small phone, by mouse, by keyboard and without scripts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyotp
import pytest
from chromium import CHROMIUM, closing_pages, playwright, running_chromium
from console_world import CONSOLE, console_sites, do_jobs, next_code
from content_sites import GARDEN, STERNWARTE, ContentSites
from editor_browser import COLOURS, PASSWORD, axe
from editor_sites import add_user
from pyramid.interfaces import IRoutesMapper
from waitress_server import serving

from multisite.console.operators import add_operator
from multisite.content.tables import Base
from multisite.core.finding import Finding
from multisite.core.keys import DIRECTORY
from multisite.directory.records import get_site
from multisite.sites import jobs, processes, traffic
from multisite.sites.domain_checks import DomainChecker, check_domains
from multisite.sites.last_check import keep_check
from multisite.web import site_contents
from multisite.web.console_host import CONSOLE as CONSOLE_KEY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SIZES = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
FOCUS_IS_SEEN = """bar => document.activeElement.getBoundingClientRect().bottom
    <= document.querySelector(bar).getBoundingClientRect().top"""
SIZES_OF_CONTROLS = """isPhone => [...document.querySelectorAll("button, .button, select, input")].map(each => {
        const box = each.getBoundingClientRect(), height = Math.round(box.height);
        if (height === 0 || each.type === "file") return null;
        if (each.type === "checkbox" || each.type === "radio") {
            return height === 18 && Math.round(box.width) === 18 ? null : `${each.id}: ${box.width} x ${height}`;
        }
        return height === 40 || (isPhone && height > 40) ? null : `${each.textContent || each.id}: ${height}`;
    }).filter(each => each)"""
"""The buttons, fields and boxes that do not have the one size of their kind; on a phone, buttons may have two lines."""
BROKEN_BUTTONS = """() => [...document.querySelectorAll("button, .button")].filter(each => {
        const height = each.getBoundingClientRect().height;
        return height > 0 && !each.textContent.trim().includes(" ") && Math.round(height) != 40;
    }).map(each => each.textContent)"""
"""The buttons with one word that is broken into two lines."""
BAR_IS_SEEN = """() => {
    const bar = document.getElementById("selection").getBoundingClientRect();
    return bar.height > 0 && bar.bottom <= innerHeight;
}"""


@dataclass
class World:
    """A running server with two sites and the console, and a browser."""

    sites: ContentSites
    port: int
    browser: playwright.Browser

    def url(self, path: str = "/", host: str = CONSOLE) -> str:
        return f"http://{host}:{self.port}{path}"

    def page(self, **options: object) -> playwright.Page:
        """Return a page of a browser of its own, in which every error, and every request to elsewhere, fails."""
        page = self.browser.new_context(**options).new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.on("console", lambda line: pytest.fail(line.text) if "Content Security Policy" in line.text else None)
        page.on("request", lambda request: None if ".example:" in request.url else pytest.fail(request.url))
        return page


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("console")
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        console_sites(f"sqlite:///{folder / 'test.db'}", folder) as sites,
        serving(sites.app, threads=4) as (_host, port),
        running_chromium("--host-resolver-rules=MAP *.example 127.0.0.1") as browser,
    ):
        # Not the tables of other tests in this process.
        site_contents(sites.app.registry).metadata = [Base.metadata]
        for module in ("site_pages", "site_list_pages"):
            monkeypatch.setattr(f"multisite.console.{module}.is_counted", lambda _request: True)
        add_user(sites, sites.garden, "olga", "owner")
        fill_operation_pages(sites)
        yield World(sites, port, browser)


def fill_operation_pages(sites: ContentSites) -> None:
    """Let the pages of jobs, traffic and domains have something of everything to show."""
    engine, site, minute = sites.engine, sites.garden, int(time.time()) // 60
    error = traffic.ErrorSeen(datetime.now(UTC), site.id, "entry", "500 SomeVeryLongNameOfAnError", "abcdef0123456789")
    traffic.write_counts(engine, traffic.TrafficCounts({(site.id, "entry", minute): [80, 20, 4.0, 5_000]}, [error]))
    faults = [
        Finding("unique-without-site", "tags", "lacks site_id", "add it"),
        Finding("view", "v", "m", "r", "notice"),
    ]
    keep_check(engine, faults, seconds=1.5)
    processes.report(sites.app.registry[DIRECTORY], datetime.now(UTC))
    for status, result, reason in (
        ("done", {"sites": [{"site": GARDEN, "error": "there is no theme"}], "failed": 1}, None),
        ("failed", None, "the folder for archives cannot be written to"),
        ("cancelled", None, None),
    ):
        jobs.add_job(engine, "bulk", arguments={"action": "set-theme", "hosts": [GARDEN]})
        job = jobs.claim_job(engine, jobs.worker_name())
        assert job is not None
        jobs.end_job(engine, job, status, result=result, error=reason)
    for _ in range(2):
        jobs.add_job(engine, "copy-site", site=GARDEN, arguments={"host": GARDEN})
    jobs.claim_job(engine, jobs.worker_name())
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Nothing answers there by UDP.
        nowhere = DomainChecker(["192.0.2.1"], nameserver=server.getsockname(), timeout_seconds=0.05)
        check_domains(engine, [get_site(engine, GARDEN)], nowhere)


@pytest.fixture(autouse=True)
def closed_pages(world: World) -> Iterator[None]:
    with closing_pages(world.browser):
        yield


@pytest.fixture(scope="module")
def state(world: World) -> object:
    """Return the cookies of an operator who has taken an invitation in the browser."""
    page = world.page(color_scheme="dark")
    page.goto(world.url(f"/login/{add_operator(world.sites.engine, 'jane', 'everything')}"))
    check_page(page)
    page.get_by_text("I cannot scan it").click()
    secret = page.locator("details pre").inner_text().replace(" ", "")
    for name, text in (("password", PASSWORD), ("repeated", PASSWORD), ("code", pyotp.TOTP(secret).at(time.time()))):
        page.fill(f"[name={name}]", text)
    page.get_by_role("button", name="Save and log in").click()
    page.wait_for_url(world.url())
    return page.context.storage_state()


def check_page(page: playwright.Page, *, colours: bool = False) -> None:
    """Check a page by axe, or with `colours` by its rules on colours only; and that it is not too wide."""
    found = axe.Axe().run(page, **({"options": COLOURS} if colours else {})).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], page.url
    assert page.evaluate(OVERFLOW) <= 0, page.url
    assert page.locator("h1").count() == 1


def paths(world: World) -> list[str]:
    site = f"/sites/{world.sites.garden.id}"
    tabs = [
        f"{site}/{tab}"
        for tab in (
            "traffic",
            "traffic?period=month",
            "domains",
            "settings",
            "theme",
            "state",
            "users",
            "copy",
            "remove",
        )
    ]
    job = min(job.id for job in jobs.list_jobs(world.sites.engine))
    return [
        "/",
        "/?q=nothing",
        "/add",
        "/import",
        "/bulk?all=1",
        "/bulk",
        f"/jobs/{job}",
        f"/jobs/{job + 3}",
        site,
        *tabs,
        "/removed",
        "/jobs",
        "/health",
        "/log",
        "/operators",
        "/account",
        "/logout",
        "/none",
    ]


WITHOUT_A_VISIT = {
    "login", "link", "confirm",  # Other tests of this file log in.
    "end_log_in", "sign_in",  # Buttons of pages that are visited, as are those of passkeys.
    "passkey_challenge", "passkey_log_in", "passkey_confirm", "new_passkey", "passkeys", "rename_passkey",
    "remove_passkey",
    "log_csv", "export", "theme_picture",  # Files.
}  # fmt: skip


def test_every_page_is_visited(world: World) -> None:
    """So that a new page cannot be forgotten: by the routes of the console."""
    mapper = world.sites.app.registry[CONSOLE_KEY].registry.getUtility(IRoutesMapper)
    named = {route.name for route in mapper.get_routes() if "*subpath" not in route.pattern}
    visited = {
        next((route.name for route in mapper.get_routes() if route.match(path.partition("?")[0]) is not None), None)
        for path in paths(world)
    }
    assert visited - {None} == named - WITHOUT_A_VISIT


@pytest.mark.parametrize(("width", "scheme", "locale"), [(1280, "light", "en"), (390, "dark", "en")])
def test_every_page_is_accessible_and_fits(world: World, state: object, width: int, scheme: str, locale: str) -> None:
    page = world.page(storage_state=state, viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    # In the other size and colours, the elements of a page are the same.
    colours = scheme == "light" and "MULTISITE_SOAK" not in os.environ
    for path in paths(world):
        page.goto(world.url(path))
        check_page(page, colours=colours)
        assert page.evaluate("document.documentElement.lang") == locale
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate(SIZES_OF_CONTROLS, width < 500) == [], path
    page.context.clear_cookies()
    page.goto(world.url("/add"))
    check_page(page)
    page.context.close()


def test_the_menu_and_the_tabs_take_one_row_each_on_a_phone(world: World, state: object) -> None:
    page = world.page(storage_state=state, viewport={"width": 390, "height": 800})
    page.goto(world.url(f"/sites/{world.sites.garden.id}"))
    rows = "names => names.map(each => new Set([...document.querySelectorAll(each)].map(a => a.offsetTop)).size)"
    assert page.evaluate(rows, [".side nav a", ".tabs a"]) == [1, 1]
    assert page.locator(".tiles").bounding_box()["y"] < 240
    for links in (".side nav a", ".tabs a"):
        last = page.locator(links).last
        last.focus()
        box = last.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    page.context.close()


def test_the_table_of_a_plot_is_one_click_away(world: World, state: object) -> None:
    page = world.page(storage_state=state, java_script_enabled=False)
    page.goto(world.url(f"/sites/{world.sites.garden.id}/traffic"))
    table = page.get_by_role("table")
    assert not table.is_visible()
    page.get_by_text("The same numbers as a table").click()
    table.wait_for()
    assert page.locator("svg rect.requests").count() == page.locator("tbody tr").count() == 24


def test_a_job_is_cancelled_without_scripts(world: World, state: object) -> None:
    page = world.page(storage_state=state, java_script_enabled=False)
    page.goto(world.url("/jobs"))
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_text("The job is cancelled.").wait_for()
    page.goto(world.url("/jobs"))
    assert page.locator(".pill.job-cancelled").count() == 2


def test_the_longest_words_fit_on_the_smallest_screen(world: World, state: object) -> None:
    page = world.page(storage_state=state, viewport={"width": 320, "height": 640}, locale="de")
    for path in paths(world):
        page.goto(world.url(path))
        assert page.evaluate(OVERFLOW) <= 0, path
        assert page.evaluate(BROKEN_BUTTONS) == [], path
        assert page.evaluate("document.documentElement.lang") == "de"


@pytest.mark.parametrize("width", [900, 1200, 1600])
def test_the_names_of_sites_keep_their_width(world: World, state: object, width: int) -> None:
    page = world.page(storage_state=state, viewport={"width": width, "height": 640})
    page.goto(world.url())
    assert page.evaluate("Math.min(...[...document.querySelectorAll('.names')].map(name => name.clientWidth))") >= 100


def test_the_rows_of_the_list_have_one_height(world: World, state: object) -> None:
    """One of them has errors and a name that is too long."""
    page = world.page(storage_state=state, viewport={"width": 1280, "height": 800})
    page.goto(world.url())
    row = page.locator("tbody tr").filter(has_text=GARDEN)
    assert row.locator(".many").inner_text() == "20"
    row.locator("b").evaluate("name => name.textContent = 'A very long name '.repeat(20)")
    heights = page.evaluate("[...document.querySelectorAll('tbody tr')].map(row => row.offsetHeight)")
    assert len(heights) > 1
    assert max(heights) - min(heights) <= 1  # The border of the first row is half outside of it.
    assert page.evaluate(OVERFLOW) <= 0


@pytest.mark.parametrize(("path", "behind", "top"), [("/", "Sort", 340), ("/log", "Action", 280)])
def test_a_list_begins_near_the_top_of_a_phone(world: World, state: object, path: str, behind: str, top: int) -> None:
    page = world.page(storage_state=state, viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page.goto(world.url(path))
    assert page.locator("tbody tr:not(.group)").first.bounding_box()["y"] < top
    field = page.get_by_label(behind)
    assert not field.is_visible()
    page.get_by_text("More filters").click()
    field.wait_for()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(world.url(path))
    field.wait_for()
    page.context.close()


def test_the_check_sees_what_is_wrong(world: World) -> None:
    """Negative control of the test above."""
    page = world.page()
    page.goto(world.url("/login"))
    page.evaluate("document.querySelector('label').remove()")
    with pytest.raises(AssertionError, match="label"):
        check_page(page)


def test_the_first_page_is_small(world: World, state: object) -> None:
    page = world.page(storage_state=state)
    page.goto(world.url(), wait_until="networkidle")
    sizes = page.evaluate(f"{SIZES}.map(entry => entry.encodedBodySize)")
    assert len(sizes) == 3
    assert 5_000 < sum(sizes) < 100_000


def test_a_site_is_added_changed_removed_and_restored_without_scripts(world: World, state: object) -> None:
    page = world.page(storage_state=state, java_script_enabled=False, viewport={"width": 390, "height": 800})
    page.goto(world.url())
    page.get_by_role("link", name="Add a site").click()
    page.get_by_label("Domain", exact=True).fill("new.example")
    page.get_by_label("Name").fill("A new site")
    page.get_by_role("button", name="Add the site").click()
    playwright.expect(page.locator(".message.done")).to_have_text("The site is added.")

    page.get_by_role("link", name="Domains", exact=True).click()
    page.get_by_label("Domain", exact=True).fill("www.new.example")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Make canonical www.new.example").click()
    playwright.expect(page.locator(".sub a")).to_have_text("www.new.example")

    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Name", exact=True).fill("Renamed")
    page.get_by_role("button", name="Save the settings").click()
    playwright.expect(page.locator("h1")).to_have_text("Renamed")

    page.get_by_role("link", name="State").click()
    page.get_by_label("Message").fill("Back at six")
    page.get_by_role("button", name="Begin maintenance").click()
    reader = world.page()
    reader.goto(world.url(host="www.new.example"))
    assert "Back at six" in reader.content()
    page.get_by_role("button", name="Bring it back online").click()
    playwright.expect(page.locator(".sub .pill")).to_have_text("Active")
    reader.goto(world.url(host="new.example"))
    assert reader.url == world.url(host="www.new.example")

    page.get_by_role("link", name="Remove", exact=True).click()
    page.get_by_label("Type the domain").fill("www.new.example")
    page.get_by_role("button", name="Remove the site").click()
    playwright.expect(page.locator("h1")).to_contain_text("Remove")
    assert ("remove-site", "done") in do_jobs(world.sites)
    page.get_by_role("link", name="Removed sites").click()
    page.get_by_role("button", name="Restore").click()
    playwright.expect(page.locator("h1")).to_contain_text("Restore")
    assert do_jobs(world.sites) == [("restore-site", "done")]
    page.get_by_role("link", name="Refresh").click()
    playwright.expect(page.locator(".pill.job-done")).to_have_text("Done")
    reader.goto(world.url(host="www.new.example"))
    assert "Renamed" in reader.title()


@pytest.mark.parametrize("width", [1280, 390])
def test_all_sites_of_the_page_are_selected_by_one_checkbox(world: World, state: object, width: int) -> None:
    page = world.page(storage_state=state, viewport={"width": width, "height": 400}, locale="en")
    page.goto(world.url())
    every = page.get_by_label("Select all sites of this page")
    boxes, bar = page.locator("tbody input"), page.locator("#selection")
    number = boxes.count()
    assert number >= 2
    assert not bar.is_visible()
    every.focus()
    page.keyboard.press("Space")
    assert all(box.is_checked() for box in boxes.all())
    assert bar.locator("output").inner_text() == f"{number} sites selected"
    assert page.evaluate(BAR_IS_SEEN)
    check_page(page, colours=True)
    boxes.first.uncheck()
    assert not every.is_checked()
    assert every.evaluate("box => box.indeterminate")
    page.get_by_role("button", name="Clear the selection").click()
    playwright.expect(bar).to_be_hidden()
    assert not every.is_checked()
    boxes.last.check()
    assert bar.locator("output").inner_text() == "1 site selected"
    page.get_by_role("button", name="Change the selected sites").click()
    page.wait_for_url("**/bulk?id=*")
    page.go_back()
    playwright.expect(bar.locator("output")).to_have_text("1 site selected")
    page.context.close()


def test_sites_are_selected_without_scripts(world: World, state: object) -> None:
    page = world.page(storage_state=state, viewport={"width": 390, "height": 400}, java_script_enabled=False)
    page.goto(world.url())
    assert not page.get_by_label("Select all sites of this page").is_visible()
    assert not page.locator("#selection").is_visible()
    page.get_by_label(f"Select {STERNWARTE}").check()
    page.get_by_role("button", name="Change the selected sites").click()
    assert page.locator(".chosen b").all_inner_texts() == [STERNWARTE]


@pytest.mark.parametrize(
    ("path", "fields", "bar"),
    [("/", "tbody :is(a, input)", "#selection"), ("/sites/{id}/settings", "main :is(input, select)", ".save-bar")],
)
def test_what_has_the_focus_is_not_below_the_bar(world: World, state: object, path: str, fields: str, bar: str) -> None:
    page = world.page(storage_state=state, viewport={"width": 1280, "height": 300}, locale="en")
    page.goto(world.url(path.format(id=world.sites.garden.id)))
    first, *others = (each for each in page.locator(fields).all() if each.is_visible())
    if path == "/":
        first.check()
    first.focus()
    for _ in others:
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS_IS_SEEN, bar)
    assert len(others) > 2
    page.context.close()


def test_several_sites_are_changed_and_the_page_of_the_job_shows_it(world: World, state: object) -> None:
    page = world.page(storage_state=state, viewport={"width": 1280, "height": 800})
    page.goto(world.url())
    for host in (GARDEN, STERNWARTE):
        page.get_by_label(f"Select {host}").check()
    page.get_by_role("button", name="Change the selected sites").click()
    assert page.locator(".chosen b").all_inner_texts() == [GARDEN, STERNWARTE]
    message = page.get_by_label("Message")
    assert not message.is_visible()
    page.get_by_label("Begin maintenance").check()
    message.fill("Back at six")
    check_page(page, colours=True)
    page.get_by_role("button", name="Do it to 2 sites").click()
    playwright.expect(page.locator("h2 .pill")).to_have_text("Waiting")
    assert ("bulk", "done") in do_jobs(world.sites)
    # Without a click: a script asks for the page again.
    playwright.expect(page.locator("h2 .pill")).to_have_text("Done")
    assert page.locator("tbody .job-done").count() == 2
    check_page(page, colours=True)
    reader = world.page()
    reader.goto(world.url(host=GARDEN))
    assert "Back at six" in reader.content()
    page = world.page(storage_state=state, viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page.goto(world.url("/?q=example"))
    page.get_by_role("link", name="Change all that this list finds").click()
    page.get_by_label("Bring them back online").check()
    page.get_by_role("button", name="Do it to").click()
    do_jobs(world.sites)
    page.get_by_role("link", name="Refresh").click()
    playwright.expect(page.locator("h2 .pill")).to_have_text("Done")
    reader.goto(world.url(host=GARDEN))
    assert "Back at six" not in reader.content()


def test_a_site_is_copied_exported_and_imported_without_scripts(world: World, state: object, tmp_path: Path) -> None:
    page = world.page(storage_state=state, viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page.goto(world.url(f"/sites/{world.sites.sternwarte.id}/copy"))
    page.get_by_label("Domain of the copy").fill("copied.example")
    page.get_by_role("button", name="Copy the site").click()
    page.go_back()
    page.get_by_role("button", name="Export the site").click()
    playwright.expect(page.locator("h1")).to_contain_text("Export")
    assert {status for _kind, status in do_jobs(world.sites)} == {"done"}
    page.get_by_role("link", name="Refresh").click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the archive").click()
    archive = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(archive)
    page.goto(world.url())
    page.get_by_role("link", name="Import a site").click()
    page.get_by_label("Domain of the new site").fill("imported.example")
    page.get_by_label("With the templates of the archive").check()
    page.get_by_label("Archive", exact=True).set_input_files(archive)
    page.get_by_role("button", name="Upload and import").click()
    assert do_jobs(world.sites) == [("import-site", "done")]
    page.get_by_role("link", name="Refresh").click()
    playwright.expect(page.locator("dd").first).to_have_text("imported.example")
    page.goto(world.url("/?q=ed.example&inside=1"))
    assert page.locator("tbody th small").all_inner_texts() == ["copied.example", "imported.example"]


def test_an_operator_signs_in_on_a_site_and_comes_back(world: World, state: object) -> None:
    page = world.page(storage_state=state)
    page.goto(world.url(f"/sites/{world.sites.garden.id}/users"))
    page.get_by_role("button", name="Sign in as olga").click()
    page.get_by_role("link", name=f"Go to {GARDEN}").click()
    page.wait_for_url(world.url("/edit/", host=GARDEN))
    banner = page.locator(".acting")
    assert "jane is signed in here as olga" in banner.inner_text()
    check_page(page)
    banner.get_by_role("link").click()
    playwright.expect(page.locator("h1")).to_have_text("Garden")
    assert page.url == world.url(f"/sites/{world.sites.garden.id}/users")


def test_one_logs_in_by_the_keyboard_and_goes_on_where_one_was(world: World, state: object) -> None:
    page = world.page()
    page.goto(world.url("/removed"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Skip to the content.
    for text in ("jane", PASSWORD, next_code(world.sites, "jane")):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    playwright.expect(page.locator("h1")).to_have_text("Removed sites")
