"""Delete the entries of an import whose files are no longer there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from multisite.content.entries import delete_entry
from multisite.content.imports.files import printable
from multisite.content.models import Entry
from multisite.content.page_paths import address_of
from multisite.content.redirect_rules import Rule, parse_rule
from multisite.content.report import BadPath, ImportReport, Note

__all__ = ["Pruning"]


class Pruning:
    """Knows what an import found, and deletes the other entries that were imported from the same folders.

    An entry belongs to a folder by its `source`. If its file is in the folder but has another slug now, the entry is an
    earlier one: it is deleted as well, and its address redirected.
    """

    def __init__(self, report: ImportReport, paths: Iterable[Path], files: Iterable[Path]) -> None:
        self._report = report
        self._folders = [path.absolute() for path in paths if path.is_dir()]
        self._present = {printable(path.absolute()) for path in files} if self._folders else set()
        self._slugs: dict[str, str] = {}
        # Files below what cannot be read look as if they were gone.
        self._is_safe = not report.bad

    def add(self, source: str, slug: str) -> None:
        """Note that the file `source` is imported as the entry with `slug`."""
        if self._folders:
            self._slugs[source] = slug

    def prune(self, session: Session) -> Iterator[Rule]:
        """Delete the entries of the session's site, name them in the report, and yield redirects of their addresses."""
        beginnings = tuple(self._beginnings())
        deleted = "would be deleted" if self._report.dry_run else "was deleted"
        columns = sa.select(Entry.slug, Entry.source).order_by(Entry.slug)
        for slug, source in session.execute(columns).all() if beginnings else ():
            if source is None or not source.startswith(beginnings):
                continue
            new = self._slugs.get(source)
            if new is not None and new != slug:
                yield parse_rule(address_of(slug), address_of(new))
                reason = f"the entry '{slug}' {deleted}: its file has the slug '{new}' now"
            elif source not in self._present:
                reason = f"the entry '{slug}' {deleted}: its file is gone"
            else:
                continue
            delete_entry(session, slug)
            self._report.pruned.append(BadPath(source, reason))

    def _beginnings(self) -> Iterable[str]:
        """Yield what the paths of files in the folders begin with, without folders that may be incomplete."""
        for folder in self._folders:
            beginning = printable(folder).rstrip("/") + "/"
            if not self._is_safe:
                self._skip(folder, "not all of its files could be read")
            elif not any(path.startswith(beginning) for path in self._present):
                self._skip(folder, "it has no .md or .markdown file")
            else:
                yield beginning

    def _skip(self, folder: Path, reason: str) -> None:
        self._report.notes.append(Note(printable(folder), None, "prune", f"no entry was deleted: {reason}"))
