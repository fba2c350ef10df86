"""The demo sites in Chromium, served as by `python3 dev.py serve`."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from chromium import CHROMIUM, playwright, running_chromium
from editor_browser import COLOURS
from paths import ROOT
from programs import make_programs

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is missing: install pyramid-multisite[test]"
)

HOSTS = ["garden.localhost", "kitchen.localhost", "sternwarte.localhost"]
LOCALES = {"garden.localhost": "en", "kitchen.localhost": "en", "sternwarte.localhost": "de"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

STRUCTURE = "[...document.querySelectorAll('body *')].map(e => e.tagName + '.' + e.className).join(' ')"
LOOK = "(s => [s.fontFamily, s.backgroundColor, s.color])(getComputedStyle(document.body))"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Server:
    """A running server of the demo sites. `root` is the copy of the clone that it serves."""

    root: Path
    port: int
    run: Callable[..., str]

    def url(self, host: str, path: str = "/") -> str:
        """Return the address of a page."""
        return f"http://{host}:{self.port}{path}"

    def titles(self, host: str) -> list[str]:
        """Return the titles of all entries of a site, newest first, as written in their files."""
        files = (self.root / "sites" / host / "content").glob("*.md")
        heads = [yaml.safe_load(file.read_text("utf-8").split("---")[1]) for file in files]
        shown = [head for head in heads if not head.get("draft")]
        return [head["title"] for head in sorted(shown, key=lambda head: str(head["date"]), reverse=True)]


@dataclass
class Tab:
    """A page of the browser, and its errors."""

    page: playwright.Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._look_at_failure)
        self.page.on("response", self._look_at_response)
        self.page.on("console", self._look_at_message)

    def _look_at_message(self, message: playwright.ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def _look_at_failure(self, request: playwright.Request) -> None:
        # Leaving a page aborts its pending requests, which is not an error.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.failure}: {request.url}")

    def _look_at_response(self, response: playwright.Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.complaints.append(f"{response.status}: {response.url}")

    def open(self, url: str, status: int = 200) -> None:
        """Open `url`, and check that the response has the status `status`."""
        response = self.page.goto(url)
        assert response is not None
        assert response.status == status, url

    def follow(self, link: playwright.Locator) -> None:
        """Click `link`, and wait until its page has loaded."""
        with self.page.expect_navigation() as navigation:
            link.click()
        assert navigation.value.status == 200, self.page.url

    def follow_title(self, title: str) -> None:
        """Click the link to the entry with this title."""
        self.follow(self.page.get_by_role("link", name=title).first)


def load_dev(root: Path) -> ModuleType:
    """Load dev.py from a copy of the clone, which uses this environment instead of its own .venv."""
    spec = importlib.util.spec_from_file_location("dev", root / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.BIN = root / ".venv" / "bin"
    make_programs(module.BIN)
    return module


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Create and serve the demo sites in a copy of the clone, by the functions that `dev.py serve` calls."""
    root = tmp_path_factory.mktemp("demo") / "clone"
    root.mkdir()
    for name in ("dev.py", "development.ini"):
        shutil.copy(ROOT / name, root)
    for name in ("migrations", "sites", "templates"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    dev = load_dev(root)
    dev.prepare_demo()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (root / "server.log").open("w") as log:
        program = subprocess.Popen(dev.server_command(port), env=dev.environment(), stdout=log, stderr=log)
        try:
            dev.wait_until_listening(program, "127.0.0.1", port)
            yield Server(root, port, dev.multisite)
        finally:
            dev.stop(program)
    assert "Traceback" not in (root / "server.log").read_text()


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    """Yield a running Chromium without a window."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def open_tab(chromium: playwright.Browser) -> Iterator[Callable[..., Tab]]:
    """Yield a function to open a tab with options of a Playwright context; at the end, check that no tab had errors."""
    contexts = []
    tabs = []

    def make(**options: object) -> Tab:
        contexts.append(chromium.new_context(**options))
        tabs.append(Tab(contexts[-1].new_page()))
        return tabs[-1]

    yield make
    for context in contexts:
        context.close()
    assert [tab.complaints for tab in tabs if tab.complaints] == []


@pytest.fixture
def tab(open_tab: Callable[..., Tab]) -> Tab:
    """Return a tab in a wide window."""
    return open_tab(viewport={"width": 1280, "height": 800})


@pytest.fixture
def narrow_tab(open_tab: Callable[..., Tab]) -> Tab:
    """Return a tab as on a small phone."""
    return open_tab(viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True)


def visit_all_kinds(tab: Tab, server: Server, host: str, title: str | None = None) -> Iterator[str]:
    """Open one page of each kind by following the links of a site, and yield the address of each.

    `title` is the title of an entry on the home page, or None for the newest entry of a demo site.
    """
    title = title or server.titles(host)[0]
    tab.open(server.url(host))
    yield tab.page.url
    tab.follow_title(title)
    yield tab.page.url
    tab.follow(tab.page.locator("a[rel~=tag]").first)
    yield tab.page.url
    tab.open(server.url(host, "/no-such-page"), status=404)
    yield tab.page.url


@pytest.mark.parametrize("host", HOSTS)
def test_a_site_shows_its_own_content_and_no_other(server: Server, tab: Tab, host: str) -> None:
    tab.open(server.url(host))
    text = tab.page.locator("body").inner_text()
    assert server.titles(host)[0] in text
    for other in set(HOSTS) - {host}:
        assert [title for title in server.titles(other) if title in text] == []
    assert tab.page.locator("html").get_attribute("lang") == LOCALES[host]


def test_each_site_has_a_layout_of_its_own(server: Server, tab: Tab) -> None:
    seen = {}
    for host in HOSTS:
        tab.open(server.url(host))
        seen[host] = (tab.page.title(), tab.page.evaluate(STRUCTURE), tab.page.evaluate(LOOK))
    for one, other in itertools.combinations(HOSTS, 2):
        for what, mine, theirs in zip(("title", "structure", "look"), seen[one], seen[other], strict=True):
            assert mine != theirs, f"{one} and {other} have the same {what}"


@pytest.mark.parametrize("host", HOSTS)
def test_an_entry_opens_from_the_home_page(server: Server, tab: Tab, host: str) -> None:
    title = server.titles(host)[0]
    tab.open(server.url(host))
    tab.follow_title(title)
    playwright.expect(tab.page.get_by_role("heading", level=1, name=title)).to_be_visible()
    assert tab.page.url.startswith(server.url(host))


def test_another_sites_entry_is_not_found(server: Server, tab: Tab) -> None:
    tab.open(server.url("garden.localhost"))
    tab.follow_title(server.titles("garden.localhost")[0])
    path = tab.page.url.partition(f":{server.port}")[2]
    tab.open(server.url("garden.localhost", path))
    tab.open(server.url("kitchen.localhost", path), status=404)


@pytest.mark.parametrize("host", HOSTS)
def test_a_narrow_screen_needs_no_sideways_scrolling(server: Server, narrow_tab: Tab, host: str) -> None:
    for url in visit_all_kinds(narrow_tab, server, host):
        assert narrow_tab.page.evaluate(OVERFLOW) <= 0, url


def test_the_check_for_sideways_scrolling_sees_what_is_too_wide(narrow_tab: Tab) -> None:
    """Negative control of the test above."""
    head = "<meta name=viewport content='width=device-width, initial-scale=1'>"
    narrow_tab.page.set_content(f"{head}<p>narrow")
    assert narrow_tab.page.evaluate(OVERFLOW) <= 0
    narrow_tab.page.set_content(f"{head}<p style='width: 400px'>wide")
    assert narrow_tab.page.evaluate(OVERFLOW) > 0


@pytest.mark.parametrize("host", HOSTS)
def test_the_site_works_without_javascript(server: Server, open_tab: Callable[..., Tab], host: str) -> None:
    tab = open_tab(java_script_enabled=False)
    assert len(list(visit_all_kinds(tab, server, host))) == 4


@pytest.mark.parametrize("host", HOSTS)
def test_axe_finds_nothing(server: Server, open_tab: Callable[..., Tab], host: str) -> None:
    tab = open_tab(color_scheme="light")
    for url in visit_all_kinds(tab, server, host):
        found = axe.Axe().run(tab.page)
        assert found.violations_count == 0, f"{url}\n{found.generate_report()}"
        # The same page in other colours: only the rules on colours can have another result.
        tab.page.emulate_media(color_scheme="dark")
        assert tab.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        found = axe.Axe().run(tab.page, options=COLOURS)
        assert found.violations_count == 0, f"{url}, dark\n{found.generate_report()}"
        tab.page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("host", HOSTS)
def test_the_search_finds_an_entry_from_the_menu(server: Server, narrow_tab: Tab, host: str) -> None:
    tab, title = narrow_tab, server.titles(host)[0]
    tab.open(server.url(host))
    tab.follow(tab.page.locator(".site-nav a[href$='/search']"))
    tab.page.get_by_role("searchbox").fill(title)
    tab.follow(tab.page.locator(".search-form button"))
    assert tab.page.locator(".hit-list h2 a").first.inner_text() == title
    assert axe.Axe().run(tab.page).violations_count == 0
    assert tab.page.evaluate(OVERFLOW) <= 0
    tab.follow(tab.page.locator(".hit-list h2 a").first)
    playwright.expect(tab.page.get_by_role("heading", level=1, name=title)).to_be_visible()


@pytest.mark.parametrize("host", HOSTS)
def test_the_policy_of_a_page_stops_a_script_in_its_text(server: Server, tab: Tab, host: str) -> None:
    """All other tests check that no page breaks its Content-Security-Policy; this one, that they would notice."""
    tab.open(server.url(host))
    assert tab.complaints == []
    script = "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))"
    tab.page.evaluate(script)
    assert tab.page.title() != "1"
    assert len(tab.complaints) == 1
    tab.complaints.clear()


def test_axe_sees_what_is_wrong(tab: Tab) -> None:
    """Negative control: the check of the test above finds an image without an alternative text."""
    tab.page.set_content("<html lang=en><title>t</title><main><h1>t</h1><img src='data:,'></main></html>")
    assert axe.Axe().run(tab.page).violations_count > 0
    tab.complaints.clear()


def test_a_fifth_site_is_added_and_filled_while_the_server_runs(
    server: Server, open_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    tab = open_tab()
    url = server.url("fifth.localhost")
    tab.open(url, status=404)
    server.run("add-site", "fifth.localhost", "--name", "The Fifth Site")
    wait_until(lambda: tab.page.goto(url).status == 200)
    assert "The Fifth Site" in tab.page.locator("body").inner_text()

    for number in range(1, 4):
        head = {"title": f"Piece number {number}", "date": f"2024-03-0{number} 10:00", "tags": ["pieces"]}
        (tmp_path / f"piece-{number}.md").write_text(f"---\n{json.dumps(head)}\n---\n\nThe *text* {number}.\n", "utf-8")
    server.run("import-entries", "fifth.localhost", str(tmp_path))
    tab.open(url)
    for number in range(1, 4):
        playwright.expect(tab.page.get_by_role("link", name=f"Piece number {number}").first).to_be_visible()
    for _ in visit_all_kinds(tab, server, "fifth.localhost", "Piece number 3"):
        assert axe.Axe().run(tab.page).violations_count == 0
    tab.open(server.url("garden.localhost"))
    assert "Piece number" not in tab.page.locator("body").inner_text()


def test_a_copied_site_looks_and_reads_the_same_and_is_changed_alone(server: Server, tab: Tab, tmp_path: Path) -> None:
    original, copy = "kitchen.localhost", "copied.localhost"
    title = server.titles(original)[0]

    def pages(host: str) -> list[tuple[str, str, bytes]]:
        """Return the path, the text and the picture of one page of each kind."""
        found = []
        for url in visit_all_kinds(tab, server, host, title):
            tab.page.wait_for_load_state("networkidle")
            text = tab.page.locator("html").inner_text()
            found.append((url.partition(f":{server.port}")[2], text, tab.page.screenshot(full_page=True)))
        return found

    before = pages(original)
    server.run("copy-site", original, copy, "--live")
    wait_until(lambda: tab.page.goto(server.url(copy)).status == 200)
    assert pages(copy) == before
    assert original not in tab.page.content()

    head = {"title": "A dish of the copy alone", "date": "2026-03-01 10:00", "tags": ["copied"]}
    (tmp_path / "dish.md").write_text(f"---\n{json.dumps(head)}\n---\n\nThe text.\n", "utf-8")
    server.run("import-entries", copy, str(tmp_path))
    style = server.root / "sites" / copy / "static" / "copied.css"
    style.write_text("body {}")
    tab.open(server.url(copy))
    playwright.expect(tab.page.get_by_role("link", name="A dish of the copy alone").first).to_be_visible()
    assert pages(original) == before
    tab.open(server.url(copy, "/static/copied.css"))
    tab.open(server.url(original, "/static/copied.css"), status=404)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until the condition holds; the test does not depend on how long that takes."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)
