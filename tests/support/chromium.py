"""Chromium for the tests in a browser, without the parts of its window that no test looks at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: install pyramid-multisite[test]")

__all__ = ["CHROMIUM", "closing_pages", "playwright", "running_chromium"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

DISABLED_FEATURES = (
    # Each window loads two pages of the browser's own for suggestions below the address, which takes more than half of
    # the time of opening it; and a process is started for a page that may follow.
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "SpareRendererForSitePerProcess"),
    # What Playwright disables: Chromium only regards the last list of its command line.
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay"),
    *("MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch"),
    *("ThirdPartyStoragePartitioning", "Translate"),
)


@contextmanager
def running_chromium(*arguments: str) -> Iterator[playwright.Browser]:
    """Yield a running Chromium without a window on the screen."""
    features = f"--disable-features={','.join(DISABLED_FEATURES)}"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", features, *arguments])
        yield browser
        browser.close()


@contextmanager
def closing_pages(browser: playwright.Browser) -> Iterator[None]:
    """Close all pages after the block: while a page is open, its scripts run, and it is drawn."""
    yield
    for context in browser.contexts:
        context.close()
