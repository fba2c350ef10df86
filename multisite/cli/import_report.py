"""Options and printed report of the commands that import entries."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from multisite.cli.arguments import json_option

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from multisite.content.report import BadPath, ImportReport, Note
    from multisite.core.site import Site

__all__ = ["finish", "import_options", "open_site", "record_import", "show_progress"]

_EXAMPLES = 3
"""How many notes of each kind are printed; JSON contains all."""

_REPORT_FILE = "multisite.cli.import_report.file"
"""Key of the file of `--report` in the context of the command."""

_NOTE_LENGTH = 200
"""Characters of a note that are printed."""


_Command = TypeVar("_Command", bound=Callable[..., Any])


def import_options(command: _Command) -> _Command:
    """Add the options `--strict`, `--force`, `--dry-run`, `--report` and `--json` to `command`."""
    command = json_option(command)
    command = click.option(
        "--report",
        type=click.File("w", encoding="utf-8", lazy=False),
        metavar="FILE",
        help="Also write the report to FILE, as an HTML page.",
        # Only `finish` needs it. Opened before the import, so that a wrong path is found at once.
        expose_value=False,
        callback=_keep_report_file,
    )(command)
    command = click.option("--dry-run", is_flag=True, help="Print the report without changing anything.")(command)
    force = "Also overwrite entries that people have changed since their import."
    command = click.option("--force", is_flag=True, help=force)(command)
    strict = "Import nothing if a file is bad; exit with 1 if anything was lost."
    return click.option("--strict", is_flag=True, help=strict)(command)


def _keep_report_file(context: click.Context, _parameter: click.Parameter, file: TextIO | None) -> None:
    context.meta[_REPORT_FILE] = file


def open_site(ini_uri: str, host: str) -> tuple[Engine, Site]:
    """Return an engine for the database of the ini file, and the site with `host`."""
    from multisite.directory.records import get_site
    from multisite.sites.ini import read_ini

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.page_cache_seconds:
        from multisite.page_cache import publish_changes

        publish_changes(engine)
    return engine, get_site(engine, host).site


def record_import(engine: Engine, what: str, site: Site, report: ImportReport) -> None:
    """Record an import in the operator log, unless it changed nothing."""
    from multisite.sites.operator_log import record_now

    if not report.rolled_back and not report.dry_run and report.seen:
        counts = {name: getattr(report, name) for name in ("added", "updated", "unchanged", "redirects")}
        record_now(engine, what, site, after={**counts, "deleted": len(report.pruned)})


def finish(report: ImportReport, site: Site, *, as_json: bool, strict: bool, nothing: str) -> None:
    """Print `report`, and write the page of `--report`.

    Exit with 1 if the report has a bad path, if nothing was found, or, with `strict`, if it has a loss.

    Args:
        report: The report of the import.
        site: The site that got the entries.
        as_json: Whether to print JSON.
        strict: Whether lost parts of entries are a failure.
        nothing: The sentence to print if there was nothing to import.
    """
    if as_json:
        click.echo(json.dumps({"host": site.host, **report.as_dict()}, indent=2))
    else:
        _print_report(report, site, nothing)
    file: TextIO | None = click.get_current_context().meta[_REPORT_FILE]
    if file is not None:
        from multisite.content.imports.report_page import report_page

        file.write(report_page(report, site, datetime.now(UTC)))
    if report.bad or not report.seen or (strict and report.lost):
        raise SystemExit(1)


def _print_report(report: ImportReport, site: Site, nothing: str) -> None:
    _print_skipped(report.skipped)
    for bad in report.bad:
        click.echo(f"{bad.path}: {bad.reason}", err=True)
    for pruned in report.pruned:
        click.echo(f"{pruned.path}: {pruned.reason}", err=True)
    _print_notes(report.notes)
    if not report.seen:
        click.echo(nothing, err=True)
    elif report.dry_run:
        click.echo(f"Would import into {site}: {_counts(report)}. Nothing was changed.")
    elif report.rolled_back:
        click.echo(f"Imported nothing into {site}: {len(report.bad)} bad, and --strict was given.")
    else:
        click.echo(f"Imported into {site}: {_counts(report)}.")


def _counts(report: ImportReport) -> str:
    counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {len(report.bad)} bad"
    counts += f", {len(report.skipped)} skipped" if report.skipped else ""
    counts += f", {report.pages} of them pages" if report.pages else ""
    counts += f", {report.redirects} redirects" if report.redirects else ""
    return counts + (f", {len(report.pruned)} deleted" if report.pruned else "")


def _print_skipped(skipped: list[BadPath]) -> None:
    """Print on stderr the paths that were skipped, a few for each reason."""
    groups: dict[str, list[BadPath]] = {}
    for path in skipped:
        groups.setdefault(path.reason, []).append(path)
    for reason, paths in groups.items():
        for path in paths[:_EXAMPLES]:
            click.echo(f"{path.path}: skipped, {reason}", err=True)
        if len(paths) > _EXAMPLES:
            click.echo(f"{len(paths) - _EXAMPLES} more skipped, {reason} (--json lists all)", err=True)


def _print_notes(notes: list[Note]) -> None:
    """Print on stderr what was left out, by kind, with a few examples of each."""
    from multisite.content.imports.files import printable

    for kind, group in groupby(sorted(notes, key=lambda note: note.kind), lambda note: note.kind):
        members = list(group)
        click.echo(f"{kind}, {len(members)}:", err=True)
        for note in members[:_EXAMPLES]:
            place = note.path if note.line is None else f"{note.path}:{note.line}"
            click.echo(f"  {place}: {printable(note.text[:_NOTE_LENGTH])}", err=True)
        if len(members) > _EXAMPLES:
            click.echo(f"  and {len(members) - _EXAMPLES} more (--json lists all)", err=True)


def show_progress(things: str) -> Callable[[int, int], None]:
    """Return a function that prints progress on stderr, as in "200 of 1,000 files".

    On a terminal it prints in place, elsewhere a line from time to time, and nothing for few things.
    """
    from multisite.content.imports.upsert import BATCH_SIZE

    def show(done: int, total: int) -> None:
        if total <= BATCH_SIZE:
            return
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} of {total:,} {things}", err=True, nl=done == total)
        elif done % (10 * BATCH_SIZE) == 0 or done == total:
            click.echo(f"{done:,} of {total:,} {things}", err=True)

    return show
