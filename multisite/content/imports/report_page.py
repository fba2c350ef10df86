"""The report of an import as a page: one HTML file without scripts and without files beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from mako.template import Template

from multisite.content.imports.files import printable
from multisite.content.report import BadPath, ImportReport, Note
from multisite.core.site import Site

__all__ = ["report_page"]

MAX_LINES = 1000
"""Lines of one kind: a browser shows a page of any number of them slowly."""

_MAX_TEXT = 1000

_TEMPLATE = Path(__file__).with_name("report.mako")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Lines of one kind, each a place and a text, at most `MAX_LINES`; `count` is how many there are."""

    title: str
    count: int
    lines: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Group:
    title: str
    kinds: list[_Kind]


def report_page(report: ImportReport, site: Site, when: datetime) -> str:
    """Return the page of an import into `site` that ended at `when`."""
    groups = [
        _Group("Not imported", [*_paths("Bad", report.bad), *_paths("Skipped", report.skipped)]),
        _Group("Deleted", _paths("Entries", report.pruned)),
        _Group("Left out or changed", _kinds(note for note in report.notes if note.lost)),
        _Group("Notes", _kinds(note for note in report.notes if not note.lost)),
    ]
    counts = [
        ("Added", report.added),
        ("Updated", report.updated),
        ("Unchanged", report.unchanged),
        ("Pages among them", report.pages),
        ("Bad", len(report.bad)),
        ("Skipped", len(report.skipped)),
        ("Old addresses redirected", report.redirects),
        ("Deleted", len(report.pruned)),
        ("Left out or changed", len(report.lost)),
    ]
    if report.dry_run:
        outcome = "Dry run: nothing was changed."
    elif report.rolled_back:
        outcome = "Nothing was imported, because a file is bad and --strict was given."
    else:
        outcome = "Imported."
    template = Template(filename=str(_TEMPLATE), default_filters=["h"], strict_undefined=True)  # noqa: S702 (all escaped)
    page: str = template.render_unicode(
        site=site,
        outcome=outcome,
        when=f"{when:%Y-%m-%d %H:%M %Z}",
        counts=counts,
        groups=[group for group in groups if group.kinds],
    )
    return page


def _paths(title: str, paths: list[BadPath]) -> list[_Kind]:
    lines = [(each.path, each.reason) for each in paths[:MAX_LINES]]
    return [_Kind(title, len(paths), lines)] if paths else []


def _kinds(notes: Iterable[Note]) -> list[_Kind]:
    """Return the notes by kind, the most frequent first."""
    found = []
    for kind, members in groupby(sorted(notes, key=lambda note: note.kind), lambda note: note.kind):
        group = list(members)
        lines = [(_place(note), printable(note.text[:_MAX_TEXT])) for note in group[:MAX_LINES]]
        found.append(_Kind(kind.capitalize(), len(group), lines))
    return sorted(found, key=lambda kind: -kind.count)


def _place(note: Note) -> str:
    return note.path if note.line is None else f"{note.path}:{note.line}"
