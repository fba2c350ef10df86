"""The commands `multisite import-wordpress` and `import-ghost`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import click

from multisite.cli.host_command import HostCommand
from multisite.cli.import_report import finish, import_options, open_site, record_import, show_progress

if TYPE_CHECKING:
    from multisite.content.exports.uploads import Uploads
    from multisite.content.report import ImportReport

__all__ = ["import_ghost_command", "import_wordpress_command"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@contextmanager
def _importing() -> Iterator[None]:
    """Name the extra if an import in the block fails. They are not at the top, so that `--help` needs no SQLAlchemy."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'pyramid-multisite[content]'"
        ) from error


@contextmanager
def _open_uploads(ini_uri: str, folder: Path | None, *, dry_run: bool) -> Iterator[Uploads]:
    """Yield the folder of uploads with the media library of the application, which is loaded only for them."""
    from multisite.content.exports.uploads import Uploads

    if folder is None:
        yield Uploads()
        return
    from multisite.cli.media import open_library

    with open_library(ini_uri) as opened:
        yield Uploads(folder, opened.library.without_files() if dry_run else opened.library)


class _Options(TypedDict):
    uploads: Path | None
    strict: bool
    force: bool
    dry_run: bool
    as_json: bool


class _GhostOptions(_Options):
    redirects: Path | None


def _export_options(folder: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the arguments of both commands; the files of a blog are in its `folder`."""

    def add(command: _Command) -> _Command:
        command = import_options(command)
        text = f"The folder {folder} of the blog."
        command = click.option("--uploads", type=_FOLDER, metavar="FOLDER", help=text)(command)
        command = click.argument("export", type=_FILE)(command)
        return click.argument("host")(command)

    return add


def _import_export(
    ini_uri: str, host: str, export: Path, name: str, run: Callable[..., ImportReport], options: _Options, **more: Any
) -> None:
    """Run the import of the command `name`, record it, and print its report; `more` are arguments of `run`."""
    engine, site = open_site(ini_uri, host)
    strict, dry_run = options["strict"], options["dry_run"]
    with _open_uploads(ini_uri, options["uploads"], dry_run=dry_run) as uploads:
        report = run(
            engine,
            site,
            export,
            uploads=uploads,
            strict=strict,
            force=options["force"],
            dry_run=dry_run,
            progress=show_progress("posts"),
            **more,
        )
    record_import(engine, name, site, report)
    engine.dispose()
    finish(report, site, as_json=options["as_json"], strict=strict, nothing="There is no post to import.")


@click.command("import-wordpress", cls=HostCommand)
@_export_options("wp-content/uploads")
@click.pass_obj
def import_wordpress_command(
    ini_uri: str,
    host: str,
    export: Path,
    **options: Unpack[_Options],
) -> None:
    """Import a blog's posts from an export of WordPress into a site of multisite.content.

    HOST is any host of the site; EXPORT is the file that "Tools, Export" of WordPress wrote. Import it again after a
    change, or if it was interrupted: posts are recognized by their numbers.
    """
    with _importing():
        from multisite.content.exports.wordpress import import_wordpress
    _import_export(ini_uri, host, export, "import-wordpress", import_wordpress, options)


@click.command("import-ghost", cls=HostCommand)
@_export_options("content")
@click.option(
    "--redirects",
    type=_FILE,
    metavar="FILE",
    help="redirects.yaml or redirects.json of the blog; by default the one beside EXPORT, or in FOLDER/data.",
)
@click.pass_obj
def import_ghost_command(
    ini_uri: str,
    host: str,
    export: Path,
    **options: Unpack[_GhostOptions],
) -> None:
    """Import a blog's posts from an export of Ghost into a site of multisite.content.

    HOST is any host of the site; EXPORT is the JSON file that Ghost wrote. Import it again after a change, or if it was
    interrupted: posts are recognized by their UUIDs.
    """
    with _importing():
        from multisite.content.exports.ghost import import_ghost
    _import_export(ini_uri, host, export, "import-ghost", import_ghost, options, redirects=options["redirects"])
