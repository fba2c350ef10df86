"""Themes: template folders that several sites share, in `themes` among the shared templates."""

from __future__ import annotations

import shutil
from pathlib import Path

from multisite.core import program
from multisite.core.settings import STATIC_FOLDER, Settings
from multisite.core.site import Site
from multisite.directory.row_validation import is_theme_name
from multisite.errors import MultisiteError, escape_for_message

__all__ = ["check_theme", "create_theme", "hidden_files", "list_themes"]

_TEMPLATE_SUFFIXES = frozenset({".mako", ".mak"})

LAYOUT = """\
## The layout of the theme {name}: pages of its sites inherit from it. It extends the shared layout.mako, which
## "parent:" refers to. Override blocks of the shared layout here, or copy that file here instead.
<%inherit file="parent:layout.mako"/>
${{next.body()}}
"""


def list_themes(settings: Settings) -> list[str]:
    """Return the names of all themes, sorted."""
    if not settings.themes_dir.is_dir():
        return []
    return sorted(path.name for path in settings.themes_dir.iterdir() if is_theme_name(path.name) and path.is_dir())


def check_theme(settings: Settings, name: str) -> str:
    """Return `name` if that theme exists. Raises `MultisiteError` if not."""
    _check_name(name)
    themes = list_themes(settings)
    if name not in themes:
        known = f"existing themes are {', '.join(themes)}; " if themes else ""
        raise MultisiteError(
            f"there is no theme '{name}' in {settings.themes_dir}: {known}create it: "
            f"{program.command(f'new-theme {name}')}"
        )
    return name


def hidden_files(settings: Settings, site: Site) -> list[Path]:
    """Return the files in the folder of `site` that override templates and static files of its theme, sorted.

    A template with `parent:` extends the theme's and does not count.
    """
    if site.theme is None:
        return []
    theme, own = settings.themes_dir / site.theme, settings.sites_dir / site.folder
    found = []
    for path in sorted(theme.rglob("*")):
        below = path.relative_to(theme)
        is_template = below.suffix in _TEMPLATE_SUFFIXES
        override = own / below
        counts = is_template or below.parts[0] == STATIC_FOLDER
        if (
            counts
            and path.is_file()
            and override.is_file()
            and not (is_template and b"parent:" in override.read_bytes())
        ):
            found.append(override)
    return found


def create_theme(settings: Settings, name: str) -> Path:
    """Create the folder of a new theme, with a layout that extends the shared one.

    The folder is filled under another name and then renamed, so that it is never seen incomplete.

    Returns:
        The path of the folder.

    Raises:
        MultisiteError: The name is not valid or in use, or the folder cannot be created.
    """
    _check_name(name)
    path = settings.themes_dir / name
    staging = settings.themes_dir / f".staging-{name}"
    if path.is_symlink() or path.exists():
        raise MultisiteError(f"the theme '{name}' already exists: {path}")
    try:
        settings.themes_dir.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        (staging / "layout.mako").write_text(LAYOUT.format(name=name), encoding="utf-8")
        staging.rename(path)
    except OSError as error:
        raise MultisiteError(f"cannot create the folder {path}: {error.strerror or error}") from error
    return path


def _check_name(name: str) -> None:
    if not is_theme_name(name):
        raise MultisiteError(
            f"'{escape_for_message(name)}' is not a valid theme name: expected 1 to 64 lowercase letters a-z, "
            "digits, hyphens and underscores, beginning with a letter or a digit"
        )
