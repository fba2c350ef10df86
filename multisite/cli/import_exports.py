"""The commands `multisite import-wordpress` and `import-ghost`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multisite.cli.host_command import HostCommand
from multisite.cli.import_report import finish, import_options, open_site, record_import, show_progress

if TYPE_CHECKING:
    from multisite.content.exports.uploads import Uploads

__all__ = ["import_ghost_command", "import_wordpress_command"]

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


@click.command("import-wordpress", cls=HostCommand)
@click.argument("host")
@click.argument("export", type=_FILE)
@click.option("--uploads", type=_FOLDER, metavar="FOLDER", help="The folder wp-content/uploads of the blog.")
@import_options
@click.pass_obj
def import_wordpress_command(
    ini_uri: str,
    host: str,
    export: Path,
    *,
    uploads: Path | None,
    strict: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import a blog's posts from an export of WordPress into a site of multisite.content.

    HOST is any host of the site; EXPORT is the file that "Tools, Export" of WordPress wrote. Import it again after a
    change, or if it was interrupted: posts are recognized by their numbers.
    """
    with _importing():
        from multisite.content.exports.wordpress import import_wordpress
    engine, site = open_site(ini_uri, host)
    with _open_uploads(ini_uri, uploads, dry_run=dry_run) as found:
        report = import_wordpress(
            engine,
            site,
            export,
            uploads=found,
            strict=strict,
            force=force,
            dry_run=dry_run,
            progress=show_progress("posts"),
        )
    record_import(engine, "import-wordpress", site, report)
    engine.dispose()
    finish(report, site, as_json=as_json, strict=strict, nothing="There is no post to import.")


@click.command("import-ghost", cls=HostCommand)
@click.argument("host")
@click.argument("export", type=_FILE)
@click.option("--uploads", type=_FOLDER, metavar="FOLDER", help="The folder content of the blog.")
@import_options
@click.pass_obj
def import_ghost_command(
    ini_uri: str,
    host: str,
    export: Path,
    *,
    uploads: Path | None,
    strict: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import a blog's posts from an export of Ghost into a site of multisite.content.

    HOST is any host of the site; EXPORT is the JSON file that Ghost wrote. Import it again after a change, or if it was
    interrupted: posts are recognized by their UUIDs.
    """
    with _importing():
        from multisite.content.exports.ghost import import_ghost
    engine, site = open_site(ini_uri, host)
    with _open_uploads(ini_uri, uploads, dry_run=dry_run) as found:
        report = import_ghost(
            engine,
            site,
            export,
            uploads=found,
            strict=strict,
            force=force,
            dry_run=dry_run,
            progress=show_progress("posts"),
        )
    record_import(engine, "import-ghost", site, report)
    engine.dispose()
    finish(report, site, as_json=as_json, strict=strict, nothing="There is no post to import.")
