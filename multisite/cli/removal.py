"""`multisite remove-site`, `list-removed` and `restore-site`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.archive_upgrade import upgrade_of, upgrade_options
from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, record_as_dict
from multisite.cli.progress import Progress
from multisite.cli.site_archive import application_contents, imported_as_dict, print_imported, suggesting_host
from multisite.core import program
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from multisite.sites.removal import RemovalPlan
    from multisite.sites.removed import RemovedSite

__all__ = ["erase_removed", "list_removed", "remove_site", "restore_site"]


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--yes", is_flag=True, help="Confirm the removal.")
@click.option("--dry-run", is_flag=True, help="Count what would be removed, without removing it.")
@click.option("--erase", is_flag=True, help="Keep nothing of the site: no archive, no folder and no backups.")
@json_option
@click.pass_obj
def remove_site(ini_uri: str, host: str, yes: bool, dry_run: bool, erase: bool, as_json: bool) -> None:
    """Remove a site: its rows, its folder and its domains.

    HOST is any domain of the site. If multisite.archives_dir is set, the site can be restored with restore-site.
    Its folder is moved into .trash, beside the folders of the other sites.
    """
    from multisite.scoping.row_security import all_sites_roles
    from multisite.sites import removal
    from multisite.sites.operator_log import prune_log
    from multisite.sites.removed import prune_removed

    if yes == dry_run:
        raise click.UsageError("Pass --yes to remove the site with all its rows, or --dry-run to count them.")
    ini = read_ini(ini_uri)
    contents = None
    if ini.settings.archives_dir is not None and ini.settings.keep_removed_days > 0 and not erase and not dry_run:
        # Only an archive needs the models of the application.
        with application_contents(ini_uri) as (_ini, _engine, contents):
            pass
    engine = ini.open_engine()
    if ini.settings.all_sites_role is not None:
        all_sites_roles.add(ini.settings.all_sites_role)
    if dry_run:
        found = removal.plan_removal(engine, host, settings=ini.settings)
    else:
        found = removal.remove_site(
            engine, host, settings=ini.settings, contents=contents, erase=erase, progress=Progress().show
        )
        prune_removed(engine, settings=ini.settings)
        prune_log(engine, settings=ini.settings)
    _print_removal(found, ini, dry_run, as_json)


def _print_removal(found: RemovalPlan, ini: Ini, dry_run: bool, as_json: bool) -> None:
    folder = None if found.folder is None else str(found.folder)
    archive = None if found.archive is None else str(found.archive)
    if as_json:
        result = {"rows": found.rows, "removed": not dry_run, "trash": folder, "archive": archive}
        print_json({**record_as_dict(found.record, ini), **result, "left_out": found.left_out})
        return
    for name, number in found.rows.items():
        click.echo(f"{number:>9} rows in {name}")
    site = found.record.site
    if dry_run:
        click.echo(f"{site} would be removed: {program.command(f'remove-site {site} --yes')}")
        if folder is not None:
            click.echo(f"Its folder would be moved to the trash: {folder}")
        return
    click.echo(f"Removed {site}.")
    if folder is not None:
        click.echo(f"Its folder is now {folder}")
    if archive is not None:
        for sentence in found.left_out:
            click.echo(f"Not in its archive: {sentence}")
        days, command = ini.settings.keep_removed_days, program.command(f"restore-site {site}")
        click.echo(f"For {days} day{'s' * (days != 1)} it can be restored: {command}")


@click.command()
@click.option("--prune", is_flag=True, help="Delete the archives that have been kept long enough.")
@json_option
@click.pass_obj
def list_removed(ini_uri: str, prune: bool, as_json: bool) -> None:
    """List the removed sites that can be restored."""
    from multisite.sites import removed
    from multisite.sites.operator_log import prune_log

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    deleted = removed.prune_removed(engine, settings=ini.settings) if prune else []
    if prune:
        prune_log(engine, settings=ini.settings)
    found = removed.list_removed(engine, settings=ini.settings)
    if as_json:
        print_json([_removed_as_dict(each) for each in found])
        return
    for each in deleted:
        click.echo(f"Deleted the archive of {each.domain}, removed on {each.removed:%Y-%m-%d}.")
    for each in found:
        kept = f"removed on {each.removed:%Y-%m-%d}, kept until {each.keep_until:%Y-%m-%d}"
        click.echo(f"{each.id:>6}  {each.domain:<30} {kept}")


@click.command()
@click.argument("site_id", metavar="ID", type=int)
@click.option("--yes", is_flag=True, help="Confirm that the site can never be restored.")
@click.pass_obj
def erase_removed(ini_uri: str, site_id: int, yes: bool) -> None:
    """Erase a removed site before its time, with its archive.

    ID is the id that list-removed prints: another site may have its domain by now. Nothing of it is kept: no archive,
    no folder and no backups.
    """
    from multisite.sites import removed

    if not yes:
        raise click.UsageError("Pass --yes to erase the site: it can never be restored.")
    ini = read_ini(ini_uri)
    found = removed.erase_removed(ini.open_engine(), site_id, settings=ini.settings)
    click.echo(f"Erased {found.domain}, removed on {found.removed:%Y-%m-%d}.")


def _removed_as_dict(each: RemovedSite) -> dict[str, Any]:
    return {
        "id": each.id,
        "domain": each.domain,
        "name": each.name,
        "removed": each.removed.isoformat(),
        "keep_until": each.keep_until.isoformat(),
        "archive": str(each.archive),
    }


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("--host", "new_host", metavar="NEW", help="The domain of the restored site, if HOST is taken.")
@click.option(
    "--from",
    "archive",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Replace the content of the existing site HOST by that of this archive.",
)
@click.option("--with-templates", is_flag=True, help="With --from: take the templates too. They are code.")
@upgrade_options
@json_option
@click.pass_obj
def restore_site(
    ini_uri: str, host: str, new_host: str | None, archive: Path | None, with_templates: bool, as_json: bool
) -> None:
    """Restore a removed site, or an existing one from an archive.

    HOST is the canonical domain of the removed site, or any domain of the existing one.
    """
    from multisite.sites import restoring

    if archive is not None and new_host is not None:
        raise click.UsageError("--host cannot be combined with --from: an existing site keeps its domains.")
    if with_templates and archive is None:
        raise click.UsageError("--with-templates needs --from: the templates of a removed site are always restored.")
    progress = Progress(interval_seconds=1, delay_seconds=5).show
    with application_contents(ini_uri) as (ini, engine, contents):
        upgrading = upgrade_of(ini_uri, engine, contents, progress)
        with suggesting_host(f"restore-site {host}", is_given=new_host is not None or archive is not None):
            done = restoring.restore_site(
                engine,
                host,
                settings=ini.settings,
                contents=contents,
                new_host=new_host,
                archive=archive,
                with_templates=with_templates,
                upgrade=upgrading,
                progress=progress,
            )
    if as_json:
        print_json(imported_as_dict(done, ini))
        return
    print_imported(done, show_each=False)
    click.echo(f"Restored {done.host}.")
