"""`multisite export-sites`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.cli.site_archive import application_contents

if TYPE_CHECKING:
    from multisite.sites.backups import Backup

__all__ = ["export_sites"]

EXPORTED = frozenset({"active", "maintenance", "disabled"})
"""Sites with these statuses are exported."""


@click.command()
@click.option("--all", "everywhere", is_flag=True, help="Export all sites.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Export matching sites, such as '*.example.com'.")
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the newest N archives of each site.")
@json_option
@click.pass_context
def export_sites(ctx: click.Context, everywhere: bool, only: tuple[str, ...], keep: int | None, as_json: bool) -> None:
    """Write an archive of each site into multisite.archives_dir, as a backup.

    Exits with 1 if a site could not be exported; the others are.
    """
    from multisite.directory.records import list_sites
    from multisite.sites import backups
    from multisite.sites.each_site import select_sites
    from multisite.sites.operator_log import prune_log
    from multisite.sites.removed import prune_removed

    if everywhere == bool(only):
        raise click.UsageError("Pass --all to export all sites, or --only to choose some.")
    progress = Progress(delay_seconds=None)
    with application_contents(ctx.obj) as (ini, engine, contents):
        sites = ((record.site, record.status) for record in list_sites(engine))
        chosen = select_sites(sites, only=only, statuses=EXPORTED)
        done = backups.export_sites(
            engine,
            [each.site for each in chosen if each.left_out is None],
            settings=ini.settings,
            contents=contents,
            keep=keep,
            on_done=lambda backup: progress.show(_line(backup)),
        )
        prune_removed(engine, settings=ini.settings)
        prune_log(engine, settings=ini.settings)
    if as_json:
        print_json([_as_dict(each) for each in done])
    else:
        for each in done:
            click.echo(_line(each))
    if any(each.path is None for each in done):
        ctx.exit(1)


def _line(backup: Backup) -> str:
    return f"{backup.site}  {backup.path or f'failed: {backup.reason}'}"


def _as_dict(backup: Backup) -> dict[str, object]:
    return {
        "id": backup.site.id,
        "domain": backup.site.domain,
        "archive": None if backup.path is None else str(backup.path),
        "reason": backup.reason,
        "deleted": [str(path) for path in backup.deleted],
    }
