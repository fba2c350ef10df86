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
from itertools import islice
from pathlib import Path
from typing import Any

import click
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.files import find_files, read_text, shown
from multisite.content.formats import zone_of
from multisite.content.frontmatter import BadFile, parse_article
from multisite.content.markdown import TooDeep, render
from multisite.content.saving import Counts, Prepared, save_batch
from multisite.site import Site

__all__ = ["BATCH_SIZE", "BadPath", "ImportReport", "import_entries", "import_entries_command"]

BATCH_SIZE = 100
"""Files that are in memory, and in one transaction, at a time."""

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
    zone = zone_of(site)
    owners: dict[str, Path] = {}
    remaining = iter(files)
    done = 0
    while chunk := list(islice(remaining, BATCH_SIZE)):
        batch = []
        for path in chunk:
            if path.name == "_index.md":
                report.skipped.append(BadPath(shown(path), "Hugo's page of a section, which is no entry"))
                continue
            try:
                article = parse_article(read_text(path), path.absolute(), zone)
                if (owner := owners.setdefault(article.slug, path)) is not path:
                    raise BadFile(f"its slug '{article.slug}' is also that of {shown(owner)}")
                batch.append(Prepared(article, render(article.body)))
            except (BadFile, TooDeep) as error:
                report.bad.append(BadPath(shown(path), str(error)))
        yield batch
        done += len(chunk)
        if progress is not None:
            progress(done, len(files))


