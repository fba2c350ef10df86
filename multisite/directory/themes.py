"""Themes: designs that several sites share, each a folder of templates below `themes` in the shared templates."""

from __future__ import annotations

import shutil
from pathlib import Path

from multisite import program
from multisite.directory.faults import is_theme_name
from multisite.errors import MultisiteError, escape_for_message
from multisite.settings import STATIC_FOLDER, Settings
from multisite.site import Site

__all__ = ["check_theme", "create_theme", "hidden_files", "list_themes"]

_TEMPLATE_SUFFIXES = frozenset({".mako", ".mak"})

LAYOUT = """\
## The layout of the theme {name}: pages of its sites inherit from it. It extends the shared layout.mako, which
## "parent:" reaches. Define blocks of the shared layout anew here to change them, or copy that file here instead.
<%inherit file="parent:layout.mako"/>
${{next.body()}}
"""


def list_themes(settings: Settings) -> list[str]:
    """Return the names of the themes that there are, sorted."""
    if not settings.themes_dir.is_dir():
        return []
    return sorted(path.name for path in settings.themes_dir.iterdir() if is_theme_name(path.name) and path.is_dir())


def check_theme(settings: Settings, name: str) -> str:
    """Return `name` if there is a theme of that name; raise `MultisiteError` if not."""
    _check_name(name)
    themes = list_themes(settings)
    if name not in themes:
        known = f"there are {', '.join(themes)}; " if themes else ""
        raise MultisiteError(
            f"there is no theme '{name}' in {settings.themes_dir}: {known}make it: "
            f"{program.command(f'new-theme {name}')}"
        )
    return name


def hidden_files(settings: Settings, site: Site) -> list[Path]:
    """Return the files in the folder of `site` that hide templates and static files of its theme, sorted.

    A template that names `parent:` builds on the theme's, and hides nothing.
    """
    if site.theme is None:
        return []
    theme, own = settings.themes_dir / site.theme, settings.sites_dir / site.folder
    found = []
    for path in sorted(theme.rglob("*")):
        below = path.relative_to(theme)
        is_template = below.suffix in _TEMPLATE_SUFFIXES
        ours = own / below
        counts = is_template or below.parts[0] == STATIC_FOLDER
        if counts and path.is_file() and ours.is_file() and not (is_template and b"parent:" in ours.read_bytes()):
            found.append(ours)
    return found


def create_theme(settings: Settings, name: str) -> Path:
    """Make the folder of a new theme, with a layout that extends the shared one, and return it.

    It is filled under another name and then renamed, so that it is never seen half-filled. Raises `MultisiteError` for
    a name that cannot be one, if there is something of that name, and if the folder cannot be made.
    """
    _check_name(name)
    place = settings.themes_dir / name
    staging = settings.themes_dir / f".staging-{name}"
    if place.is_symlink() or place.exists():
        raise MultisiteError(f"there is a theme '{name}' already: {place}")
    try:
        settings.themes_dir.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        (staging / "layout.mako").write_text(LAYOUT.format(name=name), encoding="utf-8")
        staging.rename(place)
    except OSError as error:
        raise MultisiteError(f"the folder {place} cannot be made: {error.strerror or error}") from error
    return place


def _check_name(name: str) -> None:
    if not is_theme_name(name):
        raise MultisiteError(
            f"'{escape_for_message(name)}' cannot be the name of a theme: expected 1 to 64 lower-case letters a-z, "
            "digits, hyphens and underscores, beginning with a letter or a digit"
        )
