"""Output of the commands: sites as JSON or as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multisite.core import program

if TYPE_CHECKING:
    from multisite.core.site import Site
    from multisite.directory.records import SiteRecord
    from multisite.sites.ini import Ini

__all__ = [
    "next_step",
    "print_hidden_files",
    "print_json",
    "print_json_list",
    "print_site",
    "record_as_dict",
    "site_as_dict",
]

MAX_HIDDEN_FILES = 10
"""At most this many files are listed by name."""


NEXT_COMMANDS = {
    "pending": ("complete it", "add-site {site}"),
    "maintenance": ("bring it back online", "enable-site {site}"),
    "disabled": ("bring it back online", "enable-site {site}"),
    "removing": ("complete the removal", "remove-site {site} --yes"),
}
"""By the status of a site that is not active: what to do about it, and the arguments of the command that does it."""


def next_step(record: SiteRecord) -> str:
    """Return what to do about a site that is not active, with the command that does it."""
    if record.status not in NEXT_COMMANDS:
        # No command writes such a status.
        return "correct it in the table sites"
    words, arguments = NEXT_COMMANDS[record.status]
    return f"{words} with '{program.command(arguments.format(site=record.site))}'"


def site_as_dict(site: Site, ini: Ini) -> dict[str, Any]:
    """Return the JSON object of a site.

    `domain` is the canonical domain and `host` its host; `folder` is a name in `multisite.sites_dir`, and `path` the
    path of that folder.
    """
    return {
        "id": site.id,
        "host": site.host,
        "domain": site.domain,
        "name": site.name,
        "folder": site.folder,
        "path": str(ini.settings.sites_dir / site.folder),
        "locale": site.locale,
        "timezone": site.timezone,
        "theme": site.theme,
        "copy_of": site.copy_of,
        "url": ini.address(site),
    }


def record_as_dict(record: SiteRecord, ini: Ini) -> dict[str, Any]:
    """Return `site_as_dict` with the status, the time of creation (ISO 8601, in UTC) and the domains."""
    return {
        **site_as_dict(record.site, ini),
        "status": record.status,
        "created": record.created.isoformat(),
        "domains": [{"host": domain.host, "kind": domain.kind} for domain in record.domains],
    }


def print_json(value: object) -> None:
    """Print `value` as JSON."""
    click.echo(json.dumps(value, indent=2))


def print_json_list(values: Iterable[object]) -> None:
    """Print a JSON list item by item: there may be a million sites."""
    before = "["
    for value in values:
        click.echo(f"{before}\n  {json.dumps(value)}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def print_site(record: SiteRecord, ini: Ini) -> None:
    """Print a site with its domains as lines of text."""
    site = record.site
    click.echo(f"{site} ({site.name})")
    if record.status != "active":
        click.echo(f"  status    {record.status}: {next_step(record)}")
    click.echo(f"  address   {ini.address(site)}")
    click.echo(f"  folder    {ini.settings.sites_dir / site.folder}")
    if site.theme is not None:
        click.echo(f"  theme     {ini.settings.themes_dir / site.theme}")
    click.echo(f"  locale    {site.locale}, {site.timezone}")
    if site.copy_of is not None:
        click.echo(f"  copy of   {site.copy_of}")
    for kind in ("alias", "redirect"):
        for domain in record.domains:
            if domain.kind == kind:
                click.echo(f"  {kind:9} {domain.host}")


def print_hidden_files(paths: Sequence[Path]) -> None:
    """Print which files of a site override files of its theme, and what to do about each."""
    for path in paths[:MAX_HIDDEN_FILES]:
        otherwise = "" if path.suffix not in {".mako", ".mak"} else f', or let it inherit from "parent:{path.name}"'
        click.echo(f"{path} overrides the theme's file of that name: remove it{otherwise}.")
    if len(paths) > MAX_HIDDEN_FILES:
        click.echo(f"{len(paths) - MAX_HIDDEN_FILES} more files override those of the theme.")
