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


class Exported:
    """Two sites, and the folder that the command exports their files to."""

    def __init__(self, sites: ContentSites, folder: Path) -> None:
        self.sites = sites
        self.target = folder / "exported"
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

    def error(self, target: Path) -> str:
        done = CliRunner().invoke(main, ["-c", str(self.ini), "collect-static", str(target)])
        assert done.exit_code == 1
        return done.output

    def files(self) -> dict[str, str]:
        """Return the content of every exported file by its path; links to folders are not followed."""
        found = (path for path in self.target.rglob("*") if path.is_file())
        return {path.relative_to(self.target).as_posix(): path.read_text() for path in found}


@pytest.fixture
def exported(sqlite_sites: ContentSites, tmp_path: Path) -> Exported:
    return Exported(sqlite_sites, tmp_path)


def hashed(file: Path) -> str:
    return digest_of(file)[:12]


def test_each_host_has_its_files_plain_and_by_their_hash(exported: Exported) -> None:
    (exported.shared / "base.css").write_text("shared")
    (exported.shared / "style.css").write_text("shared style")
    (exported.own / "img").mkdir()
    (exported.own / "img" / "leaf.svg").write_text("leaf")
    (exported.own / "style.css").write_text("garden's style")
    for name in (".hidden", "page.mako", "app.ini", "page.mako.bak"):
        (exported.own / name).write_text("secret")
    assert exported.collect() == {"sites": 2, "files": 10, "written": 10, "removed": 0}
    expected = {}
    for host, file, name in (
        (GARDEN, exported.shared / "base.css", "base.css"),
        (GARDEN, exported.own / "style.css", "style.css"),
        (GARDEN, exported.own / "img" / "leaf.svg", "img/leaf.svg"),
        (STERNWARTE, exported.shared / "base.css", "base.css"),
        (STERNWARTE, exported.shared / "style.css", "style.css"),
    ):
        for folder in ("", f"{hashed(file)}/"):
            expected[f"{host}/{folder}static/{name}"] = file.read_text()
    assert exported.files() == expected
    shared = [path for path in exported.target.rglob("base.css") if path.is_file()]
    assert len({path.stat().st_ino for path in shared}) == 1
    assert all(path.stat().st_mode & 0o044 for path in shared), "a web server reads them as somebody else"


def test_only_changed_files_are_written_and_deleted_ones_removed(exported: Exported) -> None:
    for name in ("one", "two", "three"):
        (exported.own / f"{name}.css").write_text(name)
    exported.collect()
    before = {path: path.stat().st_ino for path in exported.target.rglob("*") if path.is_file()}
    assert exported.collect() == {"sites": 2, "files": 6, "written": 0, "removed": 0}
    assert {path: path.stat().st_ino for path in before} == before
    status = (exported.own / "one.css").stat()
    (exported.own / "one.css").write_text("eno")
    os.utime(exported.own / "one.css", ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size and time
    (exported.own / "two.css").unlink()
    assert exported.collect() == {"sites": 2, "files": 4, "written": 2, "removed": 3}
    assert sorted(exported.files()) == sorted(
        f"{GARDEN}/{folder}static/{name}.css" for name in ("one", "three") for folder in (
            "", f"{hashed(exported.own / f'{name}.css')}/"
        )
    )  # fmt: skip
    assert [path for path in exported.target.rglob("*") if path.is_dir() and not any(path.iterdir())] == [
        exported.target / ".multisite-static"
    ]


def test_an_open_file_keeps_its_content(exported: Exported) -> None:
    (exported.own / "one.css").write_text("before")
    exported.collect()
    with (exported.target / GARDEN / "static" / "one.css").open() as reader:
        (exported.own / "one.css").write_text("behind")
        exported.collect()
        assert reader.read() == "before"
    assert (exported.target / GARDEN / "static" / "one.css").read_text() == "behind"


def test_aliases_are_links_and_are_removed_with_the_site(exported: Exported) -> None:
    (exported.own / "one.css").write_text("one")
    exported.collect()
    assert (exported.target / "alias.example").readlink() == Path(GARDEN)
    add_domain(exported.sites.engine, GARDEN, "second.example")
    exported.collect()
    assert (exported.target / "second.example" / "static" / "one.css").read_text() == "one"
    (exported.target / "gone.example").mkdir()
    (exported.target / "gone.example" / "file.css").write_text("gone")
    assert exported.collect()["removed"] == 1
    assert sorted(path.name for path in exported.target.iterdir()) == [
        ".multisite-static", "alias.example", GARDEN, "second.example"
    ]  # fmt: skip


def test_domains_with_more_than_a_host_are_left_to_the_application(exported: Exported) -> None:
    (exported.shared / "one.css").write_text("one")
    laid_out = {".multisite-static", "alias.example", GARDEN, STERNWARTE}
    for domain in ("*.wild.example", "shop.example/shop", "one.example", "two.other.example"):
        add_domain(exported.sites.engine, GARDEN, domain)
    exported.collect()
    assert {path.name for path in exported.target.iterdir()} == laid_out | {"one.example", "two.other.example"}
    # One port of each host belongs to another site.
    for domain in ("one.example:8080", "*.other.example:8080"):
        add_domain(exported.sites.engine, STERNWARTE, domain)
    exported.collect()
    assert {path.name for path in exported.target.iterdir()} == laid_out
    # They still belong to that site while it is disabled; then no files are exported for them.
    disable_site(exported.sites.engine, STERNWARTE)
    exported.collect()
    assert {path.name for path in exported.target.iterdir()} == laid_out - {STERNWARTE}


def test_compressed_variants_are_exported_with_their_files(exported: Exported) -> None:
    long = "body { color: red } " * 200
    (exported.own / "long.css").write_text(long)
    (exported.own / "short.css").write_text("short")
    (exported.own / "noise.css").write_bytes(gzip.compress(os.urandom(2000)))
    (exported.own / "photo.jpg").write_text(long)
    exported.collect("--compress")
    packed = [path for path in exported.target.rglob("*.gz") if path.is_file()]
    assert {path.relative_to(exported.target / GARDEN).as_posix() for path in packed} == {
        "static/long.css.gz",
        f"{hashed(exported.own / 'long.css')}/static/long.css.gz",
    }
    assert {gzip.decompress(path.read_bytes()).decode() for path in packed} == {long}
    assert exported.collect("--compress")["written"] == 0
    assert exported.collect()["removed"] == 2
    (exported.own / "long.css.gz").write_text("mine")
    (exported.own / "long.css.br").write_text("older")
    os.utime(exported.own / "long.css.br", (10**9, 10**9))
    exported.collect("--compress")
    names = {path.name: path.read_text() for path in exported.target.rglob("long.css.*") if path.is_file()}
    assert names == {"long.css.gz": "mine"}


def test_other_folders_are_not_touched(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "contains other files" in exported.error(tmp_path / "mine")
    for folder in (exported.own, exported.own.parent.parent, exported.shared / "new", tmp_path):
        assert "overlap: choose" in exported.error(folder)
    assert "cannot write " in exported.error(tmp_path / "mine" / "letter.txt")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_file_that_is_removed_during_the_run_is_left_out(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (exported.own / f"{name}.css").write_text(name)
    copy = shutil.copyfileobj

    def copy_late(source: BinaryIO, target: BinaryIO) -> None:
        if source.read() == b"one":
            (exported.own / "one.css").write_text("changed while it is copied")
        source.seek(0)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", copy_late)
    exported.collect()
    assert {Path(path).name for path in exported.files()} == {"two.css"}
    monkeypatch.undo()
    exported.collect()
    assert {Path(path).name for path in exported.files()} == {"one.css", "two.css"}


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
def test_nginx_serves_the_export_and_the_application_the_rest(exported: Exported, tmp_path: Path) -> None:
    (exported.shared / "style.css").write_text("shared")
    (exported.own / "style.css").write_text("garden's " * 200)
    (exported.own / "leaf.svg").write_text("<svg/>")
    exported.collect("--compress")
    secret = tmp_path / "secret.css"
    secret.write_text("secret")
    v = hashed(exported.own / "style.css")
    with serving(exported.sites.app) as (_, application), nginx(tmp_path, exported.target, application) as port:

        def seen(path: str, host: str = GARDEN, **headers: str) -> tuple[int, bool, bytes]:
            """Status, whether nginx itself answered (its entity tags are times), and what."""
            status, answer, body = ask(port, path, host, **headers)
            assert answer["Server"].startswith("nginx")
            tag = answer.get("ETag", "").removeprefix("W/").strip('"')
            return status, re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", tag) is not None, body

        own, shared = (exported.own / "style.css").read_bytes(), b"shared"
        assert seen("/static/style.css") == (200, True, own)
        assert seen("/static/style.css", STERNWARTE) == (200, True, shared)
        assert seen("/static/style.css", "alias.example") == (200, True, own)
        assert seen("/static/style.css", GARDEN.upper()) == (200, True, own)
        assert seen(f"/static/style.css?v={v}") == (200, True, own)
        # For the hash of another site's file, or of a changed one, the application serves the current file.
        assert seen(f"/static/style.css?v={v}", STERNWARTE) == (200, False, shared)
        assert seen("/static/style.css?v=000000000000") == (200, False, own)
        # A value that is not a hash is never part of a path; the file without a hash is sent.
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

        # The application serves a changed file under its new hash until the next export.
        (exported.own / "style.css").write_text("new")
        new = hashed(exported.own / "style.css")
        assert seen(f"/static/style.css?v={new}") == (200, False, b"new")
        exported.collect("--compress")
        assert seen(f"/static/style.css?v={new}") == (200, True, b"new")
        assert seen(f"/static/style.css?v={v}") == (200, False, b"new")
        assert "immutable" not in ask(port, f"/static/style.css?v={v}")[1]["Cache-Control"]


def test_ten_thousand_sites_without_files_of_their_own_are_links(exported: Exported) -> None:
    """A fiftieth of them; see MULTISITE_SOAK."""
    (exported.shared / "style.css").write_text("shared")
    number = 10_000 if os.environ.get("MULTISITE_SOAK") == "1" else 200
    (known,) = [record for record in list_sites(exported.sites.engine) if record.site.host == GARDEN]
    records = [
        SiteRecord(
            Site(n, f"s{n}.example", "S", f"s{n}"),
            "active",
            known.created,
            (DomainRecord(f"s{n}.example", "canonical"),),
        )
        for n in range(number)
    ]
    settings = parse_settings(exported.sites.settings)
    done = collect_static(settings, records, exported.target)
    assert (done.sites, done.written) == (number, 2 * number)
    files = [path.stat().st_ino for path in exported.target.rglob("style.css")]
    # File systems limit the hard links of a file; ext4 to 65,000.
    assert (len(files), len(set(files)) < 3) == (2 * number, True)
    assert collect_static(settings, records, exported.target).written == 0
