"""The command `multisite import-entries`."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

import click

from multisite.cli.host_command import HostCommand
from multisite.core.site import Site
from multisite.sites.ini import read_ini

try:
    from multisite.content.files import printable
    from multisite.content.importing import BATCH_SIZE, import_entries
    from multisite.content.report import ImportReport, Note
    from multisite.content.slugs import SlugPattern
except ModuleNotFoundError as error:
    raise click.ClickException(f"{error.name} is not installed: pip install 'pyramid-multisite[content]'") from error

__all__ = ["import_entries_command"]

_EXAMPLES = 3
"""How many notes of each kind are printed; JSON contains all."""

_NOTE_LENGTH = 200
"""Characters of a note that are printed."""


def _check_pattern(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        SlugPattern(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.command("import-entries", cls=HostCommand)
@click.argument("host")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Import nothing if a file is bad; exit with 1 if anything was lost.")
@click.option("--dry-run", is_flag=True, help="Print the report without changing anything.")
@click.option(
    "--address-pattern",
    metavar="PATTERN",
    default="{slug}",
    callback=_check_pattern,
    help="The last part of URLs, from {slug}, {year}, {month} and {day}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def import_entries_command(
    ini_uri: str,
    host: str,
    paths: tuple[Path, ...],
    *,
    strict: bool,
    dry_run: bool,
    address_pattern: str,
    as_json: bool,
) -> None:
    """Import Markdown files into a site of multisite.content.

    HOST is any host of the site; each PATH is a file, or a folder that is searched for .md and .markdown files. They
    start with the front matter of Jekyll, Hugo or Pelican: title and date, and optionally tags, slug, summary and
    draft. Import them again after a change: entries are matched by their slug.
    """
    from multisite.directory.records import get_site

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.page_cache_seconds:
        from multisite.page_cache import publish_changes

        publish_changes(engine)
    site = get_site(engine, host).site
    report = import_entries(
        engine,
        site,
        paths,
        strict=strict,
        progress=_show_progress,
        dry_run=dry_run,
        address_pattern=address_pattern,
    )
    engine.dispose()
    if as_json:
        click.echo(json.dumps({"host": site.host, **report.as_dict()}, indent=2))
    else:
        _print_report(report, site)
    if report.bad or not report.seen or (strict and report.lost):
        raise SystemExit(1)


def _print_report(report: ImportReport, site: Site) -> None:
    for skipped in report.skipped:
        click.echo(f"{skipped.path}: skipped, {skipped.reason}", err=True)
    for bad in report.bad:
        click.echo(f"{bad.path}: {bad.reason}", err=True)
    _print_notes(report.notes)
    if not report.seen:
        click.echo("There is no .md or .markdown file to import.", err=True)
    elif report.dry_run:
        click.echo(f"Would import into {site}: {_counts(report)}. Nothing was changed.")
    elif report.rolled_back:
        click.echo(f"Imported nothing into {site}: {len(report.bad)} bad, and --strict was given.")
    else:
        click.echo(f"Imported into {site}: {_counts(report)}.")


def _counts(report: ImportReport) -> str:
    return f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {len(report.bad)} bad"


def _print_notes(notes: list[Note]) -> None:
    """Print on stderr what was left out, by kind, with a few examples of each."""
    for kind, group in groupby(sorted(notes, key=lambda note: note.kind), lambda note: note.kind):
        members = list(group)
        click.echo(f"{kind}, {len(members)}:", err=True)
        for note in members[:_EXAMPLES]:
            place = note.path if note.line is None else f"{note.path}:{note.line}"
            click.echo(f"  {place}: {printable(note.text[:_NOTE_LENGTH])}", err=True)
        if len(members) > _EXAMPLES:
            click.echo(f"  and {len(members) - _EXAMPLES} more (--json lists all)", err=True)


def _show_progress(done: int, total: int) -> None:
    """Print progress on stderr: in place on a terminal, else a line from time to time; nothing for few files."""
    if total <= BATCH_SIZE:
        return
    if sys.stderr.isatty():
        click.echo(f"\r{done:,} of {total:,} files", err=True, nl=done == total)
    elif done % (10 * BATCH_SIZE) == 0 or done == total:
        click.echo(f"{done:,} of {total:,} files", err=True)
