"""Files that an import has seen before are not read again, and the result is the same as if they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import ContentSites
from sqlalchemy.orm import Session

from multisite import Site, all_sites
from multisite.content.imports import importing
from multisite.content.imports.importing import ImportReport, import_entries
from multisite.content.imports.unchanged import Unchanged
from multisite.content.models import Entry, Tag, imported_files

pytestmark = pytest.mark.slow

FILES = {
    "a.md": "---\ntitle: A\ndate: 2024-05-01\ntags: [one, two]\n---\nPlain text.\n",
    "b.md": "---\ntitle: B\ndate: 2024-05-02\n---\nPlain too.\n",
    "linked.md": "---\ntitle: Linked\ndate: 2024-05-03\n---\nSee [a](a.md).\n",
    "alias.md": "---\ntitle: Alias\ndate: 2024-05-04\naliases: [/old/address]\n---\nText.\n",
    "lost.md": "---\ntitle: Lost\ndate: 2024-05-05\n---\n{{< unknown >}}\n",
    "expires.md": "---\ntitle: Expires\ndate: 2024-05-06\nexpiryDate: 2999-01-01\n---\nText.\n",
    "bad.md": "no front matter\n",
    "c/a.md": "---\ntitle: Another A\ndate: 2024-06-01\n---\nIts slug is that of another day.\n",
    "about.md": "---\ntitle: About\n---\nA page.\n",
    "draft.md": "---\ntitle: Draft\ndraft: true\n---\nNot yet.\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path / "posts" / name, text)
    return tmp_path / "posts"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def seen(report: ImportReport) -> tuple[object, ...]:
    return (
        (report.added, report.updated, report.unchanged, report.redirects, report.pages),
        sorted(map(str, report.bad)), sorted(map(str, report.skipped)), sorted(map(str, report.notes)),
        sorted(str(each).replace("would be deleted", "was deleted") for each in report.pruned),
    )  # fmt: skip


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bodies that are rendered."""
    found: list[str] = []
    real = importing.render

    def render(body: str, *arguments: object) -> object:
        found.append(body.strip())
        return real(body, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "render", render)
    return found


def compare(sites: ContentSites, site: Site, folder: Path, **options: object) -> ImportReport:
    """Import the folder, and compare with the report of an import that reads each file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unchanged, "load", lambda _self, _sources: None)
        wanted = import_entries(sites.engine, site, [folder], dry_run=True, **options)  # type: ignore[arg-type]
    done = import_entries(sites.engine, site, [folder], **options)  # type: ignore[arg-type]
    assert seen(done) == seen(wanted)
    return done


def change(sites: ContentSites, statement: sa.Executable) -> None:
    with Session(sites.engine, info={"site": sites.garden}) as session:
        session.execute(statement)
        session.commit()


STEPS: dict[str, Callable[[ContentSites, Path], None]] = {
    "nothing": lambda _sites, _folder: None,
    "the file": lambda _sites, folder: write(folder / "b.md", FILES["b.md"] + "More.\n"),
    "the text of the entry": lambda sites, _folder: change(sites, sa.update(Entry).values(body="Other.")),
    "its HTML": lambda sites, _folder: change(sites, sa.update(Entry).values(body_html="<p>Other.</p>")),
    "its publication": lambda sites, _folder: change(sites, sa.update(Entry).values(draft=True)),
    "its tags": lambda sites, _folder: change(sites, sa.delete(Tag).where(Tag.slug == "one")),
    "an entry is deleted": lambda sites, _folder: change(sites, sa.delete(Entry).where(Entry.slug == "b")),
    "a file is gone": lambda _sites, folder: (folder / "b.md").unlink(),
    "a file of the same slug": lambda _sites, folder: write(folder / "0.md", FILES["b.md"].replace("B", "B\nslug: b")),
    "a file that is linked": lambda _sites, folder: write(
        folder / "a.md", FILES["a.md"].replace("title: A", "title: A\nslug: moved")
    ),
    "a configuration": lambda _sites, folder: write(
        folder / "_config.yml", "permalink: /:year/:title/\nurl: https://old.example\n"
    ),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("prune", [False, True])
def test_the_result_is_that_of_reading_each_file(
    sqlite_sites: ContentSites, folder: Path, step: str, prune: bool
) -> None:
    sites = sqlite_sites
    compare(sites, sites.garden, folder)
    STEPS[step](sites, folder)
    compare(sites, sites.garden, folder, prune=prune)
    compare(sites, sites.garden, folder, prune=prune)


def test_only_files_whose_entry_depends_on_something_else_are_rendered(
    sites: ContentSites, folder: Path, rendered: list[str]
) -> None:
    import_entries(sites.engine, sites.garden, [folder])
    every = len(rendered)
    rendered.clear()
    done = import_entries(sites.engine, sites.garden, [folder])
    assert (done.unchanged, done.updated, done.added) == (every, 0, 0)
    assert done.pages == 1
    assert {"Plain text.", "Plain too.", "Not yet.", "A page."}.isdisjoint(rendered)
    assert any("unknown" in body for body in rendered)
    assert any(body.startswith("See") for body in rendered)
    rendered.clear()
    import_entries(sites.engine, sites.garden, [folder], force=True)
    assert len(rendered) == every


@pytest.mark.parametrize(
    "options", [{"address_pattern": "{year}-{slug}"}, {"timezone": "Asia/Tokyo"}, {"locale": "fr"}], ids=str
)
def test_another_option_or_site_setting_reads_each_file(
    sqlite_sites: ContentSites, folder: Path, rendered: list[str], options: dict[str, str]
) -> None:
    sites = sqlite_sites
    import_entries(sites.engine, sites.garden, [folder])
    every = len(rendered)
    rendered.clear()
    pattern = options.pop("address_pattern", "{slug}")
    import_entries(sites.engine, replace(sites.garden, **options), [folder], address_pattern=pattern)
    assert len(rendered) == every


def test_a_dry_run_and_a_rolled_back_import_remember_nothing(
    sqlite_sites: ContentSites, folder: Path, rendered: list[str]
) -> None:
    sites = sqlite_sites
    for options in ({"dry_run": True}, {"strict": True}):
        rendered.clear()
        assert import_entries(sites.engine, sites.garden, [folder], **options).rolled_back  # type: ignore[arg-type]
        assert "Plain text." in rendered
    rendered.clear()
    assert import_entries(sites.engine, sites.garden, [folder]).added == len(rendered)


def test_another_site_has_its_own_entries_of_the_same_files(sites: ContentSites, folder: Path) -> None:
    for site in (sites.garden, sites.sternwarte):
        assert import_entries(sites.engine, site, [folder]).added > 5
        assert import_entries(sites.engine, site, [folder]).added == 0
    change(sites, sa.delete(Entry).where(Entry.slug == "a"))
    assert import_entries(sites.engine, sites.sternwarte, [folder]).added == 0
    assert import_entries(sites.engine, sites.garden, [folder]).added == 1
    with sites.engine.connect() as connection, all_sites("a test"):
        pairs = sa.select(imported_files.c.site_id, Entry.site_id).join(Entry, Entry.id == imported_files.c.entry_id)
        assert {site for site, _ in connection.execute(pairs)} == {sites.garden.id, sites.sternwarte.id}
        assert all(one == other for one, other in connection.execute(pairs))


def test_an_entry_that_changes_before_the_digests_are_written_is_imported_again(
    sqlite_sites: ContentSites, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, save = sqlite_sites, Unchanged.save

    def save_after_a_change(self: Unchanged) -> None:
        change(sites, sa.update(Entry).where(Entry.slug == "a").values(title="Of somebody else"))
        save(self)

    with monkeypatch.context() as patched:
        patched.setattr(Unchanged, "save", save_after_a_change)
        import_entries(sites.engine, sites.garden, [folder])
    assert import_entries(sites.engine, sites.garden, [folder]).updated == 1
