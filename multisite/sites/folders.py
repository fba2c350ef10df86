"""The template folder of a new site, and the files that it starts with."""

from __future__ import annotations

import shutil
from pathlib import Path

from multisite.core.settings import Settings
from multisite.errors import MultisiteError

__all__ = ["create_site_folder"]

README = """\
This folder belongs to the site {host}. Templates here override those of its theme, if it has one, and
those that all sites share.

Copy a template from the application under the same name and change it: for renderer="myapp:templates/page.mako", and
for what that inherits or includes, page.mako, layout.mako and so on. Templates are code that runs in the server: only
people who may do that should be able to write here.
"""


def create_site_folder(settings: Settings, folder: str, host: str, *, theme: str | None = None) -> bool:
    """Create the folder of a site, with a layout to edit unless the site has a `theme`.

    With a theme the folder starts without templates, because a layout in it would override the theme's.

    The folder is filled under another name and then renamed, so that it is never seen incomplete; leftovers of an
    interrupted call are removed. Two calls for one folder must not run at once.

    Returns:
        True; or False if the folder existed already with files, which are kept.

    Raises:
        MultisiteError: The path exists and is not a folder.
        OSError: The folder cannot be written.
    """
    path = settings.sites_dir / folder
    if path.is_symlink() or path.exists():
        if not path.is_dir():
            raise MultisiteError(f"{path} is not a folder: move it away, and run the same command again")
        if path.is_symlink() or any(path.iterdir()):
            return False
    settings.sites_dir.mkdir(parents=True, exist_ok=True)
    # A name of 253 characters leaves no room for the prefix: file systems allow 255.
    staging = settings.sites_dir / f".staging-{folder}"[:255]
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _fill(staging, settings.templates_dir, host, theme)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, shutil.Error):  # It has a list of files: report the first.
            _source, _target, reason = error.args[0][0]
            raise OSError(reason) from error
        raise
    if path.exists():
        path.rmdir()  # It is empty. POSIX can rename over it, Windows cannot.
    staging.rename(path)
    return True


def _fill(staging: Path, templates_dir: Path, host: str, theme: str | None) -> None:
    starter, layout = templates_dir / "starter", templates_dir / "layout.mako"
    if theme is None and starter.is_dir():
        shutil.copytree(starter, staging)
        return
    staging.mkdir()
    if theme is None and layout.is_file():
        shutil.copyfile(layout, staging / layout.name)
    else:
        (staging / "README.txt").write_text(README.format(host=host), encoding="utf-8")
