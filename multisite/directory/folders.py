"""Folders: where the templates of a site are, and what a new site finds in its folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from multisite.errors import MultisiteError
from multisite.settings import Settings

__all__ = ["create_site_folder", "folder_name"]

MAX_FOLDER_CHARACTERS = 253
"""The longest name of a folder: what the table holds, and file systems take 255."""

README = """\
This folder belongs to the site {host}. What is in it wins over the templates of its theme, if it
has one, and over those that all sites share.

Copy a template from the application under the same name and change it: for renderer="myapp:templates/page.mako", and
for what that inherits or includes, page.mako, layout.mako and so on. Templates are code that runs in the server: only
people who may do that should be able to write here.
"""


def folder_name(domain: str) -> str:
    """Return the name of the folder for a site with the canonical `domain`: the domain itself, where that can be one.

    Colons and slashes cannot, as Windows and the names of templates refuse them: `[::1]` is in `[--1]`,
    `example.com:8080/shop` in `example.com-8080,shop`. A comma is in no host and in no path of a domain, so that
    `/a/b` and `/a-b` do not meet. One that is too long is cut, and gets a hash.
    """
    name = domain.replace(":", "-").replace("/", ",")
    if len(name) <= MAX_FOLDER_CHARACTERS:
        return name
    return f"{name[: MAX_FOLDER_CHARACTERS - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def create_site_folder(settings: Settings, folder: str, host: str, *, theme: str | None = None) -> bool:
    """Make the folder of a site with something to begin with; return False if it was there with files, which stay.

    With a `theme` it begins without templates, since a layout of its own would hide the one of the theme.

    It is filled under another name and then renamed, so that it is never seen half-filled; what an interrupted call
    left behind is removed. Two calls for one folder must not run at once. Raises `MultisiteError` if the place is
    taken by something that is not a folder, `OSError` if it cannot be written.
    """
    place = settings.sites_dir / folder
    if place.is_symlink() or place.exists():
        if not place.is_dir():
            raise MultisiteError(f"{place} is not a folder: move it away, and run the same command again")
        if place.is_symlink() or any(place.iterdir()):
            return False
    settings.sites_dir.mkdir(parents=True, exist_ok=True)
    # A name of 253 characters leaves no room for a prefix: file systems take 255.
    staging = settings.sites_dir / f".staging-{folder}"[:255]
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _fill(staging, settings.templates_dir, host, theme)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, shutil.Error):  # Of many files: the first says enough.
            _source, _target, reason = error.args[0][0]
            raise OSError(reason) from error
        raise
    if place.exists():
        place.rmdir()  # It is empty. POSIX would rename over it, Windows would not.
    staging.rename(place)
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
