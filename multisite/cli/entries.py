"""`multisite list-entries`, `unpublish-entry` and `delete-entry`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.import_report import open_site
from multisite.cli.output import print_json, print_json_list
from multisite.core import program

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from multisite.content.entries import EntryRecord, Status
    from multisite.core.site import Site

__all__ = ["delete_entry", "list_entries", "unpublish_entry"]


@click.command(cls=HostCommand)
@click.argument("host")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(["draft", "scheduled", "published"]),
    multiple=True,
    help="Only entries with this status; may be repeated.",
)
@click.option("--search", metavar="TEXT", default="", help="Only entries with this text in their title.")
@click.option("--after", metavar="SLUG", help="Begin after this slug.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N entries.")
@json_option
@click.pass_obj
def list_entries(
    ini_uri: str,
    host: str,
    statuses: tuple[Status, ...],
    search: str,
    after: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the entries of a site of multisite.content.

    HOST is any host of the site. Entries are listed in the order of their slugs, first the pages: the slug of a page is
    its path, such as /about/team.
    """
    from multisite.content import entries
    from multisite.content.imports.files import printable
    from multisite.language.local_time import local_time, zone_of

    with _session(ini_uri, host) as (session, site):
        chosen = statuses or entries.STATUSES
        found = entries.list_records(
            session, datetime.now(UTC), statuses=chosen, search=search, after=after, limit=limit
        )
    if as_json:
        print_json_list(map(_as_dict, found))
        return
    for record in found:
        when = record.published and local_time(record.published, zone_of(site))
        day = f"{when:%Y-%m-%d}" if when else ""
        click.echo(f"{record.slug:30} {record.status:9} {day:10} {printable(record.title)}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("slug")
@json_option
@click.pass_obj
def unpublish_entry(ini_uri: str, host: str, slug: str, as_json: bool) -> None:
    """Make an entry a draft.

    HOST is any host of the site, SLUG the last part of the entry's URL, or the path of a page, such as
    /about/team.
    """
    from multisite.content import entries
    from multisite.sites import operator_log

    with _session(ini_uri, host) as (session, site):
        record = entries.unpublish_entry(session, slug)
        operator_log.record(session.connection(), "unpublish-entry", site, after={"entry": slug})
        session.commit()
    if as_json:
        print_json({**_as_dict(record), "status": "draft"})
    else:
        click.echo(f"{slug} of {site} is a draft now.{_warning(record)}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Confirm the deletion.")
@click.option("--dry-run", is_flag=True, help="Show the entry without deleting it.")
@json_option
@click.pass_obj
def delete_entry(ini_uri: str, host: str, slug: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete an entry, and the redirects to it that an import made.

    HOST is any host of the site, SLUG the last part of the entry's URL, or the path of a page, such as
    /about/team.
    """
    from multisite.content import entries
    from multisite.sites import operator_log

    if yes == dry_run:
        raise click.UsageError("Pass --yes to delete the entry, or --dry-run to show it.")
    with _session(ini_uri, host) as (session, site):
        record = entries.delete_entry(session, slug)
        if yes:
            operator_log.record(session.connection(), "delete-entry", site, before={"entry": slug})
            session.commit()
        else:
            session.rollback()
    if as_json:
        print_json({**_as_dict(record), "deleted": yes})
    elif yes:
        click.echo(f"Deleted {slug} of {site} ({record.title}).{_warning(record)}")
    else:
        command = program.command(f"delete-entry {site} {slug} --yes")
        click.echo(f"{slug} of {site} ({record.title}) would be deleted: {command}")


def _warning(record: EntryRecord) -> str:
    """Return that the next import of the entry's file undoes the change, if it has a file."""
    return "" if record.source is None else f" The next import of {record.source} undoes this."


def _as_dict(record: EntryRecord) -> dict[str, Any]:
    published = record.published and record.published.isoformat()
    return {**asdict(record), "published": published, "updated": record.updated.isoformat()}


@contextmanager
def _session(ini_uri: str, host: str) -> Iterator[tuple[Session, Site]]:
    from sqlalchemy.orm import Session

    engine, site = open_site(ini_uri, host)
    with Session(engine, info={"site": site}) as session:
        yield session, site
    engine.dispose()
