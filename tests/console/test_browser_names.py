"""The names of browsers and systems by which operators recognize their log-ins."""

from __future__ import annotations

from pathlib import Path

import pytest
from console_world import console_sites, log_in_to_console

from multisite.people.browsers import find_browser

MOZILLA = "Mozilla/5.0"
APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
CHROME = f"{APPLE} Chrome/126.0.0.0"


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (f"{MOZILLA} (X11; Linux x86_64) {CHROME} Safari/537.36", "Chrome on Linux"),
        (f"{MOZILLA} (X11; Linux x86_64) {APPLE} HeadlessChrome/126.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"{MOZILLA} (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36", "Chrome on ChromeOS"),
        (f"{MOZILLA} (Linux; Android 10; K) {CHROME} Mobile Safari/537.36", "Chrome on Android"),
        (f"{MOZILLA} (Linux; Android 10; K) {APPLE} SamsungBrowser/25.0 Chrome/121.0 Safari/537.36",
         "Samsung Internet on Android"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/126.0.0.0", "Edge on Windows"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 OPR/112.0.0.0", "Opera on Windows"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Windows"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) {APPLE} Version/17.5 Safari/605.1.15", "Safari on macOS"),
        (f"{MOZILLA} (iPhone; CPU iPhone OS 17_5 like Mac OS X) {APPLE} Version/17.5 Mobile/15E148 Safari/604.1",
         "Safari on iPhone"),
        (f"{MOZILLA} (iPad; CPU OS 17_5 like Mac OS X) {APPLE} CriOS/126.0 Mobile/15E148 Safari/604.1",
         "Chrome on iPad"),
        ("curl/8.5.0", None), ("Safari/1", None), ("Linux", None), ("", None),
    ],
)  # fmt: skip
def test_a_browser_is_named_with_its_system(agent: str, shown: str | None) -> None:
    found = find_browser(agent)
    assert (found and f"{found.name} on {found.system}") == shown


def test_the_account_page_names_browsers_and_keeps_what_they_sent(tmp_path: Path) -> None:
    known = f"{MOZILLA} (X11; Linux x86_64) {CHROME} Safari/537.36"
    with console_sites(f"sqlite:///{tmp_path / 'test.db'}", tmp_path) as sites:
        own = log_in_to_console(sites, "jane", "look")
        for agent in (known, '<b title="x">', ""):
            log_in_to_console(sites, "jane", HTTP_USER_AGENT=agent)
        page = own.get("/account")
        shown = [(each["title"], each.text) for each in page.html.select("#log-ins + .rows [title]")]
        assert {*shown} == {(known, "Chrome on Linux"), ('<b title="x">',) * 2, ("", "Unknown browser")}
        assert "Chrome unter Linux" in own.get("/account", headers={"Accept-Language": "de"}).text
