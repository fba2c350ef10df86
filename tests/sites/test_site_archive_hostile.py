"""Archives that somebody has made by hand: each is refused in one line, and nothing is changed."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.directory.models import DomainRow, SettingRow, SiteRow
from multisite.errors import MultisiteError
from multisite.scoping import scoped_reference, site_id_column
from multisite.sites import SiteContents, add_site, export_site, import_site
from multisite.sites.archive import reader

METADATA = sa.MetaData()
PAGES = sa.Table(
    "hostile_pages",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("title", sa.String(20), nullable=False),
    sa.Column("changed", sa.DateTime(timezone=True)),
    sa.Column("extra", sa.JSON),
    sa.Column("kept", sa.Uuid),
    sa.Column("price", sa.Numeric(8, 2)),
    sa.Column("image", sa.LargeBinary),
    sa.Column("up_id", sa.Integer, scoped_reference("hostile_pages.id")),
)
CONTENTS = SiteContents([METADATA])
NEW = "new.example"

Members = dict[str, bytes]


@dataclass
class Server:
    """A database and folders with one site, and its archive."""

    engine: Engine
    settings: Settings
    archive: Path

    def state(self) -> list[Any]:
        """Return everything that an import could change."""
        with all_sites("compare"), self.engine.connect() as connection:
            tables = (PAGES, SiteRow.__table__, DomainRow.__table__, SettingRow.__table__)
            rows = [connection.execute(sa.select(table)).all() for table in tables]
        return [rows, sorted(str(path) for path in self.settings.sites_dir.parent.rglob("*") if path != self.archive)]

    def members(self) -> Members:
        with zipfile.ZipFile(self.archive) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def refuse(self, path: Path) -> str:
        """Import an archive, which must be refused without a change; return the reason."""
        before = self.state()
        with pytest.raises(MultisiteError) as caught:
            import_site(self.engine, path, settings=self.settings, contents=CONTENTS, host=NEW, with_templates=True)
        assert self.state() == before
        reason = str(caught.value)
        assert "\n" not in reason
        assert len(reason) < 600
        return reason


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    made = Settings(sites_dir=folder / "sites", templates_dir=folder / "templates")
    with closing_engine(f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db") as engine:
        make_own_tables(engine)
        METADATA.create_all(engine)
        site = add_site(engine, "one.example", settings=made)
        (made.sites_dir / site.folder / "static").mkdir()
        (made.sites_dir / site.folder / "static" / "style.css").write_text("body {}")
        with all_sites("set up a test"), engine.begin() as connection:
            for number in (1, 2):
                values = {"id": number, "title": f"page {number}", "up_id": number - 1 or None, "site_id": site.id}
                connection.execute(sa.insert(PAGES).values(values))
        archive = folder / "one.zip"
        export_site(engine, "one.example", archive, settings=made, contents=CONTENTS)
        yield Server(engine, made, archive)


def write(path: Path, members: Members) -> Path:
    """Write an archive whose manifest fits the other members."""
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != "manifest.json"
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | {"manifest.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, content)
    return path


def in_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        manifest = json.loads(members["manifest.json"])
        change(manifest)
        members["manifest.json"] = json.dumps(manifest).encode()

    return apply


def in_rows(**cells: Any) -> Callable[[Members], None]:
    """Change cells of the last row."""

    def apply(members: Members) -> None:
        first, last = members["rows/hostile_pages.jsonl"].splitlines()
        changed = json.dumps(json.loads(last) | cells).encode()
        members["rows/hostile_pages.jsonl"] = first + b"\n" + changed + b"\n"

    return apply


def in_site(**values: Any) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        members["site.json"] = json.dumps(json.loads(members["site.json"]) | values).encode()

    return apply


def member(name: str, content: bytes = b"x") -> Callable[[Members], None]:
    return lambda members: members.update({name: content})


def table(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    return in_manifest(lambda manifest: change(manifest["tables"]))


DEEP = b"[" * 100_000 + b"]" * 100_000

CHANGED: dict[str, tuple[Callable[[Members], object], str]] = {
    "a path to the parent": (member("static/../../../evil.mako"), "is not allowed"),
    "a path to the parent at the start": (member("../evil.mako"), "is not allowed"),
    "an absolute path": (member("/etc/evil"), "is not allowed"),
    "a drive": (member("C:/evil"), "is not allowed"),
    "a backslash": (member("static\\..\\evil"), "is not allowed"),
    "a folder of its own": (member("elsewhere/evil"), "is not allowed"),
    "a control character": (member("static/a\x01b"), "is not allowed"),
    "a dot at the end": (member("static/style.css."), "is not allowed"),
    "a name that is too long": (member("static/" + "a" * 300), "is not allowed"),
    "a file that is a folder too": (member("static/style.css/evil"), "is a file and a folder"),
    "a part that nobody has": (member("parts/evil/file"), "which this application does not have"),
    "rows that the manifest does not name": (member("rows/evil.jsonl"), "rows of its tables"),
    "a manifest of another format": (in_manifest(lambda m: m.update(format="tar")), "does not have the format"),
    "a later version": (in_manifest(lambda m: m.update(version=2)), "reads versions up to 1"),
    "a version that is no number": (in_manifest(lambda m: m.update(version="1")), "reads versions up to 1"),
    "a manifest without tables": (in_manifest(lambda m: m.pop("tables")), "no valid 'tables'"),
    "a negative number of rows": (table(lambda t: t["hostile_pages"].update(rows=-1)), "negative 'rows'"),
    "another number of rows": (table(lambda t: t["hostile_pages"].update(rows=3)), "has 2 rows"),
    "another revision": (in_manifest(lambda m: m.update(revisions=["abc"])), "revision 'abc', and this database"),
    "an unknown table": (table(lambda t: t.update(evil=t.pop("hostile_pages"))), "the table 'evil', which"),
    "an own table": (table(lambda t: t.update(sites=t.pop("hostile_pages"))), "the table 'sites'"),
    "an unknown column": (table(lambda t: t["hostile_pages"]["columns"].update(evil="text")), "no column evil"),
    "the column site_id": (table(lambda t: t["hostile_pages"]["columns"].update(site_id="integer")), "column site_id"),
    "a missing column": (table(lambda t: t["hostile_pages"]["columns"].pop("title")), "no column title"),
    "another type": (table(lambda t: t["hostile_pages"]["columns"].update(title="binary")), "of the type 'binary'"),
    "a cell too many": (in_rows(evil=1), "does not have the columns"),
    "a site_id in a row": (in_rows(site_id=1), "does not have the columns"),
    "a text as a number": (in_rows(title=7), "the value of title is not valid"),
    "an object as a text": (in_rows(title={"a": 1}), "the value of title is not valid"),
    "a truth value as a key": (in_rows(id=True), "the value of id is not valid"),
    "a key that is too large": (in_rows(id=2**70), "the value of id is not valid"),
    "a time without its zone": (in_rows(changed="2024-01-01T00:00:00"), "the value of changed is not valid"),
    "a time that is none": (in_rows(changed="yesterday"), "the value of changed is not valid"),
    "JSON that is none": (in_rows(extra="{"), "the value of extra is not valid"),
    "a UUID that is none": (in_rows(kept="abc"), "the value of kept is not valid"),
    "a decimal that is none": (in_rows(price="1,5"), "the value of price is not valid"),
    "Base64 that is none": (in_rows(image="*"), "the value of image is not valid"),
    "NULL where none may be": (in_rows(title=None), "the database refuses a row of hostile_pages"),
    "two rows with one key": (in_rows(id=1), "the database refuses a row of hostile_pages"),
    "a reference to a missing row": (in_rows(up_id=77), "refers to 77, which is not in the archive"),
    "a row that is not JSON": (member("rows/hostile_pages.jsonl", b"{\n{}\n"), "it is not JSON"),
    "a row that is a list": (member("rows/hostile_pages.jsonl", b"[]\n[]\n"), "does not have the columns"),
    "a row with deep JSON": (member("rows/hostile_pages.jsonl", DEEP + b"\n"), "it is not JSON"),
    "a site without a name": (in_site(name=7), "it has no valid 'name'"),
    "a site with an empty name": (in_site(name=" "), "is not a valid site name"),
    "an unknown locale": (in_site(locale="xx-xx-xx"), "is not a locale"),
    "a time zone that is a path": (in_site(timezone="../../etc/passwd"), "is not a time zone"),
    "a theme that is a path": (in_site(theme="../evil"), "is not a valid theme name"),
    "an unknown theme": (in_site(theme="evil"), "there is no theme 'evil'"),
    "no domain": (in_site(domains=[]), "it has no domains"),
    "two canonical domains": (
        in_site(domains=[{"host": "a.example", "kind": "canonical"}, {"host": "b.example", "kind": "canonical"}]),
        "one canonical domain",
    ),
    "a domain that is none": (in_site(domains=[{"host": "a b", "kind": "canonical"}]), "is not a host"),
    "an availability that no command sets": (in_site(availability="removed"), "its availability is not"),
    "settings that are a list": (in_site(settings=["a"]), "its settings are not texts"),
    "no site.json": (lambda members: members.pop("site.json"), "has no site.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_changed_archive_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    change, reason = CHANGED[name]
    members = server.members()
    change(members)
    assert reason in server.refuse(write(tmp_path / "evil.zip", members))


def test_unchanged_archive_is_taken(server: Server, tmp_path: Path) -> None:
    """The archives above are refused for the change alone."""
    path = write(tmp_path / "good.zip", server.members())
    done = import_site(server.engine, path, settings=server.settings, contents=CONTENTS, host=NEW, dry_run=True)
    assert done.rows == {"hostile_pages": 2}


def test_code_outside_of_templates_is_left_out_too(server: Server, tmp_path: Path) -> None:
    """compile-templates runs every .mako below the folder of a site, also in its static files and translations."""
    code = ("static/evil.mako", "static/deep/evil.MAK", "translations/evil.mako", "translations/evil.html")
    members = server.members() | dict.fromkeys((*code, "translations/de/LC_MESSAGES/messages.mo"), b"x")
    archive = write(tmp_path / "evil.zip", members)
    taken = {}
    for with_templates in (False, True):
        host = f"code{int(with_templates)}.example"
        done = import_site(
            server.engine,
            archive,
            settings=server.settings,
            contents=CONTENTS,
            host=host,
            with_templates=with_templates,
        )
        folder = server.settings.sites_dir / host
        taken[with_templates] = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert done.files == len(taken[with_templates])
    assert taken[False] == {"static/style.css", "locale/de/LC_MESSAGES/messages.mo"}
    assert {"static/evil.mako", "static/deep/evil.MAK", "locale/evil.mako", "locale/evil.html"} <= taken[True]


def rewritten(source: Path, target: Path, change: Callable[[zipfile.ZipInfo], object]) -> Path:
    """Copy an archive member by member, with changed entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            change(info)
            new.writestr(info, content)
    return target


def test_links_and_devices_are_refused(server: Server, tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFDIR):
        path = rewritten(
            server.archive,
            tmp_path / "evil.zip",
            lambda info, kind=kind: setattr(info, "external_attr", (kind | 0o777) << 16),
        )
        assert "is a link or a device" in server.refuse(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    path.write_bytes(server.archive.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("static/style.css", "evil")
    assert "two members with the name 'static/style.css'" in server.refuse(path)


def test_compression_that_zip_bombs_use_is_refused(server: Server, tmp_path: Path) -> None:
    path = rewritten(
        server.archive, tmp_path / "evil.zip", lambda info: setattr(info, "compress_type", zipfile.ZIP_BZIP2)
    )
    assert "compressed in a way that is not supported" in server.refuse(path)


def test_bombs_are_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = server.members() | {"static/bomb": bytes(reader.FREE_RATIO_BYTES + 1)}
    bomb = write(tmp_path / "ratio.zip", members)
    assert "times larger than in the archive" in server.refuse(bomb)
    monkeypatch.setattr(reader, "MAX_MEMBER_BYTES", 5)
    assert "is larger than" in server.refuse(server.archive)
    monkeypatch.undo()
    monkeypatch.setattr(reader, "MAX_TOTAL_BYTES", 100)
    assert "together" in server.refuse(server.archive)
    monkeypatch.undo()
    monkeypatch.setattr(reader, "MAX_MEMBERS", 3)
    assert "more than 3 members" in server.refuse(server.archive)
    monkeypatch.undo()
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 10)
    assert "line that is too long" in server.refuse(server.archive)


def test_members_that_share_their_data_are_refused(server: Server, tmp_path: Path) -> None:
    path = write(tmp_path / "evil.zip", server.members() | {"static/a.css": b"body {}"})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("static/a.css")
        other = archive.getinfo("static/style.css")
    # In the central directory: the offset of a member is 4 bytes before its name.
    at = data.rindex(b"static/a.css") - 4
    assert int.from_bytes(data[at : at + 4], "little") == entry.header_offset
    data[at : at + 4] = other.header_offset.to_bytes(4, "little")
    path.write_bytes(data)
    assert "overlap" in server.refuse(path)


def test_checksum_that_differs_is_refused(server: Server, tmp_path: Path) -> None:
    for name in ("rows/hostile_pages.jsonl", "static/style.css", "site.json"):
        members = server.members()
        members[name] = members[name].replace(b"page 2", b"page 3").replace(b"body", b"BODY").replace(b"UTC", b"GMT")
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
            for each, content in members.items():
                archive.writestr(each, content)
        assert f"the checksum of '{name}'" in server.refuse(tmp_path / "evil.zip")


def test_archive_that_is_cut_off_is_refused(server: Server, tmp_path: Path) -> None:
    data = server.archive.read_bytes()
    path = tmp_path / "evil.zip"
    for length in range(0, len(data), max(1, len(data) // 20)):
        path.write_bytes(data[:length])
        assert "is not a zip file, or is damaged or cut off" in server.refuse(path)


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_archive_with_changed_bytes_raises_nothing_else(server: Server, data: st.DataObject) -> None:
    content = bytearray(server.archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = server.archive.with_name("fuzzed.zip")
    path.write_bytes(content)
    try:
        import_site(
            server.engine,
            path,
            settings=server.settings,
            contents=CONTENTS,
            host=NEW,
            with_templates=True,
            dry_run=True,
        )
    except MultisiteError as error:
        reason = str(error)
    else:
        reason = ""
    finally:
        path.unlink()
    assert "\n" not in reason


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_archive_with_fuzzed_members_changes_nothing_or_is_imported(server: Server, data: st.DataObject) -> None:
    """The manifest has the checksums of the changed members, so that only their content can be refused."""
    members = server.members()
    name = data.draw(st.sampled_from(sorted(members)))
    content = bytearray(members[name])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 3))
        content[start:end] = data.draw(st.binary(max_size=3) | st.sampled_from([b"null", b"-1", b'"', b"[]", b"\n"]))
    members[name] = bytes(content)
    path = server.archive.with_name("fuzzed.zip")
    try:
        write(path, members)
    except ValueError:  # The manifest itself is no JSON any more, so that no checksum can be put into it.
        with zipfile.ZipFile(path, "w") as archive:
            for each in members:
                archive.writestr(each, members[each])
    before, host = server.state(), f"fuzzed-{uuid4().hex}.example"
    try:
        import_site(server.engine, path, settings=server.settings, contents=CONTENTS, host=host, with_templates=True)
    except MultisiteError as error:
        reason, after = str(error), server.state()
    else:
        reason, after = "", before
    finally:
        path.unlink()
    assert "\n" not in reason
    assert after == before
