"""Files that are replaced by links while they are read: the checked file is sent, compiled or copied."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from content_sites import GARDEN, STERNWARTE, ContentSites
from mako.exceptions import TemplateLookupException
from pyramid.i18n import Localizer, Translations
from pyramid.request import Request
from template_world import World, render

from multisite import Site
from multisite.core.settings import Settings
from multisite.directory.records import DomainRecord, SiteRecord
from multisite.language.translations import SiteTranslations
from multisite.sites.collect_static import collect_static
from multisite.templates import real_file
from multisite.templates.assets import find_asset, open_asset
from multisite.templates.overlay import Layer, ResolvedTemplate
from multisite.templates.real_file import open_real_file

OWN, FOREIGN = "the garden's own", "CANARY of another site"
READINGS = 600
"""How often a file is requested while it is swapped. Opening by path, one response in 25 was another file."""


@contextmanager
def swapping(*steps: Callable[[], None]) -> Iterator[None]:
    """Run the steps in turn, in a thread, during the block."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                for step in steps:
                    step()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


def link_in(place: Path, target: Path) -> Callable[[], None]:
    """Return a step that puts a link to `target` at `place`, in one move."""

    def step() -> None:
        waiting = place.with_name(f".link-{place.name}")
        waiting.symlink_to(target)
        waiting.replace(place)

    return step


def file_in(place: Path, content: bytes) -> Callable[[], None]:
    """Return a step that puts a file of its own at `place`, in one move."""

    def step() -> None:
        waiting = place.with_name(f".file-{place.name}")
        waiting.write_bytes(content)
        waiting.replace(place)

    return step


def folder_in(place: Path, target: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return steps that put a link to the folder `target` at the folder `place`, and the folder itself again."""
    aside = place.with_name(f".aside-{place.name}")

    def link() -> None:
        place.rename(aside)
        place.symlink_to(target)

    def back() -> None:
        place.unlink()
        aside.rename(place)

    return link, back


@pytest.fixture
def own(sqlite_sites: ContentSites) -> Path:
    """The garden's folder of static files."""
    return Path(sqlite_sites.settings["multisite.sites_dir"], GARDEN, "static")


@pytest.fixture
def theirs(sqlite_sites: ContentSites) -> Path:
    """That of the other site."""
    return Path(sqlite_sites.settings["multisite.sites_dir"], STERNWARTE, "static")


def answers(sites: ContentSites, path: str, **headers: str) -> set[tuple[int, str, str]]:
    """Return the different statuses, contents and entity tags of many answers; an error page has no content."""
    found = set()
    for _ in range(READINGS):
        request = Request.blank(path, host=GARDEN, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = request.get_response(sites.app)
        body = response.body
        if response.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        page = (response.status_code, body.decode(), response.headers["ETag"]) if response.status_code == 200 else ()
        found.add(page or (response.status_code, "", ""))
    return found


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


@pytest.mark.parametrize("with_proc", [True, False], ids=["proc", "no-proc"])
def test_no_answer_holds_the_file_of_another_site(
    sqlite_sites: ContentSites, own: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch, with_proc: bool
) -> None:
    if not with_proc:
        without_proc(monkeypatch)
    (theirs / "x.css").write_text(FOREIGN)
    file_in(own / "r.css", OWN.encode())()
    with swapping(link_in(own / "r.css", theirs / "x.css"), file_in(own / "r.css", OWN.encode())):
        found = answers(sqlite_sites, "/static/r.css")
    # Which of the two states is seen how often depends on the machine.
    assert found <= {(404, "", ""), (200, OWN, etag(OWN.encode()))}


def test_no_answer_holds_a_file_of_a_folder_that_a_link_replaces(
    sqlite_sites: ContentSites, own: Path, theirs: Path
) -> None:
    for folder, content in ((own, OWN), (theirs, FOREIGN)):
        (folder / "img").mkdir()
        (folder / "img" / "r.css").write_text(content)
    with swapping(*folder_in(own / "img", theirs / "img")):
        found = answers(sqlite_sites, "/static/img/r.css")
    # Which of the two states is seen how often depends on the machine.
    assert found <= {(404, "", ""), (200, OWN, etag(OWN.encode()))}


def test_no_answer_holds_the_compressed_file_of_another_site(
    sqlite_sites: ContentSites, own: Path, theirs: Path
) -> None:
    packed = gzip.compress(b"own", mtime=0)
    (own / "r.css").write_text(OWN * 20)
    os.utime(own / "r.css", (10**9, 10**9))
    (theirs / "x.gz").write_bytes(gzip.compress(FOREIGN[:6].encode()))
    with swapping(link_in(own / "r.css.gz", theirs / "x.gz"), file_in(own / "r.css.gz", packed)):
        found = answers(sqlite_sites, "/static/r.css", Accept_Encoding="gzip")
    assert {text for _, text, _ in found} <= {OWN * 20, "own"}


def test_the_tag_of_an_answer_is_that_of_its_content(sqlite_sites: ContentSites, own: Path) -> None:
    contents = [b"a" * 50, b"b" * 51]
    file_in(own / "r.css", contents[0])()
    with swapping(*(file_in(own / "r.css", content) for content in contents)):
        found = answers(sqlite_sites, "/static/r.css")
    assert found <= {(200, content.decode(), etag(content)) for content in contents}


def test_no_address_holds_the_hash_of_another_site_s_file(own: Path, theirs: Path) -> None:
    """The hash in a URL is that of the checked file."""
    (theirs / "x.css").write_text(FOREIGN)
    file_in(own / "r.css", OWN.encode())()
    digests = set()
    with swapping(link_in(own / "r.css", theirs / "x.css"), file_in(own / "r.css", OWN.encode())):
        for _ in range(READINGS):
            asset = open_asset([own], ["r.css"])
            if asset is not None:
                with asset:
                    digests.add(asset.digest())
    assert digests <= {hashlib.sha256(OWN.encode()).hexdigest()}


def test_links_within_the_layer_are_followed_while_others_are_swapped(own: Path) -> None:
    for name in ("one", "two"):
        (own / f"{name}.css").write_text(name)
    (own / "r.css").symlink_to("one.css")
    found = set()
    with swapping(link_in(own / "r.css", Path("two.css")), link_in(own / "r.css", Path("one.css"))):
        for _ in range(READINGS):
            asset = open_asset([own], ["r.css"])
            assert asset is not None
            with asset:
                found.add(asset.file.read().decode())
    assert found <= {"one", "two"}


def test_nothing_of_another_site_is_laid_out(own: Path, theirs: Path, tmp_path: Path) -> None:
    """collect-static may run as somebody who can read more than the application: the content must be the site's."""
    for file in own.iterdir():
        file.unlink()
    sites_dir = own.parent.parent
    settings = Settings(sites_dir=sites_dir, templates_dir=tmp_path / "no templates")
    info = SiteRecord(
        Site(1, GARDEN, "Garden", GARDEN), "active", datetime.now(UTC), (DomainRecord(GARDEN, "canonical"),)
    )
    (theirs / "x.css").write_text(FOREIGN * 100)
    laid = tmp_path / "laid"
    names = [f"r{number}.css" for number in range(5)]
    steps = [
        step
        for name in names
        for step in (link_in(own / name, theirs / "x.css"), file_in(own / name, OWN.encode() * 100))
    ]
    for name in names:
        file_in(own / name, OWN.encode() * 100)()
    with swapping(*steps):
        for _ in range(60):
            collect_static(settings, [info], laid, compress=True)
            for path in laid.rglob("*.css*"):
                content = path.read_bytes()
                content = gzip.decompress(content) if path.suffix == ".gz" else content
                assert FOREIGN.encode() not in content, path
            shutil.rmtree(laid)


# --- templates and translations: read by a name that was looked at before


def swapping_after_look(
    monkeypatch: pytest.MonkeyPatch, overlay: Any, target: Callable[[Path], Path | None]
) -> list[Path]:
    """Replace each file by a link to `target(path)` just after the overlay has checked it."""
    look, swapped = overlay.stat_candidate, []

    def look_and_swap(layer: Layer, candidate: Path) -> ResolvedTemplate | None:
        found: ResolvedTemplate | None = look(layer, candidate)
        to = None if found is None else target(candidate)
        if to is not None:
            link_in(candidate, to)()
            swapped.append(candidate)
        return found

    monkeypatch.setattr(
        type(overlay), "stat_candidate", lambda _self, layer, candidate: look_and_swap(layer, candidate)
    )
    return swapped


@pytest.mark.parametrize("reload", [True, False])
def test_a_template_replaced_by_a_link_after_it_was_found_is_not_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reload: bool
) -> None:
    world = World(tmp_path)
    foreign = world.write("sites/kitchen/page.mako", FOREIGN)
    world.write("sites/garden/page.mako", OWN)
    garden = Site(1, "garden.example", "Garden", "garden")
    templates = world.templates(reload=reload)
    swapped = swapping_after_look(monkeypatch, templates.overlay, lambda _: foreign)
    with pytest.raises(TemplateLookupException, match="it lies outside of"):
        render(templates, garden)
    assert swapped == [world.root / "sites/garden/page.mako"]


def test_a_template_replaced_by_a_link_within_its_layer_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    other = world.write("sites/garden/other.mako", "another of the garden's")
    world.write("sites/garden/page.mako", OWN)
    templates = world.templates()
    swapping_after_look(monkeypatch, templates.overlay, lambda _: other)
    assert render(templates, Site(1, "garden.example", "Garden", "garden")) == "another of the garden's"


def test_translations_replaced_by_a_link_after_they_were_found_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    paths = {}
    for folder, text in (("garden", OWN), ("kitchen", FOREIGN)):
        path = paths[folder] = world.root / f"sites/{folder}/locale/de/LC_MESSAGES/messages.mo"
        path.parent.mkdir(parents=True)
        catalog = Catalog(locale="de")
        catalog.add("hello", text)
        with path.open("wb") as file:
            write_mo(file, catalog)
    templates = world.templates()
    translations, garden = SiteTranslations(templates), Site(1, "garden.example", "Garden", "garden")

    def translate() -> str:
        below = Translations()
        below._catalog = {"hello": "the application's"}
        application = Localizer("de", below)
        text: str = translations.localizer(garden, application).translate("hello", domain="messages")
        return text

    assert translate() == OWN
    translations = SiteTranslations(templates)
    swapping_after_look(monkeypatch, templates.overlay, lambda _: paths["kitchen"])
    assert translate() == "the application's"
    assert "cannot be used" in caplog.text


# --- opening


def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be opened as on a system without /proc."""

    def readlink(path: str, *_: Any) -> str:
        raise FileNotFoundError(path)

    # realpath has its own name for os.readlink.
    monkeypatch.setattr(real_file.os, "readlink", _only_proc(os.readlink, readlink))


def _only_proc(real: Callable[..., str], fake: Callable[..., str]) -> Callable[..., str]:
    return lambda path, *more, **named: fake(path) if str(path).startswith("/proc/") else real(path, *more, **named)


@pytest.mark.parametrize("with_proc", [True, False], ids=["proc", "no-proc"])
def test_an_open_file_says_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_proc: bool) -> None:
    if not with_proc:
        without_proc(monkeypatch)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real.txt").write_text("real")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file-link.txt").symlink_to("folder/real.txt")
    for name in ("folder/real.txt", "link/real.txt", "file-link.txt", "folder/../link/real.txt"):
        with open_real_file(tmp_path / name) as opened:
            assert opened.path == tmp_path.resolve() / "folder" / "real.txt"
            assert opened.file.read() == b"real"
    assert opened.file.closed
    with pytest.raises(OSError, match="symbolic links"):
        open_real_file(tmp_path / "file-link.txt", follow_links=False)
    with pytest.raises(IsADirectoryError):
        open_real_file(tmp_path / "folder")


def test_a_file_replaced_while_it_is_opened_is_none_of_the_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check without /proc: the descriptor must be that of the resolved path."""
    (tmp_path / "page.txt").write_text("old")
    fstat = os.fstat

    def replace_first(descriptor: int) -> os.stat_result:
        file_in(tmp_path / "page.txt", b"new")()
        return fstat(descriptor)

    without_proc(monkeypatch)
    monkeypatch.setattr(real_file.os, "fstat", replace_first)
    with pytest.raises(FileNotFoundError, match="was replaced"):
        open_real_file(tmp_path / "page.txt")


def test_a_removed_file_keeps_its_name_and_the_rules_for_it(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux appends a suffix to the path of a removed file, which must not hide the suffix of a template."""
    (own / "page.mako").write_text("code")
    (own / "r.css").symlink_to("page.mako")
    open_descriptor = os.open

    def open_and_remove(path: Any, *more: Any) -> int:
        descriptor = open_descriptor(path, *more)
        (own / "page.mako").unlink(missing_ok=True)
        return descriptor

    monkeypatch.setattr(real_file.os, "open", open_and_remove)
    assert find_asset([own], ["r.css"]) is None


def test_pipes_devices_and_sockets_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="not a regular file"):
            open_real_file(path)


def test_no_descriptor_is_left_open(own: Path) -> None:
    (own / "r.css").write_text("content")
    (own / "r.css.gz").write_bytes(gzip.compress(b"content"))
    (own / "page.mako").write_text("code")
    (own / "folder").mkdir()
    (own / "link.css").symlink_to("page.mako")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("r.css", "folder", "link.css", "none.css"):
        asset = open_asset([own], [name])
        if asset is not None:
            with asset:
                for encoded in asset.encoded().values():
                    encoded.file.close()
        find_asset([own], [name])
        for path in (own / name, own):
            with suppress(OSError):
                open_real_file(path).file.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
