"""`multisite collect-static`: what it exports, that it writes only changed files, and a real nginx."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from click.testing import CliRunner
from content_sites import GARDEN, STERNWARTE, ContentSites
from paths import ROOT
from snippets import snippets
from waitress_server import serving

from multisite import Site
from multisite.cli import main
from multisite.core.settings import parse_settings
from multisite.directory.records import DomainRecord, SiteRecord, list_sites
from multisite.sites.availability import disable_site
from multisite.sites.collect_static import collect_static
from multisite.sites.domains import add_domain
from multisite.templates.assets import digest_of


class Laid:
    """Two sites, and the folder that the command exports their files to."""

    def __init__(self, sites: ContentSites, folder: Path) -> None:
        self.sites = sites
        self.target = folder / "laid"
        self.own = Path(sites.settings["multisite.sites_dir"], GARDEN, "static")
        self.theirs = Path(sites.settings["multisite.sites_dir"], STERNWARTE, "static")
        self.shared = Path(sites.settings["multisite.templates_dir"], "static")
        for file in (*self.own.iterdir(), *self.theirs.iterdir(), *self.shared.iterdir()):
            file.unlink()
        self.ini = folder / "app.ini"
        lines = "\n".join(f"{key} = {value}" for key, value in sites.settings.items())
        self.ini.write_text(
            f"[app:main]\nuse = egg:pyramid-multisite\n{lines}\n\n[server:main]\nuse = egg:waitress#main\n"
        )

    def collect(self, *options: str) -> dict[str, int]:
        done = CliRunner().invoke(main, ["-c", str(self.ini), "collect-static", "--json", *options, str(self.target)])
        assert done.exit_code == 0, done.output
        counts: dict[str, int] = json.loads(done.output)
        return counts

    def refused(self, target: Path) -> str:
        done = CliRunner().invoke(main, ["-c", str(self.ini), "collect-static", str(target)])
        assert done.exit_code == 1
        return done.output

    def files(self) -> dict[str, str]:
        """Return the content of every exported file by its path; links to folders are not followed."""
        found = (path for path in self.target.rglob("*") if path.is_file())
        return {path.relative_to(self.target).as_posix(): path.read_text() for path in found}


@pytest.fixture
def laid(sqlite_sites: ContentSites, tmp_path: Path) -> Laid:
    return Laid(sqlite_sites, tmp_path)


def hashed(file: Path) -> str:
    return digest_of(file)[:12]


def test_each_host_has_its_files_plain_and_by_their_hash(laid: Laid) -> None:
    (laid.shared / "base.css").write_text("shared")
    (laid.shared / "style.css").write_text("shared style")
    (laid.own / "img").mkdir()
    (laid.own / "img" / "leaf.svg").write_text("leaf")
    (laid.own / "style.css").write_text("garden's style")
    for name in (".hidden", "page.mako", "app.ini", "page.mako.bak"):
        (laid.own / name).write_text("secret")
    assert laid.collect() == {"sites": 2, "files": 10, "written": 10, "removed": 0}
    expected = {}
    for host, file, name in (
        (GARDEN, laid.shared / "base.css", "base.css"),
        (GARDEN, laid.own / "style.css", "style.css"),
        (GARDEN, laid.own / "img" / "leaf.svg", "img/leaf.svg"),
        (STERNWARTE, laid.shared / "base.css", "base.css"),
        (STERNWARTE, laid.shared / "style.css", "style.css"),
    ):
        for folder in ("", f"{hashed(file)}/"):
            expected[f"{host}/{folder}static/{name}"] = file.read_text()
    assert laid.files() == expected
    shared = [path for path in laid.target.rglob("base.css") if path.is_file()]
    assert len({path.stat().st_ino for path in shared}) == 1
    assert all(path.stat().st_mode & 0o044 for path in shared), "a web server reads them as somebody else"


def test_only_changed_files_are_written_and_deleted_ones_removed(laid: Laid) -> None:
    for name in ("one", "two", "three"):
        (laid.own / f"{name}.css").write_text(name)
    laid.collect()
    before = {path: path.stat().st_ino for path in laid.target.rglob("*") if path.is_file()}
    assert laid.collect() == {"sites": 2, "files": 6, "written": 0, "removed": 0}
    assert {path: path.stat().st_ino for path in before} == before
    status = (laid.own / "one.css").stat()
    (laid.own / "one.css").write_text("eno")
    os.utime(laid.own / "one.css", ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size and time
    (laid.own / "two.css").unlink()
    assert laid.collect() == {"sites": 2, "files": 4, "written": 2, "removed": 3}
    assert sorted(laid.files()) == sorted(
        f"{GARDEN}/{folder}static/{name}.css" for name in ("one", "three") for folder in (
            "", f"{hashed(laid.own / f'{name}.css')}/"
        )
    )  # fmt: skip
    assert [path for path in laid.target.rglob("*") if path.is_dir() and not any(path.iterdir())] == [
        laid.target / ".multisite-static"
    ]


def test_an_open_file_keeps_its_content(laid: Laid) -> None:
    (laid.own / "one.css").write_text("before")
    laid.collect()
    with (laid.target / GARDEN / "static" / "one.css").open() as reader:
        (laid.own / "one.css").write_text("behind")
        laid.collect()
        assert reader.read() == "before"
    assert (laid.target / GARDEN / "static" / "one.css").read_text() == "behind"


def test_aliases_are_links_and_are_removed_with_the_site(laid: Laid) -> None:
    (laid.own / "one.css").write_text("one")
    laid.collect()
    assert (laid.target / "alias.example").readlink() == Path(GARDEN)
    add_domain(laid.sites.engine, GARDEN, "second.example")
    laid.collect()
    assert (laid.target / "second.example" / "static" / "one.css").read_text() == "one"
    (laid.target / "gone.example").mkdir()
    (laid.target / "gone.example" / "file.css").write_text("gone")
    assert laid.collect()["removed"] == 1
    assert sorted(path.name for path in laid.target.iterdir()) == [
        ".multisite-static", "alias.example", GARDEN, "second.example"
    ]  # fmt: skip


def test_domains_with_more_than_a_host_are_left_to_the_application(laid: Laid) -> None:
    (laid.shared / "one.css").write_text("one")
    laid_out = {".multisite-static", "alias.example", GARDEN, STERNWARTE}
    for domain in ("*.wild.example", "shop.example/shop", "one.example", "two.other.example"):
        add_domain(laid.sites.engine, GARDEN, domain)
    laid.collect()
    assert {path.name for path in laid.target.iterdir()} == laid_out | {"one.example", "two.other.example"}
    # The same hosts are another site on one of their ports.
    for domain in ("one.example:8080", "*.other.example:8080"):
        add_domain(laid.sites.engine, STERNWARTE, domain)
    laid.collect()
    assert {path.name for path in laid.target.iterdir()} == laid_out
    # They are that site's still when it is not open, and then have no files at all.
    disable_site(laid.sites.engine, STERNWARTE)
    laid.collect()
    assert {path.name for path in laid.target.iterdir()} == laid_out - {STERNWARTE}


def test_compressed_variants_are_exported_with_their_files(laid: Laid) -> None:
    long = "body { color: red } " * 200
    (laid.own / "long.css").write_text(long)
    (laid.own / "short.css").write_text("short")
    (laid.own / "noise.css").write_bytes(gzip.compress(os.urandom(2000)))
    (laid.own / "photo.jpg").write_text(long)
    laid.collect("--compress")
    packed = [path for path in laid.target.rglob("*.gz") if path.is_file()]
    assert {path.relative_to(laid.target / GARDEN).as_posix() for path in packed} == {
        "static/long.css.gz",
        f"{hashed(laid.own / 'long.css')}/static/long.css.gz",
    }
    assert {gzip.decompress(path.read_bytes()).decode() for path in packed} == {long}
    assert laid.collect("--compress")["written"] == 0
    assert laid.collect()["removed"] == 2
    (laid.own / "long.css.gz").write_text("mine")
    (laid.own / "long.css.br").write_text("older")
    os.utime(laid.own / "long.css.br", (10**9, 10**9))
    laid.collect("--compress")
    names = {path.name: path.read_text() for path in laid.target.rglob("long.css.*") if path.is_file()}
    assert names == {"long.css.gz": "mine"}


def test_other_folders_are_not_touched(laid: Laid, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "contains other files" in laid.refused(tmp_path / "mine")
    for folder in (laid.own, laid.own.parent.parent, laid.shared / "new", tmp_path):
        assert "overlap: choose" in laid.refused(folder)
    assert "cannot write " in laid.refused(tmp_path / "mine" / "letter.txt")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_file_that_is_removed_during_the_run_is_left_out(laid: Laid, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (laid.own / f"{name}.css").write_text(name)
    copy = shutil.copyfileobj

    def copy_late(source: BinaryIO, target: BinaryIO) -> None:
        if source.read() == b"one":
            (laid.own / "one.css").write_text("changed while it is copied")
        source.seek(0)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", copy_late)
    laid.collect()
    assert {Path(path).name for path in laid.files()} == {"two.css"}
    monkeypatch.undo()
    laid.collect()
    assert {Path(path).name for path in laid.files()} == {"one.css", "two.css"}


# With nginx


@contextmanager
def nginx(folder: Path, target: Path, application: int) -> Iterator[int]:
    """Run nginx as docs/static-files.md configures it in front of an application's port, and yield its own port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (snippet,) = snippets(ROOT / "docs" / "static-files.md", "nginx")
    text = snippet.text
    for found, here in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("/srv/static", str(target)),
        ("127.0.0.1:6543", f"127.0.0.1:{application}"),
    ):
        assert found in text
        text = text.replace(found, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "nginx.conf").write_text(
        f"""{"user root;" if os.geteuid() == 0 else ""}
        daemon off; worker_processes 1; pid {folder}/nginx.pid;
        events {{ worker_connections 64; }}
        http {{
            include /etc/nginx/mime.types; access_log off;
            {"".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)}
            {text}
        }}"""
    )
    server = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        assert wait_for(lambda: server.poll() is not None or _answers(port))
        assert server.poll() is None, (folder / "error.log").read_text()
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool]) -> bool:
    """Return True once `condition` holds, False if it does not for a long time."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def ask(port: int, path: str, host: str = GARDEN, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": host} | {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), body


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_serves_the_export_and_the_application_the_rest(laid: Laid, tmp_path: Path) -> None:
    (laid.shared / "style.css").write_text("shared")
    (laid.own / "style.css").write_text("garden's " * 200)
    (laid.own / "leaf.svg").write_text("<svg/>")
    laid.collect("--compress")
    secret = tmp_path / "secret.css"
    secret.write_text("secret")
    v = hashed(laid.own / "style.css")
    with serving(laid.sites.app) as (_, application), nginx(tmp_path, laid.target, application) as port:

        def seen(path: str, host: str = GARDEN, **headers: str) -> tuple[int, bool, bytes]:
            """Status, whether nginx itself answered (its entity tags are times), and what."""
            status, answer, body = ask(port, path, host, **headers)
            assert answer["Server"].startswith("nginx")
            tag = answer.get("ETag", "").removeprefix("W/").strip('"')
            return status, re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", tag) is not None, body

        own, shared = (laid.own / "style.css").read_bytes(), b"shared"
        assert seen("/static/style.css") == (200, True, own)
        assert seen("/static/style.css", STERNWARTE) == (200, True, shared)
        assert seen("/static/style.css", "alias.example") == (200, True, own)
        assert seen("/static/style.css", GARDEN.upper()) == (200, True, own)
        assert seen(f"/static/style.css?v={v}") == (200, True, own)
        # The hash of another site's file, and of one that has changed since: the application says what is there now.
        assert seen(f"/static/style.css?v={v}", STERNWARTE) == (200, False, shared)
        assert seen("/static/style.css?v=000000000000") == (200, False, own)
        # What is no hash becomes no part of a path, and the plain file is sent.
        for query in ("../..", "%2e%2e/%2e%2e", f"../{v}", f"{v}/..", "../../secret.css"):
            assert seen(f"/static/style.css?v={query}") == (200, True, own)
        assert seen("/static/../../secret.css")[0] in (400, 404)
        assert seen("/static/style.css", "unknown.example")[0] == 404
        assert seen("/", GARDEN)[0] == 200

        caching = [ask(port, path)[1]["Cache-Control"] for path in ("/static/leaf.svg", f"/static/style.css?v={v}")]
        assert caching == ["public, max-age=3600", "public, max-age=31536000, immutable"]
        _, head, body = ask(port, "/static/style.css", Accept_Encoding="gzip")
        assert (head["Content-Encoding"], head["Vary"], gzip.decompress(body)) == ("gzip", "Accept-Encoding", own)
        assert head["Content-Type"] == "text/css"
        assert head["X-Content-Type-Options"] == "nosniff"
        assert ask(port, "/static/leaf.svg")[1]["Content-Type"] == "image/svg+xml"
        assert ask(port, "/static/style.css", Range="bytes=0-5")[2] == b"garden"

        # A file changes: under its new hash the application serves it until it is laid out.
        (laid.own / "style.css").write_text("new")
        new = hashed(laid.own / "style.css")
        assert seen(f"/static/style.css?v={new}") == (200, False, b"new")
        laid.collect("--compress")
        assert seen(f"/static/style.css?v={new}") == (200, True, b"new")
        assert seen(f"/static/style.css?v={v}") == (200, False, b"new")
        assert "immutable" not in ask(port, f"/static/style.css?v={v}")[1]["Cache-Control"]


def test_ten_thousand_sites_without_files_of_their_own_are_links(laid: Laid) -> None:
    """A fiftieth of them; see MULTISITE_SOAK."""
    (laid.shared / "style.css").write_text("shared")
    number = 10_000 if os.environ.get("MULTISITE_SOAK") == "1" else 200
    (known,) = [record for record in list_sites(laid.sites.engine) if record.site.host == GARDEN]
    records = [
        SiteRecord(
            Site(n, f"s{n}.example", "S", f"s{n}"),
            "active",
            known.created,
            (DomainRecord(f"s{n}.example", "canonical"),),
        )
        for n in range(number)
    ]
    settings = parse_settings(laid.sites.settings)
    done = collect_static(settings, records, laid.target)
    assert (done.sites, done.written) == (number, 2 * number)
    files = [path.stat().st_ino for path in laid.target.rglob("style.css")]
    # A file system has a limit to the names of one file; ext4's is 65,000.
    assert (len(files), len(set(files)) < 3) == (2 * number, True)
    assert collect_static(settings, records, laid.target).written == 0
