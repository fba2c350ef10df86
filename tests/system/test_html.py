"""Every page of editor, console, shared templates and demo sites is valid by the Nu HTML Checker."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from console_world import console_browser, console_sites, form_token, log_in_to_console
from content_sites import GARDEN, STERNWARTE, ContentSites
from editor_sites import add_user, csrf_token, editor_sites, log_in, write
from paths import ROOT
from PIL import Image
from webtest import TestApp, Upload

from multisite.console.operators import add_operator
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site

JAR = Path(
    os.environ.get("VNU_JAR") or ROOT / ".venv" / "vnu" / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
)
JAVA = shutil.which("java")
DEMO_SITES = sorted(path.name for path in (ROOT / "sites").iterdir() if path.is_dir())
LANGUAGES = ("en", "de") if "MULTISITE_SOAK" in os.environ else ("de",)
"""The languages of the pages of editor and console, which have the same elements in both."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(JAVA is None, reason="Java is missing (on Debian: apt-get install default-jre-headless)"),
    pytest.mark.skipif(not JAR.is_file(), reason="vnu.jar is missing: npm install --prefix .venv/vnu vnu-jar"),
]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what the checker reports of all pages, which are checked at once: `page: message`."""
    folder, pages = tmp_path_factory.mktemp("html"), tmp_path_factory.mktemp("pages")
    with editor_sites(f"sqlite:///{folder / 'test.db'}", folder) as sites:
        sites.settings["multisite.refresh_seconds"] = "0"
        of_language = {"en": (GARDEN, sites.garden), "de": (STERNWARTE, sites.sternwarte)}
        for host, site in (of_language[language] for language in LANGUAGES):
            add_user(sites, site, "owner", "owner")
            save_pages_of_editor(sites, host, pages)
        save_pages_of_demo_sites(sites, pages)
    consoles = tmp_path_factory.mktemp("consoles")
    with console_sites(f"sqlite:///{consoles / 'test.db'}", consoles) as sites:
        save_pages_of_console(sites, pages)
    assert len(list(pages.iterdir())) >= len(LANGUAGES) * 40 + 4 * len(PATHS)
    pages.joinpath("faulty.html").write_text("<!doctype html><title>x</title><p id=a><p id=a>", "utf-8")
    command = [str(JAVA), "-jar", str(JAR), "--errors-only", "--format", "json", "--stdout", str(pages)]
    found = json.loads(subprocess.run(command, capture_output=True, check=False, timeout=280).stdout)
    return [f"{Path(each['url']).name}: {each['message']}" for each in found["messages"]]


def save(folder: Path, name: str, page: Any) -> Any:
    folder.joinpath(f"{name}.html").write_text(page.text, "utf-8")
    return page


def save_pages_of_editor(sites: ContentSites, host: str, folder: Path) -> None:
    """Save each page of the editor, in each of its states, to files that begin with the language."""
    owner, prefix = log_in(sites, host, "owner"), "de" if host == STERNWARTE else "en"
    target = io.BytesIO()
    Image.new("RGB", (900, 600)).save(target, "PNG")
    token = csrf_token(owner)

    def get(name: str, path: str, **options: Any) -> Any:
        return save(folder, f"{prefix}-{name}", owner.get(path, **options))

    get("new", "/edit/new")
    address = write(owner, title="A <title>", tags="soil, leaves", body="Text.")
    form = owner.get(address).forms[0]
    form["body"] = "Other text.\n\nMore."
    form.submit("action", value="save", status=303)
    form["file"], form["alt"] = Upload("leaf.png", target.getvalue()), 'A "leaf"'
    form.enctype = "multipart/form-data"
    save(folder, f"{prefix}-uploaded", form.submit("action", value="upload"))
    form.enctype = "application/x-www-form-urlencoded"
    form["body"] = "Collides."
    save(folder, f"{prefix}-collided", form.submit("action", value="save", status=409))
    form["published"] = "tomorrow"
    save(folder, f"{prefix}-refused", form.submit("action", value="save", status=400))
    fields = {"csrf_token": token, "key": form["key"].value, "title": "Typed", "body": "x"}
    owner.post("/edit/autosave", fields, status=204)
    save(folder, f"{prefix}-typed", owner.post("/edit/preview", fields))
    get("entry", f"{address}?done=1")
    get("preview", f"{address}/preview")
    save(folder, f"{prefix}-link", owner.get(f"{address}/links").forms[0].submit("action"))
    changes = get("revisions", f"{address}/revisions").html.select_one("section a")["href"]
    get("changes", changes)
    media = get("media", "/edit/media").html.select_one(".tiles a")["href"]
    get("file", media)
    get("unused", "/edit/media?unused=1")
    owner.post(address, {"csrf_token": token, "action": "delete"}, status=303)
    get("deleted", "/edit/deleted")
    for name in ("", "?deleted=1&q=x&since=2024-01-01", "account", "people", "settings"):
        get(f"edit-{name.partition('?')[0] or len(name)}", f"/edit/{name}")
    get("logout", "/logout")
    owner.reset()
    get("login", "/edit/", status=403)
    get("forgotten", "/login/forgotten")


def save_pages_of_console(sites: ContentSites, folder: Path) -> None:
    """Save each page of the console, in each of the languages."""
    add_user(sites, sites.garden, "olga")
    link = f"/login/{add_operator(sites.engine, 'invited')}"
    browser = log_in_to_console(sites, "jane", "everything")
    site = f"/sites/{sites.garden.id}"
    tabs = [f"{site}/{tab}" for tab in ("domains", "settings", "theme", "state", "users", "copy", "traffic", "remove")]
    found = [
        "/",
        "/?q=none",
        "/add",
        site,
        *tabs,
        "/removed",
        "/log",
        "/jobs",
        "/health",
        "/operators",
        "/account",
        "/logout",
        "/confirm",
        link,
    ]
    token = form_token(browser)
    for language in LANGUAGES:
        headers = {"Accept-Language": language}
        for number, path in enumerate(found):
            save(folder, f"console-{language}-{number}", browser.get(path, headers=headers))
        fields = {"csrf_token": token, "action": "maintain", "login": "olga", "posts_per_page": "x"}
        for name in ("state", "sign-in", "settings", "domains"):
            page = browser.post(f"{site}/{name}", fields, headers=headers, status="*")
            save(folder, f"console-{language}-{name}", page)
        stranger = console_browser(sites)
        for path in ("/login", "/none"):
            save(folder, f"console-{language}{path.replace('/', '-')}", stranger.get(path, headers=headers, status="*"))


BODY = "# One\n\n> *Two*\n\n- `three`\n\n| a | b |\n|---|---|\n| c | d |\n\n![Four](https://a.example/4.png)"
PATHS = ("/", "/entries/leaves", "/tags/soil", "/archive", "/archive/2024", "/search?q=leaves", "/search", "/none")


def save_pages_of_demo_sites(sites: ContentSites, folder: Path) -> None:
    """Save the pages of the shared templates, and of the templates of each demo site."""
    settings = parse_settings(sites.settings)
    for name in ("shared.localhost", *DEMO_SITES):
        host = name.replace("localhost", "demo.example")
        site = add_site(sites.engine, host, settings=settings, name=name)
        if name in DEMO_SITES:
            own = Path(sites.settings["multisite.sites_dir"], site.folder)
            shutil.copytree(ROOT / "sites" / name, own, dirs_exist_ok=True)
        for slug in ("leaves", "compost"):
            sites.add(site, slug, tags=["soil"], body=BODY)
        browser = TestApp(sites.app, extra_environ={"HTTP_HOST": host})
        for number, path in enumerate(PATHS):
            save(folder, f"{name}-{number}", browser.get(path, status=404 if path == "/none" else 200))


def test_every_page_is_valid(faults: list[str]) -> None:
    assert [each for each in faults if not each.startswith("faulty.html: ")] == []


def test_a_fault_is_found(faults: list[str]) -> None:
    assert [each for each in faults if each.startswith("faulty.html: Duplicate ID")]
