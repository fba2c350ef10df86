"""Themes: template folders that several sites share, in `themes` among the shared templates."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from multisite.core import program
from multisite.core.settings import STATIC_FOLDER, Settings
from multisite.core.site import Site
from multisite.directory.row_validation import is_theme_name
from multisite.errors import MultisiteError, escape_for_message
from multisite.sites.settings.theme_file import THEME_FILE, read_theme_file
from multisite.sites.template_store.changes import refresh_shared

__all__ = ["check_theme", "create_theme", "hidden_files", "list_themes", "set_aside"]

_TEMPLATE_SUFFIXES = frozenset({".mako", ".mak"})

LAYOUT = """\
## The layout of the theme {name}: pages of its sites inherit from it. It extends the shared layout.mako, which
## "parent:" refers to. Override blocks of the shared layout here, or copy that file here instead.
<%inherit file="parent:layout.mako"/>
${{next.body()}}
"""

STYLESHEET = """\
/* The stylesheet of the theme {name}. theme.toml declares its settings, which are variables here. */
:root {{ color-scheme: light dark; }}
body {{ font-family: Georgia, "Liberation Serif", serif; }}
a {{ color: light-dark(var(--theme-accent), color-mix(in srgb, var(--theme-accent), white 45%)); }}
"""

DECLARATIONS = """\
# What a site with the theme {name} may set, with the command set or in the editor.
label = "{name}"

[settings.accent]
type = "colour"  # or choice, image, text
default = "#1d5fa8"
label = {{en = "Colour of links", de = "Farbe der Links"}}
"""

_NEW_FILES = {"layout.mako": LAYOUT, "static/style.css": STYLESHEET, THEME_FILE: DECLARATIONS}

SET_ASIDE_SUFFIX = ".set-aside"


def list_themes(settings: Settings) -> list[str]:
    """Return the names of all themes, sorted."""
    if not settings.themes_dir.is_dir():
        return []
    return sorted(path.name for path in settings.themes_dir.iterdir() if is_theme_name(path.name) and path.is_dir())


def check_theme(settings: Settings, name: str) -> str:
    """Return `name` if that theme exists. Raises `MultisiteError` if not, or if its `theme.toml` is not valid."""
    _check_name(name)
    themes = list_themes(settings)
    if name not in themes:
        refresh_shared(settings)  # Another machine may have pushed it.
        themes = list_themes(settings)
    if name not in themes:
        known = f"existing themes are {', '.join(themes)}; " if themes else ""
        raise MultisiteError(
            f"there is no theme '{name}' in {settings.themes_dir}: {known}create it: "
            f"{program.command(f'new-theme {name}')}"
        )
    read_theme_file(settings.themes_dir / name / THEME_FILE)
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


def set_aside(paths: Iterable[Path]) -> list[Path]:
    """Rename files of a site that override those of its theme.

    Returns:
        Their new paths.

    Raises:
        MultisiteError: A file cannot be renamed; those before it are.
    """
    renamed = []
    for path in paths:
        target = path.with_name(path.name + SET_ASIDE_SUFFIX)
        number = 1
        while target.exists():
            number += 1
            target = path.with_name(f"{path.name}{SET_ASIDE_SUFFIX}-{number}")
        try:
            path.rename(target)
        except OSError as error:
            raise MultisiteError(f"cannot rename {path}: {error.strerror or error}") from error
        renamed.append(target)
    return renamed


def create_theme(settings: Settings, name: str) -> Path:
    """Create the folder of a new theme: a layout that extends the shared one, a stylesheet, and a first setting.

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
        for file, text in _NEW_FILES.items():
            (staging / file).parent.mkdir(exist_ok=True)
            (staging / file).write_text(text.format(name=name), encoding="utf-8")
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
