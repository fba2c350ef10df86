"""`multisite push-templates` and `pull-templates`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import HostCommand
from multisite.cli.progress import Progress
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from multisite.core.site import Site

__all__ = ["pull_templates", "push_templates"]


@click.command(cls=HostCommand)
@click.argument("host", required=False)
@click.option("--force", is_flag=True, help="Replace versions in the store that this machine has not seen.")
@click.option("--prune", is_flag=True, help="Then remove files that no folder has had for a day.")
@click.pass_obj
def push_templates(ini_uri: str, host: str | None, force: bool, prune: bool) -> None:
    """Copy changed templates, themes and static files to multisite.templates_store.

    HOST is any domain of the site whose folder changed; without it, the shared templates with the themes, and the
    folders of all sites are compared with the store. Running servers on all machines reload what has changed.
    """
    from multisite.sites.template_store.mirror import SHARED, TemplateMirror, site_tree
    from multisite.sites.updates import reload_templates

    ini = read_ini(ini_uri)
    engine, mirror = ini.open_engine(), TemplateMirror(ini.settings)
    pushed = 0
    if host is None and ini.settings.templates_dir.is_dir():
        announce = partial(reload_templates, engine, logged_as="push-templates")
        pushed += mirror.push(SHARED, force=force, announce=announce)
    progress = Progress(interval_seconds=1, delay_seconds=2)
    for number, site in enumerate(_sites(engine, host), 1):
        if host is None and not (ini.settings.sites_dir / site.folder).is_dir():
            continue
        pushed += mirror.push(
            site_tree(site.folder),
            force=force,
            announce=partial(reload_templates, engine, site.domain, logged_as="push-templates"),
        )
        progress.show(f"{number} sites so far, now at {site}")
    click.echo(f"Pushed {_folders(pushed)} to the store of templates.")
    if prune:
        removed = mirror.store.prune()
        click.echo(f"Removed {removed} old file{'s' * (removed != 1)} from it.")


@click.command(cls=HostCommand)
@click.argument("host", required=False)
@click.pass_obj
def pull_templates(ini_uri: str, host: str | None) -> None:
    """Copy templates, themes and static files from multisite.templates_store to this machine.

    HOST is any domain of a site; without it, the shared templates with the themes, and the folders of all sites are
    copied. Servers do this by themselves. Local changes that were not pushed are kept beside the folder.
    """
    from multisite.sites.template_store.mirror import SHARED, TemplateMirror, site_tree

    ini = read_ini(ini_uri)
    engine, mirror = ini.open_engine(), TemplateMirror(ini.settings)
    pulled = mirror.refresh(SHARED) if host is None else 0
    progress = Progress(interval_seconds=1, delay_seconds=2)
    for number, site in enumerate(_sites(engine, host), 1):
        pulled += mirror.refresh(site_tree(site.folder))
        progress.show(f"{number} sites so far, now at {site}")
    click.echo(f"Changed {_folders(pulled)} on this machine.")


def _sites(engine: Engine, host: str | None) -> Iterator[Site]:
    from multisite.directory.records import get_site, list_sites

    records = list_sites(engine) if host is None else [get_site(engine, host)]
    return (record.site for record in records if record.status != "removing")


def _folders(count: int) -> str:
    return "1 folder" if count == 1 else f"{count} folders"
