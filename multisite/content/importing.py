"""Markdown files into entries: `import_entries` for code, `multisite import-entries` for people.

Files are read, rendered and saved in batches, so that ten thousand need no more memory than two hundred. Entries are
matched by slug, so that importing a folder again changes only what has changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.files import find_files, read_text, shown
from multisite.content.frontmatter import BadFile, parse_article
from multisite.content.markdown import TooDeep, render
from multisite.content.saving import Counts, Prepared, save_batch
from multisite.ini import read_ini
from multisite.local_time import zone_of
from multisite.site import Site

__all__ = ["BATCH_SIZE", "BadPath", "ImportReport", "import_entries", "import_entries_command"]

BATCH_SIZE = 100
"""Files that are in memory, and in one transaction, at a time, at most."""

BATCH_CHARACTERS = 10_000_000
"""Characters of text and HTML at which a batch ends before it has that many files."""

Progress = Callable[[int, int], None]
"""Called with the number of files done and of files in all, after each batch."""


@dataclass(frozen=True, slots=True)
class BadPath:
    """A path that was not imported, as text, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import did: how many entries it added, updated and found unchanged, and which paths it could not use.

    `skipped` are files that are no entries by the rules of the tool that wrote them. `rolled_back` is true where
    `strict` took everything back, the counts then say what would have been.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: list[BadPath] = field(default_factory=list)
    skipped: list[BadPath] = field(default_factory=list)
    rolled_back: bool = False

    def count(self, counts: Counts) -> None:
        """Add what became of one batch."""
        self.added += counts.added
        self.updated += counts.updated
        self.unchanged += counts.unchanged

    @property
    def seen(self) -> int:
        """How many paths there were, good and bad ones."""
        return self.added + self.updated + self.unchanged + len(self.bad) + len(self.skipped)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return asdict(self)


def import_entries(
    engine: Engine,
    site: Site,
    paths: Iterable[str | Path],
    *,
    strict: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import the Markdown files in `paths` (files, or folders that are walked) as entries of `site`.

    A bad file is reported and the others are in; with `strict` a single bad file takes all of them back. Of two files
    with one slug the first is imported and the second is bad. Entries whose files are gone stay.
    """
    report = ImportReport()

    def on_bad(path: Path, reason: str) -> None:
        report.bad.append(BadPath(shown(path), reason))

    files = find_files(paths, on_bad)
    batches = _prepare_batches(files, site, report, progress)
    with closing(Session(engine, info={"site": site})) as session:
        for batch in batches:
            report.count(save_batch(session, batch, commit=not strict))
        if strict and report.bad:
            session.rollback()
            report.rolled_back = True
        else:
            session.commit()
    return report


def _prepare_batches(
    files: Sequence[Path], site: Site, report: ImportReport, progress: Progress | None
) -> Iterator[list[Prepared]]:
    """Yield what the files hold in batches, each small enough for memory and for one transaction."""
    zone = zone_of(site)
    owners: dict[str, Path] = {}
    batch: list[Prepared] = []
    characters = 0
    for number, path in enumerate(files, start=1):
        prepared = _prepare(path, zone, owners, report)
        if prepared is not None:
            batch.append(prepared)
            characters += len(prepared.article.body) + len(prepared.rendered.html)
        if len(batch) == BATCH_SIZE or characters > BATCH_CHARACTERS or number == len(files):
            yield batch
            batch, characters = [], 0
        if progress is not None and (number % BATCH_SIZE == 0 or number == len(files)):
            progress(number, len(files))


def _prepare(path: Path, zone: tzinfo, owners: dict[str, Path], report: ImportReport) -> Prepared | None:
    """Read and render one file; None, and a line in `report`, where it cannot be an entry."""
    if path.name == "_index.md":
        report.skipped.append(BadPath(shown(path), "Hugo's page of a section, which is no entry"))
        return None
    try:
        article = parse_article(read_text(path), path.absolute(), zone)
        owner = owners.setdefault(article.slug, path)
        if owner is not path:
            raise BadFile(f"its slug '{article.slug}' is also that of {shown(owner)}")
        return Prepared(article, render(article.body))
    except (BadFile, TooDeep) as error:
        report.bad.append(BadPath(shown(path), str(error)))
        return None


@click.command("import-entries", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Import nothing if a single file is bad.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_obj
def import_entries_command(ini_uri: str, host: str, paths: tuple[Path, ...], strict: bool, as_json: bool) -> None:
    """Import Markdown files into a site of multisite.content.

    HOST is any host of the site; each PATH is a file, or a folder that is searched for .md and .markdown files. They
    begin as Jekyll, Hugo or Pelican write them: with title and date, and if they like tags, slug, summary and draft.
    Import them again after a change: entries are matched by their slug.
    """
    from multisite.directory.changes import show_site

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.page_cache_seconds:
        from multisite.page_cache.changes import announce

        announce(engine)
    site = show_site(engine, host).site
    report = import_entries(engine, site, paths, strict=strict, progress=_show_progress)
    engine.dispose()
    if as_json:
        click.echo(json.dumps({"host": site.host, **report.as_dict()}, indent=2))
    else:
        _print_report(report, site)
    if report.bad or not report.seen:
        raise SystemExit(1)


def _print_report(report: ImportReport, site: Site) -> None:
    for skipped in report.skipped:
        click.echo(f"{skipped.path}: skipped, {skipped.reason}", err=True)
    for bad in report.bad:
        click.echo(f"{bad.path}: {bad.reason}", err=True)
    if not report.seen:
        click.echo("There is no .md or .markdown file to import.", err=True)
    elif report.rolled_back:
        click.echo(f"Imported nothing into {site}: {len(report.bad)} bad, and --strict was given.")
    else:
        counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {len(report.bad)} bad"
        click.echo(f"Imported into {site}: {counts}.")


def _show_progress(done: int, total: int) -> None:
    """Say on stderr how far it is: in place on a terminal, in a line now and then elsewhere, of few files nothing."""
    if total <= BATCH_SIZE:
        return
    if sys.stderr.isatty():
        click.echo(f"\r{done:,} of {total:,} files", err=True, nl=done == total)
    elif done % (10 * BATCH_SIZE) == 0 or done == total:
        click.echo(f"{done:,} of {total:,} files", err=True)
