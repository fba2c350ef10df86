"""Passkeys in Chromium, with its virtual device: added by script, used to log in, and absent without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from chromium import CHROMIUM, playwright, running_chromium
from console_world import add_operator_with_password, console_sites, next_code
from content_sites import ContentSites
from editor_browser import PASSWORD, axe
from waitress_server import serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (on Debian: apt-get install chromium)"),
]

HOST = "console.localhost"
"""Browsers have passkeys for https, and for this machine."""

RULES = "--host-resolver-rules=MAP *.localhost 127.0.0.1"

DEVICE = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ContentSites, str, playwright.Browser]]:
    folder = tmp_path_factory.mktemp("passkeys")
    with console_sites(f"sqlite:///{folder / 'test.db'}", folder) as sites:
        sites.settings["multisite.console_host"] = HOST
        with serving(sites.app, threads=4) as (_host, port), running_chromium(RULES) as browser:
            yield sites, f"http://{HOST}:{port}", browser


def check(page: playwright.Page) -> None:
    assert axe.Axe().run(page).response["violations"] == []


def log_in(page: playwright.Page, sites: ContentSites, url: str, login: str) -> None:
    page.goto(f"{url}/account")
    for name, text in (("login", login), ("password", PASSWORD), ("code", next_code(sites, login))):
        page.fill(f"[name={name}]", text)
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url(f"{url}/account")


def test_a_passkey_is_added_and_logs_in(world: tuple[ContentSites, str, playwright.Browser]) -> None:
    sites, url, browser = world
    context = browser.new_context(locale="en")
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("console", lambda line: pytest.fail(line.text) if "Content Security Policy" in line.text else None)
    devices: Any = context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    device = devices.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})["authenticatorId"]
    page.goto(url)
    page.get_by_role("button", name="Log in with a passkey").click()
    page.locator("form[data-passkey] [role=alert]").wait_for()
    assert page.locator("form[data-passkey] [role=alert]").inner_text() == "The passkey was not used."
    check(page)

    add_operator_with_password(sites, "jane")
    log_in(page, sites, url, "jane")
    page.get_by_label("Name of the device").fill("Virtual device")
    page.keyboard.press("Enter")
    page.get_by_text("The passkey is added.").wait_for()
    playwright.expect(page.locator("#passkeys ~ ul b")).to_have_text("Virtual device")
    check(page)
    (stored,) = devices.send("WebAuthn.getCredentials", {"authenticatorId": device})["credentials"]
    assert (stored["rpId"], stored["isResidentCredential"]) == (HOST, True)

    context.clear_cookies()
    page.goto(f"{url}/jobs")
    page.get_by_role("button", name="Log in with a passkey").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("h1")).to_have_text("Jobs")
    context.close()


def test_without_scripts_password_and_code_log_in(world: tuple[ContentSites, str, playwright.Browser]) -> None:
    sites, url, browser = world
    add_operator_with_password(sites, "mary")
    page = browser.new_context(java_script_enabled=False, locale="en").new_page()
    page.goto(f"{url}/login")
    assert not page.get_by_role("button", name="Log in with a passkey").is_visible()
    log_in(page, sites, url, "mary")
    page.get_by_text("To add one, use a browser").wait_for()
    assert not page.get_by_label("Name of the device").is_visible()
    page.context.close()
