"""Take the pictures of the documentation, from the demo sites: `python3 dev.py screenshots`.

One entry is imported into all demo sites, in a copy of the clone with a database of its own, and photographed there;
on one of them, an owner changes it in the editor.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from playwright import sync_api as playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "screenshots" / "one-entry.png"
EDITOR_PICTURE = "editor.png"
"""The name of the picture of the editor, which is beside the other."""

CONSOLE_PICTURE = "console.png"
CONSOLE_SIZE = (1200, 760)
"""The name of the picture of the console, and the size of the window in which it is photographed."""

ENTRY = ROOT / "sites" / "garden.localhost" / "content" / "leaf-mould.md"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
"""A browser of the system's; None for the one that playwright has downloaded, if it has."""

OWNED_SITE = "garden.localhost"
"""The site whose editor is shown."""

WIDTH, HEIGHT = 900, 1200
"""Of the window in which an entry is photographed, in pixels of CSS; several of them side by side are one picture."""

SCALE = 0.5
ENTRY_TITLE = "Leaf mould"


def load_dev(root: Path) -> ModuleType:
    """Load the dev.py of a copy of the clone, and lend it this environment in place of a .venv of its own."""
    module = ModuleType("dev")
    module.__file__ = str(root / "dev.py")
    exec(compile((root / "dev.py").read_bytes(), module.__file__, "exec"), vars(module))
    module.BIN = Path(sys.executable).parent
    return module


@contextmanager
def demo(root: Path) -> Iterator[tuple[dict[str, str], str, str]]:
    """Serve the demo sites from a copy of the clone at `root`.

    Yields:
        The address of the entry on each, by host, and the addresses of the invitations of an owner and an operator.
    """
    root.mkdir()
    for name in ("dev.py", "development.ini"):
        shutil.copy(ROOT / name, root)
    for name in ("migrations", "sites", "templates"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    dev = load_dev(root)
    dev.prepare_demo()
    for host in dev.DEMO_SITES:
        dev.multisite("import-entries", host, str(ENTRY))
    invitation = re.search(r"/login/[\w-]+", dev.multisite("add-user", OWNED_SITE, "olga", "--role", "owner"))
    if invitation is None:
        raise RuntimeError("add-user has printed no link")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (root / "server.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(dev.server_command(port), env=dev.environment(), stdout=log, stderr=log)
        try:
            dev.wait_until_listening(server, "127.0.0.1", port)
            addresses = {host: f"http://{host}:{port}/entries/{ENTRY.stem}" for host in dev.DEMO_SITES}
            url = f"http://{dev.CONSOLE_HOST}:{port}"
            made = dev.multisite("add-operator", "jane", "--role", "everything", "--url", url, "--json")
            yield addresses, f"http://{OWNED_SITE}:{port}{invitation[0]}", json.loads(made)["link"]
        finally:
            dev.stop(server)


@contextmanager
def opened_window() -> Iterator[playwright.Page]:
    """Yield a window of a browser."""
    with playwright.sync_playwright() as driver:
        # Names below .localhost lead to this machine in the browser, whatever the machine's own resolver says.
        rules = "--host-resolver-rules=MAP *.localhost 127.0.0.1"
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        yield browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        browser.close()


def photograph_entry(window: playwright.Page, addresses: dict[str, str]) -> list[bytes]:
    """Return a picture of the entry on each site."""
    shots = []
    for address in addresses.values():
        response = window.goto(address, wait_until="networkidle")
        if response is None or response.status != 200:
            raise RuntimeError(f"{address} cannot be shown: {None if response is None else response.status}")
        shots.append(window.screenshot())
    return shots


def photograph_editor(window: playwright.Page, invitation: str) -> list[bytes]:
    """Take the invitation, change the entry, and return pictures of its form, of the preview and of the changes."""
    window.goto(invitation)
    for name in ("password", "repeated"):
        window.fill(f"[name={name}]", "correct horse battery staple")
    window.click("main button")
    window.click(f"text={ENTRY_TITLE}")
    window.wait_for_url("**/edit/entries/*")
    text = window.input_value("#body")
    window.fill("#body", text.replace(". ", ", **as every autumn**. ", 1))
    window.evaluate("document.getElementById('body').scrollTop = 0")
    form = window.screenshot()
    window.click("#preview summary")
    window.frame_locator("#preview iframe:not([hidden])").locator("article strong").first.wait_for()
    window.locator("#preview").scroll_into_view_if_needed()
    window.evaluate("document.getElementById('preview').scrollIntoView()")
    preview = window.screenshot()
    window.click("main button[value=save]")
    window.locator(".done").wait_for()
    window.click("text=Revisions")
    window.locator("section a").first.click()
    window.locator("main ins").first.wait_for()
    return [form, preview, window.screenshot()]


def photograph_console(window: playwright.Page, invitation: str) -> list[bytes]:
    """Take the invitation, and return pictures of the list of sites, in light, and of a site, in dark."""
    window.set_viewport_size({"width": CONSOLE_SIZE[0], "height": CONSOLE_SIZE[1]})
    window.goto(invitation)
    for name in ("password", "repeated"):
        window.fill(f"[name={name}]", "correct horse battery staple")
    window.click("main button")
    window.wait_for_selector(".list")
    sites = window.screenshot()
    window.emulate_media(color_scheme="dark")
    window.click(".list th a")
    window.wait_for_selector(".cards")
    return [sites, window.screenshot()]


def compose(
    window: playwright.Page, shots: list[bytes], picture: Path, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> None:
    """Put pictures of this size side by side into the file `picture`."""
    encoded = (base64.b64encode(shot).decode("ascii") for shot in shots)
    images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in encoded)
    style = f"body {{ margin: 0; display: flex; gap: 16px; background: white }} img {{ width: {size[0] * SCALE}px }}"
    width = int(len(shots) * size[0] * SCALE + 16 * (len(shots) - 1))
    window.goto("about:blank")  # The policy of the last page would apply to the content.
    window.set_viewport_size({"width": width, "height": int(size[1] * SCALE)})
    window.set_content(f"<style>{style}</style>{images}", wait_until="load")
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(window.screenshot())


def main(picture: Path = PICTURE) -> None:
    """Take the pictures and say where they are."""
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder, "clone")) as (addresses, owner, operator):
        with opened_window() as window:
            compose(window, photograph_entry(window, addresses), picture)
        with opened_window() as window:
            compose(window, photograph_editor(window, owner), picture.with_name(EDITOR_PICTURE))
        with opened_window() as window:
            console = photograph_console(window, operator)
            compose(window, console, picture.with_name(CONSOLE_PICTURE), CONSOLE_SIZE)
    print(f"One entry in the designs of all sites: {picture}")
    print(f"The editor: {picture.with_name(EDITOR_PICTURE)}")
    print(f"The console: {picture.with_name(CONSOLE_PICTURE)}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
