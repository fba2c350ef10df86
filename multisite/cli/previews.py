"""`multisite add-preview`, `list-previews` and `remove-preview`: links that show a site with another layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, print_json_list
from multisite.cli.site_settings import assigned_texts, declared_settings
from multisite.cli.site_url import checked_url
from multisite.core import program

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from multisite.content.layout_links import ListedLink
    from multisite.core.site import Site
    from multisite.sites.ini import Ini
    from multisite.sites.settings import SettingsRegistry

__all__ = ["add_preview", "list_previews", "remove_preview"]


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--theme", metavar="NAME", help="Show this theme; '' for none.")
@click.option("--folder", metavar="NAME", help="Show the layout in this folder beside that of the site.")
@click.option("--url", metavar="URL", help="The address of the site for the link, such as https://garden.example.")
@json_option
@click.pass_obj
def add_preview(
    ini_uri: str,
    host: str,
    assignments: tuple[str, ...],
    theme: str | None,
    folder: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Make a link that shows a site with another theme or other settings.

    HOST is any domain of the site. KEY is a setting that the application or the theme declares, or locale or timezone.
    """
    from multisite.content import layout_links
    from multisite.sites import operator_log
    from multisite.sites.themes import hidden_files

    texts = assigned_texts(assignments)
    with _site_session(ini_uri, host) as (ini, engine, declared, session, site):
        changes = layout_links.check_changes(
            engine, site, texts, theme=theme, folder=folder, settings=ini.settings, declared=declared
        )
        address = ini.address(site) if url is None else checked_url(engine, site, url)
        token = layout_links.make_link(session, site, None, changes)
        operator_log.record(session.connection(), "add-preview", site, after={"changes": str(changes)})
        session.commit()
        hidden = hidden_files(ini.settings, layout_links.changed_site(site, changes, site.path))
    link = address.rstrip("/") + layout_links.LINK_PATH.replace("{token}", token) + "/"
    if as_json:
        print_json({"link": link, "changes": str(changes), "hidden": [str(path) for path in hidden]})
        return
    what = str(changes) or "no changes"
    click.echo(f"Whoever has this link sees {site} with {what}, for {layout_links.LINK_DAYS} days: {link}")
    if hidden:
        click.echo(
            f"The site's own files hide {len(hidden)} of the theme: copy its folder without them, and name the copy by "
            "--folder"
        )


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def list_previews(ini_uri: str, host: str, as_json: bool) -> None:
    """List the links that show a site with another layout.

    HOST is any domain of the site.
    """
    from multisite.content import layout_links

    with _site_session(ini_uri, host) as (_ini, _engine, _declared, session, _site):
        found = layout_links.list_links(session)
    if as_json:
        print_json_list(_as_dict(each) for each in found)
        return
    for each in found:
        maker = "a command" if each.login is None else each.login
        click.echo(
            f"{each.id:<6} until {_when(each):%Y-%m-%d %H:%M} UTC, by {maker}: {str(each.changes) or 'no changes'}"
        )


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("link_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@json_option
@click.pass_obj
def remove_preview(ini_uri: str, host: str, link_id: int, as_json: bool) -> None:
    """Withdraw a link that shows a site with another layout.

    HOST is any domain of the site, ID the number of the link.
    """
    from multisite.content import layout_links

    with _site_session(ini_uri, host) as (_ini, _engine, _declared, session, site):
        if not layout_links.remove_link(session, site, link_id):
            command = program.command(f"list-previews {host}")
            raise click.ClickException(f"{site} has no link {link_id}; list all: {command}")
        session.commit()
    if as_json:
        print_json({"id": link_id})
    else:
        click.echo(f"Withdrew the link {link_id} of {site}.")


@contextmanager
def _site_session(ini_uri: str, host: str) -> Iterator[tuple[Ini, Engine, SettingsRegistry, Session, Site]]:
    from sqlalchemy.orm import Session

    from multisite.directory.records import get_site

    with declared_settings(ini_uri) as (ini, engine, declared):
        site = replace(get_site(engine, host).site, settings_provider=declared)
        with Session(engine, info={"site": site}) as session:
            yield ini, engine, declared, session, site
        engine.dispose()


def _when(link: ListedLink) -> datetime:
    return datetime.fromtimestamp(link.expires, UTC)


def _as_dict(link: ListedLink) -> dict[str, object]:
    return {
        "id": link.id,
        "expires": _when(link).isoformat(),
        "login": link.login,
        "columns": dict(link.changes.columns),
        "settings": dict(link.changes.settings),
    }
