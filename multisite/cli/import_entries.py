"""The command `multisite import-entries`."""

from __future__ import annotations

from pathlib import Path

import click

from multisite.cli.host_command import HostCommand
from multisite.cli.import_report import finish, import_options, open_site, record_import, show_progress
from multisite.cli.media import library_when_needed

try:
    from multisite.content.imports.importing import import_entries
    from multisite.content.slugs import SlugPattern
except ModuleNotFoundError as error:
    raise click.ClickException(f"{error.name} is not installed: pip install 'pyramid-multisite[content]'") from error

__all__ = ["import_entries_command"]


def _check_pattern(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        SlugPattern(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.command("import-entries", cls=HostCommand)
@click.argument("host")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@import_options
@click.option(
    "--address-pattern",
    metavar="PATTERN",
    default="{slug}",
    callback=_check_pattern,
    help="The last part of URLs, from {slug}, {year}, {month} and {day}.",
)
@click.option("--prune", is_flag=True, help="Delete the entries whose files are no longer in a PATH.")
@click.pass_obj
def import_entries_command(  # noqa: PLR0913  # One argument for each option.
    ini_uri: str,
    host: str,
    paths: tuple[Path, ...],
    *,
    strict: bool,
    dry_run: bool,
    address_pattern: str,
    prune: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Import Markdown files into a site of multisite.content.

    HOST is any host of the site; each PATH is a file, or a folder that is searched for .md and .markdown files. They
    start with the front matter of Jekyll, Hugo or Pelican: title and date, and optionally tags, slug, summary and
    draft. Import them again after a change: entries are matched by their slug.
    """
    engine, site = open_site(ini_uri, host)
    with library_when_needed(ini_uri) as library_of:
        report = import_entries(
            engine,
            site,
            paths,
            strict=strict,
            progress=show_progress("files"),
            dry_run=dry_run,
            address_pattern=address_pattern,
            library_of=library_of,
            prune=prune,
            force=force,
        )
    record_import(engine, "import-entries", site, report)
    engine.dispose()
    finish(report, site, as_json=as_json, strict=strict, nothing="There is no .md or .markdown file to import.")
