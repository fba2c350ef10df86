"""Take the pictures of the documentation, from the demo sites: `python3 dev.py screenshots`.

One entry is imported into all three sites, in a copy of the clone with a database of its own, and photographed there.
"""

from __future__ import annotations

import base64
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
ENTRY = ROOT / "sites" / "garden.localhost" / "content" / "leaf-mould.md"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
"""A browser of the system's; None for the one that playwright has downloaded, if it has."""

WIDTH, HEIGHT = 900, 1200
"""Of the window in which an entry is photographed, in pixels of CSS; three of them side by side are one picture."""

SCALE = 0.5


def load_dev(root: Path) -> ModuleType:
    """Load the dev.py of a copy of the clone, and lend it this environment in place of a .venv of its own."""
    module = ModuleType("dev")
    module.__file__ = str(root / "dev.py")
    exec(compile((root / "dev.py").read_bytes(), module.__file__, "exec"), vars(module))
    module.BIN = Path(sys.executable).parent
    return module


@contextmanager
def demo(root: Path) -> Iterator[dict[str, str]]:
    """Serve the demo sites from a copy of the clone at `root`, and yield the address of the entry on each, by host."""
    root.mkdir()
    for name in ("dev.py", "development.ini"):
        shutil.copy(ROOT / name, root)
    for name in ("migrations", "sites", "templates"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    dev = load_dev(root)
    dev.prepare_demo()
    for host in dev.DEMO_SITES:
        dev.multisite("import-entries", host, str(ENTRY))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (root / "server.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(dev.server_command(port), env=dev.environment(), stdout=log, stderr=log)
        try:
            dev.wait_until_listening(server, "127.0.0.1", port)
            yield {host: f"http://{host}:{port}/entries/{ENTRY.stem}" for host in dev.DEMO_SITES}
        finally:
            dev.stop(server)


def take(addresses: dict[str, str], picture: Path) -> None:
    """Photograph the pages, and put them side by side into the file `picture`."""
    with playwright.sync_playwright() as driver:
        # Names below .localhost lead to this machine in the browser, whatever the machine's own resolver says.
        rules = "--host-resolver-rules=MAP *.localhost 127.0.0.1"
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        shots = []
        for address in addresses.values():
            response = window.goto(address, wait_until="networkidle")
            if response is None or response.status != 200:
                raise RuntimeError(f"{address} cannot be shown: {None if response is None else response.status}")
            shots.append(base64.b64encode(window.screenshot()).decode("ascii"))
        images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in shots)
        style = f"body {{ margin: 0; display: flex; gap: 16px; background: white }} img {{ width: {WIDTH * SCALE}px }}"
        width = int(len(shots) * WIDTH * SCALE + 16 * (len(shots) - 1))
        window.set_viewport_size({"width": width, "height": int(HEIGHT * SCALE)})
        window.set_content(f"<style>{style}</style>{images}", wait_until="load")
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(window.screenshot())
        browser.close()


def main(picture: Path = PICTURE) -> None:
    """Take the picture and say where it is."""
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder, "clone")) as addresses:
        take(addresses, picture)
    print(f"One entry in three designs: {picture}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
