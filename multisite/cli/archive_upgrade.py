"""`--upgrade` and `--scratch-url` of the commands that read an archive."""

from __future__ import annotations

import configparser
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from multisite.sites.archive.contents import SiteContents

__all__ = ["upgrade_of", "upgrade_options", "upgrade_with"]

Upgrade = Callable[[Path, Path], None]


_WANTED, _SCRATCH_URL = "multisite.upgrade", "multisite.scratch_url"
"""The keys in the `meta` of a command's context."""


def upgrade_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--upgrade` and `--scratch-url`, which `upgrade_of` reads, to a command."""
    scratch_url = click.option(
        "--scratch-url",
        metavar="URL",
        expose_value=False,
        callback=_remember(_SCRATCH_URL),
        help="With --upgrade: an empty database for it.  [default: a temporary SQLite file]",
    )
    wanted = click.option(
        "--upgrade",
        is_flag=True,
        expose_value=False,
        callback=_remember(_WANTED),
        help="Migrate an archive of an older revision of the application.",
    )
    return wanted(scratch_url(command))


def _remember(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    return lambda context, _option, value: context.meta.update({key: value})


def upgrade_of(ini_uri: str, engine: Engine, contents: SiteContents, progress: Callable[[str], None]) -> Upgrade | None:
    """Return the function that upgrades an archive for the application of an ini file; None without `--upgrade`.

    Raises:
        UsageError: There is `--scratch-url`, but not `--upgrade`.
    """
    meta = click.get_current_context().meta
    scratch_url: str | None = meta[_SCRATCH_URL]
    if meta[_WANTED]:
        return upgrade_with(ini_uri, engine, contents, scratch_url, progress)
    if scratch_url is not None:
        raise click.UsageError("--scratch-url needs --upgrade.")
    return None


def upgrade_with(
    ini_uri: str,
    engine: Engine,
    contents: SiteContents,
    scratch_url: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Upgrade:
    """Return a function that upgrades the archive at a path to another path, with the migrations of an application.

    Args:
        ini_uri: The ini file of the application.
        engine: Its database.
        contents: Its declarations about the data of its sites.
        scratch_url: An empty database; None for a temporary SQLite file.
        progress: Called with a line from time to time.
    """

    def upgrade(source: Path, target: Path) -> None:
        from multisite.directory.tables import AS_MULTISITE
        from multisite.sites.archive.revisions import application_revisions
        from multisite.sites.archive.upgrading import ScratchDatabase, upgrade_archive

        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            here = application_revisions(connection)
        with tempfile.TemporaryDirectory(prefix="multisite-scratch-") as folder:
            scratch_ini = _write_ini(ini_uri, scratch_url or f"sqlite:///{folder}/scratch.db", Path(folder))
            scratch_engine = scratch_ini.open_engine(as_owner=True)
            upgrade_archive(
                source,
                target,
                engine=engine,
                scratch=ScratchDatabase(scratch_engine, lambda revisions: _migrate(scratch_ini, revisions, here)),
                settings=read_ini(ini_uri).settings,
                contents=contents,
                progress=progress,
            )
            scratch_engine.dispose()
        if scratch_url is not None:
            click.echo("The scratch database has the rows of the site: drop it.", err=True)

    return upgrade


def _migrate(ini: Ini, revisions: tuple[str, ...], here: list[str]) -> None:
    """Migrate the database of an ini file to `revisions`, which must not be later than those in `here`."""
    from alembic.util import CommandError

    from multisite.alembic.application_scripts import application_scripts
    from multisite.alembic.migrate import upgrade_own
    from multisite.cli.upgrade import upgrade_application

    if not ini.has_alembic:
        raise MultisiteError(f"the archive cannot be upgraded: {ini.path.name} has no section [alembic]")
    config, script = application_scripts(ini.path)
    for revision in revisions:
        try:
            script.get_revision(revision)
        except CommandError:
            raise MultisiteError(
                f"the archive is of the application's revision {revision!a}, which is not in {script.dir}: use "
                "the code that has it"
            ) from None
    earlier = {each.revision for each in script.iterate_revisions(tuple(here), "base")}
    if later := set(revisions) - earlier:
        raise MultisiteError(
            f"the archive is of the application's revision {min(later)!a}, which this database does not have yet: "
            f"migrate it first: {program.command('migrate')}"
        )
    upgrade_own(ini.open_engine(as_owner=True))
    upgrade_application(ini, config, script, revisions)


def _write_ini(ini_uri: str, url: str, folder: Path) -> Ini:
    """Write a copy of an ini file with another database, for the env.py of the application, and read it."""
    path, _, fragment = ini_uri.partition("#")
    origin = Path(path).absolute()
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(origin, "utf-8")
    here = str(origin.parent).replace("%", "%%")
    for section in (parser.default_section, *parser.sections()):
        for key, value in parser.items(section):
            text = value.replace("%(here)s", here)
            parser.set(section, key, re.sub(r"^config:(?!/)", lambda _: f"config:{here}/", text))
    app = f"app:{fragment or 'main'}"
    for section in {app, "alembic", "multisite:shared"} & set(parser.sections()):
        for key in ("multisite.database_url", "multisite.owner_url"):
            parser.remove_option(section, key)
        if section == app or parser.has_option(section, "sqlalchemy.url"):
            parser.set(section, "sqlalchemy.url", url.replace("%", "%%"))
    copy = folder / origin.name
    with copy.open("w", encoding="utf-8") as file:
        parser.write(file)
    copy.chmod(0o600)
    return read_ini(f"{copy}#{fragment}" if fragment else copy)
