"""Operators list, unpublish, delete and prune entries, and read the report of an import as a page."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result
from content_sites import GARDEN, STERNWARTE, ContentSites
from sqlalchemy.orm import Session

from multisite import Site
from multisite.cli import main
from multisite.content.entries import delete_entry, list_records, unpublish_entry
from multisite.content.imports import report_page
from multisite.content.imports.importing import ImportReport, import_entries
from multisite.content.redirect_rules import parse_rule
from multisite.content.redirects import find_redirect, list_redirects, save_redirects
from multisite.content.report import BadPath, Note
from multisite.content.revisions import Revision
from multisite.errors import MultisiteError

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def slugs(sites: ContentSites, site: Site) -> list[str]:
    with Session(sites.engine, info={"site": site}) as session:
        return [record.slug for record in list_records(session, NOW)]


def add_three(sites: ContentSites) -> None:
    sites.add(sites.garden, "past", title="100% Compost_a")
    sites.add(sites.garden, "later", title="compost later", published=NOW + timedelta(days=1))
    sites.add(sites.garden, "draft", title="Über", published=None, draft=True)
    sites.add(sites.sternwarte, "past", title="Compost of another site")


# Functions.


def test_entries_are_listed_by_status_and_title_and_page_by_page(sites: ContentSites) -> None:
    add_three(sites)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        every = list_records(session, NOW)
        assert [(record.slug, record.status) for record in every] == [
            ("draft", "draft"),
            ("later", "scheduled"),
            ("past", "published"),
        ]
        assert (every[2].title, every[2].source) == ("100% Compost_a", None)
        for status in ("draft", "scheduled", "published"):
            assert [record.status for record in list_records(session, NOW, statuses=[status])] == [status]
        for search, found in (("COMPOST", 2), ("0% c", 1), ("_", 1), ("%", 1), ("x", 0), ("Über", 1), ("\\", 0)):
            assert len(list_records(session, NOW, search=search)) == found, search
        assert [record.slug for record in list_records(session, NOW, after="draft", limit=1)] == ["later"]
        assert [record.slug for record in list_records(session, NOW, after="elsewhere")] == ["later", "past"]


def test_an_entry_is_unpublished_on_its_own_site_alone(sites: ContentSites) -> None:
    add_three(sites)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert unpublish_entry(session, "past").status == "published"
        session.commit()
        with pytest.raises(MultisiteError, match="is a draft already"):
            unpublish_entry(session, "past")
    sites.browser(GARDEN).get("/entries/past", status=404)
    sites.browser(STERNWARTE).get("/entries/past", status=200)


def test_an_entry_is_deleted_with_its_tags_and_imported_redirects_on_its_own_site_alone(sites: ContentSites) -> None:
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, "ü", tags=["x"])
        with Session(sites.engine, info={"site": site}) as session:
            save_redirects(session, [parse_rule("/imported", "/entries/ü")], imported=True)
            save_redirects(session, [parse_rule("/mine", "/entries/ü")])
            session.commit()
    with Session(sites.engine, info={"site": sites.garden}) as session:
        delete_entry(session, "ü")
        session.commit()
        assert [rule.path for rule, _ in list_redirects(session)] == ["/mine"]
        kept = session.scalars(sa.select(Revision)).one()
        assert (kept.kind, kept.slug) == ("deleted", "ü")
        for slug in ("ü", "none", "\0"):
            with pytest.raises(MultisiteError, match="the site has no entry with the slug"):
                delete_entry(session, slug)
    assert (slugs(sites, sites.garden), slugs(sites, sites.sternwarte)) == ([], ["ü"])
    sites.browser(GARDEN).get("/tags/x", status=404)
    sites.browser(STERNWARTE).get("/imported", status=301)
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        assert session.scalars(sa.select(Revision)).all() == []


# Pruning.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    for name in ("a", "b", "c"):
        write(path / f"{name}.md")
    return path


def write(path: Path, more: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\ntitle: {path.stem}\ndate: 2024-05-05\n{more}---\nText.\n")


def prune(sites: ContentSites, *paths: Path, dry_run: bool = False, strict: bool = False) -> ImportReport:
    return import_entries(sites.engine, sites.garden, paths, prune=True, dry_run=dry_run, strict=strict)


def test_entries_of_files_that_are_gone_are_pruned(sites: ContentSites, folder: Path) -> None:
    sites.add(sites.garden, "by-hand")
    write(folder.parent / "content-of-others" / "x.md")
    import_entries(sites.engine, sites.garden, [folder, folder.parent / "content-of-others"])
    import_entries(sites.engine, sites.sternwarte, [folder])
    (folder / "b.md").unlink()
    assert import_entries(sites.engine, sites.garden, [folder]).pruned == []
    dry = prune(sites, folder, dry_run=True)
    assert dry.pruned == [BadPath(str(folder / "b.md"), "the entry 'b' would be deleted: its file is gone")]
    assert slugs(sites, sites.garden) == ["a", "b", "by-hand", "c", "x"]
    assert [each.path for each in prune(sites, folder).pruned] == [each.path for each in dry.pruned]
    assert slugs(sites, sites.garden) == ["a", "by-hand", "c", "x"]
    assert slugs(sites, sites.sternwarte) == ["a", "b", "c"]


def test_a_file_that_has_moved_or_is_bad_keeps_its_entry(sites: ContentSites, folder: Path) -> None:
    prune(sites, folder)
    (folder / "a.md").rename(folder / "moved.md")
    (folder / "moved.md").write_text((folder / "moved.md").read_text().replace("title: a", "title: a\nslug: a"))
    (folder / "b.md").write_text("bad")
    report = prune(sites, folder)
    assert (len(report.bad), report.pruned) == (1, [])
    assert slugs(sites, sites.garden) == ["a", "b", "c"]


def test_an_entry_whose_file_has_another_slug_now_is_replaced_and_redirected(sites: ContentSites, folder: Path) -> None:
    prune(sites, folder)
    write(folder / "a.md", "slug: new\n")
    assert [each.reason for each in prune(sites, folder).pruned] == [
        "the entry 'a' was deleted: its file has the slug 'new' now"
    ]
    assert slugs(sites, sites.garden) == ["b", "c", "new"]
    assert sites.browser(GARDEN).get("/entries/a", status=301).location.endswith("/entries/new")


def test_nothing_is_pruned_from_an_empty_or_missing_folder_nor_with_strict_and_a_bad_file(
    sqlite_sites: ContentSites, folder: Path, tmp_path: Path
) -> None:
    prune(sqlite_sites, folder)
    for name in ("a", "b", "c"):
        (folder / f"{name}.md").unlink()
    report = prune(sqlite_sites, folder)
    assert [(note.kind, note.text, note.lost) for note in report.notes] == [
        ("prune", "no entry was deleted: it has no .md or .markdown file", True)
    ]
    write(folder / "a.md")
    report = prune(sqlite_sites, folder, tmp_path / "none")
    assert [note.text for note in report.notes] == ["no entry was deleted: not all of its files could be read"]
    (folder / "bad.md").write_text("bad")
    assert len(prune(sqlite_sites, folder, strict=True).pruned) == 2
    assert slugs(sqlite_sites, sqlite_sites.garden) == ["a", "b", "c"]
    assert prune(sqlite_sites, folder / "a.md").pruned == []


# Commands.


@pytest.fixture
def ini(sqlite_sites: ContentSites, tmp_path: Path) -> Path:
    path = tmp_path / "test.ini"
    lines = [f"{key} = {value}" for key, value in sqlite_sites.settings.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:pyramid-multisite", *lines, ""]))
    return path


def run(ini: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["-c", str(ini), *map(str, arguments)])


def test_the_commands_list_unpublish_and_delete(ini: Path, sqlite_sites: ContentSites) -> None:
    add_three(sqlite_sites)
    sqlite_sites.add(
        sqlite_sites.sternwarte, "night", title="Night\x1b", published=datetime(2024, 5, 5, 23, tzinfo=UTC)
    )
    assert run(ini, "list-entries", "alias.example", "--status", "draft").stdout == (
        "draft                          draft                Über\n"
    )
    assert run(ini, "list-entries", STERNWARTE, "--limit", "1").stdout == (
        "night                          published 2024-05-06 Night\\x1b\n"
    )
    found = json.loads(run(ini, "list-entries", GARDEN, "--json", "--search", "100", "--after", "later").stdout)
    assert found == [
        {
            "slug": "past",
            "title": "100% Compost_a",
            "status": "published",
            "published": "2024-05-05T12:00:00+00:00",
            "updated": "2024-05-06T12:00:00+00:00",
            "source": None,
        }
    ]
    assert run(ini, "list-entries", GARDEN, "--json", "--search", "none").stdout == "[]\n"
    assert run(ini, "unpublish-entry", GARDEN, "past").stdout == f"past of {GARDEN} is a draft now.\n"
    assert json.loads(run(ini, "unpublish-entry", GARDEN, "later", "--json").stdout)["status"] == "draft"
    dry = run(ini, "delete-entry", GARDEN, "past", "--dry-run")
    assert "would be deleted: " in dry.stdout
    assert "past" in slugs(sqlite_sites, sqlite_sites.garden)
    assert run(ini, "delete-entry", GARDEN, "past", "--yes").stdout == f"Deleted past of {GARDEN} (100% Compost_a).\n"
    assert json.loads(run(ini, "delete-entry", GARDEN, "draft", "--yes", "--json").stdout)["deleted"] is True
    assert slugs(sqlite_sites, sqlite_sites.garden) == ["later"]
    assert slugs(sqlite_sites, sqlite_sites.sternwarte) == ["night", "past"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["unpublish-entry", GARDEN, "none"], 1, "the site has no entry with the slug 'none'; list all: "),
        (["delete-entry", GARDEN, "none", "--yes"], 1, "the site has no entry with the slug 'none'; list all: "),
        (["delete-entry", GARDEN, "past"], 2, "Pass --yes to delete the entry, or --dry-run to show it."),
        (["delete-entry", GARDEN, "past", "--yes", "--dry-run"], 2, "Pass --yes"),
        (["list-entries", GARDEN, "--status", "x"], 2, "'x' is not one of"),
        (["list-entries", "nowhere.example"], 1, "no site is known as 'nowhere.example'"),
    ],
)
def test_a_command_with_bad_input_says_so(ini: Path, arguments: list[str], code: int, message: str) -> None:
    done = run(ini, *arguments)
    assert done.exit_code == code
    assert message in done.stderr


def test_a_change_that_the_next_import_undoes_is_named(ini: Path, folder: Path) -> None:
    run(ini, "import-entries", GARDEN, folder)
    source = folder / "a.md"
    assert run(ini, "unpublish-entry", GARDEN, "a").stdout == (
        f"a of {GARDEN} is a draft now. The next import of {source} undoes this.\n"
    )


def test_the_import_prints_what_it_pruned(ini: Path, folder: Path) -> None:
    run(ini, "import-entries", GARDEN, folder)
    (folder / "b.md").unlink()
    done = run(ini, "import-entries", GARDEN, folder, "--prune", "--dry-run")
    assert done.stderr == f"{folder / 'b.md'}: the entry 'b' would be deleted: its file is gone\n"
    counts = "0 added, 0 updated, 2 unchanged, 0 bad, 1 deleted"
    assert done.stdout == f"Would import into {GARDEN}: {counts}. Nothing was changed.\n"
    assert json.loads(run(ini, "import-entries", GARDEN, folder, "--prune", "--json").stdout)["pruned"] == [
        {"path": str(folder / "b.md"), "reason": "the entry 'b' was deleted: its file is gone"}
    ]


def test_skipped_files_are_counted_and_listed_by_reason(ini: Path, folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}").mkdir()
        (folder / f"{number}" / "_index.md").write_text("---\ntitle: x\n---\n")
    done = run(ini, "import-entries", GARDEN, folder, "--strict")
    assert (done.exit_code, done.stderr.count("/_index.md: skipped, a section page, which is not an entry\n")) == (0, 3)
    assert "2 more skipped, a section page, which is not an entry (--json lists all)\n" in done.stderr
    assert ", 0 bad, 5 skipped." in done.stdout
    assert len(json.loads(run(ini, "import-entries", GARDEN, folder, "--json").stdout)["skipped"]) == 5


# The page of a report.


def test_the_report_is_written_as_a_page(ini: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.md").write_text("<script>alert(1)</script>")
    (folder / "b.md").write_text("---\ntitle: b\ndate: 2024-05-05\n---\nText.\n\n<svg>\n\n<iframe src=/x>\n")
    path = tmp_path / "report.html"
    done = run(ini, "import-entries", GARDEN, folder, "--report", path)
    assert done.exit_code == 1
    page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
    assert page.h1.text == f"Import into {GARDEN}"
    assert {row.th.text: row.td.text for row in page.select("tr")} == {
        "Added": "3",
        "Pages among them": "0",
        "Updated": "0",
        "Unchanged": "0",
        "Bad": "1",
        "Skipped": "0",
        "Old addresses redirected": "0",
        "Deleted": "0",
        "Left out or changed": "1",
    }
    assert page.script is None
    assert [heading.text for heading in page.select("h2")] == ["Not imported", "Left out or changed", "Notes"]
    assert [summary.text for summary in page.select("summary")] == ["Bad: 1", "Left out: 1", "Became a link: 1"]
    assert [code.text for code in page.select("li code")][1:] == [f"{folder / 'b.md'}:7", f"{folder / 'b.md'}:9"]


def test_the_page_escapes_everything_and_is_bounded(
    sqlite_sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_page, "MAX_LINES", 2)
    hostile = "<script>alert('x')</script>&\x1b\u202e"
    report = ImportReport(dry_run=True, added=1_000_000)
    report.bad = [BadPath("<b>", hostile)]
    report.notes = [Note("<i>", number, hostile, hostile * 1000) for number in range(5)]
    text = report_page.report_page(report, sqlite_sites.garden, NOW)
    page = BeautifulSoup(text, "html.parser")
    assert {tag.name for tag in page.body.find_all(True)} <= {
        *("h1", "p", "table", "tr", "th", "td", "h2", "details", "summary", "ul", "li", "code")
    }
    assert "<script" not in text
    assert "Dry run: nothing was changed. 2024-06-01 00:00 UTC." in page.p.text
    assert page.td.text == "1,000,000"
    assert len(page.select("li")) == 3
    assert "And 3 more" in text
    assert len(text) < 20_000


def test_a_report_that_cannot_be_written_stops_before_the_import(
    ini: Path, sqlite_sites: ContentSites, folder: Path, tmp_path: Path
) -> None:
    done = run(ini, "import-entries", GARDEN, folder, "--report", tmp_path / "none" / "report.html")
    assert done.exit_code == 2
    assert "No such file or directory" in done.stderr
    assert slugs(sqlite_sites, sqlite_sites.garden) == []


def test_a_page_of_a_prune_names_what_was_deleted(sqlite_sites: ContentSites, folder: Path) -> None:
    prune(sqlite_sites, folder)
    (folder / "b.md").unlink()
    text = report_page.report_page(prune(sqlite_sites, folder), sqlite_sites.garden, NOW)
    assert "the entry &#39;b&#39; was deleted: its file is gone" in text
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        assert find_redirect(session, "/entries/b") is None
