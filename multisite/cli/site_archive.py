"""`multisite export-site`, `import-site` and `copy-site`."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import click

from multisite.cli.archive_upgrade import upgrade_of, upgrade_options
from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, record_as_dict
from multisite.cli.progress import Progress
from multisite.core import program
from multisite.errors import DomainTaken, MultisiteError
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from pyramid.registry import Registry
    from sqlalchemy.engine import Engine

    from multisite.sites.archive.contents import SiteContents
    from multisite.sites.archive.importing import Imported

__all__ = [
    "application_contents",
    "copy_site",
    "export_site",
    "import_site",
    "imported_as_dict",
    "loaded_application",
    "print_imported",
    "suggesting_host",
]

Users = Literal["keep", "none"]

COLLECTED_OBJECTS = 150_000
"""After how many new objects these commands let Python look for cycles."""

_users_option = click.option(
    "--users",
    type=click.Choice(["keep", "none"]),
    default="keep",
    show_default=True,
    help="Whether to take the users of the site, with their passwords.",
)


@contextmanager
def application_contents(ini_uri: str) -> Iterator[tuple[Ini, Engine, SiteContents]]:
    """Yield an ini file, the engine of its directory, and what its application declares about the data of sites.

    Loads the application, whose models say which tables belong to sites.
    """
    with _fewer_collections():
        from multisite.web.site_archive import site_contents

        with loaded_application(ini_uri) as (ini, engine, registry):
            yield ini, engine, site_contents(registry)


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Let Python's collector look for cycles less often.

    Loading an application makes 100,000 objects that all stay. The collector would examine them again and again, and
    twice when Python ends: for a quarter of the time of a command on a small site.
    """
    before = gc.get_threshold()
    gc.set_threshold(COLLECTED_OBJECTS, *before[1:])
    atexit.unregister(gc.freeze)  # A process may run several commands.
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def loaded_application(ini_uri: str) -> Iterator[tuple[Ini, Engine, Registry]]:
    """Yield an ini file, the engine of its directory, and the registry of its application, which is loaded."""
    from multisite.core.keys import DIRECTORY
    from multisite.scoping.row_security import all_sites_roles
    from multisite.web.database_role import skip_database_role_check
    from multisite.web.loading import load

    ini = read_ini(ini_uri)
    with skip_database_role_check():
        registry = load(ini_uri).registry
    if DIRECTORY not in registry:
        raise MultisiteError('this application does not include multisite: config.include("multisite") is missing')
    registry[DIRECTORY].engine.dispose()
    own_url = ini.settings.database_url
    if own_url is not None and own_url != registry.settings.get("sqlalchemy.url", own_url):
        raise MultisiteError(
            "the tables of the application are in another database than those of multisite (multisite.database_url): "
            "archives of sites need both in one"
        )
    if ini.settings.all_sites_role is not None:
        all_sites_roles.add(ini.settings.all_sites_role)
    yield ini, ini.open_engine(), registry


@contextmanager
def suggesting_host(command: str, *, is_given: bool) -> Iterator[None]:
    """Raise `DomainTaken` with the option `--host` as the next step, unless it is given."""
    try:
        yield
    except DomainTaken as error:
        if is_given:
            raise
        raise MultisiteError(f"{error}; choose another one: {program.command(f'{command} --host HOST')}") from error


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_users_option
@json_option
@click.pass_obj
def export_site(ini_uri: str, host: str, file: Path, users: Users, as_json: bool) -> None:
    """Write a site to an archive.

    HOST is any domain of the site, FILE the archive. Its rows are those of one moment, and it is served meanwhile.
    """
    from multisite.sites.archive import exporting
    from multisite.sites.operator_log import record_export

    with application_contents(ini_uri) as (ini, engine, contents):
        done = exporting.export_site(
            engine,
            host,
            file,
            settings=ini.settings,
            contents=contents,
            users=users,
            progress=Progress(interval_seconds=1, delay_seconds=5).show,
        )
        record_export(engine, done.site, done.path, users=users)
    if as_json:
        print_json(
            {
                "site": done.site.domain,
                "archive": str(done.path),
                "rows": done.rows,
                "files": done.files,
                "left_out": done.left_out,
            }
        )
        return
    _print_counts(done.rows, done.files)
    for sentence in done.left_out:
        click.echo(f"Left out: {sentence}")
    click.echo(f"Exported {done.site} to {done.path}")


@click.command(cls=HostCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--host", metavar="HOST", help="The domain of the new site.  [default: those of the archive]")
@click.option("--with-templates", is_flag=True, help="Take the templates too. They are code that runs in the server.")
@_users_option
@upgrade_options
@click.option("--dry-run", is_flag=True, help="Check everything and show what would change, without importing.")
@json_option
@click.pass_obj
def import_site(
    ini_uri: str, file: Path, host: str | None, with_templates: bool, users: Users, dry_run: bool, as_json: bool
) -> None:
    """Import an archive as a new site.

    FILE is an archive that export-site wrote, here or on another server, from SQLite or PostgreSQL.
    """
    from multisite.sites.archive import importing

    progress = Progress(interval_seconds=1, delay_seconds=5).show
    with application_contents(ini_uri) as (ini, engine, contents):
        upgrading = upgrade_of(ini_uri, engine, contents, progress)
        with suggesting_host(f"import-site {file}", is_given=host is not None):
            done = importing.import_site(
                engine,
                file,
                settings=ini.settings,
                contents=contents,
                progress=progress,
                upgrade=upgrading,
                host=host,
                with_templates=with_templates,
                users=users,
                dry_run=dry_run,
            )
    if as_json:
        print_json(imported_as_dict(done, ini))
        return
    print_imported(done, show_each=dry_run)
    if done.record is None:
        click.echo(f"{done.host} would be imported.")
    else:
        click.echo(f"Imported {done.record.site}.")
        click.echo(f"Open {ini.address(done.record.site)}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("new_host")
@click.option("--live", is_flag=True, help="Put the copy online at once, instead of into maintenance.")
@_users_option
@json_option
@click.pass_obj
def copy_site(ini_uri: str, host: str, new_host: str, live: bool, users: Users, as_json: bool) -> None:
    """Copy a site to another domain.

    HOST is any domain of the site, NEW_HOST the domain of the copy. The copy has its own rows, files and secrets.
    """
    from multisite.directory.matching import BYPASS_NAME
    from multisite.sites.archive import copying

    with application_contents(ini_uri) as (ini, engine, contents):
        done = copying.copy_site(
            engine,
            host,
            new_host,
            settings=ini.settings,
            contents=contents,
            live=live,
            users=users,
            progress=Progress(interval_seconds=1, delay_seconds=5).show,
        )
    record = done.target.record
    assert record is not None  # noqa: S101  # It was not a dry run.
    link = None
    if done.bypass_token is not None:
        link = f"{ini.address(record.site)}?{urlencode({BYPASS_NAME: done.bypass_token})}"
    if as_json:
        print_json({**imported_as_dict(done.target, ini), "pass": link})
        return
    print_imported(done.target, show_each=False)
    click.echo(f"Copied {done.source.site} to {record.site}.")
    if link is None:
        click.echo(f"Open {ini.address(record.site)}")
    else:
        command = program.command(f"enable-site {record.site}")
        click.echo(f"It is in maintenance: it answers 503. Bring it online: {command}")
        click.echo(f"This link bypasses the maintenance page: {link}")


def _print_counts(rows: Mapping[str, int], files: int) -> None:
    for name, number in rows.items():
        click.echo(f"{number:>9} {'row' if number == 1 else 'rows'} in {name}")
    click.echo(f"{files:>9} {'file' if files == 1 else 'files'}")


def print_imported(done: Imported, *, show_each: bool) -> None:
    """Print what an import took from an archive; with `show_each`, also examples of changed addresses."""
    _print_counts(done.rows, done.files)
    for sentence in done.left_out:
        click.echo(f"Left out: {sentence}")
    for column, number in sorted(done.changes.addresses.items()):
        click.echo(f"{number:>9} values with new addresses in {column}")
        if show_each:
            for old, new in done.changes.examples[column].items():
                click.echo(f"          {old} -> {new}")
    for sentence in done.changes.warnings():
        click.echo(f"Warning: {sentence}", err=True)


def imported_as_dict(done: Imported, ini: Ini) -> dict[str, Any]:
    """Return the JSON object of an import."""
    site = {} if done.record is None else record_as_dict(done.record, ini)
    return {
        **site,
        "host": done.host if done.record is None else done.record.site.host,
        "imported": done.record is not None,
        "rows": done.rows,
        "files": done.files,
        "left_out": done.left_out,
        "addresses": dict(done.changes.addresses),
        "warnings": done.changes.warnings(),
    }
